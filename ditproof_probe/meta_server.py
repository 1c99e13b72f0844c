"""The meta worker's server: the channel to the client, and the end of everything.

Small, without torch and without threads, so that neither a crash nor a hang in the user's code keeps it
from its duty. Below it are the processes of `ditproof_probe.meta_levels`. It ends with all of them when its
standard input ends (the client closed it, or died), when nothing was asked for `idle_seconds`, or
on SIGTERM.

Standard output belongs to the answers: it is moved to another descriptor at the start, and
standard error takes its place, so that nothing that is printed reaches the channel.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from collections import deque
from typing import Any

from ditproof_probe import meta_levels
from ditproof_probe.messages import Lines, Message, Outgoing, as_line
from ditproof_probe.meta_answers import IMPORTING, STARTING, checked, ended, no_torch, report_of
from ditproof_probe.meta_levels import Place, no_return, run_base
from ditproof_probe.meta_replies import (
    Reply,
    TinyReply,
    reply_to,
    reply_to_nonsense,
    reply_to_stray_ask,
)
from ditproof_probe.problems import Problem
from ditproof_probe.processes import adopt_orphans, die_with, kill_children, meaning
from ditproof_probe.records import VERSION

_AT_ONCE = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
_CHUNK = 1 << 16


def claim_output() -> int:
    """The channel: standard output, moved out of the reach of what prints there."""
    sys.stdout.flush()
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def empty_input() -> int:
    """The requests: standard input, which is empty from now on."""
    requests = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests


class Server:
    """See the module. `run` never returns."""

    def __init__(self, spec: dict[str, Any], root: str) -> None:
        self._channel, self._requests = claim_output(), empty_input()
        reports, self._reporting = os.pipe()
        self._reports = reports
        self._place = Place(root, spec["code_base"], spec["run_dir"], self._reporting, time.monotonic())
        self._idle = float(spec["idle_seconds"])
        self._client = os.getppid()
        self._base: int | None = None
        self._to_base = -1
        self._ready = False
        self._said_ready = False
        self._waiting: deque[Reply] = deque()
        self._current: Reply | None = None
        self._given_again = False
        self._outgoing = Outgoing(_AT_ONCE)
        self._commands = Outgoing(_AT_ONCE)
        self._last_asked = time.monotonic()

    def run(self) -> None:
        """Serve until the input ends."""
        adopt_orphans()
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        for quiet in (signal.SIGINT, signal.SIGHUP):
            signal.signal(quiet, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._start_base()
        from_client, from_below = Lines(), Lines()
        while True:
            writable = [self._channel] if self._outgoing else []
            writable += [self._to_base] if self._commands else []
            ready, able, _ = select.select([self._requests, self._reports], writable, [], 0.5)
            if self._channel in able:
                self._write()
            if self._to_base in able:
                self._write_commands()
            if self._requests in ready:
                data = os.read(self._requests, _CHUNK)
                if not data:
                    self._end()
                for line in from_client.feed(data):
                    self._receive(line)
            if self._reports in ready:
                for line in from_below.feed(os.read(self._reports, _CHUNK)):
                    self._report(line)
            else:
                self._look_after_base()
            if os.getppid() != self._client or self._is_idle():
                self._end()
            self._next()

    def _is_idle(self) -> bool:
        if self._current is not None or self._waiting or self._outgoing:
            self._last_asked = time.monotonic()
        return time.monotonic() - self._last_asked > self._idle

    # The client's side.

    def _receive(self, line: bytes) -> None:
        try:
            message = checked(line)
        except ValueError as error:
            self._say_all(reply_to_nonsense(line, str(error)))
            return
        self._last_asked = time.monotonic()
        if message["kind"] in ("state", "tiny"):
            self._waiting.append(reply_to(message))
            return
        asked = self._with_id(message["id"])
        if message["kind"] == "cancel":
            self._cancel(asked)
        elif isinstance(asked, TinyReply):
            asked.ask(message)
        else:
            self._say_all(reply_to_stray_ask(message))

    def _with_id(self, asked: Any) -> Reply | None:
        """The request of that number, where something is still to be said of it."""
        known = [*self._waiting, self._current]
        return next(
            (reply for reply in known if reply is not None and reply.id == asked and not reply.over), None
        )

    def _cancel(self, reply: Reply | None) -> None:
        if reply is None:
            return
        self._say_all(reply.cancel())
        if reply is self._current:
            self._command({"cancel": reply.id})
        else:
            self._waiting.remove(reply)

    def _say_all(self, messages: list[Message]) -> None:
        for message in messages:
            self._outgoing.add(as_line({"v": VERSION, **message}))

    def _write(self) -> None:
        try:
            self._outgoing.write(self._channel)
        except OSError:
            self._end()

    # The processes below.

    def _start_base(self) -> None:
        own = os.getpid()
        commands, self._to_base = os.pipe()
        self._commands.clear()
        self._ready = False
        pid = os.fork()
        if pid == 0:
            with no_return():
                die_with(own)
                signal.signal(signal.SIGPIPE, signal.SIG_IGN)
                for descriptor in (self._channel, self._requests, self._reports, self._to_base):
                    os.close(descriptor)
                run_base(self._place, commands)
        os.close(commands)
        self._base = pid

    def _command(self, message: Message) -> None:
        self._commands.add(as_line(message))

    def _write_commands(self) -> None:
        try:
            self._commands.write(self._to_base)
        except BrokenPipeError:
            self._commands.clear()  # the base ended: `_look_after_base` sees to it

    def _next(self) -> None:
        if isinstance(self._current, TinyReply):
            ask = self._current.next_ask()
            if ask is not None:
                self._command({"ask": ask})
        if self._current is not None or not self._waiting:
            return
        if self._base is None:
            self._start_base()
        self._current = self._waiting.popleft()
        self._current.begin(IMPORTING if self._ready else STARTING)
        self._given_again = False
        if self._ready:
            self._command({"request": self._current.request})
        else:
            self._say_all([{"kind": "progress", "id": self._current.id, "stage": STARTING}])

    def _report(self, line: bytes) -> None:
        message = report_of(line)
        if message is None:
            return  # its writer's end is reported on a line of its own
        kind = message["kind"]
        if kind == "ready":
            self._is_ready(message)
        elif kind == "no-torch":
            self._no_torch(message)
        elif kind == "log":
            sys.stderr.write(message["text"] + "\n")
        elif self._current is None or self._current.id != message.get("id"):
            return  # of a request that was answered, as one that was cancelled
        elif kind == "ended":
            self._worker_ended(message)
        else:
            self._say_all(self._current.take(message))

    def _is_ready(self, message: Message) -> None:
        self._ready = True
        if not self._said_ready:
            self._said_ready = True
            self._say_all([message])
        if self._current is not None:
            self._command({"request": self._current.request})

    def _no_torch(self, message: Message) -> None:
        """Every request waiting gets the answer; the next one tries again."""
        found = no_torch(message["type"], message["message"])
        replies = [self._current] if self._current is not None else []
        replies += self._waiting
        self._current = None
        self._waiting.clear()
        for reply in replies:
            self._say_all(reply.close(found))

    def _worker_ended(self, message: Message) -> None:
        assert self._current is not None
        self._say_all(self._current.close(self._end_of(self._current, message["code"], message["signal"])))
        # Until now it was the current one, also where all was said: its process might still have been there.
        self._current = None
        kill_children(but=self._base)

    def _end_of(self, reply: Reply, code: int | None, name: str | None) -> Problem:
        return ended(reply.stage or STARTING, code, name, self._place.crash_file(), self._place.root)

    def _look_after_base(self) -> None:
        """Called when no report is waiting, so that what a base said before it ended is known."""
        if self._base is None:
            return
        pid, status = os.waitpid(self._base, os.WNOHANG)
        if pid == 0:
            return
        os.close(self._to_base)
        self._base, self._to_base, self._ready = None, -1, False
        self._commands.clear()
        kill_children()
        code, name = meaning(status)
        current = self._current
        if code == meta_levels.STALE:
            self._start_base()  # the current request follows when it is ready
        elif current is not None and code is None and not self._given_again and current.can_begin_anew:
            # Killed, maybe from outside, as when memory is short. If it happens again, it was the request.
            self._given_again = True
            current.begin_anew()
            self._start_base()
        elif current is not None:
            self._say_all(current.close(self._end_of(current, code, name)))
            self._current = None

    def _end(self) -> None:
        """Leave nothing: no process, no file of the run. Never returns."""
        if self._base is not None:
            kill_children()
        shutil.rmtree(self._place.run_dir, ignore_errors=True)
        os._exit(0)
