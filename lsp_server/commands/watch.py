"""`ditproof watch`: after every save the findings, the names, the numbers, and the tests if asked for."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from analyzers.findings import Severity
from analyzers.project.ports import Port
from analyzers.project.sources import READABLE
from analyzers.weights.known import state_key
from lsp_server.checks.devices import chosen_device
from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.making import (
    evidence_of_parity,
    evidence_of_trace,
    evidence_of_weights,
    parity_asked,
)
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import fitting
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.checks.findings import findings_of
from lsp_server.checks.interpreter import find_interpreter, probe_interpreter
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.meta import MetaWorker
from lsp_server.checks.recipes import FOLDER as RECIPES
from lsp_server.checks.recipes import NoRecipe
from lsp_server.checks.requests import CheckRequest
from lsp_server.checks.run import run_parity
from lsp_server.checks.trace_question import question_about
from lsp_server.checks.weights import Question, measure, report_on
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.keeping import keep
from lsp_server.commands.options import quiet_option, tree_options
from lsp_server.commands.port_argument import find_port, paths_in
from lsp_server.commands.progress import progress
from lsp_server.commands.report import count, finding_text
from lsp_server.commands.terminal import colours, printable, say, styled, write
from lsp_server.commands.workspace import open_tree
from lsp_server.measuring import files_of
from lsp_server.parity_targets import Target, targets_about
from lsp_server.payloads import lines_of
from lsp_server.session import SETTINGS_FILES, Changes, Session
from lsp_server.trace_texts import summary as trace_summary

_SETTLE = 250
"""Milliseconds that saves are gathered."""

_STYLES = {"passed": "help", "clean": "help", "failed": "error", "error": "error"}


@click.command("watch")
@click.argument("port", required=False)
@click.option(
    "--tests/--no-tests",
    default=None,
    help="Whether the port's own parity tests run too. Default: as `weights` under `on-save` in the "
    "settings says, else not.",
)
@tree_options
@quiet_option
def command(port: str | None, tests: bool | None, root: str | None, python: str | None, quiet: bool) -> int:
    """After every save: what is wrong in the saved file, and whether its ports still compute the same.

    The names of the weights are proved, and ports that have a recipe are traced. With PORT (class, file, or
    file::Class) only that one is, and once at the start. A newer save ends what it makes wrong. This
    executes the project's code. Ctrl-C ends it.
    """
    tree = open_tree(root, paths_in(port) if port is not None else ())
    session = Session(tree.root)
    for _ in session.warm_up():
        pass
    only = state_key(find_port(session.project, port)) if port is not None else None
    try:
        interpreter = find_interpreter(tree.root, python, named_by="--python")
        probe_interpreter(interpreter.path, trusted=True, root=tree.root).require_models()
    except CheckError as error:
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    watch = Watch(session, interpreter.path, only, tests, quiet=quiet)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch.run(saves_below(tree.root)))
    return ExitCode.CLEAN


async def saves_below(root: Path) -> AsyncIterator[set[str]]:
    """What was written in a tree, relative to it, as it is written."""
    from watchfiles import DefaultFilter, awatch

    own = DefaultFilter()

    def counts(change: Any, path: str) -> bool:
        return own(change, path) and _relevant(root, path) is not None

    async for changes in awatch(root, watch_filter=counts, debounce=_SETTLE, step=50):
        yield {path for _, changed in changes if (path := _relevant(root, changed)) is not None}


def _relevant(root: Path, changed: str) -> str | None:
    """The path of a file that checks may read, relative to the root; None for others."""
    path = Path(changed)
    if not path.is_relative_to(root):
        return None
    inside = path.relative_to(root).as_posix()
    if inside.startswith(".ditproof/") and not inside.startswith(f"{RECIPES}/"):
        return None
    return inside if inside.endswith(READABLE) or inside in SETTINGS_FILES else None


@dataclass
class Watch:
    """One watch over a tree. `only`: the port (`path::Class`) that is looked at, None for those of the
    saved files. `tests`: whether parity tests run, None to let the settings decide."""

    session: Session
    python: str
    only: str | None
    tests: bool | None
    quiet: bool = False
    worker: MetaWorker = field(default_factory=MetaWorker)
    closures: dict[str, frozenset[str]] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    told: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    async def run(self, saves: AsyncIterator[set[str]]) -> None:
        """Until the saves end. What a newer save ends is done again with it."""
        task: asyncio.Task[None] | None = None
        try:
            if self.only is not None:
                self.unsettled = {self.only.partition("::")[0]}
                task = asyncio.ensure_future(self._look())
            if not self.quiet:
                say(f"watching {self.session.root}; Ctrl-C ends it.")
            async for paths in saves:
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.wait([task])
                self.session.apply(Changes(files=paths))
                self.unsettled |= paths
                task = asyncio.ensure_future(self._look())
            if task is not None:
                await asyncio.wait([task])
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            await self.worker.end()

    async def _look(self) -> None:
        """Everything about the unsettled files; they stay unsettled where it is ended."""
        paths = set(self.unsettled)
        if self._statically(paths):
            self.unsettled -= paths
            return
        ports = self._ports(paths)
        for port in ports:
            await self._told(port, "weights", self._weights(port))
            await self._told(port, "trace", self._trace(port))
        if self._wants_tests:
            for target in self._targets(paths, ports):
                await self._told(target.port or "", "parity", self._parity(target))
        self.unsettled -= paths

    # ------------------------------------------------------------------ what is concerned

    def _statically(self, paths: Iterable[str]) -> bool:
        """Tells the findings of the saved files, of those looked at before only what is new; whether one of
        them does not parse."""
        broken = False
        lines = lines_of(self.session.sources)
        for path in sorted(paths):
            facts = self.session.project.file(path)
            broken = broken or (facts is not None and facts.broken)
            if not self.session.profile.is_checked(path):
                continue
            found = self.session.findings(path)
            before = self.told.get(path)
            self.told[path] = Counter((f.code, f.message) for f in found)
            # What lasts is told once: the eye is for what the save has changed.
            fresh = [f for f in found if f.severity is not Severity.INFORMATION] if before is None else found
            known = Counter(before or ())
            for finding in fresh:
                if known[finding.code, finding.message] > 0:
                    known[finding.code, finding.message] -= 1
                else:
                    write(finding_text(finding, lines, colour=colours(sys.stdout)))
            worst = max((f.severity for f in found), key=lambda s: s.rank, default=Severity.INFORMATION)
            status = {"error": "error", "warning": "warning"}.get(worst.value, "clean")
            gone = sum(((before or Counter()) - self.told[path]).values())
            rest = f", {gone} gone" if gone else ""
            self._line("findings", status, f"{count(len(found), 'finding')} in {path}{rest}", 0.0)
        return broken

    def _ports(self, paths: set[str]) -> list[Port]:
        found = []
        for port in self.session.project.ports:
            key = state_key(port)
            closure = {*files_of(port), *self.closures.get(key, ())}
            if (self.only is None or key == self.only) and not paths.isdisjoint(closure):
                found.append(port)
        return found

    @property
    def silent(self) -> bool:
        """Stages are for the eyes of whoever waits: in a file they would hide the verdicts."""
        return self.quiet or not sys.stderr.isatty()

    @property
    def _wants_tests(self) -> bool:
        if self.tests is not None:
            return self.tests
        return self.session.settings.on_save.get("weights", False)

    def _targets(self, paths: set[str], ports: Sequence[Port]) -> list[Target]:
        tests = {test for port in ports for test in port.parity_tests}
        found = targets_about(self.session, paths, tests)
        return [target for target in found if self.only is None or target.key == self.only]

    # ------------------------------------------------------------------ the checks

    async def _weights(self, port: Port) -> tuple[str, str]:
        project, root, began, at = self.session.project, self.session.root, time.monotonic(), time.time()
        question = Question(self.python, root, trusted=True)
        with progress(self.silent) as on_stage:
            measured = await measure(project, port, question, self.worker, on_stage)
        self.closures[state_key(port)] = frozenset(measured.answer.files)
        report = report_on(project, measured, began)
        evidence = evidence_of_weights(state_key(port), root, self.python, report, at)
        keep(root, evidence)
        return evidence.status, f"{report.verdict}: {report.because}"

    async def _trace(self, port: Port) -> tuple[str, str] | None:
        from lsp_server.checks.trace import trace

        project, root, at = self.session.project, self.session.root, time.time()
        try:
            question = question_about(project, port, python=self.python, trusted=True, here=root)
        except NoRecipe:
            return None
        with progress(self.silent) as on_stage:
            result = await trace(question, self.worker, on_stage)
        keep(root, evidence_of_trace(state_key(port), question, result, at))
        first = result.divergences[0] if result.divergences else None
        where = f"\n  {first.message}" if first is not None else ""
        return result.status, f"{trace_summary(result)}{where}"

    async def _parity(self, target: Target) -> tuple[str, str]:
        root = self.session.root
        device = await asyncio.to_thread(chosen_device)
        request = CheckRequest(
            str(root), self.python, target.test, trusted=True, port=target.port, device=device
        )
        known = self._known(target, request)
        if known is not None:
            return known.status, f"{target.test}: {known.reason} (the same contents were run before)"
        began = time.time()
        with progress(self.silent) as on_stage:
            result = await run_parity(request, LocalExecutor(), lambda event: _tell(on_stage, event))
        findings = findings_of(result, target.port_class)
        keep(root, evidence_of_parity(target.key, request, result, began, findings))
        return result.status, f"{target.test}: {result.reason}"

    def _known(self, target: Target, request: CheckRequest) -> Evidence | None:
        try:
            kept = EvidenceStore(self.session.root).same_question(parity_asked(target.key, request))
        except EvidenceError:
            return None  # told when the run is to be kept
        return fitting(self.session.root, kept)

    # ------------------------------------------------------------------ what is told

    async def _told(self, port: Port | str, what: str, check: Awaitable[tuple[str, str] | None]) -> None:
        began = time.monotonic()
        try:
            outcome = await check
        except CheckError as error:
            outcome = ("error", f"{error.reason} {error.next_step}".strip())
        if outcome is not None:
            status, text = outcome
            name = port if isinstance(port, str) else port.name
            self._line(what, status, f"{name} {text}".strip(), time.monotonic() - began)

    def _line(self, what: str, status: str, text: str, seconds: float) -> None:
        now = time.strftime("%H:%M:%S")
        mark = styled(f"{status:<7}", _STYLES.get(status, "warning"), on=colours(sys.stdout))
        took = f" ({seconds:.1f} s)" if seconds >= 0.1 else ""
        first, *rest = text.splitlines() or [""]
        lines = [f"{now}  {what:<8}  {mark}  {printable(first)}{took}", *(printable(line) for line in rest)]
        write("".join(f"{line}\n" for line in lines))


def _tell(on_stage: Callable[[str], None], event: Any) -> None:
    if event.kind in ("phase", "collected", "comparison", "outcome"):
        on_stage(event.message)
