"""What is known of a port's trace: from which files, with what outcome, and whether it still counts.

Invariants
----------
* A trace speaks of files on disk. It is used again only while all of them have the contents that they had,
  and one during which a file changed is made again. The same holds for the package of the official class.
* A result outlives an attempt that brought nothing: it stands until there is a newer one, and is called
  stale as soon as a file that it speaks of has another text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from analyzers.findings import Finding, Location, Severity
from analyzers.numeric.verdicts import Divergence
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.checks.contents import Contents, Package
from lsp_server.checks.errors import CheckError
from lsp_server.checks.recipes import FOLDER, find_recipe
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_findings import findings_of_trace
from lsp_server.checks.trace_question import TraceQuestion, question_about
from lsp_server.checks.trace_result import TraceResult
from lsp_server.measuring import files_of
from lsp_server.session import SETTINGS_FILES, Session

MOST_KEPT = 2
"""Results a port, so that taking an edit back costs nothing."""


@dataclass(frozen=True)
class Wanted:
    """A port whose trace is wanted. `files`: where it, its configuration and its recipe are written down.
    `question`: what is asked (`python` and `trusted` are filled in when it is), or why nothing can be."""

    key: str
    port: Port
    files: tuple[str, ...]
    question: TraceQuestion | CheckError


def wanted_of(project: Project, port: Port) -> Wanted:
    """What is to be traced of a port."""
    files = files_of(port)
    try:
        question = question_about(project, port, python="", trusted=False, here=project.root)
    except CheckError as error:
        return Wanted(state_key(port), port, files, error)
    own = question.recipe.path
    if own.is_relative_to(project.root):
        files = (*files, own.relative_to(project.root).as_posix())
    return Wanted(state_key(port), port, files, question)


def wanted_about(session: Session, paths: Iterable[str], also: Iterable[str] = ()) -> list[Wanted]:
    """The ports that any of these files belongs to, and those of the keys in `also`; those of the file
    itself come last."""
    chosen, keys, project = set(paths), set(also), session.project
    recipes = {path for path in chosen if path.startswith(f"{FOLDER}/")}
    everything = bool(chosen.intersection(SETTINGS_FILES))
    found = []
    for port in project.ports:
        if everything or state_key(port) in keys or chosen.intersection(files_of(port)):
            found.append(wanted_of(project, port))
        elif recipes:
            wanted = wanted_of(project, port)
            if recipes.intersection(wanted.files):
                found.append(wanted)
    return sorted(found, key=lambda wanted: wanted.port.location.path in chosen)


def why_without(project: Project, port: Port) -> CheckError | None:
    """Why a port cannot be traced for want of a recipe (`NoRecipe`), or for a broken one; None if it can."""
    try:
        find_recipe(project, port, None, project.root)
    except CheckError as error:
        return error
    return None


@dataclass(frozen=True)
class Traced:
    """A result, what was asked, and the contents that it speaks of. `texts`: those of the tree's files, as
    they were. `package`: the one that the official class was imported from, where it is none of the tree.
    `findings`: each with the divergence that it tells of. `whole`: the search for causes of its errors was
    not cut short."""

    result: TraceResult
    asked: TraceQuestion
    contents: Contents
    findings: tuple[tuple[Finding, Divergence], ...] = ()
    package: Package | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True

    def fits(self, question: TraceQuestion, contents: Contents) -> bool:
        """Whether asking again would bring the same. The package is for the caller to look at."""
        same = replace(question, place=self.asked.place) == self.asked
        return self.whole and same and all(contents.get(path) == was for path, was in self.contents.items())


@dataclass
class TraceStanding:
    """What is known of one port. `kept`: results, newest first; the first of them stands.

    `trouble`: why the last attempt brought nothing. `outdated`: files have changed on disk since, and
    nothing was traced. `running`: it is being traced. `waiting`: it will be.
    """

    kept: list[Traced] = field(default_factory=list)
    trouble: str | None = None
    outdated: bool = False
    running: bool = False
    waiting: bool = False

    @property
    def last(self) -> Traced | None:
        """The result that stands."""
        return self.kept[0] if self.kept else None

    @property
    def closure(self) -> frozenset[str]:
        """The files that the result hangs on, as far as that was ever told."""
        return frozenset(self.kept[0].contents) if self.kept else frozenset()

    def keep(self, traced: Traced) -> None:
        """Takes a result as the one that stands."""
        others = [one for one in self.kept if one is not traced and one.contents != traced.contents]
        self.kept = [traced, *others][:MOST_KEPT]
        self.trouble, self.outdated = None, False

    def is_stale(self, unsaved: Iterable[str]) -> bool:
        """Whether a file that the result speaks of has another text by now; `unsaved`: open ones that do."""
        return self.outdated or not self.closure.isdisjoint(unsaved)


def is_answer(result: TraceResult) -> bool:
    """Whether a result says something of the files, and not of a run that went wrong."""
    if result.status in ("passed", "failed", "skipped"):
        return True
    return result.status == "error" and bool(result.problems)


def files_in_tree(wanted: Wanted, result: TraceResult, before: Iterable[str]) -> frozenset[str]:
    """The files of the tree that a result hangs on. `before`: what an earlier one did, for a result that
    never came so far as to tell."""
    told = result.files or tuple(before)
    inside = {path for path in told if not PurePath(path).is_absolute()}
    return frozenset({*wanted.files, *inside})


# ---------------------------------------------------------------------- findings

LinesOf = Callable[[str], Sequence[str] | None]


def findings_in(result: TraceResult, port: Port, lines: LinesOf) -> tuple[tuple[Finding, Divergence], ...]:
    """What a result finds, each finding with its divergence."""
    verdict = result.verdict
    if verdict is None:
        return ()
    return tuple(
        (finding, divergence)
        for divergence in verdict.divergences
        for finding in findings_of_trace(
            replace(verdict, divergences=(divergence,)), port.name, port.location, lines
        )
    )


def failure_of(root: Path, result: TraceResult, port: Port, *, told: Sequence[str]) -> Finding | None:
    """Why there is no verdict, as a finding; None where there is one, or where it was told already.

    `told`: the stages of which the proof of the weights tells itself. A failure of the port is a warning,
    what the official side or the recipe lacks is information.
    """
    if result.status != "error" or not result.problems:
        return None
    problem = next((p for p in result.problems if p.place == result.place), result.problems[-1])
    if problem.stage in told or (problem.side == "code base" and _at(root, problem) is None):
        return None
    return Finding(
        "DIT907",
        "check-failed",
        Severity.WARNING if problem.side == "port" else Severity.INFORMATION,
        _at(root, problem) or port.location,
        f"{port.name} could not be traced: {result.reason.rstrip('.')}. {result.next_step}".rstrip(),
        symbol=port.name,
        port=port.name,
    )


def _at(root: Path, problem: StateProblem) -> Location | None:
    """The place of a problem, where it is one of the tree."""
    place = problem.place
    if place is None or PurePath(place.path).is_absolute() or not (root / place.path).is_file():
        return None
    return place


def texts_of(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """The texts on disk; without the files that cannot be read."""
    found: dict[str, str] = {}
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[path] = (root / path).read_bytes().decode("utf-8-sig")
    return found
