"""Names of a state dict taken together: the same module of every block, its tensors and their shapes.

`blocks.0.attn.to_q.weight`, `blocks.0.attn.to_q.bias`, `blocks.1.attn.to_q.weight`, ... are one `Family`
with the path `blocks.#.attn.to_q` and the leaves `weight` and `bias`. A number is an index where the numbers
beside it hold the same names (`blocks.0`, `blocks.1`); elsewhere it is part of the name (`net.0`, `net.2`,
`to_out.0`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from analyzers.weights.state import Tensor

INDEX = "#"
"""Stands for an index in a path, as a component or at the end of one (`block#`)."""

Path: TypeAlias = "tuple[str, ...]"
Indices: TypeAlias = "tuple[int, ...]"
Shape: TypeAlias = "tuple[int, ...]"
Signature: TypeAlias = "frozenset[tuple[str, Indices, Shape]]"
"""Leaf, indices and shape of every tensor of a family."""

_LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
"""What belongs to a module and not to its name, by what it is called elsewhere."""

_NUMBERED = re.compile(r"([A-Za-z][A-Za-z_]*?)(\d+)")

_MEMBERS_OF_A_LONE_BLOCK = 6
"""A list of one entry is a list where the entry holds so many tensors; `to_out.0` holds two."""

_LAYERS_OF_A_LIST = 4
"""So many entries that hold one layer each are a list."""

_SHARED = 0.5
"""Entries of a list have at least this part of their names in common; the last block often lacks some."""


@dataclass(frozen=True)
class Family:
    """A module, or a tensor that stands alone, of all blocks.

    `path`: its components with `INDEX` for indices. `leaves`: the leaves of the module, in order, or
    `("",)` where the path is the tensor's own; `gamma` counts as `weight`, `beta` as `bias`. `tensors`: by
    leaf and indices; each has a shape. `order`: its place among all names.
    """

    path: Path
    leaves: tuple[str, ...]
    tensors: Mapping[tuple[str, Indices], Tensor]
    order: int

    @cached_property
    def signature(self) -> Signature:
        """What must be equal in a family that takes this one's place."""
        return frozenset(
            (leaf, indices, tensor.shape or ()) for (leaf, indices), tensor in self.tensors.items()
        )

    @cached_property
    def words(self) -> Mapping[str, str]:
        """What each leaf is called in this family's names."""
        return {
            leaf: tensor.name.rpartition(".")[2] if leaf else "" for (leaf, _), tensor in self.tensors.items()
        }

    @property
    def head(self) -> Path:
        """The path up to the last index."""
        return self.path[: len(self.path) - len(behind(self.path))]

    @property
    def tail(self) -> Path:
        """The path behind the last index."""
        return behind(self.path)

    @property
    def dotted(self) -> str:
        """The path as text."""
        return ".".join(self.path)


def behind(path: Path) -> Path:
    """What stands behind the last index of a path; all of it where it has none."""
    ends = [place for place, part in enumerate(path) if part.endswith(INDEX)]
    return path[ends[-1] + 1 :] if ends else path


def module_of(path: Path) -> Path:
    """The module that a tensor's path belongs to; the path itself where the tensor stands alone."""
    return path[:-1] if len(path) > 1 and path[-1] in _LEAVES else path


class Numbering:
    """Which numbers of the names of one side are indices."""

    def __init__(self, names: Iterable[str]) -> None:
        self._lists = _lists([tuple(name.split(".")) for name in names])

    def path(self, name: str) -> tuple[Path, Indices]:
        """A name's components with its indices taken out."""
        return _taken_out(tuple(name.split(".")), self._lists)


def families(tensors: Sequence[Tensor], numbering: Numbering) -> tuple[Family, ...]:
    """The families of those tensors that have a shape, in the order of the first tensor of each."""
    found: dict[tuple[Path, bool], dict[tuple[str, Indices], Tensor]] = {}
    for tensor in tensors:
        if tensor.shape is None:
            continue
        path, indices = numbering.path(tensor.name)
        module = module_of(path)
        leaf = _LEAVES[path[-1]] if module != path else ""
        found.setdefault((module, leaf != ""), {})[leaf, indices] = tensor
    return tuple(
        Family(path, tuple(dict.fromkeys(leaf for leaf, _ in members)), members, order)
        for order, ((path, _), members) in enumerate(found.items())
    )


def _lists(names: Sequence[Path]) -> frozenset[Path]:
    """The paths (with what stands before the number, `""` or `block`) that go on with an index."""
    lists: set[Path] = set()
    longest = max(map(len, names), default=0)
    for level in range(longest):
        below: dict[Path, dict[str, set[Path]]] = {}
        for name in names:
            numbered = _numbered(name[level]) if len(name) > level else None
            if numbered is not None:
                word, number = numbered
                path = (*_taken_out(name[:level], lists)[0], word)
                below.setdefault(path, {}).setdefault(number, set()).add(name[level + 1 :])
        lists.update(path for path, entries in below.items() if _is_list(entries, path[-1]))
    return frozenset(lists)


def _numbered(part: str) -> tuple[str, str] | None:
    """The word and the number of a component that ends with one."""
    if part.isdigit():
        return "", part
    found = _NUMBERED.fullmatch(part)
    return (found[1], found[2]) if found is not None else None


def _taken_out(parts: Path, lists: Collection[Path]) -> tuple[Path, Indices]:
    """The components with `INDEX` for indices, and the indices."""
    path: list[str] = []
    indices: list[int] = []
    for part in parts:
        numbered = _numbered(part)
        if numbered is not None and (*path, numbered[0]) in lists:
            path.append(f"{numbered[0]}{INDEX}")
            indices.append(int(numbered[1]))
        else:
            path.append(part)
    return tuple(path), tuple(indices)


def _is_list(entries: Mapping[str, set[Path]], word: str) -> bool:
    if sorted(int(entry) for entry in entries) != list(range(len(entries))):
        return False
    held = list(entries.values())
    if any(() in names for names in held):
        return False
    if len(held) == 1:
        return not word and len(held[0]) >= _MEMBERS_OF_A_LONE_BLOCK
    if any(len(name) == 1 for names in held for name in names) and all(
        len(names) <= len(_LEAVES) for names in held
    ):
        # The layers of a Sequential look alike too; they are few, and mostly not numbered in a row.
        return len(held) >= _LAYERS_OF_A_LIST and all(names == held[0] for names in held)
    if len(held) < _LAYERS_OF_A_LIST and word:
        return all(names == held[0] for names in held)  # `attn0` and `attn1` may be names
    union = set().union(*held)
    return all(len(names) >= _SHARED * len(union) for names in held)
