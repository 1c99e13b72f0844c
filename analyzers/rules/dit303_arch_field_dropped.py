"""DIT303 arch-field-dropped: what the official side configures and the arch config has no field for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Constant, Expr, Placed, Reference, Subscript, literal
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.mirrored import Mirrored
from analyzers.project.ports import Port
from analyzers.project.readers import own_fields
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_PLAIN = ("int", "float", "bool", "str", "list", "tuple", "dict")


def check(context: Context) -> Iterator[Finding]:
    """Looks at the arch configs whose ports have a local config.json or an official constructor."""
    if not context.file.path.startswith(context.profile.dit_configs + "/"):
        return
    for cls in context.file.classes:
        ancestry = context.names.ancestry(cls)
        if not ancestry.complete or not context.names.derives_from(cls, context.profile.dit_arch_config_base):
            continue
        ports = [p for p in context.project.ports if p.arch_config is not None and _same(p.arch_config, cls)]
        seen: set[str] = set()
        for port in ports:
            for missing in _missing(context, cls, port):
                if missing.name not in seen:
                    seen.add(missing.name)
                    yield _finding(context, cls, port, missing)


def _same(one: Placed[ClassFacts], other: Placed[ClassFacts]) -> bool:
    return (one.path, one.fact.name) == (other.path, other.fact.name)


def _finding(context: Context, cls: Placed[ClassFacts], port: Port, missing: Mirrored) -> Finding:
    value = f" (there {missing.value!r})" if missing.known else ""
    plain = any(
        missing.name in a.names for c in context.names.ancestry(cls).classes for a in c.fact.attributes
    )
    how = "is written without an annotation, so it is no field" if plain else "is no field"
    return context.finding(
        cls.at(cls.fact.name_span),
        f"'{missing.name}' of {missing.source}{value} {how} of '{cls.fact.name}': update_model_arch drops "
        f"it, "
        "and the port is built as if it were not set",
        symbol=f"{cls.fact.name}.{missing.name}",
        port=port.name,
        related=(Related(missing.location, "it is configured here"),),
        fix=None if plain else _fix(cls, missing),
    )


def _missing(context: Context, cls: Placed[ClassFacts], port: Port) -> Iterator[Mirrored]:
    """What is dropped, and neither documented as fixed, nor read past the arch config, nor renamed."""
    readers = context.project.readers
    mirrored = context.project.mirrors.of(port)
    fields = {name for owner in context.names.ancestry(cls).classes for name in own_fields(owner)}
    lacking = [m for m in mirrored if m.name not in fields]
    if not lacking:
        return
    files = readers.model_files(port)
    said = _said(context, (cls.path, port.cls.path))
    names = {m.name for m in mirrored}
    own = [_default(cls, name) for name in own_fields(cls) if name not in names]
    for missing in lacking:
        if missing.name in said:
            continue
        if any(not r.base or "hf_config" in r.base for r in readers.reads_in_all(files, missing.name)):
            continue
        # A constructor's argument may have another name here; a published key is looked up by its name.
        if missing.parameter is not None and missing.known and (type(missing.value), missing.value) in own:
            continue
        yield missing


def _default(cls: Placed[ClassFacts], name: str) -> tuple[type, object] | None:
    field = cls.fact.attribute(name)
    try:
        value = literal(field.value if field is not None else None)
    except ValueError:
        return None
    return type(value), value


def _said(context: Context, paths: tuple[str, ...]) -> frozenset[str]:
    """The words of the comments and docstrings of the arch config and of the port."""
    words: set[str] = set()
    for path in paths:
        facts = context.project.file(path)
        if facts is None:
            continue
        texts = [c.fact.text for c in facts.comments]
        texts += [facts.docstring or "", *(c.fact.docstring or "" for c in facts.classes)]
        texts += [m.docstring or "" for c in facts.classes for m in c.fact.methods]
        words.update(word for text in texts for word in re.findall(r"\w+", text))
    return frozenset(words)


# --------------------------------------------------------------------------- the fix


def _fix(cls: Placed[ClassFacts], missing: Mirrored) -> Fix | None:
    """None where the field's type or default cannot be told."""
    written = _declaration(missing)
    if written is None:
        return None
    annotation, default = written
    return Fix(
        title=f"Add '{missing.name}: {annotation} = {default}'",
        operation="add-field",
        arguments={
            "path": cls.path,
            "class": cls.fact.name,
            "field": missing.name,
            "annotation": annotation,
            "default": default,
        },
        applicability=Applicability.UNSAFE,
    )


