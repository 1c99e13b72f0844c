"""What the client's status item shows: `ditproof/status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lsp_server.server import Server

METHOD = "ditproof/status"


@dataclass(frozen=True)
class Run:
    """A check that is running; `id` is what `ditproof.cancel` takes. `short`: what stands before its
    messages where the two are short enough to be read in passing."""

    id: str
    title: str
    short: str | None = None


class Status:
    """A run beats indexing, indexing beats ready. Sent only when it changes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._indexing: list[str] = []
        self._runs: dict[str, tuple[Run, str]] = {}
        self._ready = ""
        self._sent: object = None

    def indexing(self, name: str) -> None:
        """A tree is being read."""
        self._indexing.append(name)
        self._send()

    def indexed(self, name: str, summary: str) -> None:
        """A tree has been read; `summary` is shown while nothing else happens."""
        if name in self._indexing:
            self._indexing.remove(name)
        self._ready = summary
        self._send()

    def running(self, run: Run, message: str) -> None:
        """A check has begun or come further."""
        self._runs[run.id] = (run, message)
        self._send()

    def ended(self, run: Run) -> None:
        """A check is over."""
        self._runs.pop(run.id, None)
        self._send()

    def _send(self) -> None:
        run = None
        if self._runs:
            # The one that began last is the one that somebody is looking at.
            current, doing = list(self._runs.values())[-1]
            run = {"id": current.id, "title": current.title, "short": current.short}
            state, message = "running", doing
        elif self._indexing:
            state, message = "indexing", f"Reading {self._indexing[-1]}"
        else:
            state, message = "ready", self._ready
        report = {"state": state, "message": message, "run": run}
        if report != self._sent:
            self._sent = report
            self._server.protocol.notify(METHOD, report)
