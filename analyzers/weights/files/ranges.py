"""Reading a file by ranges, and counting what was read: a checkpoint of 28 GB costs its headers."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol

_OPEN = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # opening a pipe would wait for its other end
)


class EndOfData(Exception):
    """The source ends before the range that was asked for."""


class ByteSource(Protocol):
    """Bytes that can be read by range. Offsets and counts are bytes."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    @property
    def bytes_read(self) -> int:
        """How many bytes were read so far."""
        ...

    def read(self, start: int, count: int) -> bytes:
        """Exactly the bytes from `start` on; raises `EndOfData` where there are fewer, `OSError` as the
        system does."""
        ...


class LocalFile:
    """A regular file on this machine, open until `close` or the end of the `with` block.

    Raises `OSError` where it cannot be opened or is no regular file; a link is followed.
    """

    def __init__(self, path: Path) -> None:
        self._bytes_read = 0
        self._descriptor = os.open(path, _OPEN)
        try:
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            self._size = status.st_size
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Its size when it was opened."""
        return self._size

    @property
    def bytes_read(self) -> int:
        """How many bytes were read so far."""
        return self._bytes_read

    def read(self, start: int, count: int) -> bytes:
        """Exactly the bytes from `start` on; nothing is allocated for a range that is not there."""
        if start < 0 or count < 0:
            raise ValueError(f"no such range: {count} bytes from {start} on")
        if start + count > self._size:
            raise EndOfData(f"{count} bytes from {start} on, of {self._size}")
        parts = []
        while count:
            part = self._read_some(start, count)
            if not part:
                raise EndOfData(f"the file became shorter: nothing at {start}")
            self._bytes_read += len(part)
            start, count = start + len(part), count - len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_some(self, start: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, count, start)
        os.lseek(self._descriptor, start, os.SEEK_SET)  # Windows
        return os.read(self._descriptor, count)

    def close(self) -> None:
        """Gives the file back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
