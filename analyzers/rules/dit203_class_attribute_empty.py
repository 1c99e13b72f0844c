"""DIT203 class-attribute-empty: sharding or compile conditions that come down to an empty list."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.model import Call, ClassFacts, Collection, Placed
from analyzers.findings import Applicability, Finding, Fix, Location, Related, Severity
from analyzers.project.comments import comments_about, statement_around
from analyzers.project.contract import default_constructible
from analyzers.project.names import Resolved
from analyzers.project.ports import Port
from analyzers.rules.base import Context, Example, Expected, Rule, Tier

_CONSEQUENCES = {
    "_fsdp_shard_conditions": "FSDP shards nothing, and says so only in a log line",
    "_compile_conditions": "no block is compiled on its own",
}

_INTENDED = re.compile(
    r"(?i)\b(?:intention(?:al|ally)?|intended|deliberate(?:ly)?|on purpose|by design|empty|disabled?|disables"
    r"|skip(?:ped|s)?|never|without|unused|unsupported|not|no|none|nothing|off|cannot|can't|doesn't|don't"
    r"|isn't|aren't|avoids?|eager|only|too|because|since|single|fits)\b"
)
"""Words of a comment that says why there are no conditions."""

_OPEN = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
"""Words of a comment that says that something is still to be done: that is no reason."""

_PRAGMA = re.compile(r"#\s*(?:type:|noqa|pragma|pylint|mypy|pyright|ruff|fmt|yapf|isort|ditproof:)")


def check(context: Context) -> Iterator[Finding]:
    """Reports a port that decides on the empty list itself, or leaves it to the base."""
    for port in context.project.ports:
        if port.cls.path != context.file.path or port.cls.fact.partial:
            continue
        if context.project.is_helper_base(port):
            continue
        for name, consequence in _CONSEQUENCES.items():
            yield from _check_attribute(context, port, name, consequence)


def _check_attribute(context: Context, port: Port, name: str, consequence: str) -> Iterator[Finding]:
    names = context.names
    outcome = names.class_attribute(port.cls, name)
    if not isinstance(outcome, Resolved) or not isinstance(outcome.value, Collection) or outcome.value.items:
        return
    owners = [c for c in names.ancestry(port.cls).classes if c.fact.attribute(name) is not None]
    if not owners:
        return
    owner = owners[0]
    if any(
        name == a.name
        for c in names.ancestry(port.cls).classes
        for m in c.fact.methods
        for a in m.assignments
    ):
        return  # set on the instance, which is what the loader reads
    base = context.project.contract.base if context.project.contract is not None else None
    inherited = owner != port.cls
    if inherited and (base is None or names.qualified_class(owner) != names.qualified_class(base)):
        return  # decided in another class below the base, which is where it would be mended
    assignment = owner.fact.attribute(name)
    if assignment is None or _is_intended(context, outcome):
        return
    where = port.location
    if not inherited and assignment.value is not None:
        where = owner.at(assignment.value.span)
    origin = outcome.config.fact.name if outcome.config is not None else None
    if origin is not None:
        said = f"'{name}' copies an empty list from {origin}"
    elif inherited:
        said = f"'{port.name}' defines no '{name}', and the base's is empty"
    else:
        said = f"'{name}' is empty"
    related = [Related(outcome.location, "the empty list")]
    if outcome.config is not None:
        related.append(Related(outcome.config.at(outcome.config.fact.name_span), "the config"))
    yield context.finding(
        where,
        f"{said}: {consequence}; list the blocks, or say in a comment why there are none",
        symbol=name,
        port=port.name,
        related=tuple(r for r in related if r.location != where),
        fix=_copy_fix(context, port, name) or _condition_fix(context, port, outcome),
    )


def _copy_fix(context: Context, port: Port, name: str) -> Fix | None:
    """Copies what the port's config holds."""
    names, config = context.names, port.config
    if config is None or not default_constructible(names, config):
        return None
    found = names.config_field(config, (name,))
    if not isinstance(found, Resolved) or not isinstance(found.value, Collection) or not found.value.items:
        return None
    arch = names.arch_config_class(config)
    shared = arch is not None and names.config_field(arch, (name,)) == found
    return Fix(
        f"Copy {name} from {config.fact.name}",
        "copy-class-attribute",
        {
            "path": port.cls.path,
            "class": port.name,
            "attribute": name,
            "config": config.fact.name,
            "module": names.module_name(config.path),
            "makers": [config.fact.name, *([arch.fact.name] if arch is not None and shared else [])],
        },
        Applicability.UNSAFE,
    )


