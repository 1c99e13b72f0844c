"""Which names an expression or a nested function reads, and which expressions do nothing by themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from analyzers.facts.bodies import Function
from analyzers.facts.expressions import dotted_name
from analyzers.facts.walking import child_nodes, walk_tree

# fmt: off
PURE_METHODS: Final = frozenset({
    "abs", "add", "all", "amax", "amin", "any", "argmax", "argmin", "bfloat16", "bool", "broadcast_to",
    "ceil", "chunk", "clamp", "clone", "contiguous", "cos", "cpu", "cuda", "cumsum", "detach", "diff", "dim",
    "div", "double", "eq", "exp", "expand", "expand_as", "flatten", "flip", "float", "floor", "ge", "get",
    "gt",
    "half", "index_select", "int", "is_contiguous", "item", "keys", "le", "log", "long", "lt", "masked_fill",
    "max", "mean", "min", "movedim", "mul", "narrow", "ndimension", "ne", "neg", "new_empty", "new_full",
    "new_ones", "new_tensor", "new_zeros", "nonzero", "norm", "numel", "permute", "pow", "repeat",
    "repeat_interleave", "reshape", "roll", "rsqrt", "select", "sigmoid", "sin", "size", "softmax", "split",
    "sqrt", "square", "squeeze", "stack", "std", "stride", "sub", "sum", "tanh", "to", "tolist", "transpose",
    "triu", "type_as", "unbind", "unflatten", "unfold", "unsqueeze", "values", "var", "view", "view_as",
})
"""Methods that leave the tensor, dict or number they are called on as it is, and do nothing else."""

_PURE_FUNCTIONS: Final = frozenset({
    "abs", "all", "any", "bool", "callable", "dict", "enumerate", "float", "getattr", "hasattr", "int",
    "isinstance", "issubclass", "len", "list", "math.ceil", "math.floor", "math.log", "math.log2", "math.pi",
    "math.prod", "math.sqrt", "max", "min", "range", "rearrange", "einops.rearrange", "einops.repeat",
    "reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip",
})

_PURE_TORCH: Final = PURE_METHODS | frozenset({
    "arange", "as_tensor", "bmm", "cat", "concat", "concatenate", "device", "einsum", "empty", "empty_like",
    "eye", "finfo", "from_numpy", "full", "full_like", "gelu", "group_norm", "is_tensor", "layer_norm",
    "linear", "linspace", "logical_and", "logical_not", "logical_or", "matmul", "meshgrid", "normalize",
    "ones", "ones_like", "outer", "pad", "polar", "relu", "rms_norm", "silu", "tensor", "tril",
    "view_as_complex", "view_as_real", "where", "zeros", "zeros_like",
})
# fmt: on

_TORCH_HEADS: Final = ("torch.", "F.", "torch.nn.functional.", "nn.functional.")

SEES_ALL: Final = frozenset({"locals", "vars", "eval", "exec", "globals", "dir"})
"""Built-in functions through which any local name can be read."""


@dataclass(frozen=True)
class Given:
    """A parameter of a called function: `callee` as it is written (`self._embed`), and which of its
    parameters, by position (from 0, without the instance) or by name."""

    callee: str
    parameter: int | str


@dataclass(frozen=True)
class Known:
    """What is known of the functions that a body calls.

    `quiet`: dotted callees (`self.audio_head`) that are computed for their value alone: modules,
    whose call leaves no trace. `ignored`: arguments that the called function never reads.
    """

    quiet: frozenset[str] = frozenset()
    ignored: frozenset[Given] = frozenset()


def is_pure(call: ast.Call, known: Known) -> bool:
    """Whether a call matters only through its value (its arguments looked at apart)."""
    if any(k.arg in ("out", "inplace") for k in call.keywords):
        return False
    callee = dotted_name(call.func)
    if callee is not None:
        if callee in _PURE_FUNCTIONS:
            return True
        if callee in known.quiet:
            return not any(map(_is_changed, call.args)) and not any(map(_is_changed, call.keywords))
        if callee.startswith(_TORCH_HEADS):
            return callee.rpartition(".")[2] in _PURE_TORCH
    return isinstance(call.func, ast.Attribute) and call.func.attr in PURE_METHODS and not _is_of_self(callee)


def _is_changed(argument: ast.expr | ast.keyword) -> bool:
    """Whether an argument is something that modules are known to write into: a cache, a state."""
    value = argument.value if isinstance(argument, (ast.keyword, ast.Starred)) else argument
    name = (argument.arg if isinstance(argument, ast.keyword) else None) or ""
    words = f"{name} {dotted_name(value) or ''}".lower()
    return (
        isinstance(argument, ast.Starred) or "cache" in words or "memory" in words or words.endswith("_state")
    )


def _is_of_self(callee: str | None) -> bool:
    """`self.to(...)`: a module's method of that name moves the module itself."""
    return callee is not None and callee.startswith("self.") and callee.count(".") == 1


def acts(node: ast.expr, known: Known) -> bool:
    """Whether evaluating an expression may do more than give a value."""
    return any(
        (isinstance(part, ast.Call) and not is_pure(part, known))
        or isinstance(part, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr))
        for part in walk_tree(node)
    )


