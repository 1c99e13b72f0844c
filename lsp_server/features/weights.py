"""Names of weights, measured when a port is opened or saved, and `ditproof.weights`.

Invariants
----------
* Typing starts nothing. A file that is opened or saved does, in a trusted workspace, for the ports that
  it belongs to; what was measured of the same contents before is used again.
* A tree measures one port at a time. A newer save ends the measurement that it makes wrong.
* Nothing is measured of files with unsaved or unparsable text: the names measured last stand.
* A failure is told once, in the log, as a finding where it has a place, and by the lens; asked again is
  only when something has changed, or when somebody asks.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.findings import Finding, Severity
from analyzers.project.ports import Port
from analyzers.weights.known import rules_of, state_key
from lsp_server.checks.errors import CheckError
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.meta import (
    MetaWorker,
    StateAnswer,
    StateProblem,
    StateRequest,
    SupersededError,
)
from lsp_server.features.progress import Progress
from lsp_server.measuring import (
    Measured,
    Standing,
    Subject,
    contents_of,
    subject_of,
    subjects_about,
    touches_names,
)
from lsp_server.plain import as_mapping
from lsp_server.session import SETTINGS_FILES, Changes, Session
from lsp_server.status import Run
from lsp_server.verdicts import Verdict

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

WEIGHTS = "ditproof.weights"
INVALID_PARAMS = -32602
REQUEST_FAILED = -32803
DELAY = 0.25
"""Seconds that saves are gathered before something is measured: `save all` is one change."""

_UNTRUSTED = "Measuring weights builds the workspace's models: trust the workspace in the editor first."
_CANCELLED = "measuring was cancelled"

log = logging.getLogger(__name__)


def register(server: Server) -> None:
    """Adds the command."""

    @server.command(WEIGHTS)
    async def weights(arguments: list[Any]) -> dict[str, Any]:
        return await server.weights.prove(arguments[0] if arguments else None)


@dataclass(eq=False)
class _Running:
    """The measurement under way in a tree. `begun`: on the event loop's clock. `cancelled`: by the user,
    not by something newer."""

    run: Run
    subject: Subject
    begun: float
    task: asyncio.Task[StateAnswer] | None = None
    cancelled: bool = False


@dataclass(eq=False)
class _Queue:
    """What waits in one tree, and what goes on there."""

    opened: set[str] = field(default_factory=set)
    saved: dict[str, float] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    pending: dict[str, Subject] = field(default_factory=dict)
    running: _Running | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    working: bool = False


class WeightChecks:
    """What is known of the names of every port of this session's trees. Bound to the event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._worker = MetaWorker()
        self._queues: dict[Tree, _Queue] = {}
        self._standings: dict[tuple[Tree, str], Standing] = {}
        self._told: set[tuple[Tree, str]] = set()
        self._stopped = False

    # ------------------------------------------------------------------ what happened

    def opened(self, tree: Tree, path: str) -> None:
        """A file was opened: the names of its ports are wanted."""
        self._wish(tree, opened=path)

    def saved(self, tree: Tree, path: str) -> None:
        """A file has other contents on disk."""
        self._wish(tree, saved=path)

    def reconsider(self, tree: Tree) -> None:
        """The tree has been read, or a setting has changed: the open files are looked at again."""
        for _, path in self._server.opened(tree):
            self._wish(tree, opened=path)

    def standing(self, tree: Tree, key: str) -> Standing:
        """What is known of a port."""
        return self._standings.setdefault((tree, key), Standing())

    def standings(self, tree: Tree) -> dict[str, Standing]:
        """What is known of each port of a tree."""
        return {key: standing for (other, key), standing in self._standings.items() if other is tree}

    @property
    def why_not(self) -> str | None:
        """Why nothing is measured by itself; None where it is."""
        if not self._server.settings.trusted:
            return "the workspace is not trusted"
        return None if self._server.settings.weights_on_save else "measuring on save is off"

    @property
    def measures(self) -> bool:
        """Whether an opened or saved file is measured."""
        settings = self._server.settings
        return settings.trusted and settings.weights_on_save

    def _wish(self, tree: Tree, *, opened: str | None = None, saved: str | None = None) -> None:
        path = opened or saved or ""
        if self._stopped or not tree.ready or not (path.endswith(".py") or path in SETTINGS_FILES):
            return
        queue = self._queues.setdefault(tree, _Queue())
        if saved in SETTINGS_FILES:
            queue.opened.update(path for _, path in self._server.opened(tree))
        elif saved is not None:
            queue.saved[saved] = asyncio.get_running_loop().time()
        elif opened is not None:
            queue.opened.add(opened)
        if queue.timer is not None:
            queue.timer.cancel()
        queue.timer = asyncio.get_running_loop().call_later(
            DELAY, lambda: self._server.spawn(self._plan(tree, queue))
        )

    # ------------------------------------------------------------------ by itself

    async def _plan(self, tree: Tree, queue: _Queue) -> None:
        """Finds the ports that are concerned, and begins."""
        opened, saved = set(queue.opened), dict(queue.saved)
        queue.opened.clear()
        queue.saved.clear()
        touched = [
            key
            for (other, key), standing in self._standings.items()
            if other is tree and standing.closure.intersection(saved)
        ]
        subjects = await tree.ask(lambda session: subjects_about(session, {*opened, *saved}, touched))
        shown = {path for _, path in self._server.opened(tree)}
        for subject in subjects:
            if not self.measures or shown.isdisjoint(subject.files):
                # Looked at again when somebody opens it.
                standing = self.standing(tree, subject.key)
                standing.outdated = standing.outdated or (subject.key in touched)
            elif subject.official is not None:  # the port's names alone prove nothing
                queue.pending.pop(subject.key, None)
                queue.pending[subject.key] = subject
                self._supersede(queue.running, subject, max(saved.values(), default=0.0))
        if queue.pending and not queue.working:
            queue.working = True
            self._server.spawn(self._work(tree, queue))

    async def _work(self, tree: Tree, queue: _Queue) -> None:
        try:
            while queue.pending and not self._stopped:
                _, subject = queue.pending.popitem()
                await self._measure_quietly(tree, queue, subject)
        finally:
            queue.working = False

    async def _measure_quietly(self, tree: Tree, queue: _Queue, subject: Subject) -> None:
        standing = self.standing(tree, subject.key)
        blocked = await self._unready(tree, subject)
        if blocked is not None:
            standing.outdated = bool(standing.measured)
            await self._show(tree)
            return
        try:
            await self._measure(tree, queue, subject, again=False)
        except SupersededError:
            return  # its successor waits already
        except CheckError as error:
            standing.outdated = bool(standing.measured)
            standing.trouble = error.reason
            self._tell(tree, f"weights of {subject.name}: {error}")
            await self._show(tree)

    async def _unready(self, tree: Tree, subject: Subject) -> str | None:
        """Why what is on disk is not what the user means; None where it is."""
        unsaved = self.unsaved(tree, {*subject.files, *self.standing(tree, subject.key).closure})

        def why(session: Session) -> str | None:
            edited = [path for path, saved in unsaved.items() if touches_names(session, path, saved)]
            if edited:
                return f"{', '.join(sorted(edited))} has unsaved changes"
            found = ((path, session.project.file(path)) for path in subject.files)
            broken = [path for path, facts in found if facts is None or facts.broken]
            return f"{', '.join(broken)} does not parse" if broken else None

        return await tree.ask(why)

    def unsaved(self, tree: Tree, paths: Iterable[str] | None = None) -> dict[str, str]:
        """Open files (of these) whose text is not the one on disk: path -> the text on disk."""
        found: dict[str, str] = {}
        wanted = set(paths) if paths is not None else None
        for document, path in self._server.opened(tree):
            if path.endswith(".py") and (wanted is None or path in wanted):
                saved = _on_disk(tree.root / path)
                if saved is not None and saved != document.text.removeprefix("\ufeff"):
                    found[path] = saved
        return found

    # ------------------------------------------------------------------ one measurement

    async def _measure(
        self, tree: Tree, queue: _Queue, subject: Subject, *, again: bool, shown: Progress | None = None
    ) -> Standing:
        """Brings what is known of a port up to date with the disk; `again`: whatever is known.

        Raises `CheckError`: no interpreter, a worker that fails, something newer, a cancellation.
        """
        standing = self.standing(tree, subject.key)
        async with queue.turn:
            python = (
                await asyncio.to_thread(find_interpreter, tree.root, self._server.settings.python)
            ).path
            if not again:
                kept = await self._kept(tree, subject, standing, python)
                if kept is not None:
                    await self._take(tree, subject, standing, kept)
                    return standing
            run = Run(uuid.uuid4().hex, f"weights of {subject.name}", short="weights")
            running = _Running(run, subject, asyncio.get_running_loop().time())
            queue.running, standing.running = running, True
            begun = time.time()
            try:
                self._server.status.running(running.run, "starting")
                answer = await self._answer(tree, running, python, shown)
            finally:
                queue.running, standing.running = None, False
                self._server.status.ended(running.run)
            closure = {*subject.files, *answer.files}
            contents = await asyncio.to_thread(contents_of, tree.root, closure)
            if await asyncio.to_thread(_changed_since, tree.root, closure, begun):
                # Saved in the middle: nobody can say which text was imported.
                queue.pending[subject.key] = subject
            await self._take(tree, subject, standing, Measured(answer, subject.official, python, contents))
            return standing

    async def _kept(
        self, tree: Tree, subject: Subject, standing: Standing, python: str
    ) -> Measured | None:
        for measured in standing.measured:
            contents = await asyncio.to_thread(contents_of, tree.root, measured.contents)
            if measured.answers(subject, python, contents):
                return measured
        return None

    async def _answer(
        self, tree: Tree, running: _Running, python: str, shown: Progress | None
    ) -> StateAnswer:
        subject = running.subject

        def on_stage(stage: str) -> None:
            self._server.status.running(running.run, stage)
            if shown is not None:
                shown.report(stage)

        request = StateRequest(
            root=str(tree.root),
            python=python,
            trusted=self._server.settings.trusted,
            code_base=subject.code_base,
            port=subject.port,
            official=subject.official,
            gates=True,
        )
        running.task = asyncio.ensure_future(self._worker.state(request, on_stage))
        try:
            await asyncio.wait([running.task])
        except asyncio.CancelledError:
            running.task.cancel()
            raise
        if running.task.cancelled():
            if running.cancelled:
                raise CheckError(f"{_CANCELLED.capitalize()}.", "Save the port, or prove the weights again.")
            raise SupersededError(subject.name)
        return running.task.result()

    async def _take(self, tree: Tree, subject: Subject, standing: Standing, measured: Measured) -> None:
        """Puts an answer in its place, and shows what follows from it."""
        answer = measured.answer
        before = standing.measured[0] if standing.measured else None
        if answer.state.native is None and before is not None and before.answer.state.native is not None:
            standing.outdated = True  # what was built last says more than nothing
        else:
            standing.keep(measured)
            if before is None or before.answer.state.digest != answer.state.digest:
                self._server.note(tree, Changes(states={subject.key: answer.state}))
        standing.trouble = _trouble(answer.problems)
        if before is not measured:
            self._report(tree, subject, answer.problems)
        await self._show(tree)

    def _report(self, tree: Tree, subject: Subject, problems: Sequence[StateProblem]) -> None:
        """Problems as findings at their place in the tree, or at the port's class."""
        findings = tuple(_finding(tree, subject, problem) for problem in problems)
        paths = {subject.path, *(finding.location.path for finding in findings)}
        texts = {path: text for path in paths if (text := _on_disk(tree.root / path)) is not None}
        self._server.verdicts.put(Verdict(tree.root, f"weights of {subject.key}", findings, texts))
        for problem in problems:
            self._tell(tree, f"weights of {subject.name}: {_said(problem)}")

    def _tell(self, tree: Tree, text: str) -> None:
        if (tree, text) not in self._told:
            self._told.add((tree, text))
            self._server.tell(text, types.MessageType.Warning)

    async def _show(self, tree: Tree) -> None:
        self._server.diagnoser.schedule(tree)
        await asyncio.gather(self._server.refresh_lenses(), self._server.refresh_hints())

    # ------------------------------------------------------------------ asked for

    async def prove(self, argument: Any) -> dict[str, Any]:
        """Measures what a command's argument names now, and tells the proof of each port.

        `{"uri", "line"}` names the port whose class or mapping stands there, else all of the file;
        `{"port": "path::Class"}` one. Raises `JsonRpcException` where the workspace is not trusted, or
        there is nothing to measure.
        """
        if not self._server.settings.trusted:
            raise JsonRpcException(_UNTRUSTED, REQUEST_FAILED)
        tree, subjects = await self._asked(argument)
        queue = self._queues.setdefault(tree, _Queue())
        reports = []
        for subject in subjects:
            reports.append(await self._prove(tree, queue, subject))
        return {"text": "\n\n".join(report["text"] for report in reports), "reports": reports}

    async def _prove(self, tree: Tree, queue: _Queue, subject: Subject) -> dict[str, Any]:
        name = f"weights of {subject.name}"
        run = Run(uuid.uuid4().hex, name)
        progress = await Progress.begin(self._server, run, lambda: self._cancel_running(queue, subject))
        unready = await self._unready(tree, subject)
        try:
            await self._measure(tree, queue, subject, again=True, shown=progress)
        except CheckError as error:
            self.standing(tree, subject.key).trouble = error.reason
            await self._show(tree)
            raise JsonRpcException(str(error), REQUEST_FAILED) from error
        finally:
            progress.end()
        return {"unready": unready, "text": ""}

    async def _asked(self, argument: Any) -> tuple[Tree, list[Subject]]:
        given = as_mapping(argument) or {}
        uri, line, key = given.get("uri"), given.get("line"), given.get("port")
        if isinstance(uri, str):
            placed = self._server.place(uri)
            if placed is None:
                raise JsonRpcException("this file is not part of a tree that ditproof knows", REQUEST_FAILED)
            tree, path = placed
            wanted: Callable[[Session], list[Port]] = lambda session: _ports_at(session, path, line)  # noqa: E731
            where = path
        elif isinstance(key, str):
            tree = self._tree_with(key.partition("::")[0])
            wanted = lambda session: [p for p in session.project.ports if state_key(p) == key]  # noqa: E731
            where = key
        else:
            raise JsonRpcException('expected {"uri", "line"} or {"port": "path::Class"}', INVALID_PARAMS)
        found = await tree.ask(
            lambda session: [subject_of(session.project, port) for port in wanted(session)]
        )
        if not found:
            raise JsonRpcException(f"no port belongs to {where}", REQUEST_FAILED)
        return tree, found

    def _tree_with(self, path: str) -> Tree:
        for tree in self._server.trees.trees:
            if (tree.root / path).is_file():
                return tree
        raise JsonRpcException(f"there is no file {path} in this workspace", REQUEST_FAILED)

    # ------------------------------------------------------------------ ends

    async def cancel(self, run: str) -> int:
        """Ends one run; how many were ended."""
        return sum(
            self._cancel(queue.running)
            for queue in self._queues.values()
            if queue.running is not None and queue.running.run.id == run
        )

    async def cancel_all(self) -> int:
        """Ends every run; how many were ended."""
        for queue in self._queues.values():
            queue.pending.clear()
        return sum(self._cancel(q.running) for q in self._queues.values() if q.running is not None)

    async def _cancel_running(self, queue: _Queue, subject: Subject) -> int:
        running = queue.running
        return self._cancel(running) if running is not None and running.subject.key == subject.key else 0

    def _cancel(self, running: _Running) -> int:
        running.cancelled = True
        return int(running.task.cancel()) if running.task is not None else 0

    def _supersede(self, running: _Running | None, subject: Subject, saved: float) -> None:
        """Ends a measurement of the same port that began before something was saved."""
        same = running is not None and running.subject.key == subject.key and running.begun < saved
        if same and running is not None and running.task is not None:
            running.task.cancel()

    def distrust(self) -> None:
        """The workspace is trusted no more: what runs ends."""
        self._worker.kill()

    async def end(self) -> None:
        """Ends the worker for good, and waits until it is gone."""
        self._stopped = True
        for queue in self._queues.values():
            queue.pending.clear()
            if queue.timer is not None:
                queue.timer.cancel()
        await self._worker.end()

    def kill(self) -> None:
        """Ends the worker at once."""
        self._stopped = True
        self._worker.kill()


