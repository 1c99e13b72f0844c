"""Parity runs from the editor: the command, its progress, its cancellation, and what it leaves."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.findings import Finding
from lsp_server.checks.devices import chosen_device
from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.kept_findings import findings_from_json
from lsp_server.checks.evidence.making import evidence_of_parity, parity_asked
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import fitting
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.checks.findings import findings_of
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.margins import margins
from lsp_server.checks.queue import CheckQueue
from lsp_server.checks.requests import CheckEvent, CheckRequest, CheckResult
from lsp_server.checks.run import could_not_start
from lsp_server.documents import uri_of
from lsp_server.features.keeping import keep
from lsp_server.features.named import INVALID_PARAMS, REQUEST_FAILED, file_named, tree_with
from lsp_server.features.progress import Progress
from lsp_server.parity_targets import Target, targets_at, texts_on_disk
from lsp_server.plain import as_mapping
from lsp_server.status import Run
from lsp_server.verdicts import Verdict

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

PARITY = "ditproof.parity"
CANCEL = "ditproof.cancel"
VERDICT_METHOD = "ditproof/verdict"
_REPORT_EVERY = 0.1
_FIRST = ("failed", "passed", "error", "skipped", "cancelled")
_WORDS = {
    "failed": "failed",
    "passed": "passed",
    "error": "could not run",
    "skipped": "skipped",
    "cancelled": "cancelled",
}
_UNTRUSTED = "A parity run executes the workspace's code: trust the workspace in the editor first."


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
            server.saves.forget()
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
        """Runs what a command's argument names and tells the verdict, whatever is known of it. A port stands
        for its tests, one after the other; their answers are under `runs`.

        Raises `JsonRpcException` where the workspace is not trusted or there is nothing to run.
        """
        if not self._server.settings.trusted:
            raise JsonRpcException(_UNTRUSTED, REQUEST_FAILED)
        tree, targets = await self._targets(argument)
        answers = []
        for target in targets:
            answers.append(await self.verdict_on(tree, target))
            if answers[-1]["status"] == "cancelled":
                break
        self._server.saves.look(tree)
        if len(answers) == 1:
            return answers[0]
        self.tell_again(tree, together := overall(answers))
        return {**together, "runs": answers}

    async def verdict_on(self, tree: Tree, target: Target, *, known: bool = False) -> dict[str, Any]:
        """Runs a test and tells the verdict. `known`: nobody asked for it, so a verdict on the same files,
        weights and packages is told again where there is one."""
        request = CheckRequest(str(tree.root), "", target.test, trusted=True, port=target.port)
        try:
            found = await asyncio.to_thread(find_interpreter, tree.root, self._server.settings.python)
        except CheckError as error:
            result = could_not_start(request, error)
            texts = await asyncio.to_thread(texts_on_disk, tree.root, target.files)
            return self._settle(tree, target, result, _findings(target, result), texts, {}, by_itself=known)
        device = await asyncio.to_thread(chosen_device)
        request = replace(request, python=found.path, device=device)
        kept = await asyncio.to_thread(_known, tree.root, target, request) if known else None
        if kept is not None:
            return self._known(tree, target, kept)
        run = Run(uuid.uuid4().hex, f"parity of {target.test.rpartition('/')[2]}")
        progress = await Progress.begin(self._server, run, lambda: self._queue.cancel(request.key))
        self._running[run.id] = request.key
        began = time.time()
        texts = await asyncio.to_thread(texts_on_disk, tree.root, target.files)
        try:
            self._server.status.running(run, "starting")
            result = await self._result(request, run, progress)
        finally:
            self._running.pop(run.id, None)
            progress.end()
            self._server.status.ended(run)
        findings = (*_findings(target, result), *await asyncio.to_thread(_margins, tree.root, result))
        # Before it is told: whoever hears of the verdict may save the next moment.
        kept, closure = await asyncio.to_thread(_seen, target, request, result, began, findings)
        answer = self._settle(tree, target, result, findings, texts, closure, by_itself=known)
        await keep(self._server, tree.root, lambda: kept)
        return answer

    async def cancel(self, run: str) -> int:
        """Ends one run; how many were ended."""
        key = self._running.get(run)
        return await self._queue.cancel(key) if key is not None else 0

    async def cancel_all(self) -> int:
        """Ends every run; how many were ended."""
        return await self._queue.cancel()

    # ------------------------------------------------------------------ what to run

    async def _targets(self, argument: Any) -> tuple[Tree, list[Target]]:
        given = as_mapping(argument) or {}
        uri, test, line = given.get("uri"), given.get("test"), given.get("line")
        node = None
        if isinstance(uri, str):
            tree, path = file_named(self._server, uri)
        elif isinstance(test, str):
            path, _, node = test.partition("::")
            tree = tree_with(self._server, path)
            line = None
        else:
            raise JsonRpcException('expected {"uri", "line"} or {"test": "path::name"}', INVALID_PARAMS)
        at = line if isinstance(line, int) else None
        targets = await tree.ask(lambda session: targets_at(session, path, node, at))
        if not targets:
            raise JsonRpcException(f"no parity test names the port in {path}", REQUEST_FAILED)
        return tree, targets

    # ------------------------------------------------------------------ the run

    async def _result(self, request: CheckRequest, run: Run, progress: Progress) -> CheckResult:
        told, began = 0.0, time.monotonic()

        def on_event(event: CheckEvent) -> None:
            nonlocal told
            if event.kind == "output" or time.monotonic() - told < _REPORT_EVERY:
                return
            told = time.monotonic()
            message = f"{event.message} ({told - began:.0f} s)"
            self._server.status.running(run, message)
            progress.report(message)

        return await self._queue.submit(request, on_event)

    # ------------------------------------------------------------------ the verdict

    def _settle(
        self,
        tree: Tree,
        target: Target,
        result: CheckResult,
        findings: tuple[Finding, ...],
        texts: Mapping[str, str],
        closure: Mapping[str, str],
        *,
        by_itself: bool,
    ) -> dict[str, Any]:
        """Shows a result and tells of it. `texts`: of the target's files, `closure`: of what was loaded."""
        if result.status != "cancelled":
            self._server.verdicts.put(Verdict(tree.root, target.test, findings, texts, closure))
            self._server.diagnoser.schedule(tree)
        answer = self._tell(tree, target, {**verdict_json(target, result), "by_itself": by_itself})
        if result.status in ("failed", "error") and result.log_tail:
            self._server.tell(f"{target.test}: {result.reason}\n{result.log_tail}", types.MessageType.Log)
        return answer

    def _known(self, tree: Tree, target: Target, kept: Evidence) -> dict[str, Any]:
        """Tells again what an earlier run came to."""
        findings = tuple(findings_from_json(kept.findings))
        closure = (path for path in kept.sources if not Path(path).is_absolute())
        self._server.verdicts.put(
            Verdict(
                tree.root,
                target.test,
                findings,
                texts_on_disk(tree.root, target.files),
                texts_on_disk(tree.root, closure),
            )
        )
        self._server.diagnoser.schedule(tree)
        document = kept.document
        answer = {
            "port": target.port,
            "test": target.test,
            **{name: document.get(name) for name in ("tier", "status", "outputs", "seconds")},
            "reason": " ".join(part for part in (kept.reason, document.get("next_step")) if part) or None,
            "known_since": kept.ended,
            "by_itself": True,
        }
        return self._tell(tree, target, answer)

    def _tell(self, tree: Tree, target: Target, answer: dict[str, Any]) -> dict[str, Any]:
        uri = self._server.uris_of(tree).get(target.path) or uri_of(tree.root, target.path)
        self._server.protocol.notify(VERDICT_METHOD, {**answer, "uri": uri})
        return answer

    def tell_again(self, tree: Tree, answer: dict[str, Any]) -> None:
        """What several runs came to together, after each was told by itself."""
        path = str(answer["test"]).partition("::")[0]
        uri = self._server.uris_of(tree).get(path) or uri_of(tree.root, path)
        self._server.protocol.notify(VERDICT_METHOD, {**answer, "uri": uri, "repeated": True})


