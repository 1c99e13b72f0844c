"""Which values at one end of two corresponding calls correspond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from analyzers.numeric.records import Tap

SAME_NORM = 1e-5
"""Relative. Norms of equal values agree far better in float32; those of others hardly ever so well."""


class LabelMatch(NamedTuple):
    """Two labels. `sure`: the only ones there are, or of one name; else by norm or by position."""

    official: str
    native: str
    sure: bool


def match_labels(official: Sequence[Tap], native: Sequence[Tap]) -> list[LabelMatch]:
    """One tensor with one tensor; several by name, then by norm where that is unique, then by position where
    as many of the same size are left on both sides. Others have no counterpart."""
    if len(official) == len(native) == 1:
        return [LabelMatch(official[0].label, native[0].label, True)]
    found: list[LabelMatch] = []
    left = [list(official), list(native)]

    def take(one: Tap, other: Tap, sure: bool) -> None:
        found.append(LabelMatch(one.label, other.label, sure))
        left[0].remove(one)
        left[1].remove(other)

    for one in tuple(left[0]):
        named = [tap for tap in left[1] if tap.label == one.label and size(tap) == size(one)]
        if named:
            take(one, named[0], True)
    for one in tuple(left[0]):
        alike = [tap for tap in left[1] if same_norm(one, tap)]
        rivals = [tap for tap in left[0] if same_norm(one, tap)]
        if len(alike) == 1 and len(rivals) == 1:
            take(one, alike[0], False)
    sizes = [Counter(map(size, side)) for side in left]
    if left[0] and sizes[0] == sizes[1]:
        for one in tuple(left[0]):
            take(one, next(tap for tap in left[1] if size(tap) == size(one)), False)
    return found


def size(tap: Tap) -> int:
    """How many numbers a value holds."""
    return prod(tap.shape)


def same_norm(one: Tap, other: Tap) -> bool:
    """Whether two values of one size have the same norm: a sign that they are equal in some order."""
    return size(one) == size(other) and one.norm > 0 and abs(one.norm - other.norm) <= SAME_NORM * one.norm
