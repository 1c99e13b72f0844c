"""A trace: both models of a port in one tiny session, measured, judged, and followed down to the operation.

The session measures (`ditproof_probe`), `analyzers.numeric` judges, and this puts the questions:

1. each case of the recipe in a free run of both sides: which modules are called, and whether outputs differ;
2. which values should be equal, and each case again in lockstep: the port is put right at every aligned
   place, so that each error is seen by itself;
3. the plainest case in the low dtype, for what only dtypes do;
4. for each error, the operations of both sides between the last agreeing values and the first wrong one.

A trace always comes to a result; what kept it from a verdict is the result's reason and next step.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from analyzers.findings import Location
from analyzers.numeric.alignment import Alignment, align
from analyzers.numeric.blame import blame
from analyzers.numeric.floors import Floors
from analyzers.numeric.frontiers import Origin, origins
from analyzers.numeric.judging import judge, merged, with_divergences, with_raised
from analyzers.numeric.records import Address, Observation, Operations, Pair, Reading
from analyzers.numeric.repairs import Repairs, is_better, repairs_to_try, wrong_pairs
from analyzers.numeric.settling import decided, doubts, settle
from analyzers.numeric.statements import Sources
from analyzers.numeric.verdicts import Divergence, NumericStatus, NumericVerdict
from lsp_server.checks.against import Against
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import AskFailed, MetaWorker, OnStage, SupersededError, TinyRequest
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.strict import MalformedAnswer
from lsp_server.checks.trace_dtype import InDtype, in_dtype, raised_divergence
from lsp_server.checks.trace_hypotheses import Followed, explained
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_records import (
    BuiltAnswer,
    LockstepAnswer,
    ObserveAnswer,
    pair_json,
    read_built,
    read_lockstep,
    read_observation,
    read_operations,
)
from lsp_server.checks.trace_result import Compared, TraceResult

MOST_FOLLOWED = 8
"""So many errors are followed down to the operation; the others keep their module's line."""

_MOST_NAMED = 4
"""So many tensors are named in one note."""

MOST_TRIED = 6
"""So many repairs are tried where several places are wrong; each is one run of one case."""

_FLOAT32 = "float32"

_LONGEST_TRIAL = 30.0
"""Seconds that an edit of the port may take to build or to answer."""


async def trace(
    question: TraceQuestion,
    worker: MetaWorker,
    on_stage: OnStage | None = None,
    on_verdict: Callable[[TraceResult], None] | None = None,
) -> TraceResult:
    """The answer. What keeps it from a verdict is its reason; only a cancelled task raises.

    `on_verdict` is told the answer before causes are looked for, where that is asked for.
    """
    began = time.monotonic()
    notes: list[str] = []
    for number, against in enumerate(question.officials, 1):
        tracing = _Tracing(question, against, on_stage or _silent)
        try:
            result = await tracing.run(worker)
        except (AskFailed, _Raised) as error:
            told = _told(error.problem, question, against)
            if _is_official_absent(error.problem) and number < len(question.officials):
                notes.append(f"{against.ref} was left out: {told.reason}")
                continue
            result = tracing.without_verdict("error", told, error.problem)
        except SupersededError as error:
            result = tracing.without_verdict("cancelled", error)
        except CheckError as error:
            result = tracing.without_verdict("error", error)
        except MalformedAnswer as error:
            told = CheckError(
                f"the worker that runs the models gave an answer that cannot be read: {error}.",
                "Reinstall ditproof; if it stays, report it.",
            )
            result = tracing.without_verdict("error", told)
        result = replace(result, notes=(*notes, *result.notes), seconds=time.monotonic() - began)
        if not (question.hypotheses and result.divergences):
            return result
        if on_verdict is not None:
            on_verdict(result)
        result = await tracing.explained(worker, result)
        return replace(result, seconds=time.monotonic() - began)
    raise AssertionError("there is an official side to try, and the last one returns")