def _ports_at(session: Session, path: str, line: object) -> list[Port]:
    """The ports whose class or mapping stands at a line (from 0), else those of the file."""
    project = session.project
    here = [port for port in project.ports if path in subject_of(project, port).files]
    if isinstance(line, int):
        port = session.port_at(path, line)
        span = port.cls.at(port.cls.fact.span).span if port is not None else None
        if port is not None and span is not None and span.line <= line <= span.end_line:
            return [port]
        tables = ((port, rules_of(project, port)[0]) for port in here)
        reading = [
            port
            for port, table in tables
            if table is not None
            and table.location.path == path
            and table.location.span.line <= line <= table.location.span.end_line
        ]
        if reading:
            return reading
    own = [port for port in here if port.location.path == path]
    return own or here


def _trouble(problems: Sequence[StateProblem]) -> str | None:
    """What keeps a side from being there, in one line."""
    for problem in problems:
        who = {"port": "the port", "official": "the official model"}.get(problem.side, "the code base")
        what = f"{problem.missing} is not installed" if problem.missing else _first_line(problem.message)
        return f"{who}: {what or problem.type}"
    return None


def _finding(tree: Tree, subject: Subject, problem: StateProblem) -> Finding:
    """The port's own failure is a warning; what its surroundings lack is information."""
    place = problem.place
    if place is None or not (tree.root / place.path).is_file() or Path(place.path).is_absolute():
        place = subject.location
    severity = Severity.WARNING if problem.side == "port" else Severity.INFORMATION
    return Finding(
        "DIT907",
        "check-failed",
        severity,
        place,
        f"The weights of {subject.name} could not be proven: {_said(problem)}",
        symbol=subject.name,
        port=subject.name,
    )


def _said(problem: StateProblem) -> str:
    who = {"port": "the port", "official": "the official model"}.get(problem.side, "the code base")
    step = f" {problem.next_step}" if problem.next_step else ""
    return f"{who} ({problem.stage}) {problem.type}: {_first_line(problem.message).rstrip('.')}.{step}"


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


def _on_disk(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def _changed_since(root: Path, paths: Iterable[str], begun: float) -> bool:
    """Whether a file was written after a moment (seconds since the epoch)."""
    for path in paths:
        try:
            if (root / path).stat().st_mtime > begun:
                return True
        except OSError:
            continue
    return False
