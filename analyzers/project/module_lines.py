"""Where in the tree the module is built that a parameter belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.facts.model import ClassFacts, Constant, Placed
from analyzers.findings import Location, Span
from analyzers.project.idioms import self_name
from analyzers.project.index import Project
from analyzers.project.module_trees import members

_REGISTERING = ("register_parameter", "register_buffer", "register_module", "add_module")


def module_line(project: Project, cls: Placed[ClassFacts], name: str) -> Location | None:
    """The line that builds the innermost module (or parameter) of the tree's models on the way to a name
    in a state dict (`blocks.0.to_q.weight`); None where not even the first component is found."""
    steps = tuple(name.split("."))
    key = ("module line", cls.path, cls.fact.name, cls.line, steps)
    return project.sources.memory.about(cls.path, cls.fact, key, lambda: _line(project, cls, steps))


def _line(project: Project, cls: Placed[ClassFacts], steps: Sequence[str]) -> Location | None:
    found = next(_set_here(project, cls, steps[0]), None)
    if found is None:
        return None
    inner = members(project, cls, steps[0]) if len(steps) > 1 else None
    if inner is None:
        return found
    classes, is_list = inner
    rest = steps[2:] if is_list else steps[1:]
    if not rest or len(classes) != 1 or not classes[0].path.startswith(f"{project.profile.dits}/"):
        return found
    return _line(project, classes[0], rest) or found


def _set_here(project: Project, cls: Placed[ClassFacts], name: str) -> Iterator[Location]:
    """The lines that set an attribute to something, those of the class before those of its bases."""
    for owner in project.names.ancestry(cls).classes:
        for method in owner.fact.methods:
            for assignment in method.assignments:
                nothing = isinstance(assignment.value, Constant) and assignment.value.value is None
                if assignment.name == name and not nothing:
                    yield _first_line(owner.at(assignment.span))
            own = self_name(method)
            for fact in method.calls:
                given = fact.call.arguments[0] if fact.call.arguments else None
                registers = fact.call.callee in {f"{own}.{registering}" for registering in _REGISTERING}
                if registers and isinstance(given, Constant) and given.value == name:
                    yield _first_line(owner.at(fact.call.span))


def _first_line(place: Location) -> Location:
    """The beginning of a place that may go over many lines."""
    span = place.span
    if span.line == span.end_line:
        return place
    return Location(place.path, Span(span.line, span.column, span.line, span.column + 1))
