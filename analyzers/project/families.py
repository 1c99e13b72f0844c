"""The classes of the models that derive from a class: whose methods may run in place of its own."""

from __future__ import annotations

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
            facts = names.sources.facts(path)
            for other in facts.classes if facts is not None else ():
                if other in found or names.qualified_class(other) == own or not other.fact.bases:
                    continue
                if names.derives_from(other, own) is not False:
                    found.append(other)
                    grown = grown or other.fact.name not in known
                    known.add(other.fact.name)
    return tuple(found)


def overridden(names: Names, cls: Placed[ClassFacts], method: str) -> bool:
    """Whether a class that derives from this one defines the method anew, or may."""
    return any(c.fact.partial or c.fact.method(method) is not None for c in subclasses(names, cls))
