"""Columns as the client counts them, and back to the bytes of a `Span`."""

from __future__ import annotations

from lsprotocol import types

from analyzers.facts.positions import LineIndex
from analyzers.findings import Span

Encoding = types.PositionEncodingKind | str


def to_range(span: Span, lines: LineIndex, encoding: Encoding) -> types.Range:
    """A span as the client's range; what lies beyond the text is clamped to it."""
    return types.Range(
        types.Position(span.line, _to_client(lines, span.line, span.column, encoding)),
        types.Position(span.end_line, _to_client(lines, span.end_line, span.end_column, encoding)),
    )


def to_span(given: types.Range, lines: LineIndex, encoding: Encoding) -> Span:
    """The client's range as a span."""
    return Span(
        given.start.line,
        to_byte_column(lines, given.start, encoding),
        given.end.line,
        to_byte_column(lines, given.end, encoding),
    )


def to_byte_column(lines: LineIndex, position: types.Position, encoding: Encoding) -> int:
    """A client's column as a count of UTF-8 bytes."""
    text = lines.line(position.line)
    if text.isascii():
        return min(position.character, len(text))
    head = text[: code_points_before(text, position.character, encoding)]
    return len(head.encode("utf-8", "surrogatepass"))


def code_points_before(line: str, character: int, encoding: Encoding) -> int:
    """How many code points of a line stand before a client's column (one inside a character: before it)."""
    if encoding == types.PositionEncodingKind.Utf32 or line.isascii():
        return min(character, len(line))
    width = _utf8_width if encoding == types.PositionEncodingKind.Utf8 else _utf16_width
    consumed = 0
    for index, letter in enumerate(line):
        consumed += width(letter)
        if consumed > character:
            return index
    return len(line)


def _to_client(lines: LineIndex, line: int, column: int, encoding: Encoding) -> int:
    if encoding == types.PositionEncodingKind.Utf16:
        return lines.utf16(line, column)
    if encoding == types.PositionEncodingKind.Utf32:
        return lines.code_points(line, column)
    return min(column, len(lines.line(line).encode("utf-8", "surrogatepass")))


def _utf16_width(letter: str) -> int:
    return 2 if ord(letter) > 0xFFFF else 1


def _utf8_width(letter: str) -> int:
    code = ord(letter)
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
