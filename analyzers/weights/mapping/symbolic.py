"""What the rules of a mapping prove among themselves, without a checkpoint's keys.

Everything here is about texts: rules in, positions of rules out. A question that a language cannot
decide (see `patterns`) is answered with nothing.

`first-match`: the first rule that matches a name rewrites it (FastVideo's `get_param_names_mapping`).
`chained`: every new name is put to the rules again, each rule used once (SGLang's function of the
same name), so that a name taken by an early rule may still come to a later one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import Final, TypeAlias

from analyzers.weights.mapping.languages import Languages, TooLarge
from analyzers.weights.mapping.opposed import OPPOSED, WORDS
from analyzers.weights.mapping.patterns import Pattern, all_names, matched_names, parse_pattern
from analyzers.weights.mapping.syntax import Unsupported
from analyzers.weights.mapping.templates import (
    Template,
    canonical,
    indices,
    is_identity,
    leading_path,
    made_names,
    parse_template,
)


@dataclass(frozen=True)
class SymbolicRule:
    """A rule as texts: `None` for what could not be read. `merge`: index and n."""

    pattern: str | None
    target: str | None
    merge: tuple[int, int] | None = None
    conditional: bool = False

    @cached_property
    def parsed(self) -> Pattern | None:
        """The pattern, where there is one that compiles and can be put to names in little time."""
        pattern = parse_pattern(self.pattern) if self.pattern is not None else None
        return None if pattern is None or pattern.is_costly else pattern

    @cached_property
    def template(self) -> Template | None:
        """The target, where it can be read and fits the pattern."""
        if self.parsed is None or self.target is None:
            return None
        try:
            return parse_template(self.parsed, self.target)
        except (re.error, IndexError):
            return None

    @cached_property
    def made(self) -> str | None:
        """The target with its groups spelled out: equal texts mean equal targets for equal names."""
        if self.parsed is None or self.template is None:
            return None
        return canonical(self.parsed, self.template)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Some names that the pattern matches, where they could be made cheaply."""
        samples = self.parsed.samples if self.parsed is not None else ()
        return tuple(name for name in samples if name is not None)

    @cached_property
    def indices(self) -> tuple[tuple[str, frozenset[int]], ...]:
        """The numbers in the names that the pattern matches (see `patterns.indices`)."""
        return indices(self.parsed) if self.parsed is not None else ()

    @cached_property
    def confused(self) -> tuple[str, str] | None:
        """Two siblings among the names of its alternatives (`q|k|v`) that become one name."""
        if self.parsed is None or self.template is None or not self.target or _SLIP.search(self.target):
            return None
        made: dict[str, list[str]] = {}
        for name in self.parsed.choices:
            made.setdefault(self.parsed.compiled.sub(self.target, name), []).append(name)
        pairs = ((one, two) for names in made.values() for one, two in combinations(names, 2))
        return next((pair for pair in pairs if _siblings(*pair) and not _numbered(*pair)), None)

    @cached_property
    def example(self) -> str | None:
        """A name that the pattern matches, "" where none can exist, None where that cannot be told."""
        if self.parsed is None:
            return None
        for name in self.parsed.samples:
            if name is not None:
                return name
        languages = Languages()
        try:
            own = languages.both(_matched(languages, self), all_names(languages))
            return languages.example(own) or ""
        except (Unsupported, TooLarge):
            return None

    @cached_property
    def is_identity(self) -> bool:
        """Whether it is certain to leave every name as it is."""
        return (
            self.parsed is not None and self.template is not None and is_identity(self.parsed, self.template)
        )

    @cached_property
    def leading_path(self) -> tuple[str | None, ...]:
        """The components that every name it makes begins with (see `patterns.leading_path`)."""
        if self.parsed is None or self.template is None:
            return ()
        return leading_path(self.parsed, self.template)


@dataclass(frozen=True)
class Shadow:
    """`rule` never applies: the rules `by` take all its names first. `same`: and it would take all the
    names of one of them, if it stood before it."""

    rule: int
    by: tuple[int, ...]
    same: bool


MOST_MISSING = 8
"""So many missing indices of a merge are named."""


