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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygls.exceptions import JsonRpcException

from analyzers.findings import Finding, Location, Severity
from analyzers.project.ports import Port
from analyzers.weights.known import rules_of
from lsp_server.checks.contents import Package, changed_since, contents_of, package_around
from lsp_server.checks.errors import CheckError
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.meta import StateProblem, SupersededError
from lsp_server.checks.weights import Measured, Question, Subject, Unbuildable, measure_subject, report_on
from lsp_server.checks.weights_json import report_json
from lsp_server.commands.weights_text import report_text
from lsp_server.features.named import REQUEST_FAILED, ports_named
from lsp_server.features.progress import Progress
from lsp_server.measuring import (
    Answer,
    Standing,
    Wanted,
    files_of,
    touches_names,
    wanted_about,
    wanted_of,
)
from lsp_server.session import SETTINGS_FILES, Changes, Session
from lsp_server.status import Run
from lsp_server.verdicts import Verdict

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

WEIGHTS = "ditproof.weights"
DELAY = 0.25
"""Seconds that saves are gathered before something is measured: `save all` is one change."""

_UNTRUSTED = "Measuring weights builds the workspace's models: trust the workspace in the editor first."

log = logging.getLogger(__name__)


def register(server: Server) -> None:
    """Adds the command."""

    @server.command(WEIGHTS)
    async def weights(arguments: list[Any]) -> dict[str, Any]:
        return await server.weights.prove(arguments[0] if arguments else None)


class _CancelledError(CheckError):
    """The user ended a measurement."""

    def __init__(self) -> None:
        super().__init__("Measuring was cancelled.", "Save the port, or prove the weights again.")


@dataclass(eq=False)
class _Running:
    """The measurement under way in a tree. `begun`: on the event loop's clock. `cancelled`: by the user,
    not by something newer."""

    run: Run
    wanted: Wanted
    begun: float
    task: asyncio.Task[Measured] | None = None
    cancelled: bool = False


@dataclass(eq=False)
class _Queue:
    """What waits in one tree, and what goes on there."""

    opened: set[str] = field(default_factory=set)
    saved: dict[str, float] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    pending: dict[str, Wanted] = field(default_factory=dict)
    running: _Running | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    planning: int = 0
    working: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def look(self) -> None:
        """Tells whoever waits for it that nothing is to be measured any more."""
        if self.timer is None and not self.planning and not self.working:
            self.settled.set()