def _condition_fix(context: Context, port: Port, outcome: Resolved) -> Fix | None:
    """Gives the arch config a condition for the blocks, where the port copies its empty list."""
    names = context.names
    if outcome.config is None or port.config is None or outcome.location.path == port.cls.path:
        return None
    arch = names.arch_config_class(port.config)
    lists = _block_lists(context, port)
    if arch is None or not lists or arch.fact.partial:
        return None
    others = (p for p in context.project.ports if p.cls != port.cls and p.config is not None)
    qualified = names.qualified_class(arch)
    for other in others:
        found = names.arch_config_class(other.config) if other.config is not None else None
        if found is not None and qualified in map(names.qualified_class, names.ancestry(found).classes):
            return None  # the condition would speak for another model too
    return Fix(
        f"Shard and compile {' and '.join(lists)} block by block",
        "list-shard-conditions",
        {
            "path": arch.path,
            "class": arch.fact.name,
            "attribute": "_fsdp_shard_conditions",
            "function": f"is_{re.sub(r'[^0-9a-z_]', '_', port.family.lower())}_block",
            "lists": list(lists),
        },
        Applicability.UNSAFE,
    )


def _block_lists(context: Context, port: Port) -> tuple[str, ...]:
    """The attributes that hold repeated blocks: a `ModuleList` of a class of the tree, in a loop."""
    built = context.project.construction(port.cls)
    if built is None:
        return ()
    path = built.owner.path
    found: list[str] = []
    for item in built.init.fact.calls:
        made = item.call
        if item.target is None or not item.repeated or not isinstance(made, Call) or made.callee is None:
            continue
        holders = [context.names.qualified(path, name) for name in item.enclosing]
        if holders != ["torch.nn.ModuleList"]:
            continue
        cls: Placed[ClassFacts] | None = context.names.class_of(path, made.callee)
        if cls is not None and item.target not in found:
            found.append(item.target)
    return tuple(found)


def _is_intended(context: Context, outcome: Resolved) -> bool:
    """Whether a comment at the class attribute, or at the config's field, speaks of the emptiness."""
    places: list[Location] = [*outcome.via, outcome.location]
    for place in places:
        facts = context.project.file(place.path)
        if facts is None:
            continue
        comments = comments_about(facts, statement_around(facts, place))
        if any(_INTENDED.search(c) for c in comments if not _PRAGMA.match(c) and not _OPEN.search(c)):
            return True
    return False


_FILE = "fastvideo/models/dits/echo.py"
_CONFIG = "fastvideo/configs/models/dits/echo.py"


def _model(attributes: str, init: str = "") -> str:
    return f"""\
from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.models.dits.base import BaseDiT


class EchoTransformer3DModel(BaseDiT):
{attributes}    param_names_mapping = EchoConfig().param_names_mapping
{init}
    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


_COPIED = """\
    _fsdp_shard_conditions = EchoConfig()._fsdp_shard_conditions
    _compile_conditions = EchoConfig()._compile_conditions
"""


def _config(fields: str) -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


def is_block(name: str, module) -> bool:
    return "blocks" in name


@dataclass
class EchoArchConfig(DiTArchConfig):
{fields}    num_layers: int = 2


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""


_BLOCKS = """\
from torch import nn


class EchoBlock(nn.Module):
    pass


"""
_INIT = """
    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.blocks = nn.ModuleList([EchoBlock() for _ in range(config.num_layers)])
        self.tail_blocks = nn.ModuleList(EchoBlock() for _ in range(2))
        self.norms = nn.ModuleList([nn.LayerNorm(4) for _ in range(2)])
        self.first = EchoBlock()
