"""The one numeric detail in which two statements differ, where that is all they differ in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.facts.signatures import form
from analyzers.findings import Span

_ACTIVATIONS = frozenset({"GELU", "SiLU", "gelu", "gelu_tanh", "mish", "quick_gelu", "relu", "silu", "swish"})
_APPROXIMATIONS = frozenset(
    {"gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_tanh", "none", "relu", "silu", "tanh"}
)
_CASTS = frozenset({"bfloat16", "double", "float", "half", "to", "type_as", "type"})
_NUMERIC = re.compile(
    r"eps|theta|period|scale|factor|shift|base|gamma|beta|alpha|temperature|value", re.IGNORECASE
)
_SWITCH = re.compile(
    r"affine|neox|interleaved?|flip|causal|use_real|align_corners|antialias|scale_grad|^bias$|normalize|qk_norm"
)
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_LEFT_OUT = ("annotation", "returns", "type_comment", "kind", "ctx", "simple", "type_params")
_DTYPES = frozenset({"bfloat16", "double", "float", "float16", "float32", "float64", "half"})


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind`: what sort of detail, in words; `here` and `there`: both as code, with their spans."""

    kind: str
    here: str
    there: str
    here_span: Span
    there_span: Span


def difference(here: ast.stmt, there: ast.stmt) -> Difference | None:
    """The only detail in which two statements (headers of compound ones) differ, if it is numeric."""
    pairs = list(_pairs(here, there, _Place(), top=True))
    if len(pairs) != 1 or pairs[0] is None:
        return None
    left, right, place = pairs[0]
    kind = _kind(left, right, place)
    if kind is None:
        return None
    spans = _span(left, here), _span(right, there)
    option = _option(left, right) or _option(right, left)
    if option is not None:
        return Difference(kind, _given(left, option), _given(right, option), *spans)
    return Difference(kind, ast.unparse(left), ast.unparse(right), *spans)


def _span(node: ast.AST, around: ast.stmt) -> Span:
    if isinstance(node, (ast.expr, ast.keyword, ast.arg)):
        return Body.span(node)
    return Body.span(around)


def _given(node: ast.AST, option: str) -> str:
    """`eps=1e-06` for a call that is given that keyword, `no eps` for one that is not."""
    keywords = node.keywords if isinstance(node, ast.Call) else []
    return next((ast.unparse(k) for k in keywords if k.arg == option), f"no {option}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a statement a node stands: in the keyword of that name, in what kind of node."""

    keyword: str | None = None
    in_call: bool = False
    in_index: bool = False


_Pair = tuple[ast.AST, ast.AST, _Place]


def _pairs(left: object, right: object, place: _Place, *, top: bool = False) -> Iterator[_Pair | None]:
    """The smallest pairs of nodes that differ; None for a difference that no pair of nodes shows."""
    if isinstance(left, ast.AnnAssign) or isinstance(right, ast.AnnAssign):
        left, right = _plain(left), _plain(right)
    if not isinstance(left, ast.AST) or not isinstance(right, ast.AST):
        if left != right:
            yield None
        return
    if form(left) == form(right):
        return
    if type(left) is not type(right) or _kind(left, right, place) is not None:
        yield left, right, place
        return
    if isinstance(left, ast.keyword):
        place = _Place(left.arg, in_call=True)
    elif isinstance(left, ast.Call):
        place = _Place(in_call=True)
    elif isinstance(left, ast.Subscript):
        place = _Place(in_index=True)
    for name in left._fields:
        if name in _LEFT_OUT or (top and name in _BLOCKS):
            continue
        a, b = getattr(left, name, None), getattr(right, name, None)
        if isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                yield None
                return
            for x, y in zip(a, b, strict=True):
                yield from _pairs(x, y, place)
        elif isinstance(a, ast.AST) or isinstance(b, ast.AST):
            yield from _pairs(a, b, place)
        elif a != b:
            yield left, right, place
            return


def _plain(node: object) -> object:
    if isinstance(node, ast.AnnAssign):
        plain = ast.Assign([node.target], node.value or ast.Constant(None))
        return ast.copy_location(plain, node)
    return node


# --------------------------------------------------------------------------- kinds


def _kind(left: ast.AST, right: ast.AST, place: _Place) -> str | None:
    """What sort of numeric detail two nodes differ in, or None where it is none (or more than one)."""
    option = _option(left, right) or _option(right, left)
    return (
        _constants(left, right, place)
        or _one_plus(left, right)
        or _one_plus(right, left)
        or _operator(left, right)
        or _sign(left, right)
        or _sign(right, left)
        or _activation(left, right)
        or _cast(left, right)
        or _cast(right, left)
        or _dtype(left, right)
        or _order(left, right)
        or (f"'{option}'" if option is not None else None)
    )


def _number(node: ast.AST) -> int | float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return -inner if inner is not None else None
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _constants(left: ast.AST, right: ast.AST, place: _Place) -> str | None:
    """Numbers, switches and variants that change values. Sizes, axes and indices change shapes: an error
    there is loud, and a variant differs in them on purpose."""
    here, there = _number(left), _number(right)
    if here is not None and there is not None and here != there:
        if place.keyword is not None:
            return f"'{place.keyword}'" if _NUMERIC.search(place.keyword) else None
        if isinstance(here, float) or isinstance(there, float):
            return "a constant"
        return None if place.in_call or place.in_index else "a constant"
    values = [n.value if isinstance(n, ast.Constant) else None for n in (left, right)]
    if all(isinstance(v, bool) for v in values):
        return f"'{place.keyword}'" if place.keyword is not None and _SWITCH.search(place.keyword) else None
    if all(isinstance(v, str) and v in _APPROXIMATIONS for v in values):
        return "the activation"
    return None


def _one_plus(left: ast.AST, right: ast.AST) -> str | None:
    """`1 + scale` against `scale`."""
    if not isinstance(left, ast.BinOp) or not isinstance(left.op, (ast.Add, ast.Sub)):
        return None
    for number, rest in ((left.left, left.right), (left.right, left.left)):
        if _number(number) is not None and form(rest) == form(right):
            return "an added constant"
    return None


def _operator(left: ast.AST, right: ast.AST) -> str | None:
    if not isinstance(left, ast.BinOp) or not isinstance(right, ast.BinOp):
        return None
    if type(left.op) is type(right.op):
        return None
    same = form(left.left) == form(right.left) and form(left.right) == form(right.right)
    return "an operator" if same else None


def _sign(left: ast.AST, right: ast.AST) -> str | None:
    if isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub) and form(left.operand) == form(right):
        return "a sign"
    return None


