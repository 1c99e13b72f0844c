"""Names made from a pattern, to put to others: what it would match, cheaply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from analyzers.weights.mapping.languages import FIRST, characters
from analyzers.weights.mapping.syntax import (
    MOST_REPEATS,
    REPEATS,
    Node,
    Unsupported,
    characters_of_set,
    constants,
)

FILLERS: Final = ("weight", "a.b", "x1_")
"""What stands for `.*` in sample names."""

_MOST_WAYS = 12


def sample_of(nodes: Sequence[Node], filler: str) -> str:
    """A text that the nodes match; not always one, where they assert something."""
    return "".join(_sample_of_node(node, filler) for node in nodes)


def _sample_of_node(node: Node, filler: str) -> str:
    kind, value = node
    if kind is constants.LITERAL:
        return chr(value)
    if kind is constants.ANY:
        return filler[0]
    if kind is constants.NOT_LITERAL:
        return next(c for c in filler + "z" if c != chr(value))
    if kind is constants.IN:
        try:
            mask = characters_of_set(value)
        except Unsupported:
            return ""
        chosen = next((c for c in filler + "0zq." if characters(c) & mask), "")
        return chosen or chr(FIRST + (mask & -mask).bit_length() - 1)
    if kind is constants.SUBPATTERN:
        return sample_of(tuple(value[3]), filler)
    if kind is constants.BRANCH:
        return sample_of(tuple(value[1][len(filler) % len(value[1])]), filler)
    if kind in REPEATS:
        least, most, inner = value
        if most is constants.MAXREPEAT and [n[0] for n in inner] == [constants.ANY]:
            return filler
        count = max(int(least), min(1, int(most)))
        return sample_of(tuple(inner), filler) * count if count <= MOST_REPEATS else ""
    return ""


def samples_of_ways(nodes: Sequence[Node], filler: str) -> list[str]:
    """A name for each way through the alternatives of the nodes; of many, the first few."""
    made = [""]
    for node in nodes:
        kind, value = node
        if kind is constants.SUBPATTERN:
            here = samples_of_ways(tuple(value[3]), filler)
        elif kind is constants.BRANCH:
            here = [way for choice in value[1] for way in samples_of_ways(tuple(choice), filler)]
        elif kind is constants.IN and all(item[0] is constants.LITERAL for item in value):
            here = [chr(item[1]) for item in value]  # how `re` reads `q|k|v`
        else:
            here = [_sample_of_node(node, filler)]
        made = [before + way for before in made for way in here][:_MOST_WAYS]
    return made
