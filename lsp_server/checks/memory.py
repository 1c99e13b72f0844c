"""How much memory a run uses.

RLIMIT_AS does not fit: torch reserves address space by the hundred gigabytes. So the private
memory that is in use is watched instead.
"""

from __future__ import annotations

import os
from pathlib import Path


def group_memory(session: int) -> int | None:
    """Private resident bytes of all processes of a session; None where /proc does not tell.

    File mappings (weights that are mapped, libraries) and shared memory do not count. Pages that a
    fork shares with its parent count twice.
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
