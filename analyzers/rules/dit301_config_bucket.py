"""DIT301 config-bucket: a config that derives from the base of another kind of model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.model import ClassFacts, Placed, Reference
from analyzers.findings import Applicability, Finding, Fix, JsonValue, Related, Severity
from analyzers.project.profiles.base import ConfigBucket
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_NAMED = 3
"""Fields that a message names at most."""


@dataclass(frozen=True)
class _Stray:
    """A base that does not belong into the bucket: which one, and where the class takes it from.

    `wanted`: the bases of the bucket of the same kind. `direct`: the class names that base itself.
    """

    base: Placed[ClassFacts]
    of: str
    wanted: tuple[str, ...]
    index: int
    direct: bool


def check(context: Context) -> Iterator[Finding]:
    """Looks at the classes of every folder of model configs."""
    bucket = context.profile.bucket_of(context.file.path)
    if bucket is None:
        return
    for cls in context.file.classes:
        stray = _stray(context, bucket, cls) if not cls.fact.partial else None
        if stray is None:
            continue
        wanted = context.names.by_qualified(stray.wanted[0]) if stray.wanted else None
        name = stray.wanted[0].rpartition(".")[2] if stray.wanted else f"a base of {bucket.name}"
        misplaced = _is_named_for(context, cls, stray.base)
        related = [Related(stray.base.at(stray.base.fact.name_span), "the base that it derives from")]
        if isinstance(wanted, Placed) and isinstance(wanted.fact, ClassFacts):
            related.append(Related(wanted.at(wanted.fact.name_span), "the base of this folder"))
        yield context.finding(
            cls.at(cls.fact.bases[stray.index].span),
            f"'{cls.fact.name}' stands with the configs of {bucket.name} but derives from "
            f"'{stray.base.fact.name}' {stray.of}, "
            + (
                "as its name says: it stands in the wrong folder"
                if misplaced
                else f"not from '{name}'{_lacks(context, cls, wanted)}"
            ),
            symbol=cls.fact.name,
            related=tuple(related),
            fix=_fix(context, cls, stray) if not misplaced else None,
        )


def _stray(context: Context, bucket: ConfigBucket, cls: Placed[ClassFacts]) -> _Stray | None:
    names, profile = context.names, context.profile
    ancestry = names.ancestry(cls)
    above = {names.qualified_class(c): c for c in ancestry.classes[1:]}
    if not ancestry.complete or names.qualified_class(cls) in bucket.bases:
        return None
    if any(base in above for base in bucket.bases):
        return None
    plain = (profile.arch_config_base, profile.model_config_base) if bucket.only else ()
    for index, base in enumerate(names.bases(cls)):
        if not isinstance(base, Placed):
            continue
        home = profile.bucket_of(base.path)
        if home is bucket and names.qualified_class(base) not in plain:
            return None  # said of that base, where it is wrong
        for found in names.ancestry(base).classes:
            qualified = names.qualified_class(found)
            other = next(
                (b for b in profile.config_buckets if b is not bucket and qualified in b.bases), None
            )
            if other is None and qualified not in plain:
                continue
            is_arch = qualified in (other.arch_bases if other is not None else (profile.arch_config_base,))
            return _Stray(
                found,
                f"of {other.name}" if other is not None else "of no kind of model",
                bucket.arch_bases if is_arch else bucket.config_bases,
                index,
                found is base,
            )
    return None


def _is_named_for(context: Context, cls: Placed[ClassFacts], base: Placed[ClassFacts]) -> bool:
    """Whether a class is called as the bases of its base's bucket are: `EchoEncoderArchConfig`."""
    qualified = context.names.qualified_class(base)
    kinds = {
        re.sub(r"(?:Arch)?Config$", "", known.rpartition(".")[2])
        for bucket in context.profile.config_buckets
        if qualified in bucket.bases
        for known in bucket.bases
    }
    return any(kind.lower() in cls.fact.name.lower() for kind in kinds if kind)


