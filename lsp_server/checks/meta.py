"""The server's side of the meta worker: builds a port and its official class, for their names and shapes on
the meta device, or small ones with real numbers.

The worker is the probe (`ditproof_probe`) under the project's interpreter, in the project's root. It has
torch imported and forks a child a request, so the first answer takes seconds and each later one about one.
A tiny comparison keeps its child until it is left (`TinySession`).

Invariants
----------
* Nothing is started in a workspace that is not trusted.
* One process for each root and interpreter, one request at a time; a newer request for the same port takes
  the older one's place. Nobody waits longer than the request's own limit for its turn and its answer.
* A worker that crashed is started once more for the same request; one that does not answer in time, or
  takes more memory than it may, is ended with everything that it started.
* The worker lives by its standard input: when this process dies, however it dies, the worker ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lsp_server.checks.errors import CheckError, UntrustedWorkspaceError
from lsp_server.checks.interpreter import check_executable
from lsp_server.checks.meta_requests import (
    DEFAULT_MEMORY,
    DEFAULT_TIMEOUT,
    AskFailed,
    MetaRequest,
    OnStage,
    PortName,
    StateRequest,
    SupersededError,
    TinyRequest,
)
from lsp_server.checks.meta_session import TinySession
from lsp_server.checks.meta_turns import Worker
from lsp_server.checks.state_records import BuiltSide, StateAnswer, StateProblem

__all__ = (
    "DEFAULT_MEMORY",
    "DEFAULT_TIMEOUT",
    "AskFailed",
    "BuiltSide",
    "MetaWorker",
    "OnStage",
    "PortName",
    "StateAnswer",
    "StateProblem",
    "StateRequest",
    "SupersededError",
    "TinyRequest",
    "TinySession",
)


class MetaWorker:
    """The workers of one server. Bound to the event loop that calls it."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str], Worker] = {}
        self._closed = False

    async def state(self, request: StateRequest, on_stage: OnStage | None = None) -> StateAnswer:
        """The names, shapes and rules of the two sides.

        What the user's code raises is a problem of the answer. If the caller's task is cancelled, the
        work is ended and the cancellation goes on. Raises UntrustedWorkspaceError, InterpreterError,
        SupersededError, or CheckError where the worker crashed twice, took too long or too much memory.
        """
        return await self._worker_for(request).state(request, on_stage)

    @asynccontextmanager
    async def tiny(self, request: TinyRequest, on_stage: OnStage | None = None) -> AsyncIterator[TinySession]:
        """Both models, built from one shrunken configuration, for as long as the context lasts.

        Nothing else is done by the worker meanwhile: leave it soon. Raises as `state`; what the user's code
        raises while the models are built is an AskFailed.
        """
        async with self._worker_for(request).tiny(request, on_stage) as session:
            yield session

    def _worker_for(self, request: MetaRequest) -> Worker:
        if not request.trusted:
            raise UntrustedWorkspaceError(request.root)
        if self._closed:
            raise CheckError("The server is closing.", "Start it again.")
        if not Path(request.root).is_dir():
            raise CheckError(f"{request.root} is not a folder.", "Open the project's folder.")
        check_executable(request.python)
        place = (request.root, request.python)
        return self._workers.setdefault(place, Worker(*place, request.code_base))

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that run."""
        return tuple(w.process.pid for w in self._workers.values() if w.process is not None)

    async def end(self) -> None:
        """Ends every worker for good, and waits until they are gone."""
        self._closed = True
        await asyncio.gather(*(worker.end() for worker in self._workers.values()))

    def restart(self, root: str, python: str) -> None:
        """Ends one worker; the next request starts another, which imports everything anew."""
        worker = self._workers.get((root, python))
        if worker is not None:
            worker.kill()

    def kill(self) -> None:
        """Ends every worker at once; the next request starts another."""
        for worker in self._workers.values():
            worker.kill()
