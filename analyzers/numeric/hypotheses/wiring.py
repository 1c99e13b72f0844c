"""Right values in wrong roles: swapped names, swapped arguments, and variables taken for others."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import TypeGuard

from analyzers.numeric import operands
from analyzers.numeric.hypotheses.edits import Candidate, Replacement
from analyzers.numeric.hypotheses.evidence import Evidence, Place

_JOINS = frozenset({"cat", "concat", "concatenate", "stack", "hstack", "vstack"})
_MOST_NAMES = 4


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Names exchanged in the likely statements; values tell which come first."""
    meant = _meant(evidence)
    wrong = {name for name, _ in meant}
    for place in evidence.places:
        yield from _taken_for(place, meant)
        yield from _unpackings(evidence, place, meant)
        yield from _exchanges(place, meant)
        yield from _joins(place)
        if place.near < 2:
            yield from _arguments(place)
            yield from _other_names(evidence, place, wrong)


def _meant(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """Variables that were used, and those that hold what the official model uses in their place."""
    found: dict[tuple[str, str], None] = {}
    for change in evidence.changes:
        if change.kind != "operand" or change.user is None:
            continue
        at = evidence.native.frame(change.user)
        taken = operands.tensors(change.user)
        if at is None or change.position >= len(taken):
            continue
        held = taken[change.position].held
        ours = held[at] if at < len(held) else taken[change.position].variable
        for right in evidence.names_of(change.values[1]):
            if ours is not None and right != ours:
                found[ours, right] = None
    return tuple(found)


def _taken_for(place: Place, meant: Sequence[tuple[str, str]]) -> Iterator[Candidate]:
    for wrong, right in meant:
        uses = [node for node in place.nodes if isinstance(node, ast.expr) and _reads(place, node, wrong)]
        for node in uses:
            yield Candidate(
                "wrong-variable",
                f"`{right}` has to be taken where `{wrong}` is: it holds what the official model uses",
                place.code.path,
                (place.code.replacing(node, right),),
                place.near * 1.2 + 0.2,
            )


def _unpackings(evidence: Evidence, place: Place, meant: Sequence[tuple[str, str]]) -> Iterator[Candidate]:
    """Two names of an unpacking exchanged; the official order, where it has the same names."""
    for target in _targets(place.statement):
        names = [place.code.code(each) for each in target.elts]
        for order in _official_orders(evidence, names):
            edits = tuple(
                place.code.replacing(node, name)
                for node, name, old in zip(target.elts, order, names, strict=True)
                if name != old
            )
            if edits:
                yield Candidate(
                    "chunk-order",
                    f"the parts have to be unpacked as {', '.join(order)}, as in the official model",
                    place.code.path,
                    edits,
                    place.near * 0.6 + 0.2,
                )
        for (i, one), (j, other) in combinations(enumerate(target.elts), 2):
            if "_" in (names[i], names[j]):
                continue
            known = (names[i], names[j]) in meant or (names[j], names[i]) in meant
            suspected = bool({names[i], names[j]} & evidence.suspects)
            likely = 0.6 + 0.02 * (j - i) if suspected else place.near * 1.2 + 1.4 + 0.1 * (j - i)
            yield Candidate(
                "chunk-order",
                f"`{names[i]}` and `{names[j]}` have to be exchanged in the unpacking",
                place.code.path,
                (place.code.replacing(one, names[j]), place.code.replacing(other, names[i])),
                0.1 if known else likely + 0.01 * i,
            )


def _official_orders(evidence: Evidence, names: Sequence[str]) -> Iterator[Sequence[str]]:
    for statement in evidence.official_statements:
        for target in _targets(statement):
            theirs = [ast.unparse(each) for each in target.elts]
            renamed = [evidence.renamed.get(name, name) for name in theirs]
            for order in (theirs, renamed):
                if list(order) != list(names) and sorted(order) == sorted(names):
                    yield order


def _exchanges(place: Place, meant: Sequence[tuple[str, str]]) -> Iterator[Candidate]:
    """Two variables exchanged throughout a statement."""
    names = list(dict.fromkeys(node.id for node in place.nodes if _is_value(node, place)))
    for one, other in combinations(names[:8], 2):
        edits: list[Replacement] = []
        for node in (each for each in place.nodes if isinstance(each, ast.expr)):
            if _reads(place, node, one):
                edits.append(place.code.replacing(node, other))
            elif _reads(place, node, other):
                edits.append(place.code.replacing(node, one))
        known = (one, other) in meant or (other, one) in meant
        yield Candidate(
            "swapped-operands",
            f"`{one}` and `{other}` have to be exchanged",
            place.code.path,
            tuple(edits),
            place.near * 1.2 + (0.7 if known else 2.2),
        )


def _joins(place: Place) -> Iterator[Candidate]:
    for call in (node for node in place.nodes if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name not in _JOINS or not call.args or not isinstance(call.args[0], (ast.List, ast.Tuple)):
            continue
        for one, other in combinations(call.args[0].elts, 2):
            first, second = place.code.code(one), place.code.code(other)
            yield Candidate(
                "swapped-operands",
                f"`{first}` and `{second}` have to be exchanged in what is joined",
                place.code.path,
                (place.code.replacing(one, second), place.code.replacing(other, first)),
                place.near * 0.6 + 0.8,
            )


def _arguments(place: Place) -> Iterator[Candidate]:
    """Neighbouring arguments of a call, and the operands of what is not commutative."""
    for node in place.nodes:
        pairs: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, ast.Call):
            pairs = [*pairwise(node.args)]
            values = [keyword.value for keyword in node.keywords if isinstance(keyword.value, ast.Name)]
            pairs += [*pairwise(values)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult)):
            pairs = [(node.left, node.right)]
        elif isinstance(node, (ast.Tuple, ast.List)) and isinstance(node.ctx, ast.Load):
            pairs = [*pairwise(node.elts)]
        for one, other in pairs:
            first, second = place.code.code(one), place.code.code(other)
            if first == second or isinstance(one, ast.Starred) or isinstance(other, ast.Starred):
                continue
            yield Candidate(
                "swapped-operands",
                f"`{first}` and `{second}` have to be exchanged",
                place.code.path,
                (place.code.replacing(one, second), place.code.replacing(other, first)),
                place.near * 1.2 + 2.4,
            )


