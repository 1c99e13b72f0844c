"""Who runs next: one slot a device, the newest request of a port supersedes the older, no backlog.

A device runs one request. A newer request for the same port (or test) ends the running one. A
request for another port waits, alone: a still newer one takes its place in the waiting room. So
nobody waits for work that nobody wants any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from lsp_server.checks.errors import UntrustedWorkspaceError
from lsp_server.checks.executor import Executor
from lsp_server.checks.requests import CheckRequest, CheckResult
from lsp_server.checks.run import OnEvent, run_parity, superseded


@dataclass(eq=False)
class _Entry:
    request: CheckRequest
    on_event: OnEvent | None
    result: asyncio.Future[CheckResult]
    task: asyncio.Task[CheckResult] | None = None
    why_ended: str | None = None


@dataclass
class _Slot:
    running: _Entry | None = None
    waiting: _Entry | None = None
    workers: set[asyncio.Task[None]] = field(default_factory=set)


class CheckQueue:
    """Bound to one event loop. `executor` runs what the queue lets through."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._slots: dict[str, _Slot] = {}

    async def submit(self, request: CheckRequest, on_event: OnEvent | None = None) -> CheckResult:
        """Run a request when its device is free; `cancelled` if a newer one takes its place.

        If the caller's task is cancelled, so is the run. Raises UntrustedWorkspaceError.
        """
        if not request.trusted:
            raise UntrustedWorkspaceError(request.root)
        entry = _Entry(request, on_event, asyncio.get_running_loop().create_future())
        slot = self._slots.setdefault(request.device, _Slot())
        if slot.waiting is not None:
            self._drop(slot.waiting, "A newer request took its place.")
        slot.waiting = entry
        if slot.running is not None and slot.running.request.key == request.key:
            self._end(slot.running, "A newer run of the same test replaced it.")
        elif slot.running is None:
            self._start_next(slot)
        try:
            return await asyncio.shield(entry.result)
        except asyncio.CancelledError:
            if slot.waiting is entry:
                slot.waiting = None
            await self._end_and_wait(entry, "The run was cancelled.")
            raise

    async def cancel(self, key: str | None = None) -> int:
        """End the runs of one port or test (all of them if None); how many there were."""
        ended = 0
        for slot in list(self._slots.values()):  # a run may be submitted meanwhile
            if slot.waiting is not None and key in (None, slot.waiting.request.key):
                self._drop(slot.waiting, "The run was cancelled.")
                slot.waiting = None
                ended += 1
            running = slot.running
            if running is not None and key in (None, running.request.key):
                await self._end_and_wait(running, "The run was cancelled.")
                ended += 1
        return ended

    def _start_next(self, slot: _Slot) -> None:
        entry, slot.waiting = slot.waiting, None
        slot.running = entry
        if entry is not None:
            worker = asyncio.create_task(self._run(slot, entry))
            slot.workers.add(worker)  # the loop itself keeps only a weak reference
            worker.add_done_callback(slot.workers.discard)

    async def _run(self, slot: _Slot, entry: _Entry) -> None:
        entry.task = asyncio.create_task(run_parity(entry.request, self._executor, entry.on_event))
        if entry.why_ended is not None:
            entry.task.cancel()
        try:
            # wait, not await: a cancelled run must not look like a cancelled worker.
            await asyncio.wait([entry.task])
            if entry.result.done():
                return
            if entry.task.cancelled():
                why = entry.why_ended or "The run was cancelled."
                entry.result.set_result(superseded(entry.request, why))
            elif (error := entry.task.exception()) is not None:
                entry.result.set_exception(error)
            else:
                entry.result.set_result(entry.task.result())
        finally:
            self._start_next(slot)

    def _end(self, entry: _Entry, why: str) -> None:
        if entry.why_ended is None:
            entry.why_ended = why
            if entry.task is not None:
                entry.task.cancel()

    async def _end_and_wait(self, entry: _Entry, why: str) -> None:
        self._end(entry, why)
        if entry.task is not None:
            await asyncio.wait([entry.task])

    def _drop(self, entry: _Entry, why: str) -> None:
        if not entry.result.done():
            entry.result.set_result(superseded(entry.request, why))
