"""A few bytes of large tensors: ranges of their files, counted against a budget."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import prod
from types import TracebackType

from analyzers.weights.files.headers import TensorPlace
from analyzers.weights.files.rows import DataAbsent, TensorBytes
from analyzers.weights.layout.casts import castable, item_size, through

BLOCK = 16
"""Elements that are read together: as many as tell one row from another, few enough to stay cheap."""


class BudgetSpentError(Exception):
    """More bytes would be read than allowed."""


class UnreadableTensorError(Exception):
    """The bytes of a tensor are not there, or its dtype has no whole bytes. The text says why."""


class RangeReader:
    """Reads elements of tensors and counts. `limit`: bytes that may be read in all. `source`: what reads
    them, by default the files on this machine. Files stay open until the end of the `with` block."""

    def __init__(self, limit: int, source: TensorBytes | None = None) -> None:
        self.limit = limit
        self._spent = 0
        self._bytes = source or TensorBytes()

    def __enter__(self) -> RangeReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes.close()

    @property
    def spent(self) -> int:
        """Bytes that were read."""
        return self._spent

    @property
    def left(self) -> int:
        """Bytes that may still be read."""
        return self.limit - self._spent

    def read(self, place: TensorPlace, first: int, count: int) -> bytes:
        """The bytes of `count` elements from element `first` on.

        Raises BudgetSpentError, and UnreadableTensorError where the file cannot be read or ends before.
        """
        item = item_size(place.dtype) or 0
        if count * item > self.left:
            raise BudgetSpentError
        if place.end - place.start < prod(place.shape) * item:
            raise UnreadableTensorError(f"the header gives {place.name} less room than its shape takes")
        try:
            data = self._bytes.elements(place, first, count)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnreadableTensorError(f"{place.file.name} cannot be read: {reason}") from error
        except DataAbsent as error:
            raise UnreadableTensorError(str(error)) from error
        self._spent += len(data)
        return data


class Laid:
    """Tensors one after the other, as one row of elements of dtype `target`.

    `via`: a dtype that the elements passed through. `tidy`: NaNs become one pattern, so that they compare
    equal to those of a conversion. What was read is kept, and shared with what `turned` gives. Raises
    UnreadableTensorError for a dtype whose elements are no whole bytes, or that is not converted.
    """

    def __init__(
        self,
        reader: RangeReader,
        places: Sequence[TensorPlace],
        target: str,
        *,
        tidy: bool,
        via: str | None = None,
    ) -> None:
        self._reader, self._places, self._target, self._tidy, self._via = reader, places, target, tidy, via
        self._sizes = [prod(place.shape) for place in places]
        self._items = [_item(place.dtype, place, target) for place in places]
        self.item = _item(target, places[0], target)
        self._starts = [0, *accumulate(self._sizes)]
        self._raw: dict[tuple[int, int], bytes] = {}
        self._turned: dict[tuple[int, int], bytes] = {}
        self._whole: dict[int, bytes] = {}
        self.size = self._starts[-1]

    @property
    def whole(self) -> bool:
        """Whether every element is at hand."""
        return len(self._whole) == len(self._places)

    def load(self) -> None:
        """Reads everything, each tensor at once."""
        for index, place in enumerate(self._places):
            if index not in self._whole:
                self._whole[index] = self._reader.read(place, 0, self._sizes[index])

    def turned(self, via: str | None, target: str | None = None) -> Laid:
        """The same elements after a stay in another dtype, if one is given, and as `target`; NaNs tidied."""
        other = Laid(self._reader, self._places, target or self._target, tidy=True, via=via)
        other._raw, other._whole = self._raw, self._whole
        return other

    def get(self, start: int, count: int) -> bytes:
        """The bytes of `count` elements from `start`, in dtype `target`."""
        index = bisect_right(self._starts, start) - 1
        number, within = divmod(start - self._starts[index], BLOCK)
        if within + count <= BLOCK and start + count <= self._starts[index + 1]:  # most are
            block = self._block(index, number)
            return block[within * self.item : (within + count) * self.item]
        parts = []
        while count:
            index = bisect_right(self._starts, start) - 1
            inside = start - self._starts[index]
            taken = min(count, self._sizes[index] - inside)
            first, last = inside // BLOCK, (inside + taken - 1) // BLOCK
            blocks = b"".join(self._block(index, number) for number in range(first, last + 1))
            skipped = (inside - first * BLOCK) * self.item
            parts.append(blocks[skipped : skipped + taken * self.item])
            start, count = start + taken, count - taken
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _block(self, index: int, number: int) -> bytes:
        """16 elements of a tensor."""
        key = (index, number)
        turned = self._turned.get(key)
        if turned is None:
            raw, dtype = self._read(index, number), self._places[index].dtype
            plain = not self._tidy and self._via is None and dtype == self._target
            turned = self._turned[key] = raw if plain else through(raw, dtype, self._via, self._target)
        return turned

    def _read(self, index: int, number: int) -> bytes:
        item, start = self._items[index], number * BLOCK
        count = min(BLOCK, self._sizes[index] - start)
        if index in self._whole:
            return self._whole[index][start * item : (start + count) * item]
        raw = self._raw.get((index, number))
        if raw is None:
            raw = self._raw[index, number] = self._reader.read(self._places[index], start, count)
        return raw


def _item(dtype: str, place: TensorPlace, target: str) -> int:
    size = item_size(dtype)
    if size is None:
        raise UnreadableTensorError(f"elements of {dtype} are not compared")
    if place.dtype != target and not castable(place.dtype, target):
        raise UnreadableTensorError(f"{place.dtype} is not compared with {target}")
    return size
