"""Expressions without their places: whether two of them are written alike."""

from __future__ import annotations

from analyzers.facts.model import (
    Attribute,
    Call,
    Collection,
    Constant,
    Either,
    Expr,
    Lambda,
    Mapping,
    Reference,
    Starred,
    Subscript,
)


def shape(expr: Expr | None) -> object | None:
    """A value that is equal for expressions that are written alike; None where some part is opaque."""
    if expr is None:
        return ("nothing",)
    if isinstance(expr, Constant):
        return ("constant", type(expr.value).__name__, repr(expr.value))
    if isinstance(expr, Reference):
        return ("name", expr.dotted)
    if isinstance(expr, Attribute):
        return _of("attribute", expr.name, shape(expr.base))
    if isinstance(expr, Subscript):
        return _of("item", shape(expr.base), shape(expr.index))
    if isinstance(expr, Collection):
        return _of(expr.kind, *map(shape, expr.items))
    if isinstance(expr, Mapping):
        return _of("dict", *(shape(part) for item in expr.items for part in item))
    if isinstance(expr, Starred):
        return _of("starred", shape(expr.value))
    if isinstance(expr, Lambda):
        return _of("lambda", shape(expr.body))
    if isinstance(expr, Either):
        return _of("either", shape(expr.body), shape(expr.orelse))
    if isinstance(expr, Call):
        keywords = (_of(k.name or "**", shape(k.value)) for k in expr.keywords)
        return _of("call", shape(expr.function), *map(shape, expr.arguments), *keywords)
    return None


def _of(*parts: object) -> object | None:
    return None if any(part is None for part in parts) else parts
