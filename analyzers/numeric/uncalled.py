"""A module of the port that holds weights and is never called, though the official model calls its own.

Its weights load, so nothing but the missing call tells that it is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzers.numeric.origins import House
from analyzers.numeric.records import Built, Call, Operation, Slice
from analyzers.numeric.statements import Range, attributes_in, calls_in, head, range_of


class Uncalled(NamedTuple):
    """`native` and `official`: the two modules by name. `operation`: the official one's first."""

    native: str
    official: str
    operation: Operation


def uncalled(
    built: Built, calls: Sequence[Call], official: Slice, operations: Sequence[Operation]
) -> Iterator[Uncalled]:
    """The port's modules that were never called, of those whose official weights some official operations
    use, in the order of these. Nothing where no calls were recorded."""
    called = {call.module for call in calls}
    owners = {
        source: filling.native.rpartition(".")[0]
        for filling in built.fillings
        if len(filling.sources) == 1
        for source in filling.sources
    }
    met: set[str] = set()
    for operation in operations:
        for operand in operation.operands:
            value = official.values.get(operand.value) if operand.value is not None else None
            if value is None or value.source != "parameter" or value.name is None:
                continue
            name = owners.get(value.name)
            if name and name in built.native_by_name and called and name not in called and name not in met:
                met.add(name)
                yield Uncalled(name, value.name.rpartition(".")[0], operation)


def place_of_call(house: House, name: str) -> Range | None:
    """Where the model's own code should call a module that it never calls: the one statement of its owner's
    `forward` that speaks of it, or what that statement guards; where none does, the one that gives a variable
    called like it to itself again. A statement that would call it was not come through. None where no
    statement is left or several are."""
    owner, _, attribute = name.rpartition(".")
    while owner and owner.rpartition(".")[2].isdigit() is False and owner not in house.modules:
        owner = owner.rpartition(".")[0]
    module = house.modules.get(owner)
    if module is None or module.path is None or module.line is None or not house.owns(module.path):
        return None
    function = house.sources.function(module.path, module.line)
    if function is None:
        return None
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.stmt)
        and node is not function
        and not _only_checks(node)
        and attribute in attributes_in(head(node))
        and not any(_is_attribute(call.func, attribute) for call in calls_in(node))
    ]
    if not found:
        words = set(attribute.split("_"))
        nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
        found = [node for node in nodes if words.intersection((_given_to_itself(node) or "").split("_"))]
    if len(found) != 1:
        return None
    (node,) = found
    if isinstance(node, ast.If):
        return range_of(module.path, node.body[0])
    return range_of(module.path, node)


_KEEPING = frozenset({"to", "type", "type_as", "contiguous", "clone"})
"""Methods that keep every value, but for rounding."""


def _given_to_itself(node: ast.Assign) -> str | None:
    """The variable that a statement binds to its own value: `q = q`, `q = q.to(v.dtype)`."""
    value: ast.expr = node.value
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        if value.func.attr not in _KEEPING:
            return None
        value = value.func.value
    (target, *others) = node.targets
    same = isinstance(target, ast.Name) and isinstance(value, ast.Name) and target.id == value.id
    return target.id if isinstance(target, ast.Name) and same and not others else None


def called_instead(house: House, side: Slice, name: str) -> tuple[Range, str] | None:
    """The one statement that calls a module of the same class and the same owner, whose weights are on the
    way: it stands where the module should. With that module's name; None where there is none, or several."""
    own = house.modules.get(name)
    if own is None:
        return None
    found: dict[Range, str] = {}
    for operation in side.operations:
        for operand in operation.operands:
            value = side.values.get(operand.value) if operand.value is not None else None
            if value is None or value.source != "parameter" or value.name is None:
                continue
            other = house.modules.get(value.name.rpartition(".")[0])
            alike = other is not None and other.name != name and other.cls == own.cls
            if other is None or not alike or _owner(other.name) != _owner(name):
                continue
            place = house.called_from(operation)
            if place is not None:
                found.setdefault(place, other.name)
    return next(iter(found.items())) if len(found) == 1 else None


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _is_attribute(called: ast.expr, name: str) -> bool:
    return isinstance(called, ast.Attribute) and called.attr == name


def _only_checks(node: ast.stmt) -> bool:
    """Whether a statement only makes sure of something."""
    return isinstance(node, ast.Assert) or (isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise))
