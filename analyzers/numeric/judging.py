"""From the readings of lockstep runs to a verdict: where a port computes something else, once a cause.

What a lockstep run compares, it puts right. So an input that differs was made wrong between the aligned
places before it and itself; an output that differs was made wrong inside its module, and inside a composite
after its last aligned part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.dtype_judging import dtype_divergences
from analyzers.numeric.floors import LEAST, TIMES, Floors
from analyzers.numeric.frontiers import Origin
from analyzers.numeric.load_faults import load_divergences
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Built, Observation, OutputReading, Pair, Reading
from analyzers.numeric.repairs import Repairs
from analyzers.numeric.sentences import end_of, message, repeated
from analyzers.numeric.sightings import Run, Sighting, grouped, is_other_form_of_outputs, sightings
from analyzers.numeric.spots import spot_of_value
from analyzers.numeric.verdicts import Divergence, DivergenceKind, NumericVerdict, Spot


def judge(
    built: Built,
    observations: Sequence[Observation],
    readings: Mapping[str, Sequence[Reading]],
    alignment: Alignment,
    dtype_readings: Sequence[Reading] = (),
    free: Mapping[str, Sequence[Reading]] | None = None,
    repairs: Repairs | None = None,
) -> NumericVerdict:
    """The verdict of all cases, the plainest first.

    `readings`: of the lockstep runs in float32 with every pair of the alignment replaced. `dtype_readings`:
    of one in a lower dtype, where `floor` is the official model's own error. `free`: of runs that replaced
    nothing, for the drift. `repairs`: with which `readings` were made. Raises `KeyError` for readings of a
    case that was not observed.
    """
    runs = _runs(observations, readings, free or {})
    floors = Floors.of(reading for found in readings.values() for reading in found)
    outputs = _Outputs.of(observations, floors, runs)
    found = [sighting for run in runs.values() for sighting in sightings(run, alignment, floors)]
    ends = [pair for pair in alignment.pairs if not pair.native.module and pair.native.end == "out"]
    put_back = repairs.in_order if repairs is not None else frozenset()
    forms = [s for s in found if s.pair.number not in put_back and _is_form(s, runs, floors, ends)]
    counted = [s for s in found if s.kind != "incomparable" and s not in forms]
    if not counted and outputs.differ:
        counted = [sighting for sighting in found if sighting.kind == "incomparable"]
    groups = grouped(counted, runs, built)
    divergences = [_divergence(group, runs, built, floors) for group in groups]
    divergences = _in_order(load_divergences(built, alignment, divergences), alignment)
    dtypes, rounded = dtype_divergences(built, alignment, dtype_readings, counted, runs)
    unlocated = outputs.beyond_doubt and not divergences
    divergences = [outputs.told(divergence, len(divergences)) for divergence in divergences]
    failed = bool(divergences or dtypes or outputs.beyond_doubt)
    return NumericVerdict(
        status="failed" if failed else "passed",
        reason=_reason(divergences, dtypes, outputs, unlocated),
        outputs=outputs.shown,
        divergences=(*divergences, *dtypes),
        reaches_outputs=outputs.differ,
        unlocated=unlocated,
        layouts=_layouts(runs, forms, alignment, built),
        unaligned=alignment.unaligned,
        not_fired=alignment.not_fired,
        taps=sum(len(call.inputs) + len(call.outputs) for call in observations[0].native)
        if observations
        else 0,
        aligned=len(alignment.pairs),
        drift=_drift(runs, alignment),
        notes=(*alignment.notes, *outputs.notes, *rounded),
        drifting=outputs.drifting,
    )


def merged(
    divergences: Sequence[Divergence], begun: Mapping[int, frozenset[Origin]] | None = None
) -> tuple[Divergence, ...]:
    """Divergences of one cause as one: the first, with the others' places.

    For after blame. One cause have those that were led to one statement of the port (two values that one
    statement unpacks in the wrong order are wrong at two places), and those whose wrong value began at
    operations where an earlier one's did as well, or in the module that an earlier one went into. Those
    without a mismatch have no statement: their lines are only as good as their place. `begun`: the first
    wrong operations by the number of the pair; another error on the way from there shows when the first is
    mended.
    """
    known = begun or {}
    causes: list[list[Divergence]] = []
    for one in divergences:
        cause = next((c for c in causes if any(_one_cause(first, one, known) for first in c)), None)
        if cause is None:
            causes.append([one])
        else:
            cause.append(one)
    return tuple(reduce(_joined, cause) for cause in causes)


def _joined(first: Divergence, other: Divergence) -> Divergence:
    return replace(first, calls=first.calls + other.calls, also=_also(first, other))


def _one_cause(first: Divergence, other: Divergence, begun: Mapping[int, frozenset[Origin]]) -> bool:
    if first.mismatch is not None and other.mismatch is not None and first.native.line is not None:
        lines = [(one.native.path, one.native.line) for one in (first, other)]
        if lines[0] == lines[1]:
            return True
    if first.kind == "dtype" or other.kind == "dtype":
        return False
    origins = begun.get(first.pair.number), begun.get(other.pair.number)
    if not origins[0] or not origins[1]:
        return False
    # What goes in wrong there is right by itself, and only wrong at that place: the next way begins inside.
    entered = first.pair.native.module if first.pair.native.end == "in" else None
    left = {origin for origin in origins[1] - origins[0] if not _is_within(origin, entered)}
    return not left


def _is_within(origin: Origin, module: str | None) -> bool:
    return bool(module) and (origin[1] == module or origin[1].startswith(f"{module}."))


def with_divergences(verdict: NumericVerdict, divergences: Sequence[Divergence]) -> NumericVerdict:
    """The verdict with its divergences merged or moved: sentences that count them count anew."""
    others = [one for one in divergences if one.kind != "dtype"]
    if len(others) == 1 and verdict.reaches_outputs and others[0].reaches_outputs is None:
        error = max((o.rel_l2 for o in verdict.outputs if o.rel_l2 is not None), default=None)
        only = replace(others[0], reaches_outputs=True, output_error=error)
        divergences = [only if one.kind != "dtype" else one for one in divergences]
    return replace(
        verdict,
        divergences=tuple(divergences),
        reason=_counted(len(others), verdict.reaches_outputs) if others else verdict.reason,
    )


def with_raised(verdict: NumericVerdict, raised: Sequence[Divergence]) -> NumericVerdict:
    """The verdict with what the port raised in a lower dtype, where the official model runs."""
    told = verdict.reason
    if not any(one.kind != "dtype" for one in verdict.divergences) and not verdict.unlocated:
        told = "the same in float32; in a lower dtype the port raises"
    return replace(verdict, status="failed", divergences=(*verdict.divergences, *raised), reason=told)


def _also(first: Divergence, other: Divergence) -> tuple[Spot, ...]:
    lines = {(spot.path, spot.line) for spot in (first.native, *first.also)}
    return (*first.also, *(spot for spot in other.also if (spot.path, spot.line) not in lines))


class _Outputs(NamedTuple):
    """The outputs of the free runs. `shown`: those of the plainest case, and of others where they differ."""

    shown: tuple[OutputReading, ...]
    drifting: tuple[str, ...]
    notes: tuple[str, ...]
    differ: bool
    beyond_doubt: bool
    error: float | None
    limit: float

    @staticmethod
    def of(observations: Sequence[Observation], floors: Floors, runs: Mapping[str, Run]) -> _Outputs:
        """An output differs where its error exceeds what the rounding of all places adds up to."""
        floor = max((floors.of_outputs(run.readings.values()) for run in runs.values()), default=LEAST)
        limit = TIMES * floor
        shown: list[OutputReading] = []
        drifting: dict[str, None] = {}
        notes: list[str] = []
        for position, one in enumerate(observations):
            off = [output for output in one.outputs if _beyond(output, limit)]
            shown += one.outputs if position == 0 else off
            drifting.update(dict.fromkeys(output.native for output in off))
            if off and position > 0:
                names = ", ".join(output.native for output in off)
                notes.append(f"in the case '{one.case}' these outputs differ: {names}")
        every = [output for one in observations for output in one.outputs]
        errors = [output.rel_l2 for output in every if output.rel_l2 is not None]
        return _Outputs(
            tuple(shown),
            tuple(drifting),
            tuple(notes),
            bool(drifting),
            any(_beyond(output, max(limit, TIMES * LEAST)) for output in every),
            max(errors, default=None),
            limit,
        )

    def told(self, divergence: Divergence, count: int) -> Divergence:
        """A divergence with what is known of its way to the outputs, and a sentence about it."""
        if not self.shown or divergence.kind == "dtype":
            return divergence
        if not self.differ:
            text = f"{divergence.message}; it does not reach the outputs"
            return replace(divergence, reaches_outputs=False, output_error=self.error, message=text)
        if count > 1:
            return divergence
        end = "" if self.error is None else f"; the outputs then differ by {self.error:.2g} (relative)"
        text = f"{divergence.message}{end}"
        return replace(divergence, reaches_outputs=True, output_error=self.error, message=text)


def _beyond(output: OutputReading, limit: float) -> bool:
    if output.nonfinite[0] != output.nonfinite[1] or output.shapes[0] != output.shapes[1]:
        return True
    return output.rel_l2 is not None and not output.rel_l2 <= limit


def _runs(
    observations: Sequence[Observation],
    readings: Mapping[str, Sequence[Reading]],
    free: Mapping[str, Sequence[Reading]],
) -> dict[str, Run]:
    observed = {one.case: one for one in observations}
    order = {one.case: position for position, one in enumerate(observations)}
    return {
        case: Run(
            case,
            CallOrder.of(observed[case].official),
            CallOrder.of(observed[case].native),
            {reading.pair: reading for reading in found},
            observed[case],
            {reading.pair: reading for reading in free.get(case, ())},
        )
        for case, found in sorted(readings.items(), key=lambda item: order[item[0]])
    }


def _is_form(sighting: Sighting, runs: Mapping[str, Run], floors: Floors, outputs: Sequence[Pair]) -> bool:
    """Whether a reordering is undone before the outputs: what comes last is in the official order."""
    if sighting.kind != "layout" or is_other_form_of_outputs(sighting.pair, sighting.reading):
        return False
    run = runs[sighting.case]
    ends = [run.readings[pair.number] for pair in outputs if pair.number in run.readings]
    if ends:
        return all(floors.agrees(reading) and not reading.reorders for reading in ends)
    return bool(run.observation.outputs) and not any(
        _beyond(output, TIMES * LEAST) for output in run.observation.outputs
    )


def _divergence(
    group: Sequence[Sighting], runs: Mapping[str, Run], built: Built, floors: Floors
) -> Divergence:
    first = group[0]
    run = runs[first.case]
    own = first.kind in ("inside", "nonfinite", "layout")
    native = spot_of_value(built.native, run.native, first.pair.native, own)
    official = spot_of_value(built.official, run.official, first.pair.official, own)
    places = {(s.pair.native.module, s.pair.native.index, s.pair.native.end) for s in group}
    others: dict[tuple[str | None, int | None], Spot] = {}
    for sighting in group[1:]:
        spot = spot_of_value(built.native, runs[sighting.case].native, sighting.pair.native, own)
        if (spot.path, spot.line) != (native.path, native.line):
            others.setdefault((spot.path, spot.line), spot)
    kind: DivergenceKind = "between" if first.kind == "incomparable" else first.kind
    if first.kind == "incomparable" and first.pair.native.end == "out":
        kind = "inside"
    return Divergence(
        kind=kind,
        pair=first.pair,
        native=native,
        official=official,
        error=first.reading.error if first.kind != "layout" else first.reading.plain_error,
        floor=floors.floor(first.reading),
        after=first.after,
        message=message(group, built, floors) + repeated(_beside(group, built)),
        also=tuple(others.values()),
        calls=len(places),
    )


def _beside(group: Sequence[Sighting], built: Built) -> int:
    """In how many blocks one cause shows."""
    stacks = Stacks.of(built.native)
    first = stacks.generic(group[0].pair.native.module)
    alike = {s.pair.native.module for s in group if stacks.generic(s.pair.native.module) == first}
    return len(alike)


def _in_order(divergences: Sequence[Divergence], alignment: Alignment) -> list[Divergence]:
    """By the port's calls, as the pairs are. What has no pair comes first: it was not loaded."""
    order = {pair.number: position for position, pair in enumerate(alignment.pairs)}
    return sorted(divergences, key=lambda divergence: order.get(divergence.pair.number, -1))