async def measured(question: TraceQuestion, session: Session, on_stage: OnStage | None = None) -> TraceResult:
    """The answer about two models that are there already. What keeps it from a verdict is its reason."""
    began = time.monotonic()
    against = question.officials[0]
    tracing = _Tracing(question, against, on_stage or _silent)
    try:
        result = await tracing.through(session)
    except (AskFailed, _Raised) as error:
        result = tracing.without_verdict("error", _told(error.problem, question, against), error.problem)
    except CheckError as error:
        result = tracing.without_verdict("error", error)
    except MalformedAnswer as error:
        result = tracing.without_verdict(
            "error", CheckError(f"An answer cannot be read: {error}.", "Report it.")
        )
    return replace(result, seconds=time.monotonic() - began)


def not_begun(port: str, error: CheckError, place: Location | None = None) -> TraceResult:
    """The result of a question that could not even be put."""
    return TraceResult(port, "error", error.reason, error.next_step, 0.0, place=place)


class Session(Protocol):
    """Two models in another process, and what is asked of them: a `TinySession`, or one inside a test."""

    built: Mapping[str, Any]

    async def ask(self, ask: str, **arguments: Any) -> Mapping[str, Any]:
        """As `TinySession.ask`."""
        ...

    async def end(self) -> None:
        """Nothing more is asked."""
        ...


