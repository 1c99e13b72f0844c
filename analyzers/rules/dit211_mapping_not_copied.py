"""DIT211 mapping-not-copied: a config mapping that the class does not use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analyzers.facts.model import ClassFacts, Constant, Mapping, Placed, Reference, literal
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.names import Resolved
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.dit202_class_attribute_missing import copy_fix

_NAME = "param_names_mapping"

_IDENTITIES = ("^(.*)$", "^(.+)$", "(.*)", "(.+)")
"""Patterns that, mapped to `\\1`, leave every name as it is."""


def check(context: Context) -> Iterator[Finding]:
    """Compares what the class holds with what an instance of its config holds."""
    for port in context.project.ports:
        if port.cls.path != context.file.path or port.cls.fact.partial:
            continue
        if context.project.is_helper_base(port) or _set_on_instance(context, port):
            continue
        config = _config(context, port)
        if config is None:
            continue
        held = context.names.class_attribute(port.cls, _NAME)
        offered = context.names.config_field(config, (_NAME,))
        if not isinstance(held, Resolved) or not isinstance(offered, Resolved):
            continue
        if not isinstance(held.value, Mapping) or not isinstance(offered.value, Mapping):
            continue
        if held.location == offered.location or not _differ(held.value, offered.value):
            continue
        if context.profile.lora_reads_config and _for_adapters(offered.value):
            continue
        own = port.cls.fact.attribute(_NAME)
        if (
            own is not None
            and held.config is not None
            and not _extends(context, config, held.config)
            and not _is_siblings(context, port, config, held.config)
        ):
            continue  # the class says which config is its own; the annotation is a wider or another one
        where = port.cls.at(own.value.span) if own is not None and own.value is not None else port.location
        use = "renames no weight" if context.profile.lora_reads_config else "is never used"
        what = "empty" if not held.value.items else "another one"
        yield context.finding(
            where,
            f"{config.fact.name}.{_NAME} ({len(offered.value.items)} rules) {use}: the loader "
            f"reads the class attribute of '{port.name}', which is {what}",
            symbol=_NAME,
            port=port.name,
            related=(Related(offered.location, "the mapping that is not used"),),
            fix=_fix(context, port, config, replaces=bool(held.value.items)),
        )


def _fix(context: Context, port: Port, config: Placed[ClassFacts], *, replaces: bool) -> Fix | None:
    """Safe where the class holds no rules; rules that someone wrote are only replaced when asked."""
    fix = copy_fix(context, port.cls, config, _NAME)
    return replace(fix, applicability=Applicability.UNSAFE) if fix is not None and replaces else fix


def _config(context: Context, port: Port) -> Placed[ClassFacts] | None:
    """The config that the port is built with: as `__init__` says, else the one found for it."""
    built = context.project.construction(port.cls)
    parameter = built.init.fact.parameter("config") if built is not None and built.owner == port.cls else None
    if parameter is not None and isinstance(parameter.annotation, Reference):
        found = context.names.class_of(port.cls.path, parameter.annotation.dotted)
        if found is not None and found in context.project.dit_configs:
            return found
    return port.config


def _extends(context: Context, config: Placed[ClassFacts], other: Placed[ClassFacts]) -> bool:
    """Whether `config` derives from the config (or arch config) `other`, or holds one that does."""
    arch = context.names.arch_config_class(config)
    wanted = context.names.qualified_class(other)
    return any(context.names.derives_from(held, wanted) for held in (config, arch) if held is not None)


def _is_siblings(context: Context, port: Port, config: Placed[ClassFacts], held: Placed[ClassFacts]) -> bool:
    """Whether the mapping is another family's, left from the port that was copied.

    Only where `__init__` takes the config of the port's own family, and neither config is a kind of the
    other.
    """
    profile = context.profile
    own = (f"{profile.dit_configs}/{port.family}.py", f"{profile.dit_configs}/{port.family}/")
    return (
        config.path.startswith(own) and not held.path.startswith(own) and not _extends(context, held, config)
    )


def _set_on_instance(context: Context, port: Port) -> bool:
    """Whether some method stores a mapping on the instance: then that is what the loader reads."""
    return any(
        assignment.name == _NAME
        for cls in context.names.ancestry(port.cls).classes
        for method in cls.fact.methods
        for assignment in method.assignments
    )


def _differ(held: Mapping, offered: Mapping) -> bool:
    """Whether the two certainly rename differently; computed entries leave that open."""
    if any(key is None for key, _ in (*held.items, *offered.items)):
        return False
    if not offered.items:
        return False
    try:
        wanted = literal(offered)
        present = literal(held)
    except ValueError:
        return not held.items
    if not isinstance(wanted, dict) or not isinstance(present, dict):
        return False
    return list(_effective(wanted).items()) != list(_effective(present).items()) and bool(_effective(wanted))


def _for_adapters(mapping: Mapping) -> bool:
    """Whether every rule is written for the keys of an adapter, which are no weights of the model."""
    return all(
        isinstance(key, Constant) and isinstance(key.value, str) and "lora" in key.value
        for key, _ in mapping.items
    )


def _effective(mapping: dict[object, object]) -> dict[object, object]:
    """The rules without a final identity, which changes no name."""
    items = list(mapping.items())
    while items and items[-1][0] in _IDENTITIES and items[-1][1] == "\\1":
        items.pop()
    return dict(items)


_FILE = "fastvideo/models/dits/echo.py"
_CONFIG = "fastvideo/configs/models/dits/echo.py"
_ECHO_CONFIG = r"""
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(default_factory=lambda: {r"^(.*)$": r"\1"})


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""


