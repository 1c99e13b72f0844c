"""`drop-comment`: takes a comment out: its lines where it stands alone, its end of the line where not.

Arguments: `path`, `line` (from 1), `lines` (how many), `text` (of the first, which must still be there).
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.texts import source_of


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The file without the comment; a blank line that would then stand beside another goes with it."""
    path, text = text_argument(arguments, "path"), text_argument(arguments, "text")
    first, count = arguments.get("line"), arguments.get("lines")
    if not isinstance(first, int) or not isinstance(count, int):
        raise Refused("the edit needs the numbers 'line' and 'lines'")
    source = source_of(read_text(read, path), path)
    lines = source.text.split("\n")
    first -= 1
    if first >= len(lines) or not lines[first].rstrip().endswith(text):
        raise Refused("the comment is no longer there")
    if lines[first].strip() != text:
        lines[first] = lines[first].rstrip().removesuffix(text).rstrip()
        return {path: source.restored("\n".join(lines))}
    del lines[first : first + count]
    between_blanks = 0 < first < len(lines) and not lines[first - 1].strip() and not lines[first].strip()
    if between_blanks and _blank_above(lines, first) + _blank_below(lines, first) > 1:
        del lines[first - 1]
    return {path: source.restored("\n".join(lines))}


def _blank_above(lines: list[str], index: int) -> int:
    return next((n for n, line in enumerate(reversed(lines[:index])) if line.strip()), index)


def _blank_below(lines: list[str], index: int) -> int:
    return next((n for n, line in enumerate(lines[index:]) if line.strip()), len(lines) - index)
