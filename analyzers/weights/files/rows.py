"""A few rows or elements of a checkpoint's tensors, by range; the rest of the file is never touched."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from analyzers.weights.files.headers import BITS, TensorPlace
from analyzers.weights.files.ranges import ByteSource, EndOfData, LocalFile

_NEAR = 512
"""Bytes; elements that lie closer are read in one go with what is between them."""

_AT_ONCE = 1 << 20
"""Bytes; longest range of elements with what is between them that is held in memory."""


class DataAbsent(Exception):
    """The tensor's data are not in the file: it is cut, or holds a header alone."""


class ClosableSource(ByteSource, Protocol):
    """A source that is given back after use."""

    def close(self) -> None:
        """Gives it back."""
        ...


class TensorBytes:
    """Reads parts of tensors; files stay open until `close` or the end of the `with` block.

    Raises `OSError` as the system does and `DataAbsent` where the file ends before.
    """

    def __init__(self, source_of: Callable[[Path], ClosableSource] = LocalFile) -> None:
        """`source_of`: opens a file."""
        self._source_of = source_of
        self._sources: dict[Path, ClosableSource] = {}

    @property
    def bytes_read(self) -> int:
        """How many bytes were read so far, of all files."""
        return sum(source.bytes_read for source in self._sources.values())

    def rows(self, place: TensorPlace, first: int, count: int) -> bytes:
        """The bytes of `count` rows along dimension 0, from row `first` on, as they lie in the file.

        Raises `ValueError` for a tensor without dimensions, rows that it does not have, or a row that does
        not end with a byte (F4, F6).
        """
        return read_rows(self._source(place), place, first, count)

    def elements(self, place: TensorPlace, first: int, count: int, step: int = 1) -> bytes:
        """The bytes of `count` elements, `step` apart, from element `first` on; elements are counted as
        they lie (row-major). A column of [R, C] is `elements(place, column, R, C)`.

        Raises `ValueError` for elements that the tensor does not have, or that are no whole bytes.
        """
        return read_elements(self._source(place), place, first, count, step)

    def close(self) -> None:
        """Gives all files back."""
        for source in self._sources.values():
            source.close()

    def __enter__(self) -> TensorBytes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _source(self, place: TensorPlace) -> ByteSource:
        source = self._sources.get(place.file)
        if source is None:
            source = self._sources[place.file] = self._source_of(place.file)
        return source


def read_rows(source: ByteSource, place: TensorPlace, first: int, count: int) -> bytes:
    """`TensorBytes.rows` from an open source of the tensor's file."""
    if not place.shape:
        raise ValueError(f"'{place.name}' has no dimensions, so no rows")
    if first < 0 or count < 0 or first + count > place.shape[0]:
        raise ValueError(
            f"'{place.name}' has {place.shape[0]} rows, and {count} from {first} on were asked for"
        )
    bits = _bits(place) * math.prod(place.shape[1:])
    if bits % 8:
        raise ValueError(f"a row of '{place.name}' ends within a byte ({bits} bits)")
    return _read(source, place, first * bits // 8, count * bits // 8)


def read_elements(source: ByteSource, place: TensorPlace, first: int, count: int, step: int = 1) -> bytes:
    """`TensorBytes.elements` from an open source of the tensor's file."""
    bits = _bits(place)
    if bits % 8:
        raise ValueError(f"an element of '{place.name}' is no whole number of bytes ({bits} bits)")
    total = math.prod(place.shape)
    last = first + (count - 1) * step
    if first < 0 or count < 0 or step < 1 or (count > 0 and last >= total):
        raise ValueError(
            f"'{place.name}' has {total} elements, and {count} from {first} on, {step} apart, were asked for"
        )
    width = bits // 8
    if step == 1:
        return _read(source, place, first * width, count * width)
    stride = step * width
    if stride > _NEAR:
        return b"".join(_read(source, place, first * width + i * stride, width) for i in range(count))
    parts = []
    together = _AT_ONCE // stride
    for begin in range(0, count, together):
        some = min(together, count - begin)
        block = _read(source, place, first * width + begin * stride, (some - 1) * stride + width)
        parts += [block[i * stride : i * stride + width] for i in range(some)]
    return b"".join(parts)


def _bits(place: TensorPlace) -> int:
    bits = BITS.get(place.dtype)
    if bits is None:
        raise ValueError(f"'{place.name}' has the dtype '{place.dtype}', of which no size is known")
    return bits


def _read(source: ByteSource, place: TensorPlace, offset: int, count: int) -> bytes:
    if count > place.end - place.start - offset:
        raise ValueError(f"the header gives '{place.name}' less room than its shape takes")
    try:
        return source.read(place.start + offset, count)
    except EndOfData as error:
        raise DataAbsent(f"'{place.file.name}' ends before the data of '{place.name}': {error}") from None