class WeightChecks:
    """What is known of the names of every port of the open trees. Bound to the event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._worker = server.worker
        self._queues: dict[Tree, _Queue] = {}
        self._standings: dict[tuple[Tree, str], Standing] = {}
        self._packages: dict[tuple[Tree, str], dict[Path, Package]] = {}
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

    def waiting(self, tree: Tree) -> frozenset[str]:
        """The ports whose turn is yet to come."""
        return frozenset(self._queues[tree].pending) if tree in self._queues else frozenset()

    def why_not(self, tree: Tree) -> str | None:
        """Why nothing is measured by itself; None where it is."""
        if not self._server.settings.trusted:
            return "the workspace is not trusted"
        runs = self._server.settings.runs_after_save("meta", tree.on_save)
        return None if runs else "measuring on save is off"

    def measures(self, tree: Tree) -> bool:
        """Whether an opened or saved file is measured."""
        return self.why_not(tree) is None

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
        queue.settled.clear()
        queue.timer = asyncio.get_running_loop().call_later(DELAY, self._due, tree, queue)

    def _due(self, tree: Tree, queue: _Queue) -> None:
        queue.timer = None
        queue.planning += 1
        self._server.spawn(self._planned(tree, queue))

    # ------------------------------------------------------------------ beside other checks

    def turn(self, tree: Tree) -> asyncio.Lock:
        """Held by whoever uses the tree's worker."""
        return self._queues.setdefault(tree, _Queue()).turn

    async def settled(self, tree: Tree) -> None:
        """Waits until nothing is to be measured that was opened or saved."""
        queue = self._queues.get(tree)
        if queue is not None and (queue.timer is not None or queue.planning or queue.working):
            await queue.settled.wait()

    # ------------------------------------------------------------------ by itself

    async def _planned(self, tree: Tree, queue: _Queue) -> None:
        try:
            await self._plan(tree, queue)
        finally:
            queue.planning -= 1
            queue.look()

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
        found = await tree.ask(lambda session: wanted_about(session, {*opened, *saved}, touched))
        shown = {path for _, path in self._server.opened(tree)}
        # The last is the first: a port whose counterpart is only assumed waits for those that name one.
        for wanted in sorted(found, key=lambda wanted: wanted.port.oracle is not None):
            if not self.measures(tree) or shown.isdisjoint(wanted.files):
                # Looked at again when somebody opens it.
                standing = self.standing(tree, wanted.key)
                standing.outdated = standing.outdated or wanted.key in touched
            else:
                queue.pending.pop(wanted.key, None)
                queue.pending[wanted.key] = wanted
                self._supersede(queue.running, wanted, max(saved.values(), default=0.0))
        if queue.pending and not queue.working:
            queue.working = True
            self._server.spawn(self._work(tree, queue))

    async def _work(self, tree: Tree, queue: _Queue) -> None:
        try:
            while queue.pending and not self._stopped:
                _, wanted = queue.pending.popitem()
                await self._measure_quietly(tree, queue, wanted)
        finally:
            queue.working = False
            queue.look()

    async def _measure_quietly(self, tree: Tree, queue: _Queue, wanted: Wanted) -> None:
        standing = self.standing(tree, wanted.key)
        if await self._unready(tree, wanted) is not None:
            standing.outdated = bool(standing.answers)
            await self._show(tree)
            return
        try:
            await self._measure(tree, queue, wanted, again=False)
        except SupersededError:
            return  # its successor waits already
        except CheckError as error:
            await self._failed(tree, wanted, error)

    async def _unready(self, tree: Tree, wanted: Wanted) -> str | None:
        """Why what is on disk is not what the user means; None where it is."""
        unsaved = self.unsaved(tree, {*wanted.files, *self.standing(tree, wanted.key).closure})

        def why(session: Session) -> str | None:
            edited = [path for path, saved in unsaved.items() if touches_names(session, path, saved)]
            if edited:
                return f"{', '.join(sorted(edited))} has unsaved changes"
            found = ((path, session.project.file(path)) for path in wanted.files)
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
        self, tree: Tree, queue: _Queue, wanted: Wanted, *, again: bool, shown: Progress | None = None
    ) -> Standing:
        """Brings what is known of a port up to date with the disk; `again`: whatever is known.

        Raises `CheckError`: no interpreter, a side that cannot be had, something newer, a cancellation.
        """
        standing = self.standing(tree, wanted.key)
        self._server.traces.make_way(tree)
        async with queue.turn:
            if isinstance(wanted.subject, CheckError):
                raise wanted.subject
            explicit = self._server.settings.python
            python = (await asyncio.to_thread(find_interpreter, tree.root, explicit)).path
            await self.forget_old_packages(tree, python)
            if not again:
                kept = await self._kept(tree, wanted, standing, python)
                if kept is not None:
                    await self._take(tree, wanted, standing, kept)
                    return standing
            run = Run(uuid.uuid4().hex, f"weights of {wanted.port.name}", short="weights")
            running = _Running(run, wanted, asyncio.get_running_loop().time())
            queue.running, standing.running = running, True
            begun = time.time()
            try:
                self._server.status.running(run, "starting")
                measured = await self._measured(tree, wanted.subject, running, python, shown)
            finally:
                queue.running, standing.running = None, False
                self._server.status.ended(run)
            closure = {*wanted.files, *measured.answer.files}
            contents = await asyncio.to_thread(contents_of, tree.root, closure)
            if await asyncio.to_thread(changed_since, tree.root, closure, begun):
                # Saved in the middle: nobody can say which text was imported.
                queue.pending[wanted.key] = wanted
            package = await asyncio.to_thread(_package_of, measured)
            if package is not None:
                # As the worker imported it first: a later look would take a newer one for that.
                self.remember_package(tree, python, package)
            answer = Answer(measured, wanted.asked, python, contents, package)
            await self._take(tree, wanted, standing, answer)
            return standing

    async def forget_old_packages(self, tree: Tree, python: str) -> None:
        """A worker that has imported what is no longer installed is replaced, and so is what it told."""
        known = self._packages.get((tree, python), {})
        changed = await asyncio.to_thread(lambda: any(package.has_changed() for package in known.values()))
        if changed:
            log.info("an installed package has changed: the models are imported anew")
            self._packages.pop((tree, python))
            self._worker.restart(str(tree.root), python)

    def remember_package(self, tree: Tree, python: str, package: Package) -> None:
        """The tree's worker has imported a package as it is now."""
        self._packages.setdefault((tree, python), {}).setdefault(package.folder, package)

    async def _kept(self, tree: Tree, wanted: Wanted, standing: Standing, python: str) -> Answer | None:
        for answer in standing.answers:
            contents = await asyncio.to_thread(contents_of, tree.root, answer.contents)
            if answer.fits(wanted, python, contents):
                package = answer.package
                if package is None or not await asyncio.to_thread(package.has_changed):
                    return answer
        return None

    async def _measured(
        self, tree: Tree, subject: Subject, running: _Running, python: str, shown: Progress | None
    ) -> Measured:
        def on_stage(stage: str) -> None:
            self._server.status.running(running.run, stage)
            if shown is not None:
                shown.report(stage)

        question = Question(python, tree.root, self._server.settings.trusted)
        running.task = asyncio.ensure_future(measure_subject(subject, question, self._worker, on_stage))
        try:
            await self._show(tree)
            await asyncio.wait([running.task])
        except asyncio.CancelledError:
            running.task.cancel()
            raise
        if running.task.cancelled():
            if running.cancelled:
                raise _CancelledError
            raise SupersededError(subject.port.name)
        return running.task.result()

    async def _take(self, tree: Tree, wanted: Wanted, standing: Standing, answer: Answer) -> None:
        """Puts an answer in its place, and shows what follows from it."""
        before = standing.answers[0] if standing.answers else None
        standing.keep(answer)
        if before is None or before.measured.state.digest != answer.measured.state.digest:
            self._server.note(tree, Changes(states={wanted.key: answer.measured.state}))
        if before is not answer:
            self._report(tree, wanted, answer.measured.problems)
        await self._show(tree)

    async def _failed(self, tree: Tree, wanted: Wanted, error: CheckError) -> None:
        """Names that were measured before outlive a failure; it is told once."""
        standing = self.standing(tree, wanted.key)
        standing.outdated = bool(standing.answers)
        problems = error.problems if isinstance(error, Unbuildable) else ()
        standing.trouble = _trouble(problems) or error.reason.rstrip(".")
        if isinstance(error, _CancelledError):
            standing.trouble = "cancelled"
        self._report(tree, wanted, problems)
        self._tell(tree, f"weights of {wanted.port.name}: {error}")
        await self._show(tree)

    def _report(self, tree: Tree, wanted: Wanted, problems: Sequence[StateProblem]) -> None:
        """Problems as findings at their place in the tree, or at the port's class. What the environment
        lacks is none of them: it would be told of every port, and no line of the tree is to blame."""
        findings = tuple(
            _finding(tree, wanted.port, problem)
            for problem in problems
            if problem.side != "code base" or _in_tree(tree, problem)
        )
        paths = {wanted.port.location.path, *(finding.location.path for finding in findings)}
        texts = {path: text for path in paths if (text := _on_disk(tree.root / path)) is not None}
        self._server.verdicts.put(Verdict(tree.root, f"weights of {wanted.key}", findings, texts))

    def _tell(self, tree: Tree, text: str) -> None:
        if (tree, text) not in self._told:
            self._told.add((tree, text))
            self._server.tell(text)

    async def _show(self, tree: Tree) -> None:
        self._server.diagnoser.schedule(tree)
        await asyncio.gather(self._server.refresh_lenses(), self._server.refresh_hints())

    # ------------------------------------------------------------------ asked for

    async def prove(self, argument: Any) -> dict[str, Any]:
        """Measures what a command's argument names now, and tells the proof of each port.

        `{"uri", "line"}` names the port whose class or mapping stands there, else all of the file;
        `{"port": "path::Class"}` one. Of several those count that name a counterpart, if any does, and one
        that cannot be proven does not keep the others from it. Raises `JsonRpcException` where the workspace
        is not trusted, there is nothing to measure, or nothing could be measured.
        """
        if not self._server.settings.trusted:
            raise JsonRpcException(_UNTRUSTED, REQUEST_FAILED)
        tree, found = await ports_named(self._server, argument, _ports_at, wanted_of)
        queue = self._queues.setdefault(tree, _Queue())
        reports: list[dict[str, Any]] = []
        failures: list[CheckError] = []
        unproven: list[str] = []
        for wanted in [w for w in found if w.port.oracle is not None] or found:
            try:
                reports.append(await self._proven(tree, queue, wanted))
            except CheckError as error:
                await self._failed(tree, wanted, error)
                failures.append(error)
                unproven.append(f"{wanted.port.name}  not proven: {error}")
        if not reports:
            raise JsonRpcException(str(failures[0]), REQUEST_FAILED) from failures[0]
        return {
            "text": "\n".join([*(report["text"] for report in reports), *(f"{said}\n" for said in unproven)]),
            "reports": [report["json"] for report in reports],
        }

    async def _proven(self, tree: Tree, queue: _Queue, wanted: Wanted) -> dict[str, Any]:
        """The report of one port, as text and as JSON. Raises `CheckError`."""
        run = Run(uuid.uuid4().hex, f"weights of {wanted.port.name}")
        progress = await Progress.begin(self._server, run, lambda: self._cancel_running(queue, wanted))
        unready = await self._unready(tree, wanted)
        begun = time.monotonic()
        try:
            try:
                standing = await self._measure(tree, queue, wanted, again=True, shown=progress)
            except SupersededError:
                # Something was saved meanwhile: whoever asked wants what is true now.
                standing = await self._measure(tree, queue, wanted, again=False, shown=progress)
        finally:
            progress.end()
        measured = standing.answers[0].measured

        def report(session: Session) -> dict[str, Any]:
            found = report_on(session.project, measured, begun)
            text = report_text(found, colour=False, columns=None, verbose=True)
            note = f"note      {unready}: the names are those of the file on disk.\n" if unready else ""
            return {"text": text + note, "json": report_json(found)}

        return await tree.ask(report)

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

    async def _cancel_running(self, queue: _Queue, wanted: Wanted) -> int:
        running = queue.running
        return self._cancel(running) if running is not None and running.wanted.key == wanted.key else 0

    def _cancel(self, running: _Running) -> int:
        running.cancelled = True
        return int(running.task.cancel()) if running.task is not None else 0

    def _supersede(self, running: _Running | None, wanted: Wanted, saved: float) -> None:
        """Ends a measurement of the same port that began before something was saved."""
        same = running is not None and running.wanted.key == wanted.key and running.begun < saved
        if same and running is not None and running.task is not None:
            running.task.cancel()

    def stop(self) -> None:
        """Nothing is measured any more."""
        self._stopped = True
        for queue in self._queues.values():
            queue.pending.clear()
            if queue.timer is not None:
                queue.timer.cancel()


