"""Runs a request on this machine, in a process group of its own.

The child is the probe's supervisor (see `ditproof_probe/supervisor.py`). Its standard input is the
lifeline: a byte asks it to end the run, and when this process dies the kernel closes the pipe and
the supervisor ends the run by itself. Killing from here is only the last resort.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsp_server.checks.bundle import write_bundle
from lsp_server.checks.devices import CPU, VISIBLE
from lsp_server.checks.environment import child_environment
from lsp_server.checks.errors import CheckError, InterpreterError, UntrustedWorkspaceError
from lsp_server.checks.executor import Ended, RawRun
from lsp_server.checks.interpreter import check_executable
from lsp_server.checks.output import OutputTail
from lsp_server.checks.processes import MARKER, group_memory, kill_marked
from lsp_server.checks.redact import redact_record
from lsp_server.checks.requests import CheckEvent, CheckRequest, TraceOption

_GRACE = 1.5  # seconds between asking the tests to end and killing them
_LAST_RESORT = 5.0  # seconds that the supervisor has to do that
_POLL = 0.1
_MEMORY_EVERY = 0.5
_MOST_EVENTS = 2000
_MOST_RECORD_BYTES = 64 << 20


_CONVERSATION = ("traced", "held", "unheld", "answer", "released")
_SILENCE = 120.0  # seconds that the models of a test are held without a question


def _trace(option: TraceOption | None, run_dir: Path) -> dict[str, Any] | None:
    """The probe's side of the option; makes the folders. Raises OSError."""
    if option is None:
        return None
    Path(option.folder).mkdir(parents=True, exist_ok=True)
    asks = run_dir / "asks"
    asks.mkdir(exist_ok=True)
    return {
        "folder": option.folder,
        "native": {"class": option.port_class, "path": option.port_path},
        "official": list(option.official),
        "forwards": option.forwards,
        "hold": {"asks": str(asks), "silence": _SILENCE, "bytes": option.hold_bytes} if option.hold else None,
    }


@dataclass
class _Job:
    name: str
    request: CheckRequest
    run_dir: Path
    process: asyncio.subprocess.Process
    started: float
    events: asyncio.Queue[CheckEvent | None] = field(default_factory=asyncio.Queue)
    tail: OutputTail = field(default_factory=OutputTail)
    records: list[dict[str, Any]] = field(default_factory=list)
    comparisons: int = 0
    offset: int = 0
    ended: Ended = "exited"
    detail: str = ""
    stopping: bool = False
    watcher: asyncio.Task[RawRun] | None = None

    @property
    def record_file(self) -> Path:
        return self.run_dir / "records.jsonl"


