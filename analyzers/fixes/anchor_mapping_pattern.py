"""`anchor-mapping-pattern`: writes something before and behind the pattern of a rule.

Arguments: `path`, `container`, `pattern`, `start` (such as `^`), `end` (such as `$`).
"""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, text_argument
from analyzers.fixes.mapping_rules import Display, changed_display

_ALLOWED = frozenset("^$(?:)")
"""What needs no escape in any kind of string."""


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The file with the pattern's literal extended; its quotes and prefix stay.

    Raises `Refused` where the rule is not there once.
    """
    pattern = text_argument(arguments, "pattern")
    start, end = text_argument(arguments, "start"), text_argument(arguments, "end")
    if not _ALLOWED.issuperset(start + end):
        raise Refused("only anchors and groups are added")

    def change(display: Display) -> str:
        item = display.items[display.index(pattern)]
        first, last = _ends(item.key)
        parentheses = item.key.lpar
        if parentheses:
            raise Refused("the pattern stands in parentheses")
        opening = item.start + len(first.prefix) + len(first.quote)
        closing = item.key_end - len(last.quote)
        text = display.text
        return text[:opening] + start + text[opening:closing] + end + text[closing:]

    return changed_display(arguments, read, change)


def _ends(key: cst.BaseExpression) -> tuple[cst.SimpleString, cst.SimpleString]:
    """The first and the last literal of a key."""
    first: cst.BaseExpression = key
    last: cst.BaseExpression = key
    while isinstance(first, cst.ConcatenatedString):
        first = first.left
    while isinstance(last, cst.ConcatenatedString):
        last = last.right
    if not isinstance(first, cst.SimpleString) or not isinstance(last, cst.SimpleString):
        raise Refused("the pattern is no plain literal")
    return first, last
