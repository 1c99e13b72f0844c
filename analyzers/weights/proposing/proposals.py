"""From what belongs together to rules: the fewest that a reader would write, checked before they are shown.

A rule is proposed only if the mapping with all proposed rules in their places does exactly the proposed
pairs and leaves everything that worked as it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from analyzers.findings import Applicability, Fix, JsonValue
from analyzers.project.mappings import MappingTable
from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.renaming import Renamed
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proposing.alignment import Match, align
from analyzers.weights.proposing.families import INDEX, Path
from analyzers.weights.proposing.places import outcomes
from analyzers.weights.state import Tensor


@dataclass(frozen=True)
class ProposedRule:
    """One rule that a mapping lacks.

    `merge`: index and n. `pairs`: official name and the parameter that it goes to, for every name that the
    rule is meant for. `rivals`: parameters (as paths) that fit nearly as well; a rule that has some and is
    not `certain` is for a person to judge. `before`: the pattern of the rule that it must stand in front of;
    `after`: of the one that it stands behind; both None at the end. `replaces`: the mapping has a rule of
    this pattern already, whose target is wrong.
    """

    pattern: str
    target: str
    merge: tuple[int, int] | None
    pairs: tuple[tuple[str, str], ...]
    certain: bool
    rivals: tuple[str, ...] = ()
    before: str | None = None
    after: str | None = None
    replaces: bool = False

    @cached_property
    def symbolic(self) -> SymbolicRule:
        """The rule as texts."""
        return SymbolicRule(self.pattern, self.target, self.merge)


@dataclass(frozen=True)
class Proposal:
    """`rules`: certain, and checked together with the rules that are there, in the order in which they go
    into the mapping. `doubtful`: what fits, but so does something else. `notes`: what names and shapes tell
    and no rule can say, each a sentence."""

    rules: tuple[ProposedRule, ...]
    doubtful: tuple[ProposedRule, ...]
    notes: tuple[str, ...]


def propose(
    official: Sequence[Tensor],
    native: Sequence[Tensor],
    rules: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    excluded: Collection[str] = frozenset(),
) -> Proposal:
    """The rules that a mapping between two state dicts lacks.

    `official`, `native`: all tensors of both sides; without shapes nothing is proposed. `rules`: the
    mapping as it is; where part of it cannot be read, nothing is proposed. `excluded`: names of either
    side that are left out by design.
    """
    if any(rule.parsed is None or rule.template is None or rule.conditional for rule in rules):
        why = "a rule of the mapping cannot be read or tried, or is there on some paths only"
        return Proposal((), (), (f"{why}: none is proposed beside it",))
    found = align(official, native, rules, semantics, excluded)
    names = [tensor.name for tensor in official]
    sure = [match for match in found.matches if match.certain]
    valid = {tensor.name for tensor in native}
    before = outcomes(names, rules, semantics, valid)
    drafts = _drafts(sure, before, frozenset(excluded))
    placed, notes = _checked(drafts, rules, before, semantics, valid)
    doubtful = [
        rule
        for match in found.matches
        if not match.certain
        for place in range(len(match.official))
        for rule in _own_rules(match, place, names)
    ]
    split = [
        f"'{family.dotted}' seems to be split into {', '.join(part.dotted for part in parts)}: a mapping "
        "joins tensors and never splits one"
        for family, parts in found.splits
    ]
    return Proposal(tuple(placed), tuple(doubtful), (*split, *notes))


def with_proposed(
    rules: Sequence[SymbolicRule], proposed: Sequence[ProposedRule]
) -> tuple[SymbolicRule, ...]:
    """The mapping with the proposed rules in their places, as the edit writes it."""
    result = list(rules)
    last: dict[str, int] = {}
    for rule in proposed:
        patterns = [known.pattern for known in result]
        if rule.replaces:
            result[patterns.index(rule.pattern)] = rule.symbolic
        elif rule.before is not None:
            result.insert(patterns.index(rule.before), rule.symbolic)
        elif rule.after is not None:
            behind = last.get(rule.after, 0)
            result.insert(patterns.index(rule.after) + 1 + behind, rule.symbolic)
            last[rule.after] = behind + 1
        else:
            result.append(rule.symbolic)
    return tuple(result)


def fix_of(
    proposal: Proposal, path: str, container: str | None, table: MappingTable | None = None
) -> Fix | None:
    """The quick fix that writes the certain rules of a proposal into a mapping.

    `path`, `container`: the statement that holds the mapping (`Mappings.container_of` of a table, or
    `Class.param_names_mapping` where there is nothing but an empty factory). `table`: the rules that are
    there, None where there are none. None where nothing is certain, the mapping is not written down in one
    place, or a rule would have to stand in front of one that is written elsewhere.
    """
    if not proposal.rules or container is None:
        return None
    own: set[str | None] = set()
    if table is not None:
        own = {rule.pattern for rule in table.rules if table.owns(rule) and rule.container == container}
    rules: list[JsonValue] = []
    for rule in proposal.rules:
        anchor = rule.pattern if rule.replaces else rule.before
        if anchor is not None and anchor not in own:
            return None
        rules.append(
            {
                "pattern": rule.pattern,
                "target": rule.target,
                "merge": list(rule.merge) if rule.merge is not None else None,
                "before": rule.before,
                # No rule that is there takes these names: where they stand is a matter of reading.
                "after": rule.after if rule.after in own else None,
                "replaces": rule.replaces,
            }
        )
    count = len(rules)
    title = f"Write {count} missing mapping rules" if count > 1 else "Write the missing mapping rule"
    arguments: dict[str, JsonValue] = {"path": path, "container": container, "rules": rules}
    return Fix(title, "add-mapping-rules", arguments, Applicability.UNSAFE)


# --------------------------------------------------------------------------- drafts


def _drafts(
    matches: Sequence[Match],
    before: Mapping[str, Renamed],
    excluded: Collection[str],
) -> list[ProposedRule]:
    """Rules for these matches, several modules in one rule where all below a module move alike."""
    single = [match for match in matches if len(match.official) == 1]
    found: list[tuple[int, ProposedRule]] = []
    waiting = {id(match): match for match in single}
    for one, two in _roots(single):
        below = [m for m in waiting.values() if _moves(m, one, two)]
        if len(below) < 2:
            continue
        rule = _general(one, two, below)
        compiled = rule.symbolic.parsed
        if compiled is None:
            continue
        mine = dict(rule.pairs)
        taken = [name for name in before if name not in mine and compiled.compiled.match(name)]
        made = {name: compiled.compiled.sub(rule.target, name) for name in taken}
        if any(
            name in excluded or (made[name], None) != (before[name].target, before[name].merge)
            for name in taken
        ):
            continue
        found.append((min(match.official[0].order for match in below), rule))
        for match in below:
            del waiting[id(match)]
    rest = [match for match in matches if len(match.official) > 1 or id(match) in waiting]
    for match in rest:
        for place, family in enumerate(match.official):
            # A source that gives to this merge already needs no rule.
            merge = (place, len(match.official)) if len(match.official) > 1 else None
            if any(
                (before[name].target, before[name].merge) != (target, merge)
                for name, target in _pairs(match, place)
            ):
                found += [(family.order, rule) for rule in _own_rules(match, place, before)]
    return [rule for _, rule in sorted(found, key=lambda item: item[0])]


def _roots(matches: Sequence[Match]) -> list[tuple[Path, Path]]:
    """Pairs of parents whose contents move alike, the highest first."""
    roots: dict[tuple[Path, Path], None] = {}
    for match in matches:
        one, two = match.official[0].path, match.native.path
        while one and two and one[-1] == two[-1] and len(one) > 1 and len(two) > 1:
            one, two = one[:-1], two[:-1]
            if one[-1].endswith(INDEX) == two[-1].endswith(INDEX):
                roots[one, two] = None
    return sorted(roots, key=lambda pair: len(pair[0]))


def _moves(match: Match, one: Path, two: Path) -> bool:
    official, native = match.official[0], match.native
    return (
        official.path[: len(one)] == one
        and native.path[: len(two)] == two
        and official.path[len(one) :] == native.path[len(two) :]
        and official.words == native.words
    )


def _general(one: Path, two: Path, below: Sequence[Match]) -> ProposedRule:
    pattern, target, groups = _texts(one, two)
    pairs = tuple(pair for match in below for pair in _pairs(match, 0))
    return ProposedRule(f"^{pattern}\\.(.*)$", f"{target}.\\{groups + 1}", None, pairs, certain=True)


def _own_rules(match: Match, place: int, names: Iterable[str]) -> Iterator[ProposedRule]:
    """The rules for one source of a match: one for the module, or one a leaf where these change names."""
    family, native = match.official[place], match.native
    pattern, target, groups = _texts(family.path, native.path)
    merge = (place, len(match.official)) if len(match.official) > 1 else None
    rivals = (match.rival,) if match.rival is not None else ()
    pairs = _pairs(match, place)

    def rule(behind: str, made: str, some: tuple[tuple[str, str], ...]) -> ProposedRule:
        whole = f"^{pattern}{behind}$", f"{target}{made}"
        return ProposedRule(*whole, merge, some, match.certain, rivals)

    if family.words == native.words and "" not in family.words:
        own = {tensor.name for tensor in family.tensors.values()}
        inside = re.compile(f"^{pattern}\\.(.*)$")
        others = (
            found[found.re.groups] for name in names if name not in own and (found := inside.match(name))
        )
        leaves = tuple(family.words.values())
        rest = "(.*)" if set(leaves).issuperset(others) else f"({'|'.join(map(re.escape, leaves))})"
        yield rule(f"\\.{rest}", f".\\{groups + 1}", pairs)
        return
    for leaf, word in family.words.items():
        other = native.words[leaf if leaf in native.words else next(iter(native.words))]
        mine = {tensor.name for (own_leaf, _), tensor in family.tensors.items() if own_leaf == leaf}
        some = tuple(pair for pair in pairs if pair[0] in mine)
        yield rule(f"\\.{re.escape(word)}" if word else "", f".{other}" if other else "", some)


def _texts(one: Path, two: Path) -> tuple[str, str, int]:
    """Pattern and target of a path, without anchors, and the number of groups."""
    pattern = "\\.".join(
        re.escape(part[: -len(INDEX)]) + r"(\d+)" if part.endswith(INDEX) else re.escape(part) for part in one
    )
    target: list[str] = []
    group = 0
    for part in two:
        if part.endswith(INDEX):
            group += 1
            part = f"{part[: -len(INDEX)]}\\{group}"
        target.append(part)
    return pattern, ".".join(target), group


def _pairs(match: Match, place: int) -> tuple[tuple[str, str], ...]:
    family, native = match.official[place], match.native
    if len(native.leaves) == 1:
        by_indices = {indices: tensor for (_, indices), tensor in native.tensors.items()}
        return tuple((t.name, by_indices[i].name) for (_, i), t in family.tensors.items())
    return tuple((t.name, native.tensors[key].name) for key, t in family.tensors.items())


# --------------------------------------------------------------------------- places and check


def _checked(
    drafts: Sequence[ProposedRule],
    rules: Sequence[SymbolicRule],
    before: Mapping[str, Renamed],
    semantics: MappingSemantics,
    valid: Collection[str],
) -> tuple[list[ProposedRule], list[str]]:
    """The drafts in their places, without those that would not do what they should or would undo
    something, and a note for each of these."""
    kept = [_placed(draft, rules) for draft in drafts]
    notes: list[str] = []
    while kept:
        wanted = {name: (target, rule.merge) for rule in kept for name, target in rule.pairs}
        whole = with_proposed(rules, kept)
        texts = {rule.pattern: place for place, rule in enumerate(kept)}
        guilty: int | None = None
        after = outcomes(tuple(before), whole, semantics, valid)
        for name, was in before.items():
            made = after[name]
            if (made.target, made.merge) == wanted.get(name, (was.target, was.merge)):
                continue
            by_pattern = whole[made.rules[-1]].pattern if made.rules else None
            mine = next((i for i, rule in enumerate(kept) if any(name == n for n, _ in rule.pairs)), None)
            guilty = mine if mine is not None else texts.get(by_pattern or "")
            break
        else:
            return kept, notes
        if guilty is None:
            guilty = len(kept) - 1
        notes.append(
            f"the rule {kept[guilty].pattern!r} is not proposed: beside the rules that are there it would "
            "not do what it should"
        )
        del kept[guilty]
    return kept, notes


def _placed(draft: ProposedRule, rules: Sequence[SymbolicRule]) -> ProposedRule:
    """The draft with its place: in front of the first rule that would take its names, else beside its
    neighbours."""
    patterns = [rule.pattern for rule in rules]
    if draft.pattern in patterns:
        return replace(draft, replaces=True)
    for rule in rules:
        if rule.parsed is not None and any(rule.parsed.compiled.match(name) for name, _ in draft.pairs):
            return replace(draft, before=rule.pattern)
    return replace(draft, after=_neighbour(draft.pattern, rules))


def _neighbour(pattern: str, rules: Sequence[SymbolicRule]) -> str | None:
    """The last rule that shares the most components with a pattern; the last of all where none shares
    one."""
    best, length = None, -1
    for rule in rules:
        if rule.pattern is None:
            continue
        shared = 0
        for one, two in zip(pattern.split("\\."), rule.pattern.split("\\."), strict=False):
            if one != two:
                break
            shared += 1
        if shared >= length:
            best, length = rule.pattern, shared
    return best
