"""Inlay hints: at the end of each rule of a mapping, how many keys it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lsprotocol import types

from analyzers.findings import Span
from lsp_server.moving import Shift
from lsp_server.plain import as_mapping
from lsp_server.positions import to_byte_column, to_range, to_span
from lsp_server.session import Session
from lsp_server.weight_views import Hint, card_at, hints

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


@dataclass(frozen=True)
class _Told:
    """A text that parsed, and its hints."""

    lines: Sequence[str]
    hints: list[Hint]


class ShownHints:
    """The hints of each file, those of before while its text does not parse: a rule that is being typed
    would else take all hints away at every other key. Only the analysis thread touches them.

    Of a file the last text that parsed is kept, and the last one before it that had another number of
    lines: the first keys of a rule on a line of its own may parse and take the rule below for their rest
    (`r"new"` above `r"old": ...` is one pattern), which is then no rule of its own for a while.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[Tree, str], list[_Told]] = {}

    def of(self, tree: Tree, session: Session, path: str) -> list[_Placed]:
        """The hints of a file's present text, each where it is shown."""
        facts = session.project.file(path)
        lines = session.lines(path).lines
        told = self._told.get((tree, path), [])
        if facts is not None and facts.broken:
            return _moved(told, lines)
        found = hints(session, path)
        before = [other for other in told if len(other.lines) != len(lines)]
        self._told[tree, path] = [_Told(lines, found), *before][:2]
        return [(hint.end, hint.label) for hint in found]


def _moved(told: Sequence[_Told], lines: Sequence[str]) -> list[_Placed]:
    """Hints of before in a text that does not parse; a line has that of the newest text that has one."""
    placed: dict[int, _Placed] = {}
    for number, before in enumerate(told):
        shift = Shift(before.lines, lines)
        same = number == 0 and len(before.lines) == len(lines)
        for hint in before.hints:
            span = _place(shift, hint, lines, same)
            if span is not None:
                placed.setdefault(span.line, (span, hint.label))
    return [placed[line] for line in sorted(placed)]


def _place(shift: Shift, hint: Hint, lines: Sequence[str], same: bool) -> Span | None:
    """Behind a rule whose lines are all there; else behind the line that is being typed, if no line was
    added or removed (`same`)."""
    first, last = hint.key.line, hint.end.line
    now = [shift.line(line) for line in range(first, last + 1)]
    if now[0] is not None and now == list(range(now[0], now[0] + len(now))):
        line = now[0] + last - first
        return replace(hint.end, line=line, end_line=line)
    if not same or hint.key.line != hint.key.end_line:
        return None
    end = len(lines[last].encode("utf-8", "surrogatepass"))
    return Span(last, end, last, end)
