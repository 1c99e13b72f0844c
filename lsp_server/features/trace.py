"""Traces of ports: made when a port is saved, `ditproof.trace`, and the request `ditproof/trace`.

Invariants
----------
* Opening and typing trace nothing. A save does, in a trusted workspace, for the open ports that the file
  belongs to and that have a recipe; what was traced of the same contents is used again.
* A tree does one check at a time, and the names of a save are measured before its traces. A newer save ends
  the trace that it makes wrong; a port waits at most once.
* Nothing is traced of files with unsaved or unparsable text: the last result stands, and is called stale.
* A verdict is shown as soon as it is there; causes of its errors are looked for after, and only while nothing
  else waits: whatever is saved then ends that, and the verdict stands without them.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygls.exceptions import JsonRpcException

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding
from analyzers.project.ports import Port
from lsp_server.checks.contents import Package, changed_since, contents_of, package_around
from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.making import evidence_of_trace
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.recipes import NoRecipe
from lsp_server.checks.trace_json import trace_json
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_result import TraceResult
from lsp_server.features.keeping import keep
from lsp_server.features.named import REQUEST_FAILED, ports_named
from lsp_server.features.progress import Progress
from lsp_server.plain import as_mapping
from lsp_server.session import SETTINGS_FILES, Session
from lsp_server.status import Run
from lsp_server.trace_texts import summary as trace_summary
from lsp_server.tracing import (
    LinesOf,
    Traced,
    TraceStanding,
    Wanted,
    failure_of,
    files_in_tree,
    findings_in,
    is_answer,
    texts_of,
    wanted_about,
    wanted_of,
)
from lsp_server.verdicts import Verdict

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

TRACE = "ditproof.trace"
KNOWN = "ditproof/trace"
CHANGED = "ditproof/traceChanged"
DELAY = 0.25
"""Seconds that saves are gathered before something is traced: `save all` is one change."""

_UNTRUSTED = "A trace runs the workspace's models: trust the workspace in the editor first."
_OF_WEIGHTS = ("import", "config", "build", "state")
"""The stages of which the proof of the weights tells what went wrong."""

log = logging.getLogger(__name__)


def register(server: Server) -> None:
    """Adds the command and the request."""

    @server.command(TRACE)
    async def traced(arguments: list[Any]) -> dict[str, Any]:
        return await server.traces.trace(arguments[0] if arguments else None)

    @server.feature(KNOWN)
    async def known(params: Any) -> dict[str, Any]:
        """What is known of the ports that are named, without running anything."""
        tree, found = await server.traces.named(params)
        return server.traces.told(tree, found)


class _Ended(CheckError):
    """A trace that came to no end. `by_user`: not by something newer."""

    def __init__(self, by_user: bool) -> None:
        self.by_user = by_user
        why = "was cancelled" if by_user else "was overtaken by a newer save"
        super().__init__(f"The trace {why}.", "Save the port, or trace it again.")


class _NotNow(CheckError):
    """What is on disk is not what the user means."""


@dataclass(eq=False)
class _Running:
    """The trace under way in a tree. `begun`: on the event loop's clock. `looking_for_causes`: its verdict is
    there, and shown."""

    run: Run
    wanted: Wanted
    begun: float
    task: asyncio.Task[TraceResult] | None = None
    cancelled: bool = False
    looking_for_causes: bool = False


@dataclass(eq=False)
class _Queue:
    """What waits in one tree, and what goes on there."""

    saved: dict[str, float] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    pending: dict[str, Wanted] = field(default_factory=dict)
    running: _Running | None = None
    working: bool = False


class TraceChecks:
    """What is known of the numbers of every port of the open trees. Bound to the event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queues: dict[Tree, _Queue] = {}
        self._standings: dict[tuple[Tree, str], TraceStanding] = {}
        self._stopped = False

    # ------------------------------------------------------------------ what is known

    def standing(self, tree: Tree, key: str) -> TraceStanding:
        """What is known of a port."""
        return self._standings.setdefault((tree, key), TraceStanding())

    def standings(self, tree: Tree) -> dict[str, TraceStanding]:
        """What is known of each port of a tree."""
        return {key: standing for (other, key), standing in self._standings.items() if other is tree}

    def why_not(self, tree: Tree) -> str | None:
        """Why nothing is traced by itself; None where it is."""
        if not self._server.settings.trusted:
            return "the workspace is not trusted"
        runs = self._server.settings.runs_after_save("tiny", tree.on_save)
        return None if runs else "tracing on save is off"

    def told(self, tree: Tree, ports: Iterable[Wanted]) -> dict[str, Any]:
        """What is known of ports, as the protocol carries it."""
        uris = self._server.uris_of(tree)
        unsaved = self._server.weights.unsaved(tree)

        def one(wanted: Wanted) -> dict[str, Any]:
            standing = self.standing(tree, wanted.key)
            last = standing.last
            return {
                "port": wanted.key,
                "uri": uris.get(wanted.port.location.path),
                "stale": standing.is_stale(unsaved),
                "running": standing.running,
                "trouble": standing.trouble,
                "trace": trace_json(last.result) if last is not None else None,
            }

        return {"root": str(tree.root), "traces": [one(wanted) for wanted in ports]}

    # ------------------------------------------------------------------ after a save

    def saved(self, tree: Tree, path: str) -> None:
        """A file has other contents on disk."""
        if self._stopped or not tree.ready or not (path.endswith(".py") or path in SETTINGS_FILES):
            return
        self.make_way(tree)
        queue = self._queues.setdefault(tree, _Queue())
        queue.saved[path] = asyncio.get_running_loop().time()
        if queue.timer is not None:
            queue.timer.cancel()
        queue.timer = asyncio.get_running_loop().call_later(
            DELAY, lambda: self._server.spawn(self._plan(tree, queue))
        )

    async def _plan(self, tree: Tree, queue: _Queue) -> None:
        """Finds the ports that are concerned, and begins."""
        saved = dict(queue.saved)
        queue.saved.clear()
        weights = self._server.weights.standings(tree)
        touched = {
            key
            for standings in (self.standings(tree), weights)
            for key, standing in standings.items()
            if standing.closure.intersection(saved)
        }
        found = await tree.ask(lambda session: wanted_about(session, saved, touched))
        shown = {path for _, path in self._server.opened(tree)}
        for wanted in found:
            standing = self.standing(tree, wanted.key)
            if isinstance(wanted.question, CheckError):
                standing.outdated = standing.last is not None
            elif self.why_not(tree) is not None or shown.isdisjoint(wanted.files):
                # Traced when it is saved where somebody looks at it, or when somebody asks.
                standing.outdated = standing.last is not None
            else:
                queue.pending.pop(wanted.key, None)
                queue.pending[wanted.key] = wanted
                standing.waiting = True
                self._supersede(queue.running, wanted, max(saved.values()))
        await self._server.refresh_lenses()
        if queue.pending and not queue.working:
            queue.working = True
            self._server.spawn(self._work(tree, queue))

    async def _work(self, tree: Tree, queue: _Queue) -> None:
        try:
            while queue.pending and not self._stopped:
                await self._server.weights.settled(tree)
                if queue.pending:
                    _, wanted = queue.pending.popitem()
                    await self._trace_quietly(tree, queue, wanted)
        finally:
            queue.working = False

    async def _trace_quietly(self, tree: Tree, queue: _Queue, wanted: Wanted) -> None:
        standing = self.standing(tree, wanted.key)
        standing.waiting = False
        try:
            await self._traced(tree, queue, wanted, by_itself=True)
        except _NotNow:
            standing.outdated = standing.last is not None
            await self._show(tree, wanted)
        except CheckError as error:
            await self._failed(tree, wanted, error)

    async def _unready(self, tree: Tree, wanted: Wanted) -> str | None:
        """Why what is on disk is not what the user means; None where it is."""
        closure = {*wanted.files, *self.standing(tree, wanted.key).closure}
        unsaved = sorted(self._server.weights.unsaved(tree, closure))
        if unsaved:
            return f"{', '.join(unsaved)} has unsaved changes"

        def broken(session: Session) -> list[str]:
            found = ((path, session.project.file(path)) for path in wanted.files)
            return [path for path, facts in found if facts is not None and facts.broken]

        unparsable = await tree.ask(broken)
        return f"{', '.join(unparsable)} does not parse" if unparsable else None

    # ------------------------------------------------------------------ one trace

    async def _traced(
        self,
        tree: Tree,
        queue: _Queue,
        wanted: Wanted,
        *,
        by_itself: bool = False,
        again: bool = False,
        shown: Progress | None = None,
        told: asyncio.Event | None = None,
    ) -> None:
        """Brings what is known of a port up to date with the disk; `again`: whatever is known. `told` is set
        when there is a verdict, whose causes may still be looked for.

        Raises CheckError: no recipe, no interpreter, a run that came to no answer, a cancellation.
        """
        standing = self.standing(tree, wanted.key)
        self.make_way(tree)
        async with self._server.weights.turn(tree):
            if isinstance(wanted.question, CheckError):
                raise wanted.question
            if by_itself:
                unready = await self._unready(tree, wanted)
                if unready is not None:
                    raise _NotNow(unready, "Save it first.")
            explicit = self._server.settings.python
            python = (await asyncio.to_thread(find_interpreter, tree.root, explicit)).path
            await self._server.weights.forget_old_packages(tree, python)
            trusted = self._server.settings.trusted
            question = replace(wanted.question, python=python, trusted=trusted, hypotheses=True)
            if not again:
                kept = await self._kept(tree, standing, question)
                if kept is not None:
                    await self._take(tree, wanted, kept)
                    return
            run = Run(uuid.uuid4().hex, f"trace of {wanted.port.name}", short="trace")
            running = _Running(run, wanted, asyncio.get_running_loop().time())
            queue.running, standing.running = running, True
            begun = time.time()
            texts = await asyncio.to_thread(texts_of, tree.root, {*wanted.files, *standing.closure})

            async def take(result: TraceResult, *, whole: bool) -> None:
                traced = await self._kept_anew(tree, queue, wanted, question, result, begun, texts)
                await self._take(tree, wanted, replace(traced, whole=whole))

            async def at_verdict(result: TraceResult) -> None:
                standing.running, running.looking_for_causes = False, True
                await take(result, whole=False)
                if told is not None:
                    told.set()
                if queue.pending:
                    self.make_way(tree)

            try:
                self._server.status.running(run, "starting")
                result = await self._result(tree, wanted, question, running, shown, at_verdict)
            finally:
                queue.running, standing.running = None, False
                self._server.status.ended(run)
            if result is None:
                return
            if not is_answer(result):
                raise CheckError(result.reason, result.next_step)
            await take(result, whole=True)
            await keep(
                self._server, tree.root, lambda: evidence_of_trace(wanted.key, question, result, begun)
            )

    async def _kept(self, tree: Tree, standing: TraceStanding, question: TraceQuestion) -> Traced | None:
        for traced in standing.kept:
            contents = await asyncio.to_thread(contents_of, tree.root, traced.contents)
            if traced.fits(question, contents):
                package = traced.package
                if package is None or not await asyncio.to_thread(package.has_changed):
                    return traced
        return None

    async def _result(
        self,
        tree: Tree,
        wanted: Wanted,
        question: TraceQuestion,
        running: _Running,
        shown: Progress | None,
        at_verdict: Callable[[TraceResult], Awaitable[None]],
    ) -> TraceResult | None:
        """The whole answer; None where the verdict was told and the search for causes was ended."""

        def on_stage(stage: str) -> None:
            self._server.status.running(running.run, stage)
            if shown is not None:
                shown.report(stage)

        verdict: asyncio.Future[TraceResult] = asyncio.get_running_loop().create_future()

        async def asked() -> TraceResult:
            trace = await asyncio.to_thread(_driver)
            return await trace(question, self._server.worker, on_stage, verdict.set_result)

        task = running.task = asyncio.ensure_future(asked())
        try:
            await self._show(tree, wanted)
            await asyncio.wait([task, verdict], return_when=asyncio.FIRST_COMPLETED)
            if verdict.done() and not task.done():
                await at_verdict(verdict.result())
                await asyncio.wait([task])
        except BaseException:
            task.cancel()
            raise
        if task.cancelled() or task.result().status == "cancelled":
            if running.looking_for_causes:
                return None
            raise _Ended(by_user=running.cancelled)
        return task.result()

    async def _kept_anew(
        self,
        tree: Tree,
        queue: _Queue,
        wanted: Wanted,
        question: TraceQuestion,
        result: TraceResult,
        begun: float,
        texts: Mapping[str, str],
    ) -> Traced:
        """The result with all that tells how long it holds."""
        closure = files_in_tree(wanted, result, self.standing(tree, wanted.key).closure)
        hung_on = {*closure, str(question.recipe.path)}
        contents = await asyncio.to_thread(contents_of, tree.root, hung_on)
        if await asyncio.to_thread(changed_since, tree.root, closure, begun):
            # Saved in the middle: nobody can say which text was run.
            queue.pending[wanted.key] = wanted
        now = await asyncio.to_thread(texts_of, tree.root, closure)
        package = await asyncio.to_thread(_package_of, result)
        if package is not None:
            self._server.weights.remember_package(tree, question.python, package)
        before = {**now, **{path: text for path, text in texts.items() if path in closure}}
        findings = await asyncio.to_thread(findings_in, result, wanted.port, _lines_in(tree.root, before))
        return Traced(result, question, contents, findings, package, before)

    # ------------------------------------------------------------------ what follows from it

    async def _take(self, tree: Tree, wanted: Wanted, traced: Traced) -> None:
        """Puts a result in its place, and shows it."""
        standing = self.standing(tree, wanted.key)
        before = standing.last
        standing.keep(traced)
        findings: list[Finding] = [finding for finding, _ in traced.findings]
        told = _OF_WEIGHTS if self._server.weights.measures(tree) else ()
        failure = failure_of(tree.root, traced.result, wanted.port, told=told)
        if failure is not None:
            findings.append(failure)
        # With those of before: what was told of a file has to be taken back there.
        told_of = {*wanted.files, *(finding.location.path for finding in findings)}
        told_of |= {finding.location.path for finding, _ in (before.findings if before is not None else ())}
        texts = {path: text for path, text in traced.texts.items() if path in told_of}
        key = f"trace of {wanted.key}"
        self._server.verdicts.put(Verdict(tree.root, key, tuple(findings), texts, traced.texts))
        result = traced.result
        await self._show(tree, wanted, {"status": result.status, "summary": trace_summary(result)})

    async def _failed(self, tree: Tree, wanted: Wanted, error: CheckError) -> None:
        """A result of before outlives a run that came to none; why is told in the log and by the lens."""
        standing = self.standing(tree, wanted.key)
        queue = self._queues.get(tree)
        if isinstance(error, _Ended) and not error.by_user and queue is not None:
            standing.waiting = wanted.key in queue.pending
        else:
            standing.outdated = standing.last is not None
            cancelled = isinstance(error, _Ended)
            standing.trouble = "cancelled" if cancelled else error.reason.rstrip(".")
            if not cancelled:
                self._server.tell(f"trace of {wanted.port.name}: {error}")
        await self._show(tree, wanted)

    async def _show(self, tree: Tree, wanted: Wanted, verdict: dict[str, str] | None = None) -> None:
        """`verdict`: what a trace has come to just now."""
        self._server.diagnoser.schedule(tree)
        told = {"port": wanted.key, "class": wanted.port.name, "verdict": verdict}
        self._server.protocol.notify(CHANGED, told)
        await self._server.refresh_lenses()

    # ------------------------------------------------------------------ asked for

    async def trace(self, argument: Any) -> dict[str, Any]:
        """Traces what a command's argument names, unless it is known already (`again`: even then).

        `{"uri", "line"}` or `{"uri", "class"}` names the port that stands there, else all of the file;
        `{"port": "path::Class"}` one. Of several those count that have a recipe, if any does. Raises
        JsonRpcException where the workspace is not trusted, there is nothing to trace, or no trace came to
        an answer.
        """
        if not self._server.settings.trusted:
            raise JsonRpcException(_UNTRUSTED, REQUEST_FAILED)
        tree, found = await self.named(argument)
        again = (as_mapping(argument) or {}).get("again") is True
        queue = self._queues.setdefault(tree, _Queue())
        asked = [wanted for wanted in found if not isinstance(wanted.question, NoRecipe)] or found
        failures: list[CheckError] = []
        for wanted in asked:
            try:
                await self._verdict_for(tree, queue, wanted, again=again)
            except CheckError as error:
                failures.append(error)
                if not isinstance(error, NoRecipe):
                    await self._failed(tree, wanted, error)
        if len(failures) == len(asked):
            raise JsonRpcException(str(failures[0]), REQUEST_FAILED) from failures[0]
        return self.told(tree, asked)

    async def _verdict_for(self, tree: Tree, queue: _Queue, wanted: Wanted, *, again: bool) -> None:
        """Returns as soon as there is a verdict; causes are looked for beside. Raises CheckError."""
        told = asyncio.Event()
        tracing = asyncio.ensure_future(self._traced_for(tree, queue, wanted, again=again, told=told))
        waiting = asyncio.ensure_future(told.wait())
        try:
            await asyncio.wait([tracing, waiting], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            tracing.cancel()
            raise
        finally:
            waiting.cancel()
        if tracing.done():
            await tracing
        else:
            self._server.spawn(_finished(tracing))

    async def _traced_for(
        self, tree: Tree, queue: _Queue, wanted: Wanted, *, again: bool, told: asyncio.Event
    ) -> None:
        """One port, with its progress shown. Raises CheckError."""
        run = Run(uuid.uuid4().hex, f"trace of {wanted.port.name}")
        progress = await Progress.begin(self._server, run, lambda: self._cancel_of(queue, wanted))
        try:
            try:
                await self._traced(tree, queue, wanted, again=again, shown=progress, told=told)
            except _Ended as end:
                if end.by_user:
                    raise
                # Something was saved meanwhile: whoever asked wants what is true now.
                await self._traced(tree, queue, wanted, shown=progress, told=told)
        finally:
            progress.end()

    async def named(self, argument: Any) -> tuple[Tree, list[Wanted]]:
        """The ports that an argument names. Raises JsonRpcException."""
        return await ports_named(self._server, argument, _about, wanted_of)

    # ------------------------------------------------------------------ ends

    def cancel(self, run: str) -> int:
        """Ends one run; how many were ended."""
        found = (queue.running for queue in self._queues.values())
        return sum(_cancel(running) for running in found if running is not None and running.run.id == run)

    def cancel_all(self) -> int:
        """Ends every run; how many were ended."""
        for tree, queue in self._queues.items():
            for key in queue.pending:
                self.standing(tree, key).waiting = False
            queue.pending.clear()
        return sum(_cancel(queue.running) for queue in self._queues.values() if queue.running is not None)

    def make_way(self, tree: Tree) -> None:
        """Somebody waits for the tree's worker: ends a search for causes. The verdict before it stands."""
        queue = self._queues.get(tree)
        running = queue.running if queue is not None else None
        if running is not None and running.looking_for_causes and running.task is not None:
            running.task.cancel()

    async def _cancel_of(self, queue: _Queue, wanted: Wanted) -> int:
        running = queue.running
        return _cancel(running) if running is not None and running.wanted.key == wanted.key else 0

    def _supersede(self, running: _Running | None, wanted: Wanted, saved: float) -> None:
        """Ends a trace of the same port that began before something was saved."""
        same = running is not None and running.wanted.key == wanted.key and running.begun < saved
        if same and running is not None and running.task is not None:
            running.task.cancel()

    def stop(self) -> None:
        """Nothing is traced any more."""
        self._stopped = True
        for queue in self._queues.values():
            queue.pending.clear()
            if queue.timer is not None:
                queue.timer.cancel()


def _driver() -> Callable[..., Awaitable[TraceResult]]:
    """`checks.trace.trace`. Imported at the first trace, with all that judges: a server's start does not wait
    for it."""
    from lsp_server.checks.trace import trace

    return trace


async def _finished(tracing: asyncio.Future[None]) -> None:
    """So that an error of what nobody waits for any more is logged."""
    await tracing


def _cancel(running: _Running) -> int:
    running.cancelled = True
    return int(running.task.cancel()) if running.task is not None else 0


def _about(session: Session, path: str, line: int | None) -> list[Port]:
    """The port whose class stands at a line (from 0), else those of the file, else those that it belongs
    to."""
    ports = session.project.ports
    own = [port for port in ports if port.location.path == path]
    for port in own:
        span = port.cls.at(port.cls.fact.span).span
        if line is not None and span.line <= line <= span.end_line:
            return [port]
    return own or [port for port in ports if path in wanted_of(session.project, port).files]


def _package_of(result: TraceResult) -> Package | None:
    """The installed package of the official class."""
    place = result.compared.official_place if result.compared is not None else None
    return package_around(Path(place.path)) if place is not None and Path(place.path).is_absolute() else None


def _lines_in(root: Path, texts: Mapping[str, str]) -> LinesOf:
    """The lines of the files that a result speaks of, as they were; of the official ones as they are."""

    def lines(path: str) -> Sequence[str] | None:
        text = texts.get(path)
        if text is None:
            text = texts_of(root, [path]).get(path)
        return LineIndex(text).lines if text is not None else None

    return lines
