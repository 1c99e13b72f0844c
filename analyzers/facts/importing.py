"""Which calls run while a module is imported: its statements, class bodies, decorators and defaults."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from analyzers.facts.expressions import dotted_name
from analyzers.facts.nodes import is_type_checking
from analyzers.facts.walking import child_nodes

_DECLARATIONS = frozenset({"field", "dataclass", "dataclasses.field", "dataclasses.dataclass"})
"""They make a class what it is, are in every config, and touch nothing outside of it."""


def calls_at_import(module: ast.Module) -> Iterator[ast.Call]:
    """The calls that importing the module runs, in the order of the text; what is under
    `if __name__ == "__main__"` or `if TYPE_CHECKING` is not."""
    for statement in module.body:
        yield from calls_run([statement])


def calls_run(statements: Iterable[ast.AST], *, certain: bool = False) -> Iterator[ast.Call]:
    """The calls that run with these statements, the bodies of functions and lambdas left out.

    `certain`: also without what stands in a branch, a loop or a handler, which may not run.
    """
    for node in statements:
        if isinstance(node, ast.Lambda):
            yield from calls_run(_defaults(node.args), certain=certain)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from calls_run([*node.decorator_list, *_defaults(node.args)], certain=certain)
        elif isinstance(node, ast.If):
            yield from calls_run([node.test], certain=certain)
            if not certain:
                taken = [] if _never_at_import(node.test) else node.body
                yield from calls_run([*taken, *node.orelse], certain=certain)
        elif certain and isinstance(node, (ast.For, ast.AsyncFor)):
            yield from calls_run([node.iter], certain=certain)
        elif certain and isinstance(node, ast.While):
            yield from calls_run([node.test], certain=certain)
        elif certain and isinstance(node, (ast.IfExp, ast.BoolOp)):
            first = node.test if isinstance(node, ast.IfExp) else node.values[0]
            yield from calls_run([first], certain=certain)
        elif certain and isinstance(node, (ast.ExceptHandler, ast.Match, ast.GeneratorExp)):
            continue
        else:
            if isinstance(node, ast.Call) and dotted_name(node.func) not in _DECLARATIONS:
                yield node
            yield from calls_run(child_nodes(node), certain=certain)


def _defaults(arguments: ast.arguments) -> list[ast.AST]:
    return [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]


def _never_at_import(test: ast.expr) -> bool:
    if is_type_checking(test):
        return True
    return (
        isinstance(test, ast.Compare)
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
        and any(
            isinstance(side, ast.Name) and side.id == "__name__" for side in (test.left, *test.comparators)
        )
    )
