"""Sets of names as regular languages, and whether such a set is empty.

Languages are built from sets of characters by concatenation, union, repetition, intersection and
complement, and explored by derivatives (Brzozowski): the derivative of a language by a character is
what may follow it. Intersection and complement cost nothing extra, which is what lookahead and
"matched by this rule and by none before" come down to.

Invariants
----------
* A language is an integer, meaningful only to the `Languages` that made it: equal languages of equal
  shape have equal integers, so that the exploration ends.
* Characters are the printable ones of ASCII without the space: names of parameters hold no others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

FIRST, LAST = 0x21, 0x7E
"""The characters that names are made of, as code points."""
ALL_CHARACTERS: Final = (1 << (LAST - FIRST + 1)) - 1
"""The set of all of them; bit 0 stands for `FIRST`."""
MOST_STATES = 3000
"""Languages that one question may look at before it gives up."""

_NICE: Final = "aweightbcdfjklmnopqrsuvxyz0123456789._ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Characters in the order in which an example prefers them."""


class TooLarge(Exception):
    """The question needs more states than it is worth."""


def characters(text: Iterable[str]) -> int:
    """The set of these characters; others than names are made of are left out."""
    mask = 0
    for character in text:
        if FIRST <= ord(character) <= LAST:
            mask |= 1 << (ord(character) - FIRST)
    return mask


