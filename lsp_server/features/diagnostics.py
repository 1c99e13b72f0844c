"""Diagnostics: pushed to clients that wait for them, answered to those that ask.

Invariants
----------
* Nothing is sent for a version that is no longer the document's.
* A tree has at most one look under way; changes during it lead to one more, not to a queue.
* A key is answered with `Session.at_once`; a full look at every open file (findings cross files)
  always follows, when the typist rests. Everything else that happens (a file is opened, saved, changed
  on disk; a setting; a verdict) leads to a full look at once.
* A client that asks for itself is told to ask again only if what it holds has become wrong; by then all
  that it may ask for has been looked at fully.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING

from lsprotocol import types

from analyzers.findings import Finding
from analyzers.project.sources import READABLE
from analyzers.weights.faults import placed_faults
from lsp_server.documents import uri_of
from lsp_server.features.settings_files import settings_diagnostics
from lsp_server.session import SETTINGS_FILES, Session
from lsp_server.translate import to_diagnostics
from lsp_server.verdicts import with_measured

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

DELAY = 0.06
"""Seconds that changes are gathered before a look; after a key, before a push client is told of it."""
LONGEST_DELAY = 0.4
"""Seconds after which that look is due even if the changes do not stop."""
REST = 0.35
"""Seconds after the last key before the full look that follows it."""
LONGEST_REST = 5.0
"""Seconds after which a full look is due even if somebody types on."""


def register(server: Server) -> None:
    """Adds the handler for clients that ask."""

    @server.feature(
        types.TEXT_DOCUMENT_DIAGNOSTIC,
        types.DiagnosticOptions(
            inter_file_dependencies=True, workspace_diagnostics=False, identifier="ditproof"
        ),
    )
    async def document_diagnostic(
        params: types.DocumentDiagnosticParams,
    ) -> types.DocumentDiagnosticReport:
        found = await server.diagnoser.present(params.text_document.uri)
        identity = server.diagnoser.answered(params.text_document.uri, found)
        if identity == params.previous_result_id:
            return types.RelatedUnchangedDocumentDiagnosticReport(result_id=identity)
        return types.RelatedFullDocumentDiagnosticReport(items=found, result_id=identity)


class Diagnoser:
    """Knows which trees have to be looked at again, and what each client document was last told."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._due: dict[_Look, float] = {}
        self._timers: dict[_Look, asyncio.TimerHandle] = {}
        self._looking: set[Tree] = set()
        self._told: dict[str, str] = {}
        self._settings_of: dict[Tree, int] = {}
        self._unopened: dict[str, str] = {}
        self._faulty: dict[Tree, frozenset[str]] = {}
        self._indexed: set[Tree] = set()
        self._stopped = False

    # ------------------------------------------------------------------ what happened

    def changed(self, uri: str) -> None:
        """A document has another text: what a push client was told of it no longer counts."""
        if not self._server.pulls:
            self._told.pop(uri, None)

    def closed(self, uri: str) -> None:
        """A document was closed: its diagnostics go."""
        if self._told.pop(uri, None) is not None and not self._server.pulls:
            self._push(uri, None, [])

    def schedule(self, tree: Tree) -> None:
        """Looks fully at the tree's open files soon, once for any number of calls until then."""
        self._plan(tree, True, DELAY, LONGEST_DELAY)

    def typed(self, tree: Tree) -> None:
        """Tells of an open file that has another text soon, and looks fully when the typist rests."""
        if not self._server.pulls:
            self._plan(tree, False, DELAY, LONGEST_DELAY)
        self._plan(tree, True, REST, LONGEST_REST)

    def _plan(self, tree: Tree, full: bool, delay: float, longest: float) -> None:
        if self._stopped:
            return
        self.index(tree)
        loop = asyncio.get_running_loop()
        look = (tree, full)
        due = self._due[look] = min(self._due.get(look, loop.time() + longest), loop.time() + longest)
        timer = self._timers.pop(look, None)
        if timer is not None:
            timer.cancel()
        self._timers[look] = loop.call_at(min(loop.time() + delay, due), self._start, look)

    def index(self, tree: Tree) -> None:
        """Reads a tree that is met for the first time, in steps beside everything else."""
        if tree not in self._indexed:
            self._indexed.add(tree)
            self._server.spawn(self._index(tree))

    def stop(self) -> None:
        """Nothing is looked at any more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._due.clear()

    # ------------------------------------------------------------------ answers

    async def present(self, uri: str) -> list[types.Diagnostic]:
        """The diagnostics of a document's present text (none for what no tree holds)."""
        while True:
            placed = self._server.place(uri)
            document = self._server.documents.get(uri)
            if placed is None or not placed[1].endswith(READABLE):
                return []
            version = document.version if document is not None else None
            found = await self._diagnose(*placed, full=False)
            now = self._server.documents.get(uri)
            if now is document and (now is None or now.version == version):
                return found

    def answered(self, uri: str, found: Sequence[types.Diagnostic]) -> str:
        """Keeps what a client is being told; the identity of that answer."""
        identity = _identity(found)
        if self._server.pulls:
            self._told[uri] = identity
        return identity

    # ------------------------------------------------------------------ work

    async def _index(self, tree: Tree) -> None:
        name = tree.root.name
        self._server.status.indexing(name)
        summary = ""
        try:
            await tree.step_through(Session.warm_up)
            ports = await tree.ask(lambda session: len(session.project.ports))
            summary = f"{ports} port{'' if ports == 1 else 's'} in {name}"
            # What was read stays: the collector need not look through it at every key.
            gc.collect()
            gc.freeze()
        finally:
            tree.ready = True
            self._server.status.indexed(name, summary)
        self.schedule(tree)
        self._server.weights.reconsider(tree)
        self._server.saves.look(tree)
        await self._server.refresh_lenses()
        await self._server.warm_edits(tree)

    def _start(self, look: _Look) -> None:
        self._timers.pop(look, None)
        tree, _ = look
        if tree in self._looking:
            return  # it sees to what is due when it is done
        self._looking.add(tree)
        self._server.spawn(self._look(tree))

    async def _look(self, tree: Tree) -> None:
        try:
            while (full := self._next(tree)) is not None:
                if full:
                    await self._tell_settings(tree)
                    await self._tell_unopened(tree)
                if not self._server.pulls:
                    await self._push_all(tree, full=full)
                elif full:
                    await self._refresh_if_wrong(tree)
        finally:
            self._looking.discard(tree)

    def _next(self, tree: Tree) -> bool | None:
        """Whether the look that is due is a full one, which makes a smaller one needless; None where none
        is, or the changes go on (its timer comes back)."""
        for full in (True, False):
            look = (tree, full)
            if look in self._due and look not in self._timers:
                del self._due[look]
                return full
        return None

    async def _push_all(self, tree: Tree, *, full: bool) -> None:
        documents = sorted(self._server.opened(tree), key=lambda item: item[0].uri in self._told)
        for document, path in documents:
            version = document.version
            if not full and document.uri in self._told:
                continue  # its own text is the same
            found = await self._diagnose(tree, path, full=full)
            if self._server.documents.get(document.uri) is not document or document.version != version:
                continue  # a later look is due already
            identity = _identity(found)
            if self._told.get(document.uri) != identity:
                self._told[document.uri] = identity
                self._push(document.uri, version, found)

    async def _refresh_if_wrong(self, tree: Tree) -> None:
        wrong = False
        for document, path in list(self._server.opened(tree)):
            if document.uri not in self._told:
                continue  # not asked yet
            version = document.version
            found = await self._diagnose(tree, path, full=True)
            wrong |= document.version == version and _identity(found) != self._told.get(document.uri)
        if wrong:
            await self._server.refresh_diagnostics()

    async def _diagnose(self, tree: Tree, path: str, *, full: bool) -> list[types.Diagnostic]:
        at_once, quick = not full and tree.ready, not tree.ready

        def findings(session: Session) -> Sequence[Finding]:
            return session.at_once(path) if at_once else session.findings(path, quick=quick)

        return await self._told_of(tree, path, findings)

    async def _about_unopened(self, tree: Tree, path: str, *, faulty: bool) -> list[types.Diagnostic]:
        def findings(session: Session) -> Sequence[Finding]:
            return [f for f in session.findings(path) if f.code in _OF_WEIGHTS] if faulty else ()

        return await self._told_of(tree, path, findings)

    async def _told_of(
        self, tree: Tree, path: str, findings: Callable[[Session], Sequence[Finding]]
    ) -> list[types.Diagnostic]:
        """The findings of a file, and what runs found in it."""
        server = self._server
        encoding, settings = server.encoding, server.settings
        uris, root = server.uris_of(tree), tree.root

        def uri(other: str) -> str:
            return uris.get(other) or uri_of(root, other)

        def question(session: Session) -> list[types.Diagnostic]:
            of_runs = [*server.verdicts.findings(root, path, session.sources.text)]
            found = with_measured(findings(session), of_runs)
            return to_diagnostics(
                sorted(found, key=lambda f: f.sort_key),
                lines=session.lines,
                uri=uri,
                page=settings.page_of,
                encoding=encoding,
            )

        return await tree.ask(question)

    async def _tell_settings(self, tree: Tree) -> None:
        """Pushed to every client: none asks for the diagnostics of a TOML file."""
        if self._settings_of.get(tree) == tree.disk_revision:
            return
        self._settings_of[tree] = tree.disk_revision
        encoding = self._server.encoding
        found = await tree.ask(lambda session: settings_diagnostics(session, encoding))
        for path in SETTINGS_FILES:
            if self._push_unopened(uri_of(tree.root, path), found.get(path, ())):
                for diagnostic in found.get(path, ()):
                    self._server.tell(f"{path}: {diagnostic.message}", types.MessageType.Warning)

    async def _tell_unopened(self, tree: Tree) -> None:
        """What runs found in files that are not open, and what an open mapping does to them: no client
        would ask for it. Nothing else that is wrong with them: nobody looks at them."""
        opened = self._server.uris_of(tree)
        faulty = await tree.ask(lambda session: _faulty_elsewhere(session, opened))
        before, self._faulty[tree] = self._faulty.get(tree, frozenset()), faulty
        for path in sorted({*self._server.verdicts.paths(tree.root), *before, *faulty}):
            uri = uri_of(tree.root, path)
            if path not in opened:
                self._push_unopened(uri, await self._about_unopened(tree, path, faulty=path in faulty))
            elif self._unopened.pop(uri, None) is not None and self._server.pulls:
                self._push(uri, None, ())

    # ------------------------------------------------------------------ sending

    def _push_unopened(self, uri: str, found: Sequence[types.Diagnostic]) -> bool:
        """Pushes what is new about a file that is not open; whether there was something."""
        identity = _identity(found)
        if self._unopened.get(uri, _NOTHING) == identity:
            return False
        self._unopened[uri] = identity
        self._push(uri, None, found)
        return True

    def _push(self, uri: str, version: int | None, found: Sequence[types.Diagnostic]) -> None:
        self._server.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(uri, list(found), version=version)
        )


def _faulty_elsewhere(session: Session, opened: Container[str]) -> frozenset[str]:
    """The files that are not open in which a mapping that is open leaves something empty: whoever edits
    the mapping has to see it."""
    return frozenset(
        placed.location.path
        for placed in placed_faults(session.project)
        if placed.location.path not in opened
        and placed.known.table is not None
        and placed.known.table.location.path in opened
    )


def _identity(found: Iterable[types.Diagnostic]) -> str:
    """Equal for diagnostics that look equal in the editor."""
    plain = [
        (
            str(item.code),
            item.message,
            item.severity,
            _numbers(item.range),
            [(r.location.uri, _numbers(r.location.range), r.message) for r in item.related_information or ()],
        )
        for item in found
    ]
    return hashlib.blake2b(repr(plain).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _numbers(place: types.Range) -> tuple[int, int, int, int]:
    return place.start.line, place.start.character, place.end.line, place.end.character


_Look = tuple["Tree", bool]
"""A look at a tree, and whether it is a full one."""

_OF_WEIGHTS = frozenset(("DIT609", "DIT701", "DIT702", "DIT703"))
"""The rules whose findings may stand in another file than what caused them."""

_NOTHING = _identity(())