def _other_names(evidence: Evidence, place: Place, wrong: set[str]) -> Iterator[Candidate]:
    """A variable for one of the same statement's other names, or of the official statement's."""
    theirs = {
        evidence.renamed.get(node.id, node.id)
        for statement in evidence.official_statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    mine = [node for node in place.nodes if _is_value(node, place)]
    own = {node.id for node in mine}
    bound = bound_before(evidence, place)
    for node in mine:
        if node.id not in bound:
            continue
        others = [name for name in sorted(theirs & bound) if name not in own][:_MOST_NAMES]
        for name in others:
            yield Candidate(
                "wrong-variable",
                f"`{name}` has to be taken where `{node.id}` is, as in the official model",
                place.code.path,
                (place.code.replacing(node, name),),
                place.near * 1.2 + (0.8 if node.id not in theirs or node.id in wrong else 1.9),
            )


def bound_before(evidence: Evidence, place: Place) -> frozenset[str]:
    """The local variables that a statement may read."""
    function = evidence.sources.function(place.code.path, place.statement.lineno - 1)
    if function is None:
        return frozenset()
    names = {
        each.arg for each in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    }
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.lineno <= place.statement.lineno
        ):
            names.add(node.id)
    return frozenset(names - {"self"})


def _targets(statement: ast.stmt) -> Iterator[ast.Tuple]:
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in target.elts):
                yield target


def _is_value(node: ast.AST, place: Place) -> TypeGuard[ast.Name]:
    """Whether a variable is read for what it holds, and neither called nor the way to something called."""
    if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load) or node.id == "self":
        return False
    around = place.code.parents.get(node)
    if isinstance(around, ast.Call):
        return around.func is not node
    return not (isinstance(around, ast.Attribute) and node.id in ("torch", "nn", "F", "math", "np"))


def _reads(place: Place, node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Load)
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and name.startswith("self.")
        and place.code.code(node) == name
    )
