"""Which modules and parameters a port can have, as far as its constructors prove it.

Every branch of a constructor counts, so what is built under some configuration is there. Where a
constructor hands its instance to code that is not followed, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from analyzers.facts.model import CallFact, ClassFacts, Either, FunctionFacts, Placed, Reference
from analyzers.project.idioms import set_by_name
from analyzers.project.index import Project
from analyzers.project.layers import canonical, submodule
from analyzers.project.names import External

_LIST: Final = "torch.nn.ModuleList"
_COUNTING: Final = frozenset({"range", "len", "enumerate", "zip", "int", "str", "min", "max"})
"""Calls inside a list that make no module."""
_CHANGING: Final = ("append", "extend", "insert")


@dataclass(frozen=True)
class Lack:
    """The first component of a path that its owner never has: the name, and the class's."""

    component: str
    owner: str


def lack(project: Project, cls: Placed[ClassFacts], path: Sequence[str | None]) -> Lack | None:
    """What is missing on a path of attributes below an instance of `cls` (`blocks`, None, `to_q`).

    None in the path stands for any index. The answer None: nothing is, as far as can be told.
    """
    steps = tuple(path)
    key = ("lack", cls.path, cls.fact.name, cls.line, steps)
    return project.sources.memory.about(cls.path, cls.fact, key, lambda: _lack(project, cls, steps))


def _lack(project: Project, cls: Placed[ClassFacts], path: tuple[str | None, ...]) -> Lack | None:
    if not path or path[0] is None:
        return None
    built = project.construction(cls)
    if built is None or not built.certain:
        return None
    name, rest = path[0], path[1:]
    if name not in built.sets:
        owners = project.names.ancestry(cls).classes
        return None if any(_mentions(owner.fact, name) for owner in owners) else Lack(name, cls.fact.name)
    if not rest:
        return None
    inner = members(project, cls, name)
    if inner is None:
        return None
    classes, is_list = inner
    if is_list:
        index, rest = rest[0], rest[1:]
        if index is not None and not index.isdigit():
            return None
    lacks = [lack(project, member, rest) for member in classes]
    return lacks[0] if lacks and None not in lacks else None


def _mentions(cls: ClassFacts, name: str) -> bool:
    """Whether the class body gives an attribute of that name, or a method sets it that somebody else
    may call (`model.add_action_parameters()`)."""
    if any(name in a.names for a in cls.attributes) or cls.method(name) is not None:
        return True
    for method in cls.methods:
        by_name = set_by_name(method)
        if by_name is None or name in by_name or any(a.name == name for a in method.assignments):
            return True
    return any(inner.name == name for inner in cls.classes)


def members(
    project: Project, cls: Placed[ClassFacts], name: str
) -> tuple[list[Placed[ClassFacts]], bool] | None:
    """The classes of the tree that `self.name` may be of, or may hold as a list; None: not certain."""
    found = submodule(project.names, cls, name)
    if found is None:
        return None
    if found.classes == {_LIST}:
        classes = _listed(project, cls, name)
        return (classes, True) if classes else None
    classes = []
    for qualified in found.classes:
        definition = project.names.by_qualified(qualified)
        if not isinstance(definition, Placed) or not isinstance(definition.fact, ClassFacts):
            return None
        classes.append(definition)
    return classes, False


def _listed(project: Project, cls: Placed[ClassFacts], name: str) -> list[Placed[ClassFacts]] | None:
    """The classes that `self.name = nn.ModuleList([...])` is made of; None where that is not certain."""
    classes: list[Placed[ClassFacts]] = []
    for owner in project.names.ancestry(cls).classes:
        for method in owner.fact.methods:
            if any(f"{name}.{change}" in method.reads for change in _CHANGING):
                return None
            for fact in method.calls:
                if fact.target != name or len(fact.enclosing) != 1:
                    continue
                if not _is_list(project, owner.path, fact.enclosing[0]):
                    return None
                made = list(_built(project, owner.path, method, fact))
                if not made and fact.call.callee not in _COUNTING:
                    return None
                classes += made
    return classes


def _is_list(project: Project, path: str, dotted: str) -> bool:
    found = project.names.resolve(path, dotted)
    return isinstance(found, External) and canonical(found.dotted) == _LIST


def _built(
    project: Project, path: str, method: FunctionFacts, fact: CallFact
) -> Iterator[Placed[ClassFacts]]:
    """The class of the tree that a call builds, or the two that a local name chooses from."""
    callee = fact.call.callee
    if callee is None or method.parameter(callee.partition(".")[0]) is not None:
        return
    local = [value for known, value in method.renames if known == callee]
    if len(local) > 1:
        return
    if local and isinstance(local[0], Either):
        choices = [local[0].body, local[0].orelse]
    else:
        choices = [local[0] if local else fact.call.function]
    made = [
        project.names.class_of(path, choice.dotted) if isinstance(choice, Reference) else None
        for choice in choices
    ]
    if all(item is not None for item in made):
        yield from (item for item in made if item is not None)
