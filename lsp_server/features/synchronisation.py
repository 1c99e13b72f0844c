"""Documents, watched files and folders: what the client says has changed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.project.sources import READABLE
from lsp_server.documents import file_of
from lsp_server.features.configuration import ask_for_settings
from lsp_server.plain import as_mapping
from lsp_server.session import Changes

if TYPE_CHECKING:
    from lsp_server.server import Server

WATCHED = (
    "**/*.py",
    "**/pyproject.toml",
    "**/ditproof.toml",
    "**/{config,model_index}.json",
    "**/*_keys.json",
    "**/PORT_STATUS.md",
    "**/*baseline*.json",
)

log = logging.getLogger(__name__)


def register(server: Server) -> None:
    """Adds the handlers."""

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        given = as_mapping(params.initialization_options) or {}
        server.settings = server.settings.updated(given.get("settings"))

    @server.feature(types.INITIALIZED)
    async def initialized(params: types.InitializedParams) -> None:
        for folder in list(server.workspace.folders.values()):
            _take_folder(server, folder.uri)
        await _watch(server)
        await ask_for_settings(server)

    @server.feature(types.SHUTDOWN)
    async def shutdown(params: None) -> None:
        await server.wind_down()

    @server.feature(types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def folders_changed(params: types.DidChangeWorkspaceFoldersParams) -> None:
        for folder in params.event.added:
            _take_folder(server, folder.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: types.DidOpenTextDocumentParams) -> None:
        _text_changed(server, params.text_document.uri, typed=False)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: types.DidChangeTextDocumentParams) -> None:
        _text_changed(server, params.text_document.uri, typed=True)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        placed = server.place(uri)
        if placed is not None:
            tree, path = placed
            server.note(tree, Changes(texts={path: None}, files={path}))
            server.diagnoser.closed(uri)
            server.diagnoser.schedule(tree)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: types.DidSaveTextDocumentParams) -> None:
        placed = server.place(params.text_document.uri)
        if placed is not None:
            tree, path = placed
            server.note(tree, Changes(files={path}))
            server.diagnoser.schedule(tree)
            server.weights.saved(tree, path)
            server.traces.saved(tree, path)
            server.saves.saved(tree, path)

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def files_changed(params: types.DidChangeWatchedFilesParams) -> None:
        """Any number of files, as after a checkout: they wait together for the next look."""
        for change in params.changes:
            file = file_of(change.uri)
            if file is None:
                continue
            for tree in server.trees.trees:
                path = tree.relative(file)
                if path is not None:
                    server.note(tree, Changes(files={path}))
                    server.diagnoser.schedule(tree)
                    server.weights.saved(tree, path)
                    server.traces.saved(tree, path)
                    server.saves.saved(tree, path)


def _take_folder(server: Server, uri: str) -> None:
    folder = file_of(uri)
    if folder is not None and folder.is_dir():
        tree = server.trees.tree_around(Path(folder))
        if tree is not None:
            server.diagnoser.index(tree)


def _text_changed(server: Server, uri: str, *, typed: bool) -> None:
    document = server.documents.get(uri)
    placed = server.place(uri)
    if document is None or placed is None:
        return
    tree, path = placed
    if not path.endswith(READABLE):
        server.note(tree, Changes(files={path}))
        server.diagnoser.schedule(tree)
        return
    server.note(tree, Changes(texts={path: document.text}))
    server.diagnoser.changed(uri)
    if typed:
        server.diagnoser.typed(tree)
    else:
        server.diagnoser.schedule(tree)
        server.weights.opened(tree, path)


async def _watch(server: Server) -> None:
    workspace = server.client_capabilities.workspace
    watching = workspace.did_change_watched_files if workspace is not None else None
    if watching is None or not watching.dynamic_registration:
        return
    options = types.DidChangeWatchedFilesRegistrationOptions(
        [types.FileSystemWatcher(pattern) for pattern in WATCHED]
    )
    registration = types.Registration(
        "ditproof.files", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, register_options=options
    )
    try:
        await server.client_register_capability_async(types.RegistrationParams([registration]))
    except JsonRpcException as error:
        log.warning("the client does not watch files for us: %s", error)
