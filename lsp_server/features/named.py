"""What the argument of a command names: a tree, a file of it, ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pygls.exceptions import JsonRpcException

from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.plain import as_mapping
from lsp_server.session import Session

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

INVALID_PARAMS = -32602
REQUEST_FAILED = -32803

W = TypeVar("W")
PortsAt = Callable[[Session, str, "int | None"], Sequence[Port]]
"""The ports that belong to a line (from 0; None: no line) of a file."""


async def ports_named(
    server: Server, argument: Any, at: PortsAt, wanted_of: Callable[[Project, Port], W]
) -> tuple[Tree, list[W]]:
    """The ports that `{"uri", "line"}`, `{"uri", "class"}` or `{"port": "path::Class"}` names, as `wanted_of`
    has them; at least one.

    Raises JsonRpcException.
    """
    given = as_mapping(argument) or {}
    uri, line, cls, key = (given.get(name) for name in ("uri", "line", "class", "port"))
    if isinstance(uri, str):
        tree, path = file_named(server, uri)
        where = path

        def ports(session: Session) -> Sequence[Port]:
            if isinstance(cls, str):
                return [port for port in at(session, path, None) if port.name == cls]
            return at(session, path, line if isinstance(line, int) else None)

    elif isinstance(key, str):
        where = key
        tree = tree_with(server, key.partition("::")[0])

        def ports(session: Session) -> Sequence[Port]:
            return [port for port in session.project.ports if state_key(port) == key]

    else:
        raise JsonRpcException('expected {"uri", "line"} or {"port": "path::Class"}', INVALID_PARAMS)
    found = await tree.ask(lambda session: [wanted_of(session.project, port) for port in ports(session)])
    if not found:
        raise JsonRpcException(f"no port belongs to {where}", REQUEST_FAILED)
    return tree, found


def file_named(server: Server, uri: str) -> tuple[Tree, str]:
    """The tree that a document belongs to, with its path there. Raises JsonRpcException."""
    placed = server.place(uri)
    if placed is None:
        raise JsonRpcException("this file is not part of a tree that ditproof knows", REQUEST_FAILED)
    return placed


def tree_with(server: Server, path: str) -> Tree:
    """The first tree that has a file. Raises JsonRpcException."""
    for tree in server.trees.trees:
        if (tree.root / path).is_file():
            return tree
    raise JsonRpcException(f"there is no file {path} in this workspace", REQUEST_FAILED)
