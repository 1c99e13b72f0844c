"""The fixes of faults that proofs find: those that are known to mend the names concerned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from analyzers.findings import Applicability, Fix, JsonValue
from analyzers.project.index import Project
from analyzers.weights.faults import PlacedFault
from analyzers.weights.known import proposal_of, rules_of
from analyzers.weights.mapping.patterns import Pattern, has_alternatives, parse_pattern
from analyzers.weights.mapping.renaming import rename
from analyzers.weights.proposing.proposals import fix_of as writing

MOST_TRIED = 200
"""So many names at most are put to a mended rule before its fix is offered."""

MOST_GROUPS = 6
"""So many groups at most are looked for in a target."""


def fix_of(project: Project, placed: PlacedFault) -> Fix | None:
    """What would mend a fault, where something is known to."""
    return _anchoring(project, placed) or _retargeting(project, placed) or _writing(project, placed)


def _writing(project: Project, placed: PlacedFault) -> Fix | None:
    """The rules that are missing, where names lead to parameters that stay empty and none is to blame."""
    fault, known = placed.fault, placed.known
    if fault.rule is not None or not fault.official or not fault.native:
        return None
    proposal = proposal_of(project, known.port)
    if proposal is None or known.table is None:
        return None
    concerned = frozenset(fault.official)
    wanted = [rule for rule in proposal.rules if any(name in concerned for name, _ in rule.pairs)]
    container = project.mappings.container_of(known.table)
    return writing(replace(proposal, rules=tuple(wanted)), known.table.location.path, container, known.table)


def _anchoring(project: Project, placed: PlacedFault) -> Fix | None:
    """Anchors for the rule that takes the names, where all names then come to their place."""
    rule, index = placed.rule, placed.fault.rule
    if rule is None or rule.pattern is None or rule.container is None or index is None:
        return None
    pattern = parse_pattern(rule.pattern)
    if pattern is None or rule is not placed.known.rule(index):
        return None
    for start, end, title in _anchors(pattern):
        if _places_all(project, placed, index, f"{start}{rule.pattern}{end}"):
            return Fix(
                f"Add {title} to the pattern",
                "anchor-mapping-pattern",
                {
                    "path": rule.path,
                    "container": rule.container,
                    "pattern": rule.pattern,
                    "start": start,
                    "end": end,
                },
                Applicability.UNSAFE,
            )
    return None


def _retargeting(project: Project, placed: PlacedFault) -> Fix | None:
    """Another target for the rule that sends the names away, where names and shapes tell which."""
    rule, index = placed.rule, placed.fault.rule
    if rule is None or rule.pattern is None or rule.container is None or index is None:
        return None
    if placed.fault.kind == "shape":
        return None  # another rule's tensor stands where these belong: the two have to change together
    proposal = proposal_of(project, placed.known.port)
    if proposal is None or rule is not placed.known.rule(index):
        return None
    wanted = dict(pair for proposed in proposal.rules for pair in proposed.pairs)
    targets = [(proposed.target, proposed.merge) for proposed in proposal.rules]
    same = [p for p in proposal.rules if p.replaces and p.pattern == rule.pattern]
    merges = {name: proposed.merge for proposed in proposal.rules for name, _ in proposed.pairs}
    taken = [name for name in _taken(placed, index) if merges.get(name) == rule.merge]
    targets += [(target, rule.merge) for target in _targets(rule.pattern, taken, wanted)]
    found = [(p.target, p.merge) for p in same] or [
        made for made in targets if _leads_to(project, placed, index, *made, wanted)
    ]
    for target, merge in found[:1]:
        written: JsonValue = {
            "pattern": rule.pattern,
            "target": target,
            "merge": list(merge) if merge is not None else None,
            "before": None,
            "after": None,
            "replaces": True,
        }
        return Fix(
            f"Change the target to '{target}'",
            "add-mapping-rules",
            {"path": rule.path, "container": rule.container, "rules": [written]},
            Applicability.UNSAFE,
        )
    return None


def _taken(placed: PlacedFault, index: int) -> tuple[str, ...]:
    """The names that a rule decides."""
    return next((use.matches for use in placed.known.proof.rules if use.rule == index), ())


def _targets(text: str, names: Sequence[str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Targets that lead one of the names where it belongs, by the groups of the pattern that takes it:
    whole components of the wanted name that are what a group matched, the most of them first."""
    pattern = parse_pattern(text)
    if pattern is None:
        return
    matches = [match for name in names if name in wanted and (match := pattern.compiled.fullmatch(name))]
    # Groups that matched alike cannot be told apart.
    match = max(matches, key=lambda match: len(set(match.groups())), default=None)
    if match is None:
        return
    target = wanted[match.string]
    places = [
        (found.start(), found.end(), group)
        for group, value in enumerate(match.groups(), start=1)
        if value
        for found in re.finditer(rf"(?<![^.]){re.escape(value)}(?![^.])", target)
    ]
    for count in range(min(len(places), MOST_GROUPS), -1, -1):
        for chosen in combinations(sorted(places), count):
            made, done = "", 0
            for start, end, group in chosen:
                if start < done:
                    break
                made, done = f"{made}{target[done:start]}\\{group}", end
            else:
                yield made + target[done:]


def _leads_to(
    project: Project,
    placed: PlacedFault,
    index: int,
    target: str,
    merge: tuple[int, int] | None,
    wanted: Mapping[str, str],
) -> bool:
    """Whether all names that a rule takes come where they belong once it has that target."""
    _, rules = rules_of(project, placed.known.port)
    taken = _taken(placed, index)
    if not taken or merge != rules[index].merge or not all(name in wanted for name in taken):
        return False
    changed = [replace(rule, target=target) if i == index else rule for i, rule in enumerate(rules)]
    if any(rule.parsed is None or rule.template is None for rule in changed):
        return False
    semantics = project.profile.mapping_semantics
    return all(rename(name, changed, semantics).target == wanted[name] for name in taken)


def _places_all(project: Project, placed: PlacedFault, index: int, pattern: str) -> bool:
    """Whether the names of a fault, and those that its rule takes, have a place once the rule has that
    pattern."""
    native = placed.known.state.native
    _, rules = rules_of(project, placed.known.port)
    changed = [replace(rule, pattern=pattern) if i == index else rule for i, rule in enumerate(rules)]
    if native is None or any(rule.parsed is None or rule.template is None for rule in changed):
        return False
    taken = _taken(placed, index)
    names = dict.fromkeys((*placed.fault.official, *taken))
    semantics = project.profile.mapping_semantics
    made = [rename(name, changed, semantics).target for name in list(names)[:MOST_TRIED]]
    return all(target in native.by_name for target in made)


def _anchors(pattern: Pattern) -> Iterator[tuple[str, str, str]]:
    """What may be written before and behind a pattern, and what to call it."""
    if pattern.text.startswith("(?"):
        return  # flags have to stay in front
    starts = ("", "^") if not pattern.is_anchored else ("",)
    ends = ("", "$") if not pattern.takes_the_rest else ("",)
    choice = has_alternatives(pattern.text)
    for start, end in ((s, e) for e in ends for s in starts if s or e):
        title = " and ".join(f"'{anchor}'" for anchor in (start, end) if anchor)
        yield (f"{start}(?:", f"){end}", title) if choice else (start, end, title)
