"""Whose turn it is at a meta worker: one request at a time, for each root and interpreter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta_process import WorkerGone, WorkerProcess, start_worker
from lsp_server.checks.meta_requests import (
    MetaRequest,
    OnStage,
    StateRequest,
    SupersededError,
    TinyRequest,
    too_long,
    too_much,
    unreadable,
)
from lsp_server.checks.meta_session import TinySession
from lsp_server.checks.processes import group_memory
from lsp_server.checks.redact import redact
from lsp_server.checks.state_records import StateAnswer, read_answer
from lsp_server.checks.strict import MalformedAnswer

T = TypeVar("T")

_POLL = 0.2
_MEMORY_EVERY = 0.5
_LONGEST_END = 5.0  # seconds that the closing server waits for a worker that it has killed
_SHOWN_OF_LOG = 6  # lines

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Ticket:
    """One request that waits or is worked on."""

    task: asyncio.Task[Any]
    superseded: bool = False


class Worker:
    """The one worker of a root and an interpreter, started when it is needed."""

    def __init__(self, root: str, python: str, code_base: str) -> None:
        self.root = root
        self.python = python
        self.code_base = code_base
        self.process: WorkerProcess | None = None
        self._killed: list[WorkerProcess] = []
        self._starting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._tickets: dict[str, _Ticket] = {}
        self._next = 0
        self._closed = False

    async def state(self, request: StateRequest, on_stage: OnStage | None) -> StateAnswer:
        """See `MetaWorker.state`."""
        ticket = self._ticket(request, self._in_turn(request, on_stage))
        await self._first(ticket, request)
        answer: StateAnswer = ticket.task.result()
        return answer

    @asynccontextmanager
    async def tiny(self, request: TinyRequest, on_stage: OnStage | None) -> AsyncIterator[TinySession]:
        """See `MetaWorker.tiny`."""
        opened: asyncio.Future[TinySession] = asyncio.get_running_loop().create_future()
        ticket = self._ticket(request, self._kept(request, on_stage, opened))
        await self._first(ticket, request, opened)
        if not opened.done():
            ticket.task.result()  # raises why not
        session = opened.result()
        try:
            yield session
        finally:
            session.left.set()
            await asyncio.wait([ticket.task])
            _heard(ticket.task)

    def _ticket(self, request: MetaRequest, work: Coroutine[Any, Any, Any]) -> _Ticket:
        """The request's place in line; who had it before is sent away."""
        for key in request.supersedes:
            older = self._tickets.get(key)
            if older is not None:
                older.superseded = True
                older.task.cancel()
        ticket = _Ticket(asyncio.create_task(work))
        self._tickets[request.key] = ticket

        def leave(_: object) -> None:
            if self._tickets.get(request.key) is ticket:
                del self._tickets[request.key]

        ticket.task.add_done_callback(leave)
        return ticket

    async def _first(
        self, ticket: _Ticket, request: MetaRequest, goal: asyncio.Future[Any] | None = None
    ) -> None:
        """Wait until the goal is reached, or the work is done. Raises why the work was cancelled."""
        # wait, not await: whether the caller or the work was cancelled must stay two things.
        awaited = {ticket.task} if goal is None else {ticket.task, goal}
        try:
            done, _ = await asyncio.wait(
                awaited, timeout=request.timeout + _POLL * 2, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                ticket.task.cancel()
                await asyncio.wait([ticket.task])
        except asyncio.CancelledError:
            ticket.task.cancel()
            await asyncio.wait([ticket.task])
            _heard(ticket.task)
            raise
        if ticket.task.done() and ticket.task.cancelled():
            raise self._why_cancelled(ticket, request)

    def _why_cancelled(self, ticket: _Ticket, request: MetaRequest) -> CheckError:
        if ticket.superseded:
            return SupersededError(request.name)
        if not self._closed:
            return too_long(request, "still waits for other checks")
        return CheckError("The server is closing.", "Start it again.")

    async def end(self) -> None:
        """See `MetaWorker.end`."""
        self._closed = True
        ending: list[asyncio.Future[Any]] = [ticket.task for ticket in self._tickets.values()]
        for task in ending:
            task.cancel()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        self.kill()
        for process in self._killed:
            # Their pipes must not outlive the event loop.
            ending += [asyncio.ensure_future(process.process.wait()), *process.readers]
        if ending:
            _, late = await asyncio.wait(ending, timeout=_LONGEST_END)
            for task in late:
                task.cancel()
            if late:
                log.warning("the meta worker of %s has not ended", self.root)

    def kill(self) -> None:
        """End the process; the next request starts another."""
        if self.process is not None:
            self._kill(self.process)

    def _kill(self, process: WorkerProcess) -> None:
        if self.process is process:
            self.process = None
        process.kill()
        self._killed = [killed for killed in self._killed if not (killed.gone or killed is process)]
        self._killed.append(process)

    # ------------------------------------------------------------------ one request

    async def _in_turn(self, request: StateRequest, on_stage: OnStage | None) -> StateAnswer:
        deadline = time.monotonic() + request.timeout

        async def answered(process: WorkerProcess) -> StateAnswer:
            told = await self._exchange(process, request, on_stage, deadline)
            # Thousands of entries: the loop has keystrokes to answer meanwhile.
            return await asyncio.to_thread(read_answer, told, self.root, process.torch)

        async with self._turn:
            return await self._twice(on_stage, answered)

    async def _kept(
        self, request: TinyRequest, on_stage: OnStage | None, opened: asyncio.Future[TinySession]
    ) -> None:
        """Open a session, and keep the turn until it is left."""
        deadline = time.monotonic() + request.timeout

        async def begun(process: WorkerProcess) -> TinySession:
            self._next += 1
            session = TinySession(request, self._next, process, self, on_stage)
            try:
                await session.open(deadline)
            except BaseException:
                session.close()
                raise
            return session

        async with self._turn:
            session = await self._twice(on_stage, begun)
            opened.set_result(session)
            try:
                await session.left.wait()
            except asyncio.CancelledError:
                ticket = self._tickets.get(request.key)
                mine = ticket is not None and ticket.task is asyncio.current_task() and not ticket.superseded
                closing = CheckError("The server is closing.", "Start it again.")
                session.fail(closing if mine else SupersededError(request.name))
                raise
            finally:
                session.close()

    async def _twice(self, on_stage: OnStage | None, work: Callable[[WorkerProcess], Awaitable[T]]) -> T:
        """Work with the process; once more, with a new one, where it ended meanwhile."""
        ways: list[str] = []
        while True:
            process = await self._started(on_stage)
            try:
                return await work(process)
            except (WorkerGone, OSError) as error:
                ways.append(str(error) or type(error).__name__)
                failure = self.crashed(process, ways)
                if len(ways) > 1:
                    raise failure from error
            except MalformedAnswer as error:
                self.kill()
                raise unreadable(error) from error

    async def _exchange(
        self, process: WorkerProcess, request: StateRequest, on_stage: OnStage | None, deadline: float
    ) -> Mapping[str, Any]:
        self._next += 1
        number = self._next
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        stages: list[str] = []

        def take(told: Mapping[str, Any]) -> None:
            if told.get("kind") == "progress":
                stages.append(redact(str(told.get("stage"))))
                if on_stage is not None:
                    on_stage(stages[-1])
            elif told.get("kind") == "state" and not answer.done():
                answer.set_result(told)

        process.listeners[number] = take
        try:
            process.send(request.message(number))
            await self.until(process, answer, request, deadline, lambda: stages[-1] if stages else None)
            return answer.result()
        except asyncio.CancelledError:
            # The worker stays warm: only the child that works on this one has to go.
            process.send({"id": number, "kind": "cancel"})
            raise
        finally:
            process.listeners.pop(number, None)

    async def until(
        self,
        process: WorkerProcess,
        answer: asyncio.Future[Any],
        request: MetaRequest,
        deadline: float,
        stage: Callable[[], str | None],
    ) -> None:
        """Wait until the answer is there. `stage`: what the worker is doing now.

        Raises WorkerGone, and CheckError where it takes too long or too much memory: the worker is ended.
        """
        memory_due = 0.0
        while not answer.done():
            await asyncio.wait([answer], timeout=_POLL)
            if answer.done():
                return
            # Looked at here too: a child may hold the channel open when its parent is gone.
            if process.ended or process.broken is not None:
                await asyncio.wait(process.readers, timeout=1.0)
                if answer.done():
                    return
                raise WorkerGone(process.how())
            now = time.monotonic()
            if now > deadline:
                self._kill(process)
                raise too_long(request, "has not come", stage())
            if request.memory_limit is not None and now >= memory_due:
                used = await asyncio.to_thread(group_memory, process.pid)
                memory_due = now + _MEMORY_EVERY
                if used is not None and used > request.memory_limit:
                    self._kill(process)
                    raise too_much(request)

    def crashed(self, process: WorkerProcess, ways: list[str]) -> CheckError:
        """End what is left of a process that ended; what to tell whoever waits. `ways`: how, each time."""
        tail = process.tail.text()
        self._kill(process)
        log.warning("the meta worker ended: %s", ways[-1])
        said = [line for line in tail.splitlines() if line.strip()][-_SHOWN_OF_LOG:]
        end = " The end of its log:\n" + "\n".join(f"  {line}" for line in said) if said else ""
        times = " twice" if len(ways) > 1 else ""
        return CheckError(
            f"The worker that builds the models crashed{times} under {self.python}: {ways[-1]}.{end}",
            "See whether torch and the code base import there; `ditproof doctor` shows what it has.",
        )

    # ------------------------------------------------------------------ the process

    async def _started(self, on_stage: OnStage | None) -> WorkerProcess:
        if self.process is not None and (self.process.ended or self.process.broken is not None):
            self.kill()  # it ended when it was idle: what is left of it goes
        if self.process is None:
            if on_stage is not None:
                on_stage(f"starting {self.python}")
            if self._starting is None:
                self._starting = asyncio.create_task(self._start())
                self._starting.add_done_callback(_heard)
            # A caller that gives up must not leave a process that nobody knows of.
            await asyncio.shield(self._starting)
        if self._closed or self.process is None:
            raise asyncio.CancelledError
        return self.process

    async def _start(self) -> None:
        try:
            self.process = await start_worker(self.root, self.python, self.code_base)
        finally:
            self._starting = None


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is none."""
    if not task.cancelled():
        task.exception()
