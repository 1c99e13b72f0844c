"""pygls's protocol with documents of our own, and commands that can be cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, cast

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.protocol import LanguageServerProtocol, lsp_method

if TYPE_CHECKING:
    from lsp_server.server import Server

Command = Callable[[list[Any]], Awaitable[Any]]


class Protocol(LanguageServerProtocol):
    """What pygls does, except where it would cost time at every key or lose a cancellation."""

    @property
    def ours(self) -> Server:
        """The server, by its own type."""
        return cast("Server", self._server)

    @lsp_method(types.INITIALIZE)
    def lsp_initialize(self, params: types.InitializeParams) -> Generator[Any, Any, types.InitializeResult]:
        """Offers to be asked for diagnostics only to a client that can be told to ask again.

        Findings cross files and come late while a tree is read. Neovim 0.11 asks but cannot be told,
        and would show a file's first, empty answer until the next key.
        """
        result: types.InitializeResult = yield from super().lsp_initialize(params)
        if not self.ours.pulls:
            result.capabilities.diagnostic_provider = None
        return result

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(
        self, params: types.DidOpenTextDocumentParams
    ) -> Generator[Any, Any, None]:
        """Takes a document up, then tells the features."""
        self.ours.documents.open(params.text_document, self.ours.encoding)
        yield from self._tell(types.TEXT_DOCUMENT_DID_OPEN, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(
        self, params: types.DidChangeTextDocumentParams
    ) -> Generator[Any, Any, None]:
        """Changes a document, then tells the features."""
        self.ours.documents.change(params)
        yield from self._tell(types.TEXT_DOCUMENT_DID_CHANGE, params)

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(
        self, params: types.DidCloseTextDocumentParams
    ) -> Generator[Any, Any, None]:
        """Lets a document go, then tells the features."""
        self.ours.documents.close(params.text_document.uri)
        yield from self._tell(types.TEXT_DOCUMENT_DID_CLOSE, params)

    @lsp_method(types.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]
        self, params: types.ExecuteCommandParams
    ) -> Any:
        """Runs a command in the request's own task, so that cancelling the request cancels it."""
        command: Command | None = self.fm.commands.get(params.command)
        if command is None:
            raise JsonRpcInvalidParams(f"there is no command '{params.command}'")
        return await command(list(params.arguments or ()))

    def _tell(self, method: str, params: Any) -> Generator[Any, Any, None]:
        handler = self.fm.features.get(method)
        if handler is not None:
            yield handler, (params,), None