class Languages:
    """Makes languages and answers questions about them. Keep one for related questions only."""

    def __init__(self) -> None:
        self._shapes: list[tuple[str, tuple[int, ...]]] = []
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}
        self._nullable: dict[int, bool] = {}
        self._derivatives: dict[tuple[int, int], int] = {}
        self.nothing = self._make("or", ())
        self.empty = self._make("empty", ())
        self.everything = self._make("not", (self.nothing,))

    def _make(self, kind: str, parts: tuple[int, ...]) -> int:
        shape = (kind, parts)
        known = self._known.get(shape)
        if known is None:
            known = self._known[shape] = len(self._shapes)
            self._shapes.append(shape)
        return known

    # ------------------ building

    def one_of(self, mask: int) -> int:
        """The names of one character out of a set (see `characters`)."""
        return self._make("set", (mask,)) if mask else self.nothing

    def text(self, text: str) -> int:
        """Exactly this text."""
        return self.sequence(*(self.one_of(characters(c)) for c in text))

    def sequence(self, *parts: int) -> int:
        """One part after the other."""
        result = self.empty
        for part in reversed(parts):
            result = self._pair(part, result)
        return result

    def _pair(self, first: int, then: int) -> int:
        if self.nothing in (first, then):
            return self.nothing
        if first == self.empty:
            return then
        if then == self.empty:
            return first
        kind, parts = self._shapes[first]
        if kind == "pair":
            return self._pair(parts[0], self._pair(parts[1], then))
        if first == self.everything and then == self.everything:
            return first
        return self._make("pair", (first, then))

    def either(self, *parts: int) -> int:
        """The union."""
        flat = self._flat("or", parts)
        if self.everything in flat:
            return self.everything
        mask = 0
        rest: set[int] = set()
        for part in flat:
            kind, inner = self._shapes[part]
            if kind == "set":
                mask |= inner[0]
            else:
                rest.add(part)
        if mask:
            rest.add(self.one_of(mask))
        return next(iter(rest)) if len(rest) == 1 else self._make("or", tuple(sorted(rest)))

    def both(self, *parts: int) -> int:
        """The intersection."""
        flat = self._flat("and", parts) - {self.everything}
        if self.nothing in flat or any(self.without(part) in flat for part in flat):
            return self.nothing
        if not flat:
            return self.everything
        return next(iter(flat)) if len(flat) == 1 else self._make("and", tuple(sorted(flat)))

    def without(self, part: int) -> int:
        """The complement."""
        kind, inner = self._shapes[part]
        return inner[0] if kind == "not" else self._make("not", (part,))

    def repeated(self, part: int, least: int = 0, most: int | None = None) -> int:
        """`part` from `least` to `most` times; without end where `most` is None."""
        required = self.sequence(*([part] * least))
        if most is None:
            return self._pair(required, self._star(part))
        optional = self.empty
        for _ in range(most - least):
            optional = self.either(self.empty, self._pair(part, optional))
        return self._pair(required, optional)

    def _star(self, part: int) -> int:
        if part in (self.nothing, self.empty):
            return self.empty
        kind, inner = self._shapes[part]
        if kind == "set" and inner[0] == ALL_CHARACTERS:
            return self.everything
        return part if kind == "star" or part == self.everything else self._make("star", (part,))

    def _flat(self, kind: str, parts: Iterable[int]) -> set[int]:
        flat: set[int] = set()
        for part in parts:
            own, inner = self._shapes[part]
            flat.update(inner if own == kind else (part,))
        return flat

    # ------------------ asking

    def accepts_empty(self, language: int) -> bool:
        """Whether the empty text belongs to it."""
        known = self._nullable.get(language)
        if known is None:
            kind, parts = self._shapes[language]
            if kind in ("empty", "star"):
                known = True
            elif kind == "set":
                known = False
            elif kind == "not":
                known = not self.accepts_empty(parts[0])
            elif kind == "or":
                known = any(self.accepts_empty(part) for part in parts)
            else:
                known = all(self.accepts_empty(part) for part in parts)
            self._nullable[language] = known
        return known

    def after(self, language: int, character: str) -> int:
        """What may follow that character."""
        return self._derivative(language, ord(character) - FIRST)

    def contains(self, language: int, text: str) -> bool:
        """Whether a text belongs to a language; no text with other characters does."""
        for character in text:
            if not FIRST <= ord(character) <= LAST:
                return False
            language = self.after(language, character)
        return self.accepts_empty(language)

    def example(self, language: int) -> str | None:
        """A shortest text of a language, or None where there is none. Raises `TooLarge`."""
        alphabet = self._representatives(language)
        seen = {language}
        pending: deque[tuple[int, str]] = deque([(language, "")])
        while pending:
            state, text = pending.popleft()
            if self.accepts_empty(state):
                return text
            for character in alphabet:
                following = self.after(state, character)
                if following not in seen and following != self.nothing:
                    if len(seen) >= MOST_STATES:
                        raise TooLarge
                    seen.add(following)
                    pending.append((following, text + character))
        return None

    def _derivative(self, language: int, bit: int) -> int:
        key = (language, bit)
        known = self._derivatives.get(key)
        if known is None:
            known = self._derivatives[key] = self._derive(language, bit)
        return known

    def _derive(self, language: int, bit: int) -> int:
        kind, parts = self._shapes[language]
        if kind == "set":
            return self.empty if parts[0] >> bit & 1 else self.nothing
        if kind == "pair":
            through = self._pair(self._derivative(parts[0], bit), parts[1])
            if self.accepts_empty(parts[0]):
                return self.either(through, self._derivative(parts[1], bit))
            return through
        if kind == "star":
            return self._pair(self._derivative(parts[0], bit), language)
        if kind == "not":
            return self.without(self._derivative(parts[0], bit))
        if kind == "or":
            return self.either(*(self._derivative(part, bit) for part in parts))
        if kind == "and":
            return self.both(*(self._derivative(part, bit) for part in parts))
        return self.nothing

    def _representatives(self, language: int) -> list[str]:
        """One character of each class that the language does not tell apart."""
        classes = [ALL_CHARACTERS]
        seen: set[int] = set()
        pending = [language]
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            kind, parts = self._shapes[node]
            if kind != "set":
                pending.extend(parts)
                continue
            mask = parts[0]
            classes = [piece for c in classes for piece in (c & mask, c & ~mask) if piece]
        return [_nicest(c) for c in classes]


def _nicest(mask: int) -> str:
    for character in _NICE:
        if mask >> (ord(character) - FIRST) & 1:
            return character
    return chr(FIRST + (mask & -mask).bit_length() - 1)
