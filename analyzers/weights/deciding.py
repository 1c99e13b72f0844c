"""The rules that decide where a port's weights go, and where each of them is written.

FastVideo's loader reads the class attribute (`fsdp_load.py`), as it is when the class is built. What the
sources say counts where it can be read whole and is what the built class held: then every rule has its
place. A class that makes or grows its mapping when it is built (LTX2's `__post_init__`, factories) is taken
at what it held; its rules keep the places of the patterns that are written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.project.ports import Port
from analyzers.weights.state import PortState, RuleText
from analyzers.weights.symbolic import SymbolicRule
from analyzers.weights.tables import symbolic_rules

Attribute = Literal["param_names_mapping", "reverse_param_names_mapping", "lora_param_names_mapping"]


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
    project: Project, port: Port, state: PortState, attribute: Attribute = "param_names_mapping"
) -> DecidingRules:
    """The rules of one of a port's mappings."""
    table = project.mappings.of_port(port.cls, attribute)
    held = {
        "param_names_mapping": state.mapping,
        "reverse_param_names_mapping": state.reverse,
        "lora_param_names_mapping": state.lora,
    }[attribute]
    if table is not None and (held is None or (table.complete and _texts(table) == held)):
        places = tuple(rule.key for rule in table.rules)
        return DecidingRules(symbolic_rules(project, table), places, table, built=False)
    if held is None:
        return DecidingRules((SymbolicRule(None, None),), (None,), None, built=False, known=False)
    rules = tuple(SymbolicRule(*rule) for rule in held)
    return DecidingRules(rules, _places(table, held), table, built=True)


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