"""


RULE = Rule(
    code="DIT203",
    name="class-attribute-empty",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="sharding or compile conditions that come down to an empty list",
    what=(
        "Reports a port whose `_fsdp_shard_conditions` or `_compile_conditions` come down to `[]`, written "
        "out, copied from a config, or inherited from `BaseDiT`. `DiTArchConfig.__post_init__` copies the "
        "sharding conditions into empty compile conditions; that is followed."
    ),
    why=(
        "The base's check only asks whether the attribute exists, so an empty list passes. With no sharding "
        "conditions `shard_model` logs a warning and returns: every device holds the whole model. With no "
        "compile conditions the pipeline compiles the model as a whole instead of block by block, and a "
        "loader that compiles by region refuses the model."
    ),
    how=(
        "Give the arch config a predicate that matches the repeated blocks, "
        "`_fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])`, and copy both "
        "attributes from the config. Where nothing should be sharded or compiled, say so in a comment on "
        "the assignment or above it. The fix copies the config's list; where that is empty too, it gives the "
        "arch config a condition for the `ModuleList`s of blocks that `__init__` builds."
    ),
    exceptions=(
        "A comment at the class attribute or at the config's field that says why (not, no, never, disabled, "
        "unsupported, intentionally, ...). Attributes that a method sets on the instance. Classes that only "
        "serve as a base."
    ),
    source=(
        "`fastvideo/models/loader/fsdp_load.py`, `shard_model`; "
        "`fastvideo/pipelines/composed_pipeline_base.py`, `_maybe_compile_pipeline_module`"
    ),
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example("both come from the config", {}),
        Example(
            "a comment gives the reason",
            {
                _FILE: _model(
                    "    _fsdp_shard_conditions = []  # too small to shard\n    _compile_conditions = [len]\n"
                )
            },
        ),
        Example(
            "compile conditions left to the base's `__post_init__`",
            {
                _FILE: _model(_COPIED),
                _CONFIG: _config(
                    "    _fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])\n"
                ),
            },
        ),
        Example(
            "empty on purpose, with a comment",
            {
                _FILE: _model(
                    "    _fsdp_shard_conditions = EchoConfig()._fsdp_shard_conditions\n"
                    "    # Compiling changes the rounding of the recurrent cache: intentionally eager.\n"
                    "    _compile_conditions: list = []\n"
                ),
                _CONFIG: _config(
                    "    _fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])\n"
                ),
            },
        ),
        Example(
            "empty on purpose, with a comment in the config",
            {
                _FILE: _model(_COPIED),
                _CONFIG: _config(
                    "    # 40 M parameters: sharding does not pay.\n"
                    "    _fsdp_shard_conditions: list = field(default_factory=list)\n"
                ),
            },
        ),
    ),
    invalid=(
        Example(
            "the config never sets the conditions",
            {_FILE: _model(_COPIED), _CONFIG: _config("")},
            findings=(
                Expected(_FILE, 6, "'_fsdp_shard_conditions' copies an empty list from EchoConfig"),
                Expected(_FILE, 7, "'_compile_conditions' copies an empty list from EchoConfig"),
            ),
        ),
        Example(
            "the config never sets the conditions of a model with blocks",
            {_FILE: _BLOCKS + _model(_COPIED, _INIT), _CONFIG: _config("").replace("is_block", "is_any")},
            findings=(
                Expected(_FILE, 13, "'_fsdp_shard_conditions' copies an empty list from EchoConfig"),
                Expected(_FILE, 14, "'_compile_conditions' copies an empty list from EchoConfig"),
            ),
            fixed={
                _CONFIG: _config(
                    "    _fsdp_shard_conditions: list = field(default_factory=lambda: [is_echo_block])\n"
                )
                .replace("is_block", "is_any")
                .replace(
                    "@dataclass\nclass EchoArch",
                    "def is_echo_block(n: str, m) -> bool:\n"
                    '    owner, _, index = n.rpartition(".")\n'
                    '    return owner in ("blocks", "tail_blocks") and index.isdigit()\n\n\n'
                    "@dataclass\nclass EchoArch",
                )
            },
        ),
        Example(
            "nothing is copied",
            {
                _FILE: _model(""),
                _CONFIG: _config(
                    "    _fsdp_shard_conditions: list = field(default_factory=lambda: [is_block])\n"
                ),
            },
            findings=(
                Expected(_FILE, 5, "defines no '_compile_conditions'", Severity.WARNING),
                Expected(_FILE, 5, "defines no '_fsdp_shard_conditions'", Severity.WARNING),
            ),
            fixed={
                _FILE: _model("").replace(
                    "    param_names_mapping = EchoConfig().param_names_mapping\n",
                    "    param_names_mapping = EchoConfig().param_names_mapping\n"
                    "    _compile_conditions = EchoConfig()._compile_conditions\n"
                    "    _fsdp_shard_conditions = EchoConfig()._fsdp_shard_conditions\n",
                )
            },
        ),
        Example(
            "a comment that something is to be done is no reason",
            {
                _FILE: _model(
                    "    _fsdp_shard_conditions = []  # TODO: not done yet\n" + _COPIED.split("\n")[1] + "\n"
                )
            },
            findings=(Expected(_FILE, 6, "'_fsdp_shard_conditions' is empty"),),
        ),
    ),
)