def _model(mapping: str, config: str = "SoundConfig", module: str = "sound", more: str = "") -> str:
    return f"""\
from fastvideo.configs.models.dits.{module} import {config}
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = {mapping}

    def __init__(self, config: {config}, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
{more}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


RULE = Rule(
    code="DIT211",
    name="mapping-not-copied",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="a config mapping that the class does not use",
    what=(
        "Reports a port whose config holds a `param_names_mapping` with rules while the class attribute "
        "comes down to an empty or another mapping."
    ),
    why=(
        "The loader passes `model.param_names_mapping`, the class attribute, to `get_param_names_mapping`; "
        "the config's is never read. Keys of the official checkpoint stay as they are and the strict load "
        "fails, or only weights converted beforehand load and the config's rules rot unnoticed."
    ),
    how="Copy the mapping: `param_names_mapping = XConfig().param_names_mapping`.",
    exceptions=(
        "Equal mappings, wherever they are written; a config mapping that only passes every name through; "
        "mappings with computed entries; a mapping that a method stores on the instance; a mapping that the "
        "class copies from another config than the one `__init__` is annotated with, unless the latter "
        "derives from the former; classes that only serve as a base; rules for the keys of adapters alone "
        "(`lora_A`), where LoRA reads the config's mapping, as in SGLang. The fix is unsafe where the class "
        "holds rules of its own: those may be the right ones, and the config's the stale ones."
    ),
    source="`fastvideo/models/loader/fsdp_load.py`, `maybe_load_fsdp_model`",
    fixable=Applicability.SAFE,
    check=check,
    reports_missing=True,
    valid=(
        Example("copied from the config", {}),
        Example("copied key by key", {_FILE: _model("dict(SoundConfig().param_names_mapping)")}),
        Example(
            "equal, but written out",
            {_FILE: _model('{r"^blocks\\.(\\d+)\\.attn\\.to_q\\.(.*)$": r"blocks.\\1.to_q.\\2"}')},
        ),
        Example(
            "extended",
            {_FILE: _model('{**SoundConfig().param_names_mapping, r"^head\\.(.*)$": r"proj_out.\\1"}')},
        ),
        Example(
            "the config's mapping passes every name through",
            {_FILE: _model("{}", "EchoConfig", "echo"), _CONFIG: _ECHO_CONFIG},
        ),
        Example(
            "copied from its own config, annotated with another",
            {
                _FILE: _model("EchoConfig().param_names_mapping", "SoundConfig", "sound").replace(
                    "from fastvideo.models",
                    "from fastvideo.configs.models.dits.echo import EchoConfig\nfrom fastvideo.models",
                    1,
                ),
                _CONFIG: _ECHO_CONFIG.replace(r"^(.*)$", r"^echo\.(.*)$"),
            },
        ),
        Example(
            "filled below the class",
            {
                _FILE: _model("{}")
                + "EchoTransformer3DModel.param_names_mapping.update(SoundConfig().param_names_mapping)\n"
            },
        ),
        Example(
            "stored on the instance",
            {_FILE: _model("{}", more="        self.param_names_mapping = config.param_names_mapping\n")},
        ),
    ),
    invalid=(
        Example(
            "left empty",
            {_FILE: _model("{}  # Will be defined in config")},
            findings=(
                Expected(_FILE, 6, "SoundConfig.param_names_mapping (1 rules) is never used", Severity.ERROR),
            ),
            fixed={_FILE: _model("SoundConfig().param_names_mapping  # Will be defined in config")},
        ),
        Example(
            "another mapping than the config's",
            {_FILE: _model('{r"^blocks\\.(.*)$": r"layers.\\1"}')},
            findings=(Expected(_FILE, 6, "which is another one"),),
            fixed={_FILE: _model("SoundConfig().param_names_mapping")},
        ),
        Example(
            "copied from the config's parent",
            {
                _FILE: _model("SoundConfig().param_names_mapping", "EchoConfig", "echo").replace(
                    "import EchoConfig", "import EchoConfig, SoundConfig"
                ),
                _CONFIG: _ECHO_CONFIG.replace(r"^(.*)$", r"^echo\.(.*)$")
                .replace("import DiTArchConfig, DiTConfig", "import DiTArchConfig")
                .replace(
                    "@dataclass\n",
                    "from fastvideo.configs.models.dits.sound import SoundConfig\n\n\n@dataclass\n",
                    1,
                )
                .replace("EchoConfig(DiTConfig)", "EchoConfig(SoundConfig)"),
            },
            findings=(Expected(_FILE, 6, "which is another one"),),
        ),
        Example(
            "left from the port that was copied",
            {
                _FILE: _model("SoundConfig().param_names_mapping", "EchoConfig", "echo").replace(
                    "import EchoConfig",
                    "import EchoConfig\nfrom fastvideo.configs.models.dits import SoundConfig",
                ),
                _CONFIG: _ECHO_CONFIG.replace(r"^(.*)$", r"^echo\.(.*)$"),
            },
            findings=(Expected(_FILE, 7, "EchoConfig.param_names_mapping (1 rules) is never used"),),
        ),
    ),
)
