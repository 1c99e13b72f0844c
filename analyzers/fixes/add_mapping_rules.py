"""`add-mapping-rules`: writes rules into a mapping, each at its place.

Arguments: `path`, `container`, `rules`: a list of objects with `pattern`, `target`, `merge` (`[index, n]` or
null), and where the rule goes: `before` or `after` (another rule's pattern) or neither (to the end), or
`replaces` (true: the rule of that pattern is there, and gets this target).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from analyzers.findings import JsonValue
from analyzers.fixes.base import Read, Refused, read_text, text_argument
from analyzers.fixes.mapping_rules import Display, displays_in, with_display
from analyzers.fixes.sequences import LINE_LENGTH
from analyzers.fixes.texts import source_of

_LITERAL = re.compile(r"([A-Za-z]*)(\"|')")


@dataclass(frozen=True)
class NewRule:
    """One of the rules to write; see the module."""

    pattern: str
    target: str
    merge: tuple[int, int] | None
    before: str | None
    after: str | None
    replaces: bool


@dataclass(frozen=True)
class _Style:
    """How the rules of a display are written: what stands before a line, the literals' prefix and quote,
    whether the value goes to a line of its own, and how much further in."""

    indent: str
    prefix: str
    quote: str
    broken: bool
    inset: str

    def value(self, rule: NewRule) -> str:
        target = self._literal(rule.target)
        return f"({target}, {rule.merge[0]}, {rule.merge[1]})" if rule.merge is not None else target

    def line(self, rule: NewRule) -> str:
        """The rule with its indentation and comma, without a line end."""
        key, value = self._literal(rule.pattern), self.value(rule)
        whole = f"{self.indent}{key}: {value},"
        if len(whole) <= LINE_LENGTH and not (self.broken and rule.merge is None):
            return whole
        return f"{self.indent}{key}:\n{self.indent}{self.inset}{value},"

    def _literal(self, text: str) -> str:
        if "\n" in text or self.quote in text or text.endswith("\\"):
            raise Refused(f"{text!r} cannot be written like its neighbours")
        body = text if "r" in self.prefix.lower() else text.replace("\\", "\\\\")
        return f"{self.prefix}{self.quote}{body}{self.quote}"


def edit(arguments: Mapping[str, JsonValue], read: Read) -> dict[str, str]:
    """The file with the rules written in; every other byte stays.

    Raises `Refused` where the container holds no display that the rules belong to, or several, where a
    rule's neighbour is not there once or shares its line, or where a rule is there already.
    """
    path, container = text_argument(arguments, "path"), text_argument(arguments, "container")
    rules = _rules(arguments)
    source = source_of(read_text(read, path), path)
    anchors = {name for rule in rules for name in _anchors(rule)}
    found = displays_in(source, path, container)
    if anchors:
        found = [
            (piece, display)
            for piece, display in found
            if anchors <= {item.pattern for item in display.items}
        ]
    elif not found:
        source = with_display(source, path, container)
        found = displays_in(source, path, container)
    if len(found) != 1:
        raise Refused(
            f"{container} in {path} is not written down as one dict: add the rules where the mapping is made"
        )
    ((piece, display),) = found
    new = source.text[: piece.begin] + _written(display, rules) + source.text[piece.end :]
    return {path: source.restored(new)}


def _rules(arguments: Mapping[str, JsonValue]) -> list[NewRule]:
    given = arguments.get("rules")
    if not isinstance(given, (list, tuple)) or not given:
        raise Refused("the edit needs the list 'rules'")
    rules: list[NewRule] = []
    for item in given:
        if not isinstance(item, Mapping):
            raise Refused("a rule is an object with 'pattern' and 'target'")
        merge = item.get("merge")
        pair: tuple[int, int] | None = None
        if isinstance(merge, (list, tuple)) and len(merge) == 2:
            index, count = merge
            if type(index) is int and type(count) is int:
                pair = (index, count)
        if merge is not None and pair is None:
            raise Refused("'merge' is an index and a count")
        rules.append(
            NewRule(
                text_argument(item, "pattern"),
                text_argument(item, "target"),
                pair,
                _optional(item, "before"),
                _optional(item, "after"),
                item.get("replaces") is True,
            )
        )
    return rules


def _optional(item: Mapping[str, JsonValue], name: str) -> str | None:
    return text_argument(item, name) if item.get(name) is not None else None


def _anchors(rule: NewRule) -> list[str]:
    if rule.replaces:
        return [rule.pattern]
    return [name for name in (rule.before, rule.after) if name is not None]


def _written(display: Display, rules: list[NewRule]) -> str:
    """The display's text with all rules in it."""
    present = {item.pattern for item in display.items}
    for rule in rules:
        if rule.pattern in present and not rule.replaces:
            raise Refused(f"the rule {rule.pattern!r} is there already")
    if not display.items:
        return _filled(display, rules)
    text = display.text
    if "\n" not in text[display.open : display.close]:
        return _spread(display, rules)
    style = _style(display)
    edits: list[tuple[int, int, int, str]] = []
    for rule in rules:
        if rule.replaces:
            item = display.items[display.index(rule.pattern)]
            if "#" in text[item.key_end : item.end]:
                raise Refused("a comment stands inside the rule")
            edits.append((item.key_end, 0, item.end, f": {style.value(rule)}"))
        elif rule.before is not None:
            begin, _ = display.lines_of(display.index(rule.before))
            begin = _comment_above(text, begin, display.open)
            edits.append((begin, 1, begin, f"{style.line(rule)}\n"))
        else:
            index = display.index(rule.after) if rule.after is not None else len(display.items) - 1
            _, end = display.lines_of(index)
            stop = display.items[index].end
            if not text[stop:end].lstrip(" \t").startswith(",") and (stop, -1, stop, ",") not in edits:
                edits.append((stop, -1, stop, ","))
            edits.append((end, 0, end, f"{style.line(rule)}\n"))
    parts: list[str] = []
    done = 0
    for begin, _, end, new in sorted(edits, key=lambda edit: edit[:2]):
        parts += [text[done:begin], new]
        done = end
    return "".join([*parts, text[done:]])


