"""The port's statement as the official line has it, where the two are written alike."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.numeric import statements
from analyzers.numeric.hypotheses.edits import Candidate
from analyzers.numeric.hypotheses.evidence import Evidence, Place
from analyzers.numeric.hypotheses.wiring import bound_before

_MOST = 6


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Where one expression of the two lines differs, the official one with the port's names."""
    for place in evidence.places:
        if place.near > 0:
            continue
        mine = _value(place.statement)
        for statement in evidence.official_statements:
            theirs = _value(statement)
            if mine is None or theirs is None:
                continue
            bound = bound_before(evidence, place)
            count = 0
            for depth, (own, other) in enumerate(_apart(mine, theirs)):
                text = _in_our_names(evidence, other, bound)
                if text is None or count == _MOST or _leaves_a_module(own, other):
                    continue
                count += 1
                shown = place.code.code(own)
                yield Candidate(
                    "as-official",
                    f"`{shown}` has to be `{text}`, as in the official model",
                    place.code.path,
                    (place.code.replacing(own, _fitting(place, own, text, other)),),
                    0.7 + 0.1 * depth + min(len(text), 100) / 400,
                )


def _leaves_a_module(own: ast.expr, other: ast.expr) -> bool:
    """Whether the official expression goes around a module that the port calls."""
    ours, theirs = (
        {
            node.func.attr
            for node in ast.walk(each)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "self"
        }
        for each in (own, other)
    )
    return bool(ours - theirs)


def _value(statement: ast.stmt) -> ast.expr | None:
    value = getattr(statement, "value", None)
    return value if isinstance(value, ast.expr) else None


def _apart(one: ast.expr, other: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """The smallest expressions that differ, and those around them."""
    if ast.dump(one) == ast.dump(other):
        return
    if type(one) is type(other):
        ours, theirs = _parts(one), _parts(other)
        if len(ours) == len(theirs):
            for mine, their in zip(ours, theirs, strict=True):
                yield from _apart(mine, their)
    yield one, other


def _parts(node: ast.expr) -> list[ast.expr]:
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _in_our_names(evidence: Evidence, node: ast.expr, bound: frozenset[str]) -> str | None:
    """The expression with the port's variables; None where it reads what the port does not have."""
    copy = ast.parse(ast.unparse(node), mode="eval").body
    for name in [each for each in ast.walk(copy) if isinstance(each, ast.Name)]:
        ours = evidence.renamed.get(name.id, name.id)
        if "." in ours or (ours not in bound and ours not in ("self", "torch", "F")):
            return None
        name.id = ours
    for attribute in statements.attributes_in(copy):
        if not _has_attribute(evidence, attribute):
            return None
    return ast.unparse(copy)


def _has_attribute(evidence: Evidence, name: str) -> bool:
    spot = evidence.divergence.native
    if spot.path is None or spot.line is None:
        return False
    return evidence.sources.attribute(spot.path, spot.line, name) is not None


def _fitting(place: Place, node: ast.expr, text: str, other: ast.expr) -> str:
    around = place.code.parents.get(node)
    loose = isinstance(other, (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp))
    inside = isinstance(around, (ast.BinOp, ast.UnaryOp, ast.Attribute, ast.Subscript))
    return f"({text})" if loose and inside else text
