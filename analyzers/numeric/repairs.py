"""Which values a lockstep run must put right in more than the plain way, so that one error is one place.

A run puts right what an aligned call gets and gives. Two things it cannot know by itself: whether a caller's
object was wrong or only taken at a wrong place, so that a residual that uses it again may be wrong still; and
whether values in another order will be put back. Both are tried: a repair is right where places that were
wrong agree through it and no other place goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.floors import Floors
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Built, Pair, Reading


@dataclass(frozen=True)
class Repairs:
    """`owned`: entries that are put right for their callers too. `in_order`: places where values in another
    order are replaced by the official order. Numbers of pairs."""

    owned: frozenset[int] = frozenset()
    in_order: frozenset[int] = frozenset()

    def __or__(self, other: Repairs) -> Repairs:
        """Both."""
        return Repairs(self.owned | other.owned, self.in_order | other.in_order)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.owned or self.in_order)


def repairs_to_try(
    built: Built, alignment: Alignment, readings: Sequence[Reading], floors: Floors
) -> Iterator[Repairs]:
    """What may put later places right in one case's run, the most telling first: the official order of all
    reordered values, then each wrong entry for its caller too, in the port's order. Nothing where only one
    place of all blocks is wrong."""
    places = _places(built, alignment)
    # A run may have read candidates that were no pairs in the end.
    wrong = wrong_pairs(readings, floors) & places.keys()
    if len({places[number] for number in wrong}) < 2:
        return
    reordered = frozenset(r.pair for r in readings if r.reorders and r.pair in places)
    if reordered:
        yield Repairs(in_order=reordered)
    tried: set[tuple[str, str, str]] = set()
    last = places[[pair.number for pair in alignment.pairs if pair.number in wrong][-1]]
    for pair in alignment.pairs:
        place = places[pair.number]
        if pair.number not in wrong or pair.native.end != "in" or place in tried or place == last:
            continue
        tried.add(place)
        yield Repairs(owned=frozenset(number for number in places if places[number] == place))


def is_better(
    built: Built, alignment: Alignment, old: Sequence[Reading], new: Sequence[Reading], floors: Floors
) -> bool:
    """Whether fewer certain places of all blocks are wrong, and none that was right before."""
    places = _places(built, alignment)
    before, after = (
        {places[number] for number in wrong_pairs(readings, floors) & alignment.certain}
        for readings in (old, new)
    )
    return after < before


def wrong_pairs(readings: Sequence[Reading], floors: Floors) -> set[int]:
    """Where the sides differ, or hold the values in another order, or cannot be compared."""
    return {
        reading.pair
        for reading in readings
        if reading.reorders or reading.status == "incomparable" or floors.differs(reading)
    }


def _places(built: Built, alignment: Alignment) -> Mapping[int, tuple[str, str, str]]:
    """Each pair without the numbers of blocks and calls."""
    stacks = Stacks.of(built.native)

    def place(pair: Pair) -> tuple[str, str, str]:
        return stacks.generic(pair.native.module), pair.native.end, pair.native.label

    return {pair.number: place(pair) for pair in alignment.pairs}
