"""Parity tests after a save, and evidence that sources have left behind.

Invariants
----------
* Opening and typing run nothing. A save does where the user turned that on, in a trusted workspace, for the
  tests of the open ports that the file belongs to, and for an open test itself.
* There is no backlog: what is newer takes the place of what waits, and a run that a save makes wrong is
  ended at once. After that the typist is given time: saves in a row start one more run, at their end.
* What was run of the same files, weights and packages is told again without a run.
* A test that was skipped or could not run lacks something that no save of the port brings: it is run again
  when it is saved itself, by hand, and once in the next session.
* Nothing is run of files with unsaved or unparsable text.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzers.findings import Finding, Severity
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import Change, stale_sources
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.checks.evidence.trends import MOST_POINTS
from lsp_server.features.parity import overall
from lsp_server.parity_targets import Target, targets_about
from lsp_server.session import SETTINGS_FILES, Session
from lsp_server.verdicts import Verdict

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

DELAY = 0.25
"""Seconds that saves are gathered: `save all` is one change."""
QUIET = 1.0
"""Seconds without a save before the next run, once a save has ended one."""
STALE = "DIT811"
_NAME = "evidence-stale"
_MOST_NAMED = 3

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Running:
    """The run under way. `closure`: the files that it hangs on, as far as they are known."""

    target: Target
    closure: frozenset[str]
    task: asyncio.Task[None]


@dataclass(eq=False)
class _Queue:
    """What waits in one tree, and what goes on there."""

    saved: set[str] = field(default_factory=set)
    hurried: bool = False
    timer: asyncio.TimerHandle | None = None
    pending: dict[str, Target] = field(default_factory=dict)
    running: _Running | None = None
    working: bool = False
    barren: set[str] = field(default_factory=set)
    closures: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """The last run of a test that is kept. `changed`: what it hung on and is now another. `history`: the runs
    of the same test, newest first."""

    evidence: Evidence
    changed: tuple[Change, ...]
    history: tuple[Evidence, ...] = ()


class ParityOnSave:
    """What saves start, and what is known from runs. Bound to the event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queues: dict[Tree, _Queue] = {}
        self._known: dict[Tree, Mapping[str, Known]] = {}
        self._stopped = False

    # ------------------------------------------------------------------ what is known

    def known(self, tree: Tree) -> Mapping[str, Known]:
        """Test (as it was run) -> its last run."""
        return self._known.get(tree, {})

    def look(self, tree: Tree) -> None:
        """The tree has been read: what earlier sessions have left is looked at."""
        if self._stopped:
            return
        self._server.spawn(self._look(tree))
        queue = self._queues.get(tree)
        if queue is not None and queue.saved and queue.timer is None:
            self._wait(tree, queue)

    async def _look(self, tree: Tree) -> None:
        """Reads what is kept, and tells of passes that speak of other sources (DIT811)."""
        known = await asyncio.to_thread(_read, tree.root)
        self._known[tree] = known
        ports = await tree.ask(_ports_to_tell)
        self._queues.setdefault(tree, _Queue()).closures = {
            test: _closure(one) for test, one in known.items()
        }
        stale: dict[str, list[Known]] = {}
        for one in known.values():
            if one.evidence.status == "passed" and one.changed:
                stale.setdefault(one.evidence.port, []).append(one)
        for key, port in ports.items():
            found = (_stale_finding(port, stale[key]),) if key in stale else ()
            self._server.verdicts.put(Verdict(tree.root, f"evidence of {key}", found, {}))
        self._server.diagnoser.schedule(tree)
        await self._server.refresh_lenses()

    # ------------------------------------------------------------------ after a save

    def runs_in(self, tree: Tree) -> bool:
        """Whether a save runs parity tests."""
        settings = self._server.settings
        return settings.trusted and settings.runs_after_save("weights", tree.on_save)

    def saved(self, tree: Tree, path: str) -> None:
        """A file has other contents on disk."""
        if self._stopped or not (path.endswith(".py") or path in SETTINGS_FILES):
            return
        queue = self._queues.setdefault(tree, _Queue())
        queue.saved.add(path)
        if not tree.ready:
            return  # `look` comes back to it
        running = queue.running
        if running is not None and path in running.closure:
            running.task.cancel()
            queue.hurried = True
        self._wait(tree, queue)

    def _wait(self, tree: Tree, queue: _Queue) -> None:
        """For more saves, before anything is begun."""
        if queue.timer is not None:
            queue.timer.cancel()
        queue.timer = asyncio.get_running_loop().call_later(
            QUIET if queue.hurried else DELAY, lambda: self._server.spawn(self._plan(tree, queue))
        )

    async def _plan(self, tree: Tree, queue: _Queue) -> None:
        """Finds the tests that are concerned, and begins."""
        saved, queue.saved = queue.saved, set()
        queue.timer, queue.hurried = None, False
        touched = [test for test, closure in queue.closures.items() if not closure.isdisjoint(saved)]
        if not self.runs_in(tree):
            if touched:
                await self._look(tree)
            return
        found = await tree.ask(lambda session: targets_about(session, saved, touched))
        shown = {path for _, path in self._server.opened(tree)}
        # Of what nobody looks at, evidence grows stale and is told to be.
        wanted = [target for target in found if not shown.isdisjoint(target.files)]
        if len(wanted) < len(found) and touched:
            await self._look(tree)
        queue.barren -= {target.test for target in wanted if target.path in saved}
        queue.pending = {target.test: target for target in wanted if target.test not in queue.barren}
        if queue.pending and not queue.working:
            queue.working = True
            self._server.spawn(self._work(tree, queue))

    async def _work(self, tree: Tree, queue: _Queue) -> None:
        answers: list[dict[str, Any]] = []
        try:
            while queue.pending and not self._stopped and self.runs_in(tree):
                # The names of weights are measured first: they take a second, and explain what follows.
                await self._server.weights.settled(tree)
                if not queue.pending:
                    break
                _, target = queue.pending.popitem()
                closure = frozenset(target.files) | queue.closures.get(target.test, frozenset())
                task = asyncio.ensure_future(self._run(tree, queue, target, closure, answers))
                queue.running = _Running(target, closure, task)
                # wait, not await: a run that is ended must not end whoever comes after it.
                await asyncio.wait([task])
                queue.running = None
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.error("a parity run after a save failed", exc_info=error)
        finally:
            queue.working = False
        if len(answers) > 1:
            self._server.runs.tell_again(tree, overall(answers))
        await self._look(tree)

    async def _run(
        self,
        tree: Tree,
        queue: _Queue,
        target: Target,
        closure: frozenset[str],
        answers: list[dict[str, Any]],
    ) -> None:
        unready = await self._unready(tree, target, closure)
        if unready is not None:
            log.info("%s is not run: %s", target.test, unready)
            return
        answer = await self._server.runs.verdict_on(tree, target, known=True)
        if answer["status"] in ("skipped", "error"):
            queue.barren.add(target.test)
        if answer["status"] != "cancelled":
            answers.append(answer)

    async def _unready(self, tree: Tree, target: Target, closure: Iterable[str]) -> str | None:
        """Why what is on disk is not what the user means; None where it is."""
        unsaved = sorted(self._server.weights.unsaved(tree, closure))
        if unsaved:
            return f"{', '.join(unsaved)} has unsaved changes"

        def broken(session: Session) -> list[str]:
            found = ((path, session.project.file(path)) for path in target.files)
            return [path for path, facts in found if facts is not None and facts.broken]

        unparsable = await tree.ask(broken)
        return f"{', '.join(unparsable)} does not parse" if unparsable else None

    # ------------------------------------------------------------------ ends

    def forget(self) -> None:
        """Nothing waits any more; what runs is ended by whoever asked for this."""
        for queue in self._queues.values():
            queue.pending.clear()
            if queue.timer is not None:
                queue.timer.cancel()

    def stop(self) -> None:
        """Nothing is started any more."""
        self._stopped = True
        self.forget()


