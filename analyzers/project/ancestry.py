"""The bases of a class, in the order in which Python asks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from analyzers.facts.model import ClassFacts, Placed, Reference, Subscript
from analyzers.project.definitions import Definitions, External, as_class
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

BARE_BASES: Final = frozenset(
    {
        "object",
        "abc.ABC",
        "typing.Generic",
        "typing.Protocol",
        "torch.nn.Module",
        "torch.nn.modules.module.Module",
    }
)
"""Bases outside the tree that are known to bring no attribute that a rule asks for."""

_BUILTIN_BASES: Final = ("object", "Exception", "dict", "list", "tuple", "str", "int")


@dataclass(frozen=True)
class Ancestry:
    """A class and its bases in Python's resolution order.

    `complete`: every base could be followed, up to bases outside the tree (`external`, by full
    dotted name). A class that is `partial` anywhere in the chain makes it incomplete.
    """

    classes: tuple[Placed[ClassFacts], ...]
    external: tuple[str, ...]
    complete: bool

    @property
    def self_contained(self) -> bool:
        """Whether `classes` hold every definition: no base is unknown or may add attributes."""
        return self.complete and BARE_BASES.issuperset(self.external)


class Hierarchy(Definitions):
    """Definitions, and what classes derive from."""

    def __init__(self, sources: Sources, profile: Profile) -> None:
        super().__init__(sources, profile)
        self._climbing: set[tuple[str, str, int]] = set()

    def ancestry(self, cls: Placed[ClassFacts]) -> Ancestry:
        """The class and all its bases in Python's resolution order (C3), nearest first."""
        key = (cls.path, cls.fact.name, cls.line)
        if key in self._climbing:
            return Ancestry((cls,), (), False)  # a cycle of bases, which Python would reject
        return self.memory.about(cls.path, cls.fact, ("ancestry", *key), lambda: self._climb_once(cls, key))

    def _climb_once(self, cls: Placed[ClassFacts], key: tuple[str, str, int]) -> Ancestry:
        self._climbing.add(key)
        try:
            return self._climb(cls)
        finally:
            self._climbing.discard(key)

    def _climb(self, cls: Placed[ClassFacts]) -> Ancestry:
        complete = not cls.fact.partial
        external: list[str] = []
        parents: list[Placed[ClassFacts]] = []
        lines: list[list[Placed[ClassFacts]]] = []
        for base in self.bases(cls):
            if base is None:
                complete = False
            elif isinstance(base, External):
                external.append(base.dotted)
            else:
                above = self.ancestry(base)
                complete = complete and above.complete
                external.extend(above.external)
                parents.append(base)
                lines.append(list(above.classes))
        merged = _merge([*lines, parents])
        if merged is None:
            complete = False  # Python would raise: no consistent order
            merged = list({_key(c): c for line in lines for c in line}.values())
        return Ancestry((cls, *merged), tuple(dict.fromkeys(external)), complete)

    def bases(self, cls: Placed[ClassFacts]) -> tuple[Placed[ClassFacts] | External | None, ...]:
        """What each base of a class is, in order; None where it cannot be told."""
        found: list[Placed[ClassFacts] | External | None] = []
        for base in cls.fact.bases:
            expr = base.base if isinstance(base, Subscript) else base
            meant = self.resolve(cls.path, expr.dotted) if isinstance(expr, Reference) else None
            if meant is None and isinstance(expr, Reference) and expr.dotted in _BUILTIN_BASES:
                found.append(External(expr.dotted))
            elif isinstance(meant, External):
                found.append(meant)
            else:
                parent = as_class(meant)
                # A class that shadows its own base resolves to itself: not to be followed.
                same = parent is not None and (parent.path, parent.fact.name) == (cls.path, cls.fact.name)
                found.append(None if same else parent)
        return tuple(found)

    def derives_from(self, cls: Placed[ClassFacts], qualified: str) -> bool | None:
        """Whether a class is, or derives from, the one of that full name; None: it cannot be told."""
        ancestry = self.ancestry(cls)
        if qualified in ancestry.external:
            return True
        if any(self.qualified_class(c) == qualified for c in ancestry.classes):
            return True
        return False if ancestry.complete else None


def _merge(lines: list[list[Placed[ClassFacts]]]) -> list[Placed[ClassFacts]] | None:
    """The merge of C3; None where Python finds no order."""
    merged: list[Placed[ClassFacts]] = []
    lines = [line for line in lines if line]
    while lines:
        tails = {_key(c) for line in lines for c in line[1:]}
        head = next((line[0] for line in lines if _key(line[0]) not in tails), None)
        if head is None:
            return None
        merged.append(head)
        lines = [rest for line in lines if (rest := line[1:] if _key(line[0]) == _key(head) else line)]
    return merged


def _key(cls: Placed[ClassFacts]) -> tuple[str, str]:
    return (cls.path, cls.fact.name)
