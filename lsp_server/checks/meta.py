"""The server's side of the meta worker: builds a port and its official class on the meta device.

The worker is the probe (`ditproof_probe`) under the project's interpreter, in the project's root. It has
torch imported and forks a child a request, so the first answer takes seconds and each later one about one.

Invariants
----------
* Nothing is started in a workspace that is not trusted.
* One process for each root and interpreter, one request at a time; a newer request for the same port takes
  the older one's place. Nobody waits longer than the request's own limit for its turn and its answer.
* A worker that crashed is started once more for the same request; one that does not answer in time, or
  takes more memory than it may, is ended with everything that it started.
* The worker lives by its standard input: when this process dies, however it dies, the worker ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsp_server.checks.bundle import write_bundle
from lsp_server.checks.environment import child_environment
from lsp_server.checks.errors import CheckError, InterpreterError, UntrustedWorkspaceError
from lsp_server.checks.interpreter import check_executable
from lsp_server.checks.output import OutputTail
from lsp_server.checks.processes import MARKER, group_memory, kill_marked
from lsp_server.checks.redact import redact
from lsp_server.checks.state_records import (
    BuiltSide,
    StateAnswer,
    StateProblem,
    read_answer,
)
from lsp_server.checks.strict import MalformedAnswer

__all__ = (
    "BuiltSide",
    "MetaWorker",
    "OnStage",
    "PortName",
    "StateAnswer",
    "StateProblem",
    "StateRequest",
    "SupersededError",
)

DEFAULT_TIMEOUT = 120.0
"""Seconds for one request: the imports of a cold worker on a busy machine, and two models."""

DEFAULT_MEMORY = 16 << 30
"""Bytes. Meta tensors have none; a constructor that makes real ones for a model of 33 B has to be ended."""

IDLE = 900.0
"""Seconds without a request after which the worker ends by itself."""

_POLL = 0.2
_MEMORY_EVERY = 0.5
_LONGEST_END = 5.0  # seconds that the closing server waits for a worker that it has killed
_LONGEST_LINE = 64 << 20  # bytes of one answer: 33 B parameters have names of half a megabyte
_SHOWN_OF_LOG = 6  # lines

log = logging.getLogger(__name__)

_OFFICIAL_STAGE = "building the official model"  # as `ditproof_probe.meta_answers` calls it

OnStage = Callable[[str], None]
"""Told what the worker is at (`importing torch`, `building the port`)."""


class SupersededError(CheckError):
    """A newer request for the same port took this one's place."""

    def __init__(self, name: str) -> None:
        super().__init__(f"A newer check of {name} replaced this one.", "Wait for its result.")


@dataclass(frozen=True)
class PortName:
    """A port's class: its module's dotted name, its own, and its file relative to the root."""

    module: str
    cls: str
    path: str


@dataclass(frozen=True)
class StateRequest:
    """What is to be built, and where.

    `root` is absolute. `official`: `diffusers:Class`, `package.module:Class`, or
    `path/in/clone/file.py::Class`. `config`: what configures both sides, `official_config` the official
    side alone (None: `config`); without either the official class's own defaults do. `gates`: build the
    port's further configurations too. `timeout` in seconds, `memory_limit` in bytes of private memory of
    the worker and what it starts (None: no limit; only Linux can watch it).
    """

    root: str
    python: str
    trusted: bool
    code_base: str
    port: PortName | None
    official: str | None
    official_config: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    gates: bool = False
    timeout: float = DEFAULT_TIMEOUT
    memory_limit: int | None = DEFAULT_MEMORY

    @property
    def key(self) -> str:
        """What a newer request supersedes."""
        return f"{self.port.path}::{self.port.cls}" if self.port is not None else str(self.official)

    def message(self, number: int) -> dict[str, Any]:
        """The request as the worker reads it."""
        port, official = self.port, self.official
        return {
            "id": number,
            "kind": "state",
            "port": None if port is None else {"module": port.module, "class": port.cls, "path": port.path},
            "official": None if official is None else {"ref": official, "config": self.official_config},
            "config": self.config,
            "gates": self.gates,
        }


