"""Known causes tried on the port: an edit of its source, imported in one child in the place of the file.

Nothing is written. An edit is named only where, with it, the wrong value comes down to rounding in every
case, no other place differs that agreed before, and the weights load as they did.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from analyzers.findings import JsonValue
from analyzers.numeric.hypotheses.proposals import Trial, proposals
from analyzers.numeric.records import Built, Operations
from analyzers.numeric.verdicts import Divergence, Hypothesis, NumericVerdict
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import AskFailed, SupersededError
from lsp_server.checks.strict import MalformedAnswer

MOST_TRIALS = 12
"""Edits that are tried for one error; a run with a warm worker takes about half a second."""

MOST_SECONDS = 20.0
"""For all trials of one trace. What has begun is finished."""

MOST_EXPLAINED = 3
"""Errors that a cause is looked for, the first ones."""

Attempt = Callable[[Mapping[str, str], Divergence], Awaitable["float | None"]]
"""Runs the port with texts by absolute path; what is left of an error, None where they do not mend it."""


@dataclass(frozen=True)
class Followed:
    """Errors with the operations before them, by their pair's number, and where their code is read."""

    built: Built
    operations: Mapping[int, Operations]
    source: Callable[[str], str | None]
    root: str


async def explained(
    verdict: NumericVerdict, followed: Followed, attempt: Attempt, on_stage: Callable[[str], None]
) -> tuple[NumericVerdict, str | None]:
    """The verdict with the causes that were found, and why the search ended early (None: it did not)."""
    began = time.monotonic()
    found = list(verdict.divergences)
    for number, divergence in enumerate(found[:MOST_EXPLAINED]):
        operations = followed.operations.get(divergence.pair.number)
        if operations is None:
            continue
        trials = await asyncio.to_thread(
            proposals, divergence, operations, followed.built, followed.source, MOST_TRIALS
        )
        for trial in trials:
            if time.monotonic() - began > MOST_SECONDS:
                note = (
                    f"looking for a cause ended after {MOST_SECONDS:g} s: other known causes were not tried"
                )
                return replace(verdict, divergences=tuple(found)), note
            on_stage(f"trying {trial.candidate.cause} in {os.path.basename(trial.candidate.path)}")  # noqa: PTH119
            path = str(Path(followed.root) / trial.candidate.path)
            try:
                left = await attempt({path: trial.text}, divergence)
            except AskFailed:
                continue  # what the edit made does not run: it mends nothing
            except SupersededError:
                return replace(
                    verdict, divergences=tuple(found)
                ), "a newer check ended the search for a cause"
            except MalformedAnswer as error:
                note = f"the search for a cause ended: an answer cannot be read ({error})"
                return replace(verdict, divergences=tuple(found)), note
            except CheckError as error:
                note = f"the search for a cause ended: {error.reason}"
                return replace(verdict, divergences=tuple(found)), note
            if left is not None:
                found[number] = replace(divergence, hypothesis=_hypothesis(trial, left, followed.source))
                break
    return replace(verdict, divergences=tuple(found)), None


def _hypothesis(trial: Trial, left: float, source: Callable[[str], str | None]) -> Hypothesis:
    candidate = trial.candidate
    message = f"{candidate.message[:1].upper()}{candidate.message[1:]}."
    before = source(candidate.path)
    edit = None
    if before is not None and not Path(candidate.path).is_absolute():
        edit = ("replace-lines", lines_apart(candidate.path, before, trial.text))
    return Hypothesis(candidate.cause, message, left, edit)


def lines_apart(path: str, before: str, after: str) -> dict[str, JsonValue]:
    """The arguments of `replace-lines` that turn one text of a file into another."""
    old, new = before.split("\n"), after.split("\n")
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    gone, come = old[first : len(old) - last], new[first : len(new) - last]
    if not gone or not come:
        # Something must stand there to be found again: the line before, or the first one behind.
        if first:
            first -= 1
            gone, come = [old[first], *gone], [old[first], *come]
        else:
            gone, come = [*gone, old[len(gone)]], [*come, old[len(gone)]]
    return {"path": path, "line": first, "old": "\n".join(gone), "new": "\n".join(come)}