def needed_names(node: ast.expr, known: Known) -> frozenset[str]:
    """The names that are read for the value of an expression and for what it does."""
    found: set[str] = set()
    _collect(node, known, found)
    return frozenset(found)


def acting_names(node: ast.expr, known: Known) -> frozenset[str]:
    """The names that are read for what an expression does, when nobody wants its value."""
    if not acts(node, known):
        return frozenset()
    if isinstance(node, ast.Call) and is_pure(node, known):
        children = (node.func, *node.args, *(k.value for k in node.keywords))
        return frozenset().union(*(acting_names(child, known) for child in children))
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        inner = (node.value, node.slice) if isinstance(node, ast.Subscript) else (node.value,)
        return frozenset().union(*(acting_names(child, known) for child in inner))
    return needed_names(node, known)


def _collect(node: ast.AST, known: Known, found: set[str]) -> None:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load):
            found.add(node.id)
    elif isinstance(node, ast.IfExp):
        for part in _chosen(node):
            _collect(part, known, found)
        found |= acting_names(node.test, known)
    elif isinstance(node, ast.Call):
        _collect(node.func, known, found)
        for argument in _arguments(node, known):
            _collect(argument, known, found)
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
        found.update(free_names(node))
    else:
        for child in child_nodes(node):
            _collect(child, known, found)


def _chosen(node: ast.IfExp) -> tuple[ast.expr, ...]:
    """The parts of a conditional expression that its value may come from."""
    decided = constant_truth(node.test)
    if decided is not None:
        return (node.body if decided else node.orelse,)
    if same(node.body, node.orelse):
        return (node.body,)
    return (node.test, node.body, node.orelse)


def _arguments(call: ast.Call, known: Known) -> Iterator[ast.expr]:
    """The arguments of a call, without plain names that the called function never reads."""
    callee = dotted_name(call.func)
    certain = not any(isinstance(a, ast.Starred) for a in call.args)
    for index, argument in enumerate(call.args):
        ignored = certain and callee is not None and Given(callee, index) in known.ignored
        if not (ignored and isinstance(argument, ast.Name)):
            yield argument
    for keyword in call.keywords:
        ignored = (
            callee is not None and keyword.arg is not None and Given(callee, keyword.arg) in known.ignored
        )
        if not (ignored and isinstance(keyword.value, ast.Name)):
            yield keyword.value


def constant_index(node: ast.expr) -> object:
    """The integer or string that a subscript takes, else None."""
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and isinstance(node.operand, ast.Constant)
    ):
        value = node.operand.value
        return -value if type(value) is int else None
    return node.value if isinstance(node, ast.Constant) and type(node.value) in (int, str) else None


def constant_truth(test: ast.expr) -> bool | None:
    """What a condition comes to where it is a literal, else None."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = constant_truth(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Constant):
        return bool(test.value)
    return None


def same(left: ast.AST | Iterable[ast.AST], right: ast.AST | Iterable[ast.AST]) -> bool:
    """Whether two pieces of code are written alike, whitespace and comments aside."""
    if isinstance(left, ast.AST) and isinstance(right, ast.AST):
        return type(left) is type(right) and ast.dump(left) == ast.dump(right)
    if isinstance(left, ast.AST) or isinstance(right, ast.AST):
        return False
    return [ast.dump(node) for node in left] == [ast.dump(node) for node in right]


def free_names(node: ast.AST) -> frozenset[str]:
    """The names that a nested function, lambda, class or comprehension may read from outside itself.

    Names that it gives a value of its own count too, unless they are its parameters or the targets
    of its loops: rather one read too many.
    """
    loaded = frozenset(
        part.id for part in walk_tree(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
    )
    stored: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        targets = [name for generator in node.generators for name in walk_tree(generator.target)]
        stored = frozenset(name.id for name in targets if isinstance(name, ast.Name))
        # What the generators run over is asked for before their targets hold anything.
        outside = frozenset().union(*(free_names(g.iter) for g in node.generators))
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        arguments = node.args
        every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        extra = (a for a in (arguments.vararg, arguments.kwarg) if a is not None)
        stored = frozenset(a.arg for a in (*every, *extra))
        given = [d for d in (*arguments.defaults, *arguments.kw_defaults) if d is not None]
        if not isinstance(node, ast.Lambda):
            given += node.decorator_list
            given += [a.annotation for a in (*every, *extra) if a.annotation is not None]
        outside = frozenset().union(*(free_names(value) for value in given))
    return (loaded - stored) | outside


def captured_names(function: Function) -> frozenset[str] | None:
    """The names that may be read or set at another time than their place in the text suggests.

    Those of nested functions, lambdas, classes and generators, and those declared `global` or
    `nonlocal` anywhere. None where any name may be read (`locals()`).
    """
    found: set[str] = set()
    for statement in function.body:
        for node in walk_tree(statement):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                found.update(node.names)
            elif isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.GeneratorExp)
            ):
                found |= free_names(node)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SEES_ALL:
                return None
    return frozenset(found)
