"""Casts that are lacking, too many, or at the wrong moment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from analyzers.numeric import operands
from analyzers.numeric.hypotheses.edits import Candidate, Replacement, bracketed
from analyzers.numeric.hypotheses.evidence import Evidence, Place

_CASTS = frozenset({"float", "half", "bfloat16", "double", "to", "type_as", "type"})


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Other casts in the likely statements. Where dtypes are not what differs, only those that cut a value
    down (`.bool()`, `.long()`) could matter, and operations show them."""
    about_dtypes = evidence.divergence.kind == "dtype" or any(
        operation is not None and operands.canonical(operation) in operands.CAST
        for change in evidence.changes
        for operation in (change.native, change.official)
    )
    if not about_dtypes:
        return
    later = 0.0 if evidence.divergence.kind == "dtype" else 1.5
    for place in evidence.places:
        for candidate in _at(place):
            yield replace(candidate, rank=candidate.rank + later)


def _at(place: Place) -> Iterator[Candidate]:
    for node in place.nodes:
        if isinstance(node, ast.Call):
            yield from _around_call(place, node)
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)):
            yield from _added(place, node)
        if isinstance(node, ast.BinOp):
            yield _edit(
                "cast",
                f"`{place.code.code(node)}` has to be cast to float32",
                place,
                place.code.replacing(node, f"({place.code.code(node)}).float()"),
                2.4,
            )


def _around_call(place: Place, node: ast.Call) -> Iterator[Candidate]:
    code, func = place.code, node.func
    method = code.method(node)
    if (
        method is not None
        and isinstance(func, ast.Attribute)
        and func.attr in _CASTS
        and not _is_module(func.value)
    ):
        cast, removed = method
        yield _edit(
            "cast", f"`{cast}` is too much here: the official model does not cast", place, removed, 1.0
        )
        yield from _moved_in(place, func.value, cast, removed)
        return
    for argument in node.args:
        if not isinstance(argument, ast.Call) or not isinstance(argument.func, ast.Attribute):
            continue
        given = code.method(argument)
        if argument.func.attr in _CASTS and given is not None:
            end = code.span(node)[1]
            yield Candidate(
                "cast-order",
                f"`{given[0]}` has to come after `{_name(func)}`, not before it",
                code.path,
                (given[1], Replacement(end, end, given[0])),
                place.near * 1.2 + 1.2,
            )
    if isinstance(func, (ast.Attribute, ast.Name)):
        first = node.args[0] if node.args else None
        if isinstance(first, (ast.Name, ast.Attribute)) and not isinstance(func, ast.Name):
            text = code.code(first)
            yield Candidate(
                "cast",
                f"`{text}` has to be cast to float32 for `{_name(func)}`, and the result back",
                code.path,
                (
                    code.replacing(first, f"{text}.float()"),
                    Replacement(code.span(node)[1], code.span(node)[1], f".to({text}.dtype)"),
                ),
                place.near * 1.2 + 1.5,
            )
        yield _edit(
            "cast",
            f"the result of `{_name(func)}` has to be cast to float32",
            place,
            code.replacing(node, f"{code.code(node)}.float()"),
            1.8,
        )


def _moved_in(place: Place, inner: ast.expr, cast: str, removed: Replacement) -> Iterator[Candidate]:
    """The cast of a result becomes one of what the result is computed from."""
    code = place.code
    if isinstance(inner, ast.Call) and inner.args:
        parts: list[tuple[ast.expr, ...]] = [(inner.args[0],)]
    elif isinstance(inner, ast.BinOp):
        parts = [(inner.left, inner.right), (inner.left,), (inner.right,)]
    else:
        return
    for position, chosen in enumerate(parts):
        edits = [code.replacing(each, f"{bracketed(code, each)}{cast}") for each in chosen]
        yield Candidate(
            "cast-order",
            f"`{cast}` has to come before `{code.code(inner)}` is computed, not after it",
            code.path,
            (*edits, removed),
            place.near * 1.2 + 1.1 + 0.05 * position,
        )


def _added(place: Place, node: ast.Name | ast.Attribute | ast.Subscript) -> Iterator[Candidate]:
    code = place.code
    around = code.parents.get(node)
    if not isinstance(node.ctx, ast.Load) or isinstance(around, (ast.Attribute, ast.keyword)):
        return
    if isinstance(around, ast.Call) and around.func is node:
        return
    text = code.code(node)
    yield _edit(
        "cast", f"`{text}` has to be cast to float32", place, code.replacing(node, f"{text}.float()"), 1.4
    )


def _name(func: ast.expr) -> str:
    return ast.unparse(func)


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "nn", "F")


def _edit(cause: str, message: str, place: Place, edit: Replacement, rank: float) -> Candidate:
    return Candidate(cause, message, place.code.path, (edit,), place.near * 1.2 + rank)
