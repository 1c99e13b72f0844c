"""How long `re` may take over a name: in how many ways a pattern can share out the same text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf, log2

from analyzers.weights.mapping.ambiguity import Automaton, Part, TooManyStates
from analyzers.weights.mapping.languages import ALL_CHARACTERS
from analyzers.weights.mapping.syntax import (
    MOST_REPEATS,
    REPEATS,
    Node,
    Unsupported,
    characters_of,
    constants,
    sequences_of,
    walk,
)

MOST_CHOICES = 32.0
"""Ways through a pattern, as a power of two, up to which names are put to it; see `Pattern.is_costly`."""
_LOOP = 6.0
"""The ways through a repetition without end: where it stops, in names of up to 80 characters."""
_CHOICE = 1.5
"""What a choice counts for: unlike loops, which share one name, choices multiply in full."""
LONGEST_SPELLED = 2000
"""Nodes of a pattern whose finite repetitions are written out."""


def ways_of(nodes: Sequence[Node], after: int = 0) -> float:
    """In how many ways the nodes may be tried on a name, as a power of two; no more than an estimate.

    `after`: the characters that may follow. A repetition that stops where they begin has one way.
    """
    ways = 0.0
    for place, node in enumerate(nodes):
        kind, value = node
        behind = _begins_with(nodes[place + 1 :], after)
        if kind is constants.BRANCH:
            inside = [ways_of(tuple(choice), behind) for choice in value[1]]
            ways += _CHOICE * log2(len(inside)) + max(inside)
        elif kind in REPEATS or str(kind) == "POSSESSIVE_REPEAT":
            least, most, inner = value
            begins = _begins_with(inner, behind)
            within = ways_of(tuple(inner), begins | behind)
            unlimited = most is constants.MAXREPEAT
            if within and (unlimited or most > MOST_REPEATS):
                if _is_exponential(node):
                    return inf
            elif not unlimited:
                within *= most
            ways += within
            if not unlimited:
                ways += min(_LOOP, _CHOICE * log2(most - least + 1))
            else:
                ways += _LOOP if begins & behind else 1
        else:
            ways += sum(ways_of(tuple(inner), behind) for inner in sequences_of(node))
    return ways


def is_nested(nodes: Sequence[Node]) -> bool:
    """Whether a choice or a repetition stands in a repetition without end."""
    outer = (n for n in walk(nodes) if n[0] in REPEATS and n[1][1] is constants.MAXREPEAT)
    return any(
        kind in REPEATS or kind is constants.BRANCH for node in outer for kind, _ in walk(tuple(node[1][2]))
    )


def _begins_with(nodes: Sequence[Node], after: int) -> int:
    """The characters that the nodes, and what follows them, may begin with; all where it is not plain."""
    if not nodes:
        return after
    kind, value = nodes[0]
    if kind is constants.AT and value in (constants.AT_END, constants.AT_END_STRING):
        return 0
    if kind is constants.SUBPATTERN and not value[1] & re.IGNORECASE:
        return _begins_with((*value[3], *nodes[1:]), after)
    if kind in (constants.LITERAL, constants.NOT_LITERAL, constants.IN):
        return characters_of(nodes[0])
    if kind in REPEATS and value[0] > 0:
        return _begins_with(value[2], ALL_CHARACTERS)
    return ALL_CHARACTERS


def _is_exponential(node: Node) -> bool:
    """Whether a repetition may share out a text in exponentially many ways; so is one that cannot be told."""
    automaton = Automaton()
    try:
        _built(automaton, (node,))
    except (TooManyStates, Unsupported):
        return True
    return automaton.is_exponential()


def _built(automaton: Automaton, nodes: Sequence[Node]) -> Part:
    """The nodes as a part of the automaton. Raises `TooManyStates`, and `Unsupported` for what it cannot
    hold."""
    return automaton.sequence([_built_node(automaton, node) for node in nodes])


def _built_node(automaton: Automaton, node: Node) -> Part:
    kind, value = node
    if kind in (constants.LITERAL, constants.NOT_LITERAL, constants.IN, constants.ANY):
        return automaton.state(characters_of(node))
    if kind is constants.SUBPATTERN and not value[1] & (re.IGNORECASE | re.LOCALE):
        return _built(automaton, tuple(value[3]))
    if kind is constants.BRANCH:
        return automaton.either([_built(automaton, tuple(choice)) for choice in value[1]])
    if kind in REPEATS:
        least, most, inner = value
        if most is constants.MAXREPEAT or most > MOST_REPEATS:
            return automaton.repeated(_built(automaton, tuple(inner)), empty=least == 0)
        parts = [_built(automaton, tuple(inner)) for _ in range(most)]
        optional = [automaton.either([part, Part(1, (), ())]) for part in parts[least:]]
        return automaton.sequence([*parts[:least], *optional])
    raise Unsupported(str(kind))


def spelled_out(nodes: Sequence[Node]) -> int:
    """How many nodes there are where each finite repetition is written out."""
    size = 0
    for node in nodes:
        kind, value = node
        inner = sum(spelled_out(tuple(nodes)) for nodes in sequences_of(node))
        repeats = kind in REPEATS or str(kind) == "POSSESSIVE_REPEAT"
        times = (value[0] if value[1] is constants.MAXREPEAT else value[1]) if repeats else 1
        size += 1 + inner * max(1, times)
    return size
