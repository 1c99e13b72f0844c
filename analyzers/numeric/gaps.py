"""Where in the port's code something is lacking, told by what its statements do to the names they hold.

A step that is left out leaves its traces: a statement that only gives a value another name, or its own; a
variable that is bound anew before anybody read it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from analyzers.numeric import statements
from analyzers.numeric.records import CodeLine
from analyzers.numeric.roles import Names, Step
from analyzers.numeric.statements import Range, Sources


def idle(names: Names, stack: Sequence[CodeLine], variable: str) -> Range | None:
    """The statement of the model's own files, on the way of a value back from a variable at the first frame,
    that lost something.

    That is one that only hands a value on, else the only one that gives it a new name and at most casts it,
    else one that overwrites another value unread.
    """
    steps = [step for step in names.back(stack, 0, variable) if names.house.owns(step.place.path)]
    sources = names.house.sources
    for step in steps:
        if only_names(sources.statement(step.place.path, step.place.line)):
            return step.place
    renamed = [step for step in steps if _renames(sources.statement(step.place.path, step.place.line), step)]
    if len(renamed) == 1:
        return renamed[0].place
    for step in _bindings(steps, stack, variable):
        node = unread(sources, step.place, step.bound)
        if node is not None:
            return statements.range_of(step.place.path, node)
    return None


def only_names(node: ast.stmt | None) -> bool:
    """Whether an assignment only gives values other names."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
        return False
    parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return all(isinstance(part, (ast.Name, ast.Attribute)) for part in parts)


def _renames(node: ast.stmt | None, step: Step) -> bool:
    """Whether an assignment gives a value another name, and casts or reshapes it at most; not one that calls
    the function whose parameter gets the value."""
    source = step.source.partition("[")[0] if step.source is not None else step.bound
    is_binding = isinstance(node, (ast.Assign, ast.AnnAssign)) and step.bound in statements.targets(node)
    return is_binding and source != step.bound


def unread(sources: Sources, place: Range, variable: str) -> ast.stmt | None:
    """The statement that binds a variable a second time, next to and below one that bound it too, with nobody
    reading it in between; of those in the function of a place, the last one not after the place."""
    function = sources.function(place.path, place.line)
    if function is None:
        return None
    found = [node for node in _overwriting(function.body, variable) if node.lineno - 1 <= place.end_line]
    return found[-1] if found else None


def _overwriting(body: Sequence[ast.stmt], variable: str) -> Iterator[ast.stmt]:
    waiting = False
    for node in body:
        binds = isinstance(node, ast.Assign) and [variable] == [
            target.id if isinstance(target, ast.Name) else "" for target in node.targets
        ]
        if binds and waiting and variable not in statements.names_in(node):
            yield node
        if binds:
            waiting = True
        elif any(isinstance(each, ast.Name) and each.id == variable for each in ast.walk(node)):
            waiting = False


def _bindings(steps: Sequence[Step], stack: Sequence[CodeLine], variable: str) -> Iterator[Step]:
    if not steps and stack:
        line = stack[0]
        yield Step(Range(line.path, line.line, line.line), variable, None)
    yield from steps
