"""Watches over the process that runs pytest, and outlives nothing it started.

The supervisor is the process that the executor starts: small, single-threaded, without torch, so
that neither a crash nor a hang inside C code can keep it from its duty. It forks the worker and
waits for one of three things: the worker ends; the executor asks it to stop (a byte on the
lifeline); the executor is gone (the lifeline's end of file). In each case nothing of the run is
left: the process group is killed, and so are processes that left the group, which are recognised
by an environment variable they inherited (Linux).

The supervisor belongs to the group it kills. Its own exit status therefore says nothing; the
`exit` record does.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator

from ditproof_probe.processes import adopt_orphans, die_with, meaning
from ditproof_probe.records import RecordWriter

CANCEL = b"c"
MARKER = "DITPROOF_RUN"

_ROUNDS = 5


def supervise(
    work: Callable[[], int], writer: RecordWriter, lifeline: int, run_dir: str, grace: float
) -> None:
    """Run `work` in a forked child and see it end; never returns.

    `lifeline` is a readable descriptor; `run_dir` is removed if the executor died; `grace` is the
    time in seconds between asking the group to end and killing it.
    """
    adopt_orphans()
    executor, supervisor = os.getppid(), os.getpid()
    worker = os.fork()
    if worker == 0:
        _work(work, supervisor, lifeline)
    for quiet in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(quiet, signal.SIG_IGN)  # meant for the worker; we must see it end
    asked, status = _wait(worker, lifeline, executor)
    if asked is not None:
        status = _ask_to_end(worker, status, grace)
    writer.write_after_crash("exit", asked=asked, **_meaning(status))
    _kill_strays()
    if asked == "orphaned":
        shutil.rmtree(run_dir, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _work(work: Callable[[], int], supervisor: int, lifeline: int) -> None:
    """The child's side: never returns into the supervisor's code."""
    die_with(supervisor)
    os.close(lifeline)
    code = 70
    try:
        code = work()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        # Not sys.exit: the interpreter's shutdown can hang on what a test left behind. The records
        # are written already.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(worker: int, lifeline: int, executor: int) -> tuple[str | None, int | None]:
    """(what was asked, the worker's wait status): exactly one is not None."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the wakeup pipe is written
    signal.set_wakeup_fd(wake)
    while True:
        status = _reap(worker)
        if status is not None:
            return None, status
        ready, _, _ = select.select([lifeline, woken], [], [], 1.0)
        if woken in ready:
            os.read(woken, 512)
        if lifeline in ready:
            return ("cancel" if os.read(lifeline, 1) == CANCEL else "orphaned"), None
        # A process forked from the executor can hold the lifeline open after the executor's death.
        if os.getppid() != executor:
            return "orphaned", None


def _reap(worker: int) -> int | None:
    """Collect every ended child; the worker's status if it is among them."""
    found: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == worker:
            found = status


def _ask_to_end(worker: int, status: int | None, grace: float) -> int | None:
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while status is None and time.monotonic() < deadline:
        time.sleep(0.02)
        status = _reap(worker)
    return status


def _meaning(status: int | None) -> dict[str, object]:
    if status is None:
        return {"code": None, "signal": signal.Signals(signal.SIGKILL).name}
    code, name = meaning(status)
    return {"code": code, "signal": name}


def _kill_strays() -> None:
    """Kill processes of this run that left the group. Several rounds: they may be forking."""
    for _ in range(_ROUNDS):
        strays = list(_strays())
        if not strays:
            return
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # ended meanwhile, or no longer ours
        time.sleep(0.01)


def _strays() -> Iterator[int]:
    """Processes that carry our mark and are in another group. Linux alone can tell."""
    run = os.environ.get(MARKER)
    if not run or not os.path.isdir("/proc/self"):  # noqa: PTH112 - pathlib is slower to import
        return
    mark = f"{MARKER}={run}".encode()
    own_group = os.getpgid(0)
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            if os.getpgid(int(name)) == own_group:
                continue
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                if mark in file.read().split(b"\0"):
                    yield int(name)
        except OSError:
            continue  # ended meanwhile, or another user's
