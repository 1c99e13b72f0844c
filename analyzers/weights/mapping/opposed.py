"""The parts of weight names that tell siblings apart: `to_q` from `to_k`, a scale from a shift.

Shapes cannot see two siblings that were swapped, so their names are all there is. Only words that are
known to be opposed count: a renaming (`linear_1` to `fc_in`, `norm2` to `norm3`, `self_attn` to `attn1`)
says nothing, and neither does a number, but for that of a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

OPPOSED: Final = tuple(
    frozenset(words.split())
    for words in (
        "q k v o",
        "q k v out",
        "q k v output",
        "t h w",
        "query key value",
        "in out",
        "gate up down",
        "weight bias",
        "scale shift gate",
        "img txt",
        "image text",
        "video audio text",
        "self cross",
        "gamma beta",
        "A B",
        "first second",
        "pre post",
    )
)
"""Words that tell siblings apart: where a checkpoint has the one, it has the other beside it."""

WORDS: Final = re.compile(r"[A-Za-z]+|\d+")
"""The words of a component (`to_q`, `norm1`)."""

_SYNONYMS: Final = {
    "query": "q",
    "key": "k",
    "value": "v",
    "image": "img",
    "text": "txt",
    "vid": "video",
    "aud": "audio",
}

_AXES: Final = tuple(
    frozenset(words.split()) for words in ("q k v", "gate up", "up down", "img txt", "video audio")
)
"""Words that keep their meaning wherever in a name they stand."""

_SAME_MEANING: Final = (frozenset(("scale", "gate")), frozenset(("video", "text")))
"""Siblings that a port may well call by each other's name: a layer's scale is its gate."""

_BLOCKS: Final = re.compile(r"(?:^|_)blocks?$")
"""Lists whose members are alike; a number in a `Sequential` changes with what has no weights."""

_ATTENTIONS: Final = {
    "self_attn": "self",
    "self_attention": "self",
    "attn1": "self",
    "cross_attn": "cross",
    "cross_attention": "cross",
    "attn2": "cross",
}
"""Attentions of a block by diffusers' names and by spelled-out ones."""

_LEAVES: Final = {"weight": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}

_LORA: Final = {"lora_A": "A", "lora_down": "A", "lora_B": "B", "lora_up": "B"}


@dataclass(frozen=True)
class Crossing:
    """Where a source and its target disagree: the components (or words of them) on both sides."""

    source: str
    target: str


def parts(name: str) -> tuple[str, ...]:
    """The components of a name."""
    return tuple(name.split("."))


def crossing(source: str, target: str) -> Crossing | None:
    """The telling parts in which a name and what becomes of it disagree; None where none can be told."""
    one, two = parts(source), parts(target)
    for axis in _AXES:
        mine, theirs = _on_axis(one, axis), _on_axis(two, axis)
        if mine and theirs and not mine.keys() & theirs.keys():
            return Crossing(next(iter(mine.values())), next(iter(theirs.values())))
    return _crossed_roles(one, two) or _crossed_component(one, two) or _crossed_block(one, two)


def _on_axis(components: Sequence[str], axis: frozenset[str]) -> dict[str, str]:
    """The words of an axis that stand in a name, with the component that each stands in."""
    found: dict[str, str] = {}
    for component in components:
        if component in _LORA:
            continue
        for word in WORDS.findall(component):
            meant = _SYNONYMS.get(word.lower(), word.lower())
            if meant in axis:
                found.setdefault(meant, component)
    return found


def _crossed_roles(one: Sequence[str], two: Sequence[str]) -> Crossing | None:
    """Components that mean the opposite whatever words they use: an attention, a LoRA's half, a leaf."""
    for first, second in ((a, b) for a in one for b in two):
        attentions = {_ATTENTIONS.get(first), _ATTENTIONS.get(second)}
        # A joint attention may be split into two: then what it holds has other names as well.
        inside = one[one.index(first) + 1 :], two[two.index(second) + 1 :]
        if attentions == {"self", "cross"} and inside[0] == inside[1]:
            return Crossing(first, second)
        if {_LORA.get(first), _LORA.get(second)} == {"A", "B"}:
            return Crossing(first, second)
    if {_LEAVES.get(one[-1]), _LEAVES.get(two[-1])} == {"weight", "bias"}:
        return Crossing(one[-1], two[-1])
    return None


