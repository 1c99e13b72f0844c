"""`append-entry-class`: names classes in the `EntryClass` of the module that defines them.

Arguments: `path`, `names`.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, read_text, text_argument, texts_argument
from analyzers.fixes.entries import registered


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Appends the assignment after two blank lines, or extends the one that is there."""
    path = text_argument(arguments, "path")
    return {path: registered(read_text(read, path), path, texts_argument(arguments, "names"))}
