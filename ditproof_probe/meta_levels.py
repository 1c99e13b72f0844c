"""The processes below the meta worker's server: base, zygote and one child a request.

Commands come down a pipe, one line each: `{"request": {...}}`, `{"ask": {...}}` (for the child; only when it
listens) or `{"cancel": id}`; the end of the pipe means that the level above is gone. Reports go up one pipe
that all levels share (`ditproof_probe.messages`):

==========  ====================================================================================
`ready`     torch is imported: python, torch, seconds
`stage`     id, stage
`part`      id, name, value: a field of the answer
`answer`    id, n, value or problem: of a conversation, to what was asked as number n
`done`      id: the child has reported all; problem: why a conversation ended, where nobody asked for its end
`ended`     id, level (`base`, `zygote`, `child`), code or signal: what worked on the request ended
`log`       text
==========  ====================================================================================

Only one request is worked on at a time; the server keeps the others. Each level dies with the one above.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ditproof_probe import warm
from ditproof_probe.messages import Ear, Inbox, Message, send
from ditproof_probe.processes import die_with, meaning

STALE = 87
"""Exit status of a level whose files changed: it is to be made anew, and the request given again."""

NO_TORCH = 88
"""Exit status of a base that could not import torch; it has said why."""

COMPILED = 89
"""Exit status of a child that has answered, and needed what `torch.compile` imports: others may, too."""

_exit = os._exit


def leave(status: int) -> NoReturn:
    """End this process at once, also where the user's code has put another function in `os._exit`'s place: a
    child that ran on would run in its parent's code."""
    _exit(status)


@dataclass(frozen=True)
class Place:
    """Where the worker works: the project's root, its code base, a folder of its own, the way up; and what of
    the user's environment is replaced (`warm.set_environment`)."""

    root: str
    code_base: str
    run_dir: str
    reports: int
    started: float
    hidden: Mapping[str, str | None] = field(default_factory=dict)

    def report(self, kind: str, **fields: Any) -> None:
        """Send a report up. Raises OSError where the server is gone."""
        send(self.reports, {"kind": kind, **fields})

    def crash_file(self) -> str:
        """Where a child that gets a fatal signal leaves its stack."""
        return os.path.join(self.run_dir, "crash.txt")  # noqa: PTH118


def run_base(place: Place, commands: int) -> None:
    """The base's life: import, then hand requests to a zygote. Never returns."""
    for quiet in (signal.SIGINT, signal.SIGHUP):
        signal.signal(quiet, signal.SIG_IGN)  # meant for the client, which then closes our input
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    place = replace(place, hidden=warm.set_environment())
    try:
        kept, failed = warm.import_packages(place.code_base, place.root)
        import torch
    except Exception as error:  # noqa: BLE001 - an installation may be broken in any way
        place.report("no-torch", type=type(error).__name__, message=str(error))
        leave(NO_TORCH)
    for text in failed:
        place.report("log", text=f"not preloaded: {text}")
    place.report(
        "ready",
        python=sys.version.split()[0],
        torch=str(torch.__version__),
        seconds=round(time.monotonic() - place.started, 3),
    )
    folders = warm.package_folders(but=(place.root, os.path.dirname(os.path.dirname(__file__))))  # noqa: PTH120
    watch = warm.Watch.now(warm.module_files() | folders)
    _Base(place, Inbox(commands), watch, kept).run()


