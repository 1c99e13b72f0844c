"""What a function does, statement by statement, in a form that copies share.

Docstrings, annotations, comments and layout are gone. A statement has two forms: one with its names and
one with its local names replaced by the order of their use in it, so that a copy may rename. Two
functions that agree around a statement share a *key*: the statements before and after it, with a hole in
its place.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.walking import walk_tree

MINIMUM_STATEMENTS = 4
"""Below that, two functions agree by chance."""
_AROUND = 2
"""Statements on each side of a hole."""
_EDGE = 1


@dataclass(frozen=True, slots=True)
class Signature:
    """`statements`: hashes of the forms with names, `renamed`: of those without; `keys`: one for each
    statement of either. Empty for short functions."""

    statements: tuple[int, ...]
    renamed: tuple[int, ...]
    keys: tuple[int, ...]


def signature(body: Body) -> Signature:
    """The signature of a function."""
    nodes = statements_of(body.tree)
    if len(nodes) < MINIMUM_STATEMENTS:
        return Signature((), (), ())
    names = locals_of(body.tree)
    plain = tuple(hash((depth, form(node))) for depth, node in nodes)
    renamed = tuple(hash((depth, form(node, names))) for depth, node in nodes)
    return Signature(plain, renamed, (*_keys(plain), *_keys(renamed)))


def statements_of(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[int, ast.stmt]]:
    """Every statement of a function with its depth, in order; a compound one stands for its header."""
    return list(_flat(tree.body, 0))


def _flat(block: list[ast.stmt], depth: int) -> Iterator[tuple[int, ast.stmt]]:
    for index, statement in enumerate(block):
        if isinstance(statement, ast.Pass) or (index == 0 and _is_string(statement)):
            continue
        yield depth, statement
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(statement, name, None)
            if isinstance(inner, list):
                yield from _flat(inner, depth + 1)
        for handler in getattr(statement, "handlers", ()):
            yield from _flat(handler.body, depth + 1)
        for case in getattr(statement, "cases", ()):
            yield from _flat(case.body, depth + 1)


def _is_string(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _keys(found: Sequence[int]) -> Iterator[int]:
    edge = (_EDGE,) * _AROUND
    padded = (*edge, *found, *edge)
    for index in range(len(found)):
        middle = index + _AROUND
        yield hash((padded[index:middle], padded[middle + 1 : middle + 1 + _AROUND]))


def locals_of(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """The local names and parameters of a function, `self` left out."""
    found = {
        node.id for node in walk_tree(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    found |= {node.arg for node in walk_tree(tree.args) if isinstance(node, ast.arg)}
    return frozenset(found - {"self"})


# --------------------------------------------------------------------------- forms

_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})
_LEFT_OUT = frozenset({"annotation", "returns", "type_comment", "kind", "ctx", "type_params", "simple"})


def form(node: ast.AST, renamed: frozenset[str] = frozenset(), order: dict[str, str] | None = None) -> str:
    """A text that is equal for equal code; the blocks of a statement are left out."""
    parts: list[str] = []
    _write(node, renamed, order if order is not None else {}, parts, top=isinstance(node, ast.stmt))
    return "".join(parts)


def _write(
    node: object, renamed: frozenset[str], order: dict[str, str], parts: list[str], *, top: bool = False
) -> None:
    if isinstance(node, ast.Name):
        name = node.id
        parts.append(order.setdefault(name, f"${len(order)}") if name in renamed else name)
    elif isinstance(node, ast.Constant):
        parts.append(repr(node.value))
    elif isinstance(node, ast.AnnAssign):
        # The same as a plain assignment.
        parts.append("Assign([")
        _write(node.value, renamed, order, parts)
        parts.append(",")
        _write(node.target, renamed, order, parts)
        parts.append("])")
    elif isinstance(node, ast.Assign):
        parts.append("Assign([")
        _write(node.value, renamed, order, parts)
        for target in node.targets:
            parts.append(",")
            _write(target, renamed, order, parts)
        parts.append("])")
    elif isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        parts.append("(")
        for name in node._fields:
            if name in _LEFT_OUT or (top and name in _BLOCKS):
                continue
            _write(getattr(node, name, None), renamed, order, parts)
            parts.append(",")
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            _write(item, renamed, order, parts)
            parts.append(",")
        parts.append("]")
    else:
        parts.append(repr(node))
