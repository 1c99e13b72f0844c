"""Edits of a text by place: what `ast` says where, and every byte outside stays."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from analyzers.fixes.base import Refused

Place = tuple[int, int]
"""A line from 1 and a column in UTF-8 bytes from 0, as `ast` counts."""


@dataclass(frozen=True, order=True)
class Replacement:
    """What stands between two places becomes `text`; equal places insert."""

    begin: Place
    end: Place
    text: str


def begin_of(node: ast.expr | ast.stmt) -> Place:
    """Where a node begins."""
    return node.lineno, node.col_offset


def end_of(node: ast.expr | ast.stmt) -> Place:
    """Where a node ends, exclusive."""
    line, column = node.end_lineno, node.end_col_offset
    assert line is not None
    assert column is not None
    return line, column


def replacing(node: ast.expr, text: str) -> Replacement:
    """A node's text becomes another one."""
    return Replacement(begin_of(node), end_of(node), text)


def behind(node: ast.expr | ast.stmt, text: str) -> Replacement:
    """A text is put right behind a node."""
    return Replacement(end_of(node), end_of(node), text)


def replaced(text: str, replacements: Iterable[Replacement]) -> str:
    """The text after all replacements; equal ones count once.

    `text` has `\\n` as line end. Raises `Refused` where two of them overlap.
    """
    starts = [0]
    data = text.encode("utf-8")
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)

    def offset(place: Place) -> int:
        return starts[place[0] - 1] + place[1]

    parts: list[bytes] = []
    position = 0
    for item in sorted(set(replacements)):
        begin, end = offset(item.begin), offset(item.end)
        if begin < position:
            raise Refused("two parts of the edit touch the same text")
        parts += [data[position:begin], item.text.encode("utf-8")]
        position = end
    parts.append(data[position:])
    return b"".join(parts).decode("utf-8")
