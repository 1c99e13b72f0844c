"""Dict comprehensions over literals, written out.

`{rf"^{name}\\.(.*)$": (r"qkv.\\1", i, 3) for i, name in enumerate(("q", "k", "v"))}` is a display of three
items. Anything that is no literal, f-string, tuple, sum or product of loops over literals is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

MOST_ITEMS = 256
"""Longer comprehensions are left alone."""

_Environment = Mapping[str, object]


def written_out(node: ast.DictComp) -> list[tuple[ast.expr, ast.expr]] | None:
    """The items in order, each key and value with the places of the comprehension's own; None where
    they are not certain."""
    items: list[tuple[ast.expr, ast.expr]] = []
    try:
        for environment in _loops(node.generators, {}):
            if len(items) >= MOST_ITEMS:
                return None
            key, value = _value(node.key, environment), _value(node.value, environment)
            items.append((_literal(key, node.key), _literal(value, node.value)))
    except _Unknown:
        return None
    return items


class _Unknown(Exception):
    """Something that is not followed."""


def _loops(generators: list[ast.comprehension], environment: _Environment) -> Iterator[_Environment]:
    if not generators:
        yield environment
        return
    first = generators[0]
    if first.ifs or first.is_async:
        raise _Unknown
    for item in _iterated(first.iter, environment):
        yield from _loops(generators[1:], {**environment, **_bound(first.target, item)})


def _iterated(node: ast.expr, environment: _Environment) -> Iterator[object]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        arguments = [_value(argument, environment) for argument in node.args]
        if node.func.id == "range" and 0 < len(arguments) < 4 and all(type(a) is int for a in arguments):
            numbers = [a for a in arguments if isinstance(a, int)]
            if len(numbers) < 3 or numbers[2]:
                yield from range(*numbers)
                return
        if node.func.id == "enumerate" and len(arguments) == 1 and isinstance(arguments[0], (tuple, str)):
            yield from enumerate(arguments[0])
            return
        if node.func.id == "zip" and all(isinstance(a, (tuple, str)) for a in arguments):
            yield from zip(*(a for a in arguments if isinstance(a, (tuple, str))), strict=False)
            return
        raise _Unknown
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "items"
        and isinstance(node.func.value, ast.Dict)
        and not node.args
    ):
        for key, value in zip(node.func.value.keys, node.func.value.values, strict=True):
            if key is None:
                raise _Unknown
            yield _value(key, environment), _value(value, environment)
        return
    whole = _value(node, environment)
    if not isinstance(whole, (tuple, str)):
        raise _Unknown
    yield from whole


def _bound(target: ast.expr, value: object) -> dict[str, object]:
    if isinstance(target, ast.Name):
        return {target.id: value}
    if not isinstance(target, (ast.Tuple, ast.List)) or not isinstance(value, tuple):
        raise _Unknown
    if len(target.elts) != len(value):
        raise _Unknown
    names: dict[str, object] = {}
    for element, part in zip(target.elts, value, strict=True):
        names.update(_bound(element, part))
    return names


def _value(node: ast.expr, environment: _Environment) -> object:
    """The value of an expression: a constant, or a tuple of such (lists become tuples)."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in environment:
        return environment[node.id]
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_value(element, environment) for element in node.elts)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, environment) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, environment), _value(node.right, environment)
        if isinstance(left, str) and isinstance(right, str):
            return left + right
        if type(left) is int and type(right) is int:
            return left + right
    raise _Unknown


def _text(part: ast.expr, environment: _Environment) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    if isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None:
        value = _value(part.value, environment)
        if isinstance(value, (str, int)):
            return str(value)
    raise _Unknown


def _literal(value: object, at: ast.expr) -> ast.expr:
    """A value as syntax again, standing where `at` stands."""
    if isinstance(value, tuple):
        made: ast.expr = ast.Tuple([_literal(part, at) for part in value], ast.Load())
    elif isinstance(value, (str, int, float, bytes)) or value is None:
        made = ast.Constant(value)
    else:
        raise _Unknown
    return ast.copy_location(made, at)
