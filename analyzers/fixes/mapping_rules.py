"""The items of a mapping's display, found by what they say and edited as text.

A display stands in a `container`: `Class.attribute`, `Class.method`, a constant or a function. The
tree says where its items begin and end; every byte outside an edit stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.texts import Piece, Source, parse_piece, pieces, source_of

_CLOSING = re.compile(r"(?:\s|#[^\n]*\n)*\)")


@dataclass(frozen=True)
class Item:
    """One `key: value` of a display: its pattern (None where the key is no literal), and offsets in
    the text around: of the key, and of the end of the value."""

    pattern: str | None
    start: int
    end: int
    key: cst.BaseExpression
    key_end: int


@dataclass(frozen=True)
class Display:
    """A display in a text; `open`, `close`: the offsets of its braces."""

    text: str
    items: tuple[Item, ...]
    open: int
    close: int

    def index(self, pattern: str) -> int:
        """The place of the item with that pattern. Raises `Refused` where it is not there once."""
        found = [i for i, item in enumerate(self.items) if item.pattern == pattern]
        if len(found) != 1:
            raise Refused(f"the rule {pattern!r} is not there once")
        return found[0]

    def lines_of(self, index: int) -> tuple[int, int]:
        """The offsets of the full lines that an item fills with its comma and the comment behind it.

        Raises `Refused` where something else stands on them.
        """
        item = self.items[index]
        begin = self.text.rfind("\n", 0, item.start) + 1
        limit = self.items[index + 1].start if index + 1 < len(self.items) else self.close
        newline = self.text.find("\n", item.end)
        alone = not self.text[begin : item.start].strip() and 0 <= newline < limit
        if not alone or not re.fullmatch(r"[ \t]*,?[ \t]*(#.*)?", self.text[item.end : newline]):
            raise Refused("the rule shares its line with something else")
        return begin, newline + 1


Change = Callable[[Display], str]
"""A display in its text -> the new text."""


def changed_display(arguments: Mapping[str, JsonValue], read: Read, change: Change) -> dict[str, str]:
    """The file with one display changed.

    Arguments: `path`, `container`, `pattern`. Raises `Refused` where there is not exactly one display
    with that pattern in the container.
    """
    path, container = text_argument(arguments, "path"), text_argument(arguments, "container")
    pattern = text_argument(arguments, "pattern")
    source = source_of(read_text(read, path), path)
    found = [
        (piece, display)
        for piece, display in displays_in(source, path, container)
        if any(item.pattern == pattern for item in display.items)
    ]
    if len(found) != 1:
        raise Refused(f"{container} in {path} does not hold the rule {pattern!r} exactly once")
    ((piece, display),) = found
    new = source.text[: piece.begin] + change(display) + source.text[piece.end :]
    return {path: source.restored(new)}


def displays_in(source: Source, path: str, container: str) -> list[tuple[Piece, Display]]:
    """The displays that stand in a container, each with the piece of the file whose text it speaks of."""
    head, _, member = container.partition(".")
    begins = re.compile(rf"^(?:class\s+|def\s+|async\s+def\s+)?{re.escape(head)}\b", re.MULTILINE)
    return [
        (piece, display)
        for piece in pieces(source.text)
        if begins.search(piece.text) is not None
        for display in _displays(parse_piece(piece, path), piece.text, head, member)
    ]


_NOTHING = m.Arg(keyword=m.Name("default_factory"), value=m.Name("dict"))


def with_display(source: Source, path: str, container: str) -> Source:
    """The source with an empty display where the container says `default_factory=dict`."""
    head, _, member = container.partition(".")
    for piece in pieces(source.text):
        if "default_factory" not in piece.text:
            continue
        module = parse_piece(piece, path)
        for statement in module.body:
            for part in _parts(statement, head, member):
                for found in m.findall(part, _NOTHING):
                    made = cst.ensure_type(found, cst.Arg).with_changes(
                        value=cst.parse_expression("lambda: {}")
                    )
                    changed = module.deep_replace(found, made)
                    assert isinstance(changed, cst.Module)
                    text = source.text[: piece.begin] + changed.code + source.text[piece.end :]
                    return replace(source, text=text)
    return source


def _displays(module: cst.Module, text: str, head: str, member: str) -> Iterator[Display]:
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)

    def begin(node: cst.CSTNode) -> int:
        at = positions[node].start
        return starts[at.line - 1] + at.column

    def end(node: cst.BaseExpression) -> int:
        at = positions[node].end
        offset = starts[at.line - 1] + at.column
        # The tree's positions leave parentheses out.
        for _ in node.rpar:
            closing = _CLOSING.match(text, offset)
            assert closing is not None
            offset = closing.end()
        return offset

    for statement in wrapper.module.body:
        for part in _parts(statement, head, member):
            for node in m.findall(part, m.Dict()):
                assert isinstance(node, cst.Dict)
                items = tuple(
                    Item(_string(e.key), begin(e), end(e.value), e.key, end(e.key))
                    if isinstance(e, cst.DictElement)
                    else Item(None, begin(e), end(e.value), e.value, end(e.value))
                    for e in node.elements
                )
                yield Display(text, items, begin(node), end(node) - 1)


def _parts(statement: cst.CSTNode, head: str, member: str) -> Iterator[cst.CSTNode]:
    """The statements that the container names."""
    if isinstance(statement, cst.ClassDef) and statement.name.value == head and member:
        for inner in statement.body.body:
            if (isinstance(inner, cst.FunctionDef) and inner.name.value == member) or _assigns(inner, member):
                yield inner
    elif not member and (
        (isinstance(statement, cst.FunctionDef) and statement.name.value == head) or _assigns(statement, head)
    ):
        yield statement


def _assigns(statement: cst.CSTNode, name: str) -> bool:
    if not isinstance(statement, cst.SimpleStatementLine):
        return False
    for small in statement.body:
        if isinstance(small, cst.Assign):
            targets = [t.target for t in small.targets]
        elif isinstance(small, cst.AnnAssign):
            targets = [small.target]
        else:
            continue
        if any(isinstance(t, cst.Name) and t.value == name for t in targets):
            return True
    return False


def _string(node: cst.BaseExpression) -> str | None:
    if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None
