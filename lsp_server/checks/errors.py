"""What can go wrong before a check runs: always with what to do next."""

from __future__ import annotations


class CheckError(Exception):
    """A check cannot run. `reason` says why, `next_step` what the user can do about it."""

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(f"{reason} {next_step}")
        self.reason = reason
        self.next_step = next_step


class UntrustedWorkspaceError(CheckError):
    """The workspace is not trusted; a check would execute its code."""

    def __init__(self, root: str) -> None:
        super().__init__(
            f"{root} is not trusted, and this check executes its code.",
            "Trust the workspace in the editor, or run the check from the command line.",
        )


class InterpreterError(CheckError):
    """The project's interpreter is missing, broken, or lacks what a check needs."""
