"""Code lenses: run parity from a port's class, and from each test of a parity test file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lsprotocol import types

from analyzers.facts.model import Placed
from analyzers.findings import Span
from lsp_server.documents import uri_of
from lsp_server.positions import to_range
from lsp_server.session import Session

if TYPE_CHECKING:
    from lsp_server.server import Server

COMMAND = "ditproof.parity"
MOST_TESTS = 3
"""Lenses on one class; further tests have lenses of their own, in their files."""


def register(server: Server) -> None:
    """Adds the handler."""

    @server.feature(types.TEXT_DOCUMENT_CODE_LENS, types.CodeLensOptions(resolve_provider=False))
    async def lenses(params: types.CodeLensParams) -> list[types.CodeLens]:
        document = server.documents.get(params.text_document.uri)
        placed = server.place(params.text_document.uri)
        if document is None or placed is None:
            return []
        tree, path = placed
        uris, version = server.uris_of(tree), document.version

        def question(session: Session) -> list[tuple[Span, str, dict[str, Any]]]:
            found: list[tuple[Span, str, dict[str, Any]]] = []
            for port in session.project.ports:
                if port.location.path == path:
                    for test in port.parity_tests[:MOST_TESTS]:
                        name = test.rpartition("/")[2].removesuffix(".py")
                        target = {"uri": uris.get(test) or uri_of(tree.root, test), "line": None}
                        found.append((port.location.span, f"Run parity: {name}", target))
            for span in _tests(session, path):
                here = {"uri": document.uri, "line": span.line}
                found.append((span, "ditproof: run parity", here))
            return found

        found = await tree.ask(question) if tree.ready else []
        if document.version != version:
            return []
        return [
            types.CodeLens(
                to_range(span, document.lines, document.encoding),
                types.Command(title, COMMAND, arguments=[target]),
            )
            for span, title, target in found
        ]


def _tests(session: Session, path: str) -> list[Span]:
    """The names of a parity test file's tests, as pytest would collect them by default."""
    if not session.profile.is_parity_test(path):
        return []
    facts = session.project.file(path)
    if facts is None:
        return []
    return [
        function.at(function.fact.name_span).span
        for cls, function in facts.all_functions()
        if function.fact.name.startswith("test") and (cls is None or _is_test_class(cls))
    ]


def _is_test_class(cls: Placed[Any]) -> bool:
    return str(cls.fact.name).startswith("Test")
