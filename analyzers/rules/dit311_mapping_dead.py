"""DIT311 mapping-dead: a rule that can match no name, or whose target no configuration has."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import ClassFacts, Placed
from analyzers.findings import Applicability, Finding, Fix, Related, Severity
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.project.module_trees import Lack, lack
from analyzers.rules.base import Context, Example, Expected, Rule, Tier
from analyzers.rules.weight_examples import CONFIG, RULES, config, dumped
from analyzers.rules.weight_findings import faults_about
from analyzers.weights.faults import uses_of
from analyzers.weights.mapping.symbolic import SymbolicRule, is_rewritten_again
from analyzers.weights.mapping.tables import symbolic_rules
from analyzers.weights.proving.rule_uses import made_pattern

_LOADED = "param_names_mapping"
"""The mapping whose targets are the names of a port's parameters."""


def check(context: Context) -> Iterator[Finding]:
    """Asks of every rule for a name that it matches, and for a port that has its target."""
    if not context.file.path.startswith((context.profile.dits + "/", context.profile.dit_configs + "/")):
        return
    for table in context.project.mappings.in_file(context.file):
        users = _users(context, table)
        rules = symbolic_rules(context.project, table)
        for position, rule in enumerate(table.rules):
            if rule.pattern is None or not table.owns(rule) or faults_about(context, rule):
                continue  # what becomes of the names is known, and reported there
            if _matches_nothing(rules[position]):
                yield context.finding(
                    rule.key,
                    f"'{rule.pattern}' matches no name that a parameter can have: the rule is dead",
                    symbol=table.name,
                    fix=_fix(table, rule),
                )
                continue
            found = list(_without_target(context, table, rule, rules, position, users) if users else ())
            yield from found or _unused(context, table, rule, rules[position])


def _matches_nothing(rule: SymbolicRule) -> bool:
    if any(ord(c) < 0x20 for c in rule.pattern or ""):
        return False  # an invalid literal, DIT306
    return rule.example == ""


def _without_target(
    context: Context,
    table: MappingTable,
    rule: MappingRule,
    rules: tuple[SymbolicRule, ...],
    position: int,
    users: tuple[Placed[ClassFacts], ...],
) -> Iterator[Finding]:
    symbolic = rules[position]
    if symbolic.parsed is None or symbolic.template is None or not rule.target:
        return
    if rule.target.endswith("_extra_state") or symbolic.is_identity:
        return
    path = symbolic.leading_path
    lacks = [lack(context.project, cls, path) for cls in users] if path else []
    known = [found for found in lacks if found is not None]
    if not known or len(known) < len(lacks):
        return
    if context.profile.mapping_semantics == "chained" and is_rewritten_again(rules, position):
        return
    yield context.finding(
        rule.key,
        _message(rule, known[0], users),
        symbol=table.name,
        port=users[0].fact.name,
        related=tuple(Related(cls.at(cls.fact.name_span), "uses this mapping") for cls in users),
        fix=_fix(table, rule),
    )


def _unused(
    context: Context, table: MappingTable, rule: MappingRule, symbolic: SymbolicRule
) -> Iterator[Finding]:
    """A rule that matches no name of any known official side of a port that loads by it."""
    uses = uses_of(context.project, rule)
    if not uses or symbolic.is_identity or any(use.state != "dead" for _, use in uses):
        return
    made = made_pattern(symbolic)
    if made is None:
        return
    known = uses[0][0]
    names = len(known.state.official.names) if known.state.official is not None else 0
    sides = " and ".join(f"'{item.official}'" for item, _ in uses[:2])
    nothing = f"'{rule.pattern}' matches none of the {names} names of {sides}"
    meant = [f for item, _ in uses for f in item.proof.fillings if made.fullmatch(f.tensor.name)]
    if any(filling.verdict != "proven" for filling in meant):
        return
    if meant:
        severity = Severity.INFORMATION
        message = f"{nothing}, and others fill what it leads to: it serves other checkpoints, or is dead"
    elif all(item.state.gated for item, _ in uses):
        severity = Severity.WARNING
        message = f"{nothing}, and no configuration that was tried has its target: the rule is dead"
    else:
        return  # some configuration may have it
    yield context.finding(
        rule.key,
        message,
        severity=severity,
        symbol=table.name,
        port=known.port.name,
        related=tuple(Related(item.port.location, "uses this mapping") for item, _ in uses),
        fix=_fix(table, rule),
    )


def _message(rule: MappingRule, found: Lack, users: tuple[Placed[ClassFacts], ...]) -> str:
    port = users[0].fact.name
    whose = " and ".join(f"'{cls.fact.name}'" for cls in users[:2])
    if len(users) > 2:
        whose = f"'{port}' and the {len(users) - 1} others that use this mapping"
    where = "" if found.owner == port else f" ('{found.owner}' sets no '{found.component}')"
    what = found.component if not where else rule.target
    return (
        f"no configuration of {whose} has '{what}'{where}: what '{rule.pattern}' matches has no place to go"
    )


