"""Walks over syntax trees, for questions asked of every function of a code base."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_CHILDREN: dict[type[ast.AST], tuple[str, ...]] = {
    cls: tuple(name for name in cls._fields if name not in ("ctx", "kind", "type_comment"))
    for cls in vars(ast).values()
    if isinstance(cls, type) and issubclass(cls, ast.AST)
}
_CHILDREN |= {
    ast.Constant: (),
    ast.Name: (),
    ast.Attribute: ("value",),
    ast.alias: (),
    ast.Global: (),
    ast.Nonlocal: (),
    ast.keyword: ("value",),
    ast.arg: ("annotation",),
}
"""The fields of each kind of node that may hold nodes, in Python's order."""


def walk_tree(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that `ast.walk` gives, in its order, several times as fast.

    Only the contexts of names (`ast.Load`, `ast.Store`, `ast.Del`) are left out.
    """
    nodes = [tree]
    children = _CHILDREN
    for node in nodes:
        for name in children[node.__class__]:
            value = getattr(node, name, None)
            if value.__class__ is list:
                nodes += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                nodes.append(value)
        yield node


def child_nodes(node: ast.AST) -> list[ast.AST]:
    """What `ast.iter_child_nodes` gives, contexts left out."""
    found: list[ast.AST] = []
    for name in _CHILDREN[node.__class__]:
        value = getattr(node, name, None)
        if value.__class__ is list:
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def is_deeper(tree: ast.AST, levels: int) -> bool:
    """Whether a tree has more levels than that, its root being one."""
    return nodes_within(tree, levels) is None


def nodes_within(tree: ast.AST, levels: int) -> tuple[ast.AST, ...] | None:
    """The nodes that `walk_tree` gives; None for a tree of more levels than that."""
    level = [tree]
    nodes: list[ast.AST] = []
    for _ in range(levels):
        nodes += level
        below: list[ast.AST] = []
        for node in level:
            for name in _CHILDREN[node.__class__]:
                value = getattr(node, name, None)
                if value.__class__ is list:
                    below += [item for item in value if isinstance(item, ast.AST)]
                elif isinstance(value, ast.AST):
                    below.append(value)
        if not below:
            return tuple(nodes)
        level = below
    return None
