"""Work-done progress of one run: shown where the client can, and cancelled from there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server.status import Run

if TYPE_CHECKING:
    from lsp_server.server import Server

log = logging.getLogger(__name__)


class Progress:
    """What the client shows of a run; nothing, where it shows no progress."""

    def __init__(self, server: Server, token: str | None) -> None:
        self._server = server
        self._token = token

    @classmethod
    async def begin(cls, server: Server, run: Run, cancel: Callable[[], Awaitable[Any]]) -> Progress:
        """Tells the client of a run; `cancel` is called when the user cancels it there."""
        window = server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return cls(server, None)
        progress, token = server.work_done_progress, run.id
        try:
            await progress.create_async(token)
        except JsonRpcException as error:
            log.warning("the client shows no progress: %s", error)
            return cls(server, None)
        loop = asyncio.get_running_loop()

        async def cancelling() -> None:
            await cancel()

        def cancelled(future: Any) -> None:
            if future.cancelled():
                loop.call_soon_threadsafe(lambda: server.spawn(cancelling()))

        progress.tokens[token].add_done_callback(cancelled)
        progress.begin(
            token,
            types.WorkDoneProgressBegin(title=f"ditproof: {run.title}", cancellable=True, message="starting"),
        )
        return cls(server, token)

    def report(self, message: str) -> None:
        """How far it is."""
        if self._token is not None:
            report = types.WorkDoneProgressReport(message=message, cancellable=True)
            self._server.work_done_progress.report(self._token, report)

    def end(self) -> None:
        """It is over."""
        if self._token is not None:
            self._server.work_done_progress.end(self._token, types.WorkDoneProgressEnd())
            self._server.work_done_progress.tokens.pop(self._token, None)
