"""Which value goes where: chunks, results, arguments, gates, residuals, signs, `1 + scale`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from injections.source import Function, Injection, Mutator, SourceFile

_SPLITS = re.compile(r"chunk\(|split\(|unbind\(")
_NUMBERS = re.compile(r"len|num|size|dim\b|pad|count|index|idx|start|end\b|frames|height|width|shape|range")


def swapped_chunks(file: SourceFile) -> Iterator[Injection | None]:
    """Two neighbours exchanged where a tensor or a result is taken apart."""
    for node in file.forward_nodes:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)):
            continue
        names = [n for n in node.targets[0].elts if isinstance(n, ast.Name) and n.id != "_"]
        parts = isinstance(node.value, ast.Tuple) and all(
            isinstance(e, ast.Subscript) for e in node.value.elts
        )
        modulated = (
            isinstance(node.value, ast.Call) and "norm" in file.code(node.value.func) and len(names) > 2
        )
        if _SPLITS.search(file.code(node.value)) or modulated or parts:
            if re.search(r"\.(shape|size)\b", file.code(node.value)):
                continue
            for a, b in pairwise(names):
                yield file.injection("swapped-chunks", [node], file.swap(a, b))


def swapped_returns(file: SourceFile) -> Iterator[Injection | None]:
    """Two results exchanged where they are returned."""
    for node in file.forward_nodes:
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            names = [n for n in node.value.elts if isinstance(n, ast.Name)]
            for a, b in pairwise(names):
                yield file.injection("swapped-returns", [node], file.swap(a, b))


def swapped_arguments(file: SourceFile) -> Iterator[Injection | None]:
    """Two arguments of a call exchanged."""
    for call, callee in file.calls(file.forward_nodes):
        if not (callee.startswith("self.") or callee in ("block", "layer")):
            continue
        for group in (call.args, [k.value for k in call.keywords]):
            names = [n for n in group if isinstance(n, ast.Name) and not _NUMBERS.search(n.id)]
            for a, b in pairwise(names):
                yield file.injection("swapped-arguments", [call], file.swap(a, b))


def one_plus_scale(file: SourceFile) -> Iterator[Injection | None]:
    """`x * scale` for `x * (1 + scale)`."""
    for node in file.forward_nodes:
        if (
            (
                isinstance(node, ast.BinOp)
                and isinstance(node.op, ast.Add)
                and isinstance(node.left, ast.Constant)
            )
            and node.left.value in (1, 1.0)
            and not _NUMBERS.search(file.code(node.right))
        ):
            yield file.injection("one-plus-scale", [node], [file.replace(node, file.code(node.right))])


def gate_order(file: SourceFile) -> Iterator[Injection | None]:
    """The gate over the residual too, or another gate."""
    for node in file.forward_nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            product = node.right
            if isinstance(product, ast.BinOp) and isinstance(product.op, ast.Mult):
                for gate, value in ((product.left, product.right), (product.right, product.left)):
                    if "gate" in file.code(gate):
                        text = f"{file.code(gate)} * ({file.code(node.left)} + {file.code(value)})"
                        yield file.injection("gate-order", [node], [file.replace(node, text)])
        if isinstance(node, ast.Name) and "gate" in node.id and isinstance(node.ctx, ast.Load):
            function = file.function(node)
            for other in _assigned(function) if function is not None else ():
                if "gate" in other and other != node.id and _stem(other) == _stem(node.id):
                    yield file.injection("gate-order", [node], [file.replace(node, other)])


def _stem(name: str) -> str:
    """The stream that a gate belongs to."""
    return "context" if re.match(r"c_|txt|context|encoder", name) else ""


def _assigned(function: Function) -> list[str]:
    return sorted(
        {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    )


def wrong_residual(file: SourceFile) -> Iterator[Injection | None]:
    """The residual taken behind the norm, or forgotten."""
    for node in file.forward_nodes:
        function = file.function(node)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and function is not None:
            target, value = node.targets[0].id, node.value
            if not (isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add)):
                continue
            for residual, branch in ((value.left, value.right), (value.right, value.left)):
                if not (isinstance(residual, ast.Name) and (residual.id == target or "resid" in residual.id)):
                    continue
                if _NUMBERS.search(file.code(branch)):
                    continue
                yield file.injection("wrong-residual", [node], [file.replace(value, file.code(branch))])
                for other in _assigned(function):
                    if other in (f"norm_{target}", f"norm_{residual.id}", f"{target}_norm"):
                        yield file.injection("wrong-residual", [node], [file.replace(residual, other)])
        if isinstance(node, ast.Call) and "resid" in file.code(node.func) and len(node.args) > 1:
            first, second = node.args[:2]
            yield file.injection("wrong-residual", [node], [file.replace(first, file.code(second))])


def sign(file: SourceFile) -> Iterator[Injection | None]:
    """Minus for plus, a minus lost, a sine negated."""
    for node in file.forward_nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            operands = (node.left, node.right)
            if any(isinstance(o, (ast.Constant, ast.List, ast.Tuple)) for o in operands):
                continue
            if any(_NUMBERS.search(file.code(o)) for o in operands):
                continue
            at = file.span(node.left)[1]
            end = file.span(node.right)[0]
            between = file.text[at:end]
            text = f"{file.code(node.left)}{between.replace('+', '-', 1)}{file.code(node.right)}"
            yield file.injection("sign", [node], [file.replace(node, text)])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = file.code(node.operand)
            if isinstance(node.operand, (ast.Call, ast.Name)) and not _NUMBERS.search(operand):
                yield file.injection("sign", [node], [file.replace(node, operand)])
        elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) == 2:
            cosine, sine = (file.code(part) for part in node.elts)
            if "cos" in cosine and "sin" in sine:
                yield file.injection("sign", [node], [file.replace(node.elts[1], f"-{sine}")])


KINDS: Mapping[str, Mutator] = {
    "swapped-chunks": swapped_chunks,
    "swapped-returns": swapped_returns,
    "swapped-arguments": swapped_arguments,
    "one-plus-scale": one_plus_scale,
    "gate-order": gate_order,
    "wrong-residual": wrong_residual,
    "sign": sign,
}
