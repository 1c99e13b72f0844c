"""`drop-mapping-rule`: takes a rule out of a mapping.

Arguments: `path`, `container`, `pattern`.
"""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, text_argument
from analyzers.fixes.mapping_rules import Display, changed_display


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The file without the rule and the comment behind it; comments on lines of their own stay.

    Raises `Refused` where the rule is not there once, or shares its line with something else.
    """
    pattern = text_argument(arguments, "pattern")

    def change(display: Display) -> str:
        begin, end = display.lines_of(display.index(pattern))
        return display.text[:begin] + display.text[end:]

    return changed_display(arguments, read, change)
