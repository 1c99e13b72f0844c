"""What would become of a name without one of the rules: the strongest evidence against that rule."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from analyzers.weights.mapping.patterns import Pattern
from analyzers.weights.mapping.renaming import Renaming, as_mask, positions, rename
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.landing import Sides
from analyzers.weights.recent import Keep


class Elsewhere(NamedTuple):
    """Where a name would go: the rule that would decide it (None: it stays as it is), what it would make."""

    rule: int | None
    target: str
    merge: tuple[int, int] | None


def without_rule(
    renaming: Renaming,
    rules: Sequence[SymbolicRule],
    sides: Sides,
    rule: int,
    places: Collection[int],
    keep: Keep,
) -> Iterator[tuple[int, Elsewhere]]:
    """Where names would go without a rule that took them; without those of which that cannot be told."""
    names = renaming.names
    if sides.semantics == "chained":
        for place in places:
            elsewhere = _chained(rules, sides, names[place], rule)
            if elsewhere is not None:
                yield place, elsewhere
        return
    live = as_mask(places, len(names))
    for later in range(rule + 1, len(rules)):
        reached = renaming.reached[later]
        if reached is None:
            return
        decided = reached & live
        if not decided:
            continue
        live &= ~decided
        pattern, target = rules[later].parsed, rules[later].target
        if pattern is None or target is None or rules[later].conditional:
            continue
        try:
            made = keep(
                ("would make", sides.official.digest, pattern.text, target, reached),
                partial(_all_made, renaming, pattern, target, reached),
            )
        except (re.error, IndexError):
            continue  # the loader would stop there
        merge = rules[later].merge
        for place in positions(decided):
            yield place, Elsewhere(later, made[place], merge)
    for place in positions(live):
        yield place, Elsewhere(None, names[place], None)


def _all_made(renaming: Renaming, pattern: Pattern, target: str, reached: int) -> Mapping[int, str]:
    sub = pattern.compiled.sub
    return {place: sub(target, renaming.names[place]) for place in positions(reached)}


def _chained(rules: Sequence[SymbolicRule], sides: Sides, name: str, rule: int) -> Elsewhere | None:
    if any(other.parsed is None or other.target is None or other.conditional for other in rules):
        return None
    kept = [position for position in range(len(rules)) if position != rule]
    try:
        made = rename(name, [rules[position] for position in kept], "chained", sides.natives.keys())
    except (re.error, IndexError):
        return None
    return Elsewhere(kept[made.rules[-1]] if made.rules else None, made.target, made.merge)
