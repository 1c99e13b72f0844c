"""A module that gives its parts out under each other's names: which of its statements does it.

Such a module computes every part rightly, and its caller gets another one than it asks for. Either a part was
bound to a wrong name (a chunk unpacked in another order), or the names were given out in another order; what
the official code calls the two parts tells which.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from analyzers.numeric.origins import House
from analyzers.numeric.records import Address, Slice
from analyzers.numeric.statements import Range, range_of


class Given(NamedTuple):
    """What a `return` gives at one place. `name`: the variable, None where the statement computes it."""

    place: Range
    name: str | None


_PLACE = re.compile(r"out(?:\[(\d+)\]|\.(\w+))?$")


def given_out(house: House, at: Address, executed: Mapping[str, Collection[int]]) -> Given | None:
    """What the model's own module returns under a label (`out`, `out[3]`, `out.sample`); None for a module of
    a library and for a label that goes deeper. Of several statements that return so, the first one with an
    executed line (`executed`, by path) counts, else the last: those before it are for special cases."""
    module, place = house.modules.get(at.module), _PLACE.match(at.label)
    if module is None or module.path is None or module.line is None or place is None:
        return None
    function = house.sources.function(module.path, module.line)
    if function is None or not house.owns(module.path):
        return None
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            part = _part(node.value, place[1], place[2])
            if part is not None:
                found.append(Given(range_of(module.path, node), _name(part)))
    lines = executed.get(module.path, ())
    found.sort(key=lambda each: each.place.line)
    ran = [each for each in found if any(each.place.line <= n <= each.place.end_line for n in lines)]
    return next(iter(ran or found[-1:]), None)


def _name(part: ast.expr) -> str | None:
    return part.id if isinstance(part, ast.Name) else None


def _part(value: ast.expr, number: str | None, field: str | None) -> ast.expr | None:
    if field is not None:
        keywords = value.keywords if isinstance(value, ast.Call) else ()
        return next((each.value for each in keywords if each.arg == field), None)
    if number is None:
        return value
    if isinstance(value, (ast.Tuple, ast.List)) and int(number) < len(value.elts):
        return value.elts[int(number)]
    return None


def names_of(house: House, side: Slice, values: Iterable[int]) -> frozenset[str]:
    """What the code calls the parts of an operation's result that are unpacked right away."""
    found: set[str] = set()
    for value in values:
        maker = side.makers.get(value)
        if maker is None or not maker.stack:
            continue
        line = maker.stack[0]
        node = house.sources.statement(line.path, line.line)
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, (ast.Tuple, ast.List)) and len(target.elts) == len(maker.outputs) > 1:
            name = target.elts[maker.outputs.index(value)]
            if isinstance(name, ast.Name):
                found.add(name.id)
    return frozenset(found)
