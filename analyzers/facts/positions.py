"""Columns for the outside world: UTF-8 bytes (`Span`) to code points or UTF-16 units, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from analyzers.facts.chunks import normalise_newlines


@dataclass(frozen=True)
class LineIndex:
    """The lines of one text, split as Python and editors split them (`\\n`, `\\r\\n`, `\\r`).

    Lines beyond the end and columns beyond a line's end are clamped: a finding may outlive the text
    that it was computed from by one edit.
    """

    text: str

    @cached_property
    def lines(self) -> Sequence[str]:
        """The lines without their ends, and without a byte order mark, as facts count them."""
        return normalise_newlines(self.text).split("\n")

    def line(self, number: int) -> str:
        """The text of a line counted from 0; empty beyond the end."""
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    def code_points(self, line: int, column: int) -> int:
        """A byte column as a count of code points."""
        text = self.line(line)
        if text.isascii():
            return min(column, len(text))
        return _letters(text, column)

    def utf16(self, line: int, column: int) -> int:
        """A byte column as a count of UTF-16 code units."""
        text = self.line(line)
        if text.isascii():
            return min(column, len(text))
        head = text[: _letters(text, column)]
        return len(head) + sum(1 for c in head if ord(c) > 0xFFFF)


def _letters(text: str, column: int) -> int:
    """How many code points end within the first `column` bytes."""
    encoded = text.encode("utf-8", "surrogatepass")
    begun = sum(1 for byte in encoded[:column] if byte & 0xC0 != 0x80)
    inside = column < len(encoded) and encoded[column] & 0xC0 == 0x80
    return begun - 1 if inside else begun
