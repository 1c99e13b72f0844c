"""Which samples of a tensor tell one order of its elements from another, and how they are compared."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod

from analyzers.weights.layout.arrangements import Arrangement, AsIs, Form, Heads, Hypothesis, conceivable
from analyzers.weights.layout.laid import BLOCK, Laid


@dataclass
class Pair:
    """The expected elements and the found ones."""

    expected: Laid
    found: Laid

    @property
    def size(self) -> int:
        return self.found.size

    def agrees(self, order: Arrangement, start: int) -> bool:
        """Whether the sample that begins at `start` lies as `order` says."""
        end, run = min(start + BLOCK, self.size), order.run
        while start < end:
            count = min(end - start, run - start % run)
            if self.expected.get(order.at(start), count) != self.found.get(start, count):
                return False
            start += count
        return True

    def sample(self, start: int) -> bytes:
        """What was found there."""
        return self.found.get(start, min(BLOCK, self.size - start))

    def all_starts(self) -> range:
        """Samples that cover everything."""
        return range(0, self.size, BLOCK)

    @property
    def whole(self) -> bool:
        """Whether both sides are at hand entirely."""
        return self.expected.whole and self.found.whole


@dataclass(frozen=True)
class Rival:
    """An order that is to be ruled out, and samples that it moves."""

    hypothesis: Hypothesis
    starts: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Where to look in tensors of one form."""

    starts: tuple[int, ...]
    rivals: tuple[Rival, ...]


_SPREAD = 6
"""Samples at places that no structure suggests."""

_TRIES = 6
"""Samples on which a rival may agree before the tensor counts as repeating itself."""


def plan(form: Form, heads: Heads) -> Plan:
    size = prod(form.found)
    generator = random.Random(zlib.crc32(repr(form).encode()))
    starts = dict.fromkeys([*_structured(form), *scattered(form, generator, _SPREAD)])
    rivals = []
    seen = set(starts)
    for hypothesis in conceivable(form, heads, thorough=False):
        more = scattered(form, generator, _TRIES)
        moved = [start for start in (*starts, *more) if hypothesis.map.at(start) != start]
        if not moved:
            moved = list(islice(differing(hypothesis.map, AsIs(size), form, generator), _TRIES))
        # Those first whose counterpart is read anyway.
        moved.sort(key=lambda start: hypothesis.map.at(start) not in seen)
        if moved:
            seen.add(hypothesis.map.at(moved[0]))
            rivals.append(Rival(hypothesis, tuple(moved[:_TRIES])))
    return Plan(tuple(starts), tuple(rivals))


def _structured(form: Form) -> Iterator[int]:
    """The first rows, the last one, and the first ones of pieces and of usual fractions."""
    size = prod(form.found)
    rows = form.found[0] if form.found else 1
    width = size // rows
    edges = {
        0,
        1,
        2,
        3,
        rows - 1,
        *(rows * part // count for count in (2, 3, 4, 6) for part in range(1, count)),
    }
    start = 0
    for piece in form.sizes:
        edges.update((start // width, start // width + 1))
        start += piece
    yield from (row * width for row in sorted(edges) if 0 <= row < rows)


def scattered(form: Form, generator: random.Random, count: int) -> list[int]:
    """Places anywhere, in blocks as they are read."""
    return [generator.randrange(prod(form.found)) // BLOCK * BLOCK for _ in range(count)]


def differing(one: Arrangement, other: Arrangement, form: Form, generator: random.Random) -> Iterator[int]:
    """Elements that two orders take from different places: of a small tensor all, of a large one some."""
    size = prod(form.found)
    tried: Iterable[int] = range(size)
    if size > 4096:
        tried = (*_structured(form), *range(64), *(generator.randrange(size) for _ in range(512)))
    return (start for start in tried if one.at(start) != other.at(start))