def _activation(left: ast.AST, right: ast.AST) -> str | None:
    names = [dotted_name(n) if isinstance(n, (ast.Name, ast.Attribute)) else None for n in (left, right)]
    if all(name is not None and name.rpartition(".")[2] in _ACTIVATIONS for name in names):
        return "the activation"
    return None


def _cast(left: ast.AST, right: ast.AST) -> str | None:
    """`x.float()` against `x`, and casts of one value to different dtypes."""
    if (
        not isinstance(left, ast.Call)
        or not isinstance(left.func, ast.Attribute)
        or left.func.attr not in _CASTS
        or _only_moves(left)
    ):
        return None
    if form(left.func.value) == form(right):
        return "a cast"
    if isinstance(right, ast.Call) and isinstance(right.func, ast.Attribute) and right.func.attr in _CASTS:
        same = form(left.func.value) == form(right.func.value)
        return "a cast" if same and left.func.attr != right.func.attr else None
    return None


def _only_moves(call: ast.Call) -> bool:
    """Whether `x.to(...)` names a device and no dtype."""
    given = [*((None, a) for a in call.args), *((k.arg, k.value) for k in call.keywords)]
    return bool(given) and all(
        name in ("device", "non_blocking") or "device" in ast.unparse(value) for name, value in given
    )


def _dtype(left: ast.AST, right: ast.AST) -> str | None:
    names = [dotted_name(n) if isinstance(n, (ast.Name, ast.Attribute)) else None for n in (left, right)]
    if all(name is not None and name.startswith("torch.") and name[6:] in _DTYPES for name in names):
        return "a dtype"
    return None


def _order(left: ast.AST, right: ast.AST) -> str | None:
    """The same names in another order: targets of an unpacking, arguments of a call, a concatenation."""
    for kind in (ast.Tuple, ast.List):
        if isinstance(left, kind) and isinstance(right, kind):
            return "the order" if _permuted(left.elts, right.elts) else None
    if isinstance(left, ast.Call) and isinstance(right, ast.Call) and form(left.func) == form(right.func):
        keywords = [sorted(form(k) for k in node.keywords) for node in (left, right)]
        if keywords[0] == keywords[1] and _permuted(left.args, right.args):
            return "the order"
    return None


def _permuted(left: list[ast.expr], right: list[ast.expr]) -> bool:
    here, there = [form(e) for e in left], [form(e) for e in right]
    return here != there and sorted(here) == sorted(there) and len(set(here)) == len(here)


def _option(left: ast.AST, right: ast.AST) -> str | None:
    """A call with one more keyword that holds a number, a switch or a dtype."""
    if (
        not isinstance(left, ast.Call)
        or not isinstance(right, ast.Call)
        or form(left.func) != form(right.func)
    ):
        return None
    if [form(a) for a in left.args] != [form(a) for a in right.args]:
        return None
    here, there = {form(k): k for k in left.keywords}, {form(k): k for k in right.keywords}
    more = [k for text, k in here.items() if text not in there]
    if len(more) != 1 or not set(there) <= set(here) or more[0].arg is None:
        return None
    value, name = more[0].value, more[0].arg
    constant = value.value if isinstance(value, ast.Constant) else None
    known = (
        (_number(value) is not None and _NUMERIC.search(name))
        or (isinstance(constant, bool) and _SWITCH.search(name))
        or constant in _APPROXIMATIONS
        or (dotted_name(value) or "").removeprefix("torch.") in _DTYPES
    )
    return name if known else None
