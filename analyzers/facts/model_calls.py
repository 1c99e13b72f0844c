"""How a method calls a model that its instance holds: `self.transformer(...)`, also under a local name."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.findings import Span


@dataclass(frozen=True)
class ModelCall:
    """One call. `positional`: how many arguments are given by position, None where `*args` hides it.

    `keywords`: names given explicitly; `trivial`: those of them whose value is None or False. `unpacks`:
    `**something` adds more. `guarded`: it stands under an `if` or a `case`, which may be meant for other
    models. `element`: only the first element of what it returns is taken (`self.transformer(...)[0]`).
    """

    positional: int | None
    keywords: tuple[str, ...]
    trivial: frozenset[str]
    unpacks: bool
    guarded: bool
    span: Span
    element: bool = False


def model_calls(body: Body, attribute: str) -> tuple[ModelCall, ...]:
    """The calls of `self.<attribute>` in a method, in order of the text."""
    arguments = body.tree.args
    first = (*arguments.posonlyargs, *arguments.args)[:1]
    if not first or attribute not in body.text:
        return ()
    walk = _Walk(first[0].arg, attribute)
    for node in body.nodes:
        if isinstance(node, ast.Assign) and walk.is_model(node.value):
            walk.names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for statement in body.tree.body:
        walk.visit(statement)
    return tuple(sorted(walk.found, key=lambda call: call.span))


class _Walk(ast.NodeVisitor):
    def __init__(self, own: str, attribute: str) -> None:
        self.own = own
        self.attribute = attribute
        self.names: set[str] = set()
        self.found: list[ModelCall] = []
        self.guarded = False
        self.indexed: ast.expr | None = None

    def is_model(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.names
        return (
            isinstance(node, ast.Attribute)
            and node.attr == self.attribute
            and isinstance(node.value, ast.Name)
            and node.value.id == self.own
        )

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.inside([*node.body, *node.orelse])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit(node.test)
        self.inside([node.body, node.orelse])

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        self.inside(node.cases)

    def visit_Try(self, node: ast.Try) -> None:
        for statement in (*node.body, *node.finalbody):
            self.visit(statement)
        self.inside([*node.handlers, *node.orelse])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.inside(node.body)

    def inside(self, nodes: list[ast.stmt] | list[ast.expr] | list[ast.match_case] | list[ast.AST]) -> None:
        outer, self.guarded = self.guarded, True
        for node in nodes:
            self.visit(node)
        self.guarded = outer

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.slice, ast.Constant) and node.slice.value == 0:
            self.indexed = node.value
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        element = self.indexed is node
        self.generic_visit(node)
        if not self.is_model(node.func):
            return
        starred = any(isinstance(a, ast.Starred) for a in node.args)
        named = [k for k in node.keywords if k.arg is not None]
        self.found.append(
            ModelCall(
                None if starred else len(node.args),
                tuple(k.arg for k in named if k.arg is not None),
                frozenset(
                    k.arg
                    for k in named
                    if k.arg is not None
                    and isinstance(k.value, ast.Constant)
                    and (k.value.value is None or k.value.value is False)
                ),
                len(named) < len(node.keywords),
                self.guarded,
                Body.span(node),
                element,
            )
        )
