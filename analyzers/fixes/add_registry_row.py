"""`add-registry-row`: one more row at the end of a legacy table.

Arguments: `path`, `table`, `architecture`, `spec` (component, module, class).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument, texts_argument
from analyzers.fixes.registry_rows import table_named
from analyzers.fixes.sequences import layout_of
from analyzers.fixes.texts import parse_piece, pieces, source_of


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The new text. Raises `Refused` where the table is gone or has the row."""
    path, table = text_argument(arguments, "path"), text_argument(arguments, "table")
    key, spec = text_argument(arguments, "architecture"), texts_argument(arguments, "spec")
    source = source_of(read_text(read, path), path)
    for piece in pieces(source.text):
        if table not in piece.text:
            continue
        module = parse_piece(piece, path)
        display = next((d for s in module.body if (d := table_named(s, table)) is not None), None)
        if display is None:
            continue
        layout = layout_of(display)
        if any(item.startswith((f'"{key}"', f"'{key}'")) for item in layout.items):
            raise Refused(f"{table} has a row '{key}' already")
        row = f'"{key}": ({", ".join(f"{chr(34)}{part}{chr(34)}" for part in spec)})'
        text = layout.with_item(row, len(layout.items), len(table) + 3, "").text
        changed = cst.ensure_type(module.deep_replace(display, cst.parse_expression(text)), cst.Module)
        new = source.text[: piece.begin] + changed.code + source.text[piece.end :]
        return {path: source.restored(new)}
    raise Refused(f"{path} has no table {table}")
