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
from ditproof_probe.messages import Lines, Message, as_line, write_all
from ditproof_probe.meta_answers import (
    IMPORTING,
    STARTING,
    add_part,
    at_stage,
    cancelled_in_line,
    checked,
    ended,
    new_answer,
    no_torch,
    refused,
    report_of,
)
from ditproof_probe.meta_levels import Place, no_return, run_base
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
        self._waiting: deque[Message] = deque()
        self._current: Message | None = None
        self._answer: Message | None = None
        self._stage = STARTING
        self._given_again = False
        self._since = 0.0
        self._outgoing = b""
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
            ready, able, _ = select.select([self._requests, self._reports], writable, [], 0.5)
            if able:
                self._write()
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
            answer = refused(line, str(error))
            if answer is not None:
                self._say("state", **answer)
            return
        self._last_asked = time.monotonic()
        if message["kind"] == "state":
            self._waiting.append(message)
            return
        asked = message["id"]
        if self._current is not None and self._current["id"] == asked:
            if self._answer is not None:
                self._cancelled(asked)
                self._command({"cancel": asked})
        elif any(waiting["id"] == asked for waiting in self._waiting):
            self._waiting = deque(waiting for waiting in self._waiting if waiting["id"] != asked)
            self._say("state", **cancelled_in_line(asked), seconds=0.0)

    def _cancelled(self, asked: Any) -> None:
        assert self._answer is not None
        text = f"Request {asked} was cancelled."
        add_part(self._answer, "problems", [at_stage(self._stage, "Cancelled", text)])
        self._finish()

    def _say(self, kind: str, **fields: Any) -> None:
        self._outgoing += as_line({"v": VERSION, "kind": kind, **fields})

    def _write(self) -> None:
        """As much as a pipe takes without blocking: the client's silence must not make us deaf."""
        try:
            written = os.write(self._channel, self._outgoing[:_AT_ONCE])
        except OSError:
            self._end()
            return
        self._outgoing = self._outgoing[written:]

    # The processes below.

    def _start_base(self) -> None:
        own = os.getpid()
        commands, self._to_base = os.pipe()
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
        try:
            write_all(self._to_base, as_line(message))
        except BrokenPipeError:
            pass  # the base ended: `_look_after_base` sees to it

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        if self._base is None:
            self._start_base()
        request = self._waiting.popleft()
        self._current, self._answer = request, new_answer(request["id"])
        self._since, self._stage = time.monotonic(), IMPORTING if self._ready else STARTING
        self._given_again = False
        if self._ready:
            self._command({"request": request})
        else:
            self._say("progress", id=request["id"], stage=STARTING)

    def _report(self, line: bytes) -> None:
        message = report_of(line)
        if message is None:
            return  # its writer's end is reported on a line of its own
        kind = message["kind"]
        current = self._current is not None and self._current["id"] == message.get("id")
        if kind == "ready":
            self._is_ready(message)
        elif kind == "no-torch":
            self._no_torch(message)
        elif kind == "log":
            sys.stderr.write(message["text"] + "\n")
        elif not current:
            return  # of a request that was answered, as one that was cancelled
        elif kind == "ended":
            self._worker_ended(message)
        elif self._answer is None:
            return
        elif kind == "stage":
            self._stage = message["stage"]
            self._say("progress", id=message["id"], stage=self._stage)
        elif kind == "part":
            add_part(self._answer, message["name"], message["value"])
        elif kind == "done":
            self._finish()

    def _is_ready(self, message: Message) -> None:
        self._ready = True
        if not self._said_ready:
            self._said_ready = True
            self._say("ready", python=message["python"], torch=message["torch"], seconds=message["seconds"])
        if self._current is not None:
            self._command({"request": self._current})

    def _no_torch(self, message: Message) -> None:
        """Every request waiting gets the answer; the next one tries again."""
        found = no_torch(message["type"], message["message"])
        while self._current is not None or self._waiting:
            if self._current is None:
                self._current = self._waiting.popleft()
                self._answer, self._since = new_answer(self._current["id"]), time.monotonic()
            if self._answer is not None:
                add_part(self._answer, "problems", [found])
                self._finish()
            self._current = None

    def _worker_ended(self, message: Message) -> None:
        if self._answer is not None:
            add_part(self._answer, "problems", [self._end_of(message["code"], message["signal"])])
            self._finish()
        self._current = None
        kill_children(but=self._base)

    def _end_of(self, code: int | None, name: str | None) -> Problem:
        return ended(self._stage, code, name, self._place.crash_file(), self._place.root)

    def _finish(self) -> None:
        """Say the answer. The request stays the current one until its process ended."""
        assert self._answer is not None
        self._say("state", **self._answer, seconds=round(time.monotonic() - self._since, 3))
        self._answer = None

    def _look_after_base(self) -> None:
        """Called when no report is waiting, so that what a base said before it ended is known."""
        if self._base is None:
            return
        pid, status = os.waitpid(self._base, os.WNOHANG)
        if pid == 0:
            return
        os.close(self._to_base)
        self._base, self._ready = None, False
        kill_children()
        code, name = meaning(status)
        if code == meta_levels.STALE:
            self._start_base()  # the current request follows when it is ready
        elif self._answer is not None and code is None and not self._given_again:
            # Killed, maybe from outside, as when memory is short. If it happens again, it was the request.
            self._given_again, self._answer = True, new_answer(self._answer["id"])
            self._start_base()
        elif self._current is not None:
            if self._answer is not None:
                add_part(self._answer, "problems", [self._end_of(code, name)])
                self._finish()
            self._current = None

    def _end(self) -> None:
        """Leave nothing: no process, no file of the run. Never returns."""
        if self._base is not None:
            kill_children()
        shutil.rmtree(self._place.run_dir, ignore_errors=True)
        os._exit(0)