def _crossed_component(one: Sequence[str], two: Sequence[str]) -> Crossing | None:
    """Two components that differ in one word alone, which is opposed, or in their direction
    (`audio_to_video`)."""
    for first in one:
        for second in two:
            if first in two or second in one or {first, second} <= _ATTENTIONS.keys():
                continue
            words, others = WORDS.findall(first), WORDS.findall(second)
            different = [(a, b) for a, b in zip(words, others) if a != b]  # noqa: B905
            if len(words) != len(others):
                continue
            if len(different) == 1:
                pair = frozenset(different[0])
                if pair not in _SAME_MEANING and any(pair <= group for group in OPPOSED):
                    return Crossing(first, second)
            turned = len(different) == 2 and different[0] == different[1][::-1]
            if turned and {"to", "2"} & set(words) and any(set(different[0]) <= group for group in OPPOSED):
                return Crossing(first, second)
    return None


def _crossed_block(one: Sequence[str], two: Sequence[str]) -> Crossing | None:
    mine, theirs = dict(_block_numbers(one)), dict(_block_numbers(two))
    for name, number in mine.items():
        other = theirs.get(name)
        if other is not None and other != number:
            return Crossing(f"{name}.{number}", f"{name}.{other}")
    return None


def _block_numbers(components: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The lists of blocks in a name, each with the index behind it."""
    for name, number in pairwise(components):
        if _BLOCKS.search(name) and number.isdecimal():
            yield name, int(number)


# --------------------------------------------------------------------------- the order of a merge

ORDERS: Final = (("q", "k", "v"), ("query", "key", "value"))
"""Words whose order in a fused projection is a convention, unless its name spells another."""

_ORDERED: Final = ORDERS[0]


def merge_word(name: str) -> str | None:
    """The word that tells a source of a merge from the others: q, k, v, gate or up; None where it has
    none of them, or several."""
    found = [*_on_axis(parts(name), frozenset((*_ORDERED, "gate", "up")))]
    return found[0] if len(found) == 1 else None


def expected_order(target: str, words: Sequence[str]) -> tuple[str, ...] | None:
    """The order in which a merge into `target` is to hold the words: as the target spells them (`qkv`,
    `kv`, `gate_up`), else q, k, v; None where nothing tells it."""
    wanted = frozenset(words)
    if len(wanted) != len(words):
        return None
    for component in reversed(parts(target)):
        spelled = [_SYNONYMS.get(w.lower(), w.lower()) for w in WORDS.findall(component)]
        for word in spelled:
            if len(word) > 1 and set(word) == wanted:
                return tuple(word)
        order = tuple(dict.fromkeys(word for word in spelled if word in wanted))
        if set(order) == wanted:
            return order
    return tuple(word for word in _ORDERED if word in wanted) if wanted <= set(_ORDERED) else None


# --------------------------------------------------------------------------- first and second

_ENDS: Final = frozenset(("in", "out"))
_NUMBER: Final = re.compile(r"\d+")


def turned(sources: tuple[str, str], targets: tuple[str, str]) -> tuple[Crossing, Crossing] | None:
    """The two crossings of a pair whose first layer becomes the way out, and whose second the way in
    (`linear_1` to `fc_out`, `linear_2` to `fc_in`); None where that is not what happens."""
    numbers = _one_difference(*sources)
    ends = _one_difference(*targets)
    if numbers is None or ends is None:
        return None
    (one, two), (first, second) = numbers, ends
    a, b = ([int(word) for word in WORDS.findall(part) if word.isdecimal()] for part in (one, two))
    plain = _NUMBER.sub("", one) == _NUMBER.sub("", two) and len(a) == len(b) == 1
    words, others = WORDS.findall(first), WORDS.findall(second)
    if not plain or a == b or len(words) != len(others):
        return None
    different = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    if len(different) != 1 or frozenset(different[0]) != _ENDS:
        return None
    if (a < b) == (different[0] == ("in", "out")):
        return None
    return Crossing(one, first), Crossing(two, second)


def _one_difference(one: str, two: str) -> tuple[str, str] | None:
    """The only components in which two names differ; a name that goes on behind them may be longer."""
    different = [pair for pair in zip(parts(one), parts(two)) if pair[0] != pair[1]]  # noqa: B905
    return different[0] if different else None
