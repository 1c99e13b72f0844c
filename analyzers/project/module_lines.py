"""Where in the tree the module is built that a parameter belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.facts.model import Call, ClassFacts, Collection, Constant, Expr, Placed, Starred
from analyzers.findings import Location, Span
from analyzers.project.idioms import self_name
from analyzers.project.index import Project
from analyzers.project.module_trees import members

_LISTS = ("ModuleList", "ParameterList")
_REGISTERING = ("register_parameter", "register_buffer", "register_module", "add_module")


def module_line(project: Project, cls: Placed[ClassFacts], name: str) -> Location | None:
    """The line that builds the innermost module (or parameter) of the tree's models on the way to a name
    in a state dict (`blocks.0.to_q.weight`); None where not even the first component is found."""
    steps = tuple(name.split("."))
    key = ("module line", cls.path, cls.fact.name, cls.line, steps)
    return project.sources.memory.about(cls.path, cls.fact, key, lambda: _line(project, cls, steps))


def _line(project: Project, cls: Placed[ClassFacts], steps: Sequence[str]) -> Location | None:
    found = next(_set_here(project, cls, steps), None)
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


def _set_here(project: Project, cls: Placed[ClassFacts], steps: Sequence[str]) -> Iterator[Location]:
    """The lines that set an attribute to something (of a list that is written out, the element), those of
    the class before those of its bases."""
    name = steps[0]
    for owner in project.names.ancestry(cls).classes:
        for method in owner.fact.methods:
            for assignment in method.assignments:
                nothing = isinstance(assignment.value, Constant) and assignment.value.value is None
                if assignment.name == name and not nothing:
                    element = _element(assignment.value, steps[1]) if len(steps) > 1 else None
                    yield _first_line(owner.at(element.span if element is not None else assignment.span))
            own = self_name(method)
            for fact in method.calls:
                given = fact.call.arguments[0] if fact.call.arguments else None
                registers = fact.call.callee in {f"{own}.{registering}" for registering in _REGISTERING}
                if registers and isinstance(given, Constant) and given.value == name:
                    yield _first_line(owner.at(fact.call.span))


def _element(value: Expr | None, number: str) -> Expr | None:
    """The element of that number in `Sequential(a, b)` or `ModuleList([a, b])`; None where it is not told."""
    if not isinstance(value, Call) or value.callee is None or not number.isdecimal():
        return None
    kind, given = value.callee.rpartition(".")[2], value.arguments
    if kind in _LISTS and len(given) == 1 and isinstance(given[0], Collection):
        given = given[0].items
    elif kind != "Sequential":
        return None
    before = given[: int(number) + 1]
    told = len(before) == int(number) + 1 and not any(isinstance(item, Starred) for item in before)
    return before[-1] if told else None


def _first_line(place: Location) -> Location:
    """The beginning of a place that may go over many lines."""
    span = place.span
    if span.line == span.end_line:
        return place
    return Location(place.path, Span(span.line, span.column, span.line, span.column + 1))