def _ports_at(session: Session, path: str, line: int | None) -> list[Port]:
    """The ports whose class or mapping stands at a line (from 0), else those of the file."""
    project = session.project
    here = [port for port in project.ports if path in files_of(port)]
    if line is not None:
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


def _package_of(measured: Measured) -> Package | None:
    """The installed package of the official class."""
    place = measured.answer.official_place
    return package_around(Path(place.path)) if place is not None and Path(place.path).is_absolute() else None


def _trouble(problems: Sequence[StateProblem]) -> str | None:
    """What keeps a side from being there, in one line."""
    for problem in problems:
        if problem.missing:
            return f"no module '{problem.missing}' for {_who(problem)}"
        return f"{_who(problem)}: {_first_line(problem.message) or problem.type}"
    return None


def _finding(tree: Tree, port: Port, problem: StateProblem) -> Finding:
    """The port's own failure is a warning; what the official side or the environment lacks is information."""
    place = _in_tree(tree, problem) or port.location
    return Finding(
        "DIT907",
        "check-failed",
        Severity.WARNING if problem.side == "port" else Severity.INFORMATION,
        place,
        f"The weights of {port.name} could not be proven: {_said(problem)}",
        symbol=port.name,
        port=port.name,
    )


def _in_tree(tree: Tree, problem: StateProblem) -> Location | None:
    """The place of a problem, where it is one of the tree."""
    place = problem.place
    if place is None or Path(place.path).is_absolute() or not (tree.root / place.path).is_file():
        return None
    return place


def _said(problem: StateProblem) -> str:
    step = f" {problem.next_step}" if problem.next_step else ""
    return (
        f"{_who(problem)} ({problem.stage}) {problem.type}: {_first_line(problem.message).rstrip('.')}.{step}"
    )


def _who(problem: StateProblem) -> str:
    return {"port": "the port", "official": "the official model"}.get(problem.side, "the code base")


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


def _on_disk(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
