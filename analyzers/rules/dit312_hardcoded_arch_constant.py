"""DIT312 hardcoded-arch-constant: a number in the model that its arch config carries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from analyzers.facts.literals import LocalConstant, is_number, local_constants
from analyzers.facts.model import (
    Assignment,
    CallFact,
    ClassFacts,
    Expr,
    FunctionFacts,
    Placed,
    Reference,
    literal,
)
from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.names import Missing, Resolved
from analyzers.project.ports import Port
from analyzers.project.readers import own_fields
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_GENERIC: Final = frozenset(
    {"in_channels", "out_channels", "dim", "channels", "in_features", "out_features", "kernel_size", "stride"}
    | {"padding", "size", "width", "height", "bias", "dropout"}
)
"""Parameters that every layer has, each time for something else."""

_A_SIZE: Final = 128
"""From here on a number that equals a field is hardly chance."""

_DEPTH: Final = re.compile(r"(?:layers|blocks|depth)(?:_|$)")
"""Fields that count the members of a list of modules."""

_NAMED: Final = 3
"""Further places that a finding names at most."""


@dataclass(frozen=True)
class _Carried:
    """A field of the arch config: where it is declared, and its default where that is a number.

    `value` is None where the field is computed.
    """

    name: str
    location: Location
    value: object | None


@dataclass(frozen=True)
class _Written:
    """A number that is written out: the place, and what it is (`self.hidden_size = 3072`)."""

    location: Location
    value: object
    text: str


def check(context: Context) -> Iterator[Finding]:
    """Looks at the ports of the file."""
    path = context.file.path
    if not path.startswith(context.profile.dits + "/"):
        return
    seen: set[Location] = set()
    for port in context.project.ports:
        if port.cls.path == path and port.arch_config is not None and not port.cls.fact.partial:
            for finding in _of_port(context, port, port.arch_config):
                if finding.location not in seen:
                    seen.add(finding.location)
                    yield finding


def written_out(context: Context, port: Port) -> frozenset[str]:
    """The fields of the port's arch config whose values its model writes out."""
    arch = port.arch_config
    if arch is None or port.cls.fact.partial:
        return frozenset()
    return frozenset((f.symbol or "").rpartition(".")[2] for f in _of_port(context, port, arch))


def _of_port(context: Context, port: Port, arch: Placed[ClassFacts]) -> Iterator[Finding]:
    key = ("carried numbers", arch.path, arch.line, arch.fact.name)
    memory = context.project.sources.memory
    carried = memory.about(arch.path, arch.fact, key, lambda: _carried(context, arch))
    at_hand = (
        *_on_the_model(context, port.cls, _constructor(port)),
        *_in_the_constructor(context, port, carried),
        *(found for p in _parts_with_config(context, port, arch) for found in _on_the_model(context, *p)),
    )
    for name, written in at_hand:
        field = carried.get(name)
        if field is None or (isinstance(field.value, (int, float)) and not field.value):
            continue
        computed = field.value is None
        what = f"computes '{name}'" if computed else f"carries {name} = {_shown(field.value)}"
        yield _finding(
            context,
            port,
            written,
            field,
            f"'{written.text}' is written out, while '{arch.fact.name}' {what}: {_effect(written, field)}",
        )
    for name, places in _nobody_asks(context, port, carried).items():
        field = carried[name]
        others = tuple(Related(p.location, "and here") for p in places[1 : 1 + _NAMED])
        yield _finding(
            context,
            port,
            places[0],
            field,
            f"'{places[0].text}' is written out, while '{arch.fact.name}' carries {name} = "
            f"{_shown(field.value)} and no part of the model reads it: setting it changes nothing",
            others,
        )


def _effect(written: _Written, field: _Carried) -> str:
    if field.value is None:
        return "a change there does not reach the model"
    differs = "" if _equal(written.value, field.value) else ", and its default is another one already"
    return f"a checkpoint or variant that sets it is not heard{differs}"


