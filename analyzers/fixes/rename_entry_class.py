"""`rename-entry-class`: corrects a name in an `EntryClass`. Arguments: `path`, `old`, `new`."""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, read_text, text_argument
from analyzers.fixes.entries import renamed


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Writes `new` for `old` in the value of the assignment."""
    path = text_argument(arguments, "path")
    old, new = text_argument(arguments, "old"), text_argument(arguments, "new")
    return {path: renamed(read_text(read, path), path, old, new)}
