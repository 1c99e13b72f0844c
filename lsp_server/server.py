"""The language server: what all features share, and how they are put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from analyzers.project.sources import READABLE
from lsp_server.checks.meta import MetaWorker
from lsp_server.config import ClientSettings
from lsp_server.documents import Document, Documents, file_of
from lsp_server.edit_client import EditClient, EditRefused
from lsp_server.features import (
    code_actions,
    commands,
    configuration,
    diagnostics,
    handoff,
    hover,
    inlay,
    lenses,
    parity,
    parity_on_save,
    recipes,
    synchronisation,
    trace,
    weights,
)
from lsp_server.positions import Encoding
from lsp_server.protocol import Protocol
from lsp_server.session import Changes
from lsp_server.status import Status
from lsp_server.verdicts import Verdicts
from lsp_server.version import installed_version
from lsp_server.workspace import Tree, Workspace

log = logging.getLogger(__name__)


class Server(LanguageServer):
    """State that several features need. Features are modules with a function `register(server)`."""

    def __init__(self) -> None:
        super().__init__(
            "ditproof", installed_version() or "from its sources", protocol_cls=Protocol, max_workers=2
        )
        self.documents = Documents()
        self.trees = Workspace()
        self.settings = ClientSettings()
        self.edits = EditClient()
        self.verdicts = Verdicts()
        self.status = Status(self)
        self.diagnoser = diagnostics.Diagnoser(self)
        self.runs = parity.ParityRuns(self)
        self.saves = parity_on_save.ParityOnSave(self)
        self.worker = MetaWorker()
        self.weights = weights.WeightChecks(self)
        self.traces = trace.TraceChecks(self)
        self._tasks: set[asyncio.Task[Any]] = set()
        for feature in (
            synchronisation,
            diagnostics,
            configuration,
            code_actions,
            hover,
            lenses,
            inlay,
            parity,
            weights,
            trace,
            recipes,
            handoff,
            commands,
        ):
            feature.register(self)

    # ------------------------------------------------------------------ the client

    @property
    def encoding(self) -> Encoding:
        """How the client counts columns."""
        return self.workspace.position_encoding or types.PositionEncodingKind.Utf16

    @property
    def pulls(self) -> bool:
        """Whether the client asks for diagnostics itself, and can be told to ask again."""
        document = self.client_capabilities.text_document
        asks = document is not None and document.diagnostic is not None
        return asks and self._can_refresh_diagnostics

    @property
    def _can_refresh_diagnostics(self) -> bool:
        workspace = self.client_capabilities.workspace
        return workspace is not None and bool(workspace.diagnostics and workspace.diagnostics.refresh_support)

    def tell(self, text: str, kind: types.MessageType = types.MessageType.Info) -> None:
        """One line in the client's log."""
        self.window_log_message(types.LogMessageParams(kind, text))

    async def refresh_diagnostics(self) -> None:
        """Asks the client to ask again for the diagnostics that it shows."""
        if self._can_refresh_diagnostics:
            await self._refresh(self.workspace_diagnostic_refresh_async(None))

    async def refresh_lenses(self) -> None:
        """Asks the client to ask again for code lenses."""
        workspace = self.client_capabilities.workspace
        if workspace is not None and workspace.code_lens and workspace.code_lens.refresh_support:
            await self._refresh(self.workspace_code_lens_refresh_async(None))

    async def refresh_hints(self) -> None:
        """Asks the client to ask again for inlay hints."""
        workspace = self.client_capabilities.workspace
        if workspace is not None and workspace.inlay_hint and workspace.inlay_hint.refresh_support:
            await self._refresh(self.workspace_inlay_hint_refresh_async(None))

    async def _refresh(self, request: Awaitable[None]) -> None:
        try:
            await request
        except JsonRpcException as error:
            log.warning("the client did not refresh: %s", error)

    # ------------------------------------------------------------------ documents and trees

    def place(self, uri: str) -> tuple[Tree, str] | None:
        """The tree and relative path of a URI; None for what is no file, or lies in no tree."""
        document = self.documents.get(uri)
        file = document.file if document is not None else file_of(uri)
        return self.trees.place(file) if file is not None else None

    def opened(self, tree: Tree) -> Iterator[tuple[Document, str]]:
        """The open documents of a tree that rules may look at, with their relative paths."""
        for document in self.documents:
            placed = self.place(document.uri)
            if placed is not None and placed[0] is tree and placed[1].endswith(READABLE):
                yield document, placed[1]

    def uris_of(self, tree: Tree) -> dict[str, str]:
        """Relative path -> URI of the open documents of a tree, as the client spelled them."""
        return {path: document.uri for document, path in self.opened(tree)}

    def note(self, tree: Tree, changes: Changes) -> None:
        """Keeps what changed in a tree for whoever is asked next, here and in the edit worker."""
        tree.note(changes)
        self.edits.note(tree.root, changes)

    async def warm_edits(self, tree: Tree) -> None:
        """Starts the edit worker before the first fix is asked for."""
        texts = {path: document.text for document, path in self.opened(tree)}
        try:
            await self.edits.warm_up(tree.root, texts)
        except EditRefused as refusal:
            log.warning("the edit worker is not ready: %s", refusal)

    # ------------------------------------------------------------------ work

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something beside the requests; an error in it is logged, not lost."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def wind_down(self) -> None:
        """Ends everything that still goes on, runs with all that they started; nothing is sent after."""
        self.diagnoser.stop()
        self.saves.stop()
        await self.runs.cancel_all()
        self.weights.stop()
        self.traces.stop()
        await self.worker.end()
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        await self.edits.end()

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    def shutdown(self) -> None:
        """Ends what the server started; called when the connection is gone."""
        self.edits.close()
        self.saves.stop()
        self.weights.stop()
        self.traces.stop()
        self.worker.kill()
        self.trees.close()
        super().shutdown()  # type: ignore[no-untyped-call]
