"""Names of tensors as people read them: their numbers aside, their words, and how alike two are."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

HOLE: Final = "*"
"""What stands for a component that is a number."""

_NUMBER: Final = re.compile(r"(?<![^.])\d+(?![^.])")
_WORD: Final = re.compile(r"[A-Za-z]+|\d+|\*")


@lru_cache(maxsize=16384)
def shape_of_name(name: str) -> tuple[str, tuple[int, ...]]:
    """The name with `*` for each component that is a number, and these numbers."""
    numbers = _NUMBER.findall(name)
    return (_NUMBER.sub(HOLE, name), tuple(map(int, numbers))) if numbers else (name, ())


def words_of(template: str) -> tuple[tuple[str, int, int], ...]:
    """The words of a name with where each begins and ends."""
    return tuple((m.group(), m.start(), m.end()) for m in _WORD.finditer(template))


@lru_cache(maxsize=4096)
def _pairs(text: str) -> frozenset[str]:
    padded = f".{text}."
    return frozenset(padded[i : i + 2] for i in range(len(padded) - 1))


def likeness(one: str, two: str) -> float:
    """How alike two names are, from 0 to 1: the share of the pairs of letters that both have."""
    first, second = _pairs(one), _pairs(two)
    return 2 * len(first & second) / (len(first) + len(second))


def leaf(name: str) -> str:
    """The last component."""
    return name.rpartition(".")[2]


def owner(name: str) -> str:
    """All but the last component."""
    return name.rpartition(".")[0]


def core(one: str, two: str) -> tuple[str, str, str]:
    """The components that two names begin with alike, and those of each that lie between a common
    beginning and a common end."""
    first, second = one.split("."), two.split(".")
    begin = 0
    while begin < min(len(first), len(second)) and first[begin] == second[begin]:
        begin += 1
    end = 0
    while end < min(len(first), len(second)) - begin and first[-1 - end] == second[-1 - end]:
        end += 1
    return (
        ".".join(first[:begin]),
        ".".join(first[begin : len(first) - end]),
        ".".join(second[begin : len(second) - end]),
    )