class _Base:
    def __init__(self, place: Place, inbox: Inbox, watch: warm.Watch, kept: list[Any]) -> None:
        self._place = place
        self._inbox = inbox
        self._watch = watch
        self._kept = kept
        self._zygote: int | None = None
        self._to_zygote = -1
        self._request: Message | None = None
        self._cancelled = False

    def run(self) -> None:
        self._fork_zygote()
        while True:
            messages, at_end = self._inbox.wait()
            self._reap()
            for message in messages:
                if "request" in message:
                    self._take(message)
                elif "ask" in message:
                    if message["ask"]["id"] == self._current():
                        self._hand_down(message)
                elif message["cancel"] == self._current():
                    self._cancel()
            if at_end:
                leave(0)

    def _current(self) -> Any:
        return None if self._request is None else self._request["request"]["id"]

    def _take(self, message: Message) -> None:
        if self._watch.changed():
            leave(STALE)  # the server gives the request to the next base
        self._request, self._cancelled = message, False
        if self._zygote is None:
            self._fork_zygote()
        self._hand_down(message)

    def _hand_down(self, message: Message) -> None:
        try:
            send(self._to_zygote, message)
        except BrokenPipeError:
            pass  # it ended just now: the signal of its end follows, and it is made anew

    def _cancel(self) -> None:
        """End the zygote, and with it the child. A new one takes a fraction of a second."""
        self._cancelled = True
        if self._zygote is not None:
            os.kill(self._zygote, signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._zygote:
                self._zygote_ended(status)

    def _zygote_ended(self, status: int) -> None:
        os.close(self._to_zygote)
        self._zygote = None
        code, name = meaning(status)
        if code == STALE and self._request is not None and not self._cancelled:
            self._fork_zygote()
            self._hand_down(self._request)
            return
        if self._request is not None:
            self._place.report(
                "ended", id=self._request["request"]["id"], level="zygote", code=code, signal=name
            )
            self._request = None
        if self._cancelled:
            self._cancelled = False
            self._fork_zygote()

    def _fork_zygote(self) -> None:
        _say_threads(self._place, "base")
        own = os.getpid()
        commands, self._to_zygote = os.pipe()
        pid = os.fork()
        if pid == 0:
            with no_return():
                die_with(own)
                os.close(self._to_zygote)
                self._inbox.leave()
                _run_zygote(self._place, commands)
        os.close(commands)
        self._zygote = pid


def _run_zygote(place: Place, commands: int) -> None:
    """The zygote's life: import what is common, then fork a child for each request. Never returns."""
    imported = warm.keep_bytecode_in(os.path.join(place.run_dir, "bytecode"))  # noqa: PTH118
    failed = warm.import_common(place.code_base, place.root)
    for text in failed:
        place.report("log", text=f"not preloaded: {text}")
    # The folders too: a module may have looked for one that was not there, and done without.
    watch = warm.Watch({**imported, **warm.Watch.now(warm.folders_of(imported)).marks})
    inbox = Inbox(commands)
    child: int | None = None
    to_child = -1
    request: Message | None = None
    while True:
        messages, at_end = inbox.wait()
        if child is not None and request is not None:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid == child:
                code, name = meaning(status)
                compiled = code == COMPILED
                code = 0 if compiled else code
                place.report("ended", id=request["id"], level="child", code=code, signal=name)
                child = None
                os.close(to_child)
                if compiled and not warm.compiler_is_here():
                    # The answer is out. The next request would wait as long for the same import.
                    failure = warm.import_compiler()
                    place.report("log", text=failure or "preloaded what torch.compile needs")
        for message in messages:
            if "ask" in message:
                if child is not None:
                    with contextlib.suppress(BrokenPipeError):  # it ended just now: that is reported next
                        send(to_child, message["ask"])
                continue
            if watch.changed():
                leave(STALE)
            request = message["request"]
            _say_threads(place, "zygote")
            child, to_child = _fork_child(place, inbox, request)
        if at_end:
            leave(0)


def _fork_child(place: Place, inbox: Inbox, request: Message) -> tuple[int, int]:
    """The child that works on a request, and the pipe to what it hears."""
    own = os.getpid()
    asks, to_child = os.pipe()
    gc.freeze()  # the child's collections then leave alone what the zygote holds: half a million objects
    pid = os.fork()
    if pid != 0:
        os.close(asks)
        return pid, to_child
    with no_return():
        die_with(own)
        inbox.leave()
        os.close(to_child)
        for default in (signal.SIGINT, signal.SIGHUP):
            signal.signal(default, signal.SIG_DFL)
        with open(place.crash_file(), "w", encoding="utf-8") as crash:  # noqa: PTH123
            faulthandler.enable(crash)
            compiler = warm.compiler_is_here()
            work(place.root, place.code_base, request, place.report, Ear(asks).hear, place.hidden)
            # Not sys.exit: shutdown can hang on what the user's code left behind.
            leave(COMPILED if warm.compiler_is_here() and not compiler else 0)


@contextlib.contextmanager
def no_return() -> Iterator[None]:
    """In a forked process: never let an exception of ours run on in the parent's code."""
    try:
        yield
    except BaseException:  # noqa: BLE001 - printed, and the exit status says it
        traceback.print_exc()
    finally:
        leave(70)


Hear = Callable[[float], "Message | None"]
"""The next message from the client: within so many seconds, or None."""


def work(
    root: str,
    code_base: str,
    request: Message,
    report: Callable[..., None],
    hear: Hear,
    hidden: Mapping[str, str | None],
) -> None:
    """Work on one request and report all that there is to say of it.

    `hidden`: the environment that `warm.set_environment` replaced.
    """
    if request["kind"] == "tiny":
        if request["device"] != "cpu":
            warm.show_devices(hidden)
        _converse(root, code_base, request, report, hear)
    else:
        _answer(root, code_base, request, report)
    sys.stdout.flush()  # last: whatever the user's code has put in its place may fail
    sys.stderr.flush()


def _answer(root: str, code_base: str, request: Message, report: Callable[..., None]) -> None:
    from ditproof_probe.meta_request import Report, answer

    def part(name: str, value: Any) -> None:
        report("part", id=request["id"], name=name, value=value)

    def stage(text: str) -> None:
        report("stage", id=request["id"], stage=text)

    answer(request, root, code_base, Report(part, stage))
    report("done", id=request["id"])


def _converse(root: str, code_base: str, request: Message, report: Callable[..., None], hear: Hear) -> None:
    from ditproof_probe.tiny import session

    def say(kind: str, **fields: Any) -> None:
        report(kind, id=request["id"], **fields)

    def next_ask() -> Message | None:
        try:
            return hear(session.SILENCE)
        except EOFError:
            leave(1)  # the level above is gone, and whoever sees to its end says so

    session.hold(request, root, code_base, say, next_ask)


def _say_threads(place: Place, level: str) -> None:
    """A fork copies one thread; a lock that another held stays locked in the child."""
    if warm.threads() > 1:
        place.report("log", text=f"the {level} has {warm.threads()} threads before it forks")
