"""The runs of a trace in a lower dtype: what each case loses there, and where the port alone raises."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from analyzers.numeric.records import Address, Module, Pair, Reading
from analyzers.numeric.statements import Sources
from analyzers.numeric.verdicts import Divergence, Spot
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_records import LockstepAnswer

_RAISED = -1
"""The number of a pair that is no aligned value: nothing was computed there."""


@dataclass(frozen=True)
class InDtype:
    """What the runs of all cases came to.

    `readings`: of each place, those of the case that loses most, against what the official model loses there.
    `cases`: that case by the number of the pair. `raised`: what the port raises where the official model
    runs; `kept`: other problems, with the case that each of them keeps from being compared.
    """

    readings: tuple[Reading, ...] = ()
    cases: Mapping[int, str] | None = None
    raised: tuple[StateProblem, ...] = ()
    kept: tuple[tuple[str, StateProblem], ...] = ()

    def case(self, pair: Pair, plain: str) -> str:
        """The case that shows a place best."""
        return (self.cases or {}).get(pair.number, plain)


async def in_dtype(cases: Sequence[str], run: Callable[[str], Awaitable[LockstepAnswer]]) -> InDtype:
    """Every case once. `run`: a lockstep run of both sides in the lower dtype. Raises what `run` does."""
    worst: dict[int, Reading] = {}
    shown: dict[int, str] = {}
    raised: list[StateProblem] = []
    kept: list[tuple[str, StateProblem]] = []
    for case in cases:
        answer = await run(case)
        if answer.error is not None:
            alone = answer.error.side == "port" and answer.floors_error is None
            if alone:
                raised.append(answer.error)
            else:
                kept.append((case, answer.floors_error or answer.error))
            continue
        for reading in answer.readings:
            old = worst.get(reading.pair)
            if old is None or _loss(reading) > _loss(old):
                worst[reading.pair], shown[reading.pair] = reading, case
    return InDtype(tuple(worst.values()), shown, _each_once(raised), tuple(kept))


def _loss(reading: Reading) -> float:
    """How many times the official model's own loss a place loses; less than nothing where it is unknown."""
    if reading.error is None or reading.floor is None or math.isnan(reading.error):
        return -1.0
    return reading.error / reading.floor if reading.floor else reading.error


def _each_once(problems: Sequence[StateProblem]) -> tuple[StateProblem, ...]:
    return tuple({(each.path, each.line, each.message): each for each in reversed(problems)}.values())[::-1]


def raised_divergence(
    problem: StateProblem, dtype: str, modules: Sequence[Module], sources: Sources
) -> Divergence:
    """What the port raises in a dtype in which the official model runs, as a place of its verdict."""
    native = Spot("", None, None, None)
    if problem.path is not None and problem.line is not None:
        place = sources.range_at(problem.path, problem.line)
        native = Spot(
            _module_at(problem.path, problem.line, modules, sources), place.path, place.line, place.end_line
        )
    message = " ".join(problem.message.split()).rstrip(".")
    return Divergence(
        kind="dtype",
        pair=Pair(
            _RAISED, Address("", 0, "out", "out"), Address(native.module, 0, "out", "out"), None, "raised"
        ),
        native=native,
        official=Spot("", None, None, None),
        error=None,
        floor=None,
        after=(),
        message=f"the port raises {problem.type} in {dtype}, where the official model runs: {message}",
    )


def _module_at(path: str, line: int, modules: Sequence[Module], sources: Sources) -> str:
    """The first module whose class has a line; the model itself where none has."""
    cls = sources.enclosing_class(path, line)
    for module in modules:
        own = module.path == path and module.line is not None
        if cls is not None and own and sources.enclosing_class(path, (module.line or 0) + 1) is cls:
            return module.name
    return ""
