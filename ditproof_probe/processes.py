"""What the probe needs of the operating system to leave nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 50


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, its parent, ends; Linux alone can.

    Call it first thing after the fork. Ends the process at once where the parent is gone already.
    """
    control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the signal was set


def adopt_orphans() -> None:
    """Descendants that lose their parent become children of this process. Linux alone can."""
    control(_PR_SET_CHILD_SUBREAPER, 1)


def kill_children(but: int | None = None) -> None:
    """Kill every child of this process except `but`, and what they leave behind; see `adopt_orphans`.

    In rounds, as a killed process hands its own children to this one. Reaps what it kills.
    """
    for _ in range(_ROUNDS):
        found = [pid for pid in _children() if pid != but]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError, PermissionError):
                continue  # reaped meanwhile, or no longer ours to end
        time.sleep(0.002)


def meaning(status: int) -> tuple[int | None, str | None]:
    """(exit code, name of the signal) of a wait status: exactly one is not None."""
    return meaning_of_return(os.waitstatus_to_exitcode(status))


def meaning_of_return(code: int) -> tuple[int | None, str | None]:
    """The same of `subprocess`' return code, which is negative for a signal."""
    if code >= 0:
        return code, None
    try:
        return None, signal.Signals(-code).name
    except ValueError:
        return None, f"signal {-code}"


def control(option: int, value: int) -> None:
    """prctl where there is one."""
    if not sys.platform.startswith("linux"):
        return
    try:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (OSError, AttributeError):
        pass  # a libc without prctl: the lifeline alone has to do


def _children() -> Iterator[int]:
    own = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib is slower to import
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                after_name = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(after_name[1]) == own:
            yield int(name)