class MetaWorker:
    """The workers of one server. Bound to the event loop that calls it."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str], _Worker] = {}
        self._closed = False

    async def state(self, request: StateRequest, on_stage: OnStage | None = None) -> StateAnswer:
        """The names, shapes and rules of the two sides.

        What the user's code raises is a problem of the answer. If the caller's task is cancelled, the
        work is ended and the cancellation goes on. Raises UntrustedWorkspaceError, InterpreterError,
        SupersededError, or CheckError where the worker crashed twice, took too long or too much memory.
        """
        if not request.trusted:
            raise UntrustedWorkspaceError(request.root)
        if self._closed:
            raise CheckError("The server is closing.", "Start it again.")
        if not Path(request.root).is_dir():
            raise CheckError(f"{request.root} is not a folder.", "Open the project's folder.")
        check_executable(request.python)
        place = (request.root, request.python)
        worker = self._workers.setdefault(place, _Worker(*place, request.code_base))
        return await worker.state(request, on_stage)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that run."""
        return tuple(w.process.pid for w in self._workers.values() if w.process is not None)

    async def end(self) -> None:
        """Ends every worker for good, and waits until they are gone."""
        self._closed = True
        await asyncio.gather(*(worker.end() for worker in self._workers.values()))

    def restart(self, root: str, python: str) -> None:
        """Ends one worker; the next request starts another, which imports everything anew."""
        worker = self._workers.get((root, python))
        if worker is not None:
            worker.kill()

    def kill(self) -> None:
        """Ends every worker at once; the next request starts another."""
        for worker in self._workers.values():
            worker.kill()


class _WorkerGone(Exception):
    """The worker ended in the middle of a request; the message says how, for a person."""


@dataclass(eq=False)
class _Ticket:
    """One request that waits or is worked on."""

    task: asyncio.Task[StateAnswer]
    superseded: bool = False


@dataclass(eq=False)
class _Process:
    """One worker process with what is read from it."""

    process: asyncio.subprocess.Process
    mark: str
    run_dir: Path
    tail: OutputTail = field(default_factory=OutputTail)
    readers: list[asyncio.Task[None]] = field(default_factory=list)
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    listeners: dict[int, OnStage] = field(default_factory=dict)
    torch: str | None = None
    broken: str | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ended(self) -> bool:
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