def _users(context: Context, table: MappingTable) -> tuple[Placed[ClassFacts], ...]:
    """The DiT classes that load by this mapping; none where one may do so that cannot be told."""
    if table.name != _LOADED:
        return ()
    users: list[Placed[ClassFacts]] = []
    for cls in context.project.port_index.dit_classes:
        held = context.project.mappings.of_port(cls)
        if held is None:
            config = context.project.port_index.config_of(cls)
            if config is None or config.path == table.location.path:
                return ()
        elif any(table.owns(rule) for rule in held.rules):
            if not held.complete:
                return ()
            users.append(cls)
    return tuple(users)


def _fix(table: MappingTable, rule: MappingRule) -> Fix | None:
    if table.built or rule.container is None:
        return None
    return Fix(
        "Remove the rule",
        "drop-mapping-rule",
        {"path": rule.path, "container": rule.container, "pattern": rule.pattern},
        Applicability.UNSAFE,
    )


_FILE = "fastvideo/configs/models/dits/echo.py"
_MODEL = "fastvideo/models/dits/echo.py"

_PORT = """\
import torch
from torch import nn

from fastvideo.configs.models.dits.echo import EchoConfig
from fastvideo.layers.linear import ReplicatedLinear
from fastvideo.models.dits.base import BaseDiT


class EchoBlock(nn.Module):

    def __init__(self, dim: int, gated: bool) -> None:
        super().__init__()
        self.to_q = ReplicatedLinear(dim, dim)
        if gated:
            self.to_gate = ReplicatedLinear(dim, dim)

    def forward(self, x):
        return x


class EchoTransformer3DModel(BaseDiT):
    _fsdp_shard_conditions = EchoConfig()._fsdp_shard_conditions
    _compile_conditions = EchoConfig()._compile_conditions
    param_names_mapping = EchoConfig().param_names_mapping

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.hidden_size = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.num_channels_latents = config.num_channels_latents
        self.blocks = nn.ModuleList([EchoBlock(self.hidden_size, config.gated) for _ in range(2)])
        self.image_embedder = None
        if config.image_dim is not None:
            self.image_embedder = nn.Sequential(nn.Linear(config.image_dim, self.hidden_size))
        self.scale_shift_table = nn.Parameter(torch.zeros(2, self.hidden_size))
        self.proj_out = ReplicatedLinear(self.hidden_size, self.num_channels_latents)
        self.__post_init__()

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states


EntryClass = EchoTransformer3DModel
"""


def _config(rules: str) -> str:
    return f"""\
from dataclasses import dataclass, field

from fastvideo.configs.models.dits.base import DiTArchConfig, DiTConfig


@dataclass
class EchoArchConfig(DiTArchConfig):
    param_names_mapping: dict = field(
        default_factory=lambda: {{
{rules}        }})
    gated: bool = False
    image_dim: int | None = None


@dataclass
class EchoConfig(DiTConfig):
    arch_config: DiTArchConfig = field(default_factory=EchoArchConfig)
"""


_GOOD = (
    r'            r"^layers\.(\d+)\.attn\.q\.(.*)$": r"blocks.\1.to_q.\2",' + "\n"
    r'            r"^head\.modulation$": r"scale_shift_table",' + "\n"
)

