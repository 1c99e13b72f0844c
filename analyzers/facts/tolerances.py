"""The tolerances with which one function compares, as far as they stand in it.

A tolerance is a number, or a name that is given elsewhere: a parameter, or a constant of the module.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.name_uses import parameters, tail
from analyzers.facts.walking import walk_tree
from analyzers.findings import Span

_COMPARING = frozenset({"assert_close", "allclose", "assert_allclose", "isclose"})
_LARGEST = re.compile(r"max|amax|abs_diff|inf", re.IGNORECASE)
_DIFFERENCE = re.compile(r"diff|err|delta|drift|dist", re.IGNORECASE)
_AVERAGE = re.compile(
    r"mean|avg|rel|ratio|norm|median|percent|cos|p\d\d|quantile|frac|mse|rms", re.IGNORECASE
)

_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
}


@dataclass(frozen=True)
class Tolerance:
    """A tolerance of a comparison, `relative` to the size of what is compared or absolute.

    `value`: the number; None where `name` is given elsewhere, under `key` where that is a mapping.
    `span`: where it stands, `statement`: the statement around it, both relative to the function's
    first line.
    """

    value: float | None
    name: str | None
    span: Span
    statement: Span
    relative: bool = False
    key: str | None = None


@dataclass(frozen=True)
class Given:
    """What a function hands to a helper by keyword or by position, where that is a number or a name."""

    function: str
    keyword: str | None
    position: int | None
    value: float | None
    name: str | None
    span: Span
    statement: Span


@dataclass(frozen=True)
class Limits:
    """The tolerances of a function, what it hands on, and whether it limits an average of differences."""

    tolerances: tuple[Tolerance, ...]
    given: tuple[Given, ...]
    limits_average: bool


def limits(body: Body) -> Limits:
    """The tolerances of a function, functions inside it included."""
    tolerances: list[Tolerance] = []
    given: list[Given] = []
    average = False
    for statement in _simple_statements(body.tree):
        place = Body.span(statement)
        for node in walk_tree(statement) if not hasattr(statement, "body") else walk_tree(_head(statement)):
            if isinstance(node, ast.Call) and tail(node) in _COMPARING:
                tolerances += _of_comparison(body, node, place)
            elif isinstance(node, ast.Call):
                given += _handed_on(body, node, place)
        test = _condition(statement)
        for compare in walk_tree(test) if test is not None else ():
            if isinstance(compare, ast.Compare) and len(compare.ops) == 1:
                limit = _limit(compare)
                if limit is None:
                    continue
                told = _told(body, limit[0])
                if _AVERAGE.search(told):
                    average = True
                elif _DIFFERENCE.search(told) and _LARGEST.search(told):
                    tolerances += _read(body, limit[1], place)
    return Limits(tuple(tolerances), tuple(given), average)


def _of_comparison(body: Body, call: ast.Call, place: Span) -> list[Tolerance]:
    """The tolerances that a comparison is given by keyword, by position or by `**TOLERANCES`."""
    found: list[Tolerance] = []
    for name, position in (("atol", 3), ("rtol", 2)):
        given = next((k.value for k in call.keywords if k.arg == name), None)
        if given is None and tail(call) != "assert_close" and len(call.args) > position:
            given = call.args[position]
        if given is not None and not isinstance(given, ast.Starred):
            found += _read(body, given, place, relative=name == "rtol")
            continue
        for keyword in call.keywords:
            held = keyword.value
            if keyword.arg is None and isinstance(held, ast.Name) and held.id not in parameters(body.tree):
                values = body.stores.of(held.id)
                display = values[0] if values is not None and len(values) == 1 else None
                if display is not None and (inner := entry(display, name)) is not None:
                    found += _read(body, inner, place, relative=name == "rtol")
                elif values == []:
                    span = Body.span(held)
                    found.append(Tolerance(None, held.id, span, place, relative=name == "rtol", key=name))
    return found


def entry(display: ast.expr, key: str) -> ast.expr | None:
    """What a display (`{"atol": 0.1}` or `dict(atol=0.1)`) holds under a key."""
    if isinstance(display, ast.Dict):
        for name, value in zip(display.keys, display.values, strict=True):
            if isinstance(name, ast.Constant) and name.value == key:
                return value
    if isinstance(display, ast.Call) and tail(display) == "dict":
        return next((k.value for k in display.keywords if k.arg == key), None)
    return None


def number(node: ast.expr) -> float | None:
    """The number that an expression of literals comes to, None where it is none."""
    if isinstance(node, ast.Constant):
        value = node.value
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return -inner if inner is not None else None
    if isinstance(node, ast.BinOp):
        left, right = number(node.left), number(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.op, ast.Div):
            return left / right if right else None
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Pow) and abs(right) < 16:
            power = left**right if left or right > 0 else None
            return float(power) if isinstance(power, (int, float)) else None
    return None


def _read(body: Body, node: ast.expr, statement: Span, *, relative: bool = False) -> list[Tolerance]:
    """The tolerances that an expression may give: of a choice, the looser one."""
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
        and node.value.id not in parameters(body.tree)
        and body.stores.of(node.value.id) == []
    ):
        name, key = node.value.id, node.slice.value
        return [Tolerance(None, name, Body.span(node), statement, relative=relative, key=key)]
    value, held, at = _value(body, node)
    if value is None and held is None:
        return []
    return [Tolerance(value, held, Body.span(at), statement, relative=relative)]


def _value(body: Body, node: ast.expr, hops: int = 4) -> tuple[float | None, str | None, ast.expr]:
    plain = number(node)
    if plain is not None:
        return plain, None, node
    if isinstance(node, ast.IfExp):
        options = [_value(body, option, hops) for option in (node.body, node.orelse)]
        known = [option for option in options if option[0] is not None]
        return max(known, key=lambda option: option[0] or 0.0) if len(known) == 2 else (None, None, node)
    if isinstance(node, ast.Name):
        if node.id in parameters(body.tree):
            return None, node.id, node
        values = body.stores.of(node.id)
        if values is None:
            return None, None, node
        if not values:
            return None, node.id, node
        if len(values) == 1 and hops > 0:
            return _value(body, values[0], hops - 1)
        known = [v for v in (_value(body, value, hops - 1) for value in values) if v[0] is not None]
        if hops > 0 and len(known) == len(values):
            return max(known, key=lambda option: option[0] or 0.0)
    return None, None, node


def _handed_on(body: Body, call: ast.Call, statement: Span) -> list[Given]:
    if not isinstance(call.func, (ast.Name, ast.Attribute)):
        return []
    found: list[Given] = []
    for position, argument in enumerate(call.args):
        value, name, at = _value(body, argument)
        if value is not None or name is not None:
            found.append(Given(ast.unparse(call.func), None, position, value, name, Body.span(at), statement))
    for keyword in call.keywords:
        if keyword.arg is not None:
            value, name, at = _value(body, keyword.value)
            if value is not None or name is not None:
                found.append(
                    Given(ast.unparse(call.func), keyword.arg, None, value, name, Body.span(at), statement)
                )
    return found


def _limit(compare: ast.Compare) -> tuple[ast.expr, ast.expr] | None:
    """What a condition limits, and by what: `difference < limit`."""
    left, operator, right = compare.left, compare.ops[0], compare.comparators[0]
    if isinstance(operator, (ast.Lt, ast.LtE)):
        return left, right
    return (right, left) if isinstance(operator, (ast.Gt, ast.GtE)) else None


def _told(body: Body, node: ast.expr) -> str:
    """What the limited expression is called, and made from."""
    texts = [ast.unparse(node)]
    for name in {n.id for n in walk_tree(node) if isinstance(n, ast.Name)}:
        texts += [ast.unparse(v) for v in body.stores.of(name) or []]
    return " ".join(texts)


def _condition(statement: ast.stmt) -> ast.expr | None:
    """What must hold for the test to go on; a failing branch counts with its condition turned round."""
    if isinstance(statement, ast.Assert):
        return statement.test
    if isinstance(statement, ast.If) and _fails(statement.body):
        return _turned(statement.test)
    return None


def _turned(test: ast.expr) -> ast.expr | None:
    """What holds where a condition does not, as far as comparisons go."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return test.operand
    if isinstance(test, ast.BoolOp):
        parts = [part for value in test.values if (part := _turned(value)) is not None]
        return ast.copy_location(ast.BoolOp(ast.And(), parts), test) if parts else None
    turned = _TURNED.get(type(test.ops[0])) if isinstance(test, ast.Compare) else None
    if turned is not None and isinstance(test, ast.Compare) and len(test.ops) == 1:
        return ast.copy_location(ast.Compare(test.left, [turned()], test.comparators), test)
    return None


def _fails(body: list[ast.stmt]) -> bool:
    last = body[-1]
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        return tail(last.value) == "fail"
    return isinstance(last, ast.Raise)


def _simple_statements(tree: ast.AST) -> list[ast.stmt]:
    return [n for n in walk_tree(tree) if isinstance(n, ast.stmt) and n is not tree]


def _head(statement: ast.stmt) -> ast.AST:
    """The part of a compound statement before its body."""
    if isinstance(statement, (ast.If, ast.While)):
        return statement.test
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return statement.iter
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return ast.Tuple([item.context_expr for item in statement.items], ast.Load())
    return ast.Pass()