def _layouts(
    runs: Mapping[str, Run], forms: Sequence[Sighting], alignment: Alignment, built: Built
) -> tuple[str, ...]:
    """Differences of form, one sentence for each place of all blocks."""
    stacks = Stacks.of(built.native)
    found: dict[tuple[str, str, str], str] = {}
    for sighting in forms:
        key = (
            stacks.generic(sighting.pair.native.module),
            sighting.pair.native.end,
            sighting.reading.layout or "",
        )
        text = (
            f"the values at {end_of(sighting)} are in another order ({sighting.reading.layout}), undone later"
        )
        found.setdefault(key, text)
    for run in runs.values():
        for pair in alignment.pairs:
            reading = run.readings.get(pair.number)
            if reading is None or reading.status != "layout" or reading.reorders:
                continue
            key = (stacks.generic(pair.native.module), pair.native.end, reading.layout or "")
            end = "input" if pair.native.end == "in" else "output"
            found.setdefault(
                key,
                f"the {end} of '{pair.native.module}' holds the official values in another form: "
                f"{reading.layout}",
            )
    return tuple(found.values())


def _drift(runs: Mapping[str, Run], alignment: Alignment) -> tuple[tuple[Reading, Reading], ...]:
    """Free and lockstep readings of the plainest case."""
    run = next(iter(runs.values()), None)
    if run is None:
        return ()
    return tuple(
        (run.free[pair.number], run.readings[pair.number])
        for pair in alignment.pairs
        if pair.number in run.free and pair.number in run.readings
    )


def _reason(
    divergences: Sequence[Divergence], dtypes: Sequence[Divergence], outputs: _Outputs, unlocated: bool
) -> str:
    if unlocated:
        error = "" if outputs.error is None else f" by {outputs.error:.2g} (relative)"
        return (
            f"the outputs differ{error} and no aligned place does: the comparison could not find the place, "
            "which is a shortcoming of the comparison and not a sign that the port is right"
        )
    if divergences:
        return _counted(len(divergences), outputs.differ)
    if dtypes:
        return "the same in float32; in a lower dtype the port loses more than the official model"
    return "all aligned values and all outputs agree to rounding"


def _counted(count: int, differ: bool) -> str:
    places = f"{count} places of the port compute" if count > 1 else "one place of the port computes"
    return f"{places} something else; the outputs {'differ' if differ else 'agree to rounding'}"
