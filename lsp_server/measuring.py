"""What is measured of a port's names: from which files, with what outcome, and whether it still counts.

Invariants
----------
* A measurement speaks of files on disk. It is reused only while all of them have the contents that they
  had, and an answer during which one of them changed is not kept. The same holds for the package that
  the official class comes from.
* Names outlive a measurement that failed: they stand until there are newer ones, and are called stale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from analyzers.facts.positions import LineIndex
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.checks.contents import Contents, Package
from lsp_server.checks.errors import CheckError
from lsp_server.checks.weights import Measured, Subject, subject_of
from lsp_server.session import Session

MOST_KEPT = 4
"""Answers a port, so that going back to what was saved before costs nothing."""


@dataclass(frozen=True)
class Wanted:
    """A port whose names are wanted. `files`: where it and its configuration are written down; what else
    its import reads, only the answer tells. `subject`: what the worker is asked, or why it cannot be."""

    key: str
    port: Port
    files: tuple[str, ...]
    subject: Subject | CheckError

    @property
    def asked(self) -> tuple[str, ...]:
        """What may be the official side."""
        if isinstance(self.subject, CheckError):
            return ()
        return tuple(against.ref for against in self.subject.officials)


def wanted_of(project: Project, port: Port) -> Wanted:
    """What is to be measured of a port."""
    try:
        subject: Subject | CheckError = subject_of(project, port)
    except CheckError as error:
        subject = error
    return Wanted(state_key(port), port, files_of(port), subject)


def files_of(port: Port) -> tuple[str, ...]:
    """Where a port and its configuration are written down."""
    places = [port.location.path]
    places += [cls.path for cls in (port.config, port.arch_config) if cls is not None]
    if port.mapping is not None:
        places.append(port.mapping.location.path)
    return tuple(dict.fromkeys(places))


def wanted_about(session: Session, paths: Iterable[str], also: Iterable[str] = ()) -> list[Wanted]:
    """The ports that any of these files belongs to, and those of the keys in `also`."""
    chosen, keys, project = set(paths), set(also), session.project
    return [
        wanted_of(project, port)
        for port in project.ports
        if state_key(port) in keys or chosen.intersection(files_of(port))
    ]


# ---------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Answer:
    """What was measured, what was asked (`asked`, `python`), and the contents that it speaks of.
    `package`: the one that the official class was imported from, where it is none of the tree."""

    measured: Measured
    asked: tuple[str, ...]
    python: str
    contents: Contents
    package: Package | None = None

    def fits(self, wanted: Wanted, python: str, contents: Contents) -> bool:
        """Whether asking again would bring the same. The package is for the caller to look at."""
        same = (self.asked, self.python) == (wanted.asked, python)
        return same and all(contents.get(path) == was for path, was in self.contents.items())


@dataclass
class Standing:
    """What is known of one port. `answers`: those kept, newest first; the first of them stands.

    `trouble`: why the last attempt brought nothing new. `outdated`: files have changed on disk since, and
    nothing was measured. `running`: it is being measured.
    """

    answers: list[Answer] = field(default_factory=list)
    trouble: str | None = None
    outdated: bool = False
    running: bool = False

    @property
    def closure(self) -> frozenset[str]:
        """The files that the names hang on, as far as that was ever told."""
        return frozenset(self.answers[0].contents) if self.answers else frozenset()

    def keep(self, answer: Answer) -> None:
        """Takes an answer as the one that stands."""
        others = [a for a in self.answers if a is not answer and a.contents != answer.contents]
        self.answers = [answer, *others][:MOST_KEPT]
        self.trouble, self.outdated = None, False


# ---------------------------------------------------------------------- unsaved edits


def touches_names(session: Session, path: str, saved: str) -> bool:
    """Whether the present text of a file may build other names than the one on disk.

    An edit within the display of a mapping does not: the rules are read from the present text.
    """
    now = session.lines(path).lines
    before = LineIndex(saved).lines
    if now == before:
        return False
    shared = min(len(before), len(now))
    head = next((n for n in range(shared) if before[n] != now[n]), shared)
    tail = next((n for n in range(shared - head) if before[-1 - n] != now[-1 - n]), shared - head)
    facts = session.project.file(path)
    for table in session.project.mappings.in_file(facts) if facts is not None else ():
        span = table.location.span
        if not table.built and table.complete and span.line < head and len(now) - tail <= span.end_line:
            return False
    return True