def _finding(
    context: Context,
    port: Port,
    written: _Written,
    field: _Carried,
    message: str,
    others: tuple[Related, ...] = (),
) -> Finding:
    return context.finding(
        written.location,
        message,
        symbol=f"{port.name}.{field.name}",
        port=port.name,
        related=(Related(field.location, "the field of the arch config"), *others),
    )


# --------------------------------------------------------------------------- the arch config


def _carried(context: Context, arch: Placed[ClassFacts]) -> dict[str, _Carried]:
    """The fields of an arch config that hold, or compute, a number."""
    found: dict[str, _Carried] = {}
    classes = context.names.ancestry(arch).classes
    methods = [m for c in classes if (m := c.fact.method("__post_init__")) is not None]
    computed = {a.name for m in methods for a in m.assignments if not a.conditional}
    for owner in reversed(classes):
        for name in own_fields(owner):
            field = next(a for a in owner.fact.attributes if name in a.names and a.annotation is not None)
            outcome = context.names.config_field(arch, (name,))
            if isinstance(outcome, Missing):
                continue
            value = _number(outcome.value) if isinstance(outcome, Resolved) else None
            if value is not None or name in computed:
                found[name] = _Carried(name, owner.at(field.span), value)
            else:
                found.pop(name, None)
    return found


def _number(expr: Expr | None) -> object | None:
    try:
        value = literal(expr)
    except ValueError:
        return None
    return value if is_number(value) else None


def _written_number(context: Context, path: str, expr: Expr | None) -> object | None:
    """A number that is written out, here or as a constant of a module (`HIDDEN_SIZE = 3072`)."""
    if isinstance(expr, Reference) and expr.tail.isupper():
        found = context.names.resolve(path, expr.dotted)
        if isinstance(found, Placed) and isinstance(found.fact, Assignment):
            return _number(found.fact.value)
        return None
    return _number(expr)


def _source(expr: Expr | None, value: object) -> str:
    """A number as it is written: itself, or the constant's name with it."""
    return f"{expr.dotted} ({_shown(value)})" if isinstance(expr, Reference) else _shown(value)


def _shown(value: object) -> str:
    return repr(value)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    return one == other


# --------------------------------------------------------------------------- where the config is at hand


def _parts_with_config(
    context: Context, port: Port, arch: Placed[ClassFacts]
) -> Iterator[tuple[Placed[ClassFacts], Placed[FunctionFacts]]]:
    """Classes of the file that are built with the port's own config, as an annotation says."""
    names = context.names
    owners = [c for c in (port.config, arch) if c is not None]
    own = {names.qualified_class(c) for owner in owners for c in names.ancestry(owner).classes}
    own -= {context.profile.model_config_base, context.profile.arch_config_base}
    for cls in _classes_beside(context, port):
        init = cls.fact.method("__init__")
        if init is None or cls.fact.partial or cls.fact.name == port.name:
            continue
        given = (p.annotation for p in init.parameters if isinstance(p.annotation, Reference))
        kinds = (names.class_of(cls.path, annotation.dotted) for annotation in given)
        if any(kind is not None and names.qualified_class(kind) in own for kind in kinds):
            yield cls, Placed(init, cls.path, cls.line)


def _on_the_model(
    context: Context, cls: Placed[ClassFacts], init: Placed[FunctionFacts] | None
) -> Iterator[tuple[str, _Written]]:
    """Class attributes, and attributes that the constructor sets once and without a condition."""
    stored: dict[str, int] = {}
    for method in cls.fact.methods:
        for item in method.assignments:
            stored[item.name] = stored.get(item.name, 0) + 1
    for attribute in cls.fact.attributes:
        value = _number(attribute.value)
        for name in attribute.names:
            if value is not None and name not in stored and not attribute.augmented:
                text = f"{name} = {_shown(value)}"
                yield name, _Written(cls.at(attribute.span), value, text)
    if init is None:
        return
    own = init.fact.parameters[0].name if init.fact.parameters else "self"
    for item in init.fact.assignments:
        value = _written_number(context, init.path, item.value)
        if value is not None and not item.conditional and stored[item.name] == 1:
            text = f"{own}.{item.name} = {_source(item.value, value)}"
            yield item.name, _Written(init.at(item.span), value, text)


