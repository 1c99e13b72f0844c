"""`replace-lines`: whole lines become others, as a run has tried them.

Arguments: `path`, `line` (from 0: where `old` stood when it was tried), `old` and `new` (texts of whole
lines, with `\\n` between them). The edit was tried on exactly that text, so it is refused where the lines
have changed; lines that only moved are found again where they are the only ones of their text.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.texts import source_of


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """Replaces the lines."""
    path = text_argument(arguments, "path")
    line = arguments.get("line")
    if type(line) is not int:
        raise Refused("the edit needs the line 'line'")
    old, new = (text_argument(arguments, name).split("\n") for name in ("old", "new"))
    source = source_of(read_text(read, path), path)
    lines = source.text.split("\n")
    at = line if lines[line : line + len(old)] == old else _only_place(lines, old)
    if at is None:
        raise Refused(f"the lines in {path} have changed since the edit was tried")
    return {path: source.restored("\n".join([*lines[:at], *new, *lines[at + len(old) :]]))}


def _only_place(lines: list[str], wanted: list[str]) -> int | None:
    places = [at for at in range(len(lines)) if lines[at : at + len(wanted)] == wanted]
    return places[0] if len(places) == 1 else None