def _lacks(context: Context, cls: Placed[ClassFacts], wanted: object) -> str:
    """What the class misses, as the end of a sentence."""
    if not isinstance(wanted, Placed):
        return ""
    missing = [n for n in _fields(context, wanted) if n not in _fields(context, cls)]
    if not missing:
        return ""
    named = ", ".join(f"'{n}'" for n in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more fields" if len(missing) > _NAMED else ""
    return f": it lacks {named}{more}, which the loader asks for"


def _fields(context: Context, cls: Placed[ClassFacts]) -> tuple[str, ...]:
    """The annotated names of a class and its bases, nearest first."""
    return tuple(
        dict.fromkeys(
            name
            for owner in context.names.ancestry(cls).classes
            for attribute in owner.fact.attributes
            if attribute.annotation is not None
            for name in attribute.names
        )
    )


def _fix(context: Context, cls: Placed[ClassFacts], stray: _Stray) -> Fix | None:
    """None where the right base is one of several, or where the class names another one."""
    base = cls.fact.bases[stray.index]
    if not stray.direct or len(stray.wanted) != 1 or not isinstance(base, Reference):
        return None
    wanted = context.names.by_qualified(stray.wanted[0])
    if not isinstance(wanted, Placed) or not isinstance(wanted.fact, ClassFacts):
        return None
    module, _, name = stray.wanted[0].rpartition(".")
    annotations: list[JsonValue] = []
    held = cls.fact.attribute("arch_config")
    if held is not None and isinstance(held.annotation, Reference):
        meant = context.names.class_of(cls.path, held.annotation.dotted)
        bucket = context.profile.bucket_of(cls.path)
        if meant is not None and bucket is not None and len(bucket.arch_bases) == 1:
            qualified = context.names.qualified_class(meant)
            if any(qualified in b.arch_bases for b in context.profile.config_buckets if b is not bucket):
                annotations = [held.annotation.dotted, *_split(bucket.arch_bases[0])]
    return Fix(
        title=f"Derive '{cls.fact.name}' from '{name}'",
        operation="replace-base",
        arguments={
            "path": cls.path,
            "class": cls.fact.name,
            "old": base.dotted,
            "module": module,
            "new": name,
            "annotation": annotations,
        },
        applicability=Applicability.SAFE if _keeps_all(context, cls, wanted) else Applicability.UNSAFE,
    )


def _split(qualified: str) -> tuple[str, str]:
    module, _, name = qualified.rpartition(".")
    return module, name


def _keeps_all(context: Context, cls: Placed[ClassFacts], wanted: Placed[ClassFacts]) -> bool:
    """Whether nothing of the class reads a field that only the base it loses brings."""
    own = {n for a in cls.fact.attributes for n in a.names}
    lost = {*_fields(context, cls)} - own - {*_fields(context, wanted)}
    read = {r.partition(".")[0] for m in cls.fact.methods for r in m.reads}
    family = cls.path.rpartition("/")[2]
    model = f"{context.profile.dits}/{family}"
    known = context.project.sources.exists(model)
    words = context.project.sources.words(model) if known else frozenset[str]()
    return not lost & read and not lost & words


_FILE = "fastvideo/configs/models/dits/echo.py"
_TREE = {
    "fastvideo/configs/models/encoders/__init__.py": "",
    "fastvideo/configs/models/encoders/base.py": """\
from dataclasses import dataclass, field

from fastvideo.configs.models.base import ArchConfig, ModelConfig


@dataclass
class EncoderArchConfig(ArchConfig):
    architectures: list = field(default_factory=list)
    output_hidden_states: bool = False


@dataclass
class TextEncoderArchConfig(EncoderArchConfig):
    vocab_size: int = 0


@dataclass
class EncoderConfig(ModelConfig):
    arch_config: ArchConfig = field(default_factory=EncoderArchConfig)
""",
    "fastvideo/configs/models/encoders/t5.py": """\
from dataclasses import dataclass

from fastvideo.configs.models.encoders.base import TextEncoderArchConfig


@dataclass
class T5ArchConfig(TextEncoderArchConfig):
    d_model: int = 512
""",
    "fastvideo/configs/models/vaes/__init__.py": "",
    "fastvideo/configs/models/vaes/base.py": """\
from dataclasses import dataclass, field

from fastvideo.configs.models.base import ArchConfig, ModelConfig


@dataclass
class VAEArchConfig(ArchConfig):
    scaling_factor: float = 0.0


@dataclass
class VAEConfig(ModelConfig):
    arch_config: VAEArchConfig = field(default_factory=VAEArchConfig)
    load_encoder: bool = True
""",
    "fastvideo/configs/models/dits/__init__.py": """\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.configs.models.dits.sound import SoundConfig

__all__ = ["EchoConfig", "SoundConfig"]
""",
}


def _tree(text: str, path: str = _FILE) -> dict[str, str]:
    return {**_TREE, path: text}


_ENCODER = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTConfig
from fastvideo.configs.models.encoders.base import EncoderArchConfig


@dataclass
class EchoArchConfig(EncoderArchConfig):  # 2 layers
    num_layers: int = 2


@dataclass
class EchoConfig(DiTConfig):
    arch_config: EchoArchConfig = field(default_factory=EchoArchConfig)
"""
_ENCODER_FIXED = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):  # 2 layers
    num_layers: int = 2


@dataclass
class EchoConfig(DiTConfig):
    arch_config: EchoArchConfig = field(default_factory=EchoArchConfig)
"""
_PLAIN = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.base import ArchConfig, ModelConfig


@dataclass
class EchoArchConfig(ArchConfig):
    num_layers: int = 2


@dataclass
class EchoConfig(ModelConfig):
    arch_config: ArchConfig = field(default_factory=EchoArchConfig)
"""
_PLAIN_FIXED = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.base import ArchConfig
from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    num_layers: int = 2


@dataclass
class EchoConfig(DiTConfig):
    arch_config: ArchConfig = field(default_factory=EchoArchConfig)
"""
_VAE_WHOLE = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig
from fastvideo.configs.models.vaes.base import VAEArchConfig, VAEConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    num_layers: int = 2


@dataclass
class EchoConfig(VAEConfig):
    arch_config: VAEArchConfig = field(default_factory=EchoArchConfig)
"""
_VAE_WHOLE_FIXED = """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    num_layers: int = 2


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""

RULE = Rule(
    code="DIT301",
    name="config-bucket",
    severity=Severity.ERROR,
    tier=Tier.PROJECT,
    summary="a config derives from another bucket's base",
    what=(
        "Reports an arch config or config below `configs/models/<bucket>/` whose bases lead to the base of "
        "another bucket (a DiT's arch config that derives from `EncoderArchConfig` or `VAEArchConfig`), and, "
        "among the DiTs, to the plain `ArchConfig` or `ModelConfig` only."
    ),
    why=(
        "Each kind of model is loaded by its own loader, which reads the fields of its own base: a DiT "
        "config without `DiTArchConfig`'s fields has no `_fsdp_shard_conditions`, no `param_names_mapping` "
        "and no `DiTArchConfig.__post_init__`, so loading raises `AttributeError` or shards nothing."
    ),
    how=(
        "Derive from the bucket's own base. The fix replaces the base and its import where the class names "
        "the wrong one itself; it is unsafe where something reads a field that only the old base has."
    ),
    exceptions=(
        "A class that derives from its bucket's base as well, buckets without a base of their own (audio), "
        "and the plain bases outside the DiT folder: nothing there asks for more."
    ),
    source="`fastvideo/configs/models/*/base.py`; `fastvideo/models/loader/component_loader.py`",
    fixable=Applicability.SAFE,
    check=check,
    valid=(
        Example(
            "The bucket's own base, through a sibling",
            {
                "fastvideo/configs/models/dits/echo.py": """\
from dataclasses import dataclass

from fastvideo.configs.models.dits.sound import SoundArchConfig, SoundConfig


@dataclass
class EchoArchConfig(SoundArchConfig):
    num_layers: int = 2


@dataclass
class EchoConfig(SoundConfig):
    prefix: str = "echo"
"""
            },
        ),
        Example(
            "An encoder's config that derives from another encoder's",
            _tree(
                """\
from fastvideo.configs.models.encoders.t5 import T5ArchConfig


class UMT5ArchConfig(T5ArchConfig):
    d_model: int = 4096
""",
                "fastvideo/configs/models/encoders/umt5.py",
            )
            | {"fastvideo/configs/models/dits/__init__.py": None},
        ),
        Example(
            "The plain base outside the DiT folder",
            _tree(
                """\
from fastvideo.configs.models.base import ArchConfig


class DacArchConfig(ArchConfig):
    codebook_size: int = 1024
""",
                "fastvideo/configs/models/vaes/dac.py",
            )
            | {"fastvideo/configs/models/dits/__init__.py": None},
        ),
        Example(
            "Both bases, the bucket's own among them; a base that cannot be followed; no config at all",
            _tree("""\
import enum

from somewhere import KnownElsewhere

from fastvideo.configs.models.dits.base import DiTArchConfig
from fastvideo.configs.models.dits.sound import SoundConfig
from fastvideo.configs.models.encoders.base import EncoderArchConfig
from fastvideo.unknown import Hidden


class RopeType(enum.Enum):
    SPLIT = "split"


class JointArchConfig(DiTArchConfig, EncoderArchConfig):
    num_layers: int = 2


class EchoArchConfig(Hidden, EncoderArchConfig):
    num_layers: int = 2


class EchoConfig(SoundConfig):
    prefix: str = "echo"
"""),
        ),
    ),
    invalid=(
        Example(
            "A DiT's arch config on the encoders' base",
            _tree(_ENCODER),
            (
                Expected(
                    _FILE,
                    8,
                    "'EchoArchConfig' stands with the configs of dits but derives from "
                    "'EncoderArchConfig' of "
                    "encoders, not from 'DiTArchConfig': it lacks '_fsdp_shard_conditions'",
                    Severity.ERROR,
                ),
            ),
            fixed={_FILE: _ENCODER_FIXED},
        ),
        Example(
            "An encoder's arch config in the DiTs' folder: the base is right, the place is not",
            _tree(_ENCODER.replace("class EchoArchConfig", "class EchoEncoderArchConfig")),
            (
                Expected(
                    _FILE,
                    8,
                    "derives from 'EncoderArchConfig' of encoders, as its name says: it stands in the wrong "
                    "folder",
                ),
            ),
        ),
        Example(
            "Neither of the two on the DiTs' base",
            _tree(_PLAIN),
            (
                Expected(_FILE, 7, "'ArchConfig' of no kind of model, not from 'DiTArchConfig'"),
                Expected(_FILE, 12, "'ModelConfig' of no kind of model, not from 'DiTConfig'"),
            ),
            fixed={_FILE: _PLAIN_FIXED},
        ),
        Example(
            "A DiT's config on the VAEs' base, with its annotation",
            _tree(_VAE_WHOLE),
            (
                Expected(
                    _FILE, 13, "'EchoConfig' stands with the configs of dits but derives from 'VAEConfig'"
                ),
            ),
            fixed={_FILE: _VAE_WHOLE_FIXED},
        ),
        Example(
            "A field of the old base is read: the fix is not safe; a sibling is reported once",
            _tree("""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTConfig
import fastvideo.configs.models.vaes.base as vaes


@dataclass
class EchoArchConfig(vaes.VAEArchConfig):
    num_layers: int = 2

    def scaled(self):
        return self.scaling_factor * 2


@dataclass
class LoudEchoArchConfig(EchoArchConfig):
    num_layers: int = 4


@dataclass
class EchoConfig(DiTConfig):
    arch_config: EchoArchConfig = field(default_factory=EchoArchConfig)
"""),
            (Expected(_FILE, 8, "derives from 'VAEArchConfig' of vaes"),),
        ),
        Example(
            "Through another bucket's model, where no base can be put in its place",
            _tree("""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTConfig
from fastvideo.configs.models.encoders.t5 import T5ArchConfig


@dataclass
class EchoArchConfig(T5ArchConfig):
    num_layers: int = 2


@dataclass
class EchoConfig(DiTConfig):
    arch_config: EchoArchConfig = field(default_factory=EchoArchConfig)
"""),
            (Expected(_FILE, 8, "derives from 'TextEncoderArchConfig' of encoders"),),
        ),
        Example(
            "A VAE's config on the DiTs' base",
            _tree(
                """\
from fastvideo.configs.models.dits import base


class EchoVAEArchConfig(base.DiTArchConfig):
    scaling_factor: float = 0.5
""",
                "fastvideo/configs/models/vaes/echovae.py",
            )
            | {"fastvideo/configs/models/dits/__init__.py": None},
            (
                Expected(
                    "fastvideo/configs/models/vaes/echovae.py",
                    4,
                    "'EchoVAEArchConfig' stands with the configs of vaes but derives from 'DiTArchConfig' "
                    "of dits",
                ),
            ),
        ),
    ),
)