def _in_the_constructor(
    context: Context, port: Port, carried: dict[str, _Carried]
) -> Iterator[tuple[str, _Written]]:
    """Local names and keywords of the constructor."""
    init = _constructor(port)
    if init is None:
        return
    start = context.project.sources.bodies.start(init)
    for local in context.project.derived("local constants", init, local_constants) or ():
        field = carried.get(local.name)
        if local.name not in _GENERIC or (field is not None and _equal(local.value, field.value)):
            yield local.name, _of_local(init, start, local)
    for call in init.fact.calls:
        for keyword in call.call.keywords:
            value = _number(keyword.value)
            if keyword.name is None or value is None:
                continue
            written = _Written(
                init.at(keyword.span), value, f"{call.call.callee or '...'}({keyword.name}={_shown(value)})"
            )
            prefixed = _prefixed(call, keyword.name, carried)
            if prefixed is not None:
                yield prefixed, written
                continue
            field = carried.get(keyword.name)
            if field is None or field.value is None or keyword.name in _GENERIC:
                continue
            # With another value it may be a layer's own number, unless nothing reads the field.
            if _equal(value, field.value) or _is_unread(context, port, field.name):
                yield keyword.name, written
        yield from _by_position(context, init, call, carried)


def _by_position(
    context: Context, init: Placed[FunctionFacts], call: CallFact, carried: dict[str, _Carried]
) -> Iterator[tuple[str, _Written]]:
    """The same for arguments by position, where the class that is made is in the tree."""
    if not any(_number(a) is not None for a in call.call.arguments) or call.call.unpacks:
        return
    made = context.names.class_of(init.path, call.call.callee or "")
    constructed = made.fact.method("__init__") if made is not None else None
    for parameter, argument in zip(
        constructed.parameters[1:] if constructed is not None else (), call.call.arguments, strict=False
    ):
        field, value = carried.get(parameter.name), _number(argument)
        if field is None or value is None or parameter.name in _GENERIC or not _equal(value, field.value):
            continue
        text = f"{call.call.callee}({parameter.name}={_shown(value)})"
        yield parameter.name, _Written(init.at(argument.span), value, text)


def _of_local(init: Placed[FunctionFacts], start: int, local: LocalConstant) -> _Written:
    return _Written(
        Location(init.path, local.span.shifted(start)), local.value, f"{local.name} = {_shown(local.value)}"
    )


def _prefixed(call: CallFact, name: str, carried: dict[str, _Carried]) -> str | None:
    """The field `camera_out_channels` for `out_channels`, where the same call takes its `in_channels`
    from `camera_in_channels`."""
    for other in call.call.keywords:
        if other.name is None or other.name == name or not isinstance(other.value, Reference):
            continue
        tail = other.value.tail
        prefix = tail.removesuffix(other.name)
        if prefix not in ("", tail) and "." in other.value.dotted and f"{prefix}{name}" in carried:
            return f"{prefix}{name}"
    return None


def _classes_beside(context: Context, port: Port) -> tuple[Placed[ClassFacts], ...]:
    """The classes of the port's file."""
    facts = context.project.file(port.cls.path)
    return tuple(facts.classes) if facts is not None else ()


def _constructor(port: Port) -> Placed[FunctionFacts] | None:
    """The port's own `__init__`, where it is given the config."""
    init = port.cls.fact.method("__init__")
    if init is None or init.parameter("config") is None:
        return None
    return Placed(init, port.cls.path, port.cls.line)


# --------------------------------------------------------------------------- where nobody asks the config


