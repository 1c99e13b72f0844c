"""`move-mapping-rule`: puts a rule of a mapping before another one.

Arguments: `path`, `container`, `pattern`, `before` (the other rule's pattern).
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.mapping_rules import Display, changed_display


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The file with the rule moved up; a comment behind it goes along, and so does a comment above it
    that speaks of it alone.

    Raises `Refused` where a rule is not there once or shares its line with something else.
    """
    pattern, other = text_argument(arguments, "pattern"), text_argument(arguments, "before")

    def change(display: Display) -> str:
        text = display.text
        index, place = display.index(pattern), display.index(other)
        if index < place:
            raise Refused("the rule stands before the other one already")
        begin, end = display.lines_of(index)
        target = text.rfind("\n", 0, display.items[place].start) + 1
        if text[target : display.items[place].start].strip():
            raise Refused("the other rule shares its line with something else")
        target = _comment_above(text, target)
        moved = text[begin:end]
        stop = display.items[index].end
        if not text[stop:end].lstrip(" \t").startswith(","):
            moved = f"{text[begin:stop]},{text[stop:end]}"
        comment = _comment_above(text, begin) if _stands_alone(text, end) else begin
        moved = text[comment:begin] + moved
        return text[:target] + moved + text[target:comment] + text[end:]

    return changed_display(arguments, read, change)


def _stands_alone(text: str, end: int) -> bool:
    """Whether what follows begins another group: a comment, a blank line, or the end."""
    return text[end:].split("\n", 1)[0].strip().startswith(("#", "}")) or text[end : end + 1] == "\n"


def _comment_above(text: str, begin: int) -> int:
    """Where the comment lines right above a line begin; the line itself where there are none."""
    while begin > 0:
        above = text.rfind("\n", 0, begin - 1) + 1
        if not text[above:begin].strip().startswith("#"):
            break
        begin = above
    return begin
