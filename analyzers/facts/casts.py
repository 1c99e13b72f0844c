"""Casts whose result flows into what a function returns, with nothing that casts it again on the way.

Followed are local names, arithmetic, tensor methods, and calls: a call hands on what its first argument
(or an argument named like one) carries, an attention its first three, a submodule (also one that a loop
over submodules names) all but masks. A cast to anything (a name's
dtype, `float()`) ends what came before it: a cast right before a kernel with the upcast after it is none
that flows out. Two things count wherever they go afterwards: what a loop hands to the submodules that it
names, which are the blocks of a model, and `x = (x + ...).to(...)`, which rounds a residual stream.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.findings import Span

_HALF_METHODS = {"half": "torch.float16", "bfloat16": "torch.bfloat16"}
_CASTS = frozenset({"bfloat16", "half", "float", "to", "type", "type_as"})
_OTHER_CASTS = frozenset({"bool", "char", "double", "float", "int", "long", "short"})
# fmt: off
_NO_VALUE = frozenset({
    "all", "any", "backward", "data_ptr", "dim", "element_size", "is_contiguous", "item", "nelement", "numel",
    "requires_grad_", "size", "stride", "tolist",
})
_NO_VALUE_ATTRIBUTES = frozenset({"device", "dtype", "is_cuda", "ndim", "requires_grad", "shape"})
_FROM_ALL = frozenset({
    "add", "addcmul", "baddbmm", "bmm", "cat", "concat", "concatenate", "div", "einsum", "lerp", "list",
    "matmul", "max", "maximum", "min", "minimum", "mul", "stack", "sub", "tuple", "where", "zip",
})
_FROM_NAMED = frozenset({
    "hidden_states", "inp", "input", "inputs", "k", "key", "q", "query", "sample", "tensor", "tensors", "v",
    "value", "x",
})
_TAKE_DTYPE = frozenset({
    "as_tensor", "asarray", "cumprod", "cumsum", "log_softmax", "logsumexp", "mean", "nansum", "norm", "prod",
    "softmax", "sum", "tensor",
})
_INTEGERS = frozenset({"argmax", "argmin", "argsort", "bincount", "nonzero", "randint", "searchsorted"})
# fmt: on
_ATTENTION = re.compile(
    r"(\w+\.)*\w*(attn|attention|sdpa)(_layer|_impl|\d)*|(\w+\.)*flash_attn_\w+", re.IGNORECASE
)
_INTEGER_TYPES = re.compile(r"torch\.(u?int\d*|long|short)")
_INDEX_NAME = re.compile(r"(input_|token_|position_|pos_)?ids|(\w+_)?(idx|index|indices)")
_LAYER = re.compile(
    r"self\.(\w+\.)*\w*(proj|embed|emb|norm|linear|mlp|attn|attention|conv|ffn)\w*", re.IGNORECASE
)
"""Submodules whose output is never an integer."""
_MASK = re.compile(r"mask|bias", re.IGNORECASE)
_ANY_TENSOR = r"(torch\.)?Tensor( \| None)?|(typing\.)?Optional\[(torch\.)?Tensor\]"
_PLACES = re.compile(r"(\w+\.)*device")
_ROUNDS = 2
"""A loop's body is followed twice: what flows around it once has flowed."""


@dataclass(frozen=True, slots=True)
class Cast:
    """A cast that flows into what the function returns.

    `dtype`: the dotted name it is cast to (`torch.bfloat16`, `_DTYPE`), None where it takes the dtype of
    `like`. `integer`: what shows that `like` holds integers, in words; empty where `like` is a parameter
    that is not declared as a tensor of any kind of number.
    """

    span: Span
    dtype: str | None
    like: str | None
    integer: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """`casts`: those that reach a `return`; `calls`: dotted names of functions whose result does."""

    casts: tuple[Cast, ...]
    calls: frozenset[str]


_Source: TypeAlias = "Cast | str"
_Values: TypeAlias = "frozenset[_Source]"
_NONE: _Values = frozenset()


def flowing_casts(body: Body) -> Flow:
    """What flows out of a function."""
    walk = _Walk(body)
    walk.block(body.tree.body)
    casts = sorted((c for c in walk.returned if isinstance(c, Cast)), key=lambda c: c.span)
    return Flow(tuple(casts), frozenset(c for c in walk.returned if isinstance(c, str)))