@dataclass(frozen=True)
class MergeFault:
    """A merge that cannot come out right.

    `rules`: those of the group, in order. `missing`: indices that no rule gives, of more than
    `MOST_MISSING` the first, and one too many. `counts`: the different n where they disagree.
    `repeated`: pairs of rules that give the same index to two tensors of one checkpoint.
    """

    rules: tuple[int, ...]
    missing: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    repeated: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Collision:
    """Two sources for one target: `rule` and `other` give it two names that stand side by side in a
    checkpoint, or (`other` None) `rule` drops what tells its own names apart: the index `index`, or the
    word in which the two `sources` differ."""

    rule: int
    other: int | None
    index: str = ""
    sources: tuple[str, str] = ("", "")


_PAIRS_OF_TWO_LAYOUTS = 2
"""So many other targets with two sources each: one alone may be a slip of its own."""


# --------------------------------------------------------------------------- shadowing

_MOST_TOGETHER = 6
"""Of more earlier rules than this, only those that take a sample are asked about together."""

Keep: TypeAlias = "Callable[[Hashable, Callable[[], bool]], bool]"
_Included: TypeAlias = "Callable[[SymbolicRule, Sequence[SymbolicRule]], bool]"


def _ask_again(_question: Hashable, answer: Callable[[], bool]) -> bool:
    return answer()


def shadows(rules: Sequence[SymbolicRule], semantics: str, keep: Keep = _ask_again) -> tuple[Shadow, ...]:
    """The rules that never apply, because earlier ones always take their names.

    `keep(question, answer)` gives what `answer()` gave when the same question was asked before.
    """

    def included(rule: SymbolicRule, others: Sequence[SymbolicRule]) -> bool:
        question = ("included", rule.pattern, *(other.pattern for other in others))
        return keep(question, lambda: _included(rule, others))

    found: list[Shadow] = []
    for position, rule in enumerate(rules):
        if rule.pattern is None:
            break  # may hold the key of any later rule, which would then stand here
        if rule.parsed is None:
            continue
        by = _takers(rules, position, included)
        if by is None or (semantics == "chained" and _comes_later(rules, position)):
            continue
        same = any(included(rules[index], (rule,)) for index in by)
        found.append(Shadow(position, by, same))
    return tuple(found)


def _takers(rules: Sequence[SymbolicRule], position: int, included: _Included) -> tuple[int, ...] | None:
    """The earlier rules that together match every name of this one; one alone where one does."""
    rule = rules[position]
    assert rule.parsed is not None
    samples = rule.names
    earlier = [
        (index, other, other.parsed)
        for index, other in enumerate(rules[:position])
        if not other.conditional and other.parsed is not None
    ]
    if not all(any(pattern.takes(name) for _, _, pattern in earlier) for name in samples):
        return None  # nearly every rule, so that nothing more is worked out for it
    matching = [
        (index, other, [name for name in samples if pattern.takes(name)]) for index, other, pattern in earlier
    ]
    for index, other, taken in matching:
        if len(taken) == len(samples) and included(rule, (other,)):
            return (index,)
    begins = rule.parsed.prefix
    several = [
        (index, other)
        for index, other, pattern in earlier
        if pattern.prefix.startswith(begins) or begins.startswith(pattern.prefix)
    ]
    if len(several) > _MOST_TOGETHER:
        several = [(index, other) for index, other, taken in matching if taken or not samples]
    if len(several) > 1 and included(rule, tuple(other for _, other in several)):
        needed = several
        for candidate in several:
            fewer = [item for item in needed if item is not candidate]
            if included(rule, tuple(other for _, other in fewer)):
                needed = fewer
        return tuple(index for index, _ in needed)
    return None


def _included(rule: SymbolicRule, others: Sequence[SymbolicRule]) -> bool:
    """Whether it is certain that the others match every name that the rule matches, and that it
    matches one."""
    languages = Languages()
    try:
        own = languages.both(_matched(languages, rule), all_names(languages))
        union = languages.either(*(_matched(languages, other) for other in others))
        return (
            languages.example(languages.both(own, languages.without(union))) is None
            and languages.example(own) is not None
        )
    except (Unsupported, TooLarge):
        return False


def _comes_later(rules: Sequence[SymbolicRule], position: int) -> bool:
    """Whether some other rule may make a name that this one matches."""
    return any(index != position and _feeds(other, rules[position]) for index, other in enumerate(rules))


def _feeds(maker: SymbolicRule, taker: SymbolicRule) -> bool:
    """Whether a name made by one rule may be matched by another; True where it cannot be told."""
    if maker.parsed is None or maker.template is None:
        return True
    languages = Languages()
    try:
        made = made_names(languages, maker.parsed, maker.template)
        meeting = languages.both(made, _matched(languages, taker), all_names(languages))
        return languages.example(meeting) is not None
    except (Unsupported, TooLarge):
        return True