def _comment_above(text: str, begin: int, limit: int) -> int:
    """Where the comment lines right above a line begin; the line itself where there are none."""
    while begin > 0:
        above = text.rfind("\n", 0, begin - 1) + 1
        if above <= limit or not text[above:begin].strip().startswith("#"):
            break
        begin = above
    return begin


def _style(display: Display) -> _Style:
    """What most rules of a display do."""
    text = display.text
    own = [item for item in display.items if item.pattern is not None]
    if not own:
        raise Refused("the dict holds no rule of its own to write like")
    first = own[0]
    begin = text.rfind("\n", 0, first.start) + 1
    indent = text[begin : first.start]
    if indent.strip():
        raise Refused("the first rule shares its line with something else")
    literals = [match for item in own if (match := _LITERAL.match(text, item.start)) is not None]
    raw = [m for m in literals if "r" in m[1].lower()]
    plain = not raw and any("\\" in text[item.start : item.key_end] for item in own)
    quotes = [m[2] for m in literals] or ['"']
    breaks = [re.fullmatch(r"\s*:\s*\n([ \t]*)\S.*", text[i.key_end : i.end], re.DOTALL) for i in own]
    insets = [m[1] for m in breaks if m is not None]
    inset = insets[0][len(indent) :] if insets and insets[0].startswith(indent) else ""
    simple = [
        b for b, i in zip(breaks, own, strict=True) if "(" not in text[i.key_end : i.end].split("\n")[0]
    ]
    return _Style(
        indent,
        "" if plain else (raw[0][1] if raw else "r"),
        max(set(quotes), key=quotes.count),
        len(simple) > 1 and all(b is not None for b in simple),
        inset,
    )


def _filled(display: Display, rules: list[NewRule]) -> str:
    """An empty display with its first rules."""
    text = display.text
    inside = text[display.open + 1 : display.close]
    line = text.rfind("\n", 0, display.close) + 1
    if "\n" in inside and not text[line : display.close].strip():
        around = text[line : display.close]
        style = _Style(f"{around}    ", "r", '"', False, "")
        return text[:line] + "".join(f"{style.line(rule)}\n" for rule in rules) + text[line:]
    if inside.strip():
        raise Refused("a comment stands beside the brace")
    around = _indent_of(text, display.open)
    style = _Style(f"{around}    ", "r", '"', False, "")
    body = "".join(f"{style.line(rule)}\n" for rule in rules)
    return f"{text[: display.open + 1]}\n{body}{around}{text[display.close :]}"


def _spread(display: Display, rules: list[NewRule]) -> str:
    """A display of one line with the rules in it, one a line."""
    text = display.text
    around = _indent_of(text, display.open)
    items = display.items
    starts = [items[0].start, *(item.start for item in items[1:])]
    lines = [f"{around}    {text[start : item.end]}," for start, item in zip(starts, items, strict=True)]
    spread = "{\n" + "".join(f"{line}\n" for line in lines) + f"{around}}}"
    moved = text[: display.open] + spread + text[display.close + 1 :]
    offset, new = display.open + 2, []
    for item, line in zip(items, lines, strict=True):
        start = offset + len(around) + 4
        length = item.end - item.start
        new.append(
            type(item)(item.pattern, start, start + length, item.key, start + item.key_end - item.start)
        )
        offset += len(line) + 1
    return _written(Display(moved, tuple(new), display.open, display.open + len(spread) - 1), rules)


def _indent_of(text: str, offset: int) -> str:
    """The indentation of the line that an offset stands in."""
    begin = text.rfind("\n", 0, offset) + 1
    return text[begin : len(text) - len(text[begin:].lstrip(" \t"))]
