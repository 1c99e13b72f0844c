"""DIT304 arch-config-duplicate: two arch configs for one model, or a field that nothing reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from analyzers.facts.model import Assignment, ClassFacts, Placed
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.names import Resolved
from analyzers.project.ports import Port
from analyzers.project.readers import Read, own_fields
from analyzers.project.shapes import shape
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.dit302_sampling_knob_in_arch import is_knob
from analyzers.rules.dit312_hardcoded_arch_constant import written_out

_ENOUGH: Final = 4
"""Fields that two arch configs must share before they count as copies: fewer may agree by chance."""

_MIRROR: Final = re.compile(
    r"config\.json|checkpoint|publish|diffusers|hugging\s?face|\bhf\b|official|upstream|compat|mirror"
    r"|reserved|\bunused\b|not (?:yet )?(?:read|used|consumed)|round-?trip|reference",
    re.IGNORECASE,
)
"""Words by which a comment says that a field is carried for the checkpoint's sake."""

_MIRRORS_ALL: Final = re.compile(r"config\.json|publish|diffusers|hugging\s?face|mirror", re.IGNORECASE)
"""Words by which a docstring says so of all fields."""

_CONFIG_NAMED: Final = re.compile(r"(?:config|cfg|arch)\w*$", re.IGNORECASE)


def check(context: Context) -> Iterator[Finding]:
    """Looks at the arch configs, and at what the ports copy from them."""
    path = context.file.path
    if path.startswith(context.profile.dit_configs + "/"):
        for cls in context.file.classes:
            base = context.profile.dit_arch_config_base
            if context.names.qualified_class(cls) != base and context.names.derives_from(cls, base):
                yield from _copies(context, cls)
                yield from _unread(context, cls)
    elif path.startswith(context.profile.dits + "/"):
        for port in context.project.ports:
            if port.cls.path == path and not port.cls.fact.partial:
                yield from _mixed(context, port)


# --------------------------------------------------------------------------- two for one


def _copies(context: Context, cls: Placed[ClassFacts]) -> Iterator[Finding]:
    """Another arch config of the same name, or with the same fields and values."""
    for other in context.project.dit_arch_configs:
        if _place(other) >= _place(cls) or cls.fact.partial or other.fact.partial:
            continue  # the later one of two is reported
        if _related(context, cls, other):
            continue
        if cls.fact.name == other.fact.name and cls.path != other.path:
            what = "is defined a second time: which of the two a model gets depends on the import"
        elif _same_fields(cls, other):
            what = (
                f"repeats all {len(_plain_fields(cls))} fields of '{other.fact.name}' with the same values: "
                "a correction to one misses the other"
            )
        else:
            continue
        yield context.finding(
            cls.at(cls.fact.name_span),
            f"'{cls.fact.name}' {what}",
            symbol=cls.fact.name,
            related=(Related(other.at(other.fact.name_span), "the other arch config"),),
        )
        return


def _place(cls: Placed[ClassFacts]) -> tuple[str, int]:
    return (cls.path, cls.line + cls.fact.span.line)


def _related(context: Context, one: Placed[ClassFacts], other: Placed[ClassFacts]) -> bool:
    names = context.names
    return bool(
        names.derives_from(one, names.qualified_class(other))
        or names.derives_from(other, names.qualified_class(one))
    )


def _plain_fields(cls: Placed[ClassFacts]) -> dict[str, object | None]:
    """Name and written value of the fields that describe the architecture, mappings left out."""
    return {
        name: shape(a.value)
        for a in cls.fact.attributes
        if a.annotation is not None and not a.augmented
        for name in a.names
        if not name.startswith("_") and not name.endswith("_mapping")
    }


def _same_fields(cls: Placed[ClassFacts], other: Placed[ClassFacts]) -> bool:
    own, others = _plain_fields(cls), _plain_fields(other)
    return len(own) >= _ENOUGH and own == others and None not in own.values()


def _mixed(context: Context, port: Port) -> Iterator[Finding]:
    """A port whose class attributes come from configs that have nothing to do with each other."""
    first: tuple[str, Placed[ClassFacts]] | None = None
    for attribute in port.cls.fact.attributes:
        for name in attribute.names:
            outcome = context.names.class_attribute(port.cls, name)
            config = outcome.config if isinstance(outcome, Resolved) else None
            arch = _arch_of(context, config) if config is not None else None
            if arch is None:
                continue
            if first is None:
                first = (name, arch)
            elif not _same(first[1], arch) and not _related(context, first[1], arch):
                yield context.finding(
                    port.cls.at(attribute.span),
                    f"'{port.name}' copies '{name}' from '{arch.fact.name}' but '{first[0]}' from "
                    f"'{first[1].fact.name}': two arch configs serve one model, and the loader sets only one",
                    symbol=port.name,
                    port=port.name,
                    related=(
                        Related(first[1].at(first[1].fact.name_span), "one arch config"),
                        Related(arch.at(arch.fact.name_span), "the other"),
                    ),
                )
                return