class LocalExecutor:
    """The default executor. Bound to the event loop that calls it; any number of jobs at once."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}

    async def submit(self, request: CheckRequest) -> str:
        """Start a run. Raises UntrustedWorkspaceError, InterpreterError or CheckError."""
        if not request.trusted:
            raise UntrustedWorkspaceError(request.root)
        root = Path(request.root)
        if not root.is_dir():
            raise CheckError(f"{root} is not a folder.", "Open the project's folder.")
        if not (root / request.test.split("::", 1)[0]).exists():
            raise CheckError(
                f"There is no file {request.test.split('::', 1)[0]} under {root}.",
                "Save the test, or name it by its path from the project's root.",
            )
        check_executable(request.python)
        name = uuid.uuid4().hex
        run_dir = Path(tempfile.mkdtemp(prefix="ditproof-"))
        try:
            process = await self._start(request, run_dir, name)
        except OSError as error:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise InterpreterError(
                f"{request.python} does not start: {error.strerror or error}.",
                "Choose the project's interpreter in the settings (`python`).",
            ) from error
        except BaseException:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise
        job = _Job(name, request, run_dir, process, time.monotonic())
        job.watcher = asyncio.create_task(self._watch(job), name=f"parity {request.test}")
        self._jobs[name] = job
        return name

    async def events(self, job: str) -> AsyncIterator[CheckEvent]:
        """The run's signs of life, ending when it ends. Read once, by one reader."""
        queue = self._jobs[job].events
        while (event := await queue.get()) is not None:
            yield event

    async def tell(self, job: str, number: int, message: Mapping[str, Any]) -> None:
        """Give the run a numbered message. Raises CheckError where the run is gone."""
        found = self._jobs.get(job)
        try:
            if found is None:
                raise FileNotFoundError(job)
            part = found.run_dir / "asks" / f"{number}.part"
            part.write_text(json.dumps(message), encoding="utf-8")
            part.replace(part.with_suffix(".json"))  # it is read as soon as it is there
        except OSError as error:
            raise CheckError("The run has ended.", "Run it again.") from error

    async def cancel(self, job: str) -> None:
        """End the run with everything it started and forget it; returns when nothing is left."""
        found = self._jobs.get(job)
        if found is None or found.watcher is None:
            return
        self._stop(found, "cancelled", "")
        await asyncio.wait([found.watcher])
        self._jobs.pop(job, None)

    async def fetch(self, job: str) -> RawRun:
        """Wait for the end, hand over what is left, and forget the job. KeyError if it is unknown."""
        watcher = self._jobs[job].watcher
        assert watcher is not None
        try:
            # Shielded: whoever waits may be cancelled without leaving the run unwatched.
            return await asyncio.shield(watcher)
        finally:
            if watcher.done():
                self._jobs.pop(job, None)

    async def _start(self, request: CheckRequest, run_dir: Path, name: str) -> asyncio.subprocess.Process:
        bundle = write_bundle(run_dir / "bundle")
        temporary = run_dir / "tmp"
        temporary.mkdir()
        specification = run_dir / "spec.json"
        specification.write_text(
            json.dumps(
                {
                    "records": str(run_dir / "records.jsonl"),
                    "run_dir": str(run_dir),
                    "bundle": str(bundle),
                    "target": request.test,
                    "line": request.line,
                    "grace": _GRACE,
                    "trace": _trace(request.trace, run_dir),
                }
            ),
            encoding="utf-8",
        )
        environment = child_environment(request.python, request.allowed_environment)
        environment |= {
            MARKER: name,
            "PYTHONUNBUFFERED": "1",
            # A check leaves no file in the project; bytecode that is there already is still used.
            "PYTHONDONTWRITEBYTECODE": "1",
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
        }
        if request.device != CPU:
            environment[VISIBLE] = request.device
        # Compiled kernels are worth keeping; by default they would go with the temporary folder.
        kernels = Path(request.root, ".ditproof", "cache", "torchinductor")
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kernels))
        return await asyncio.create_subprocess_exec(
            # Absolute, for the child starts elsewhere; not resolved, for a link is the environment.
            str(Path(request.python).absolute()),
            str(bundle),
            str(specification),
            cwd=request.root,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )

    async def _watch(self, job: _Job) -> RawRun:
        """See the run to its end. Only this coroutine removes the run's folder."""
        reader = asyncio.create_task(self._read_output(job))
        ending = asyncio.create_task(job.process.wait())
        try:
            await self._until_ended(job, ending)
            if not any(record["kind"] == "exit" for record in job.records):
                self._kill_group(job)  # the supervisor itself was killed
            await asyncio.wait([reader], timeout=1.0)
        finally:
            reader.cancel()
            ending.cancel()
            if job.process.returncode is None:
                self._kill_group(job)
            shutil.rmtree(job.run_dir, ignore_errors=True)
            job.events.put_nowait(CheckEvent("done", job.ended))
            job.events.put_nowait(None)
        return RawRun(
            ended=job.ended,
            detail=job.detail,
            records=tuple(job.records),
            log_tail=job.tail.text(),
            seconds=time.monotonic() - job.started,
        )

    async def _until_ended(self, job: _Job, ending: asyncio.Task[int]) -> None:
        memory_due = 0.0
        stop_by: float | None = None
        while True:
            await asyncio.wait([ending], timeout=_POLL)
            # `wait` also waits for the pipes to close, which a process left over may hold open.
            ended = ending.done() or job.process.returncode is not None
            self._read_records(job)
            if ended:
                return
            now = time.monotonic()
            if job.stopping:
                stop_by = stop_by or now + _LAST_RESORT
                if now > stop_by:
                    self._kill_group(job)
            elif now - job.started > job.request.timeout:
                self._stop(job, "timeout", f"{job.request.timeout:g} s")
            elif job.request.memory_limit is not None and now >= memory_due:
                used = await asyncio.to_thread(group_memory, job.process.pid)
                memory_due = now + _MEMORY_EVERY
                if used is not None and used > job.request.memory_limit:
                    self._stop(job, "memory", f"{used / (1 << 30):.1f} GiB")

    def _stop(self, job: _Job, why: Ended, detail: str) -> None:
        """Ask the supervisor to end the run; the first reason is the one that is told."""
        if job.stopping or job.process.returncode is not None:
            return
        job.stopping, job.ended, job.detail = True, why, detail
        lifeline = job.process.stdin
        if lifeline is not None and not lifeline.is_closing():
            lifeline.write(b"c")
            lifeline.close()

    def _kill_group(self, job: _Job) -> None:
        try:
            if sys.platform == "win32":
                job.process.kill()
            else:
                # The child leads a session of its own, so its group has its number.
                os.killpg(job.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nothing is left of it
        kill_marked(job.name)

    async def _read_output(self, job: _Job) -> None:
        """Drain the pipe whatever comes, so that a test that prints megabytes is never held up."""
        assert job.process.stdout is not None
        while chunk := await job.process.stdout.read(1 << 16):
            for line in job.tail.feed(chunk):
                if job.events.qsize() < _MOST_EVENTS:
                    job.events.put_nowait(CheckEvent("output", line))

    def _read_records(self, job: _Job) -> None:
        """Take in the whole lines that were written since the last time."""
        try:
            with job.record_file.open("rb") as file:
                file.seek(job.offset)
                chunk = file.read(_MOST_RECORD_BYTES)
        except FileNotFoundError:
            return  # the child has not come that far
        end = chunk.rfind(b"\n") + 1
        job.offset += end
        for line in chunk[:end].splitlines():
            if not line.strip():
                continue
            try:
                record = redact_record(json.loads(line))
            except ValueError:
                continue  # torn off by a crash, which the `exit` record tells
            event = self._event(job, record)
            if event is None or event.kind != "answer":
                job.records.append(record)
            if event is not None and job.events.qsize() < _MOST_EVENTS * 2:
                job.events.put_nowait(event)

    def _event(self, job: _Job, record: dict[str, Any]) -> CheckEvent | None:
        kind = record.get("kind")
        if kind == "phase":
            test = record.get("test")
            return CheckEvent("phase", f"{record['phase']} {test}" if test else record["phase"], record)
        if kind == "collected":
            return CheckEvent("collected", f"{record['count']} tests", record)
        if kind == "comparison":
            job.comparisons += 1
            return CheckEvent("comparison", f"comparison {job.comparisons}: {record['name']}", record)
        if kind == "outcome":
            return CheckEvent("outcome", f"{record['outcome']} {record['test']}", record)
        if kind in _CONVERSATION:
            return CheckEvent(kind, str(record.get("message") or ""), record)
        return None