def _nobody_asks(
    context: Context, port: Port, carried: dict[str, _Carried]
) -> dict[str, tuple[_Written, ...]]:
    """Fields that the model never reads, with the places of its file that write their value out."""
    written: dict[str, list[_Written]] = {}
    init = _constructor(port)
    for cls in _classes_beside(context, port):
        method = cls.fact.method("__init__")
        if method is None:
            continue
        function = Placed(method, cls.path, cls.line)
        own = init is not None and (function.path, function.fact.span) == (init.path, init.fact.span)
        for call in function.fact.calls:
            for name, place in _with_value(context, function, call, carried, by_value=own):
                written.setdefault(name, []).append(place)
    if not written:
        return {}
    return {
        name: tuple(sorted(places, key=lambda p: p.location))
        for name, places in written.items()
        if _is_unread(context, port, name)
    }


def _is_unread(context: Context, port: Port, name: str) -> bool:
    """Whether no part of the model, and no config that it is built from, reads a field."""
    readers = context.project.readers
    files = readers.model_files(port)
    arch = port.arch_config
    configs = {c.path for c in context.names.ancestry(arch).classes} if arch is not None else set()
    return (
        not readers.hands_on_whole(files)
        and all(read.base == "self" for read in readers.reads_in_all(files, name))
        and not readers.reads_in_all(sorted(configs), name)
    )


def _with_value(
    context: Context,
    function: Placed[FunctionFacts],
    call: CallFact,
    carried: dict[str, _Carried],
    *,
    by_value: bool,
) -> Iterator[tuple[str, _Written]]:
    """The arguments of a call that have the value of a field: by the field's name, and (`by_value`) by a
    size that no other field has."""
    callee = call.call.callee or "..."
    for keyword in call.call.keywords:
        field, value = carried.get(keyword.name or ""), _number(keyword.value)
        if field is None or value is None or field.name in _GENERIC or not field.value:
            continue
        if _equal(value, field.value):
            text = f"{callee}({field.name}={_shown(value)})"
            yield field.name, _Written(function.at(keyword.span), value, text)
    if by_value and callee == "range" and len(call.call.arguments) == 1:
        given = call.call.arguments[0]
        value = _written_number(context, function.path, given)
        depths = [f for f in carried.values() if _DEPTH.search(f.name) and f.value == value]
        if isinstance(value, int) and len(depths) == 1:
            text = f"range({_source(given, value)})"
            yield depths[0].name, _Written(function.at(given.span), value, text)
        return
    for argument in call.call.arguments if by_value else ():
        value = _number(argument)
        fields = [f for f in carried.values() if isinstance(value, int) and f.value == value]
        if isinstance(value, int) and value >= _A_SIZE and len(fields) == 1:
            text = f"{callee}({_shown(value)}, ...)"
            yield fields[0].name, _Written(function.at(argument.span), value, text)


_CONFIG = "fastvideo/configs/models/dits/echo.py"
_MODEL = "fastvideo/models/dits/echo.py"


def _tree(constructor: str, before: str = "", body: str = "") -> dict[str, str | None]:
    return {
        _CONFIG: """\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    num_layers: int = 30
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    in_channels: int = 16
    text_dim: int = 4096
    patch_size: tuple[int, int, int] = (1, 2, 2)
    camera_in_channels: int = 6
    camera_out_channels: int = 12
    image_dim: int | None = None
    qk_norm: str = "rms_norm"
    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hidden_size = self.num_attention_heads * self.attention_head_dim


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
""",
        _MODEL: f"""\
from torch import nn

from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.models.dits.base import BaseDiT


class EchoBlock(nn.Module):

    def __init__(self, dim, num_attention_heads=24, eps=1e-6):
        super().__init__()
{before or "        self.norm = nn.LayerNorm(dim, eps=eps)"}


class EchoTransformer3DModel(BaseDiT):
    param_names_mapping = EchoConfig().param_names_mapping
{body}
    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
{constructor}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
""",
    }


