"""Syntax of an expression -> the small vocabulary of `analyzers.facts.model.Expr`."""

from __future__ import annotations

import ast

from analyzers.facts.comprehensions import written_out
from analyzers.facts.model import (
    Attribute,
    Call,
    Collection,
    Constant,
    Either,
    Expr,
    Keyword,
    Lambda,
    Mapping,
    Opaque,
    Reference,
    Starred,
    Subscript,
)
from analyzers.findings import Span

MAXIMUM_DEPTH = 24
"""Deeper nesting becomes `Opaque`: no rule looks there, and hostile input must not exhaust the stack."""


def span_of(node: ast.expr | ast.stmt | ast.excepthandler | ast.keyword | ast.alias | ast.arg) -> Span:
    """The stretch of a node, relative to the text that was parsed."""
    end, column = node.end_lineno, node.end_col_offset
    assert end is not None
    assert column is not None
    return Span(node.lineno - 1, node.col_offset, end - 1, column)


def dotted_name(node: ast.AST) -> str | None:
    """`a.b.c` for a chain of attributes that starts at a name, else None."""
    if node.__class__ is ast.Name:
        return node.id
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    names.append(node.id)
    return ".".join(reversed(names))


def convert(node: ast.expr, depth: int = MAXIMUM_DEPTH) -> Expr:
    """The facts of an expression; what the vocabulary has no word for, or lies deeper, is `Opaque`."""
    span = span_of(node)
    # The four kinds that nearly all expressions are, before the rest.
    if isinstance(node, ast.Name):
        return Reference(node.id, span)
    if isinstance(node, ast.Constant):
        return Constant(node.value, span)
    if isinstance(node, ast.Attribute):
        dotted = dotted_name(node)
        if dotted is not None:
            return Reference(dotted, span)
    if depth <= 0:
        return Opaque(type(node).__name__, span)
    inner = depth - 1
    if isinstance(node, ast.Attribute):
        return Attribute(convert(node.value, inner), node.attr, span)
    if isinstance(node, ast.Call):
        return Call(
            convert(node.func, inner),
            tuple(convert(a, inner) for a in node.args),
            tuple(Keyword(k.arg, convert(k.value, inner), span_of(k)) for k in node.keywords),
            span,
        )
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = type(node).__name__.lower()
        return Collection(kind, tuple(convert(e, inner) for e in node.elts), span)
    if isinstance(node, ast.Dict):
        return Mapping(
            tuple(
                (convert(k, inner) if k is not None else None, convert(v, inner))
                for k, v in zip(node.keys, node.values, strict=True)
            ),
            span,
        )
    if isinstance(node, ast.DictComp):
        items = written_out(node)
        if items is not None:
            return Mapping(tuple((convert(k, inner), convert(v, inner)) for k, v in items), span)
    if isinstance(node, ast.Starred):
        return Starred(convert(node.value, inner), span)
    if isinstance(node, ast.Subscript):
        return Subscript(convert(node.value, inner), convert(node.slice, inner), span)
    if isinstance(node, ast.IfExp):
        return Either(convert(node.body, inner), convert(node.orelse, inner), span)
    if isinstance(node, ast.Lambda):
        return Lambda(convert(node.body, inner), span)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = node.operand.value if isinstance(node.operand, ast.Constant) else None
        if isinstance(value, (int, float, complex)) and not isinstance(value, bool):
            return Constant(-value, span)
    if isinstance(node, ast.BinOp):
        text = _sum_of_strings(node)
        if text is not None:
            return Constant(text, span)
        merged = _merged_dicts(node)
        if merged is not None:
            return Mapping(tuple((None, convert(part, inner)) for part in merged), span)
    return Opaque(type(node).__name__, span)


def _sum_of_strings(node: ast.BinOp) -> str | None:
    """`"a" + "b" + ...`, or None where some term is no string literal."""
    parts: list[str] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
        right = left.right
        if not (isinstance(right, ast.Constant) and isinstance(right.value, str)):
            return None
        parts.append(right.value)
        left = left.left
    if not (isinstance(left, ast.Constant) and isinstance(left.value, str)):
        return None
    parts.append(left.value)
    return "".join(reversed(parts))


def _merged_dicts(node: ast.BinOp) -> list[ast.expr] | None:
    """The parts of `a | {...} | b`, or None where no part is a display that makes it a dict."""
    parts: list[ast.expr] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.BitOr):
        parts.append(left.right)
        left = left.left
    parts.append(left)
    return parts[::-1] if any(isinstance(part, ast.Dict) for part in parts) else None
