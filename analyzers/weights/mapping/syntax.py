"""What `re` makes of a pattern: nodes, what stands in them, and the characters that a set holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final, TypeAlias

from analyzers.weights.mapping.languages import ALL_CHARACTERS, FIRST, LAST, characters

# `re`'s own parser has no public name; it moved into the package with Python 3.11.
_NEW: Final = sys.version_info >= (3, 11)
constants: Final[Any] = import_module("re._constants" if _NEW else "sre_constants")
parser: Final[Any] = import_module("re._parser" if _NEW else "sre_parse")

MOST_REPEATS = 16
"""Largest finite repetition that is written out."""

Node: TypeAlias = "tuple[Any, Any]"
"""Opcode and operand, as `parser` gives them."""

_ASSERTIONS: Final = (constants.AT, constants.ASSERT, constants.ASSERT_NOT)
REPEATS: Final = (constants.MAX_REPEAT, constants.MIN_REPEAT)
_CATEGORIES: Final = {
    constants.CATEGORY_DIGIT: characters("0123456789"),
    constants.CATEGORY_SPACE: 0,
    constants.CATEGORY_WORD: characters(
        c for c in map(chr, range(FIRST, LAST + 1)) if c.isalnum() or c == "_"
    ),
}
_NEGATED: Final = {
    constants.CATEGORY_NOT_DIGIT: constants.CATEGORY_DIGIT,
    constants.CATEGORY_NOT_SPACE: constants.CATEGORY_SPACE,
    constants.CATEGORY_NOT_WORD: constants.CATEGORY_WORD,
}


class Unsupported(Exception):
    """The pattern's names cannot be told by a language."""


def sequences_of(node: Node) -> Iterator[Sequence[Node]]:
    """The sequences that a node is made of."""
    kind, value = node
    if kind is constants.SUBPATTERN:
        yield value[3]
    elif kind is constants.BRANCH:
        yield from value[1]
    elif kind in REPEATS or str(kind) == "POSSESSIVE_REPEAT":
        yield value[2]
    elif kind in (constants.ASSERT, constants.ASSERT_NOT):
        yield value[1]
    elif str(kind) == "ATOMIC_GROUP":
        yield value
    elif kind is constants.GROUPREF_EXISTS:
        yield value[1]
        if value[2]:
            yield value[2]


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes, and all that stand in them."""
    for node in nodes:
        yield node
        for inner in sequences_of(node):
            yield from walk(tuple(inner))


def asserts(node: Node) -> bool:
    """Whether a node, or one in it, takes nothing and only looks: an anchor, a lookahead."""
    return any(kind in _ASSERTIONS for kind, _ in walk((node,)))


def is_group(node: Node) -> bool:
    """Whether it is a group with a number."""
    return node[0] is constants.SUBPATTERN and node[1][0] is not None


def characters_of_set(items: Sequence[Node]) -> int:
    """The characters of a `[...]`, a bit each. Raises `Unsupported`."""
    mask = 0
    negated = False
    for kind, value in items:
        if kind is constants.NEGATE:
            negated = True
        elif kind is constants.LITERAL:
            mask |= characters(chr(value))
        elif kind is constants.RANGE:
            mask |= characters(map(chr, range(max(value[0], FIRST), min(value[1], LAST) + 1)))
        elif kind is constants.CATEGORY:
            mask |= _category(value)
        else:
            raise Unsupported(str(kind))
    return ALL_CHARACTERS & ~mask if negated else mask


def _category(value: Any) -> int:
    if value in _CATEGORIES:
        return _CATEGORIES[value]
    if value in _NEGATED:
        return ALL_CHARACTERS & ~_CATEGORIES[_NEGATED[value]]
    raise Unsupported(str(value))


def characters_of(node: Node) -> int:
    """The characters that a set matches; all where they cannot be told."""
    kind, value = node
    try:
        if kind is constants.LITERAL:
            return characters(chr(value))
        if kind is constants.NOT_LITERAL:
            return ALL_CHARACTERS & ~characters(chr(value))
        return characters_of_set(value) if kind is constants.IN else ALL_CHARACTERS
    except Unsupported:
        return ALL_CHARACTERS