class _Raised(Exception):
    """A model raised in a run that the comparison needs."""

    def __init__(self, problem: StateProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _silent(stage: str) -> None:
    """Nobody listens to what is being done."""


class _Tracing:
    """One question against one official side."""

    def __init__(self, question: TraceQuestion, against: Against, on_stage: OnStage) -> None:
        self.question = question
        self.against = against
        self.on_stage = on_stage
        self.notes: list[str] = []
        self.problems: list[StateProblem] = []
        self.parts: dict[str, float] = {}
        self.answer: BuiltAnswer | None = None
        self.cases: tuple[str, ...] = ()
        self.pairs: tuple[Pair, ...] = ()
        self.readings: Mapping[str, Sequence[Reading]] = {}
        self.verdict: NumericVerdict | None = None
        self.operations: dict[int, Operations] = {}
        self.in_dtype = InDtype()
        self.repairs = Repairs()
        self.observed: Mapping[str, Observation] = {}

    async def run(self, worker: MetaWorker) -> TraceResult:
        """Raises _Raised, AskFailed, CheckError, MalformedAnswer."""
        began = time.monotonic()
        async with worker.tiny(self._request(), self.on_stage) as session:
            self.parts["building"] = time.monotonic() - began
            return await self.through(session)

    async def through(self, session: Session) -> TraceResult:
        """Everything that is asked of two models that are built. Raises as `run`."""
        answer = self.answer = await asyncio.to_thread(read_built, session.built, self.question.root)
        self.problems += answer.problems
        self.notes += _load_notes(answer)
        measuring = _Measuring(session, answer, self.question.root)
        with self._timed("running"):
            observations = await self._observed(measuring)
        self.observed = {observation.case: observation for observation in observations}
        with self._timed("lockstep"):
            verdict = await self._judged(measuring, observations)
        self.verdict = verdict
        if self.question.operations and verdict.divergences:
            with self._timed("operations"):
                verdict = await self._followed(measuring, verdict)
        await session.end()
        return self._result(verdict)

    def _request(self) -> TinyRequest:
        question, recipe = self.question, self.question.recipe
        return TinyRequest(
            root=question.root,
            python=question.python,
            trusted=question.trusted,
            code_base=question.code_base,
            port=question.port,
            official=self.against.ref,
            official_config=None,
            recipe=str(recipe.path),
            device=question.device,
            seed=question.seed,
            timeout=question.timeout,
            overlay=question.overlay,
        )

    # ------------------------------------------------------------------ measuring

    async def _observed(self, measuring: _Measuring) -> list[Observation]:
        """The cases that both sides ran, the plainest first. Raises _Raised where that one did not run."""
        found: list[Observation] = []
        for case in measuring.answer.built.cases:
            told = await measuring.observe(case)
            # What the official model refuses is no fault of the port.
            problem = told.official_error or told.native_error
            if problem is None:
                found.append(told.observation)
            elif not found:
                raise _Raised(problem)
            else:
                self.problems.append(problem)
                self.notes.append(f"the case {case} was left out: {_in_words(problem)}")
        self.cases = tuple(observation.case for observation in found)
        return found

    async def _judged(self, measuring: _Measuring, observations: list[Observation]) -> NumericVerdict:
        self.on_stage("comparing them value by value")
        built, question = measuring.answer.built, self.question
        plain, *others = observations
        alignment = await asyncio.to_thread(align, built, plain, others)
        if question.lockstep:
            certain = sorted(alignment.certain)
            readings = await self._each_case(measuring, alignment, certain)
            alignment = await asyncio.to_thread(settle, built, observations, alignment, readings)
            if alignment.certain != set(certain):
                certain = sorted(alignment.certain)
                readings = await self._again(measuring, alignment, certain, readings)
            alignment, readings = await self._decided(measuring, alignment, readings)
            readings = await self._repaired(measuring, alignment, readings)
            free = {plain.case: await measuring.free(plain.case, alignment.pairs)}
            if question.dtype is not None and question.dtype != _FLOAT32:
                self.in_dtype = await self._in_dtype(measuring, alignment, question.dtype)
        else:
            readings = free = {case: await measuring.free(case, alignment.pairs) for case in self.cases}
        self.pairs = alignment.pairs
        self.readings = readings
        lower = self.in_dtype.readings
        verdict = await asyncio.to_thread(
            judge, built, observations, readings, alignment, lower, free, self.repairs
        )
        raised = [
            raised_divergence(problem, question.dtype or "", built.native, Sources(self._source))
            for problem in self.in_dtype.raised
        ]
        return with_raised(verdict, raised) if raised else verdict

    async def _decided(
        self, measuring: _Measuring, alignment: Alignment, readings: dict[str, tuple[Reading, ...]]
    ) -> tuple[Alignment, dict[str, tuple[Reading, ...]]]:
        """The alignment without doubts: places are put right one by one, to see what that mends."""
        built = measuring.answer.built
        confirmed: frozenset[int] = frozenset()
        in_doubt = doubts(built, alignment)
        if in_doubt:
            floors = _floors(readings)
            case = max(self.cases, key=lambda case: len(wrong_pairs(readings[case], floors)))
            best = readings[case]
            for place in in_doubt[:MOST_TRIED]:
                if place <= confirmed:
                    continue
                tried = sorted(alignment.certain | confirmed | place)
                new = _with_floors(await measuring.lockstep(case, alignment.pairs, tried), best)
                if is_better(built, alignment, best, new, floors):
                    confirmed, best = confirmed | place, new
        alignment = decided(built, alignment, confirmed)
        if confirmed:
            return alignment, await self._again(measuring, alignment, True, readings)
        kept = {pair.number for pair in alignment.pairs}  # a doubtful place may be no pair any more
        return alignment, {
            case: tuple(reading for reading in found if reading.pair in kept)
            for case, found in readings.items()
        }

    async def _again(
        self,
        measuring: _Measuring,
        alignment: Alignment,
        replaced: bool | Sequence[int],
        readings: Mapping[str, Sequence[Reading]],
    ) -> dict[str, tuple[Reading, ...]]:
        """Every case once more, with the floors as they were measured: rounding is the official model's own,
        and does not depend on what the port is given."""
        found = await self._each_case(measuring, alignment, replaced, floors=False)
        return {case: _with_floors(new, readings[case]) for case, new in found.items()}

    async def _repaired(
        self, measuring: _Measuring, alignment: Alignment, readings: dict[str, tuple[Reading, ...]]
    ) -> dict[str, tuple[Reading, ...]]:
        """The readings with what one error makes wrong at several places put right at the first of them."""
        built = measuring.answer.built
        floors = _floors(readings)
        case = max(self.cases, key=lambda case: len(wrong_pairs(readings[case], floors)))
        best = readings[case]
        for repairs in islice(repairs_to_try(built, alignment, best, floors), MOST_TRIED):
            tried = self.repairs | repairs
            new = await measuring.lockstep(case, alignment.pairs, True, repairs=tried)
            new = _with_floors(new, best)
            if is_better(built, alignment, best, new, floors):
                self.repairs, best = tried, new
        if not self.repairs:
            return readings
        self.on_stage("putting right what one error makes wrong at several places")
        return await self._again(measuring, alignment, True, readings)

    async def _each_case(
        self,
        measuring: _Measuring,
        alignment: Alignment,
        replaced: bool | Sequence[int],
        *,
        floors: bool = True,
    ) -> dict[str, tuple[Reading, ...]]:
        """Every case once. `replaced`: at which pairs the port is put right."""
        return {
            case: await measuring.lockstep(
                case, alignment.pairs, replaced, floors=floors, repairs=self.repairs
            )
            for case in self.cases
        }

    async def _in_dtype(self, measuring: _Measuring, alignment: Alignment, dtype: str) -> InDtype:
        self.on_stage(f"comparing them in {dtype}")

        async def run(case: str) -> LockstepAnswer:
            return await measuring.answered(case, alignment.pairs, True, dtype=dtype, repairs=self.repairs)

        found = await in_dtype(self.cases, run)
        self.problems += (*found.raised, *(problem for _, problem in found.kept))
        for case, problem in found.kept:
            self.notes.append(f"nothing is said about {dtype} in the case {case}: {_in_words(problem)}")
        return found

    # ------------------------------------------------------------------ down to the operation

    async def _followed(self, measuring: _Measuring, verdict: NumericVerdict) -> NumericVerdict:
        """The verdict with its first errors at their statements."""
        built, source = measuring.answer.built, self._source
        found: list[Divergence] = []
        begun: dict[int, frozenset[Origin]] = {}
        # Wrong values come before mere losses of accuracy: those must not use the limit up.
        computed = [one for one in verdict.divergences if one.pair.number >= 0]
        urgent = sorted(computed, key=lambda divergence: divergence.kind == "dtype")
        chosen = {divergence.pair for divergence in urgent[:MOST_FOLLOWED]}
        for divergence in verdict.divergences:
            if divergence.pair not in chosen:
                found.append(divergence)
                continue
            self.on_stage(f"looking into {divergence.native.module or 'the model'}")
            dtype = self.question.dtype if divergence.kind == "dtype" else _FLOAT32
            case = self._shown_best(divergence)
            try:
                told = await measuring.operations(
                    case, self.pairs, divergence.pair, dtype or _FLOAT32, self.repairs
                )
            except AskFailed as error:
                self.problems.append(error.problem)
                place = divergence.native.module or "the model"
                self.notes.append(f"the operations of {place} could not be had: {_in_words(error.problem)}")
                found.append(divergence)
                continue
            begun[divergence.pair.number] = await asyncio.to_thread(origins, told)
            self.operations[divergence.pair.number] = told
            observation = self.observed.get(case)
            found.append(await asyncio.to_thread(blame, divergence, told, built, source, observation))
        if len(urgent) > MOST_FOLLOWED:
            self.notes.append(
                f"only {MOST_FOLLOWED} places were followed down to the operation: mend these first"
            )
        return with_divergences(verdict, merged(found, begun))

    def _shown_best(self, divergence: Divergence) -> str:
        """The plainest case that shows an error at least half as well as any other."""
        if divergence.kind == "dtype":
            return self.in_dtype.case(divergence.pair, self.cases[0])
        sizes = {case: _size(self.readings[case], divergence.pair.number) for case in self.cases}
        largest = max(sizes.values())
        return next(case for case, size in sizes.items() if size >= largest / 2)

    @cached_property
    def _source(self) -> Callable[[str], str | None]:
        return sources_of(self.question.root, self.question.overlay)

    # ------------------------------------------------------------------ why

    async def explained(self, worker: MetaWorker, result: TraceResult) -> TraceResult:
        """The result with the causes that edits of the port, tried in runs of their own, have shown."""
        if self.answer is None or result.verdict is None:
            return result

        async def attempt(texts: Mapping[str, str], divergence: Divergence) -> float | None:
            overlay = {**(self.question.overlay or {}), **texts}
            limit = min(self.question.timeout, _LONGEST_TRIAL)
            question = replace(self.question, overlay=overlay, timeout=limit)
            try:
                return await _Tracing(question, self.against, _silent).mended(worker, self, divergence)
            except _Raised:
                return None

        followed = Followed(self.answer.built, self.operations, self._source, self.question.root)
        with self._timed("trying causes"):
            verdict, note = await explained(result.verdict, followed, attempt, self.on_stage)
        notes = (*result.notes, note) if note is not None else result.notes
        return replace(result, verdict=verdict, notes=notes, parts=self.parts)

    async def mended(self, worker: MetaWorker, first: _Tracing, divergence: Divergence) -> float | None:
        """What is left of an error of another run, where this one mends it and does no harm; else None.

        Raises as `run`.
        """
        case = first._shown_best(divergence)
        async with worker.tiny(self._request()) as session:
            answer = self.answer = await asyncio.to_thread(read_built, session.built, self.question.root)
            if not _loads_as(answer, first.answer):
                return None
            measuring = _Measuring(session, answer, self.question.root)
            if divergence.kind != "dtype":
                readings = await measuring.lockstep(case, first.pairs, True, repairs=first.repairs)
                if not first._agrees_now(case, divergence.pair.number, readings):
                    return None
            verdict = self.verdict = await self._judged(measuring, await self._observed(measuring))
            await session.end()
        if self.cases != first.cases or not _only_mends(verdict, self, first, divergence):
            return None
        runs = [self.in_dtype.readings] if divergence.kind == "dtype" else list(self.readings.values())
        left = (_size(readings, number) for readings in runs for number in self._numbers(divergence))
        return max(left, default=0.0)

    def _agrees_now(self, case: str, number: int, readings: Sequence[Reading]) -> bool:
        floors = Floors.of(reading for found in self.readings.values() for reading in found)
        before = next((each for each in self.readings[case] if each.pair == number), None)
        now = next((each for each in readings if each.pair == number), None)
        if before is None or now is None:
            return False
        return floors.agrees(replace(now, floor=before.floor)) and not now.reorders

    def _numbers(self, divergence: Divergence) -> set[int]:
        """The pairs at the place of another run's error."""
        wanted = (divergence.pair.official, divergence.pair.native)
        return {pair.number for pair in self.pairs if (pair.official, pair.native) == wanted}

    @cached_property
    def differing(self) -> frozenset[Address]:
        """The port's places where some case differs beyond rounding."""
        floors = Floors.of(reading for found in self.readings.values() for reading in found)
        wrong = {
            reading.pair
            for found in self.readings.values()
            for reading in found
            if not floors.agrees(reading) or reading.reorders
        }
        return frozenset(pair.native for pair in self.pairs if pair.number in wrong)

    # ------------------------------------------------------------------ results

    def _result(self, verdict: NumericVerdict) -> TraceResult:
        result = TraceResult(
            port=self.question.port.cls,
            status=verdict.status,
            reason=verdict.reason,
            next_step="",
            seconds=0.0,
            verdict=verdict,
        )
        failing = next((problem for problem in self.problems if problem.stage == "forward"), None)
        if verdict.status == "passed" and failing is not None and failing.side == "port":
            told = _told(failing, self.question, self.against)
            result = replace(
                result, status="error", reason=told.reason, next_step=told.next_step, place=failing.place
            )
        return self._with_what_is_known(result)

    def without_verdict(
        self, status: NumericStatus, error: CheckError, problem: StateProblem | None = None
    ) -> TraceResult:
        """The result where something kept it from a verdict. `problem`: what that was, if the user's code."""
        result = TraceResult(
            self.question.port.cls,
            status,
            error.reason,
            error.next_step,
            0.0,
            place=problem.place if problem is not None else None,
        )
        if problem is not None and problem not in self.problems:
            self.problems.append(problem)
        return self._with_what_is_known(result)

    def _with_what_is_known(self, result: TraceResult) -> TraceResult:
        question, answer = self.question, self.answer
        compared = Compared(
            official=self.against.ref,
            official_because=self.against.because,
            recipe=question.recipe.shown,
            recipe_because=question.recipe.because,
            device=question.device,
            dtype=question.dtype if question.lockstep and question.dtype != _FLOAT32 else None,
            seed=question.seed,
            cases=self.cases,
            port_place=question.place,
            official_place=answer.official.place if answer is not None else None,
            dropped=answer.dropped if answer is not None else (),
        )
        return replace(
            result,
            compared=compared,
            built=answer.built if answer is not None else None,
            pairs=self.pairs,
            problems=tuple(self.problems),
            notes=tuple(self.notes),
            files=answer.files if answer is not None else (),
            parts=self.parts,
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.parts[part] = time.monotonic() - began


class _Measuring:
    """The asks of one session, each with its answer read."""

    def __init__(self, session: Session, answer: BuiltAnswer, root: str) -> None:
        self.session = session
        self.answer = answer
        self.root = root

    async def observe(self, case: str) -> ObserveAnswer:
        told = await self.session.ask("observe", case=case)
        return await asyncio.to_thread(read_observation, told, case, self.root)

    async def free(self, case: str, pairs: Sequence[Pair]) -> tuple[Reading, ...]:
        """The pairs where nothing is put right. Raises _Raised."""
        return await self.lockstep(case, pairs, False, floors=False)

    async def lockstep(
        self,
        case: str,
        pairs: Sequence[Pair],
        replaced: bool | Sequence[int],
        *,
        dtype: str = _FLOAT32,
        floors: bool = False,
        repairs: Repairs | None = None,
    ) -> tuple[Reading, ...]:
        """The pairs of one run. Raises _Raised where a model does."""
        answer = await self.answered(case, pairs, replaced, dtype=dtype, floors=floors, repairs=repairs)
        if answer.error is not None:
            raise _Raised(answer.error)
        return answer.readings

    async def answered(
        self,
        case: str,
        pairs: Sequence[Pair],
        replaced: bool | Sequence[int],
        *,
        dtype: str = _FLOAT32,
        floors: bool = False,
        repairs: Repairs | None = None,
    ) -> LockstepAnswer:
        """As `lockstep`, with what a model raised."""
        told = await self.session.ask(
            "lockstep",
            case=case,
            pairs=[pair_json(pair) for pair in pairs],
            replace=replaced if isinstance(replaced, bool) else list(replaced),
            dtype=dtype,
            floors=floors,
            **_repairs_json(repairs),
        )
        return await asyncio.to_thread(read_lockstep, told, self.root)

    async def operations(
        self, case: str, pairs: Sequence[Pair], goal: Pair, dtype: str, repairs: Repairs
    ) -> Operations:
        told = await self.session.ask(
            "operations",
            case=case,
            pairs=[pair_json(pair) for pair in pairs],
            goal=goal.number,
            dtype=dtype,
            **_repairs_json(repairs),
        )
        return await asyncio.to_thread(read_operations, told, self.root)


def _load_notes(answer: BuiltAnswer) -> Iterator[str]:
    """What of the weights could not be brought over, and is no missing or unexpected name."""
    if answer.misshapen:
        shown = ", ".join(f"{name} ({shapes})" for name, shapes in answer.misshapen[:_MOST_NAMED])
        yield f"a strict load refuses the shape of {shown}{_more(answer.misshapen)}"
    if answer.filled:
        shown = ", ".join(answer.filled[:_MOST_NAMED])
        yield (
            f"filled from checkpoints and ignored by the official class: {shown}{_more(answer.filled)}; "
            "they have random values here"
        )


def _more(names: Sequence[object]) -> str:
    return f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""


def _repairs_json(repairs: Repairs | None) -> dict[str, list[int]]:
    if repairs is None:
        return {}
    return {"owned": sorted(repairs.owned), "in_order": sorted(repairs.in_order)}


def _loads_as(answer: BuiltAnswer, first: BuiltAnswer | None) -> bool:
    """Whether an edited port takes all weights that the unedited one took."""
    if first is None:
        return False
    return set(answer.built.missing) <= set(first.built.missing) and set(answer.built.unexpected) <= set(
        first.built.unexpected
    )


def _only_mends(verdict: NumericVerdict, trial: _Tracing, first: _Tracing, divergence: Divergence) -> bool:
    """Whether an error is gone and nothing that agreed differs."""
    assert first.verdict is not None
    in_dtype, before = (
        {found.pair.native for found in each.divergences if found.kind == "dtype"}
        for each in (verdict, first.verdict)
    )
    if not in_dtype <= before or not trial.differing <= first.differing:
        return False
    still = in_dtype if divergence.kind == "dtype" else trial.differing
    fewer = len(verdict.divergences) < len(first.verdict.divergences)
    return (
        fewer and divergence.pair.native not in still and (bool(verdict.divergences) or not verdict.drifting)
    )


def sources_of(root: str, overlay: Mapping[str, str] | None = None) -> Callable[[str], str | None]:
    """The text of a file as the child imported it, from the disk or from the overlay (texts by absolute
    path); None where it cannot be read.

    Paths count from the root.
    """
    known: dict[str, str | None] = {}
    for path, text in (overlay or {}).items():
        known[path] = text
        if Path(path).is_relative_to(root):
            known[Path(path).relative_to(root).as_posix()] = text

    def source(path: str) -> str | None:
        if path not in known:
            try:
                known[path] = (Path(root) / path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError, ValueError):
                known[path] = None  # made at run time, or no text: then it has no lines to show
        return known[path]

    return source


def _floors(readings: Mapping[str, Sequence[Reading]]) -> Floors:
    return Floors.of(reading for found in readings.values() for reading in found)


def _with_floors(readings: Sequence[Reading], measured: Sequence[Reading]) -> tuple[Reading, ...]:
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


# --------------------------------------------------------------------------- what the user's code raised


def _is_official_absent(problem: StateProblem) -> bool:
    """Whether another official class may be at hand instead."""
    return problem.side == "official" and problem.stage in ("import", "config", "build")


_OWN_TYPES = ("Unbuildable", "Exit", "Crash", "NoRecipe", "BadRecipe")
"""Types of problems that the worker found itself, and no exception of the user's code."""


def _in_words(problem: StateProblem) -> str:
    """What happened, in a few words."""
    message = " ".join(problem.message.split()).rstrip(".")
    kind = f"{problem.type}: " if problem.type not in _OWN_TYPES else ""
    return f"{_what(problem)} {kind}{message}{_place(problem)}"


def _what(problem: StateProblem) -> str:
    side = {"port": "the port", "official": "the official model", "code base": "the code base"}[problem.side]
    if problem.stage == "recipe":
        return "the recipe raises" if problem.type not in _OWN_TYPES else "the recipe cannot be used:"
    if problem.type in ("Crash", "Exit"):
        return f"{side}:"
    if problem.stage == "trace":
        return "measuring fails with"
    verb = {
        "import": "cannot be imported:",
        "config": "cannot be configured:",
        "build": "cannot be built:",
        "state": "has no state:",
        "load": "does not take the official weights:",
        "forward": "raises",
    }[problem.stage]
    return f"{side} {verb}"


def _place(problem: StateProblem) -> str:
    if problem.path is None or problem.path.startswith("<"):
        return ""
    return f" ({problem.path}:{(problem.line or 0) + 1})"


def _told(problem: StateProblem, question: TraceQuestion, against: Against) -> CheckError:
    """Reason and next step of what kept a trace from its verdict."""
    reason = f"{_in_words(problem)}."
    if problem.next_step:
        return CheckError(reason, problem.next_step)
    if problem.missing:
        package = problem.missing.partition(".")[0]
        return CheckError(reason, f"Run `{question.python} -m pip install {package}`.")
    recipe = question.recipe.shown
    steps = {
        ("official", "forward"): f"The inputs of the recipe {recipe} may not be what {against.ref} takes: "
        "mend them there.",
        ("port", "forward"): "Mend it there; if the port takes other arguments than the official model, say "
        f"so in `port_inputs` of the recipe {recipe}.",
        ("port", "load"): f"`ditproof weights {question.port.cls}` says which names have no place.",
    }
    step = steps.get((problem.side, problem.stage))
    if step is None and problem.stage == "recipe":
        step = f"Mend the recipe {recipe}."
    if step is None and problem.side == "official":
        step = "Mend it there, or name another with --official."
    if step is None and problem.stage == "trace":
        step = "Report this, with the log; --no-lockstep or --no-ops may go around it."
    return CheckError(reason, step or "Mend it there; `python -c` with the same import shows the traceback.")