class _Worker:
    """The one worker of a root and an interpreter, started when it is needed."""

    def __init__(self, root: str, python: str, code_base: str) -> None:
        self.root = root
        self.python = python
        self.code_base = code_base
        self.process: _Process | None = None
        self._killed: list[_Process] = []
        self._starting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._tickets: dict[str, _Ticket] = {}
        self._next = 0
        self._closed = False

    async def state(self, request: StateRequest, on_stage: OnStage | None) -> StateAnswer:
        older = self._tickets.get(request.key)
        if older is not None:
            older.superseded = True
            older.task.cancel()
        ticket = _Ticket(asyncio.create_task(self._in_turn(request, on_stage)))
        self._tickets[request.key] = ticket
        try:
            # wait, not await: whether the caller or the work was cancelled must stay two things.
            done, _ = await asyncio.wait([ticket.task], timeout=request.timeout + _POLL * 2)
            if not done:
                ticket.task.cancel()
                await asyncio.wait([ticket.task])
        except asyncio.CancelledError:
            ticket.task.cancel()
            await asyncio.wait([ticket.task])
            _heard(ticket.task)
            raise
        finally:
            if self._tickets.get(request.key) is ticket:
                del self._tickets[request.key]
        if ticket.task.cancelled():
            if ticket.superseded:
                raise SupersededError(request.key.rpartition("::")[2])
            if not self._closed:
                raise _too_long(request, "still waits for other checks")
            raise CheckError("The server is closing.", "Start it again.")
        return ticket.task.result()

    async def end(self) -> None:
        self._closed = True
        ending: list[asyncio.Future[Any]] = [ticket.task for ticket in self._tickets.values()]
        for task in ending:
            task.cancel()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        self.kill()
        for process in self._killed:
            # Their pipes must not outlive the event loop.
            ending += [asyncio.ensure_future(process.process.wait()), *process.readers]
        if ending:
            _, late = await asyncio.wait(ending, timeout=_LONGEST_END)
            for task in late:
                task.cancel()
            if late:
                log.warning("the meta worker of %s has not ended", self.root)

    def kill(self) -> None:
        process, self.process = self.process, None
        self._killed = [killed for killed in self._killed if not killed.gone]
        if process is not None:
            process.kill()
            self._killed.append(process)

    # ------------------------------------------------------------------ one request

    async def _in_turn(self, request: StateRequest, on_stage: OnStage | None) -> StateAnswer:
        deadline = time.monotonic() + request.timeout
        async with self._turn:
            return await self._asked_twice(request, on_stage, deadline)

    async def _asked_twice(
        self, request: StateRequest, on_stage: OnStage | None, deadline: float
    ) -> StateAnswer:
        ways: list[str] = []
        while True:
            process = await self._started(on_stage)
            try:
                told = await self._exchange(process, request, on_stage, deadline)
                # Thousands of entries: the loop has keystrokes to answer meanwhile.
                return await asyncio.to_thread(read_answer, told, self.root, process.torch)
            except (_WorkerGone, OSError) as error:
                ways.append(str(error) or type(error).__name__)
                tail = process.tail.text()
                self.kill()
                log.warning("the meta worker ended: %s", ways[-1])
                if len(ways) > 1:
                    raise self._crashed(ways, tail) from error
            except MalformedAnswer as error:
                self.kill()
                raise CheckError(
                    f"The worker that builds the models gave an answer that cannot be read: {error}.",
                    "Reinstall ditproof; if it stays, report it.",
                ) from error

    async def _exchange(
        self, process: _Process, request: StateRequest, on_stage: OnStage | None, deadline: float
    ) -> dict[str, Any]:
        self._next += 1
        number = self._next
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        process.waiting[number] = answer
        stages: list[str] = []

        def listen(stage: str) -> None:
            stages.append(stage)
            if on_stage is not None:
                on_stage(stage)

        process.listeners[number] = listen
        try:
            self._send(process, request.message(number))
            await self._until_answered(process, answer, request, deadline, stages)
            return answer.result()
        except asyncio.CancelledError:
            # The worker stays warm: only the child that works on this one has to go.
            self._send(process, {"id": number, "kind": "cancel"})
            raise
        finally:
            process.waiting.pop(number, None)
            process.listeners.pop(number, None)

    async def _until_answered(
        self,
        process: _Process,
        answer: asyncio.Future[dict[str, Any]],
        request: StateRequest,
        deadline: float,
        stages: Sequence[str],
    ) -> None:
        """`stages`: what the worker has said so far that it does, the last one now."""
        memory_due = 0.0
        while not answer.done():
            await asyncio.wait([answer], timeout=_POLL)
            if answer.done():
                return
            # Looked at here too: a child may hold the channel open when its parent is gone.
            if process.ended or process.broken is not None:
                await asyncio.wait(process.readers, timeout=1.0)
                if answer.done():
                    return
                raise _WorkerGone(process.how())
            now = time.monotonic()
            if now > deadline:
                self.kill()
                raise _too_long(request, "has not come", stages[-1] if stages else None)
            if request.memory_limit is not None and now >= memory_due:
                used = await asyncio.to_thread(group_memory, process.pid)
                memory_due = now + _MEMORY_EVERY
                if used is not None and used > request.memory_limit:
                    self.kill()
                    raise CheckError(
                        f"Building {request.key.rpartition('::')[2]} takes more than "
                        f"{request.memory_limit / (1 << 30):.3g} GiB of memory: a constructor makes real "
                        "tensors although the model is built on the meta device.",
                        "Make them without a device of their own, or build from a smaller configuration "
                        "(--config).",
                    )

    def _send(self, process: _Process, message: Mapping[str, Any]) -> None:
        """Without waiting until it is read: what is waited for is the answer."""
        stdin = process.process.stdin
        assert stdin is not None
        if not stdin.is_closing() and not process.ended:
            stdin.write(json.dumps(message).encode("ascii") + b"\n")

    def _crashed(self, ways: list[str], tail: str) -> CheckError:
        said = [line for line in tail.splitlines() if line.strip()][-_SHOWN_OF_LOG:]
        end = " The end of its log:\n" + "\n".join(f"  {line}" for line in said) if said else ""
        return CheckError(
            f"The worker that builds the models crashed twice under {self.python}: {ways[-1]}.{end}",
            "See whether torch and the code base import there; `ditproof doctor` shows what it has.",
        )

    # ------------------------------------------------------------------ the process

    async def _started(self, on_stage: OnStage | None) -> _Process:
        if self.process is not None and (self.process.ended or self.process.broken is not None):
            self.kill()  # it ended when it was idle: what is left of it goes
        if self.process is None:
            if on_stage is not None:
                on_stage(f"starting {self.python}")
            if self._starting is None:
                self._starting = asyncio.create_task(self._start())
                self._starting.add_done_callback(_heard)
            # A caller that gives up must not leave a process that nobody knows of.
            await asyncio.shield(self._starting)
        if self._closed or self.process is None:
            raise asyncio.CancelledError
        return self.process

    async def _start(self) -> None:
        try:
            self.process = await self._new_process()
        finally:
            self._starting = None

    async def _new_process(self) -> _Process:
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
                        "code_base": self.code_base,
                        "idle_seconds": IDLE,
                    }
                ),
                encoding="utf-8",
            )
            environment = child_environment(self.python) | {
                MARKER: mark,
                "PYTHONUNBUFFERED": "1",
                # A check leaves no file in the project; bytecode that is there already is still used.
                "PYTHONDONTWRITEBYTECODE": "1",
                **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
            }
            try:
                process = await asyncio.create_subprocess_exec(
                    # Absolute, for the child starts elsewhere; not resolved, for a link is the environment.
                    str(Path(self.python).absolute()),
                    str(bundle),
                    str(specification),
                    cwd=self.root,
                    env=environment,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    start_new_session=True,
                    limit=_LONGEST_LINE,
                )
            except OSError as error:
                raise InterpreterError(
                    f"{self.python} does not start: {error.strerror or error}.",
                    "Choose the project's interpreter in the settings (`python`).",
                ) from error
        found = _Process(process, mark, run_dir)
        found.readers = [
            asyncio.create_task(_read_answers(found)),
            asyncio.create_task(_read_log(found)),
        ]
        return found


