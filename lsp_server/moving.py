"""Findings of an earlier text, where their lines stand now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from analyzers.findings import Finding, Location, Related, Span


def moved(finding: Finding, before: Sequence[str], now: Sequence[str]) -> Finding | None:
    """The finding of the lines `before`, placed in the lines `now`; None where its first line is gone.

    Of several equal lines the nearest counts.
    """
    span = finding.location.span
    if span.line >= len(before):
        return finding
    content = before[span.line]
    if span.line < len(now) and now[span.line] == content:
        return finding
    same = [number for number, line in enumerate(now) if line == content]
    if not same:
        return None
    nearest = min(same, key=lambda number: abs(number - span.line))
    return replace(finding, location=Location(finding.location.path, span.shifted(nearest - span.line)))


class Shift:
    """From the lines of one text to those of a later one, for whatever is placed in the first.

    What both share at either end stands or moves as a block. A line between counts as the nearest equal
    one there. Else someone types in it: it is the line at its place, counted from either end, if that
    still holds the name in question.
    """

    def __init__(self, before: Sequence[str], now: Sequence[str]) -> None:
        self._before = before
        self._now = now
        shared = min(len(before), len(now))
        self._head = next((n for n in range(shared) if before[n] != now[n]), shared)
        room = shared - self._head
        self._tail = next((n for n in range(room) if before[-1 - n] != now[-1 - n]), room)

    def line(self, line: int) -> int | None:
        """Where a line of what both texts share at either end stands now; None for one between."""
        return self._block(line)

    def finding(self, finding: Finding) -> Finding | None:
        """The finding in the later text; None where what it speaks of is gone from its line."""
        span = self._span(finding.location.span, finding.symbol)
        if span is None:
            return None
        path = finding.location.path
        related = tuple(self._related(item, path) for item in finding.related)
        return replace(
            finding,
            location=Location(path, span),
            related=tuple(item for item in related if item is not None),
        )

    def _related(self, item: Related, path: str) -> Related | None:
        if item.location.path != path:
            return item
        span = self._span(item.location.span, None)
        return replace(item, location=Location(path, span)) if span is not None else None

    def _span(self, span: Span, symbol: str | None) -> Span | None:
        line = self._block(span.line)
        if line is not None:
            end = self._block(span.end_line)
            if end is not None:
                return Span(line, span.column, max(end, line), span.end_column)
            return span.shifted(line - span.line)
        between = range(self._head, len(self._now) - self._tail)
        content = self._before[span.line]
        same = [number for number in between if self._now[number] == content]
        if same:
            return span.shifted(_nearest(same, span.line) - span.line)
        word = _word(content, span, symbol)
        if word is None:
            return None
        places = (span.line, span.line + len(self._now) - len(self._before))
        still = [number for number in places if number in between and word.search(self._now[number])]
        return self._on_line(span, word, _nearest(still, span.line)) if still else None

    def _block(self, line: int) -> int | None:
        """Where a line of what both texts share stands now."""
        if line < self._head:
            return line
        if line >= len(self._before) - self._tail:
            return line + len(self._now) - len(self._before)
        return None

    def _on_line(self, span: Span, word: re.Pattern[str], line: int) -> Span:
        """The stretch on a line that is another now, at the word that stands in both."""
        then = [
            _bytes(self._before[span.line], place.start()) for place in word.finditer(self._before[span.line])
        ]
        here = [_bytes(self._now[line], place.start()) for place in word.finditer(self._now[line])]
        begin = min(then, key=lambda column: abs(column - span.column))
        moved_by = min(here, key=lambda column: abs(column - begin)) - begin
        column = max(0, span.column + moved_by)
        end_column = span.end_column + moved_by if span.end_line == span.line else span.end_column
        return Span(line, column, span.end_line + line - span.line, max(column, end_column))


def _nearest(lines: Sequence[int], line: int) -> int:
    return min(lines, key=lambda number: abs(number - line))


def _word(content: str, span: Span, symbol: str | None) -> re.Pattern[str] | None:
    """What a line must still hold for a finding on it to stand: its symbol, else its first word."""
    if symbol is not None:
        named = re.compile(rf"(?<!\w){re.escape(symbol.rpartition('.')[2])}(?!\w)")
        if named.search(content):
            return named
    encoded = content.encode("utf-8", "surrogatepass")
    end = span.end_column if span.end_line == span.line else len(encoded)
    first = re.search(r"\w+", encoded[span.column : end].decode("utf-8", "replace"))
    word = re.compile(rf"(?<!\w){re.escape(first[0])}(?!\w)") if first is not None else None
    return word if word is not None and word.search(content) else None


def _bytes(line: str, column: int) -> int:
    return len(line[:column].encode("utf-8", "surrogatepass"))
