"""`move-entry-class`: takes an `EntryClass` that discovery skips to where discovery reads it.

Arguments: `path` (the module whose assignment is skipped), `here` (the names that the assignment
keeps, in a form that discovery reads; empty: the assignment goes), `elsewhere` (path of a module ->
the names that its own `EntryClass` must hold).
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument, texts_argument
from analyzers.fixes.entries import registered, rewritten


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Rewrites the skipped assignment and completes those of the other modules."""
    path = text_argument(arguments, "path")
    elsewhere = arguments.get("elsewhere")
    if not isinstance(elsewhere, Mapping):
        raise Refused("the edit needs the argument 'elsewhere'")
    texts = {path: rewritten(read_text(read, path), path, texts_argument(arguments, "here"))}
    for other in elsewhere:
        names = texts_argument(elsewhere, other)
        texts[other] = registered(read_text(read, other), other, names)
    return texts
