"""JSON lines between the processes of the meta worker, over pipes."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]
_CHUNK = 1 << 16

# Bound before any code of the user's runs, which may put others in their place.
_encode = json.JSONEncoder(allow_nan=False).encode
_decode = json.JSONDecoder().decode
_write = os.write
_read = os.read
_select = select.select
_monotonic = time.monotonic


def as_line(message: Message) -> bytes:
    """The message on one line. Raises ValueError on a NaN or infinity."""
    return _encode(message).encode("ascii") + b"\n"


def send(descriptor: int, message: Message) -> None:
    """Write one message, on a line of its own even after one that was torn off. Raises OSError."""
    write_all(descriptor, b"\n" + as_line(message))


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, however often that takes. Raises OSError."""
    while data:
        data = data[_write(descriptor, data) :]


class Lines:
    """Whole lines out of what a pipe delivers."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without empty ones."""
        first, *others = data.split(b"\n")
        self._rest.append(first)
        for piece in others:
            line = b"".join(self._rest)
            self._rest = [piece]
            if line.strip():
                yield line


class Outgoing:
    """What is still to be written to a pipe that may be full: nobody else's silence must block the writer."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._left: deque[memoryview] = deque()

    def __bool__(self) -> bool:
        return bool(self._left)

    def add(self, data: bytes) -> None:
        """Write this when its turn comes."""
        self._left.append(memoryview(data))

    def clear(self) -> None:
        """Write none of it."""
        self._left.clear()

    def write(self, descriptor: int) -> None:
        """Write what a pipe that `select` calls writable takes without blocking. Raises OSError."""
        first = self._left.popleft()
        rest = first[_write(descriptor, first[: self._at_once]) :]
        if rest:
            self._left.appendleft(rest)


class Ear:
    """Messages from a pipe, for a process in which the user's code runs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines = Lines()
        self._heard: deque[Message] = deque()

    def hear(self, seconds: float) -> Message | None:
        """The next message; None where none comes in that time. Raises EOFError where none can come."""
        deadline = _monotonic() + seconds
        while not self._heard:
            ready, _, _ = _select([self._descriptor], [], [], max(deadline - _monotonic(), 0))
            if not ready:
                return None
            data = _read(self._descriptor, _CHUNK)
            if not data:
                raise EOFError
            self._heard.extend(_decode(line.decode("ascii")) for line in self._lines.feed(data))
        return self._heard.popleft()


class Inbox:
    """Messages from a pipe, and the news that a child ended. One for a process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines = Lines()
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the wakeup pipe is written
        signal.set_wakeup_fd(wake)
        self._wake = wake

    def wait(self) -> tuple[list[Message], bool]:
        """Wait for messages or the end of a child; (messages, whether the pipe is at its end)."""
        ready, _, _ = select.select([self._descriptor, self._woken], [], [])
        if self._woken in ready:
            os.read(self._woken, 512)
        if self._descriptor not in ready:
            return [], False
        data = os.read(self._descriptor, _CHUNK)
        return [json.loads(line) for line in self._lines.feed(data)], not data

    def leave(self) -> None:
        """In a forked child: be a process of its own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (self._descriptor, self._woken, self._wake):
            os.close(descriptor)
