"""What speaks for a pair beyond equal shapes and being the only one left.

Where one module of each side has no counterpart at all, and the two have equal shapes, elimination takes
them for each other. A pair therefore also needs that its names have something in common, and that what it
says about the modules around it is what the pairs beside it say: `text_embedder.linear_1` does not go to
`time_in` where `text_embedder.linear_2` goes to `txt_in`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from analyzers.weights.proposing.families import INDEX, Path

_LAYERS = frozenset({"net", "mlp", "proj", "linear", "layers", "module"})
"""Components that only say which layer of a small network something is."""


def holder(path: Path, root: Path = ()) -> Path | None:
    """The named module that a module is part of; None where that is a block, the whole model, or `root`,
    which hold what has nothing to do with each other."""
    end = len(path) - 1
    while end > 0 and (path[end - 1].isdigit() or path[end - 1] in _LAYERS):
        end -= 1
    if end <= len(root) or path[end - 1].endswith(INDEX):
        return None
    return path[:end]


def holders(path: Path, root: Path) -> tuple[Path, ...]:
    """The named modules that a module is part of; two where a number at its end may be that of a layer
    (`time_in.0`) or part of its name (`attn.to_out.0`)."""
    found = [holder(path, root)]
    if path[-1].isdigit():
        found.append(holder(path[:-1], root))
    return tuple(dict.fromkeys(inside for inside in found if inside is not None))


def common_root(paths: Collection[Path]) -> Path:
    """What all paths begin with."""
    low, high = min(paths, default=()), max(paths, default=())
    same = 0
    while same < min(len(low), len(high)) and low[same] == high[same]:
        same += 1
    return low[:same]


class Neighbours:
    """Which module of one side holds what a module of the other side holds."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self._roots = common_root([one for one, _ in pairs]), common_root([two for _, two in pairs])
        self._beside: defaultdict[tuple[int, Path], list[tuple[Path, Path]]] = defaultdict(list)
        for pair in dict.fromkeys(pairs):
            for side in (0, 1):
                for inside in holders(pair[side], self._roots[side]):
                    self._beside[side, inside].append(pair)

    def speak_against(self, official: Path, native: Path) -> bool:
        """Whether the pairs in one of the two modules that hold these all go where the other is not."""
        return self._elsewhere(0, official, native) or self._elsewhere(1, native, official)

    def _elsewhere(self, side: int, own: Path, other: Path) -> bool:
        for inside in holders(own, self._roots[side]):
            beside = [
                _around(pair[1 - side])
                for pair in self._beside[side, inside]
                if pair[side] != own and pair[1 - side] != other
            ]
            shared = common_root(beside)
            if beside and other[: len(shared)] != shared:
                return True
        return False


def _around(path: Path) -> Path:
    """The module that holds another for sure."""
    return path[:-2] if path[-1].isdigit() else holder(path) or path[:-1]
