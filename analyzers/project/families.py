"""The classes of the models that derive from a class: whose methods may run in place of its own."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from analyzers.facts.model import ClassFacts, Placed
from analyzers.project.names import Names


def subclasses(names: Names, cls: Placed[ClassFacts]) -> tuple[Placed[ClassFacts], ...]:
    """The module-level classes of the model folder that derive from a class, itself left out.

    A class whose bases cannot all be told counts where its file names the class: rather one too many.
    """
    key = ("subclasses", cls.path, cls.fact.name, cls.line)
    return names.memory.about(cls.path, cls.fact, key, lambda: _subclasses(names, cls))


def _subclasses(names: Names, cls: Placed[ClassFacts]) -> tuple[Placed[ClassFacts], ...]:
    found: list[Placed[ClassFacts]] = []
    known = {cls.fact.name}
    own = names.qualified_class(cls)
    grown = True
    while grown:  # a class of a class: its file may name only the one in between
        grown = False
        for path in names.sources.walk(names.profile.dits):
            if known.isdisjoint(names.sources.words(path)):
                continue
            for line in names.memory.get(("lines", path), partial(_lines, names, path)):
                if line.qualified == own or (line.complete and own not in line.above):
                    continue
                if line.cls not in found:
                    found.append(line.cls)
                    grown = grown or line.cls.fact.name not in known
                    known.add(line.cls.fact.name)
    return tuple(found)


class _Line(NamedTuple):
    """A class with bases, and the full names of all of them."""

    cls: Placed[ClassFacts]
    qualified: str
    above: frozenset[str]
    complete: bool


def _lines(names: Names, path: str) -> tuple[_Line, ...]:
    """Those of a file: asked once, for as many classes as there are."""
    facts = names.sources.facts(path)
    found = []
    for cls in facts.classes if facts is not None else ():
        if cls.fact.bases:
            ancestry = names.ancestry(cls)
            above = {names.qualified_class(c) for c in ancestry.classes} | set(ancestry.external)
            found.append(_Line(cls, names.qualified_class(cls), frozenset(above), ancestry.complete))
    return tuple(found)


def overridden(names: Names, cls: Placed[ClassFacts], method: str) -> bool:
    """Whether a class that derives from this one defines the method anew, or may."""
    return any(c.fact.partial or c.fact.method(method) is not None for c in subclasses(names, cls))
