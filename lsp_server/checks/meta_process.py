"""The process of a meta worker: how it is started, read and ended."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsp_server.checks.bundle import write_bundle
from lsp_server.checks.environment import child_environment
from lsp_server.checks.errors import InterpreterError
from lsp_server.checks.output import OutputTail
from lsp_server.checks.processes import MARKER, kill_marked

IDLE = 900.0
"""Seconds without a request after which the worker ends by itself."""

_LONGEST_LINE = 64 << 20  # bytes of one answer: 33 B parameters have names of half a megabyte

log = logging.getLogger(__name__)

Listener = Callable[[Mapping[str, Any]], None]


class WorkerGone(Exception):
    """The worker ended in the middle of a request; the message says how, for a person."""


@dataclass(eq=False)
class WorkerProcess:
    """One worker process with what is read from it.

    `listeners`: who is told every message of a request, by its number. `torch`: its version, once known.
    `broken`: what it wrote that no worker writes.
    """

    process: asyncio.subprocess.Process
    mark: str
    run_dir: Path
    tail: OutputTail = field(default_factory=OutputTail)
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    listeners: dict[int, Listener] = field(default_factory=dict)
    torch: str | None = None
    broken: str | None = None

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self.process.returncode is not None

    @property
    def gone(self) -> bool:
        """Whether it has ended, and all that it wrote has been read."""
        return self.ended and all(reader.done() for reader in self.readers)

    def how(self) -> str:
        """How it ended, for a person."""
        code = self.process.returncode
        if self.broken is not None:
            return self.broken
        if code is not None and code < 0:
            return f"it was ended by signal {-code}{_signal_name(-code)}"
        return "it ended by itself" if code is None else f"it exited with {code}"

    def kill(self) -> None:
        """Ends it with everything that it started."""
        if not self.ended:  # afterwards its number may be another's
            try:
                if sys.platform == "win32":
                    self.process.kill()
                else:
                    # It leads a session of its own, so its group has its number.
                    os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # nothing is left of it
        kill_marked(self.mark)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def send(self, message: Mapping[str, Any]) -> None:
        """Without waiting until it is read: what is waited for is the answer."""
        stdin = self.process.stdin
        assert stdin is not None
        if not stdin.is_closing() and not self.ended:
            stdin.write(json.dumps(message, allow_nan=False).encode("ascii") + b"\n")


async def start_worker(root: str, python: str, code_base: str) -> WorkerProcess:
    """Start one in the root. Raises InterpreterError where the interpreter does not start."""
    mark = uuid.uuid4().hex
    run_dir = Path(tempfile.mkdtemp(prefix="ditproof-"))
    with _removed_on_failure(run_dir):
        bundle = write_bundle(run_dir / "bundle")
        temporary = run_dir / "tmp"
        temporary.mkdir()
        specification = run_dir / "spec.json"
        specification.write_text(
            json.dumps(
                {
                    "serve": "meta",
                    "bundle": str(bundle),
                    "run_dir": str(run_dir),
                    "code_base": code_base,
                    "idle_seconds": IDLE,
                }
            ),
            encoding="utf-8",
        )
        environment = child_environment(python) | {
            MARKER: mark,
            "PYTHONUNBUFFERED": "1",
            # A check leaves no file in the project; bytecode that is there already is still used.
            "PYTHONDONTWRITEBYTECODE": "1",
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                # Absolute, for the child starts elsewhere; not resolved, for a link is the environment.
                str(Path(python).absolute()),
                str(bundle),
                str(specification),
                cwd=root,
                env=environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise InterpreterError(
                f"{python} does not start: {error.strerror or error}.",
                "Choose the project's interpreter in the settings (`python`).",
            ) from error
    found = WorkerProcess(process, mark, run_dir)
    found.readers = [
        asyncio.create_task(_read_answers(found)),
        asyncio.create_task(_read_log(found)),
    ]
    return found


async def _read_answers(worker: WorkerProcess) -> None:
    """Hands every line to whom it belongs, until the channel ends; says when it is broken."""
    stdout = worker.process.stdout
    assert stdout is not None
    while True:
        try:
            line = await stdout.readline()
        except ValueError:
            worker.broken = f"it wrote a line of more than {_LONGEST_LINE >> 20} MiB"
            return
        if not line:
            return
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            worker.broken = "it wrote a line that is no answer"
            return
        number = told.get("id")
        if told.get("kind") == "ready":
            torch = told.get("torch")
            worker.torch = torch if isinstance(torch, str) else None
        elif isinstance(number, int) and number in worker.listeners:
            worker.listeners[number](told)
        # Whatever else: an answer that nobody waits for any more.


async def _read_log(worker: WorkerProcess) -> None:
    """Drains what is printed, so that a module that prints megabytes is never held up."""
    stderr = worker.process.stderr
    assert stderr is not None
    while chunk := await stderr.read(1 << 16):
        for line in worker.tail.feed(chunk):
            log.debug("meta worker: %s", line)


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
