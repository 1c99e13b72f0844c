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
    written = [(depth, forms(node, names)) for depth, node in nodes]
    plain = tuple(hash((depth, named)) for depth, (named, _) in written)
    renamed = tuple(hash((depth, nameless)) for depth, (_, nameless) in written)
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
        node.id for node in walk_tree(tree) if node.__class__ is ast.Name and node.ctx.__class__ is ast.Store
    }
    found |= {node.arg for node in walk_tree(tree.args) if isinstance(node, ast.arg)}
    return frozenset(found - {"self"})


# --------------------------------------------------------------------------- forms

_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})
_LEFT_OUT = frozenset({"annotation", "returns", "type_comment", "kind", "ctx", "type_params", "simple"})
_WRITTEN = {
    cls: tuple(name for name in cls._fields if name not in _LEFT_OUT)
    for cls in vars(ast).values()
    if isinstance(cls, type) and issubclass(cls, ast.AST)
}
"""The fields of each kind of node that are part of its text."""


def form(node: ast.AST, renamed: frozenset[str] = frozenset()) -> str:
    """A text that is equal for equal code; the blocks of a statement are left out."""
    return forms(node, renamed)[1]


def forms(node: ast.AST, renamed: frozenset[str]) -> tuple[str, str]:
    """`form` with all names, and with some of them replaced by the order of their use."""
    parts: list[str] = []
    places: list[int] = []
    _write(node, renamed, parts, places, top=isinstance(node, ast.stmt))
    plain = "".join(parts)
    if not places:
        return plain, plain
    order: dict[str, str] = {}
    for place in places:
        parts[place] = order.setdefault(parts[place], f"${len(order)}")
    return plain, "".join(parts)


def _write(
    node: object, renamed: frozenset[str], parts: list[str], places: list[int], *, top: bool = False
) -> None:
    """Adds the text of a node; `places`: where in it the names stand that are to be replaced."""
    cls = node.__class__
    if cls is ast.Name:
        name: str = node.id  # type: ignore[attr-defined]
        if name in renamed:
            places.append(len(parts))
        parts.append(name)
    elif cls is ast.Constant:
        parts.append(repr(node.value))  # type: ignore[attr-defined]
    elif isinstance(node, ast.AST):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            # The same with an annotation and without.
            parts.append("Assign([")
            _write(node.value, renamed, parts, places)
            for target in node.targets if isinstance(node, ast.Assign) else (node.target,):
                parts.append(",")
                _write(target, renamed, parts, places)
            parts.append("])")
            return
        parts.append(cls.__name__)
        parts.append("(")
        for field in _WRITTEN[type(node)]:
            if not (top and field in _BLOCKS):
                _write(getattr(node, field, None), renamed, parts, places)
                parts.append(",")
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            _write(item, renamed, parts, places)
            parts.append(",")
        parts.append("]")
    else:
        parts.append(repr(node))
