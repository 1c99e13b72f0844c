"""Sums of several terms, whatever order they were added in.

`(a + b) + c` and `(a + c) + b` share no partial sum, so that a term with the wrong sign, lacking, or too many
makes all partial sums differ. The terms tell which one it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from analyzers.numeric import operands
from analyzers.numeric.records import Operation, Slice


@dataclass(frozen=True)
class Term:
    """One summand. `operation`: the addition or subtraction that takes it. `position`: as which operand."""

    value: int
    negative: bool
    operation: Operation
    position: int


@dataclass(frozen=True)
class Matched:
    """Two sums side by side. `signs`: terms of both with opposite signs. `ours` and `theirs`: those that only
    one side has."""

    signs: tuple[tuple[Term, Term], ...]
    ours: tuple[Term, ...]
    theirs: tuple[Term, ...]


def terms(side: Slice, value: int, made: Collection[int]) -> tuple[Term, ...]:
    """The summands of a value; nothing for one that is no sum of two values. Sums among `made` are taken
    apart, all others are summands."""
    return tuple(_terms(side, value, made, negative=False))


def _terms(side: Slice, value: int, made: Collection[int], *, negative: bool) -> Iterator[Term]:
    maker = side.makers.get(value)
    if maker is None or value not in made:
        return
    name, given = operands.canonical(maker), operands.tensors(maker)
    if name not in ("add", "sub") or len(given) != 2 or not _is_plain(maker):
        return
    for position, operand in enumerate(given):
        if operand.value is None:
            continue
        sign = negative != (name == "sub" and position == 1)
        inner = tuple(_terms(side, operand.value, made, negative=sign))
        yield from inner or (Term(operand.value, sign, maker, position),)


def _is_plain(operation: Operation) -> bool:
    """Whether the second operand is taken as it is, and no number is added besides."""
    return all(
        operands.equal_constants(each.text, "1")
        for each in operands.constants(operation)
        if each.place in ("alpha", "2")
    )


def matched(
    ours: Sequence[Term], theirs: Sequence[Term], agree: Callable[[int, int], bool]
) -> Matched | None:
    """The two sums' terms, equal ones left out; None where either is only a sum of two with another of two,
    which needs no rearranging."""
    if max(len(ours), len(theirs)) < 3 or min(len(ours), len(theirs)) < 2:
        return None
    left = list(theirs)
    signs: list[tuple[Term, Term]] = []
    alone: list[Term] = []
    for term in ours:
        equal = [other for other in left if agree(term.value, other.value)]
        partner = next((other for other in equal if other.negative == term.negative), None) or next(
            iter(equal), None
        )
        if partner is None:
            alone.append(term)
            continue
        left.remove(partner)
        if partner.negative != term.negative:
            signs.append((term, partner))
    return Matched(tuple(signs), tuple(alone), tuple(left))