def overall(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several tests came to together: a failure before all; what passed is no less a pass
    because another test lacks something, and that is told with it."""
    deciding = min(answers, key=lambda answer: _FIRST.index(answer["status"]))
    counts = Counter(answer["status"] for answer in answers)
    counts[deciding["status"]] -= 1
    others = ", ".join(f"{n} more {_WORDS[status]}" for status, n in counts.items() if n)
    reason = " ".join(part for part in (deciding["reason"], f"({others})" if others else "") if part)
    return {**deciding, "reason": reason or None}


def verdict_json(target: Target, result: CheckResult) -> dict[str, Any]:
    """What `ditproof.parity` answers: the part of the command line's JSON that an editor shows.

    `known_since`: when the run ended that this is the verdict of (seconds since the epoch), null where it has
    just been run. `by_itself` is added to it: whether a save started it.
    """
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
        "known_since": None,
    }


def _known(root: Path, target: Target, request: CheckRequest) -> Evidence | None:
    """A verdict on the same files, weights and packages; None where it has to be run."""
    try:
        return fitting(root, EvidenceStore(root).same_question(parity_asked(target.key, request)))
    except EvidenceError:
        return None  # told when the run that follows is to be kept


def _findings(target: Target, result: CheckResult) -> tuple[Finding, ...]:
    return tuple(findings_of(result, target.port_class)) if result.status != "cancelled" else ()


def _margins(root: Path, result: CheckResult) -> list[Finding]:
    paths = {c.location.path for c in result.comparisons if c.location is not None}
    return margins(result, texts_on_disk(root, paths))


def _seen(
    target: Target, request: CheckRequest, result: CheckResult, began: float, findings: tuple[Finding, ...]
) -> tuple[Evidence | None, Mapping[str, str]]:
    """The evidence of a run, and the texts of the tree's files that it loaded."""
    loaded = result.loaded.files if result.loaded is not None else ()
    inside = [path for path in loaded if not Path(path).is_absolute()]
    kept = evidence_of_parity(target.key, request, result, began, findings)
    return kept, texts_on_disk(Path(request.root), inside)
