"""Which official tensor some rows come from: an index of a few samples of every official tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from analyzers.weights.files.headers import TensorPlace
from analyzers.weights.layout.casts import castable, item_size
from analyzers.weights.layout.laid import BLOCK, Laid, RangeReader, UnreadableTensorError

_LEAST_VARIETY = 4
"""Different elements that samples must have before they can name a tensor."""

_MOST_TWINS = 8
_PARTS = (2, 3, 4, 6)


def varied(samples: Sequence[bytes], item: int) -> bool:
    """Whether samples hold enough different elements to be recognised by."""
    seen: set[bytes] = set()
    for sample in samples:
        seen.update(sample[at : at + item] for at in range(0, len(sample), item))
        if len(seen) >= _LEAST_VARIETY:
            return True
    return False


@dataclass(frozen=True)
class Stretch:
    """Rows of an official tensor: all of it, or part `part` of `parts` equal ones."""

    name: str
    part: int = 0
    parts: int = 1

    @property
    def told(self) -> str:
        """For a person."""
        return self.name if self.parts == 1 else f"part {self.part + 1} of {self.parts} of {self.name}"


class OfficialRows:
    """Answers by content. `official`: all tensors of the official checkpoint by name."""

    def __init__(self, official: Mapping[str, TensorPlace], reader: RangeReader) -> None:
        self._reader = reader
        self._shapes: dict[tuple[int, ...], list[tuple[TensorPlace, tuple[int, ...]]]] = {}
        self._laid: dict[tuple[str, str, bool], Laid] = {}
        self._indexes: dict[tuple[object, ...], dict[tuple[bytes, ...], list[Stretch]]] = {}
        self._official = official
        for place in official.values():
            shape = tuple(size for size in place.shape if size != 1)
            self._shapes.setdefault(shape[1:], []).append((place, shape))

    def find(
        self, found: Laid, start: int, shape: tuple[int, ...], dtype: str, *, tidy: bool, parts: bool = False
    ) -> tuple[Stretch, ...] | None:
        """The stretches of official tensors that agree with `found` from element `start` on, as far as
        samples go: rows of `shape` (without dimensions of 1), as `dtype`. `parts`: also parts of larger
        tensors. None where the samples are too uniform to tell."""
        size = prod(shape)
        anchors, checks = _anchors(size), _checks(size)
        key = tuple(found.get(start + at, min(BLOCK, size - at)) for at in anchors)
        if not varied(key, found.item):
            return None
        agreeing = []
        for stretch in self._index(shape, dtype, tidy, parts).get(key, ()):
            laid, base = self._opened(stretch.name, dtype, tidy), stretch.part * size
            if all(
                laid.get(base + at, min(BLOCK, size - at)) == found.get(start + at, min(BLOCK, size - at))
                for at in checks
            ):
                agreeing.append(stretch)
                if len(agreeing) == _MOST_TWINS:
                    break
        return tuple(agreeing)

    def _opened(self, name: str, dtype: str, tidy: bool) -> Laid:
        key = (name, dtype, tidy)
        laid = self._laid.get(key)
        if laid is None:
            laid = self._laid[key] = Laid(self._reader, (self._official[name],), dtype, tidy=tidy)
        return laid

    def _index(
        self, shape: tuple[int, ...], dtype: str, tidy: bool, parts: bool
    ) -> dict[tuple[bytes, ...], list[Stretch]]:
        """Stretches of that shape by their samples."""
        kept = (shape, dtype, tidy, parts)
        index = self._indexes.get(kept)
        if index is not None:
            return index
        index = {}
        size, rows = prod(shape), shape[0] if shape else 1
        anchors = _anchors(size)
        for place, other in self._shapes.get(shape[1:], ()):
            if place.dtype != dtype and not castable(place.dtype, dtype):
                continue
            count, rest = divmod(other[0] if other else 1, rows)
            if rest or (count != 1 and not (parts and count in _PARTS)) or item_size(place.dtype) is None:
                continue
            try:
                laid = self._opened(place.name, dtype, tidy)
                for part in range(count):
                    key = tuple(laid.get(part * size + at, min(BLOCK, size - at)) for at in anchors)
                    index.setdefault(key, []).append(Stretch(place.name, part, count))
            except UnreadableTensorError:
                continue  # it is reported where it is compared as a source
        self._indexes[kept] = index
        return index


def sampled(size: int) -> int:
    """How many samples of a stretch of so many elements are compared."""
    return len({*_anchors(size), *_checks(size)})


def _anchors(size: int) -> tuple[int, ...]:
    """Where the samples of the index begin, in elements."""
    return tuple(dict.fromkeys(at // BLOCK * BLOCK for at in (0, size // 2, size - 1)))


def _checks(size: int) -> tuple[int, ...]:
    """Further samples, for a stretch that agrees on these."""
    return tuple(dict.fromkeys(size * part // 11 // BLOCK * BLOCK for part in (1, 2, 4, 5, 7, 8, 10)))