def _arch_of(context: Context, config: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
    if context.names.derives_from(config, context.profile.dit_arch_config_base):
        return config
    return context.names.arch_config_class(config)


def _same(one: Placed[ClassFacts], other: Placed[ClassFacts]) -> bool:
    return (one.path, one.fact.name) == (other.path, other.fact.name)


# --------------------------------------------------------------------------- read by nothing


def _unread(context: Context, cls: Placed[ClassFacts]) -> Iterator[Finding]:
    project, readers = context.project, context.project.readers
    ports = project.ports_of(cls)
    if not ports or cls.fact.partial or context.profile.metadata_in_arch:
        return
    if _MIRRORS_ALL.search(cls.fact.docstring or context.file.docstring or ""):
        return
    inherited = {n for base in context.names.ancestry(cls).classes[1:] for n in own_fields(base)}
    files = sorted({path for port in ports for path in readers.model_files(port)})
    if any(facts.broken for path in files if (facts := project.file(path)) is not None):
        return  # the part that does not parse may read it
    mirrored = [project.mirrors.of(port) for port in ports]
    published = {known.name for of_port in mirrored for known in of_port}
    excused = inherited | published
    known = all(mirrored)
    for name in own_fields(cls):
        if name.startswith("_") or name in excused or is_knob(context, name):
            continue
        field = next(a for a in cls.fact.attributes if name in a.names and a.annotation is not None)
        if readers.reads_in_all(files, name) or readers.hands_on_whole(files):
            continue
        if _says_why(context, cls, field):
            continue
        if _read_elsewhere(context, name):
            continue
        if any(name in written_out(context, port) for port in ports):
            continue  # DIT312's: the model writes the value out
        if project.mirrors.diffusers_takes(name) or (not known and _has_another(context, cls, name)):
            continue
        unless = "" if known else " (unless a published config.json has it: then say so in a comment)"
        yield context.finding(
            cls.at(field.span),
            f"nothing reads '{name}' of '{cls.fact.name}': whatever value it has, or a checkpoint sets, the "
            f"model is built the same{unless}",
            severity=Severity.WARNING if known else Severity.INFORMATION,
            symbol=f"{cls.fact.name}.{name}",
            port=ports[0].name if len(ports) == 1 else None,
        )


def _has_another(context: Context, cls: Placed[ClassFacts], name: str) -> bool:
    """Whether a config of another family has the field too: one name in two families is no slip of a
    port, both mirror what checkpoints publish."""
    sources = context.project.sources
    files = (sources.facts(path) for path in sources.walk(context.profile.dit_configs) if path != cls.path)
    return any(
        name in own_fields(other) and not _related(context, cls, other) and not _same_fields(cls, other)
        for facts in files
        if facts is not None
        for other in facts.classes
    )


def _read_elsewhere(context: Context, name: str) -> bool:
    """Whether another model's file reads a config's field of that name, another config or anything else."""
    profile, readers = context.profile, context.project.readers
    configs = context.project.sources.walk(profile.dit_configs.rpartition("/")[0])
    if readers.reads_in_all(configs, name):
        return True
    if any(
        _CONFIG_NAMED.search(read.base)
        for read in readers.reads_in_all(context.project.sources.walk(profile.dits), name)
    ):
        return True
    return any(_may_be_ours(context, read) for read in readers.reads_outside(name))


def _may_be_ours(context: Context, read: Read) -> bool:
    """Whether a read outside the model's files may be of this config: pipelines and loaders have many
    names for it, elsewhere it is called a config."""
    near = (*context.profile.pipeline_folders, *context.profile.loader_folders)
    if read.location.path.startswith(tuple(f"{folder}/" for folder in near)):
        return True
    return not read.base or _CONFIG_NAMED.search(read.base) is not None


def _says_why(context: Context, cls: Placed[ClassFacts], field: Assignment) -> bool:
    """Whether a comment on the field, or one that heads its block of fields, speaks of the checkpoint."""
    where: Location = cls.at(field.span)
    lines = context.text.split("\n")
    text = "\n".join(lines[where.span.line : where.span.end_line + 1])
    above = where.span.line - 1
    comments = [text.partition("#")[2]]
    while above >= 0 and lines[above].strip() and not lines[above].lstrip().startswith(("class ", "def ")):
        if lines[above].lstrip().startswith("#"):
            comments.append(lines[above])
        above -= 1
    return any(_MIRROR.search(comment) for comment in comments)


_FILE = "fastvideo/configs/models/dits/echo.py"
_OTHER = "fastvideo/configs/models/dits/echo_video.py"
_MODEL = "fastvideo/models/dits/echo.py"


def _arch(fields: str, name: str = "Echo", docstring: str = "") -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class {name}ArchConfig(DiTArchConfig):
{docstring}{fields}

@dataclass
class {name}Config(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory={name}ArchConfig)
"""


def _model(reads: str = "num_layers", conditions: str = "EchoConfig") -> str:
    return f"""\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.configs.models.dits.sound import SoundArchConfig, SoundConfig
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = EchoConfig().param_names_mapping
    _fsdp_shard_conditions = {conditions}()._fsdp_shard_conditions
    _compile_conditions = {conditions}()._compile_conditions

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.layers = config.{reads}

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


_FOUR = """\
    num_layers: int = 2
    ffn_dim: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    out_names: list = field(default_factory=lambda: ["video", "audio"])
"""

RULE = Rule(
    code="DIT304",
    name="arch-config-duplicate",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="two arch configs for one model, or a field that nothing reads",
    what=(
        "Reports an arch config of a DiT that is there twice: the same class name in two modules, all fields "
        "repeated with the same values (four at least), or one model that copies its class attributes from "
        "two unrelated arch configs. And a field that nothing reads: no file that builds the model, no "
        "config, "
        "pipeline or loader, as an attribute or by name. That is a warning where the port's official "
        "configuration is known (a local `config.json`, or the official constructor, see DIT303) and does "
        "not "
        "have it either, and information where it is not known."
    ),
    why=(
        "Of two configs for one model the loader fills one, so the other's values go stale unseen. A field "
        "that nothing reads looks like a setting and is none: whoever changes it, or publishes a checkpoint "
        "that sets it, gets the same model as before."
    ),
    how=(
        "Derive one config from the other and keep only what differs. Read the field where the model writes "
        "the value out, or delete it; where it is carried for the checkpoint's sake, say so in a comment."
    ),
    exceptions=(
        "Fields that a local `config.json` or the official constructor of the port has, that a transformer "
        "of the installed diffusers takes as an argument, or that another family's arch config has too "
        "(where the official configuration is not known); fields "
        "whose comment (on the field, above its block, or the class's docstring) says that they mirror a "
        "checkpoint; names that begin with `_`; fields that a base declares; models that take their config "
        "apart as a whole (`asdict`, `vars`). Settings of sampling are DIT302's, fields "
        "whose value the model writes out DIT312's."
    ),
    source="`fastvideo/configs/models/base.py` (`ArchConfig`, `update_model_arch`)",
    check=check,
    valid=(
        Example(
            "Read by the model, by a base of it, by name, by a config, by a pipeline or a loader",
            {
                _FILE: _arch("""\
    num_layers: int = 2
    echo_depth: int = 2
    echo_gain: float = 1.0
    echo_ratio: float = 0.5
    echo_length: int = 0
    echo_kind: str = "long"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.echo_length = int(self.echo_ratio * 100)
"""),
                _MODEL: _model().replace(
                    "config.num_layers",
                    'range(config.num_layers, getattr(config, "echo_depth", 2), config.echo_length)',
                ),
                "fastvideo/pipelines/basic/echo.py": "def gain(dit):\n    return dit.echo_gain\n",
                "fastvideo/models/loader/echo.py": "def kind(c):\n    return c.arch_config.echo_kind\n",
            },
        ),
        Example(
            "Carried for the checkpoint's sake, as a comment says, or as diffusers names it",
            {
                _FILE: _arch("""\
    num_layers: int = 2

    # As in the published config.json.
    echo_depth: int = 2
    echo_gain: float = 1.0

    echo_kind: str = "long"  # kept for compatibility
    echo_max_len: int = 1024
    _echo_version: str = "1"
    num_frames: int | None = None
"""),
                _MODEL: _model(),
                "converted_weights/echo/transformer/config.json": (
                    '{"_class_name": "EchoTransformer3DModel", "num_frames": 8}'
                ),
                ".venv/lib/python3.11/site-packages/diffusers/models/transformers/transformer_echo.py": (
                    "class EchoModel:\n\n    def __init__(self, echo_max_len: int = 1024):\n        pass\n"
                ),
            },
        ),
        Example(
            "Two families have the field: it is what checkpoints publish",
            {
                _FILE: _arch("    num_layers: int = 2\n    echo_depth: int = 2\n"),
                _MODEL: _model(),
                "fastvideo/configs/models/dits/far.py": _arch("    echo_depth: int = 3\n", "Far"),
            },
        ),
        Example(
            "The class says so; another one is taken apart as a whole; a third has no model",
            {
                _FILE: _arch(
                    "    num_layers: int = 2\n    echo_depth: int = 2\n",
                    docstring='    """Mirrors transformer/config.json."""\n\n',
                ),
                _MODEL: _model(),
                "fastvideo/configs/models/dits/far.py": _arch("    far_depth: int = 2\n", "Far"),
                "fastvideo/configs/models/dits/near.py": _arch("    near_depth: int = 2\n", "Near"),
                "fastvideo/models/dits/near.py": _model()
                .replace("Echo", "Near")
                .replace("dits.echo", "dits.near")
                .replace("config.num_layers", "NearStack(**vars(config))"),
            },
        ),
        Example(
            "A variant derives from the other; few fields agree by chance; values differ",
            {
                _FILE: _arch(_FOUR).replace("    out_names", "    num_names: int = 3\n    out_names"),
                _MODEL: _model(
                    "num_layers + config.ffn_dim, config.patch_size, config.out_names, config.num_names"
                ),
                _OTHER: """\
from dataclasses import dataclass

from fastvideo.configs.models.dits.base import DiTArchConfig
from fastvideo.configs.models.dits.echo import EchoArchConfig


@dataclass
class LongEchoArchConfig(EchoArchConfig):
    num_layers: int = 4


@dataclass
class ChanceArchConfig(DiTArchConfig):
    num_layers: int = 2
    ffn_dim: int = 256


@dataclass
class OtherChanceArchConfig(DiTArchConfig):
    num_layers: int = 2
    ffn_dim: int = 256
""",
            },
        ),
        Example(
            "Attributes from a config and from the one it derives from",
            {
                _FILE: """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.sound import SoundArchConfig, SoundConfig


@dataclass
class EchoArchConfig(SoundArchConfig):
    num_layers: int = 4


@dataclass
class EchoConfig(SoundConfig):
    arch_config: EchoArchConfig = field(default_factory=EchoArchConfig)
""",
                _MODEL: _model(conditions="SoundConfig"),
            },
        ),
    ),
    invalid=(
        Example(
            "Fields that nothing reads: others of that name are not this config's",
            {
                _FILE: _arch("""\
    num_layers: int = 2
    echo_depth: int = 2
    echo_gain: float = 1.0  # louder
"""),
                _MODEL: _model("num_layers  # config.echo_depth is not needed"),
                "fastvideo/dataset/echo.py": (
                    "def gain(args, batch):\n    return args.echo_gain + batch.echo_gain\n"
                ),
            },
            (
                Expected(
                    _FILE,
                    9,
                    "nothing reads 'echo_depth' of 'EchoArchConfig': whatever value",
                    Severity.INFORMATION,
                ),
                Expected(_FILE, 10, "nothing reads 'echo_gain'"),
            ),
        ),
        Example(
            "The published configuration is here, and does not have it",
            {
                _FILE: _arch("    num_layers: int = 2\n    echo_depth: int = 2\n"),
                _MODEL: _model(),
                "converted_weights/echo/transformer/config.json": (
                    '{"_class_name": "EchoTransformer3DModel", "num_layers": 2}'
                ),
            },
            (Expected(_FILE, 9, "nothing reads 'echo_depth'", Severity.WARNING),),
        ),
        Example(
            "All fields once more",
            {
                _FILE: _arch(_FOUR),
                _MODEL: _model("num_layers, config.ffn_dim, config.patch_size, config.out_names"),
                _OTHER: _arch(_FOUR, "EchoVideo"),
            },
            (
                Expected(
                    _OTHER,
                    7,
                    "'EchoVideoArchConfig' repeats all 4 fields of 'EchoArchConfig' with the same values",
                ),
            ),
        ),
        Example(
            "One name in two modules",
            {
                _FILE: _arch("    num_layers: int = 2\n"),
                _MODEL: _model(),
                _OTHER: _arch("    num_layers: int = 4\n    ffn_dim: int = 8\n"),
            },
            (Expected(_OTHER, 7, "'EchoArchConfig' is defined a second time"),),
        ),
        Example(
            "One model, two configs",
            {
                _FILE: _arch("    num_layers: int = 2\n"),
                _MODEL: _model(conditions="SoundConfig"),
            },
            (
                Expected(
                    _MODEL,
                    8,
                    "copies '_fsdp_shard_conditions' from 'SoundArchConfig' but 'param_names_mapping' from "
                    "'EchoArchConfig'",
                ),
            ),
        ),
    ),
)
