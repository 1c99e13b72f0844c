"""The meta worker where there is no fork to rely on: a fresh interpreter a request.

Every request pays for its imports (seconds). Nothing is kept, so nothing can be stale. The interpreter
of a request is this program again, with the request as the first line of its input and what is asked in a
conversation as the next ones; the end of its input ends it, so it outlives nobody.
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
from functools import partial
from pathlib import Path
from typing import IO, Any

from ditproof_probe import warm
from ditproof_probe.messages import Lines, Message, as_line, send, write_all
from ditproof_probe.meta_answers import STARTING, checked, ended, no_torch, report_of
from ditproof_probe.meta_levels import leave, work
from ditproof_probe.meta_replies import (
    Reply,
    TinyReply,
    reply_to,
    reply_to_nonsense,
    reply_to_stray_ask,
)
from ditproof_probe.meta_server import claim_output, empty_input
from ditproof_probe.problems import Problem
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
    heard: queue.Queue[Message] = queue.Queue()
    threading.Thread(target=_listen_until_the_end, args=(requests, heard), daemon=True).start()
    request = heard.get()

    def report(kind: str, **fields: Any) -> None:
        send(channel, {"kind": kind, **fields})

    hidden = warm.set_environment()
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
    work(root, spec["code_base"], request, report, partial(_next_of, heard), hidden)
    leave(0)  # not sys.exit: shutdown can hang on what the user's code left behind


class _PlainServer:
    def __init__(self, spec: dict[str, Any], root: str) -> None:
        self._spec, self._root = spec, root
        self._channel, self._requests = claim_output(), empty_input()
        self._events: queue.Queue[tuple[str, int, bytes]] = queue.Queue()
        self._waiting: deque[Reply] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._number = 0
        self._reply: Reply | None = None
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
            if isinstance(self._reply, TinyReply):
                self._hand_down(self._reply.next_ask())
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
            self._say_all(reply_to_nonsense(line, str(error)))
            return
        if message["kind"] in ("state", "tiny"):
            self._waiting.append(reply_to(message))
            return
        known = [*self._waiting, *([self._reply] if self._reply is not None else [])]
        asked = next((reply for reply in known if reply.id == message["id"]), None)
        if message["kind"] == "ask":
            if isinstance(asked, TinyReply):
                asked.ask(message)
            else:
                self._say_all(reply_to_stray_ask(message))
        elif asked is not None:
            self._say_all(asked.cancel())
            if asked is self._reply:
                self._end_child()
            else:
                self._waiting.remove(asked)

    def _start(self, reply: Reply) -> None:
        self._number += 1
        self._reply = reply
        reply.begin(STARTING)
        self._say_all([{"kind": "progress", "id": reply.id, "stage": STARTING}])
        self._child = subprocess.Popen(
            [sys.executable, self._spec["bundle"], str(self._once)],
            cwd=self._root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdout is not None
        self._hand_down(reply.request)
        self._listen("child", self._number, self._child.stdout)

    def _hand_down(self, message: Message | None) -> None:
        if message is None or self._child is None:
            return
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(as_line(message))
            self._child.stdin.flush()
        except OSError:
            pass  # it ended just now: the end of its output says so

    def _report(self, line: bytes) -> None:
        assert self._reply is not None
        if not line:
            assert self._child is not None
            code, name = meaning_of_return(self._child.wait())
            self._close(ended(self._reply.stage or STARTING, code, name, "", self._root))
            return
        message = report_of(line)
        if message is None:
            return  # its writer's end is reported by itself
        if message["kind"] == "ready":
            if not self._said_ready:
                self._said_ready = True
                self._say_all([message])
        elif message["kind"] == "no-torch":
            self._close(no_torch(message["type"], message["message"]))
        elif message.get("id") == self._reply.id:
            self._say_all(self._reply.take(message))
            if self._reply.over:
                self._end_child()

    def _close(self, problem: Problem) -> None:
        assert self._reply is not None
        self._say_all(self._reply.close(problem))
        self._end_child()

    def _end_child(self) -> None:
        assert self._child is not None
        self._child.kill()
        self._child.wait()
        assert self._child.stdin is not None
        try:
            self._child.stdin.close()
        except OSError:
            pass  # what it has not read is not read any more
        self._reply, self._child = None, None

    def _say_all(self, messages: list[Message]) -> None:
        for message in messages:
            write_all(self._channel, as_line({"v": VERSION, **message}))


def _listen_until_the_end(descriptor: int, heard: queue.Queue[Message]) -> None:
    lines = Lines()
    while data := os.read(descriptor, _CHUNK):
        for line in lines.feed(data):
            heard.put(json.loads(line))
    os.kill(os.getpid(), signal.SIGTERM)


def _next_of(heard: queue.Queue[Message], seconds: float) -> Message | None:
    try:
        return heard.get(timeout=seconds)
    except queue.Empty:
        return None
