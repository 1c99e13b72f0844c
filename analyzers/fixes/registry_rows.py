"""The rows of the registry's legacy tables, found by what they say, never by where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument, texts_argument
from analyzers.fixes.sequences import layout_of
from analyzers.fixes.texts import parse_piece, pieces, source_of

_BLANK = cst.Module([])

Change = Callable[[cst.Dict, int], str]
"""A table and the index of the row -> the table's new text."""


def changed_row(arguments: Mapping[str, JsonValue], read: Read, change: Change) -> dict[str, str]:
    """The registry with one row changed.

    Arguments: `path`, `table`, `architecture`, `spec` (three strings). Of rows that say the same
    the last one in the table is meant. Raises `Refused` where there is none.
    """
    path, table = text_argument(arguments, "path"), text_argument(arguments, "table")
    key, spec = text_argument(arguments, "architecture"), texts_argument(arguments, "spec")
    source = source_of(read_text(read, path), path)
    mention = re.compile(rf"^{re.escape(table)}\b", re.MULTILINE)
    for piece in pieces(source.text):
        if mention.search(piece.text) is None:
            continue
        module = parse_piece(piece, path)
        for statement in module.body:
            value = table_named(statement, table)
            if value is None:
                continue
            index = _find(value, key, spec)
            if index is None:
                continue
            text = change(value, index)
            changed = module.deep_replace(value, cst.parse_expression(text))
            if not isinstance(changed, cst.Module):
                raise Refused(f"{table} in {path} cannot be rewritten")
            new = source.text[: piece.begin] + changed.code + source.text[piece.end :]
            return {path: source.restored(new)}
    raise Refused(f"{table} in {path} has no row '{key}' any more")


def without_row(table: cst.Dict, index: int) -> str:
    """The table without the row and the comment behind it."""
    return layout_of(table).without(index).text


def table_named(statement: cst.CSTNode, table: str) -> cst.Dict | None:
    """The dict display that a top-level statement assigns to that name, or None."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    for small in statement.body:
        if isinstance(small, cst.Assign):
            targets = [t.target for t in small.targets]
        elif isinstance(small, cst.AnnAssign):
            targets = [small.target]
        else:
            continue
        if any(isinstance(t, cst.Name) and t.value == table for t in targets):
            return small.value if isinstance(small.value, cst.Dict) else None
    return None


def _find(table: cst.Dict, key: str, spec: list[str]) -> int | None:
    for index in range(len(table.elements) - 1, -1, -1):
        row = table.elements[index]
        if not isinstance(row, cst.DictElement) or _string(row.key) != key:
            continue
        if isinstance(row.value, (cst.Tuple, cst.List)):
            parts = [_string(e.value) for e in row.value.elements]
            if parts == spec:
                return index
    return None


def _string(node: cst.BaseExpression) -> str | None:
    if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None
