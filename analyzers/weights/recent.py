"""What a proof found out, kept for the next one: the rules of a mapping are edited one at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ROUNDS = 6
"""An answer goes that so many proofs in a row did not ask for: an edit and its undoing stay cheap, and
what was typed on the way does not pile up (one wide rule makes thousands of names)."""


class Keep(Protocol):
    """Gives what `answer()` gave when the same question was asked before, where it is still kept."""

    def __call__(self, question: Hashable, answer: Callable[[], T], /) -> T: ...


def no_keeping(question: Hashable, answer: Callable[[], T], /) -> T:
    """Keeps nothing: every question is answered anew."""
    return answer()


class Recent:
    """Answers of the last few rounds. Not for several threads."""

    def __init__(self) -> None:
        self._round = 0
        self._kept: dict[Hashable, _Kept[object]] = {}

    def begin(self) -> None:
        """Begin a round: forget what the last ones did not ask for."""
        self._round += 1
        oldest = self._round - _ROUNDS
        stale = [question for question, kept in self._kept.items() if kept.round < oldest]
        for question in stale:
            del self._kept[question]

    def __call__(self, question: Hashable, answer: Callable[[], T], /) -> T:
        """The answer kept for a question, else `answer()`."""
        kept = self._kept.get(question)
        if kept is None:
            kept = self._kept[question] = _Kept(answer(), self._round)
        kept.round = self._round
        return kept.value  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._kept)


class _Kept(Generic[V]):
    __slots__ = ("round", "value")

    def __init__(self, value: V, begun: int) -> None:
        self.value = value
        self.round = begun
