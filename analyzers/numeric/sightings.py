"""What differs in the readings of a lockstep run, place by place, and which places show the same cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.floors import Floors
from analyzers.numeric.module_names import Stacks, inside
from analyzers.numeric.records import Built, Observation, Pair, Reading, Tap

Kind: TypeAlias = Literal["inside", "between", "layout", "nonfinite", "incomparable"]

_ALIKE = 0.05
"""Relative: how much two errors of one wrong value may be apart where it was copied on its way."""


@dataclass(frozen=True)
class Run:
    """The lockstep run of one case, with the calls of a free one. `free`: the readings of the free run."""

    case: str
    official: CallOrder
    native: CallOrder
    readings: Mapping[int, Reading]
    observation: Observation
    free: Mapping[int, Reading]


@dataclass(frozen=True)
class Sighting:
    """A place where the sides differ in one case. `after`: modules whose values it follows and that agree."""

    kind: Kind
    case: str
    pair: Pair
    reading: Reading
    moment: int
    after: tuple[str, ...]


_Place: TypeAlias = tuple[str, ...]


def sightings(run: Run, alignment: Alignment, floors: Floors) -> list[Sighting]:
    """All differences of a run, in the order of the port's calls."""
    found = [
        Sighting(kind, run.case, pair, reading, moment, after)
        for pair in alignment.pairs
        if (reading := run.readings.get(pair.number)) is not None
        and (moment := run.native.moment(pair.native)) is not None
        for kind, after in [_kind(run, alignment, floors, pair, reading)]
        if kind is not None
    ]
    return sorted(found, key=lambda sighting: (sighting.moment, sighting.pair.number))


def grouped(found: Sequence[Sighting], runs: Mapping[str, Run], built: Built) -> list[list[Sighting]]:
    """Differences of one cause together, in the order of their first: the same place in every block, call
    and case; the slices and the outputs of one module; the consumers of one wrong value."""
    stacks = Stacks.of(built.native)
    groups: dict[_Place, _Place] = {}

    def root(place: _Place) -> _Place:
        while groups.setdefault(place, place) != place:
            place = groups[place]
        return place

    for case, run in runs.items():
        here = [sighting for sighting in found if sighting.case == case and sighting.kind == "between"]
        for one, other in _same_values(here, run):
            groups[root(_place(other, stacks))] = root(_place(one, stacks))
    result: defaultdict[_Place, list[Sighting]] = defaultdict(list)
    for sighting in found:
        result[root(_place(sighting, stacks))].append(sighting)
    return list(result.values())


def _kind(
    run: Run, alignment: Alignment, floors: Floors, pair: Pair, reading: Reading
) -> tuple[Kind | None, tuple[str, ...]]:
    if reading.status == "incomparable":
        return "incomparable", ()
    if floors.agrees(reading):
        return ("layout" if reading.reorders or is_other_form_of_outputs(pair, reading) else None), ()
    if not floors.differs(reading):
        return None, ()
    if reading.nonfinite[1] > reading.nonfinite[0]:
        return "nonfinite", ()
    if pair.native.end == "in":
        return "between", _producers(run, alignment, floors, pair)
    parts = _last_parts(run, alignment, pair)
    return ("between" if parts else "inside"), parts


def is_other_form_of_outputs(pair: Pair, reading: Reading) -> bool:
    """Whether an output of the model has the right values in another shape: nothing comes after that could
    bring it into the official one."""
    whole = not pair.native.module and pair.native.end == "out"
    return whole and reading.status == "layout" and reading.shapes[0] != reading.shapes[1]


def _producers(run: Run, alignment: Alignment, floors: Floors, pair: Pair) -> tuple[str, ...]:
    """The module whose output this input is, where it is the very object; else the aligned one that was left
    last before, which agrees or was put right. Data flow may tell better."""
    tap, moment = run.native.tap(pair.native), run.native.moment(pair.native)
    before: list[tuple[int, str]] = []
    for other in alignment.pairs:
        left = run.native.moment(other.native)
        if other.native.end != "out" or left is None or moment is None or left >= moment:
            continue
        made = run.native.tap(other.native)
        if tap is not None and made is not None and made.value == tap.value:
            return (other.native.module,)
        before.append((left, other.native.module))
    return (max(before)[1],) if before else ()


def _last_parts(run: Run, alignment: Alignment, pair: Pair) -> tuple[str, ...]:
    """For a composite's output: the aligned part whose output came last in this call. Nothing for a module
    without aligned parts, or one whose parts were not called."""
    call = run.native.call(pair.native)
    if call is None:
        return ()
    start, end = run.native.entered[call.number], run.native.left[call.number]
    parts = [
        (left, other.native.module)
        for other in alignment.pairs
        if other.native.end == "out"
        and other.native.module != pair.native.module
        and inside(other.native.module, pair.native.module)
        and (left := run.native.moment(other.native)) is not None
        and start < left < end
    ]
    return (max(parts)[1],) if parts else ()


def _place(sighting: Sighting, stacks: Stacks) -> _Place:
    """The outputs of one module share a cause, its inputs need not."""
    native = sighting.pair.native
    end = (native.end, native.label) if native.end == "in" else (native.end,)
    return (sighting.kind, stacks.generic(native.module), *end)


def _same_values(found: Sequence[Sighting], run: Run) -> Iterator[tuple[Sighting, Sighting]]:
    """Inputs that were one value: the same object in the port, or in the official model with errors alike."""
    ends = [(one, run.native.tap(one.pair.native), run.official.tap(one.pair.official)) for one in found]
    for position, (one, native, official) in enumerate(ends):
        for other, others_native, others_official in ends[position + 1 :]:
            if _is(native, others_native) or (_is(official, others_official) and _alike(one, other)):
                yield one, other


def _is(one: Tap | None, other: Tap | None) -> bool:
    return one is not None and other is not None and one.value == other.value


def _alike(one: Sighting, other: Sighting) -> bool:
    errors = (one.reading.error, other.reading.error)
    if errors[0] is None or errors[1] is None:
        return False
    return abs(errors[0] - errors[1]) <= _ALIKE * max(errors[0], errors[1])
