"""The conversation about one tiny comparison: what was built, and an answer for each ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta_process import WorkerGone, WorkerProcess
from lsp_server.checks.meta_requests import AskFailed, MetaRequest, OnStage, TinyRequest, unreadable
from lsp_server.checks.redact import redact
from lsp_server.checks.state_records import read_problem
from lsp_server.checks.strict import MalformedAnswer


class Keeper(Protocol):
    """Who looks after the process."""

    async def until(
        self,
        process: WorkerProcess,
        answer: asyncio.Future[Any],
        request: MetaRequest,
        deadline: float,
        stage: Callable[[], str | None],
    ) -> None:
        """Wait until the answer is there. Raises CheckError where that takes too long (`deadline`, of
        `time.monotonic`) or too much memory, and WorkerGone."""

    def crashed(self, process: WorkerProcess, ways: list[str]) -> CheckError:
        """End what is left of it; what to tell whoever waits."""


_BUILT = 0


class TinySession:
    """Two models in the worker, and what is asked of them. `built`: what was built, as the worker says it
    (`ditproof_probe.records`)."""

    def __init__(
        self,
        request: TinyRequest,
        number: int,
        process: WorkerProcess,
        keeper: Keeper,
        on_stage: OnStage | None,
    ) -> None:
        self.built: Mapping[str, Any] = {}
        self.left = asyncio.Event()
        self._request = request
        self._number = number
        self._process = process
        self._keeper = keeper
        self._on_stage = on_stage
        self._stage: str | None = None
        self._asks = 0
        self._awaited: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._abandoned = False
        self._failure: CheckError | MalformedAnswer | None = None
        self._closed = False

    async def ask(self, ask: str, **arguments: Any) -> Mapping[str, Any]:
        """The answer of the worker's instrument, JSON values.

        Raises AskFailed where it is a problem (the session goes on unless `over`), SupersededError where a
        newer comparison of the same port has begun, CheckError where the session has ended or the worker
        crashed, took too long or too much memory.
        """
        self._asks += 1
        n = self._asks
        message = {"id": self._number, "kind": "ask", "n": n, "ask": ask, "arguments": arguments}
        try:
            return await self._answer(n, message, time.monotonic() + self._request.timeout)
        except (WorkerGone, OSError) as error:
            failure: CheckError = self._keeper.crashed(self._process, [str(error) or type(error).__name__])
        except MalformedAnswer as error:
            self._process.broken = f"it gave an answer that cannot be read: {error}"
            failure = unreadable(error)
        self.fail(failure)
        raise failure

    async def end(self) -> None:
        """Nothing more is asked: the worker is free for other requests. Harmless when it has ended."""
        self.fail(self._over())
        self.left.set()

    # ------------------------------------------------------------------ for the worker that keeps it

    async def open(self, deadline: float) -> None:
        """Have the models built. Raises as `ask`, but WorkerGone, OSError and MalformedAnswer as they are."""
        self._process.listeners[self._number] = self._take
        self.built = await self._answer(_BUILT, self._request.message(self._number), deadline)

    def fail(self, failure: CheckError | MalformedAnswer) -> None:
        """From now on every ask ends with this, also those under way. The first failure stays."""
        if self._failure is not None:
            return
        self._failure = failure
        for answer in self._awaited.values():
            if not answer.done():
                answer.set_exception(failure)

    def close(self) -> None:
        """Have the worker let go of it, at once if it is busy."""
        self._process.listeners.pop(self._number, None)
        busy = self._abandoned or bool(self._awaited)
        if not self._closed:
            self._closed = True
            end = {"kind": "cancel"} if busy else {"kind": "ask", "n": self._asks + 1, "ask": "end"}
            self._process.send({"id": self._number, **end})
        self.fail(self._over())

    # ------------------------------------------------------------------ the messages

    async def _answer(self, n: int, message: Mapping[str, Any], deadline: float) -> Mapping[str, Any]:
        if self._failure is not None:
            raise self._failure
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._awaited[n] = answer
        try:
            self._process.send(message)
            await self._keeper.until(self._process, answer, self._request, deadline, lambda: self._stage)
            told = answer.result()
        except BaseException:
            self._abandoned |= not answer.done()  # the worker may still be busy with it
            raise
        finally:
            del self._awaited[n]
        if told.get("problem") is not None:
            raise AskFailed(read_problem(told["problem"], self._request.root))
        value = told.get("value")
        if not isinstance(value, dict):
            raise MalformedAnswer(f"answer {n} has neither a value nor a problem")
        return value

    def _take(self, told: Mapping[str, Any]) -> None:
        kind = told.get("kind")
        if kind == "progress":
            self._stage = redact(str(told.get("stage")))
            if self._on_stage is not None:
                self._on_stage(self._stage)
        elif kind == "answer":
            number = told.get("n")
            answer = self._awaited.get(number) if isinstance(number, int) else None
            if answer is not None and not answer.done():
                answer.set_result(told)
        elif kind == "ended":
            self._closed = True
            self.fail(self._why(told.get("problem")))

    def _over(self) -> CheckError:
        return CheckError(f"The comparison of {self._request.name} has ended.", "Begin it again.")

    def _why(self, problem: object) -> CheckError | MalformedAnswer:
        """Why the worker ended it, for whoever asks on."""
        if problem is None:
            return self._over()
        try:
            return AskFailed(read_problem(problem, self._request.root), over=True)
        except MalformedAnswer as error:
            return error