def _matched(languages: Languages, rule: SymbolicRule) -> int:
    if rule.parsed is None:
        raise Unsupported("no pattern")
    return matched_names(languages, rule.parsed)


def is_rewritten_again(rules: Sequence[SymbolicRule], position: int) -> bool:
    """Whether a name that a rule makes may be matched by another rule; asked of chained mappings."""
    return any(
        index != position and (other.pattern is None or _feeds(rules[position], other))
        for index, other in enumerate(rules)
    )


# --------------------------------------------------------------------------- merges


def merge_faults(rules: Sequence[SymbolicRule], semantics: str) -> tuple[MergeFault, ...]:
    """The merge groups that never complete, or that put two tensors into one place.

    Nothing is said of a mapping with rules that cannot be read: they may hold what seems to lack.
    """
    if any(rule.pattern is None for rule in rules):
        return ()
    merging = [
        index
        for index, rule in enumerate(rules)
        if rule.merge is not None and 0 <= rule.merge[0] < rule.merge[1]
    ]
    found: list[MergeFault] = []
    for group in _groups(rules, merging):
        fault = _fault_of(rules, merging, group, semantics)
        if fault is not None:
            found.append(fault)
    return tuple(found)


def _groups(rules: Sequence[SymbolicRule], merging: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The merging rules by what they make."""
    groups: dict[str, list[int]] = {}
    for index in merging:
        made = rules[index].made
        if made is not None:
            groups.setdefault(made, []).append(index)
    yield from (tuple(group) for group in groups.values())


def _fault_of(
    rules: Sequence[SymbolicRule], merging: Sequence[int], group: tuple[int, ...], semantics: str
) -> MergeFault | None:
    given: dict[int, list[int]] = {}
    counts: set[int] = set()
    for index in group:
        merge = rules[index].merge
        assert merge is not None
        given.setdefault(merge[0], []).append(index)
        counts.add(merge[1])
    if len(counts) > 1:
        return MergeFault(group, counts=tuple(sorted(counts)))
    lacking = (index for index in range(counts.pop()) if index not in given)
    missing = tuple(islice(lacking, MOST_MISSING + 1))
    repeated = tuple(
        (first, second)
        for same in given.values()
        for place, first in enumerate(same)
        for second in same[place + 1 :]
        if side_by_side(rules[first], rules[second]) is not None
    )
    if missing and not _given_elsewhere(rules, merging, group, semantics):
        return MergeFault(group, missing=missing, repeated=repeated)
    return MergeFault(group, repeated=repeated) if repeated else None


def _given_elsewhere(
    rules: Sequence[SymbolicRule], merging: Sequence[int], group: tuple[int, ...], semantics: str
) -> bool:
    """Whether a rule outside the group may give it a tensor."""
    others = [rules[index] for index in merging if index not in group]
    unread = [rule for index, rule in enumerate(rules) if index not in group and _is_unread(rule)]
    if unread or any(other.template is None for other in others):
        return True
    if any(_same_name_possible(rules[group[0]], other) for other in others):
        return True
    # Chained, rules without a merge may lead two intermediate names to one.
    return semantics == "chained" and bool(others) and is_rewritten_again(rules, group[0])


def _is_unread(rule: SymbolicRule) -> bool:
    """Whether a rule may be a source that its value does not tell: computed, or malformed."""
    out_of_range = rule.merge is not None and not 0 <= rule.merge[0] < rule.merge[1]
    return rule.target is None or out_of_range


def _same_name_possible(first: SymbolicRule, second: SymbolicRule) -> bool:
    if first.parsed is None or first.template is None or second.parsed is None or second.template is None:
        return True
    languages = Languages()
    try:
        meeting = languages.both(
            made_names(languages, first.parsed, first.template),
            made_names(languages, second.parsed, second.template),
            all_names(languages),
        )
        return languages.example(meeting) is not None
    except TooLarge:
        return True


# --------------------------------------------------------------------------- collisions

_REPEATED_PARTS: Final = re.compile(r"(?:^|[._])(?:blocks?|layers?)$")
"""Names of lists of which a model has several members."""

_SLIP: Final = re.compile(r"[\x00-\x1f]|\$(?:\d|\{\w+\})")
"""What a lost prefix r, or another language's way of writing it, leaves of a reference to a group."""


def collisions(rules: Sequence[SymbolicRule]) -> tuple[Collision, ...]:
    """The rules that give one target to several tensors of one checkpoint.

    Two rules for one target are usual: they serve checkpoints of different origin. What is reported
    are siblings by name (`to_q` and `to_k`, `mlp.0` and `mlp.2`), and a block's index that is lost.
    Siblings tell nothing where the table knows the module that they stand in by two layouts.
    """
    found: list[Collision] = []
    for position, rule in enumerate(rules):
        lost = _lost_index(rules, position)
        if lost is not None:
            found.append(Collision(position, None, index=lost))
            continue
        if rule.confused is not None and not rule.conditional:
            found.append(Collision(position, None, sources=rule.confused))
            continue
        if not rule.target or rule.made is None or rule.conditional:
            continue
        for index in range(position):
            other = rules[index]
            if other.conditional or other.made != rule.made or (rule.merge and other.merge):
                continue
            sources = side_by_side(other, rule)
            if sources is not None and not _has_two_layouts(rules, sources):
                found.append(Collision(position, index, sources=sources))
                break
    return tuple(found)


def _has_two_layouts(rules: Sequence[SymbolicRule], sources: tuple[str, str]) -> bool:
    """Whether further pairs of rules give one target to two unlike names in the module of these two.

    Wan's blocks are `self_attn.q` and `norm3` in one export, `attn1.to_q` and `norm2` in another.
    """
    one, two = (source.split(".") for source in sources)
    depth = next(i for i, (a, b) in enumerate(zip(one, two)) if a != b)  # noqa: B905
    if depth == 0:
        return False
    inside: dict[str, set[str]] = {}
    for rule in rules:
        if rule.merge is not None or rule.conditional or rule.made is None or rule.parsed is None:
            continue
        for sample in rule.parsed.samples:
            parts = sample.split(".") if sample is not None else []
            if parts[:depth] == one[:depth] and len(parts) > depth and sample not in sources:
                inside.setdefault(rule.made, set()).add(parts[depth])
    return sum(len(names) > 1 for names in inside.values()) >= _PAIRS_OF_TWO_LAYOUTS


def _lost_index(rules: Sequence[SymbolicRule], position: int) -> str | None:
    """The list whose index a rule matches and does not write; None where there is no such list."""
    rule = rules[position]
    if rule.parsed is None or rule.template is None or not rule.target:
        return None
    if rule.target.endswith("_extra_state") or _SLIP.search(rule.target):
        return None  # not loaded; or no reference where one was meant, which DIT306 reports
    for before, groups in rule.indices:
        if groups & rule.template.references:
            continue
        if _REPEATED_PARTS.search(before) or _kept_elsewhere(rules, position, before):
            return before
    return None


def _kept_elsewhere(rules: Sequence[SymbolicRule], position: int, before: str) -> bool:
    """Whether another rule writes the index of that list: it has several members, then."""
    for place, other in enumerate(rules):
        if place == position or other.parsed is None or other.template is None:
            continue
        for name, groups in other.indices:
            if name == before and groups & other.template.references:
                return True
    return False


def side_by_side(first: SymbolicRule, second: SymbolicRule) -> tuple[str, str] | None:
    """Two names, one matched by each rule alone, that are siblings in one checkpoint; else None."""
    if first.parsed is None or second.parsed is None:
        return None
    for one, two in zip(first.parsed.samples, second.parsed.samples, strict=True):
        if (
            one is not None
            and two is not None
            and _siblings(one, two)
            and second.parsed.compiled.match(one) is None
            and first.parsed.compiled.match(two) is None
        ):
            return one, two
    return None


def _siblings(one: str, two: str) -> bool:
    first, second = one.split("."), two.split(".")
    place = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), None)  # noqa: B905
    if place is None:
        return False
    a, b = first[place], second[place]
    if a.isdigit() and b.isdigit():
        return True  # members of one `Sequential` or list, whatever stands inside
    return first[place + 1 :] == second[place + 1 :] and _opposed(WORDS.findall(a), WORDS.findall(b))


def _numbered(one: str, two: str) -> bool:
    """Whether numbers alone tell two names apart: alternatives for these serve different layouts."""
    return re.sub(r"\d", "", one) == re.sub(r"\d", "", two)


def _opposed(one: list[str], two: list[str]) -> bool:
    if len(one) != len(two):
        return False
    different = [(a, b) for a, b in zip(one, two, strict=True) if a != b]
    if len(different) != 1:
        return False
    a, b = different[0]
    return (a.isdigit() and b.isdigit()) or any({a, b} <= words for words in OPPOSED)
