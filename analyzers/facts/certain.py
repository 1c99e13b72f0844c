"""What every run of a function does: the calls that no branch, early return or handler lies before."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.facts.flow_names import constant_truth
from analyzers.facts.model import PlacedChunk
from analyzers.facts.module_trees import tree_of
from analyzers.facts.name_uses import parameters
from analyzers.facts.walking import child_nodes
from analyzers.findings import Span


@dataclass(frozen=True)
class CertainCall:
    """A call that every run makes. `kind`: `expression` (its value is dropped), `raise` (it, or the bare
    name, is raised), `with` (a context manager around what follows) or `inside` (anything else).
    `callee` is its dotted name; `span` is relative to the function's first line. `given`: the names of
    the module on whose truth the call depends, each with the truth that it needs."""

    kind: str
    callee: str
    span: Span
    given: tuple[tuple[str, bool], ...] = ()


def certain_calls(body: Body) -> tuple[CertainCall, ...]:
    """The calls that every run of a function makes, in their order."""
    calls = _of_block(body.tree.body)
    own = parameters(body.tree)
    return tuple(c for c in calls if not any(n in own or body.stores.holds(n) for n, _ in c.given))


class _Stop(Exception):
    """Runs may end here."""


def _of_block(body: list[ast.stmt]) -> Iterator[CertainCall]:
    try:
        yield from _statements(body)
    except _Stop:
        return


def _statements(body: list[ast.stmt]) -> Iterator[CertainCall]:
    """Raises `_Stop` behind a statement that may leave the function."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(statement, ast.If):
            truth = constant_truth(statement.test)
            if truth is not None:
                yield from _statements(statement.body if truth else statement.orelse)
                continue
            yield from _in_expression(statement.test)
            flag = _flag(statement.test)
            if flag is not None:
                for block, holds in ((statement.body, True), (statement.orelse, False)):
                    given = (flag[0], flag[1] is holds)
                    yield from (replace(c, given=(given, *c.given)) for c in _of_block(block))
        elif isinstance(statement, ast.While) and constant_truth(statement.test):
            yield from _statements(statement.body)
            raise _Stop
        elif isinstance(statement, (ast.With, ast.AsyncWith)):
            for item in statement.items:
                manager = item.context_expr
                callee = dotted_name(manager.func) if isinstance(manager, ast.Call) else None
                if callee is not None:
                    yield CertainCall("with", callee, Body.span(manager))
            yield from _statements(statement.body)
            continue
        elif isinstance(statement, ast.Try) and not statement.handlers:
            yield from _statements([*statement.body, *statement.finalbody])
            continue
        elif isinstance(statement, (ast.For, ast.AsyncFor)):
            yield from _in_expression(statement.iter)
        else:
            yield from _in_statement(statement)
        if isinstance(statement, (ast.Return, ast.Raise)) or _may_leave(statement):
            raise _Stop


def _in_statement(statement: ast.stmt) -> Iterator[CertainCall]:
    if isinstance(statement, ast.Expr):
        value = statement.value
        callee = dotted_name(value.func) if isinstance(value, ast.Call) else None
        if callee is not None:
            yield CertainCall("expression", callee, Body.span(value))
        yield from _in_expression(value, but=value if callee is not None else None)
    elif isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        callee = dotted_name(raised)
        if callee is not None:
            yield CertainCall("raise", callee, Body.span(statement.exc))
    elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return)):
        if statement.value is not None:
            yield from _in_expression(statement.value)
    elif isinstance(statement, ast.Assert):
        yield from _in_expression(statement.test)


def _in_expression(node: ast.expr, but: ast.expr | None = None) -> Iterator[CertainCall]:
    """The calls that evaluating an expression certainly makes, innermost last."""
    if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return
    if isinstance(node, ast.Call) and node is not but:
        callee = dotted_name(node.func)
        if callee is not None:
            yield CertainCall("inside", callee, Body.span(node))
    children: list[ast.AST] = list(child_nodes(node))
    if isinstance(node, ast.IfExp):
        children = [node.test]
    elif isinstance(node, ast.BoolOp):
        children = [node.values[0]]
    for child in children:
        inner = child.value if isinstance(child, ast.keyword) else child
        if isinstance(inner, ast.expr):
            yield from _in_expression(inner)


def _flag(test: ast.expr) -> tuple[str, bool] | None:
    """The name that a condition asks, and the truth that it needs for the condition to hold."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _flag(test.operand)
        return None if inner is None else (inner[0], not inner[1])
    return (test.id, True) if isinstance(test, ast.Name) else None


def _may_leave(statement: ast.stmt) -> bool:
    """Whether a `return` stands somewhere in a statement, functions inside it left out."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return False
    if isinstance(statement, ast.Return):
        return True
    children = child_nodes(statement)
    inner = [s for c in children if isinstance(c, (ast.ExceptHandler, ast.match_case)) for s in c.body]
    return any(_may_leave(child) for child in (*children, *inner) if isinstance(child, ast.stmt))


def certain_in_branches(chunk: PlacedChunk) -> Iterator[CertainCall]:
    """The calls that importing a module-level `if True:` certainly makes."""
    tree = tree_of(chunk)
    for statement in tree.body if tree is not None else ():
        if isinstance(statement, ast.If) and constant_truth(statement.test) is not None:
            yield from _of_block([statement])