RULE = Rule(
    code="DIT312",
    name="hardcoded-arch-constant",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a number in the model that its arch config carries",
    what=(
        "Reports a number that a port writes out although a field of its arch config holds it: an attribute "
        "of the model (or of a part that is given the config) or a local name of its constructor "
        "called like the field (`self.hidden_size = 3072`), "
        "an argument called like it and of the same value (`num_attention_heads=24`, also by position where "
        "the class is in the tree), `out_channels=16` beside `in_channels=arch.camera_in_channels` where "
        "there "
        "is `camera_out_channels`, and a value in one of the port's blocks whose field no part of the model "
        "reads (`eps=1e-6`, `nn.Linear(4096, ...)`, `range(30)` for `num_layers`). A constant of the module "
        "(`HIDDEN_SIZE`) counts as what it holds."
    ),
    why=(
        "`update_model_arch` fills the arch config from the checkpoint's `config.json`; a number in the "
        "model "
        "does not follow. The next size of the model loads with wrong shapes, or, for an eps or a RoPE "
        "length, "
        "loads and computes something else."
    ),
    how="Read it from the config: `config.<field>`, handed down to the block that needs it.",
    exceptions=(
        "Arguments that every layer has for something else (`in_channels`, `dim`, ...), arguments of another "
        "value (they may be the layer's own), attributes that are set again or under a condition, fields "
        "whose default is 0 or None, blocks of a model that reads the field elsewhere, and models that take "
        "their config apart as a whole."
    ),
    source="`fastvideo/configs/models/base.py` (`update_model_arch`); `fastvideo/models/dits/wanvideo.py`",
    check=check,
    valid=(
        Example(
            "Everything from the config",
            _tree("""\
        arch = config.arch_config
        self.hidden_size = arch.hidden_size
        num_attention_heads = config.num_attention_heads
        self.text = nn.Linear(config.text_dim, self.hidden_size)
        self.blocks = nn.ModuleList([EchoBlock(self.hidden_size, num_attention_heads, eps=config.eps)])
"""),
        ),
        Example(
            "Other numbers: a layer's own channels, a refiner's depth, another value, a block's default",
            _tree("""\
        self.proj = nn.Conv3d(in_channels=16, out_channels=3072, kernel_size=2)
        self.layers = range(config.num_layers)
        self.refiner = EchoRefiner(num_layers=2, in_channels=256)
        self.norm = nn.LayerNorm(64, eps=1e-5)
        self.eps = config.eps
        self.text = nn.Linear(config.text_dim, 64)
        self.step = 24
        self.second = [EchoBlock(8) for _ in range(30)]
        in_channels = 256
        self.other = nn.Linear(in_channels, 64)
"""),
        ),
        Example(
            "Set again, under a condition, or where the config says nothing",
            _tree("""\
        self.num_layers = 0
        self.num_layers = config.num_layers
        if config.num_layers is None:
            self.num_attention_heads = 24
        self.image_dim = 1280
        self.num_channels_latents = 16
        self.out_channels = 16
"""),
        ),
        Example(
            "A block's eps beside the config's, which the model reads; a config that is taken apart",
            {
                **_tree(
                    "        self.norm_out = nn.LayerNorm(8, eps=config.eps)\n",
                    before="        self.norm = nn.LayerNorm(dim, eps=1e-6)\n",
                ),
                "fastvideo/models/dits/whole.py": """\
from torch import nn

from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.models.dits.base import BaseDiT


class WholeTransformer3DModel(BaseDiT):
    param_names_mapping = EchoConfig().param_names_mapping

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.stack = Stack(**hf_config)
        self.text = nn.Linear(4096, 8)

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = WholeTransformer3DModel
""",
            },
        ),
    ),
    invalid=(
        Example(
            "On the model: another value, the same, one that the config computes, a class attribute",
            _tree(
                """\
        self.num_layers = 40
        self.num_attention_heads: int = 24
        self.hidden_size = 3072
""",
                body="    patch_size = (1, 2, 2)\n",
            ),
            (
                Expected(
                    _MODEL, 16, "'patch_size = (1, 2, 2)' is written out, while 'EchoArchConfig' carries"
                ),
                Expected(
                    _MODEL,
                    20,
                    "'self.num_layers = 40' is written out, while 'EchoArchConfig' carries num_layers = "
                    "30: a "
                    "checkpoint or variant that sets it is not heard, and its default is another one already",
                    Severity.WARNING,
                ),
                Expected(_MODEL, 21, "carries num_attention_heads = 24"),
                Expected(_MODEL, 22, "while 'EchoArchConfig' computes 'hidden_size'"),
            ),
        ),
        Example(
            "In the constructor: a local name, a keyword, a position",
            _tree("""\
        attention_head_dim = 64
        self.rope = Rope(attention_head_dim)
        self.first = Attention(8, num_attention_heads=24)
        self.second = EchoBlock(8, 24)
"""),
            (
                Expected(_MODEL, 19, "'attention_head_dim = 64' is written out"),
                Expected(_MODEL, 21, "'Attention(num_attention_heads=24)'"),
                Expected(_MODEL, 22, "'EchoBlock(num_attention_heads=24)'"),
            ),
        ),
        Example(
            "Constants of the module, and a list of blocks of a fixed length",
            _tree(
                """\
        self.hidden_size = HIDDEN_SIZE
        self.blocks = nn.ModuleList([EchoBlock(self.hidden_size) for _ in range(NUM_BLOCKS)])
        self.first = nn.ModuleList(EchoBlock(config.hidden_size) for _ in range(30))
        self.refiner = nn.ModuleList(EchoBlock(config.hidden_size) for _ in range(4))
""",
                before="""\
        self.norm = nn.LayerNorm(dim, eps=eps)


HIDDEN_SIZE = 3072
NUM_BLOCKS = 30""",
            ),
            (
                Expected(_MODEL, 23, "'self.hidden_size = HIDDEN_SIZE (3072)' is written out"),
                Expected(
                    _MODEL,
                    24,
                    "'range(NUM_BLOCKS (30))' is written out, while 'EchoArchConfig' carries num_layers = 30 "
                    "and no part of the model reads it",
                ),
            ),
        ),
        Example(
            "A part of the model that is given the config",
            _tree(
                "        self.head = EchoHead(config)\n",
                before="""\
        self.norm = nn.LayerNorm(dim, eps=eps)


class EchoHead(nn.Module):

    def __init__(self, config: EchoConfig):
        super().__init__()
        self.patch_size = (1, 1, 1)
""",
            ),
            (
                Expected(
                    _MODEL, 18, "'self.patch_size = (1, 1, 1)' is written out, while 'EchoArchConfig' carries"
                ),
            ),
        ),
        Example(
            "One of a pair",
            _tree("""\
        arch = config.arch_config
        self.camera = Camera(in_channels=arch.camera_in_channels, out_channels=16)
"""),
            (
                Expected(
                    _MODEL,
                    20,
                    "'Camera(out_channels=16)' is written out, while 'EchoArchConfig' carries camera",
                ),
            ),
        ),
        Example(
            "Fields that the model never reads: an eps in its block, the width of its text",
            _tree(
                "        self.text = nn.Linear(4096, config.hidden_size)\n",
                before="""\
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
""",
            ),
            (
                Expected(
                    _MODEL,
                    11,
                    "'nn.LayerNorm(eps=1e-06)' is written out, while 'EchoArchConfig' carries eps = 1e-06 "
                    "and no "
                    "part of the model reads it",
                ),
                Expected(
                    _MODEL,
                    21,
                    "'nn.Linear(4096, ...)' is written out, while 'EchoArchConfig' carries text_dim",
                ),
            ),
        ),
    ),
)
