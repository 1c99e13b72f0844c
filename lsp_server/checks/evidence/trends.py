"""How drift went over time: the series behind a sparkline, a plot and a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.requests import Status

BARS = "▁▂▃▄▅▆▇█"
MOST_POINTS = 24


@dataclass(frozen=True)
class Point:
    """One output in one run. `drift`: its largest absolute difference, None where it was not measured."""

    run: str
    ended: float
    status: Status
    drift: float | None
    tolerance: float | None


@dataclass(frozen=True)
class Series:
    """One output over the runs, oldest first."""

    name: str
    points: tuple[Point, ...]

    @property
    def drifts(self) -> tuple[float | None, ...]:
        """The drifts alone."""
        return tuple(point.drift for point in self.points)


def series_of(history: Iterable[Evidence]) -> tuple[Series, ...]:
    """The outputs of runs of one check, in the order in which the newest run has them.

    A run that compared nothing (skipped, or ended before) has no point.
    """
    found: dict[str, list[Point]] = {}
    for evidence in sorted(history, key=lambda e: -e.ended):
        for output in evidence.outputs:
            point = Point(evidence.id, evidence.ended, evidence.status, output.max_abs, output.tolerance)
            found.setdefault(output.name, []).append(point)
    return tuple(Series(name, tuple(reversed(points))) for name, points in found.items())


def sparkline(values: Sequence[float | None], most: int = MOST_POINTS) -> str:
    """The last values as bars on a log scale; the lowest bar for 0 and for equal values, a dot for none."""
    shown = list(values)[-most:]
    logs = [math.log10(v) for v in shown if v is not None and v > 0 and math.isfinite(v)]
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    return "".join(_bar(value, low, high) for value in shown)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "·"
    if not math.isfinite(value):
        return BARS[-1]
    # A change below a tenth of a decade is rounding.
    if value <= 0 or high - low < 0.1:
        return BARS[0]
    return BARS[round((math.log10(value) - low) / (high - low) * (len(BARS) - 1))]


def trend(series: Series) -> str | None:
    """How the last drift stands to the one before, where both were measured; None where it is the same."""
    measured = [point.drift for point in series.points if point.drift is not None]
    if len(measured) < 2:
        return None
    before, now = measured[-2:]
    if before == now:
        return None
    if before == 0 or now == 0:
        return f"{before:.3g} before"
    ratio = now / before
    if 0.9 < ratio < 1.1:
        return None
    return f"{ratio:.3g} times the {before:.3g} of before" if ratio > 1 else f"down from {before:.3g}"
