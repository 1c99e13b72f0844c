"""Whether one function is a copy of another, and in which numeric details the copies differ."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from analyzers.facts.bodies import Body
from analyzers.facts.differences import Difference, difference
from analyzers.facts.signatures import Signature, locals_of, statements_of
from analyzers.facts.walking import walk_tree

_ALIKE = 0.75
"""Share of the longer function's statements that both must have."""

_MANY, _ALIKE_OF_MANY = 24, 0.7
"""Where that many agree, less of a share will do: one of the two has got a branch of its own."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`same`: statements that agree; `details`: numeric differences; `others`: statements that differ in
    some other way, or stand in one only."""

    same: int
    details: tuple[Difference, ...]
    others: int


def compare(here: Body, there: Body, own: Signature, other: Signature) -> Comparison | None:
    """How a copy differs; None where they are no copies of each other. `own` and `other`: the signatures
    of the two."""
    left, right = statements_of(here.tree), statements_of(there.tree)
    longest = max(len(left), len(right))
    matcher = _alignment(own.statements, other.statements, longest)
    names: dict[str, str] = {}
    if matcher is None:
        matcher = _alignment(own.renamed, other.renamed, longest)
        if matcher is None:
            return None
        names = _mapping(matcher, here, there, left, right)
    same = _matching(matcher)
    details: list[Difference] = []
    others = 0
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        if tag != "replace" or b - a != d - c:
            others += max(b - a, d - c)
            continue
        for (depth, one), (other_depth, two) in zip(left[a:b], right[c:d], strict=True):
            found = difference(one, _renamed(two, names)) if depth == other_depth else None
            if found is None:
                others += 1
            else:
                details.append(found)
    return Comparison(same, tuple(details), others)


def _alignment(ours: Sequence[int], theirs: Sequence[int], longest: int) -> SequenceMatcher[int] | None:
    """The two lists of statements side by side; None where too few of them agree."""
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    same = _matching(matcher)
    return matcher if same >= (_ALIKE_OF_MANY if same >= _MANY else _ALIKE) * longest else None


def _matching(matcher: SequenceMatcher[int]) -> int:
    return sum(block.size for block in matcher.get_matching_blocks())


def _mapping(
    matcher: SequenceMatcher[int],
    here: Body,
    there: Body,
    left: Sequence[tuple[int, ast.stmt]],
    right: Sequence[tuple[int, ast.stmt]],
) -> dict[str, str]:
    """The names of `there` -> those of `here`, as the statements show that agree."""
    names: dict[str, str] = {}
    known, other = locals_of(here.tree), locals_of(there.tree)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            ones, twos = _names(left[block.a + offset][1], known), _names(right[block.b + offset][1], other)
            for one, two in zip(ones, twos, strict=False):
                names.setdefault(two, one)
    return names


def _names(statement: ast.stmt, known: frozenset[str]) -> list[str]:
    return [n.id for n in walk_tree(statement) if isinstance(n, ast.Name) and n.id in known]


def _renamed(statement: ast.stmt, names: dict[str, str]) -> ast.stmt:
    if not names:
        return statement
    changed = copy.deepcopy(statement)
    for node in walk_tree(changed):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return changed