def _declaration(missing: Mirrored) -> tuple[str, str] | None:
    if not missing.known or not missing.name.isidentifier():
        return None
    annotated = _written(missing.parameter.annotation) if missing.parameter is not None else None
    value = missing.value
    if value is None:
        return (
            (annotated if annotated.endswith("| None") else f"{annotated} | None", "None")
            if annotated
            else None
        )
    if isinstance(value, list):
        return _sequence("list", value), f"field(default_factory=lambda: {value!r})"
    if isinstance(value, dict):
        return "dict", f"field(default_factory=lambda: {value!r})"
    if isinstance(value, tuple):
        return _sequence("tuple", value), repr(value)
    if isinstance(value, (bool, int, float, str)):
        # `eps=1` for a float argument
        return annotated or type(value).__name__, repr(value)
    return None


def _sequence(kind: str, values: list[object] | tuple[object, ...]) -> str:
    kinds = {type(v).__name__ for v in values}
    if len(kinds) != 1 or not kinds <= set(_PLAIN[:4]):
        return kind
    return f"{kind}[{kinds.pop()}]" if kind == "list" else f"tuple[{kinds.pop()}, ...]"


def _written(annotation: Expr | None) -> str | None:
    """A plain annotation as text; None for anything that needs an import."""
    if isinstance(annotation, Reference) and annotation.dotted in _PLAIN:
        return annotation.dotted
    if isinstance(annotation, Constant) and annotation.value in _PLAIN:
        return str(annotation.value)
    if isinstance(annotation, Subscript) and isinstance(annotation.base, Reference):
        inner = _written(annotation.index)
        if annotation.base.tail == "Optional" and inner is not None:
            return f"{inner} | None"
    return None


_FILE = "fastvideo/configs/models/dits/echo.py"
_MODEL = "fastvideo/models/dits/echo.py"
_CHECKPOINT = "converted_weights/echo/transformer/config.json"
_CLONE = "official/echo/model.py"
_TEST = "tests/local_tests/echo/test_echo_parity.py"
_SITE = ".venv/lib/python3.11/site-packages/diffusers"


def _arch(fields: str = "    num_layers: int = 2\n", imports: str = "dataclass, field") -> str:
    made = "field(default_factory=EchoArchConfig)" if "field" in imports else "EchoArchConfig()"
    return f"""\
from dataclasses import {imports}

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
{fields}
    def __post_init__(self) -> None:
        super().__post_init__()
        self.hidden_size = 64


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = {made}
"""


def _model(body: str = "        self.layers = config.num_layers\n") -> str:
    return f"""\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = EchoConfig().param_names_mapping

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
{body}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


_EXPORTED = {
    "fastvideo/configs/models/dits/__init__.py": """\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.configs.models.dits.sound import SoundConfig

__all__ = ["EchoConfig", "SoundConfig"]
""",
    _TEST: """\
from diffusers import EchoTransformer3DModel as Reference
from torch.testing import assert_close

from fastvideo.models.dits.echo import EchoTransformer3DModel


def test_echo_parity():
    assert_close(EchoTransformer3DModel(), Reference())
""",
}


def _diffusers(parameters: str, before: str = "") -> dict[str, str | None]:
    return {
        f"{_SITE}/__init__.py": """\
from typing import TYPE_CHECKING

from .utils import is_torch_available

if TYPE_CHECKING:
    try:
        if not is_torch_available():
            raise ImportError
    except ImportError:
        from .utils.dummies import *
    else:
        from .models import EchoTransformer3DModel
""",
        f"{_SITE}/models/__init__.py": "from .transformers.transformer_echo import EchoTransformer3DModel\n",
        f"{_SITE}/models/transformers/transformer_echo.py": f"""\
from typing import Optional

from ..modeling_utils import ModelMixin
from ...configuration_utils import ConfigMixin, register_to_config

{before}
class EchoTransformer3DModel(ModelMixin, ConfigMixin):

    @register_to_config
    def __init__(self, {parameters}):
        super().__init__()
