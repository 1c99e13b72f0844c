"""Signs, the `1 +` of a modulation, and terms that are lacking or too many."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from analyzers.numeric import operands
from analyzers.numeric.hypotheses.edits import Candidate, Replacement, bracketed
from analyzers.numeric.hypotheses.evidence import Evidence, Place
from analyzers.numeric.hypotheses.wiring import bound_before
from analyzers.numeric.records import Operation

_SIGNS = {ast.Add: "-", ast.Sub: "+"}
_TERMS = {"add": "+", "mul": "*", "sub": "-", "div": "/"}
_FUNCTIONS = ("silu", "gelu", "relu", "tanh", "sigmoid", "softplus")


def candidates(evidence: Evidence) -> Iterator[Candidate]:
    """Small changes of what the likely statements compute."""
    lacking = [change for change in evidence.changes if change.kind == "lacking" and change.official]
    for place in evidence.places:
        yield from _one_plus(evidence, place)
        yield from _signs(evidence, place)
        yield from _too_many(evidence, place)
        for change in lacking:
            yield from _lacking(evidence, place, change.values[0], change.official)


def _one_plus(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    code = place.code
    adds = any(
        change.official is not None
        and operands.canonical(change.official) == "add"
        and any(operands.parsed(c.text) == 1 for c in operands.constants(change.official))
        for change in evidence.changes
    )
    for node in place.nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            for operand in (node.right, node.left):
                if isinstance(operand, ast.Constant):
                    continue
                yield _candidate(
                    "one-plus-scale",
                    f"`{code.code(operand)}` has to be `1 + {code.code(operand)}`",
                    place,
                    code.replacing(operand, f"(1 + {bracketed(code, operand)})"),
                    0.3 if adds else 2.0,
                )
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if isinstance(one, ast.Constant) and one.value in (1, 1.0):
                    yield _candidate(
                        "one-plus-scale",
                        f"`{code.code(node)}` has to be `{code.code(other)}`, without 1",
                        place,
                        code.replacing_whole(node, bracketed(code, other)),
                        0.9,
                    )


def _signs(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    code = place.code
    negates = any(
        operation is not None and operands.canonical(operation) in ("neg", "sub")
        for change in evidence.changes
        for operation in (change.native, change.official)
    )
    rank = 0.7 if negates else 2.1
    for node in place.nodes:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if isinstance(node.operand, ast.Constant):
                continue
            yield _candidate(
                "sign",
                f"`{code.code(node)}` has to be `{code.code(node.operand)}`, without the sign",
                place,
                code.replacing(node, bracketed(code, node.operand)),
                rank,
            )
        elif isinstance(node, ast.BinOp) and type(node.op) in _SIGNS:
            sign = _SIGNS[type(node.op)]
            text = f"{code.code(node.left)} {sign} {code.code(node.right)}"
            if isinstance(node.right, ast.BinOp) and isinstance(node.right.op, (ast.Add, ast.Sub)):
                text = f"{code.code(node.left)} {sign} ({code.code(node.right)})"
            yield _candidate(
                "sign",
                f"`{code.code(node)}` has to be `{text}`",
                place,
                _operator(place, node, sign),
                rank,
            )
        elif isinstance(node, ast.AugAssign) and type(node.op) in _SIGNS:
            continue  # a statement, handled where statements are
        elif negates and isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and _is_read(node):
            if isinstance(code.parents.get(node), (ast.Attribute, ast.Call)) and _is_callee(place, node):
                continue
            yield _candidate(
                "sign",
                f"`{code.code(node)}` has to be `-{code.code(node)}`",
                place,
                code.replacing(node, f"(-{code.code(node)})"),
                1.0,
            )


def _too_many(evidence: Evidence, place: Place) -> Iterator[Candidate]:
    """One operand of an operation alone, and what a function was given in place of its result."""
    code = place.code
    extra = {
        operands.canonical(change.native)
        for change in evidence.changes
        if change.native is not None and change.kind in ("extra", "operation")
    }
    names = {"add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "div": ast.Div}
    kinds = tuple(kind for name, kind in names.items() if name in extra)
    for node in place.nodes:
        if isinstance(node, ast.BinOp):
            hinted = bool(kinds) and isinstance(node.op, kinds)
            for kept, gone in ((node.left, node.right), (node.right, node.left)):
                yield _candidate(
                    "extra-term",
                    f"`{code.code(node)}` has to be `{code.code(kept)}`: the official model has no "
                    f"`{code.code(gone)}` here",
                    place,
                    code.replacing_whole(node, bracketed(code, kept)),
                    0.8 if hinted else 2.6,
                )
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            hinted = name.rstrip("_") in extra
            # `x.f()` works on x, `F.f(x)` and `self.f(x)` on the argument.
            part = node.args[0] if node.args and not isinstance(node.args[0], ast.Starred) else None
            if isinstance(node.func, ast.Attribute) and not _is_way(node.func.value):
                part = node.func.value
            if part is not None:
                yield _candidate(
                    "extra-operation",
                    f"`{code.code(node)}` has to be `{code.code(part)}`, without `{name}`",
                    place,
                    code.replacing(node, code.code(part)),
                    0.5 if hinted else 2.7,
                )


def _lacking(evidence: Evidence, place: Place, value: int, official: Operation | None) -> Iterator[Candidate]:
    """A term of the official model whose value the port holds, or a function of one value."""
    if official is None:
        return
    name = operands.canonical(official)
    held = _names_of_native(evidence, value)
    bound = bound_before(evidence, place)
    terms: list[tuple[str, str]] = []
    if name in _TERMS:
        for operand in operands.tensors(official):
            known = evidence.names_of(operand.value) if operand.value is not None else ()
            own = tuple(name for name in (operand.variable, *operand.held) if name in bound)
            for variable in dict.fromkeys(known or own):
                if variable is not None and variable not in held:
                    terms.append((f" {_TERMS[name]} {variable}", variable))
        for constant in operands.constants(official):
            value_of = operands.parsed(constant.text)
            neutral = value_of in ((1, 1.0) if name in ("mul", "div") else (0, 0.0))
            if constant.place != "alpha" and isinstance(value_of, (int, float)) and not neutral:
                terms.append((f" {_TERMS[name]} {constant.text}", constant.text))
    code = place.code
    for node in place.nodes:
        if isinstance(node, (ast.Name, ast.Attribute)) and _is_read(node) and code.code(node) in held:
            yield from _completed(evidence, place, node, name, terms, whole=False)
    assigned = _assigned(place.statement)
    if assigned is not None:
        yield from _completed(evidence, place, assigned, name, terms, whole=True)


def _completed(
    evidence: Evidence, place: Place, node: ast.expr, name: str, terms: list[tuple[str, str]], *, whole: bool
) -> Iterator[Candidate]:
    """An expression with each of the terms, and in the function of that name. `whole`: it is all that its
    statement computes, and no part of it."""
    code = place.code
    text, rank = code.code(node), 0.6 if whole else 0.4
    for term, variable in terms:
        if variable == text:
            continue
        said = f"`{term.strip()}` is lacking" if whole else f"`{text}` has to be `{text}{term}`"
        completed = f"{bracketed(code, node)}{term}"
        yield _candidate(
            "lacking-term",
            f"{said}: the official model has `{variable}` here",
            place,
            code.replacing(node, completed if whole else f"({completed})"),
            rank,
        )
    if name in _FUNCTIONS:
        yield _candidate(
            "lacking-operation",
            f"`{name}` is lacking, which the official model applies here"
            if whole
            else f"`{name}` has to be applied to `{text}`, as in the official model",
            place,
            code.replacing(node, f"{_functional(evidence, place)}.{name}({text})"),
            rank,
        )


def _functional(evidence: Evidence, place: Place) -> str:
    """How the file reaches the functions of torch."""
    for node in place.code.tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "torch.nn.functional" and alias.asname:
                    return alias.asname
    return "torch.nn.functional"


def _names_of_native(evidence: Evidence, value: int) -> frozenset[str]:
    names: set[str] = set()
    for operation in evidence.operations.native.operations:
        at = evidence.native.frame(operation)
        for operand in operation.operands:
            if operand.value == value:
                held = operand.held[at] if at is not None and at < len(operand.held) else operand.variable
                if held is not None:
                    names.add(held)
    return frozenset(names)


def _operator(place: Place, node: ast.BinOp, sign: str) -> Replacement:
    """The operator's own bytes."""
    code = place.code
    start, end = code.span(node.left)[1], code.span(node.right)[0]
    between = code.text.encode()[start:end]
    at = next(position for position, byte in enumerate(between) if byte in b"+-")
    return Replacement(start + at, start + at + 1, sign)


def _assigned(statement: ast.stmt) -> ast.expr | None:
    if isinstance(statement, (ast.Assign, ast.Return)) and statement.value is not None:
        return None if isinstance(statement.value, ast.Tuple) else statement.value
    return None


def _is_read(node: ast.expr) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load)


def _is_callee(place: Place, node: ast.expr) -> bool:
    """Whether a name is only the way to something that is called, or to an attribute."""
    around = place.code.parents.get(node)
    return isinstance(around, ast.Attribute) or (isinstance(around, ast.Call) and around.func is node)


def _is_way(node: ast.expr) -> bool:
    """Whether a name holds functions or modules rather than a value."""
    root = node
    while isinstance(root, (ast.Attribute, ast.Subscript)):
        root = root.value
    return isinstance(root, ast.Name) and root.id in ("self", "torch", "nn", "F", "math")


def _candidate(cause: str, message: str, place: Place, edit: Replacement, rank: float) -> Candidate:
    return Candidate(cause, message, place.code.path, (edit,), place.near * 1.2 + rank)
