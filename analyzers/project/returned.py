"""Parts of what a method returns that none of those who call it take."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from analyzers.facts.model import ClassFacts, FunctionFacts, Placed
from analyzers.facts.returned_parts import Part, Parts, Step, Taking, parts_of
from analyzers.findings import Location
from analyzers.project.families import subclasses
from analyzers.project.idioms import self_name
from analyzers.project.index import Project

_DEPTH = 4
"""How often a value is followed that one method passes on as another's."""


@dataclass(frozen=True)
class LostPart:
    """A head's value that a method returns and nobody takes: `head`, and `taken`, where the method's
    value is taken without it."""

    head: Step
    taken: tuple[Location, ...]


def lost_parts(
    project: Project,
    cls: Placed[ClassFacts],
    method: Placed[FunctionFacts],
    is_head: Callable[[str], bool],
) -> Iterator[LostPart]:
    """The heads among the parts of what a method returns that no caller of it reads.

    Nothing where anybody outside the class and those that derive from it may call the method, or where
    a caller may read everything. `is_head`: asked of callees as written (`self.proj_out`).
    """
    parts = _parts(project, method)
    found = [(part, head) for part in parts.returned if (head := _head(project, part, is_head)) is not None]
    if not found or _is_called_elsewhere(project, cls, method.fact.name):
        return
    uses = _uses(project, cls, method.fact.name, _DEPTH)
    if not uses:
        return
    for part, head in found:
        if all(_leaves(part, taking) for taking, _ in uses):
            yield LostPart(head, tuple(place for _, place in uses))


def _parts(project: Project, method: Placed[FunctionFacts]) -> Parts:
    return project.derived("returned parts", method, parts_of) or Parts((), ())


def _head(project: Project, part: Part, is_head: Callable[[str], bool]) -> Step | None:
    """The head that a part comes from, through steps that only bring its value into shape."""
    shapes = re.compile(project.profile.output_shapers)
    for step in part.steps:
        if is_head(step.callee):
            return step
        if not shapes.search(step.callee.rpartition(".")[2]):
            return None
    return None


def _leaves(part: Part, taking: Taking) -> bool:
    if taking.taken is None:
        return False
    if isinstance(part.key, int) and part.size is not None:
        if taking.names and len(taking.names) != part.size:
            return False
        return not taking.taken & {part.key, part.key - part.size}
    return not taking.names and part.key not in taking.taken


def _uses(
    project: Project, cls: Placed[ClassFacts], name: str, depth: int
) -> list[tuple[Taking, Location]] | None:
    """Every use of what a method returns, None where one of them cannot be followed."""
    found: list[tuple[Taking, Location]] = []
    owners = (*project.names.ancestry(cls).classes, *subclasses(project.names, cls))
    for owner in owners:
        for caller in owner.fact.methods:
            own = self_name(caller)
            if not any(read.partition(".")[0] == name for read in caller.reads):
                continue
            placed = Placed(caller, owner.path, owner.line)
            start = project.sources.bodies.start(placed)
            for taking in _parts(project, placed).takings:
                if taking.callee != f"{own}.{name}":
                    continue
                if taking.passed_on and caller.name != "forward" and depth:
                    if _is_called_elsewhere(project, cls, caller.name):
                        return None
                    further = _uses(project, cls, caller.name, depth - 1)
                    if not further:
                        return None
                    found += further
                elif taking.taken is None:
                    return None
                else:
                    found.append((taking, Location(owner.path, taking.span.shifted(start))))
    return found


def _is_called_elsewhere(project: Project, cls: Placed[ClassFacts], name: str) -> bool:
    """Whether anything but methods of the class, and of those derived from it, may call the method.

    In other files any mention counts; of a name that begins with an underscore, in the models alone. A
    class that overrides the method may call it through `super()`.
    """
    profile, sources = project.profile, project.sources
    derived = subclasses(project.names, cls)
    if any(c.fact.partial or c.fact.method(name) is not None for c in derived):
        return True
    own = {cls.path, *(c.path for c in derived)}
    for path in own:
        facts = project.file(path)
        for holder, function in facts.all_functions() if facts is not None else ():
            instance = self_name(function.fact) if holder is not None else None
            callees = (fact.call.callee or "" for fact in function.fact.calls)
            if any(c.endswith(f".{name}") and c != f"{instance}.{name}" for c in callees):
                return True
    folder = profile.dits if name.startswith("_") else profile.dits.rsplit("/", 2)[0]
    return any(path not in own and name in sources.words(path) for path in sources.walk(folder))
