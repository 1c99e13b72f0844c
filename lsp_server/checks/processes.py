"""The processes of a run, as Linux tells of them: their memory, and how to end them all."""

from __future__ import annotations

import os
import signal
from pathlib import Path

MARKER = "DITPROOF_RUN"  # every process of a run inherits this variable, even one that left the group


def group_memory(session: int) -> int | None:
    """Private resident bytes of all processes of a session; None where /proc does not tell.

    RLIMIT_AS would not do: torch reserves address space by the hundred gigabytes. File mappings
    (weights that are mapped, libraries) and shared memory do not count. Pages that a fork shares
    with its parent count twice.
    """
    proc = Path("/proc")
    if not (proc / "self" / "statm").exists():
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            # The command's name stands in parentheses and may hold spaces; count from behind it.
            fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            resident, shared = Path(entry.path, "statm").read_text().split()[1:3]
        except (OSError, ValueError, IndexError):
            continue  # ended meanwhile
        total += (int(resident) - int(shared)) * page
    return total


def kill_marked(run: str) -> None:
    """Kill what carries a run's mark and is left over; does nothing where there is no /proc.

    The probe's supervisor does this itself. Only when it was killed must it be done from outside.
    """
    mark = f"{MARKER}={run}".encode()
    proc = Path("/proc")
    if not (proc / "self" / "environ").exists():
        return
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # ended meanwhile, or another user's
