"""Whether a pattern that matches nothing was meant for a name: one letter, one component beside it."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Final

from analyzers.weights.mapping.name_parts import HOLE, likeness, shape_of_name
from analyzers.weights.mapping.patterns import Pattern
from analyzers.weights.mapping.symbolic import SymbolicRule

FILLER: Final = "weight"
"""What stands for `.*` in the first sample of a pattern."""

_MOST_WAYS: Final = 8
"""So many ways through a pattern's alternatives (`q|k|v`) are compared."""

_CLOSE: Final = 0.5
"""How alike two components are of which one may be a slip for the other."""

_LIKELY: Final = 0.3
_SHORT: Final = 3
"""The same where other evidence speaks for the slip; of short ones (`ff`) a letter is half."""


def is_near(rule: SymbolicRule, template: str, meant: bool) -> bool:
    """Whether names of that form (`*` for numbers) miss the rule's pattern by a slip.

    `meant`: what the rule would make is what the names lack, so that one component may be anything and
    another be there or not; else one component may be misspelt, or be there or not.
    """
    pattern = rule.parsed
    ways = pattern.choices[:_MOST_WAYS] if pattern is not None else ()
    for sample in dict.fromkeys((*rule.names[:1], *ways)):
        free = pattern is not None and (pattern.begins_free or _begins_anyhow(pattern, sample))
        shortest = pattern.shortest(sample) if pattern is not None else sample
        parts, name = shape_of_name(shortest)[0].split("."), template.split(".")
        if free and len(name) > len(parts):
            name = name[-len(parts) :]
        if free and len(parts) > 1 and parts[0] == FILLER:
            parts[0] = name[0]  # it stands for `.*` at the beginning
        if meant and parts[-1] == FILLER:
            parts[-1] = name[-1]  # it stands for `.*`
        if _near(parts, name, meant) or (len(parts) > 1 and _near(parts[:-1], name[: len(parts) - 1], meant)):
            return True
    return False


def _begins_anyhow(pattern: Pattern, sample: str) -> bool:
    """Whether the first component of a sample stands for any beginning of names."""
    first, _, rest = sample.partition(".")
    return first == FILLER and pattern.compiled.match(f"{first}.0.{first}.{rest}") is not None


def _near(sample: list[str], name: list[str], meant: bool) -> bool:
    replaced: list[tuple[str, str]] = []
    other = same = 0
    for kind, a, b, c, d in SequenceMatcher(None, sample, name, autojunk=False).get_opcodes():
        if kind == "equal":
            same += b - a
        else:
            both = min(b - a, d - c)
            replaced += zip(sample[a : a + both], name[c : c + both], strict=True)
            other += abs((b - a) - (d - c))
    if any(HOLE in pair for pair in replaced) or same < 1:
        return False
    if meant:
        if any(likeness(a, b) < _LIKELY and max(len(a), len(b)) > _SHORT for a, b in replaced):
            return False
        return len(replaced) <= 1 and other <= 1 and same >= len(replaced)
    return len(replaced) + other <= 1 and all(likeness(a, b) >= _CLOSE for a, b in replaced)
