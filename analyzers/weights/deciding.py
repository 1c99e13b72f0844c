"""The rules that decide where a port's weights go, and where each of them is written.

FastVideo's loader reads the class attribute (`fsdp_load.py`), as it is when the class is built. What the
sources say counts where it can be read whole, as it is typed, unless the sources that were last built said
something else than the class then held: a class that makes or grows its mapping when it is built (LTX2's
`__post_init__`, factories) is taken at what it held; its rules keep the places of the patterns that are
written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.project.ports import Port
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.mapping.tables import symbolic_rules
from analyzers.weights.state import PortState, RuleText

Attribute: TypeAlias = Literal[
    "param_names_mapping", "reverse_param_names_mapping", "lora_param_names_mapping"
]
ATTRIBUTES: Final[tuple[Attribute, ...]] = get_args(Attribute)

Written: TypeAlias = "Mapping[Attribute, tuple[RuleText, ...]]"
"""The mappings of a class that the sources tell in full."""


@dataclass(frozen=True)
class DecidingRules:
    """Rules in the loader's order, each with its place (None: it is computed, and written nowhere).

    `table`: what the sources say. `built`: the rules are those of the built class, since the sources say
    something else or cannot be read. `known`: the mapping is known at all.
    """

    rules: tuple[SymbolicRule, ...]
    places: tuple[Location | None, ...]
    table: MappingTable | None
    built: bool
    known: bool = True


def deciding_rules(
    project: Project, port: Port, state: PortState | None, attribute: Attribute = "param_names_mapping"
) -> DecidingRules:
    """The rules of one of a port's mappings; `state` is what was measured of the port, if anything was."""
    table = project.mappings.of_port(port.cls, attribute)
    held = held_by(state, attribute) if state is not None else None
    if table is not None and (held is None or _counts(table, held, state, attribute)):
        places = tuple(rule.key for rule in table.rules)
        return DecidingRules(symbolic_rules(project, table), places, table, built=False)
    if held is None:
        return DecidingRules((SymbolicRule(None, None),), (None,), None, built=False, known=False)
    rules = tuple(SymbolicRule(*rule) for rule in held)
    return DecidingRules(rules, _places(table, held), table, built=True)


def held_by(state: PortState, attribute: Attribute) -> tuple[RuleText, ...] | None:
    """The rules of one of the mappings of a class as they were when it was built."""
    held: Mapping[Attribute, tuple[RuleText, ...] | None] = {
        "param_names_mapping": state.mapping,
        "reverse_param_names_mapping": state.reverse,
        "lora_param_names_mapping": state.lora,
    }
    return held[attribute]


def written_rules(project: Project, port: Port) -> Written:
    """The mappings of a port as its files on disk tell them: these are what is built."""
    disk = Project(project.sources.saved(), project.profile, project.settings)
    facts = disk.file(port.cls.path)
    cls = next((c for c in facts.classes if c.fact.name == port.name), None) if facts is not None else None
    if cls is None:
        return {}
    tables = {attribute: disk.mappings.of_port(cls, attribute) for attribute in ATTRIBUTES}
    texts = {name: _texts(table) for name, table in tables.items() if table is not None}
    return {name: rules for name, rules in texts.items() if rules is not None}


def contradicted(written: Written, state: PortState) -> frozenset[str]:
    """The mappings of which the sources said something else than the class that was built of them held."""
    held = {name: held_by(state, name) for name in written}
    return frozenset(name for name, rules in held.items() if rules is not None and rules != written[name])


def _counts(
    table: MappingTable, held: tuple[RuleText, ...], state: PortState | None, attribute: Attribute
) -> bool:
    """Whether what the sources say stands for what the class would hold if it were built now."""
    texts = _texts(table)
    trusted = state is None or attribute not in state.contradicted
    return texts is not None and (trusted or texts == held)


def _texts(table: MappingTable) -> tuple[RuleText, ...] | None:
    """The table's rules as the class would hold them; None where one cannot be read."""
    texts: list[RuleText] = []
    for rule in table.rules:
        if rule.pattern is None or rule.target is None:
            return None
        texts.append((rule.pattern, rule.target, rule.merge))
    return tuple(texts)


def _places(table: MappingTable | None, held: Sequence[RuleText]) -> tuple[Location | None, ...]:
    """Where the patterns of built rules are written; of several places the one with the same target."""
    by_pattern: dict[str, Location] = {}
    exact: dict[RuleText, Location] = {}
    for rule in table.written if table is not None else ():
        if rule.pattern is not None:
            by_pattern[rule.pattern] = rule.key
            if rule.target is not None:
                exact[(rule.pattern, rule.target, rule.merge)] = rule.key
    return tuple(exact.get(rule) or by_pattern.get(rule[0]) for rule in held)
