"""One cell of a Markdown table replaced in its line, and nothing else."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from analyzers.project.port_status import Table, cell_spans


def with_cell(lines: Sequence[str], table: Table, row: int, column: int, new: str) -> str:
    """The line of a row (by its number) with another text in a cell.

    The cell keeps its width where the column is aligned and the text fits; else it has the spaces around it
    that it had.
    """
    line = lines[row]
    begin, end = cell_spans(line)[column]
    cell = line[begin:end]
    before = cell[: len(cell) - len(cell.lstrip())] if cell.strip() else cell[:1]
    after = cell[len(cell.rstrip()) :] if cell.strip() else cell[:1]
    if _is_aligned(lines, table, column) or len(after) > 1:
        room = _width(cell) - _width(before) - _width(new)
        after = " " * max(room, min(len(after), 1))
    return f"{line[:begin]}{before}{new}{after}{line[end:]}"


def _is_aligned(lines: Sequence[str], table: Table, column: int) -> bool:
    """Whether all cells of a column are equally wide."""
    widths = set()
    for row in (table.header, *table.rows):
        spans = cell_spans(lines[row.line])
        if column < len(spans):
            begin, end = spans[column]
            widths.add(_width(lines[row.line][begin:end]))
    return len(widths) == 1


def _width(text: str) -> int:
    """Columns of a text in an editor."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )
