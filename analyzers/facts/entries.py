"""The assignments to `EntryClass`, as registry discovery reads them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from analyzers.facts.expressions import convert, span_of
from analyzers.facts.model import Collection, EntryAssignment, Expr, Opaque

DISCOVERED_NAME = "EntryClass"
"""The name that registry discovery looks for, in FastVideo and in SGLang (`registry.py` of the models)."""

_BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")
"""The fields that hold statements (or what holds statements), in the order of the syntax tree's own."""


def entries_of(tree: ast.Module) -> Iterable[EntryAssignment]:
    """In the order of `ast.walk`, level by level; only nodes that can hold statements are opened."""
    level: list[ast.AST] = [tree]
    depth = 0
    while level:
        following: list[ast.AST] = []
        for node in level:
            if isinstance(node, ast.Assign):
                if any(isinstance(t, ast.Name) and t.id == DISCOVERED_NAME for t in node.targets):
                    yield EntryAssignment(_as_written(node.value), depth, span_of(node))
            else:
                for block in _BLOCKS:
                    following.extend(getattr(node, block, ()))
        level = following
        depth += 1


def _as_written(node: ast.expr) -> Expr:
    """`convert`, but a sum of strings stays a sum: discovery reads displays of names and strings alone."""
    value = convert(node)
    if isinstance(value, Collection) and isinstance(node, (ast.List, ast.Tuple)):
        items = zip(value.items, node.elts, strict=True)
        kept = tuple(Opaque("BinOp", i.span) if isinstance(n, ast.BinOp) else i for i, n in items)
        return replace(value, items=kept)
    return value
