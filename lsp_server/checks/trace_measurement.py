"""What the runs of one trace have measured, and what they told beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from analyzers.numeric.floors import Floors
from analyzers.numeric.records import Address, Observation, Pair, Reading
from analyzers.numeric.repairs import Repairs
from analyzers.numeric.verdicts import Divergence, NumericVerdict
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_dtype import InDtype

Readings = Mapping[str, Sequence[Reading]]
"""By case."""


def silent(stage: str) -> None:
    """Nobody listens to what is being done."""


@dataclass
class Journal:
    """What is told beside a verdict: `notes` for people, `problems` that the user's code raised, and how many
    seconds each part took. `on_stage` hears what is being done."""

    on_stage: Callable[[str], None] = silent
    notes: list[str] = field(default_factory=list)
    problems: list[StateProblem] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Takes the time of a part."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = time.monotonic() - began


@dataclass(frozen=True)
class Measurement:
    """What was measured, and the verdict about it.

    `cases`: those that both sides ran, the plainest first. `readings`: of each, in lockstep where that was
    asked for. `in_dtype`: what the low dtype showed. `repairs`: how the port was put right on the way.
    `observed`: the free runs, by case.
    """

    cases: tuple[str, ...]
    pairs: tuple[Pair, ...]
    readings: Readings
    in_dtype: InDtype
    repairs: Repairs
    observed: Mapping[str, Observation]
    verdict: NumericVerdict

    @cached_property
    def floors(self) -> Floors:
        """What rounding does, over all cases."""
        return floors_of(self.readings)

    @cached_property
    def differing(self) -> frozenset[Address]:
        """The port's places where some case differs beyond rounding."""
        wrong = {
            reading.pair
            for found in self.readings.values()
            for reading in found
            if not self.floors.agrees(reading) or reading.reorders
        }
        return frozenset(pair.native for pair in self.pairs if pair.number in wrong)

    def plainest_showing(self, divergence: Divergence) -> str:
        """The plainest case that shows an error at least half as well as any other."""
        if divergence.kind == "dtype":
            return self.in_dtype.case(divergence.pair, self.cases[0])
        sizes = {case: _size(self.readings[case], divergence.pair.number) for case in self.cases}
        largest = max(sizes.values())
        return next(case for case, size in sizes.items() if size >= largest / 2)

    def agrees_now(self, case: str, number: int, readings: Sequence[Reading]) -> bool:
        """Whether a pair that was wrong here agrees in another run of the case."""
        before = next((each for each in self.readings[case] if each.pair == number), None)
        now = next((each for each in readings if each.pair == number), None)
        if before is None or now is None:
            return False
        return self.floors.agrees(replace(now, floor=before.floor)) and not now.reorders

    def left_of(self, divergence: Divergence) -> float:
        """How wrong the place of another measurement's error is here, in the worst case."""
        wanted = (divergence.pair.official, divergence.pair.native)
        numbers = {pair.number for pair in self.pairs if (pair.official, pair.native) == wanted}
        runs = [self.in_dtype.readings] if divergence.kind == "dtype" else list(self.readings.values())
        return max((_size(readings, number) for readings in runs for number in numbers), default=0.0)


def floors_of(readings: Readings) -> Floors:
    """What rounding does, over all cases."""
    return Floors.of(reading for found in readings.values() for reading in found)


def with_floors(readings: Sequence[Reading], measured: Sequence[Reading]) -> tuple[Reading, ...]:
    """The readings with the floors of another run of the same case."""
    floors = {reading.pair: reading.floor for reading in measured}
    return tuple(replace(reading, floor=floors.get(reading.pair)) for reading in readings)


def _size(readings: Sequence[Reading], number: int) -> float:
    """How wrong a pair is in one run; what cannot be compared is as wrong as can be."""
    for reading in readings:
        if reading.pair == number:
            if reading.status == "absent":
                return 0.0
            error = reading.plain_error if reading.plain_error is not None else reading.error
            return math.inf if error is None or math.isnan(error) else error
    return 0.0
