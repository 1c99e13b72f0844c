"""What has been computed from a text, kept as long as edits keep asking for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

TURNS = 32
"""An answer that no turn of so many asked for is dropped."""


class Memo(Generic[K, V]):
    """Answers by key. A turn is one edit: `next_turn` begins one and drops what is out of use."""

    def __init__(self) -> None:
        self._turn = 0
        self._kept: dict[K, tuple[int, V]] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The answer kept for `key`, or `make()`, which must depend on the key alone."""
        known = self._kept.get(key)
        value = make() if known is None else known[1]
        if known is None or known[0] != self._turn:
            self._kept[key] = (self._turn, value)
        return value

    def next_turn(self) -> None:
        """Begins a turn; called once an edit."""
        self._turn += 1
        if self._turn % TURNS == 0:
            self._kept = {k: v for k, v in self._kept.items() if v[0] > self._turn - TURNS}
