"""Which lines speak about a call: where a reader would look for a comment that explains it."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.walking import child_nodes, walk_tree
from analyzers.findings import Span


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The place of one call. All lines are relative to the function's first line.

    `block`: first and last line from the start of the innermost block (a `with` is none) to the end of
    the statement. `headers`: lines of the compound statements around it, outermost first. `rescues`: it
    stands in an `except` handler; `handler` is then the first line of the `try`.
    """

    call: Span
    block: tuple[int, int]
    headers: tuple[int, ...]
    handler: int | None


def surroundings(body: Body) -> tuple[Surroundings, ...]:
    """The place of every call in a function's body, in the order of the text."""
    found: list[Surroundings] = []
    _block(body.tree.body, 0, (), None, found)
    return tuple(found)


def _block(
    statements: list[ast.stmt],
    first: int,
    headers: tuple[int, ...],
    handler: int | None,
    found: list[Surroundings],
) -> None:
    for statement in statements:
        last = (statement.end_lineno or statement.lineno) - 1
        inner = (*headers, statement.lineno - 1)
        blocks = _blocks_of(statement)
        for expression in _own_expressions(statement):
            end = last if not blocks else (expression.end_lineno or expression.lineno) - 1
            for node in walk_tree(expression):
                if isinstance(node, ast.Call):
                    found.append(Surroundings(Body.span(node), (first, end), headers, handler))
        for kind, block in blocks:
            begin = first if kind == "with" else block[0].lineno - 1
            _block(
                block,
                begin if kind == "with" else _behind_header(statement, begin),
                headers if kind == "with" else inner,
                statement.lineno - 1 if kind == "except" else handler,
                found,
            )


def _behind_header(statement: ast.stmt, begin: int) -> int:
    """Comments above a block's first statement belong to the block: it begins behind its header."""
    before = [
        (block[-1].end_lineno or 0)
        for _, block in _blocks_of(statement)
        if (block[-1].end_lineno or 0) - 1 < begin
    ]
    return max([statement.lineno, *before]) if begin >= statement.lineno else begin


def _blocks_of(statement: ast.stmt) -> list[tuple[str, list[ast.stmt]]]:
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return [("with", statement.body)]
    if isinstance(statement, ast.Try):
        parts = [("try", statement.body), ("else", statement.orelse), ("finally", statement.finalbody)]
        parts += [("except", handler.body) for handler in statement.handlers]
        return [(kind, block) for kind, block in parts if block]
    if isinstance(statement, ast.Match):
        return [("case", case.body) for case in statement.cases]
    blocks = [getattr(statement, name, None) for name in ("body", "orelse")]
    return [("block", block) for block in blocks if isinstance(block, list) and block]


def _own_expressions(statement: ast.stmt) -> list[ast.expr]:
    """The expressions of a statement that are in none of its blocks."""
    return [
        child
        for node in child_nodes(statement)
        for child in ([node] if isinstance(node, ast.expr) else _of_with(node))
    ]


def _of_with(node: ast.AST) -> list[ast.expr]:
    return [node.context_expr] if isinstance(node, ast.withitem) else []
