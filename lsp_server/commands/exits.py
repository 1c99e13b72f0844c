"""How a command ends: exit codes, and errors that say what to do next."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any

import click


class ExitCode(IntEnum):
    """What the caller may conclude."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    NOT_RUN = 3
    SKIPPED = 4
    INTERRUPTED = 130
    """Ctrl-C, as shells expect it."""


class CommandError(click.ClickException):
    """The command cannot go on: `message` says why, `next_step` what the user can do."""

    def __init__(self, message: str, next_step: str, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        """Two lines on standard error."""
        from lsp_server.commands.terminal import say

        say(f"error: {self.message}", style="error")
        say(f"  next: {self.next_step}")