RULE = Rule(
    code="DIT311",
    name="mapping-dead",
    severity=Severity.WARNING,
    tier=Tier.WEIGHTS,
    summary="a rule that can match no name, or whose target no configuration of the port has",
    what=(
        "Reports a rule of a `param_names_mapping` whose pattern matches no name that a parameter can have, "
        "and one whose target leads to a module or parameter that no port with this mapping ever builds: no "
        "branch of any of its constructors and no method sets it. Where the names of both sides are known "
        "(key dumps, or what was measured in the editor), a rule that matches none of them is found as well: "
        "information where others fill what it leads to, since it may serve checkpoints of another origin."
    ),
    why=(
        "A rule with such a target is wrong twice: the parameter that was meant stays empty, and the weight "
        "arrives under a name that a strict load rejects. Where no checkpoint has such keys, it misleads "
        "whoever reads the mapping."
    ),
    how="Correct the target, or delete the rule.",
    exceptions=(
        "Targets that some configuration builds (`image_embedder`, `guidance_in`). Identity rules and final "
        "catch-alls. Targets below what is not the tree's own class, and constructors that hand `self` to "
        "code that is not followed. Targets that end in `_extra_state`, which are not loaded. Where rules "
        "are chained (SGLang), a target that another rule may rewrite. A mapping that some DiT class may "
        "use in a way that is not seen."
    ),
    source="`fastvideo/models/loader/fsdp_load.py`, `load_model_from_full_model_state_dict`",
    fixable=Applicability.UNSAFE,
    check=check,
    valid=(
        Example(
            "targets that are there, some by configuration",
            {
                _MODEL: _PORT,
                _FILE: _config(
                    _GOOD + r'            r"^img_emb\.proj\.1\.(.*)$": r"image_embedder.0.\1",' + "\n"
                    r'            r"^layers\.(\d+)\.gate\.(.*)$": r"blocks.\1.to_gate.\2",' + "\n"
                ),
            },
        ),
        Example(
            "identity rules and a catch-all",
            {
                _MODEL: _PORT,
                _FILE: _config(
                    _GOOD + r'            r"^pos_embedder\.(.*)$": r"pos_embedder.\1",' + "\n"
                    r'            r"^layers\.(\d+)\.norm\._extra_state$": r"norms.\1._extra_state",' + "\n"
                    r'            r"^(?:model\.)?(.*)$": r"\1",' + "\n"
                ),
            },
        ),
        Example(
            "a method builds it later",
            {
                _MODEL: _PORT.replace(
                    "    def forward(self, hidden_states",
                    "    def add_camera(self) -> None:\n"
                    "        self.camera = ReplicatedLinear(8, self.hidden_size)\n\n"
                    "    def forward(self, hidden_states",
                ),
                _FILE: _config(_GOOD + r'            r"^cam\.(.*)$": r"camera.\1",' + "\n"),
            },
        ),
        Example(
            "another port with the same mapping has it",
            {
                _MODEL: _PORT
                + """

class EchoCameraTransformer3DModel(EchoTransformer3DModel):

    def __init__(self, config: EchoConfig, hf_config: dict) -> None:
        super().__init__(config=config, hf_config=hf_config)
        self.camera = ReplicatedLinear(8, self.hidden_size)
""",
                _FILE: _config(_GOOD + r'            r"^cam\.(.*)$": r"camera.\1",' + "\n"),
            },
        ),
        Example(
            "built where it cannot be followed",
            {
                _MODEL: _PORT.replace(
                    "        self.__post_init__()", "        build_camera(self)\n        self.__post_init__()"
                ),
                _FILE: _config(_GOOD + r'            r"^cam\.(.*)$": r"camera.\1",' + "\n"),
            },
        ),
        Example(
            "an identity rule for names that the original does not have",
            dumped(RULES + r'            r"^proj_out\.(.*)$": r"proj_out.\1",' + "\n"),
        ),
    ),
    invalid=(
        Example(
            "a module that the port does not have",
            {
                _MODEL: _PORT,
                _FILE: _config(_GOOD + r'            r"^cam\.(.*)$": r"camera.\1",  # old' + "\n"),
            },
            findings=(
                Expected(
                    _FILE,
                    12,
                    "no configuration of 'EchoTransformer3DModel' has 'camera'",
                    Severity.WARNING,
                ),
            ),
            fixed={_FILE: _config(_GOOD)},
        ),
        Example(
            "a name inside the blocks",
            {
                _MODEL: _PORT,
                _FILE: _config(
                    r'            r"^layers\.(\d+)\.attn\.q\.(.*)$": r"blocks.\1.attn.to_q.\2",' + "\n"
                    r'            r"^layers\.(\d+)\.attn\.(k|v)\.(.*)$": r"block.\1.to_\2.\3",' + "\n"
                ),
            },
            findings=(
                Expected(_FILE, 10, r"has 'blocks.\1.attn.to_q.\2' ('EchoBlock' sets no 'attn')"),
                Expected(_FILE, 11, "has 'block'"),
            ),
            fixed={_FILE: _config("")},
        ),
        Example(
            "a pattern that matches nothing, and a parameter that is none",
            {
                _MODEL: _PORT,
                _FILE: _config(
                    _GOOD + r'            r"^head$\.(.*)": r"proj_out.\1",' + "\n"
                    r'            r"^head\.table$": r"scale_table",' + "\n"
                ),
            },
            findings=(Expected(_FILE, 12, "matches no name"), Expected(_FILE, 13, "has 'scale_table'")),
            fixed={_FILE: _config(_GOOD)},
        ),
        Example(
            "names that the original does not have",
            dumped(RULES + r'            r"^final\.(.*)$": r"proj_out.\1",' + "\n"),
            findings=(Expected(CONFIG, 15, "matches none of the 14 names", Severity.INFORMATION),),
            fixed={CONFIG: config()},
        ),
        Example(
            "without a port, a space in the pattern",
            {_FILE: _config(_GOOD + r'            r"^final layer\.(.*)$": r"proj_out.\1",' + "\n")},
            findings=(Expected(_FILE, 12, "matches no name"),),
            fixed={_FILE: _config(_GOOD)},
        ),
    ),
)
