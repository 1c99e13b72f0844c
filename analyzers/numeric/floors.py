"""How much error rounding alone explains, measured in the same run.

A *floor* is the relative L2 error that float32 makes at a place: the official module in float32 against
itself in float64, on the same inputs. Two right implementations may each be that far off, in different
directions and with another order of summation, so a difference counts from `TIMES` floors on, and never below
`LEAST`. Both are properties of float32, not of a model: nobody needs to set them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import median

from analyzers.numeric.records import Reading

EPSILON = 2.0**-23
"""Distance from 1 to the next float32 number."""

TIMES = 4.0

LEAST = 8 * EPSILON
"""9.5e-7. Errors of clean ports were up to 4e-7 where they were replaced place by place, and wrong `eps`
began at 2e-6."""


@dataclass(frozen=True)
class Floors:
    """The floors of one run. `typical`: the median of those that were measured, for places without one."""

    typical: float

    @staticmethod
    def of(readings: Iterable[Reading]) -> Floors:
        """From the readings of all cases."""
        measured = [reading.floor for reading in readings if reading.floor]
        return Floors(median(measured) if measured else EPSILON)

    def floor(self, reading: Reading) -> float:
        """What rounding explains at this place; at least half a unit of the last digit."""
        return max(self.typical if reading.floor is None else reading.floor, EPSILON / 2)

    def limit(self, reading: Reading) -> float:
        """From which error on the sides differ."""
        return max(TIMES * self.floor(reading), LEAST)

    def agrees(self, reading: Reading) -> bool:
        """Whether both values are the same to rounding, in whatever order; False also where it is unknown."""
        if reading.status not in ("compared", "layout") or reading.nonfinite[0] != reading.nonfinite[1]:
            return False
        if reading.error is None:
            return reading.nonfinite[0] > 0
        return isfinite(reading.error) and reading.error <= self.limit(reading)

    def differs(self, reading: Reading) -> bool:
        """Whether both values are there and not the same; False also where it is unknown."""
        return reading.status in ("compared", "layout") and not self.agrees(reading)

    def of_outputs(self, readings: Iterable[Reading]) -> float:
        """What rounding explains at the outputs of a free run, where the errors of all places add up."""
        local = [reading.error or 0.0 for reading in readings if self.agrees(reading)]
        return max(EPSILON, sqrt(sum(error * error for error in local)))
