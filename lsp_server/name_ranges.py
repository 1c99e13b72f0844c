"""Many names of tensors on few lines: `blocks.{0..39}.attn1.to_q.weight` for forty of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

Numbers: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True)
class NameRange:
    """Rows of names that differ in block numbers only. `names`: one for each column, with ranges in place
    of numbers. `count`: how many rows."""

    names: tuple[str, ...]
    count: int


def compressed(rows: Iterable[Sequence[str]]) -> list[NameRange]:
    """The rows (names that belong together, as a source and its target) with their numbers gathered, in
    the order in which each kind of row comes first.

    The numbers of the first column make the ranges; each range stands for all of its numbers with all of
    the others of its line.
    """
    kinds: dict[tuple[str, ...], list[tuple[Numbers, ...]]] = {}
    for row in rows:
        skeletons, numbers = zip(*(_split(name) for name in row), strict=True)
        kinds.setdefault(skeletons, []).append(numbers)
    return [
        NameRange(tuple(_filled(s, n) for s, n in zip(skeletons, _columns(part), strict=True)), len(part))
        for skeletons, found in kinds.items()
        for part in _parts(found)
    ]


def _split(name: str) -> tuple[str, Numbers]:
    """A name with `{}` for each component that is a number, and these numbers."""
    parts = name.split(".")
    numbers = tuple(int(part) for part in parts if _is_number(part))
    return ".".join("{}" if _is_number(part) else part for part in parts), numbers


def _is_number(part: str) -> bool:
    # `007` would come back as `7`.
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")


def _parts(rows: list[tuple[Numbers, ...]]) -> list[list[tuple[Numbers, ...]]]:
    """The rows in groups of which each holds every combination of its numbers."""
    first = {row[0] for row in rows}
    slots = [sorted(set(column)) for column in zip(*first, strict=True)]
    varied = [at for at, values in enumerate(slots) if len(values) > 1]
    if len(rows) == prod(len(values) for values in slots) or len(varied) < 2:
        return [rows]
    # The slot with the fewest numbers tells the groups apart (`net.0` and `net.2` of many blocks).
    by = min(varied, key=lambda at: len(slots[at]))
    groups: dict[int, list[tuple[Numbers, ...]]] = {}
    for row in rows:
        groups.setdefault(row[0][by], []).append(row)
    return [part for group in groups.values() for part in _parts(group)]


def _columns(rows: Sequence[tuple[Numbers, ...]]) -> list[list[list[int]]]:
    """For each column the numbers of each slot."""
    return [[sorted(set(slot)) for slot in zip(*column, strict=True)] for column in zip(*rows, strict=True)]


def _filled(skeleton: str, slots: Sequence[Sequence[int]]) -> str:
    pieces = skeleton.split("{}")
    return pieces[0] + "".join(
        _range(numbers) + piece for numbers, piece in zip(slots, pieces[1:], strict=True)
    )


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(_run(run) for run in runs) + "}"


def _run(run: Sequence[int]) -> str:
    return ",".join(map(str, run)) if len(run) < 3 else f"{run[0]}..{run[-1]}"
