"""Cache entries on disk: small pickles of known classes, in a folder of the user's own.

Invariants
----------
* Never inside the analysed project: whoever wrote that must not decide what is read back here. On
  top of that only classes that the caller names are ever instantiated (`_Reader`), and only from a
  folder that no other user can write to.
* A cache that cannot be used (no permission, full disk, damaged entry) costs time, never a result:
  reading gives None, writing gives up, and `problem` says what happened.
* Entries are written beside their place and moved there, so concurrent runs never meet half of one.
"""

from __future__ import annotations

import gc
import hashlib
import io
import os
import pickle
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any

MAXIMUM_BYTES = 256 << 20
"""What all entries of a folder may take together; FastVideo's tree needs about 3 MB."""

_UNUSED_AFTER = 14 * 24 * 3600.0
"""Seconds after which an entry that nobody read is dropped."""

_DIGEST = 16


class Entries:
    """The entries of one kind and one version of the code; not shared between threads."""

    def __init__(
        self, base: Path, version: str, classes: Iterable[type], maximum_bytes: int = MAXIMUM_BYTES
    ) -> None:
        """`base` is made on the first write; versions have subfolders. `classes`: frozen dataclasses
        and enums, the only ones that an entry may hold besides plain values."""
        self.base = base
        self.folder = base / version
        self.problem: str | None = None
        self.written = 0
        self._maximum = maximum_bytes
        self._classes = {(cls.__module__, cls.__qualname__): cls for cls in classes}
        self._reducers = {cls: _reducer(cls) for cls in self._classes.values() if not issubclass(cls, Enum)}
        self._usable = _is_private(base)
        if not self._usable:
            self.problem = f"{base} is not used: it is not this user's alone"

    def read(self, key: str) -> Any:
        """What was written under that key, or None."""
        if not self._usable:
            return None
        entry = self.folder / key
        try:
            content = entry.read_bytes()
        except OSError:
            return None
        try:
            payload = zlib.decompress(content[_DIGEST:])
            if hashlib.blake2b(payload, digest_size=_DIGEST).digest() != content[:_DIGEST]:
                raise pickle.UnpicklingError("its checksum is wrong")
            return _Reader(payload, self._classes).load()
        except (zlib.error, ValueError, TypeError, EOFError, pickle.UnpicklingError, RecursionError) as error:
            self.problem = f"the damaged entry {entry} was dropped: {error}"
            _remove(entry)
            return None

    def write(self, key: str, value: object) -> None:
        """Keeps a value: named classes, tuples, dicts, frozen sets and constants."""
        if not self._usable:
            return
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, protocol=5)
        pickler.dispatch_table = self._reducers
        try:
            pickler.dump(value)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            self.problem = f"{key} is not kept: {error}"
            return
        payload = buffer.getvalue()
        content = hashlib.blake2b(payload, digest_size=_DIGEST).digest() + zlib.compress(payload, 1)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.folder / key, content)
            self.written += 1
        except OSError as error:
            # A full disk or a read-only home: it would fail for the next entry too.
            self._usable = False
            self.problem = f"{self.base} cannot be written: {error.strerror or error}"

    def prune(self) -> None:
        """Keeps all versions together within their bounds; nothing to do where this run wrote nothing."""
        if not self.written:
            return
        entries = []
        for file in self.base.glob("*/*"):
            try:
                status = file.stat()
            except OSError:
                continue  # another run was faster
            entries.append((max(status.st_mtime, status.st_atime), status.st_size, file))
        total = sum(size for _, size, _ in entries)
        expired = time.time() - _UNUSED_AFTER
        for used, size, file in sorted(entries, key=lambda entry: entry[0]):
            if total <= self._maximum and used >= expired:
                break
            _remove(file)
            total -= size


class _Reader(pickle.Unpickler):
    """Makes instances of the given classes and nothing else."""

    _CONSTANTS = {("builtins", "complex"): complex, ("builtins", "Ellipsis"): Ellipsis}  # noqa: RUF012

    def __init__(self, payload: bytes, classes: dict[tuple[str, str], type]) -> None:
        super().__init__(io.BytesIO(payload))
        self._classes = classes

    def find_class(self, module: str, name: str) -> Any:
        """The class of that name. Raises `UnpicklingError` for anything that was not named."""
        found = self._classes.get((module, name)) or self._CONSTANTS.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into an entry")
        return found


def _reducer(cls: type) -> Callable[[Any], tuple[type, tuple[Any, ...]]]:
    """How a frozen dataclass is taken apart: its class and its fields, in the constructor's order.

    The default would go through `__setstate__`, field by field: six times slower to read back.
    """
    names = [field.name for field in fields(cls)]
    if len(names) == 1:
        return lambda value: (cls, (getattr(value, names[0]),))
    values = attrgetter(*names)
    return lambda value: (cls, values(value))


def cache_folder() -> Path:
    """Where entries are kept: `$DITPROOF_CACHE_DIR`, else the platform's cache folder of this user."""
    chosen = os.environ.get("DITPROOF_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("ditproof", appauthor=False))


def write_atomically(target: Path, content: bytes, mode: int | None = None) -> None:
    """Puts `content` at `target` all at once, with those permission bits (default: the user's alone).

    Raises `OSError`; then `target` is as it was, and nothing is left beside it.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".ditproof-")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if mode is not None:
            beside.chmod(mode)
        beside.replace(target)
    except BaseException:
        _remove(beside)
        raise


@contextmanager
def collector_paused() -> Iterator[None]:
    """No cycle collection meanwhile: facts are trees without cycles, and visiting all of them again
    and again costs more than making them (1.2 s against 2.0 s for FastVideo's tree)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def code_version(*sources: Path) -> str:
    """A hash of these Python files (of all in it, where one is a folder) and of the running Python."""
    digest = hashlib.blake2b(sys.version.encode(), digest_size=_DIGEST)
    for source in sources:
        for file in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def text_digest(text: str) -> str:
    """The hash that stands for a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).hexdigest()


def _is_private(folder: Path) -> bool:
    """Whether only this user can have written what lies there (a folder to be made counts as such)."""
    if sys.platform == "win32":
        return True  # the user's profile is protected by its access list
    try:
        status = folder.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        pass  # the next run tries again
