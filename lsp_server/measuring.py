"""What is measured of a port's names: from which files, with what outcome, and whether it still counts.

Invariants
----------
* A measurement speaks of files on disk. It is reused only while all of them have the contents that they
  had, and an answer during which one of them changed is not kept.
* Names outlive a measurement that failed: they stand until there are newer ones, and are called stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analyzers.facts.positions import LineIndex
from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.checks.meta import PortName, StateAnswer
from lsp_server.session import Session

MOST_KEPT = 4
"""Answers a port, so that going back to what was saved before costs nothing."""


@dataclass(frozen=True)
class Subject:
    """A port as its names are measured. `files`: where it and its configuration are written down; what
    else its import reads, only the answer tells. `official`: the oracle's reference."""

    key: str
    name: str
    path: str
    location: Location
    official: str | None
    files: tuple[str, ...]
    code_base: str

    @property
    def port(self) -> PortName:
        """How the worker is told of it."""
        module = self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return PortName(module, self.name, self.path)


def subject_of(project: Project, port: Port) -> Subject:
    """What is to be measured of a port."""
    places = [port.location.path]
    places += [cls.path for cls in (port.config, port.arch_config) if cls is not None]
    if port.mapping is not None:
        places.append(port.mapping.location.path)
    return Subject(
        key=state_key(port),
        name=port.name,
        path=port.location.path,
        location=port.location,
        official=port.oracle.ref if port.oracle is not None else None,
        files=tuple(dict.fromkeys(places)),
        code_base=project.profile.name,
    )


def subjects_about(session: Session, paths: Iterable[str], also: Iterable[str] = ()) -> list[Subject]:
    """The ports that any of these files belongs to, and those of the keys in `also`."""
    wanted, keys = set(paths), set(also)
    found = (subject_of(session.project, port) for port in session.project.ports)
    return [subject for subject in found if subject.key in keys or wanted.intersection(subject.files)]


# ---------------------------------------------------------------------- contents

Contents = Mapping[str, "str | None"]
"""Path -> digest of what is on disk, None where it cannot be read."""


def contents_of(root: Path, paths: Iterable[str]) -> dict[str, str | None]:
    """The present contents of files."""
    return {path: _digest(root / path) for path in paths}


def _digest(file: Path) -> str | None:
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None


@dataclass(frozen=True)
class Measured:
    """One answer, what was asked (`official`, `python`), and the contents that it speaks of."""

    answer: StateAnswer
    official: str | None
    python: str
    contents: Contents

    def answers(self, subject: Subject, python: str, contents: Contents) -> bool:
        """Whether asking again would bring the same."""
        asked = (self.official, self.python) == (subject.official, python)
        return asked and all(contents.get(path) == was for path, was in self.contents.items())


@dataclass
class Standing:
    """What is known of one port. `measured`: the answers kept, newest first; the first of them stands.

    `trouble`: why the last attempt brought nothing new. `outdated`: files have changed on disk since, and
    nothing was measured. `running`: it is being measured.
    """

    measured: list[Measured] = field(default_factory=list)
    trouble: str | None = None
    outdated: bool = False
    running: bool = False

    @property
    def closure(self) -> frozenset[str]:
        """The files that the names hang on, as far as that was ever told."""
        return frozenset(self.measured[0].contents) if self.measured else frozenset()

    def keep(self, measured: Measured) -> None:
        """Takes an answer as the one that stands."""
        others = [m for m in self.measured if m is not measured and m.contents != measured.contents]
        self.measured = [measured, *others][:MOST_KEPT]
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