class _Walk:
    def __init__(self, body: Body) -> None:
        self.names: dict[str, _Values] = {}
        self.dtypes: dict[str, str] = {}
        self.integers = _declared_integers(body.tree)
        self.undeclared = _undeclared(body.tree)
        self.returned: _Values = _NONE
        self.layers: set[str] = set()
        self.modules: set[str] = set()
        parameters = [*body.tree.args.posonlyargs, *body.tree.args.args]
        self.own = parameters[0].arg if parameters else ""

    # ------------------ statements

    def block(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Return):
            self.returned |= self.value(node.value)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self.bind(target, node.value, self.value(node.value))
        elif isinstance(node, ast.AnnAssign):
            self.bind(node.target, node.value, self.value(node.value))
        elif isinstance(node, ast.AugAssign):
            name = dotted_name(node.target)
            if name is not None:
                self.names[name] = self.names.get(name, _NONE) | self.value(node.value)
            else:
                self.into(node.target, self.value(node.value))
        elif isinstance(node, ast.Expr):
            self.in_place(node.value)
        elif isinstance(node, (ast.If, ast.Try, ast.Match)):
            self.branches(_branches(node))
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            if not isinstance(node, ast.While):
                self.bind(node.target, None, self.value(node.iter))
                if any(isinstance(n, ast.Name) and n.id == self.own for n in ast.walk(node.iter)):
                    self.modules |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
            for _ in range(_ROUNDS):
                self.branches([node.body, []])
            self.block(node.orelse)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            self.block(node.body)

    def branches(self, blocks: Iterable[Sequence[ast.stmt]]) -> None:
        """What any of the branches leaves."""
        before = dict(self.names)
        joined: dict[str, _Values] = {}
        for block in blocks:
            self.names = dict(before)
            self.block(block)
            for name, values in self.names.items():
                joined[name] = joined.get(name, _NONE) | values
        self.names = joined

    def bind(self, target: ast.expr, value: ast.expr | None, values: _Values) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            for index, element in enumerate(target.elts):
                part = parts[index] if len(parts) == len(target.elts) else None
                self.bind(element, part, self.value(part) if part is not None else values)
            return
        if isinstance(target, ast.Starred):
            self.bind(target.value, None, values)
            return
        name = dotted_name(target)
        if name is None:
            self.into(target, values)
            return
        if value is not None and _adds_to(name, value):
            self.returned |= frozenset(
                v for v in values if isinstance(v, Cast) and v.span == Body.span(value)
            )
        self.names[name] = values
        self.dtypes.pop(name, None)
        self.integers.pop(name, None)
        self.undeclared.discard(name)
        dtype = dotted_name(value) if value is not None else None
        if dtype is not None:
            self.dtypes[name] = self.dtypes.get(dtype, dtype)
        self.layers.discard(name)
        if self.is_layer_output(value):
            self.layers.add(name)
        shown = _makes_integers(value)
        if shown is not None:
            self.integers[name] = shown

    def into(self, target: ast.expr, values: _Values) -> None:
        """`x[...] = value` keeps what `x` carries; a store into `self` or a cache goes nowhere here."""
        while isinstance(target, ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name):
            self.names[target.id] = self.names.get(target.id, _NONE) | values

    def in_place(self, node: ast.expr) -> None:
        """`x.add_(y)`, `out.append(y)`."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = dotted_name(node.func.value)
            if name in self.names or node.func.attr in ("append", "extend"):
                values = self.union(node.args)
                self.names[name or ""] = self.names.get(name or "", _NONE) | values

    # ------------------ expressions

    def union(self, nodes: Iterable[ast.expr]) -> _Values:
        return _NONE.union(*(self.value(node) for node in nodes))

    def value(self, node: ast.expr | None) -> _Values:
        """The casts and calls that an expression's value carries."""
        if node is None:
            return _NONE
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = dotted_name(node)
            if name in self.names:
                return self.names[name]
            if isinstance(node, ast.Attribute) and node.attr not in _NO_VALUE_ATTRIBUTES:
                return self.value(node.value)
            return _NONE
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.BinOp):
            return self.union((node.left, node.right))
        if isinstance(node, ast.UnaryOp):
            return _NONE if isinstance(node.op, ast.Not) else self.value(node.operand)
        if isinstance(node, ast.IfExp):
            return self.union((node.body, node.orelse))
        if isinstance(node, ast.BoolOp):
            return self.union(node.values)
        if isinstance(node, (ast.Subscript, ast.Starred)):
            return self.value(node.value)
        if isinstance(node, ast.NamedExpr):
            values = self.value(node.value)
            self.bind(node.target, node.value, values)
            return values
        if isinstance(node, (ast.Tuple, ast.List)):
            return self.union(node.elts)
        if isinstance(node, ast.Dict):
            return self.union(node.values)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            for generator in node.generators:
                self.bind(generator.target, None, self.value(generator.iter))
            return self.value(node.elt)
        return _NONE

    def call(self, node: ast.Call) -> _Values:
        function = node.func
        if isinstance(function, ast.Attribute) and not self._is_namespace(function.value):
            cast = self.method_cast(node, function)
            if cast is not None:
                return cast
            if function.attr in _NO_VALUE:
                return _NONE
        asked = next((k.value for k in node.keywords if k.arg == "dtype"), None)
        name = dotted_name(function) or (function.attr if isinstance(function, ast.Attribute) else "")
        tail = name.rpartition(".")[2]
        if asked is not None and tail in _TAKE_DTYPE:
            return self.cast(node, asked)
        carried = self.carried(node, name, tail)
        return carried | {name} if name else carried

    def carried(self, node: ast.Call, name: str, tail: str) -> _Values:
        """What the arguments (and the object of a tensor method) hand to the result."""
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        values = self.value(receiver) if receiver is not None and not self._is_namespace(receiver) else _NONE
        if hasattr(builtins, name) and tail not in _FROM_ALL:
            return _NONE
        if tail in _FROM_ALL:
            return values | self.union([*node.args, *(k.value for k in node.keywords)])
        if not values and (name in self.modules or name.startswith(f"{self.own}.")):
            given = [*node.args, *(k.value for k in node.keywords if not _MASK.search(k.arg or ""))]
            values = self.union(g for g in given if not _MASK.search(ast.unparse(g)))
            if name in self.modules:
                self.returned |= values
            return values
        if not values:
            values |= self.union(node.args[: 3 if _ATTENTION.fullmatch(name) else 1])
        return values | self.union(k.value for k in node.keywords if k.arg in _FROM_NAMED)

    def _is_namespace(self, receiver: ast.expr) -> bool:
        """`torch` in `torch.cat`, `self.norm` in `self.norm.forward`: names that carry nothing."""
        name = dotted_name(receiver)
        return name is not None and name not in self.names and name.partition(".")[0] in ("torch", "F", "nn")

    # ------------------ casts

    def method_cast(self, node: ast.Call, function: ast.Attribute) -> _Values | None:
        """The values after `x.to(...)`, `x.half()` and the like; None where it is no cast."""
        if function.attr in _CASTS:
            self.value(function.value)  # for what the calls in it are handed
        if function.attr in _HALF_METHODS and not node.args:
            return frozenset({Cast(Body.span(node), _HALF_METHODS[function.attr], None, None)})
        if function.attr in _OTHER_CASTS and not node.args:
            return _NONE
        if function.attr == "type_as" and node.args:
            return self.like(node, node.args[0])
        if function.attr not in ("to", "type"):
            return None
        given = [*node.args, *(k.value for k in node.keywords if k.arg in ("dtype", "other"))]
        asked = next((g for g in given if not _is_place(g)), None)
        return self.value(function.value) if asked is None else self.cast(node, asked)

    def cast(self, node: ast.Call, asked: ast.expr) -> _Values:
        if isinstance(asked, ast.Attribute) and asked.attr == "dtype":
            return self.like(node, asked.value)
        name = dotted_name(asked)
        if name is None:
            return _NONE
        if name in self.integers:
            return self.like(node, asked)
        return frozenset({Cast(Body.span(node), self.dtypes.get(name, name), None, None)})

    def like(self, node: ast.Call, other: ast.expr) -> _Values:
        name = dotted_name(other)
        if name is None:
            return _NONE
        shown = self.integers.get(name)
        if shown is None and _INDEX_NAME.fullmatch(name):
            shown = "its name says that it holds indices"
        if shown is None and name in self.undeclared:
            shown = ""
        if shown is None:
            return _NONE
        if isinstance(node.func, ast.Attribute) and self.is_made_of_integers(node.func.value, name):
            return _NONE
        found: _Values = frozenset({Cast(Body.span(node), None, name, shown)})
        if isinstance(node.func, ast.Attribute) and self.is_layer_output(node.func.value):
            # Wherever it goes, what a layer computed is lost: an embedding that conditions every block.
            self.returned |= found
        return found

    def is_made_of_integers(self, value: ast.expr, like: str) -> bool:
        """Whether nothing but whole numbers and `like` itself is in a value."""
        if isinstance(value, ast.BinOp):
            return not isinstance(value.op, ast.Div) and all(
                self.is_made_of_integers(part, like) for part in (value.left, value.right)
            )
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            return self.is_made_of_integers(value.func.value, like)
        if isinstance(value, (ast.Subscript, ast.UnaryOp)):
            return self.is_made_of_integers(
                value.value if isinstance(value, ast.Subscript) else value.operand, like
            )
        if isinstance(value, ast.Constant):
            return isinstance(value.value, int)
        name = dotted_name(value)
        return name is not None and (
            name == like or name in self.integers or _INDEX_NAME.fullmatch(name) is not None
        )

    def is_layer_output(self, value: ast.expr | None) -> bool:
        """Whether a value is what a layer of the model gave."""
        if isinstance(value, ast.Call):
            return _LAYER.fullmatch(dotted_name(value.func) or "") is not None
        return isinstance(value, ast.Name) and value.id in self.layers


