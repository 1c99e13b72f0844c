"""Syntax of module-level statements, for questions that the one pass has no facts for.

Only chunks that the caller asks for are parsed; nothing is kept here, so ask through
`Sources.memory`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.expressions import span_of
from analyzers.facts.model import FileFacts, PlacedChunk
from analyzers.facts.name_uses import Stores
from analyzers.facts.syntax import parse_shallow
from analyzers.facts.walking import walk_tree
from analyzers.findings import Location


@dataclass(frozen=True)
class PlacedNode:
    """An expression with the line (from 0) that its chunk begins at."""

    node: ast.expr
    line: int

    def at(self, path: str) -> Location:
        """Where it stands in its file."""
        return Location(path, span_of(self.node).shifted(self.line))


def tree_of(chunk: PlacedChunk) -> ast.Module | None:
    """The tree of a chunk; None where it does not parse or nests too deep."""
    return parse_shallow(chunk.text) if chunk.facts.problem is None else None


def constants(facts: FileFacts) -> dict[str, PlacedNode]:
    """The names that a module gives one value, once and unconditionally, with that value."""
    found: dict[str, PlacedNode] = {}
    taken: set[str] = set()
    for chunk in facts.chunks:
        if not chunk.facts.assignments:
            continue
        tree = tree_of(chunk)
        for statement in tree.body if tree is not None else ():
            names = {
                n.id for n in walk_tree(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            stores = Stores(statement)
            for name in names:
                values = stores.of(name)
                value = values[-1] if values else None
                plain = isinstance(statement, (ast.Assign, ast.AnnAssign)) and value is not None
                if name in taken or not plain or value is None:
                    found.pop(name, None)
                else:
                    found[name] = PlacedNode(value, chunk.line)
                taken.add(name)
    return found


def strings(facts: FileFacts, wanted: frozenset[str]) -> Iterator[tuple[str, PlacedNode, str]]:
    """The string constants that hold one of `wanted`, with that one and their role.

    The role is `docstring`, `constant` (within a module-level assignment) or `other`. Of several
    wanted texts in a string the longest counts.
    """
    ordered = sorted(wanted, key=lambda text: (-len(text), text))
    for chunk in facts.chunks:
        if not any(text in chunk.text for text in ordered):
            continue
        tree = tree_of(chunk)
        if tree is None:
            continue
        documented = {
            node.body[0].value
            for node in walk_tree(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for statement in tree.body:
            assigned = isinstance(statement, (ast.Assign, ast.AnnAssign))
            for node in walk_tree(statement):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    held = next((text for text in ordered if text in node.value), None)
                    if held is not None:
                        role = "docstring" if node in documented else "constant" if assigned else "other"
                        yield held, PlacedNode(node, chunk.line), role
