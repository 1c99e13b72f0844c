"""What a parity run is about: a test, the port that it speaks for, and the files that it hangs on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from analyzers.facts.model import FileFacts
from analyzers.findings import Location
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.measuring import files_of
from lsp_server.session import Session


@dataclass(frozen=True)
class Target:
    """What to run (a file, or one test of it, as a node id), and the port that it is about.

    `key`: the port as `path::Class`, "" where the test speaks for none or for several. `files`: where the
    port, its configuration and the test are written down.
    """

    test: str
    port: str | None
    key: str
    port_class: Location | None
    files: tuple[str, ...]

    @property
    def path(self) -> str:
        """The test's file."""
        return self.test.partition("::")[0]


def targets_at(session: Session, path: str, node: str | None, line: int | None) -> list[Target]:
    """What a place stands for: in a test file the test (`node`, or the one at `line`, from 0), else the whole
    file; elsewhere the tests of the port there. Nothing where no test names it."""
    if not session.profile.is_test(path):
        port = session.port_at(path, line)
        return [target_of(test, port) for test in port.parity_tests] if port is not None else []
    name = node
    if line is not None:
        facts = session.project.file(path)
        name = _test_at(facts, line) if facts is not None else None
    return [target_of(f"{path}::{name}" if name else path, session.port_of_test(path))]


def target_of(test: str, port: Port | None) -> Target:
    """A test with the port that it speaks for."""
    path = test.partition("::")[0]
    files = (path, *files_of(port)) if port is not None else (path,)
    return Target(
        test=test,
        port=port.name if port is not None else None,
        key=state_key(port) if port is not None else "",
        port_class=port.location if port is not None else None,
        files=tuple(dict.fromkeys(files)),
    )


def targets_about(session: Session, changed: Iterable[str], also: Iterable[str] = ()) -> list[Target]:
    """The tests that a change of files concerns: those of the ports that they belong to, themselves where
    they are tests, and those of `also` (node ids). Each once, those of the changed files last."""
    chosen, named = set(changed), set(also)
    found: dict[str, Target] = {}
    for port in session.project.ports:
        own = bool(chosen.intersection(files_of(port)))
        for test in port.parity_tests:
            if own or test in chosen or test in named:
                speaks = session.port_of_test(test)
                found[test] = target_of(test, speaks)
    return sorted(found.values(), key=lambda target: target.path in chosen)


def _test_at(facts: FileFacts, line: int) -> str | None:
    """The node of the test that a line (from 0) belongs to, None between tests."""
    for cls, function in facts.all_functions():
        span = function.at(function.fact.span).span
        if span.line <= line <= span.end_line and function.fact.name.startswith("test"):
            return f"{cls.fact.name}::{function.fact.name}" if cls is not None else function.fact.name
    return None


def texts_on_disk(root: Path, paths: Iterable[str]) -> Mapping[str, str]:
    """What a run reads, whatever an editor holds unsaved; without what cannot be read."""
    found: dict[str, str] = {}
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[path] = (root / path).read_bytes().decode("utf-8")
    return found
