"""What runs found (parity, weights, traces), shown beside the other findings until the next run.

A verdict speaks of the texts that it was reached with. Where one of them has changed since, its
findings move with their lines and say that they are stale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding
from lsp_server.moving import moved


@dataclass(frozen=True)
class Verdict:
    """The findings of the last run of one test (`key`: its file and name) of the tree at `root`.

    `texts`: the test's file and the port's, as they were when the run began. `closure`: further files that
    the findings hang on.
    """

    root: Path
    key: str
    findings: tuple[Finding, ...]
    texts: Mapping[str, str]
    closure: Mapping[str, str] = field(default_factory=dict)


class Verdicts:
    """The last verdict of each test. Replaced as a whole, so that any thread may read it."""

    def __init__(self) -> None:
        self._held: tuple[Verdict, ...] = ()

    def put(self, verdict: Verdict) -> None:
        """Takes a verdict in place of those that it supersedes."""
        kept = (v for v in self._held if v.root != verdict.root or not _supersedes(verdict.key, v.key))
        self._held = (*kept, verdict)

    def paths(self, root: Path) -> tuple[str, ...]:
        """Every file of a tree that a run has spoken of."""
        found = (
            path
            for verdict in self._held
            if verdict.root == root
            for path in (*verdict.texts, *(f.location.path for f in verdict.findings))
        )
        return tuple(dict.fromkeys(found))

    def findings(self, root: Path, path: str, text_of: Callable[[str], str | None]) -> Iterable[Finding]:
        """What runs found in one file; `text_of` gives the present text of any file of the tree."""
        for verdict in self._held:
            if verdict.root != root:
                continue
            here = [finding for finding in verdict.findings if finding.location.path == path]
            if not here:
                continue
            spoken_of = {**verdict.closure, **verdict.texts}
            edited = [p for p, before in spoken_of.items() if text_of(p) != before]
            before, now = verdict.texts.get(path), text_of(path)
            for finding in here:
                placed: Finding | None = finding
                if before is not None and now is not None and before != now:
                    placed = moved(finding, LineIndex(before).lines, LineIndex(now).lines)
                if placed is not None:
                    yield _stale(placed, edited) if edited else placed


def with_measured(found: Iterable[Finding], measured: Sequence[Finding]) -> list[Finding]:
    """What rules find and what runs found: of a tolerance that a run has measured, the measure alone."""
    places = {(f.code, f.location.path, f.location.span.line) for f in measured if f.code == "DIT808"}
    kept = (f for f in found if (f.code, f.location.path, f.location.span.line) not in places)
    return [*kept, *measured]


def _supersedes(new: str, old: str) -> bool:
    """A run of a test replaces what an earlier one said; a run of a whole file all that is in it."""
    return old == new or old.startswith(f"{new}::")


def _stale(finding: Finding, edited: list[str]) -> Finding:
    where = ", ".join(path.rpartition("/")[2] for path in edited)
    return replace(finding, message=f"[stale: {where} has changed since this run] {finding.message}")