async def _read_answers(worker: _Process) -> None:
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
        kind = told.get("kind")
        if kind == "ready":
            torch = told.get("torch")
            worker.torch = torch if isinstance(torch, str) else None
        elif kind == "progress" and isinstance(number, int) and number in worker.listeners:
            worker.listeners[number](redact(str(told.get("stage"))))
        elif kind == "state" and isinstance(number, int) and number in worker.waiting:
            answer = worker.waiting.pop(number)
            if not answer.done():
                answer.set_result(told)
        # Whatever else: an answer that nobody waits for any more.


async def _read_log(worker: _Process) -> None:
    """Drains what is printed, so that a module that prints megabytes is never held up."""
    stderr = worker.process.stderr
    assert stderr is not None
    while chunk := await stderr.read(1 << 16):
        for line in worker.tail.feed(chunk):
            log.debug("meta worker: %s", line)


def _heard(task: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is none."""
    if not task.cancelled():
        task.exception()


def _too_long(request: StateRequest, what: str, stage: str | None = None) -> CheckError:
    """`stage`: what the worker was doing, None where it had not begun."""
    doing = f", while {stage}" if stage is not None else ""
    step = "or see what its constructor does on the meta device."
    if stage == _OFFICIAL_STAGE:
        step = f"or see what the import and the constructor of {request.official} do."
    return CheckError(
        f"The answer about {request.key.rpartition('::')[2]} {what} after {request.timeout:g} s{doing}.",
        f"Try again with a longer limit (--timeout), {step}",
    )


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
