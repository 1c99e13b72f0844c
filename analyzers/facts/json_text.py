"""JSON with the place of every value: what a finding in a checkpoint's configuration points at.

Python's own decoder keeps no positions. This one accepts what it accepts (also `NaN` and `Infinity`);
a text that is malformed (a byte order mark in front is) or nested too deeply gives None.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from analyzers.findings import Span

DEPTH = 64
"""Deepest nesting that is followed; a checkpoint's configuration has three or four levels."""

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null|NaN|-?Infinity")


@dataclass(frozen=True)
class JsonNode:
    """A value with its place; `value` is a plain one, a tuple of nodes, or a mapping of nodes by key.

    `span` counts lines from 0 and columns in UTF-8 bytes, as every span does; a string's includes its
    quotes.
    """

    value: str | int | float | bool | tuple[JsonNode, ...] | Mapping[str, JsonNode] | None
    span: Span

    @property
    def text(self) -> str | None:
        """The string, or None where it is none."""
        return self.value if isinstance(self.value, str) else None

    @property
    def items(self) -> tuple[JsonNode, ...]:
        """The items of an array; empty where it is none."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def members(self) -> Mapping[str, JsonNode]:
        """The members of an object (of equal keys the last, as in Python); empty where it is none."""
        return self.value if isinstance(self.value, Mapping) else {}


class _Malformed(Exception):
    """The text is no JSON."""


def read_json(text: str) -> JsonNode | None:
    """The document, or None where it is malformed."""
    reader = _Reader(text)
    try:
        node, end = reader.value(reader.skip(0), 0)
        return node if reader.skip(end) == len(text) else None
    except _Malformed:
        return None


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [0, *(m.end() for m in re.finditer(r"\r\n|\r|\n", text))]
        self.last = (0, 0)

    def skip(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        return found.end() if found is not None else at

    def value(self, at: int, depth: int) -> tuple[JsonNode, int]:
        """The value that begins at an offset, and the offset behind it."""
        first = self.text[at : at + 1]
        if depth > DEPTH:
            raise _Malformed
        if first == "{":
            return self._object(at, depth)
        if first == "[":
            return self._array(at, depth)
        found = (_STRING if first == '"' else _PLAIN).match(self.text, at)
        if found is None:
            raise _Malformed
        try:
            value = json.loads(found.group())
        except ValueError:  # more digits than Python turns into a number
            raise _Malformed from None
        return JsonNode(value, self._span(self._position(at), found.end())), found.end()

    def _object(self, begin: int, depth: int) -> tuple[JsonNode, int]:
        members: dict[str, JsonNode] = {}
        place = self._position(begin)  # in the order of the text, which is quicker
        at = self.skip(begin + 1)
        if self.text.startswith("}", at):
            return JsonNode(members, self._span(place, at + 1)), at + 1
        while True:
            key = _STRING.match(self.text, at)
            if key is None:
                raise _Malformed
            at = self.skip(key.end())
            if not self.text.startswith(":", at):
                raise _Malformed
            member, at = self.value(self.skip(at + 1), depth + 1)
            members[str(json.loads(key.group()))] = member
            at, ended = self._separated(at, "}")
            if ended:
                return JsonNode(members, self._span(place, at)), at

    def _array(self, begin: int, depth: int) -> tuple[JsonNode, int]:
        items: list[JsonNode] = []
        place = self._position(begin)
        at = self.skip(begin + 1)
        if self.text.startswith("]", at):
            return JsonNode((), self._span(place, at + 1)), at + 1
        while True:
            item, at = self.value(at, depth + 1)
            items.append(item)
            at, ended = self._separated(at, "]")
            if ended:
                return JsonNode(tuple(items), self._span(place, at)), at

    def _separated(self, at: int, closing: str) -> tuple[int, bool]:
        """The offset behind a comma, or behind the closing bracket, and whether it was that."""
        at = self.skip(at)
        if self.text.startswith(closing, at):
            return at + 1, True
        if not self.text.startswith(",", at):
            raise _Malformed
        return self.skip(at + 1), False

    def _span(self, begin: tuple[int, int], end: int) -> Span:
        return Span(*begin, *self._position(end))

    def _position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self.lines, offset) - 1
        begin, column = self.lines[line], 0
        if begin <= self.last[0] <= offset:
            begin, column = self.last  # a document may be one long line
        column += len(self.text[begin:offset].encode("utf-8", "surrogatepass"))
        self.last = (offset, column)
        return line, column
