"""`ditproof.handoff`: what a port hands over, as the command line tells it; nothing is run.

Where the workspace is not trusted git is not asked: a repository's own settings may name programs to run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from analyzers.findings import Span
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.checks.handoff.gate import Gate, gate_of
from lsp_server.checks.handoff.gathering import Found, Handed, found_of, handed, official_files
from lsp_server.checks.handoff.report import document_json, report_markdown
from lsp_server.checks.handoff.state_files import Updated, updated
from lsp_server.documents import uri_of
from lsp_server.edits import text_edits
from lsp_server.features.named import REQUEST_FAILED, ports_named
from lsp_server.git import Branch, branch_of
from lsp_server.session import Session

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

HANDOFF = "ditproof.handoff"
_UNTRUSTED = (
    "git is not asked in a workspace that is not trusted: what changed and what was left is not known"
)


def register(server: Server) -> None:
    """Adds the command."""

    @server.command(HANDOFF)
    async def handoff(arguments: list[Any]) -> dict[str, Any]:
        return await hand_over(server, arguments[0] if arguments else None)


@dataclass(frozen=True)
class _Told:
    found: Found
    given: Handed
    gate: Gate


async def hand_over(server: Server, argument: Any) -> dict[str, Any]:
    """The handoff of the first port that an argument names (as for `ditproof.trace`): `markdown`, `json`, and
    `edits` by URI where a state file is behind. Raises JsonRpcException."""
    tree, ports = await ports_named(server, argument, _ports_at, _itself)
    key = state_key(ports[0])
    trusted = server.settings.trusted
    branch = await asyncio.to_thread(branch_of, tree.root) if trusted else None
    found = await tree.ask(lambda session: _found(session, key, branch))
    if found is None:
        raise JsonRpcException(f"{key} is gone meanwhile", REQUEST_FAILED)
    try:
        told = await asyncio.to_thread(_tell, tree, found, branch, trusted)
    except EvidenceError as error:
        raise JsonRpcException(str(error), REQUEST_FAILED) from error
    texts = await tree.ask(lambda session: {path: session.sources.text(path) for path in found.documents})
    files = [updated(path, text, told.given.news) for path, text in texts.items() if text is not None]
    against = branch.against if branch is not None else None
    return {
        "markdown": report_markdown(found, told.given, told.gate, files),
        "json": document_json(found, told.given, told.gate, files, written=False, against=against),
        "edits": _edits(server, tree, files),
    }


def port_at(session: Session, path: str, asked: Span) -> Port | None:
    """The port whose name a range touches."""
    for port in session.project.ports:
        place = port.location
        if place.path == path and place.span.line == asked.line == asked.end_line:
            return port
    return None


def action_for(port: Port) -> types.CodeAction:
    """What an editor offers on the class."""
    title = f"Hand over {port.name}"
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        command=types.Command(title, HANDOFF, arguments=[{"port": state_key(port)}]),
    )


def _ports_at(session: Session, path: str, line: int | None) -> Sequence[Port]:
    """The ports of a file; the one whose class a line is in, where there is one."""
    ports = session.project.ports
    mine = [port for port in ports if port.cls.path == path]
    around = [
        port
        for port in mine
        if line is not None and port.cls.line <= line <= port.cls.at(port.cls.fact.span).span.end_line
    ]
    if around or mine:
        return around or mine
    of_config = [port for port in ports if port.config is not None and port.config.path == path]
    return of_config or [port for port in ports if path in (*port.parity_tests, port.status_file)]


def _itself(project: Project, port: Port) -> Port:
    return port


def _found(session: Session, key: str, branch: Branch | None) -> Found | None:
    port = next((port for port in session.project.ports if state_key(port) == key), None)
    return found_of(session.project, port, branch) if port is not None else None


def _tell(tree: Tree, found: Found, branch: Branch | None, trusted: bool) -> _Told:
    given = handed(found, EvidenceStore(tree.root))
    if not trusted:
        return _Told(found, given, Gate((), (_UNTRUSTED,)))
    official = official_files(found, given.kept)
    return _Told(found, given, gate_of(tree.root, found.profile, branch, official))


def _edits(server: Server, tree: Tree, files: Sequence[Updated]) -> dict[str, list[dict[str, Any]]]:
    """The changes as LSP text edits, by URI as the client spells it."""
    uris = server.uris_of(tree)
    return {
        uris.get(file.path, uri_of(tree.root, file.path)): [
            {
                "range": {
                    "start": {"line": edit.range.start.line, "character": edit.range.start.character},
                    "end": {"line": edit.range.end.line, "character": edit.range.end.character},
                },
                "newText": edit.new_text,
            }
            for edit in text_edits(file.before, file.after, server.encoding)
        ]
        for file in files
        if file.changes
    }
