"""Parity runs from the editor: the command, its progress, its cancellation, and what it leaves."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.facts.model import FileFacts
from analyzers.findings import Location
from lsp_server.checks.errors import CheckError
from lsp_server.checks.findings import findings_of
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.queue import CheckQueue
from lsp_server.checks.requests import CheckEvent, CheckRequest, CheckResult
from lsp_server.checks.run import could_not_start
from lsp_server.documents import uri_of
from lsp_server.features.named import INVALID_PARAMS, REQUEST_FAILED, file_named, tree_with
from lsp_server.features.progress import Progress
from lsp_server.plain import as_mapping
from lsp_server.session import Session
from lsp_server.status import Run
from lsp_server.verdicts import Verdict

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

PARITY = "ditproof.parity"
CANCEL = "ditproof.cancel"
VERDICT_METHOD = "ditproof/verdict"
_REPORT_EVERY = 0.1
_UNTRUSTED = "A parity run executes the workspace's code: trust the workspace in the editor first."


@dataclass(frozen=True)
class Target:
    """What to run (a file, or one test of it, as a node id), and the port that it is about."""

    test: str
    port: str | None
    port_class: Location | None
    texts: Mapping[str, str]


def register(server: Server) -> None:
    """Adds the commands."""

    @server.command(PARITY)
    async def parity(arguments: list[Any]) -> dict[str, Any]:
        return await server.runs.run(arguments[0] if arguments else None)

    @server.command(CANCEL)
    async def cancel(arguments: list[Any]) -> int:
        wanted = arguments[0] if arguments else None
        run = (as_mapping(wanted) or {"id": wanted}).get("id")
        if run is None:
            ended = await server.runs.cancel_all() + await server.weights.cancel_all()
            return ended + server.traces.cancel_all()
        ended = await server.runs.cancel(str(run)) + await server.weights.cancel(str(run))
        return ended + server.traces.cancel(str(run))


class ParityRuns:
    """The runs of this session, one at a time on each device."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queue = CheckQueue(LocalExecutor())
        self._running: dict[str, str] = {}

    async def run(self, argument: Any) -> dict[str, Any]:
        """Runs what a command's argument names and tells the verdict.

        Raises `JsonRpcException` where the workspace is not trusted or there is nothing to run.
        """
        if not self._server.settings.trusted:
            raise JsonRpcException(_UNTRUSTED, REQUEST_FAILED)
        tree, target = await self._target(argument)
        request = CheckRequest(str(tree.root), "", target.test, trusted=True, port=target.port)
        try:
            found = await asyncio.to_thread(find_interpreter, tree.root, self._server.settings.python)
        except CheckError as error:
            return self._settle(tree, target, could_not_start(request, error))
        request = replace(request, python=found.path)
        run = Run(uuid.uuid4().hex, f"parity of {target.test.rpartition('/')[2]}")
        progress = await Progress.begin(self._server, run, lambda: self._queue.cancel(request.key))
        self._running[run.id] = request.key
        try:
            self._server.status.running(run, "starting")
            result = await self._result(request, run, progress)
        finally:
            self._running.pop(run.id, None)
            progress.end()
            self._server.status.ended(run)
        return self._settle(tree, target, result)

    async def cancel(self, run: str) -> int:
        """Ends one run; how many were ended."""
        key = self._running.get(run)
        return await self._queue.cancel(key) if key is not None else 0

    async def cancel_all(self) -> int:
        """Ends every run; how many were ended."""
        return await self._queue.cancel()

    # ------------------------------------------------------------------ what to run

    async def _target(self, argument: Any) -> tuple[Tree, Target]:
        given = as_mapping(argument) or {}
        uri, test, line = given.get("uri"), given.get("test"), given.get("line")
        if isinstance(uri, str):
            tree, path = file_named(self._server, uri)
            node = None
        elif isinstance(test, str):
            path, _, node = test.partition("::")
            tree = tree_with(self._server, path)
            line = None
        else:
            raise JsonRpcException('expected {"uri", "line"} or {"test": "path::name"}', INVALID_PARAMS)

        def find(session: Session) -> Target | None:
            at = line if isinstance(line, int) else None
            port = session.port_of_test(path)
            file, name = path, node
            if not session.profile.is_test(path):
                port = session.port_at(path, at)
                if port is None or not port.parity_tests:
                    return None
                file = port.parity_tests[0]
            elif at is not None:
                facts = session.project.file(path)
                name = _test_at(facts, at) if facts is not None else None
            involved = dict.fromkeys([file, *([port.location.path] if port else ())])
            return Target(
                test=f"{file}::{name}" if name else file,
                port=port.name if port else None,
                port_class=port.location if port else None,
                texts={p: text for p in involved if (text := _on_disk(session.root / p)) is not None},
            )

        target = await tree.ask(find)
        if target is None:
            raise JsonRpcException(f"no parity test names the port in {path}", REQUEST_FAILED)
        return tree, target

    # ------------------------------------------------------------------ the run

    async def _result(self, request: CheckRequest, run: Run, progress: Progress) -> CheckResult:
        told = 0.0

        def on_event(event: CheckEvent) -> None:
            nonlocal told
            if event.kind == "output" or time.monotonic() - told < _REPORT_EVERY:
                return
            told = time.monotonic()
            self._server.status.running(run, event.message)
            progress.report(event.message)

        return await self._queue.submit(request, on_event)

    # ------------------------------------------------------------------ the verdict

    def _settle(self, tree: Tree, target: Target, result: CheckResult) -> dict[str, Any]:
        if result.status != "cancelled":
            findings = tuple(findings_of(result, target.port_class))
            self._server.verdicts.put(Verdict(tree.root, target.test, findings, target.texts))
            self._server.diagnoser.schedule(tree)
        answer = verdict_json(target, result)
        uri = self._server.uris_of(tree).get(target.test.partition("::")[0])
        self._server.protocol.notify(
            VERDICT_METHOD, {**answer, "uri": uri or uri_of(tree.root, target.test.partition("::")[0])}
        )
        if result.status in ("failed", "error") and result.log_tail:
            self._server.tell(f"{target.test}: {result.reason}\n{result.log_tail}", types.MessageType.Log)
        return answer


def verdict_json(target: Target, result: CheckResult) -> dict[str, Any]:
    """What `ditproof.parity` answers: the part of the command line's JSON that an editor shows."""
    whole = result.to_json()
    reason = " ".join(part for part in (result.reason, result.next_step) if part)
    return {
        "port": target.port,
        "test": target.test,
        "tier": whole["tier"],
        "status": whole["status"],
        "reason": reason or None,
        "outputs": whole["outputs"],
        "seconds": whole["seconds"],
    }


def _test_at(facts: FileFacts, line: int) -> str | None:
    """The node of the test that a line (from 0) belongs to, None between tests."""
    for cls, function in facts.all_functions():
        span = function.at(function.fact.span).span
        if span.line <= line <= span.end_line and function.fact.name.startswith("test"):
            return f"{cls.fact.name}::{function.fact.name}" if cls is not None else function.fact.name
    return None


def _on_disk(file: Path) -> str | None:
    """What a run reads, whatever an editor holds unsaved."""
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
