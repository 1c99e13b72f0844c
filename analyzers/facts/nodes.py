"""What a syntax node says by itself, whatever surrounds it."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from analyzers.facts.expressions import convert, dotted_name, span_of
from analyzers.facts.model import Parameter, Use
from analyzers.facts.scope import OTHER
from analyzers.findings import Span


def takes_anything(node: ast.UnaryOp | ast.Compare) -> bool:
    """Whether the operator asks nothing of its operands: `not`, `is`, `in`."""
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    if isinstance(node, ast.Compare):
        return all(isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in node.ops)
    return False


def use_by(targets: list[ast.expr]) -> Use:
    """What an assignment to these targets does with its value."""
    if len(targets) != 1:
        return OTHER
    target = targets[0]
    if isinstance(target, ast.Name):
        return Use("name", target.id)
    if isinstance(target, (ast.Tuple, ast.List)):
        starred = any(isinstance(e, ast.Starred) for e in target.elts)
        return Use("unpack", None if starred else len(target.elts))
    return Use("store", dotted_name(target))


def elements(target: ast.expr) -> Iterable[ast.expr]:
    """The single targets within a tuple or list target."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            inner = element.value if isinstance(element, ast.Starred) else element
            if isinstance(inner, (ast.Tuple, ast.List)):
                yield from elements(inner)
            else:
                yield inner


def changed_name(target: ast.expr) -> str | None:
    """`name` for a store to `name[key]` or `name.attribute`, else None."""
    if isinstance(target, (ast.Subscript, ast.Attribute)) and isinstance(target.value, ast.Name):
        return target.value.id
    return None


def definition_span(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Span:
    """From the first decorator to the end of the body."""
    span = span_of(node)
    if not node.decorator_list:
        return span
    first = span_of(node.decorator_list[0])
    return Span(first.line, max(first.column - 1, 0), span.end_line, span.end_column)


def parameters_of(arguments: ast.arguments) -> Iterable[Parameter]:
    """The parameters of a function in their order."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*([None] * missing), *arguments.defaults]
    for index, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        kind = "positional" if index < len(arguments.posonlyargs) else "any"
        yield _parameter(argument, kind, default)
    if arguments.vararg is not None:
        yield _parameter(arguments.vararg, "variadic", None)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _parameter(argument, "keyword", default)
    if arguments.kwarg is not None:
        yield _parameter(arguments.kwarg, "keywords", None)


def _parameter(argument: ast.arg, kind: str, default: ast.expr | None) -> Parameter:
    return Parameter(
        argument.arg,
        kind,
        convert(default) if default is not None else None,
        convert(argument.annotation) if argument.annotation is not None else None,
    )


def catches_import_error(handler: ast.ExceptHandler) -> bool:
    """Whether a failed import may end here; a name that is no built-in exception may stand for it."""
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    for kind in kinds:
        known = getattr(builtins, kind.id, None) if isinstance(kind, ast.Name) else None
        if not isinstance(known, type) or issubclass(ModuleNotFoundError, known):
            return True
    return False


def is_type_checking(test: ast.expr) -> bool:
    """Whether a condition holds for type checkers alone."""
    return dotted_name(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING")
