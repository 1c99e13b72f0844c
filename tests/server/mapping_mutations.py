"""Faults as porters make them, written into the text of a mapping one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from analyzers.facts.positions import LineIndex
from analyzers.findings import Span
from analyzers.project.mappings import MappingRule, MappingTable

Renamed = "tuple[str, tuple[int, int] | None]"


@dataclass(frozen=True)
class Written:
    """One rule and the text that it takes in the file, up to the next one."""

    pattern: str
    target: str
    merge: tuple[int, int] | None
    text: str

    @property
    def as_text(self) -> str:
        """The rule on a line of its own."""
        value = f'r"{self.target}"'
        if self.merge is not None:
            value = f"({value}, {self.merge[0]}, {self.merge[1]})"
        return f'r"{self.pattern}": {value},\n            '


@dataclass(frozen=True)
class Mutation:
    """`text`: the whole file with one fault. `line`: where the wrong rule stands (from 0), None where it was
    deleted. `moved`: how many official names the fault sends elsewhere."""

    kind: str
    text: str
    line: int | None
    moved: int
    what: str


def written_rules(text: str, table: MappingTable) -> tuple[str, tuple[Written, ...], str]:
    """What stands before the rules of a display, the rules, and what stands behind them."""
    lines = LineIndex(text)
    starts = [_offset(lines, text, rule.key.span) for rule in table.rules]
    last = table.rules[-1]
    end = _offset(lines, text, Span(last.value.span.end_line, last.value.span.end_column, 0, 0))
    end += len(text[end:]) - len(text[end:].lstrip(", \n"))
    bounds = [*starts, end]
    rules = tuple(_written(rule, text[bounds[i] : bounds[i + 1]]) for i, rule in enumerate(table.rules))
    return text[: starts[0]], rules, text[end:]


def _offset(lines: LineIndex, text: str, span: Span) -> int:
    before = sum(len(line) + 1 for line in text.split("\n")[: span.line])
    return before + len(text.split("\n")[span.line].encode()[: span.column].decode())


def _written(rule: MappingRule, text: str) -> Written:
    assert rule.pattern is not None
    assert rule.target is not None
    return Written(rule.pattern, rule.target, rule.merge, text)


def mutations(
    text: str,
    table: MappingTable,
    names: Sequence[str],
    places: Sequence[int] | None = None,
    kinds: Sequence[str] | None = None,
) -> Iterator[Mutation]:
    """Every kind of fault at every rule where it changes what becomes of some name; and every anchor lost.

    `places`, `kinds`: the rules and the kinds, where not all are wanted.
    """
    head, rules, tail = written_rules(text, table)
    before = {name: renamed(rules, name) for name in names}
    for place in range(len(rules)) if places is None else places:
        for kind, make in ((k, _KINDS[k]) for k in kinds or _KINDS):
            for at, mutated, what in make(rules, place):
                moved = sum(before[name] != _safely(mutated, name) for name in names)
                if moved or kind == "unanchor":
                    body = [rule.text for rule in mutated]
                    line = None if at is None else (head + "".join(body[:at])).count("\n")
                    yield Mutation(kind, head + "".join(body) + tail, line, moved, what)


def renamed(rules: Sequence[Written], name: str) -> tuple[str, tuple[int, int] | None]:
    """What the first rule that matches makes of a name, as FastVideo's loader has it."""
    for rule in rules:
        if re.match(rule.pattern, name):
            return re.sub(rule.pattern, rule.target, name), rule.merge
    return name, None


def _safely(rules: Sequence[Written], name: str) -> tuple[str, tuple[int, int] | None] | None:
    try:
        return renamed(rules, name)
    except re.error:
        return None


_Rules = tuple[Written, ...]
_Made = Iterator["tuple[int | None, _Rules, str]"]


def _changed(rules: _Rules, place: int, **changes: object) -> _Rules:
    rule = replace(rules[place], **changes)  # type: ignore[arg-type]
    return (*rules[:place], replace(rule, text=rule.as_text), *rules[place + 1 :])


def _delete(rules: _Rules, place: int) -> _Made:
    yield None, (*rules[:place], *rules[place + 1 :]), f"without {rules[place].pattern}"


def _reorder(rules: _Rules, place: int) -> _Made:
    if place:
        rule = replace(rules[place], text=rules[place].as_text)
        yield 0, (rule, *rules[:place], *rules[place + 1 :]), f"{rule.pattern} first"


def _unanchor(rules: _Rules, place: int) -> _Made:
    pattern = rules[place].pattern
    bare = pattern.removeprefix("^")
    if bare != pattern and not bare.startswith("(.*"):  # which begins at the start of a name by itself
        yield place, _changed(rules, place, pattern=bare), f"{pattern} -> {bare}"


def _wrong_group(rules: _Rules, place: int) -> _Made:
    target = rules[place].target
    groups = re.compile(rules[place].pattern).groups
    wrong = [target.replace(r"\1", "\0").replace(r"\2", r"\1").replace("\0", r"\2")] if groups > 1 else []
    wrong.append(target.replace(r"\1", "0" if groups > 1 else "weight", 1))
    for other in wrong:
        if other != target:
            yield place, _changed(rules, place, target=other), f"{target} -> {other}"


def _wrong_merge(rules: _Rules, place: int) -> _Made:
    merge = rules[place].merge
    if merge is not None:
        index, count = merge
        for other in (((index + 1) % count, count), (index, count + 1)):
            yield place, _changed(rules, place, merge=other), f"{merge} -> {other}"


def _typo(rules: _Rules, place: int) -> _Made:
    target = rules[place].target
    letters = [match.start() for match in re.finditer(r"(?<!\\)[a-z]", target)][1:]
    for at in letters[:: max(1, len(letters) // 2)][:2]:
        other = target[:at] + target[at + 1 :] if at % 2 else target[:at] + target[at] + target[at:]
        yield place, _changed(rules, place, target=other), f"{target} -> {other}"


_KINDS: dict[str, Callable[[_Rules, int], _Made]] = {
    "delete": _delete,
    "reorder": _reorder,
    "unanchor": _unanchor,
    "wrong group": _wrong_group,
    "wrong merge index": _wrong_merge,
    "typo in target": _typo,
}
