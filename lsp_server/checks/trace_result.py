"""What a trace came to: the judge's verdict, with what was compared and why it may not have come so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from analyzers.findings import Location
from analyzers.numeric.records import Built, Module, OutputReading, Pair, Reading
from analyzers.numeric.verdicts import Divergence, NumericStatus, NumericVerdict
from lsp_server.checks.requests import CheckResult
from lsp_server.checks.state_records import StateProblem


class DriftRow(NamedTuple):
    """One aligned place over the depth of the model: its error in the free run, where errors add up, and in
    the lockstep run, where only its own is left."""

    pair: Pair
    free: Reading
    own: Reading


@dataclass(frozen=True)
class Compared:
    """What was compared with what. `official` and `recipe` as a person reads them, each with who chose it.

    `cases`: those of the recipe that both sides ran, the plainest first. `dtype`: of the third run, in which
    the port's loss of accuracy is held against the official model's; None where there was none. `port_place`
    and `official_place`: where the classes stand. `dropped`: official settings that the port did not take.
    """

    official: str
    official_because: str
    recipe: str
    recipe_because: str
    device: str
    dtype: str | None
    seed: int
    cases: tuple[str, ...] = ()
    port_place: Location | None = None
    official_place: Location | None = None
    dropped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TraceResult:
    """The answer to one trace. Only `passed` is evidence.

    `port`: the class. `place`: where to show a check that could not run; of a port that raised, the line.
    `verdict`, `built` and `pairs` are there as far as it came. `problems`: what the user's code raised, or
    what kept a side from being built. `parts`: what took how many seconds. `files`: what the answer depends
    on, relative to the root. `check`: of the weights tier, the parity run itself.
    """

    port: str
    status: NumericStatus
    reason: str
    next_step: str
    seconds: float
    tier: str = "tiny"
    place: Location | None = None
    compared: Compared | None = None
    verdict: NumericVerdict | None = None
    built: Built | None = None
    pairs: tuple[Pair, ...] = ()
    problems: tuple[StateProblem, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)
    check: CheckResult | None = None

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """The places that compute something else, in the order of the port's calls."""
        return self.verdict.divergences if self.verdict is not None else ()

    @cached_property
    def drift(self) -> tuple[DriftRow, ...]:
        """Every aligned place in the order of the port's calls."""
        known = {pair.number: pair for pair in self.pairs}
        rows = self.verdict.drift if self.verdict is not None else ()
        return tuple(DriftRow(known[free.pair], free, own) for free, own in rows if free.pair in known)

    def agrees(self, output: OutputReading) -> bool:
        """Whether the sides give the same output, but for rounding."""
        assert self.verdict is not None, "outputs come with a verdict"
        return output.native not in self.verdict.drifting or output.max_abs == 0.0

    def native_module(self, name: str) -> Module | None:
        """One of the port's modules."""
        return self.built.native_by_name.get(name) if self.built is not None else None
