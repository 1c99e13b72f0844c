"""What would become of a name without one of the rules: the strongest evidence against that rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from analyzers.weights.landing import Sides
from analyzers.weights.patterns import Pattern
from analyzers.weights.recent import Keep
from analyzers.weights.renaming import Renaming, positions, rename
from analyzers.weights.symbolic import SymbolicRule


class Elsewhere(NamedTuple):
    """Where a name would go: the rule that would decide it (None: it stays as it is), what it would make."""

    rule: int | None
    target: str
    merge: tuple[int, int] | None


def without_rule(
    renaming: Renaming, rules: Sequence[SymbolicRule], sides: Sides, place: int, rule: int, keep: Keep
) -> Elsewhere | None:
    """Where a name would go without a rule that took it; None where that cannot be told."""
    name = renaming.names[place]
    if sides.semantics == "chained":
        return _chained(rules, sides, name, rule)
    for later in range(rule + 1, len(rules)):
        reached = renaming.reached[later]
        if reached is None:
            return None
        if not reached >> place & 1:
            continue
        pattern, target = rules[later].parsed, rules[later].target
        if pattern is None or target is None or rules[later].conditional:
            return None
        try:
            made = keep(
                ("would make", sides.official.digest, pattern.text, target, reached),
                partial(_all_made, renaming, pattern, target, reached),
            )
        except (re.error, IndexError):
            return None  # the loader would stop there
        return Elsewhere(later, made[place], rules[later].merge)
    return Elsewhere(None, name, None)


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
