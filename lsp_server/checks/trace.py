"""A trace: both models of a port in one tiny session, measured, judged, and followed down to the operation.

The session measures (`ditproof_probe`), `analyzers.numeric` judges, and this puts the questions:

1. each case of the recipe in a free run of both sides: which modules are called, and whether outputs differ;
2. which values should be equal, and each case again in lockstep: the port is put right at every aligned
   place, so that each error is seen by itself;
3. each case in the low dtype, for what only dtypes do (`trace_comparing`, all three);
4. for each error, the operations of both sides between the last agreeing values and the first wrong one
   (`trace_following`);
5. where asked for, known causes as edits of the port, each in a run of its own (`trace_hypotheses`).

A trace always comes to a result; what kept it from a verdict is the result's reason and next step.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from analyzers.findings import Location
from analyzers.numeric.judging import with_raised
from analyzers.numeric.records import Operations
from analyzers.numeric.statements import Sources
from analyzers.numeric.verdicts import Divergence, NumericStatus, NumericVerdict
from lsp_server.checks.against import Against
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import AskFailed, MetaWorker, OnStage, SupersededError, TinyRequest
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.strict import MalformedAnswer
from lsp_server.checks.trace_comparing import compared, observed
from lsp_server.checks.trace_dtype import raised_divergence
from lsp_server.checks.trace_following import SourceOf, followed, sources_of
from lsp_server.checks.trace_hypotheses import Followed, explained
from lsp_server.checks.trace_measurement import Journal, Measurement, silent
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_records import BuiltAnswer
from lsp_server.checks.trace_result import Compared, TraceResult
from lsp_server.checks.trace_session import FLOAT32, Measuring, ModelRaised, Session
from lsp_server.checks.trace_trials import LONGEST_TRIAL, mended
from lsp_server.checks.trace_words import is_official_absent, told

_MOST_NAMED = 4
"""So many tensors are named in one note."""


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
        tracing = _Tracing(question, against, on_stage or silent)
        result, problem = await tracing.answered(tracing.run(worker))
        if problem is not None and is_official_absent(problem) and number < len(question.officials):
            notes.append(f"{against.ref} was left out: {result.reason}")
            continue
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
    tracing = _Tracing(question, question.officials[0], on_stage or silent)
    result, _ = await tracing.answered(tracing.through(session))
    return replace(result, seconds=time.monotonic() - began)


def not_begun(port: str, error: CheckError, place: Location | None = None) -> TraceResult:
    """The result of a question that could not even be put."""
    return TraceResult(port, "error", error.reason, error.next_step, 0.0, place=place)


class _Tracing:
    """One question against one official side, and what is known of it so far."""

    def __init__(self, question: TraceQuestion, against: Against, on_stage: OnStage) -> None:
        self.question = question
        self.against = against
        self.journal = Journal(on_stage)
        self.answer: BuiltAnswer | None = None
        self.cases: tuple[str, ...] = ()
        self.measured: Measurement | None = None
        self.operations: Mapping[int, Operations] = {}

    async def answered(self, answer: Awaitable[TraceResult]) -> tuple[TraceResult, StateProblem | None]:
        """The answer, or what kept it from a verdict, with the problem of the user's code that did."""
        try:
            return await answer, None
        except (AskFailed, ModelRaised) as error:
            why = told(error.problem, self.question, self.against)
            return self._without_verdict("error", why, error.problem), error.problem
        except SupersededError as error:
            return self._without_verdict("cancelled", error), None
        except CheckError as error:
            return self._without_verdict("error", error), None
        except MalformedAnswer as error:
            why = CheckError(
                f"the worker that runs the models gave an answer that cannot be read: {error}.",
                "Reinstall ditproof; if it stays, report it.",
            )
            return self._without_verdict("error", why), None

    async def run(self, worker: MetaWorker) -> TraceResult:
        """Raises ModelRaised, AskFailed, CheckError, MalformedAnswer."""
        began = time.monotonic()
        async with worker.tiny(_request(self.question, self.against), self.journal.on_stage) as session:
            self.journal.parts["building"] = time.monotonic() - began
            return await self.through(session)

    async def through(self, session: Session) -> TraceResult:
        """Everything that is asked of two models that are built. Raises as `run`."""
        question, journal = self.question, self.journal
        measuring = await Measuring.of(session, question.root)
        answer = self.answer = measuring.answer
        journal.problems += answer.problems
        journal.notes += _load_notes(answer)
        with journal.timed("running"):
            observations = await observed(measuring, journal)
        self.cases = tuple(observation.case for observation in observations)
        with journal.timed("lockstep"):
            found = await compared(measuring, question, observations, journal)
        found = self.measured = self._with_raised(found, answer)
        verdict = found.verdict
        if question.operations and verdict.divergences:
            with journal.timed("operations"):
                verdict, self.operations = await followed(
                    measuring, found, question.dtype, self._source, journal
                )
        await session.end()
        return self._result(verdict)

    def _with_raised(self, found: Measurement, answer: BuiltAnswer) -> Measurement:
        """With what the port alone raised in the low dtype in its verdict."""
        sources, dtype = Sources(self._source), self.question.dtype or FLOAT32
        raised = [
            raised_divergence(problem, dtype, answer.built.native, sources)
            for problem in found.in_dtype.raised
        ]
        return replace(found, verdict=with_raised(found.verdict, raised)) if raised else found

    async def explained(self, worker: MetaWorker, result: TraceResult) -> TraceResult:
        """The result with the causes that edits of the port, tried in runs of their own, have shown."""
        answer, first, verdict = self.answer, self.measured, result.verdict
        if answer is None or first is None or verdict is None:
            return result

        async def attempt(texts: Mapping[str, str], divergence: Divergence) -> float | None:
            overlay = {**(self.question.overlay or {}), **texts}
            limit = min(self.question.timeout, LONGEST_TRIAL)
            edited = replace(self.question, overlay=overlay, timeout=limit)
            return await mended(worker, _request(edited, self.against), edited, first, answer, divergence)

        tried = Followed(answer.built, self.operations, self._source, self.question.root)
        with self.journal.timed("trying causes"):
            verdict, note = await explained(verdict, tried, attempt, self.journal.on_stage)
        notes = (*result.notes, note) if note is not None else result.notes
        return replace(result, verdict=verdict, notes=notes, parts=self.journal.parts)

    @cached_property
    def _source(self) -> SourceOf:
        return sources_of(self.question.root, self.question.overlay)

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
        failing = next((problem for problem in self.journal.problems if problem.stage == "forward"), None)
        if verdict.status == "passed" and failing is not None and failing.side == "port":
            why = told(failing, self.question, self.against)
            result = replace(
                result, status="error", reason=why.reason, next_step=why.next_step, place=failing.place
            )
        return self._with_what_is_known(result)

    def _without_verdict(
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
        if problem is not None and problem not in self.journal.problems:
            self.journal.problems.append(problem)
        return self._with_what_is_known(result)

    def _with_what_is_known(self, result: TraceResult) -> TraceResult:
        question, answer = self.question, self.answer
        shown = Compared(
            official=self.against.ref,
            official_because=self.against.because,
            recipe=question.recipe.shown,
            recipe_because=question.recipe.because,
            device=question.device,
            dtype=question.dtype if question.lockstep and question.dtype != FLOAT32 else None,
            seed=question.seed,
            cases=self.cases,
            port_place=question.place,
            official_place=answer.official.place if answer is not None else None,
            dropped=answer.dropped if answer is not None else (),
        )
        return replace(
            result,
            compared=shown,
            built=answer.built if answer is not None else None,
            pairs=self.measured.pairs if self.measured is not None else (),
            problems=tuple(self.journal.problems),
            notes=tuple(self.journal.notes),
            files=answer.files if answer is not None else (),
            parts=self.journal.parts,
        )


def _request(question: TraceQuestion, against: Against) -> TinyRequest:
    """What the worker is asked to build."""
    return TinyRequest(
        root=question.root,
        python=question.python,
        trusted=question.trusted,
        code_base=question.code_base,
        port=question.port,
        official=against.ref,
        official_config=None,
        recipe=str(question.recipe.path),
        device=question.device,
        seed=question.seed,
        timeout=question.timeout,
        overlay=question.overlay,
    )


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
