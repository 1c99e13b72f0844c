"""Asks for a trace, as the command line does, and reads from the result what was said."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from analyzers.numeric.verdicts import Divergence
from analyzers.numeric.verdicts import Spot as NumericSpot
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from injections.families import Family
from injections.scoring import Spot, Told, frames_in
from injections.source import Lines
from lsp_server.checks.meta import MetaWorker
from lsp_server.checks.trace import trace
from lsp_server.checks.trace_question import TraceQuestion, question_about
from lsp_server.checks.trace_result import TraceResult


@dataclass(frozen=True)
class Answer:
    """`messages`: what is said of each divergence. `seconds`: from the question to the verdict."""

    told: Told
    messages: tuple[str, ...]
    seconds: float


class Tracer:
    """One warm worker over a tree that is edited between its questions. `dtype`: as in a TraceQuestion."""

    def __init__(self, python: str, tree: Path, dtype: str | None = "bfloat16") -> None:
        self._worker = MetaWorker()
        self._python, self._tree, self._dtype = python, tree, dtype
        self._project = Project(Sources(tree), FASTVIDEO, Settings())

    def question(self, family: Family) -> TraceQuestion:
        """The question about a family's port. Raises CheckError where it has no recipe."""
        (port,) = (p for p in self._project.ports if p.name == family.cls and p.cls.path == family.path)
        question = question_about(
            self._project,
            port,
            python=self._python,
            trusted=True,
            here=self._tree,
            official=family.official,
            recipe=family.recipe,
        )
        return replace(question, dtype=self._dtype)

    async def ask(self, question: TraceQuestion, seed: int = 0) -> Answer:
        """What is said of the port as it lies on the disk."""
        began = time.monotonic()
        result = await trace(replace(question, seed=seed), self._worker)
        return Answer(told(result), tuple(d.message for d in result.divergences), time.monotonic() - began)

    async def close(self) -> None:
        """End the worker."""
        await self._worker.end()


def told(result: TraceResult) -> Told:
    """What a trace says, as it is scored."""
    built, verdict = result.built, result.verdict
    names = (*built.missing, *built.unexpected) if built is not None else ()
    frames = [
        (problem.path, problem.line)
        for problem in result.problems
        if problem.path is not None and problem.line is not None
    ]
    if result.place is not None:
        frames.append((result.place.path, result.place.span.line))
    texts = [result.reason, *(problem.message for problem in result.problems)]
    frames += [frame for text in texts for frame in frames_in(text)]
    status = result.status if result.status in ("passed", "failed") else "error"
    return Told(
        status,  # type: ignore[arg-type]
        tuple(_spots(divergence) for divergence in result.divergences),
        verdict is not None and verdict.reaches_outputs,
        verdict is not None and verdict.unlocated,
        tuple(name for text in (*names, *texts) for name in text.replace(",", " ").split() if "." in name),
        tuple(dict.fromkeys(frames)),
        result.reason,
    )


def _spots(divergence: Divergence) -> tuple[Spot, ...]:
    return tuple(_spot(spot) for spot in (divergence.native, *divergence.also))


def _spot(spot: NumericSpot) -> Spot:
    lines = None
    if spot.line is not None:
        lines = Lines(spot.line, spot.line if spot.end_line is None else spot.end_line)
    return Spot(spot.module, spot.path, lines)