def _ports_to_tell(session: Session) -> dict[str, Port]:
    """The ports at which DIT811 may be told."""
    settings = session.settings
    return {
        state_key(port): port
        for port in session.project.ports
        if settings.enabled(STALE, _NAME, port.location.path)
    }


def _read(root: Path) -> dict[str, Known]:
    """The last run of each parity test, and what has changed since. What cannot be read is told when
    something is to be kept."""
    store = EvidenceStore(root)
    found: dict[str, Known] = {}
    with contextlib.suppress(EvidenceError):
        for evidence in store.latest():
            if evidence.tier == "weights":
                history = store.history(evidence.port, evidence.tier, evidence.subject)
                changed = stale_sources(root, evidence)
                found[evidence.subject] = Known(evidence, changed, tuple(history[:MOST_POINTS]))
    return found


def _closure(known: Known) -> frozenset[str]:
    """The files of the tree that a test loaded in its last run that came to its end."""
    runs = (known.evidence, *known.history)
    sources = next((run.sources for run in runs if run.sources), {})
    return frozenset(path for path in sources if not Path(path).is_absolute())


def _stale_finding(port: Port, passes: list[Known]) -> Finding:
    """One finding a port, at its class."""
    newest = max(passes, key=lambda one: one.evidence.ended)
    test = newest.evidence.subject.rpartition("/")[2]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.evidence.ended))
    changes = [str(change) for change in newest.changed]
    more = len(changes) - _MOST_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return Finding(
        STALE,
        _NAME,
        Severity.INFORMATION,
        port.location,
        f"The last pass of {test} ({when}) speaks of other sources: "
        f"{', '.join(changes[:_MOST_NAMED])}{rest}. Run it again.",
        symbol=port.name,
        port=port.name,
    )