def _branches(node: ast.If | ast.Try | ast.Match) -> list[list[ast.stmt]]:
    if isinstance(node, ast.If):
        return [node.body, node.orelse]
    if isinstance(node, ast.Match):
        return [case.body for case in node.cases] + [[]]
    usual = [*node.body, *node.orelse, *node.finalbody]
    return [usual, *([*handler.body, *node.finalbody] for handler in node.handlers)]


def _is_place(node: ast.expr) -> bool:
    """Whether an argument of `.to` names a device or is a switch."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Call):
        return "device" in (dotted_name(node.func) or "")
    return _PLACES.fullmatch(dotted_name(node) or "") is not None or (
        isinstance(node, ast.Attribute) and node.attr == "device"
    )


def _declared_integers(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    """Parameters that are annotated as tensors of integers."""
    found: dict[str, str] = {}
    for argument in [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs]:
        text = ast.unparse(argument.annotation) if argument.annotation is not None else ""
        declared = re.search(r"\b(LongTensor|IntTensor)\b", text)
        if declared is not None:
            found[argument.arg] = f"it is declared as a {declared[1]}"
    return found


def _undeclared(tree: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Parameters without an annotation, or with one that says no more than "a tensor"."""
    return {
        argument.arg
        for argument in [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs]
        if argument.annotation is None or re.fullmatch(_ANY_TENSOR, ast.unparse(argument.annotation))
    }


