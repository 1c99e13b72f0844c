"""`drop-export`: takes an export out of a module: its import and its entry in `__all__`.

Arguments: `path`, `name`.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, read_text, text_argument
from analyzers.fixes.exports import changed_exports


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Removes what is there of the two."""
    path, name = text_argument(arguments, "path"), text_argument(arguments, "name")
    text = read_text(read, path)
    return {path: changed_exports(text, path, lambda e: e.without_import(name).without_listed(name))}
