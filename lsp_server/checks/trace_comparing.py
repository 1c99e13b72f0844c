"""The sequence of runs that leads from two built models to a verdict: every case free, then in lockstep
(as often as it takes to be certain which values correspond), then in the low dtype."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice

from analyzers.numeric.alignment import Alignment, align
from analyzers.numeric.judging import judge
from analyzers.numeric.records import Observation, Reading
from analyzers.numeric.repairs import Repairs, is_better, repairs_to_try, wrong_pairs
from analyzers.numeric.settling import decided, doubts, settle
from lsp_server.checks.trace_dtype import InDtype, in_dtype
from lsp_server.checks.trace_measurement import Journal, Measurement, Readings, floors_of, with_floors
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_records import LockstepAnswer
from lsp_server.checks.trace_session import FLOAT32, Measuring, ModelRaised
from lsp_server.checks.trace_words import in_words

MOST_TRIED = 6
"""So many repairs are tried where several places are wrong; each is one run of one case."""


async def observed(measuring: Measuring, journal: Journal) -> list[Observation]:
    """The cases that both sides ran freely, the plainest first. Raises ModelRaised where that one did not
    run."""
    found: list[Observation] = []
    for case in measuring.answer.built.cases:
        told = await measuring.observe(case)
        # What the official model refuses is no fault of the port.
        problem = told.official_error or told.native_error
        if problem is None:
            found.append(told.observation)
        elif not found:
            raise ModelRaised(problem)
        else:
            journal.problems.append(problem)
            journal.notes.append(f"the case {case} was left out: {in_words(problem)}")
    return found


async def compared(
    measuring: Measuring, question: TraceQuestion, observations: Sequence[Observation], journal: Journal
) -> Measurement:
    """What the runs show, judged. Raises as `Measuring`, and ModelRaised."""
    journal.on_stage("comparing them value by value")
    built = measuring.answer.built
    plain, *others = observations
    alignment = await asyncio.to_thread(align, built, plain, others)
    comparing = _Comparing(measuring, tuple(observation.case for observation in observations), journal)
    repairs = Repairs()
    lower = InDtype()
    readings: Readings
    if question.lockstep:
        alignment, readings, repairs = await comparing.in_lockstep(alignment, observations)
        free: Readings = {plain.case: await measuring.free(plain.case, alignment.pairs)}
        if question.dtype is not None and question.dtype != FLOAT32:
            lower = await comparing.in_dtype(alignment, question.dtype, repairs)
    else:
        readings = free = {case: await measuring.free(case, alignment.pairs) for case in comparing.cases}
    verdict = await asyncio.to_thread(
        judge, built, observations, readings, alignment, lower.readings, free, repairs
    )
    free_runs = {observation.case: observation for observation in observations}
    return Measurement(comparing.cases, alignment.pairs, readings, lower, repairs, free_runs, verdict)


class _Comparing:
    """The cases of one session that both sides run."""

    def __init__(self, measuring: Measuring, cases: tuple[str, ...], journal: Journal) -> None:
        self.measuring = measuring
        self.built = measuring.answer.built
        self.cases = cases
        self.journal = journal

    async def in_lockstep(
        self, alignment: Alignment, observations: Sequence[Observation]
    ) -> tuple[Alignment, Readings, Repairs]:
        """The alignment as values settle it, and every case with the port put right at each of its places."""
        certain = sorted(alignment.certain)
        readings: Readings = await self._each_case(alignment, certain)
        alignment = await asyncio.to_thread(settle, self.built, observations, alignment, readings)
        if alignment.certain != set(certain):
            readings = await self._again(alignment, sorted(alignment.certain), readings)
        alignment, readings = await self._decided(alignment, readings)
        repairs = await self._repairs(alignment, readings)
        if repairs:
            self.journal.on_stage("putting right what one error makes wrong at several places")
            readings = await self._again(alignment, True, readings, repairs)
        return alignment, readings, repairs

    async def in_dtype(self, alignment: Alignment, dtype: str, repairs: Repairs) -> InDtype:
        """Every case in a low dtype; what keeps one from being compared in it is noted."""
        self.journal.on_stage(f"comparing them in {dtype}")

        async def run(case: str) -> LockstepAnswer:
            return await self.measuring.answered(case, alignment.pairs, True, dtype=dtype, repairs=repairs)

        found = await in_dtype(self.cases, run)
        self.journal.problems += (*found.raised, *(problem for _, problem in found.kept))
        for case, problem in found.kept:
            self.journal.notes.append(
                f"nothing is said about {dtype} in the case {case}: {in_words(problem)}"
            )
        return found

    async def _decided(self, alignment: Alignment, readings: Readings) -> tuple[Alignment, Readings]:
        """The alignment without doubts: places are put right one by one, to see what that mends."""
        confirmed: frozenset[int] = frozenset()
        in_doubt = doubts(self.built, alignment)
        if in_doubt:
            floors = floors_of(readings)
            case = self._worst_case(readings)
            best = readings[case]
            for place in in_doubt[:MOST_TRIED]:
                if place <= confirmed:
                    continue
                tried = sorted(alignment.certain | confirmed | place)
                new = with_floors(await self.measuring.lockstep(case, alignment.pairs, tried), best)
                if is_better(self.built, alignment, best, new, floors):
                    confirmed, best = confirmed | place, new
        alignment = decided(self.built, alignment, confirmed)
        if confirmed:
            return alignment, await self._again(alignment, True, readings)
        kept = {pair.number for pair in alignment.pairs}  # a doubtful place may be no pair any more
        return alignment, {
            case: tuple(reading for reading in found if reading.pair in kept)
            for case, found in readings.items()
        }

    async def _repairs(self, alignment: Alignment, readings: Readings) -> Repairs:
        """What puts right at the first of several places what one error makes wrong at all of them."""
        floors = floors_of(readings)
        case = self._worst_case(readings)
        best, repairs = readings[case], Repairs()
        for more in islice(repairs_to_try(self.built, alignment, best, floors), MOST_TRIED):
            tried = repairs | more
            new = await self.measuring.lockstep(case, alignment.pairs, True, repairs=tried)
            new = with_floors(new, best)
            if is_better(self.built, alignment, best, new, floors):
                repairs, best = tried, new
        return repairs

    def _worst_case(self, readings: Readings) -> str:
        floors = floors_of(readings)
        return max(self.cases, key=lambda case: len(wrong_pairs(readings[case], floors)))

    async def _again(
        self,
        alignment: Alignment,
        replaced: bool | Sequence[int],
        readings: Readings,
        repairs: Repairs | None = None,
    ) -> Readings:
        """Every case once more, with the floors as they were measured: rounding is the official model's own,
        and does not depend on what the port is given."""
        found = await self._each_case(alignment, replaced, floors=False, repairs=repairs)
        return {case: with_floors(new, readings[case]) for case, new in found.items()}

    async def _each_case(
        self,
        alignment: Alignment,
        replaced: bool | Sequence[int],
        *,
        floors: bool = True,
        repairs: Repairs | None = None,
    ) -> dict[str, tuple[Reading, ...]]:
        """Every case once. `replaced`: at which pairs the port is put right."""
        return {
            case: await self.measuring.lockstep(
                case, alignment.pairs, replaced, floors=floors, repairs=repairs
            )
            for case in self.cases
        }
