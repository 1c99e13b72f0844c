"""What runs a request: here or on a cluster, with the same probe and the same records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from lsp_server.checks.requests import CheckEvent, CheckRequest

Ended = Literal["exited", "cancelled", "timeout", "memory", "not-started"]


@dataclass(frozen=True)
class RawRun:
    """What is left of a run: its records (redacted), and how it came to its end.

    `detail` belongs to `ended`: the limit that was passed, or why the child did not start.
    `log_tail` is the end of what the child printed, redacted.
    """

    ended: Ended
    detail: str
    records: tuple[Mapping[str, Any], ...]
    log_tail: str
    seconds: float


class Executor(Protocol):
    """Runs requests. A job is named by the string that `submit` returns."""

    async def submit(self, request: CheckRequest) -> str:
        """Start a run. Raises UntrustedWorkspaceError, InterpreterError or CheckError."""
        ...

    def events(self, job: str) -> AsyncIterator[CheckEvent]:
        """The run's signs of life, ending when it ends. Read once, by one reader."""
        ...

    async def tell(self, job: str, number: int, message: Mapping[str, Any]) -> None:
        """Give the run a numbered message, where it waits for one. Raises CheckError where it cannot be
        given."""
        ...

    async def cancel(self, job: str) -> None:
        """End the run with everything it started and forget it; returns when nothing is left.

        Idempotent. Whoever is waiting in `fetch` gets the run as `cancelled`.
        """
        ...

    async def fetch(self, job: str) -> RawRun:
        """Wait for the end, hand over what is left, and forget the job. KeyError if it is unknown."""
        ...
