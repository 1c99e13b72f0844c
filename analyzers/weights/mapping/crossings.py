"""Rules whose source and target disagree in what tells siblings apart (see `opposed`).

Names and shapes of both sides fit all the same, so nothing else than the texts can see it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from typing import Final, TypeAlias

from analyzers.weights.mapping.opposed import Crossing, crossing, expected_order, merge_word, turned
from analyzers.weights.mapping.patterns import Pattern
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.mapping.templates import Template

_AN_END: Final = re.compile(r"(?:^|[._])(?:in|out)(?:[._]|$)")
_SHIFTED: Final = re.compile(r"(?P<list>\w+)\.(?P<number>\d+)")


@dataclass(frozen=True)
class CrossedRule:
    """A rule that sends a name to the place of its sibling. `source` and `target`: an example of a name
    and what becomes of it. `other`: the rule that it changed places with, where only the two tell it."""

    rule: int
    crossing: Crossing
    source: str
    target: str
    other: int | None = None


@dataclass(frozen=True)
class CrossedMerge:
    """A merge that puts its sources together in an unusual order. `rules`: those of the group by their
    index; `misplaced`: those whose index is not that of their word. `given` and `expected`: the words
    that tell the sources, in order."""

    rules: tuple[int, ...]
    misplaced: tuple[int, ...]
    given: tuple[str, ...]
    expected: tuple[str, ...]


Keep: TypeAlias = "Callable[[Hashable, Callable[[], _Crossed | None]], _Crossed | None]"
_Crossed: TypeAlias = "tuple[Crossing, str, str]"


def _ask_again(_question: Hashable, answer: Callable[[], _Crossed | None]) -> _Crossed | None:
    return answer()


def crossed_rules(rules: Sequence[SymbolicRule], keep: Keep = _ask_again) -> tuple[CrossedRule, ...]:
    """The rules that cross, in order.

    Blocks that several rules shift by one and the same number are counted from elsewhere on purpose.
    `keep(question, answer)` gives what `answer()` gave when the same question was asked before.
    """
    found: list[CrossedRule] = []
    for place, rule in enumerate(rules):
        crossed = keep(("crossed", rule.pattern, rule.target), partial(_crossed, rule))
        if crossed is not None:
            found.append(CrossedRule(place, *crossed))
    found += _turned(rules, {item.rule for item in found})
    found.sort(key=lambda item: item.rule)
    shifts = Counter(_shift(item.crossing) for item in found)
    return tuple(item for item in found if (shift := _shift(item.crossing)) is None or shifts[shift] == 1)


def _crossed(rule: SymbolicRule) -> _Crossed | None:
    for source, target in _renamings(rule):
        found = crossing(source, target)
        if found is not None:
            return found, source, target
    if rule.parsed is not None and rule.template is not None:
        swapped = _swapped_numbers(rule.parsed, rule.template, rule.indices)
        if swapped is not None:
            return swapped, rule.parsed.text, rule.target or ""
    return None


def _renamings(rule: SymbolicRule) -> Iterator[tuple[str, str]]:
    """Names that the rule matches, one at least for each of its alternatives, and what it makes of them."""
    if rule.parsed is None or rule.template is None or not rule.target or "\x00" in rule.target:
        return
    if rule.target.endswith("_extra_state"):
        return  # not loaded
    for name in dict.fromkeys((*rule.parsed.choices, *rule.names)):
        yield name, rule.parsed.compiled.sub(rule.target, name)


def _turned(rules: Sequence[SymbolicRule], known: Set[int]) -> Iterator[CrossedRule]:
    """Pairs of rules that lead the first of two layers to the way out, and the second to the way in."""
    made: list[tuple[int, str, str]] = []
    for place, rule in enumerate(rules):
        if place not in known and rule.target and _AN_END.search(rule.target):
            made += [(place, source, target) for source, target in islice(_renamings(rule), 1)]
    for (one, source, target), (two, source_two, target_two) in combinations(made, 2):
        crossings = turned((source, source_two), (target, target_two))
        if crossings is not None:
            yield CrossedRule(one, crossings[0], source, target, two)
            yield CrossedRule(two, crossings[1], source_two, target_two, one)


def _swapped_numbers(
    pattern: Pattern, template: Template, indices: Sequence[tuple[str, frozenset[int]]]
) -> Crossing | None:
    """Two lists of which each gets the other's index: `stages.(a).blocks.(b)` to `stages.b.blocks.a`."""
    lists = {
        group: before.rpartition(".")[2]
        for before, groups in indices
        for group in groups
        if len(pattern.groups[group][1][3]) == 1
    }
    names = set(lists.values())
    for place, part in enumerate(template.parts[1:], 1):
        before = template.parts[place - 1]
        if not isinstance(part, int) or part not in lists or not isinstance(before, str):
            continue
        target = before.removesuffix(".").rpartition(".")[2]
        if before.endswith(".") and target != lists[part] and target in names:
            return Crossing(f"{lists[part]}.N", f"{target}.N")
    return None


def _shift(crossing: Crossing) -> tuple[str, int] | None:
    """By how much a crossing shifts the numbers of a list; None where that is not what it does."""
    one, two = _SHIFTED.fullmatch(crossing.source), _SHIFTED.fullmatch(crossing.target)
    if one is None or two is None or one["list"] != two["list"]:
        return None
    return one["list"], int(two["number"]) - int(one["number"])


def crossed_merges(rules: Sequence[SymbolicRule]) -> tuple[CrossedMerge, ...]:
    """The complete merges whose order is neither the one that the target spells nor q, k, v."""
    groups: dict[str, list[int]] = {}
    for place, rule in enumerate(rules):
        if rule.merge is not None and rule.made is not None:
            groups.setdefault(rule.made, []).append(place)
    found = (_crossed_merge(rules, group) for group in groups.values())
    return tuple(merge for merge in found if merge is not None)


def _crossed_merge(rules: Sequence[SymbolicRule], group: Sequence[int]) -> CrossedMerge | None:
    by_index: dict[int, int] = {}
    words: dict[int, str | None] = {}
    counts: set[int] = set()
    made = ""
    for place in group:
        merge, renaming = rules[place].merge, next(_renamings(rules[place]), None)
        if merge is None or renaming is None:
            return None
        index, total = merge
        word, made = merge_word(renaming[0]), renaming[1]
        # Several rules may give one index, each for checkpoints of another origin.
        if words.setdefault(index, word) != word:
            return None
        by_index.setdefault(index, place)
        counts.add(total)
    if counts != {len(by_index)} or sorted(by_index) != list(range(len(by_index))):
        return None  # incomplete, which is worse
    telling = [index for index in sorted(words) if words[index] is not None]
    given = tuple(words[index] or "" for index in telling)
    expected = expected_order(made, given) if len(given) > 1 else None
    if expected is None or expected == given:
        return None
    misplaced = (
        by_index[index]
        for index, is_word, meant in zip(telling, given, expected, strict=True)
        if is_word != meant
    )
    in_order = tuple(by_index[index] for index in sorted(by_index))
    return CrossedMerge(in_order, tuple(misplaced), given, expected)