def _adds_to(name: str, value: ast.expr) -> bool:
    """Whether a value is `(name + ...).to(...)`, the name perhaps after a cast of its own."""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)):
        return False
    terms = [value.func.value]
    while terms:
        term = terms.pop()
        if isinstance(term, ast.BinOp):
            terms += [term.left, term.right] if isinstance(term.op, ast.Add) else []
            continue
        if isinstance(term, ast.Call) and isinstance(term.func, ast.Attribute):
            term = term.func.value
        if dotted_name(term) == name and isinstance(value.func.value, ast.BinOp):
            return True
    return False


def _makes_integers(value: ast.expr | None) -> str | None:
    """What shows that an expression gives integers, or None."""
    if not isinstance(value, ast.Call):
        return None
    name = value.func.attr if isinstance(value.func, ast.Attribute) else dotted_name(value.func)
    given = [*value.args, *(k.value for k in value.keywords if k.arg == "dtype")]
    if name in ("int", "long") or name in _INTEGERS:
        return f"it comes from '{name}'"
    if name in ("to", "type", "tensor", "arange", "zeros", "ones", "full", "cumsum"):
        dtype = next((d for g in given if (d := dotted_name(g)) and _INTEGER_TYPES.fullmatch(d)), None)
        if name == "arange" and not any(k.arg == "dtype" for k in value.keywords):
            whole = value.args and all(
                isinstance(a, ast.Constant) and isinstance(a.value, int) for a in value.args
            )
            return "it counts in whole numbers" if whole else None
        return f"it has the dtype {dtype}" if dtype is not None else None
    return None
