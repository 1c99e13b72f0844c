"""The meta worker where there is no fork to rely on: a fresh interpreter a request.

Every request pays for its imports (seconds). Nothing is kept, so nothing can be stale. The interpreter
of a request is this program again, with the request as the first line of its input; the end of its input
ends it, so it outlives nobody.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

from ditproof_probe import warm
from ditproof_probe.messages import Lines, Message, as_line, send, write_all
from ditproof_probe.meta_answers import (
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
from ditproof_probe.meta_levels import answer, leave
from ditproof_probe.meta_server import claim_output, empty_input
from ditproof_probe.processes import meaning_of_return
from ditproof_probe.records import VERSION

_CHUNK = 1 << 16


def serve(spec: dict[str, Any], root: str) -> int:
    """Answer requests until the input ends, or nothing is asked for `idle_seconds`."""
    return _PlainServer(spec, root).run()


def serve_once(spec: dict[str, Any], root: str) -> int:  # noqa: RET503 - `leave` does not return
    """Answer the one request on standard input; reports go out as `ditproof_probe.meta_levels` has them."""
    started = time.monotonic()
    channel, requests = claim_output(), empty_input()
    request = json.loads(_first_line(requests))
    threading.Thread(target=_end_with, args=(requests,), daemon=True).start()

    def report(kind: str, **fields: Any) -> None:
        send(channel, {"kind": kind, **fields})

    warm.set_environment()
    try:
        torch: Any = importlib.import_module("torch")
    except Exception as error:  # noqa: BLE001 - an installation may be broken in any way
        report("no-torch", id=request["id"], type=type(error).__name__, message=str(error))
        return 0
    report(
        "ready",
        python=sys.version.split()[0],
        torch=str(torch.__version__),
        seconds=round(time.monotonic() - started, 3),
    )
    _, failed = warm.import_packages(spec["code_base"], root)
    for text in failed:
        sys.stderr.write(f"not preloaded: {text}\n")
    # From here on: installed packages have bytecode of their own, and a lot of it.
    warm.keep_bytecode_in(os.path.join(spec["run_dir"], "bytecode"))  # noqa: PTH118
    answer(root, spec["code_base"], request, report)
    leave(0)  # not sys.exit: shutdown can hang on what the user's code left behind


class _PlainServer:
    def __init__(self, spec: dict[str, Any], root: str) -> None:
        self._spec, self._root = spec, root
        self._channel, self._requests = claim_output(), empty_input()
        self._events: queue.Queue[tuple[str, int, bytes]] = queue.Queue()
        self._waiting: deque[Message] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._answer: Message | None = None
        self._stage = STARTING
        self._since = 0.0
        self._said_ready = False
        self._once = Path(spec["run_dir"], "once.json")

    def run(self) -> int:
        self._once.write_text(json.dumps({**self._spec, "serve": "meta-once"}), encoding="utf-8")
        self._listen("client", 0, open(self._requests, "rb", buffering=0))  # noqa: PTH123, SIM115
        while True:
            try:
                source, number, line = self._events.get(timeout=float(self._spec["idle_seconds"]))
            except queue.Empty:
                if self._child is not None:
                    continue
                break
            if source == "client":
                if not line:
                    break
                self._receive(line)
            elif number == self._number and self._child is not None:
                self._report(line)
            if self._child is None and self._waiting:
                self._start(self._waiting.popleft())
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self._spec["run_dir"], ignore_errors=True)
        os._exit(0)  # a thread may still be reading

    def _listen(self, source: str, number: int, pipe: IO[bytes]) -> None:
        """Have a thread take every line of a pipe, and an empty one at its end. The pipe is the thread's."""

        def read() -> None:
            lines = Lines()
            with pipe:
                while data := os.read(pipe.fileno(), _CHUNK):
                    for line in lines.feed(data):
                        self._events.put((source, number, line))
            self._events.put((source, number, b""))

        threading.Thread(target=read, daemon=True).start()

    def _receive(self, line: bytes) -> None:
        try:
            message = checked(line)
        except ValueError as error:
            answer = refused(line, str(error))
            if answer is not None:
                self._say("state", **answer)
            return
        asked = message["id"]
        if message["kind"] == "state":
            self._waiting.append(message)
        elif self._answer is not None and self._answer["id"] == asked:
            self._close(at_stage(self._stage, "Cancelled", f"Request {asked} was cancelled."))
        elif any(waiting["id"] == asked for waiting in self._waiting):
            self._waiting = deque(waiting for waiting in self._waiting if waiting["id"] != asked)
            self._say("state", **cancelled_in_line(asked), seconds=0.0)

    def _start(self, request: Message) -> None:
        self._number += 1
        self._answer, self._stage, self._since = new_answer(request["id"]), STARTING, time.monotonic()
        self._say("progress", id=request["id"], stage=STARTING)
        self._child = subprocess.Popen(
            [sys.executable, self._spec["bundle"], str(self._once)],
            cwd=self._root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        self._child.stdin.flush()
        self._listen("child", self._number, self._child.stdout)

    def _report(self, line: bytes) -> None:
        assert self._answer is not None
        if not line:
            assert self._child is not None
            code, name = meaning_of_return(self._child.wait())
            self._close(ended(self._stage, code, name, "", self._root))
            return
        message = report_of(line)
        if message is None:
            return  # its writer's end is reported by itself
        kind = message["kind"]
        if kind == "ready" and not self._said_ready:
            self._said_ready = True
            self._say("ready", python=message["python"], torch=message["torch"], seconds=message["seconds"])
        elif kind == "no-torch":
            self._close(no_torch(message["type"], message["message"]))
        elif kind == "stage":
            self._stage = message["stage"]
            self._say("progress", id=message["id"], stage=self._stage)
        elif kind == "part":
            add_part(self._answer, message["name"], message["value"])
        elif kind == "done":
            self._close(None)

    def _close(self, problem: dict[str, Any] | None) -> None:
        """Say the answer, and end the process that worked on it."""
        assert self._answer is not None
        assert self._child is not None
        if problem is not None:
            add_part(self._answer, "problems", [problem])
        self._child.kill()
        self._child.wait()
        answer, self._answer, self._child = self._answer, None, None
        self._say("state", **answer, seconds=round(time.monotonic() - self._since, 3))

    def _say(self, kind: str, **fields: Any) -> None:
        write_all(self._channel, as_line({"v": VERSION, "kind": kind, **fields}))


def _first_line(descriptor: int) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        found += byte
    return found


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, _CHUNK):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
