"""`ditproof.writeRecipe`: a recipe to begin with, made from the two forward signatures and opened."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.findings import Span
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.checks.errors import CheckError
from lsp_server.checks.interpreter import find_interpreter
from lsp_server.checks.recipes import FOLDER, NoRecipe
from lsp_server.checks.scaffold import scaffold_of
from lsp_server.documents import uri_of
from lsp_server.features.named import REQUEST_FAILED
from lsp_server.session import Session
from lsp_server.tracing import why_without

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

WRITE_RECIPE = "ditproof.writeRecipe"
START = types.Position(0, 0)


def register(server: Server) -> None:
    """Adds the command."""

    @server.command(WRITE_RECIPE)
    async def write(arguments: list[Any]) -> dict[str, Any]:
        return await write_recipe(server, arguments[0] if arguments else None)


async def write_recipe(server: Server, argument: Any) -> dict[str, Any]:
    """Writes the recipe of the port that an argument names (as for `ditproof.trace`) and shows it.

    Through the editor, where it can create files, so that it can be taken back there. Raises
    JsonRpcException where the recipe is there already, or a signature cannot be read.
    """
    tree, found = await server.traces.named(argument)
    lacking = [wanted.port for wanted in found if isinstance(wanted.question, NoRecipe)]
    if not lacking:
        raise JsonRpcException(f"there is a recipe for {found[0].port.name}", REQUEST_FAILED)
    port = lacking[0]
    path = f"{FOLDER}/{port.name}.py"
    target = tree.root / path
    if target.exists():
        raise JsonRpcException(f"{path} is there already: edit it, or remove it first", REQUEST_FAILED)
    try:
        text = await _text(server, tree, port)
    except CheckError as error:
        raise JsonRpcException(str(error), REQUEST_FAILED) from error
    uri = uri_of(tree.root, path)
    if _creates_files(server.client_capabilities):
        answer = await server.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(_creation(uri, text), label=f"Write a recipe for {port.name}")
        )
        if not answer.applied:
            reason = answer.failure_reason or "the editor did not write it"
            raise JsonRpcException(f"{path}: {reason}", REQUEST_FAILED)
    else:
        await asyncio.to_thread(_write, target, text)
    window = server.client_capabilities.window
    if window is not None and window.show_document is not None and window.show_document.support:
        await server.window_show_document_async(types.ShowDocumentParams(uri, take_focus=True))
    return {"path": path, "uri": uri, "port": state_key(port)}


def port_without_recipe(session: Session, path: str, asked: Span) -> Port | None:
    """The port whose name a range touches, where it has something to be compared with and no recipe."""
    for port in session.project.ports:
        place = port.location
        here = place.path == path and place.span.line == asked.line == asked.end_line
        if here and port.oracle is not None and isinstance(why_without(session.project, port), NoRecipe):
            return port
    return None


def action_for(port: Port) -> types.CodeAction:
    """What an editor offers on the class."""
    title = f"Write a recipe for {port.name}"
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        command=types.Command(title, WRITE_RECIPE, arguments=[{"port": state_key(port)}]),
    )


async def _text(server: Server, tree: Tree, port: Port) -> str:
    interpreter = await asyncio.to_thread(find_interpreter, tree.root, server.settings.python)
    return await tree.ask(
        lambda session: scaffold_of(
            session.project, port, official=None, python=interpreter.path, here=session.root
        )
    )


def _creates_files(able: types.ClientCapabilities) -> bool:
    workspace = able.workspace
    edit = workspace.workspace_edit if workspace is not None else None
    if workspace is None or not workspace.apply_edit or edit is None or not edit.document_changes:
        return False
    return types.ResourceOperationKind.Create in (edit.resource_operations or ())


def _creation(uri: str, text: str) -> types.WorkspaceEdit:
    return types.WorkspaceEdit(
        document_changes=[
            types.CreateFile(uri, options=types.CreateFileOptions(overwrite=False, ignore_if_exists=False)),
            types.TextDocumentEdit(
                types.OptionalVersionedTextDocumentIdentifier(uri, None),
                [types.TextEdit(types.Range(START, START), text)],
            ),
        ]
    )


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("x", encoding="utf-8") as file:
        file.write(text)
