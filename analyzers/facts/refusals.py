"""When a function refuses to run: its assertions, and the errors that it raises with their conditions."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.facts.bodies import Body


def refusals(body: Body) -> tuple[str, ...]:
    """The text of each `assert`, and of each `raise` together with the tests of the `if`s around it."""
    return tuple(_refusals(body.tree.body, ()))


def _refusals(statements: list[ast.stmt], tests: tuple[str, ...]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.Assert):
            yield ast.unparse(statement)
        elif isinstance(statement, ast.Raise):
            yield "\n".join((*tests, ast.unparse(statement)))
        within = (*tests, ast.unparse(statement.test)) if isinstance(statement, ast.If) else tests
        for name in ("body", "orelse", "finalbody"):
            block = getattr(statement, name, None)
            if block and not isinstance(statement, ast.ClassDef):
                yield from _refusals(block, within)
