"""Whether a pattern that matches nothing was meant for a name: one letter, one component beside it."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Final

from analyzers.weights.name_parts import HOLE, likeness, shape_of_name
from analyzers.weights.symbolic import SymbolicRule

_CLOSE: Final = 0.5
"""How alike two components are of which one may be a slip for the other."""


def is_near(rule: SymbolicRule, template: str) -> bool:
    """Whether names of that form (`*` for numbers) miss the rule's pattern by one component."""
    return any(_near(shape_of_name(name)[0].split("."), template.split(".")) for name in rule.names[:1])


def _near(sample: list[str], name: list[str]) -> bool:
    # The last component of a sample often stands for `.*`.
    return _one_apart(sample, name) or (len(sample) > 1 and _begins_near(sample[:-1], name))


def _begins_near(sample: list[str], name: list[str]) -> bool:
    return len(name) > len(sample) and _one_apart(sample, name[: len(sample)])


def _one_apart(sample: list[str], name: list[str]) -> bool:
    if len(sample) == len(name):
        different = [(a, b) for a, b in zip(sample, name, strict=True) if a != b]
        return len(different) <= 1 and all(
            HOLE not in (a, b) and likeness(a, b) >= _CLOSE for a, b in different
        )
    if abs(len(sample) - len(name)) != 1 or min(len(sample), len(name)) < 2:
        return False
    matched = SequenceMatcher(None, sample, name, autojunk=False).get_matching_blocks()
    return sum(found.size for found in matched) == min(len(sample), len(name))
