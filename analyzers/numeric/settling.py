"""Which candidates of an alignment are the same place on both sides, by the values measured there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.floors import Floors
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Built, Observation, Pair, Reading


class _Place(NamedTuple):
    """A pair without the numbers of blocks and calls: what proves it in one block proves it in all."""

    official: str
    native: str
    end: str
    labels: tuple[str, str]


def settle(
    built: Built,
    observations: Sequence[Observation],
    alignment: Alignment,
    readings: Mapping[str, Sequence[Reading]],
) -> Alignment:
    """Keeps the certain pairs, the candidates that hold, which are certain then, and those in doubt; numbers
    stay as they were.

    `readings`: of runs that replaced the certain pairs only, so that an error upstream is put right before
    it reaches a candidate. A candidate holds where its values agree, in any block, call or case. One that
    never agrees is in doubt where nothing else lays claim to its modules, its names tell it, and a later
    certain pair differs too; else its modules reach differently far, or do the same work in another way,
    and nothing may be said or replaced by it. What is in doubt is tried place by place (`doubts`, `decided`).
    """
    floors = Floors.of(reading for found in readings.values() for reading in found)
    stacks = (Stacks.of(built.official), Stacks.of(built.native))
    pairs = {pair.number: pair for pair in alignment.pairs}
    places = {number: _place(pair, stacks) for number, pair in pairs.items()}
    agreeing, comparable = _seen(floors, places, readings)
    followed = _followed(floors, alignment, observations, readings)
    claims = _claims(places)
    proven: set[int] = set()
    doubtful: set[int] = set()
    for pair in alignment.pairs:
        place = places[pair.number]
        clear = pair.number not in alignment.weak and claims[(place.native, place.official)] == 1
        if pair.number in alignment.certain or place in agreeing:
            proven.add(pair.number)
        elif clear and place in comparable and pair.number in followed:
            doubtful.add(pair.number)
    kept = replace(alignment, certain=frozenset(proven), weak=frozenset())
    return _without(kept, set(pairs) - proven - doubtful, places)


def doubts(built: Built, alignment: Alignment) -> tuple[frozenset[int], ...]:
    """The pairs that are in doubt after `settle`, those of one place in all blocks together, in the order of
    the port's calls. Before the places of one end of a module by themselves come all of them at once: two
    results that are given out for each other mend nothing one by one.

    Such a place is one that is wrong in the port where putting it right too makes a certain one right and
    none wrong; else it is where the two sides only divide their work differently.
    """
    stacks = (Stacks.of(built.official), Stacks.of(built.native))
    ends: defaultdict[tuple[str, str, str], defaultdict[_Place, set[int]]] = defaultdict(
        lambda: defaultdict(set)
    )
    for pair in alignment.pairs:
        if pair.number not in alignment.certain:
            place = _place(pair, stacks)
            ends[place[:3]][place].add(pair.number)
    found: list[frozenset[int]] = []
    for places in ends.values():
        if len(places) > 1:
            found.append(frozenset().union(*places.values()))
        found.extend(frozenset(numbers) for numbers in places.values())
    return tuple(found)


def decided(built: Built, alignment: Alignment, confirmed: Iterable[int]) -> Alignment:
    """The alignment without what is still in doubt; `confirmed` is certain now."""
    stacks = (Stacks.of(built.official), Stacks.of(built.native))
    certain = alignment.certain | frozenset(confirmed)
    places = {pair.number: _place(pair, stacks) for pair in alignment.pairs}
    return _without(replace(alignment, certain=certain), set(places) - certain, places)


def _without(alignment: Alignment, numbers: set[int], places: Mapping[int, _Place]) -> Alignment:
    """Pairs are left out, and modules of which nothing is left are told."""
    kept = tuple(pair for pair in alignment.pairs if pair.number not in numbers)
    dropped = {(places[n].official, places[n].native) for n in numbers} - {
        (places[pair.number].official, places[pair.number].native) for pair in kept
    }
    notes = tuple(
        f"'{native}' and the official '{official}' are no counterparts by their values: not compared"
        for official, native in sorted(dropped)
    )
    return replace(alignment, pairs=kept, notes=alignment.notes + notes)


def _place(pair: Pair, stacks: tuple[Stacks, Stacks]) -> _Place:
    return _Place(
        stacks[0].generic(pair.official.module),
        stacks[1].generic(pair.native.module),
        pair.native.end,
        (pair.official.label, pair.native.label),
    )


def _seen(
    floors: Floors, places: Mapping[int, _Place], readings: Mapping[str, Sequence[Reading]]
) -> tuple[set[_Place], set[_Place]]:
    """Places whose values agreed at least once (zeros prove nothing), and those that could be compared."""
    agreeing: set[_Place] = set()
    comparable: set[_Place] = set()
    for found in readings.values():
        for reading in found:
            if reading.status in ("compared", "layout"):
                comparable.add(places[reading.pair])
                if floors.agrees(reading) and reading.norm:
                    agreeing.add(places[reading.pair])
    return agreeing, comparable


def _followed(
    floors: Floors,
    alignment: Alignment,
    observations: Sequence[Observation],
    readings: Mapping[str, Sequence[Reading]],
) -> set[int]:
    """Candidates that differ, and after which a certain pair differs in the same run."""
    pairs = {pair.number: pair for pair in alignment.pairs}
    orders = {one.case: CallOrder.of(one.native) for one in observations}
    found: set[int] = set()
    for case, measured in readings.items():
        differing = [reading.pair for reading in measured if floors.differs(reading)]
        moments = {number: orders[case].moment(pairs[number].native) or 0 for number in differing}
        last = max((moments[number] for number in differing if number in alignment.certain), default=-1)
        found.update(number for number in differing if moments[number] <= last)
    return found


def _claims(places: Mapping[int, _Place]) -> Mapping[tuple[str, str], int]:
    """How many counterparts were proposed for one of two modules, whichever has more."""
    wanted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for place in places.values():
        wanted["native", place.native].add(place.official)
        wanted["official", place.official].add(place.native)
    return {
        (place.native, place.official): max(
            len(wanted["native", place.native]), len(wanted["official", place.official])
        )
        for place in places.values()
    }