""",
    }


RULE = Rule(
    code="DIT303",
    name="arch-field-dropped",
    severity=Severity.WARNING,
    tier=Tier.ORACLE,
    summary="what the official side configures has no field in the arch config",
    what=(
        "Reports a key of a local checkpoint's `config.json` (its `_class_name` leads to the port), or an "
        "argument of the official constructor, for which the port's arch config has no field. The "
        "constructor "
        "is read from its source: the class that the settings name under `[oracles]`, or the diffusers class "
        "that a parity test imports, found below the project's own interpreter. Nothing is run."
    ),
    why=(
        "`update_model_arch` sets the keys that are fields and drops the others without a word: the port is "
        "built with whatever it assumes, and a checkpoint that says otherwise loads and computes something "
        "else."
    ),
    how=(
        "Add the field and read it in the model (the fix adds it, with the official value as its "
        "default), or "
        "say in a comment or docstring of the config or the model that it is fixed."
    ),
    exceptions=(
        "Keys that begin with `_`, what places or compresses a model (`device`, `dtype`, "
        "`quantization_config`), "
        "names that a comment or docstring of the arch config or the port mentions, keys that the model "
        "reads "
        "from `hf_config`, and arguments whose default another field of the arch config has: a new name."
    ),
    source="`fastvideo/configs/models/base.py` (`update_model_arch`)",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example(
            "Every key has a field, in the class or above it; keys that are no architecture",
            {
                _FILE: _arch("    num_layers: int = 2\n    rope_theta: float = 10000.0\n"),
                _MODEL: _model("        self.all = config.num_layers + config.rope_theta\n"),
                _CHECKPOINT: """\
{
  "_class_name": "EchoTransformer3DModel",
  "_diffusers_version": "0.33.0",
  "num_attention_heads": 4,
  "num_layers": 2,
  "rope_theta": 10000.0,
  "torch_dtype": "bfloat16"
}
""",
            },
        ),
        Example(
            "Said to be fixed, or read past the arch config",
            {
                _FILE: _arch(
                    "    # guidance_embeds is always False: the checkpoint is distilled.\n    num_layers: "
                    "int = 2\n"
                ),
                _MODEL: _model("""\
        self.layers = config.num_layers
        self.theta = hf_config["rope_theta"]
        self.eps = hf_config.get("eps", 1e-6)
"""),
                _CHECKPOINT: (
                    '{"_class_name": "EchoTransformer3DModel", "guidance_embeds": false, '
                    '"rope_theta": 1.0, "eps": 1}'
                ),
            },
        ),
        Example(
            "Another model's config, a broken one, and an official class whose source is not here",
            {
                **_EXPORTED,
                _FILE: _arch(),
                _MODEL: _model(),
                _CHECKPOINT: '{"_class_name": "AutoencoderKLEcho", "scaling_factor": 0.5}',
                "converted_weights/broken/config.json": '{"_class_name": "EchoTransformer3DModel", ',
            },
        ),
        Example(
            "The official constructor, with one argument under another name",
            {
                **_EXPORTED,
                **_diffusers("num_layers: int = 2, dim: int = 96, device=None"),
                _FILE: _arch("    num_layers: int = 2\n    model_dim: int = 96\n"),
                _MODEL: _model("        self.layers = config.num_layers + config.model_dim\n"),
            },
        ),
    ),
    invalid=(
        Example(
            "Keys of a local config.json",
            {
                **_EXPORTED,
                _FILE: _arch(imports="dataclass"),
                _MODEL: _model(),
                _CHECKPOINT: """\
{
  "_class_name": "EchoTransformer3DModel",
  "num_layers": 2,
  "rope_theta": 10000.0,
  "axes_dims": [16, 56],
  "image_dim": null
}
""",
            },
            (
                Expected(
                    _FILE,
                    7,
                    "'axes_dims' of the published converted_weights/echo/transformer/config.json (there "
                    "[16, 56]) "
                    "is no field of 'EchoArchConfig': update_model_arch drops it",
                ),
                Expected(_FILE, 7, "'image_dim' of the published"),
                Expected(_FILE, 7, "'rope_theta' of the published", Severity.WARNING),
            ),
            fixed={
                _FILE: _arch(
                    """\
    num_layers: int = 2
    axes_dims: list[int] = field(default_factory=lambda: [16, 56])
    rope_theta: float = 10000.0
""",
                    imports="dataclass, field",
                ).replace("field(default_factory=EchoArchConfig)", "EchoArchConfig()"),
            },
        ),
        Example(
            "Arguments of the diffusers class that the parity test compares with",
            {
                **_EXPORTED,
                **_diffusers(
                    "num_layers: int = 2, qk_norm: Optional[str] = None, patch_size=(1, 2, 2), eps: float = 1"
                ),
                _FILE: _arch(),
                _MODEL: _model(),
            },
            (
                Expected(
                    _FILE, 7, "'eps' of the constructor of the official 'EchoTransformer3DModel' (there 1)"
                ),
                Expected(_FILE, 7, "'patch_size'"),
                Expected(_FILE, 7, "'qk_norm'"),
            ),
            fixed={
                _FILE: _arch("""\
    num_layers: int = 2
    eps: float = 1
    patch_size: tuple[int, ...] = (1, 2, 2)
    qk_norm: str | None = None
"""),
            },
        ),
        Example(
            "Written without an annotation, so that it is no field",
            {
                _FILE: _arch("    num_layers: int = 2\n    text_len = 512\n"),
                _MODEL: _model(),
                _CHECKPOINT: '{"_class_name": "EchoTransformer3DModel", "text_len": 226}',
            },
            (Expected(_FILE, 7, "'text_len' of the published"),),
        ),
    ),
)
