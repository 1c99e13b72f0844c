"""Results that stand until something they were computed from changes.

Invariants
----------
* `Sources` reports every read of a file. A result remembers the files that were read while it was
  computed, also through other results, and is dropped when one of them changes.
* What does not come from a file's text (which files exist, the settings) is no read: `Sources` and
  `Project` clear everything when that changes.
* Whatever is computed in a remembered result must come from its arguments (part of its key), from
  `Sources`, or from other remembered results: a value cached elsewhere hides the reads behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Memory:
    """Not shared between threads. Keys are tuples that begin with the name of the question."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Any, frozenset[str]]] = {}
        self._readers: dict[str, set[Hashable]] = {}
        self._reading: list[set[str]] = []

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The remembered result of that key, else a new one."""
        known = self._known.get(key)
        if known is None:
            reads: set[str] = set()
            self._reading.append(reads)
            try:
                value = compute()
            finally:
                self._reading.pop()
            known = self._known[key] = (value, frozenset(reads))
            for path in reads:
                self._readers.setdefault(path, set()).add(key)
        if self._reading:
            self._reading[-1] |= known[1]
        result: T = known[0]
        return result

    def about(self, path: str, fact: object, key: Hashable, compute: Callable[[], T]) -> T:
        """The same for a question about a fact of a file, which the key names only by its place."""

        def compute_from_file() -> tuple[object, T]:
            self.read(path)
            return fact, compute()

        asked, value = self.get(key, compute_from_file)
        if asked is not fact:
            # Somebody asks with a fact of another state of the file.
            return compute()
        return value

    def read(self, path: str) -> None:
        """A file was read."""
        if self._reading:
            self._reading[-1].add(path)

    def forget(self, path: str) -> None:
        """A file has another text."""
        for key in self._readers.pop(path, ()):
            _, reads = self._known.pop(key)
            for other in reads - {path}:
                self._readers[other].discard(key)

    def clear(self) -> None:
        """Anything may be different."""
        self._known.clear()
        self._readers.clear()

    def copy(self) -> Memory:
        """The same results, to be changed apart."""
        other = Memory()
        other._known = dict(self._known)
        other._readers = {path: set(keys) for path, keys in self._readers.items()}
        return other
