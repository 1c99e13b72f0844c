"""Following errors up: from a wrong value to the statement that makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from analyzers.numeric.blame import blame
from analyzers.numeric.frontiers import Origin, origins
from analyzers.numeric.judging import merged, with_divergences
from analyzers.numeric.records import Operations
from analyzers.numeric.verdicts import Divergence, NumericVerdict
from lsp_server.checks.meta import AskFailed
from lsp_server.checks.trace_measurement import Journal, Measurement
from lsp_server.checks.trace_session import FLOAT32, Measuring
from lsp_server.checks.trace_words import in_words

MOST_FOLLOWED = 8
"""So many errors are followed down to the operation; the others keep their module's line."""

SourceOf = Callable[[str], "str | None"]
"""The text of a file; None where it cannot be read."""


async def followed(
    measuring: Measuring, measured: Measurement, dtype: str | None, source: SourceOf, journal: Journal
) -> tuple[NumericVerdict, dict[int, Operations]]:
    """The verdict with its first errors at their statements, and what both sides compute before each, by its
    pair's number. `dtype`: of losses of accuracy.

    Raises as `Measuring`, but for AskFailed: that is noted.
    """
    verdict = measured.verdict
    found: list[Divergence] = []
    operations: dict[int, Operations] = {}
    begun: dict[int, frozenset[Origin]] = {}
    # Wrong values come before mere losses of accuracy: those must not use the limit up.
    # What raised or was not loaded has no operations before it.
    computed = [one for one in verdict.divergences if one.pair.number >= 0]
    urgent = sorted(computed, key=lambda divergence: divergence.kind == "dtype")
    chosen = {divergence.pair for divergence in urgent[:MOST_FOLLOWED]}
    for divergence in verdict.divergences:
        if divergence.pair not in chosen:
            found.append(divergence)
            continue
        place = divergence.native.module or "the model"
        journal.on_stage(f"looking into {place}")
        used = dtype if divergence.kind == "dtype" else FLOAT32
        case = measured.plainest_showing(divergence)
        try:
            told = await measuring.operations(
                case, measured.pairs, divergence.pair, used or FLOAT32, measured.repairs
            )
        except AskFailed as error:
            journal.problems.append(error.problem)
            journal.notes.append(f"the operations of {place} could not be had: {in_words(error.problem)}")
            found.append(divergence)
            continue
        begun[divergence.pair.number] = await asyncio.to_thread(origins, told)
        operations[divergence.pair.number] = told
        built, observation = measuring.answer.built, measured.observed.get(case)
        found.append(await asyncio.to_thread(blame, divergence, told, built, source, observation))
    if len(urgent) > MOST_FOLLOWED:
        journal.notes.append(
            f"only {MOST_FOLLOWED} places were followed down to the operation: mend these first"
        )
    return with_divergences(verdict, merged(found, begun)), operations


def sources_of(root: str, overlay: Mapping[str, str] | None = None) -> SourceOf:
    """The text of a file as the child imported it, from the disk or from the overlay (texts by absolute
    path).

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
