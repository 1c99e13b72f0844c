"""One trial of a cause: a port with an edit is built and compared anew, to see what the edit mends."""

from __future__ import annotations

from analyzers.numeric.verdicts import Divergence
from lsp_server.checks.meta import MetaWorker, TinyRequest
from lsp_server.checks.trace_comparing import compared, observed
from lsp_server.checks.trace_measurement import Journal, Measurement
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_records import BuiltAnswer
from lsp_server.checks.trace_session import Measuring, ModelRaised

LONGEST_TRIAL = 30.0
"""Seconds that an edit of the port may take to build or to answer."""


async def mended(
    worker: MetaWorker,
    request: TinyRequest,
    question: TraceQuestion,
    first: Measurement,
    answer: BuiltAnswer,
    divergence: Divergence,
) -> float | None:
    """What is left of an error where the edited port mends it and does no harm; else None.

    `request` builds the edited port. `first` and `answer`: of the port as it is. Raises AskFailed,
    CheckError, MalformedAnswer.
    """
    case = first.plainest_showing(divergence)
    try:
        async with worker.tiny(request) as session:
            measuring = await Measuring.of(session, question.root)
            if not _loads_as(measuring.answer, answer):
                return None
            if divergence.kind != "dtype":
                readings = await measuring.lockstep(case, first.pairs, True, repairs=first.repairs)
                if not first.agrees_now(case, divergence.pair.number, readings):
                    return None
            journal = Journal()  # what an edit makes a model say is nothing about the port
            trial = await compared(measuring, question, await observed(measuring, journal), journal)
            await session.end()
    except ModelRaised:
        return None
    if trial.cases != first.cases or not _only_mends(trial, first, divergence):
        return None
    return trial.left_of(divergence)


def _loads_as(edited: BuiltAnswer, first: BuiltAnswer) -> bool:
    """Whether an edited port takes all weights that the unedited one took."""
    return set(edited.built.missing) <= set(first.built.missing) and set(edited.built.unexpected) <= set(
        first.built.unexpected
    )


def _only_mends(trial: Measurement, first: Measurement, divergence: Divergence) -> bool:
    """Whether an error is gone and nothing that agreed differs."""
    in_dtype, before = (
        {found.pair.native for found in each.verdict.divergences if found.kind == "dtype"}
        for each in (trial, first)
    )
    if not in_dtype <= before or not trial.differing <= first.differing:
        return False
    still = in_dtype if divergence.kind == "dtype" else trial.differing
    left = trial.verdict.divergences
    fewer = len(left) < len(first.verdict.divergences)
    return fewer and divergence.pair.native not in still and (bool(left) or not trial.verdict.drifting)
