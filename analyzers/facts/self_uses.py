"""What a method does with its instance: which attributes it takes, and whether it gives itself away."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Final

from analyzers.facts.bodies import Body

_ASKS_ONLY: Final = frozenset({"super", "isinstance", "hasattr", "type", "id", "setattr", "delattr", "print"})
"""Functions that take the instance and reach for none of its modules."""

_ALL_MODULES: Final = frozenset(
    {"children", "modules", "named_children", "named_modules", "_modules", "__dict__", "get_submodule"}
)
"""Attributes through which every module of the instance can be reached."""

_OF_PARAMETERS: Final = frozenset(
    {
        "apply",
        "bfloat16",
        "bias",
        "data",
        "eval",
        "extra_repr",
        "float",
        "half",
        "in_channels",
        "in_features",
        "load_state_dict",
        "named_parameters",
        "out_channels",
        "out_features",
        "parameters",
        "requires_grad_",
        "reset_parameters",
        "state_dict",
        "to",
        "train",
        "weight",
    }
)
"""What is asked of a module to prepare its parameters: no use of the module."""


@dataclass(frozen=True)
class SelfUses:
    """Attributes of the instance that a method reads.

    `uses`: taken as a value, called, or asked for more than parameters. `prepares`: read only to set
    up or look at parameters (`self.proj.weight`). `escapes`: the instance itself goes somewhere, or
    its modules are reached by a name that is computed, so that any attribute may be read.
    """

    uses: frozenset[str]
    prepares: frozenset[str]
    escapes: bool


def self_uses(body: Body) -> SelfUses:
    """The uses in a method, nested functions included; nothing for a static method's first parameter."""
    arguments = body.tree.args
    first = (*arguments.posonlyargs, *arguments.args)[:1]
    if not first:
        return SelfUses(frozenset(), frozenset(), escapes=False)
    walk = _Walk(first[0].arg)
    for statement in body.tree.body:
        walk.visit(statement)
    return SelfUses(frozenset(walk.uses), frozenset(walk.prepares - walk.uses), walk.escapes)


class _Walk(ast.NodeVisitor):
    def __init__(self, own: str) -> None:
        self.own = own
        self.uses: set[str] = set()
        self.prepares: set[str] = set()
        self.escapes = False

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.is_self(node.value):
            if node.attr in _ALL_MODULES:
                self.escapes = True
            elif isinstance(node.ctx, ast.Load):
                self.uses.add(node.attr)
            return
        inner = node.value
        if isinstance(inner, ast.Attribute) and self.is_self(inner.value) and node.attr in _OF_PARAMETERS:
            self.prepares.add(inner.attr)
            return
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.id if isinstance(function, ast.Name) else None
        first = node.args[0] if node.args else None
        if name == "getattr" and first is not None and self.is_self(first) and len(node.args) > 1:
            wanted = node.args[1]
            if isinstance(wanted, ast.Constant) and isinstance(wanted.value, str):
                self.uses.add(wanted.value)
            else:
                self.escapes = True
            for argument in node.args[1:]:
                self.visit(argument)
            return
        if isinstance(function, ast.Attribute) and function.attr in ("__init__", "__init_subclass__"):
            self.visit(function)
            for argument in (*node.args, *(k.value for k in node.keywords)):
                if not self.is_self(argument):
                    self.visit(argument)
            return
        if name in _ASKS_ONLY or (isinstance(function, ast.Attribute) and _is_named_setter(function)):
            for argument in (*node.args, *(k.value for k in node.keywords)):
                if not self.is_self(argument):
                    self.visit(argument)
            return
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == self.own and isinstance(node.ctx, ast.Load):
            self.escapes = True

    def is_self(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self.own


def _is_named_setter(function: ast.Attribute) -> bool:
    """`object.__setattr__(self, ...)`."""
    return function.attr in ("__setattr__", "__delattr__")
