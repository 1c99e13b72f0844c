"""Inlay hints: at the end of each rule of a mapping, how many keys it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lsprotocol import types

from analyzers.findings import Span
from lsp_server.moving import Shift
from lsp_server.plain import as_mapping
from lsp_server.positions import to_byte_column, to_range, to_span
from lsp_server.session import Session
from lsp_server.weight_views import card_at, hints

if TYPE_CHECKING:
    from lsp_server.server import Server
    from lsp_server.workspace import Tree

_Placed = tuple[Span, str]


def register(server: Server) -> None:
    """Adds the handler."""
    shown = ShownHints()

    @server.feature(types.TEXT_DOCUMENT_INLAY_HINT, types.InlayHintOptions(resolve_provider=True))
    async def inlay_hints(params: types.InlayHintParams) -> list[types.InlayHint] | None:
        document = server.documents.get(params.text_document.uri)
        placed = server.place(params.text_document.uri)
        if document is None or placed is None or not placed[1].endswith(".py"):
            return None
        tree, path = placed
        if not tree.ready:
            return None
        version = document.version
        found = await tree.ask(lambda session: shown.of(tree, session, path))
        if document.version != version:
            return None
        wanted = to_span(params.range, document.lines, document.encoding)
        return [
            types.InlayHint(
                position=to_range(span, document.lines, document.encoding).start,
                label=label,
                padding_left=True,
                data={"uri": document.uri, "version": version},
            )
            for span, label in found
            if wanted.line <= span.line <= wanted.end_line
        ]

    @server.feature(types.INLAY_HINT_RESOLVE)
    async def resolve(hint: types.InlayHint) -> types.InlayHint:
        """The keys of a rule are listed only for the hint that somebody points at."""
        data = as_mapping(hint.data) or {}
        document = server.documents.get(str(data.get("uri")))
        placed = server.place(str(data.get("uri")))
        if document is None or placed is None or document.version != data.get("version"):
            return hint
        tree, path = placed
        column = to_byte_column(document.lines, hint.position, document.encoding)
        end = Span(hint.position.line, column, hint.position.line, column)
        found = await tree.ask(lambda session: card_at(session, path, end))
        if found is not None:
            hint.tooltip = types.MarkupContent(types.MarkupKind.Markdown, found[1])
        return hint


class ShownHints:
    """The hints of each file, those of before while its text does not parse: a rule that is being typed
    would else take all hints away at every other key. Only the analysis thread touches them."""

    def __init__(self) -> None:
        self._last: dict[tuple[Tree, str], tuple[Sequence[str], list[_Placed]]] = {}

    def of(self, tree: Tree, session: Session, path: str) -> list[_Placed]:
        """The hints of a file's present text."""
        facts = session.project.file(path)
        lines = session.lines(path).lines
        if facts is not None and facts.broken:
            before, earlier = self._last.get((tree, path), ((), []))
            shift = Shift(before, lines)
            same = len(before) == len(lines)
            return [
                placed for span, label in earlier if (placed := _shifted(shift, span, label, lines, same))
            ]
        found = hints(session, path)
        self._last[tree, path] = (lines, found)
        return found


def _shifted(shift: Shift, span: Span, label: str, lines: Sequence[str], same: bool) -> _Placed | None:
    """A hint on its line; at the end of the line that is being typed, if no line was added or removed."""
    line = shift.line(span.line)
    if line is not None:
        return replace(span, line=line, end_line=line), label
    if not same:
        return None
    end = len(lines[span.line].encode("utf-8", "surrogatepass"))
    return replace(span, column=end, end_column=end), label
