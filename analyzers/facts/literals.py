"""Numbers written out in a function: what is set to a literal, by which name."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.findings import Span

_NUMBERS = (int, float)


@dataclass(frozen=True)
class LocalConstant:
    """`name = literal` in a function, the only assignment of that name there; `span` is the statement's,
    relative to the function's first line."""

    name: str
    value: object
    span: Span


def local_constants(body: Body) -> tuple[LocalConstant, ...]:
    """The local names that are set once, outside of every branch, to a number or a tuple of numbers, and
    read again."""
    stored: dict[str, list[ast.Assign | None]] = {}
    read: set[str] = set()
    for node in body.nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            stored.setdefault(node.targets[0].id, []).append(node)
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                read.add(node.id)
            else:
                stored.setdefault(node.id, []).append(None)
        elif isinstance(node, ast.arg):
            stored.setdefault(node.arg, []).append(None)
    return tuple(
        LocalConstant(name, value, Body.span(statement))
        for name, found in stored.items()
        # A plain assignment is met twice: as a statement, then as the name that it stores.
        if len(found) == 2 and (statement := found[0]) in body.tree.body and found[1] is None and name in read
        if isinstance(statement, ast.Assign) and (value := number(statement.value)) is not None
    )


def number(node: ast.expr) -> object | None:
    """A number, or a tuple of numbers, that is written out; None for anything else."""
    try:
        value: object = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if is_number(value) else None


def is_number(value: object) -> bool:
    """Whether a value is a number, or a list or tuple of numbers; truth values are none."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(is_number(item) for item in value)
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)
