"""Precision: a residual that is rounded, casts left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from injections.source import Injection, Mutator, SourceFile

_DTYPE = re.compile(r"(^|_|\.)dtype$")
_NUMBERS = re.compile(r"len|num|size|dim\b|pad|count|index|idx|frames")


def residual_dtype(file: SourceFile) -> Iterator[Injection | None]:
    """The residual stream in bfloat16."""
    for node in file.forward_nodes:
        residuals: list[ast.expr] = []
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value, target = node.value, node.targets[0].id
            if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
                residuals = [o for o in (value.left, value.right) if isinstance(o, ast.Name)]
                residuals = [
                    o for o in residuals if file.code(o) == target and not _NUMBERS.search(file.code(o))
                ]
        elif isinstance(node, ast.Call) and "resid" in file.code(node.func) and node.args:
            residuals = [a for a in node.args[:1] if isinstance(a, ast.Name)]
        for residual in residuals:
            name = file.code(residual)
            text = f"{name}.to(torch.bfloat16).to({name}.dtype)"
            yield file.injection("residual-dtype", [node], [file.replace(residual, text)])


def cast_order(file: SourceFile) -> Iterator[Injection | None]:
    """A cast left out: invisible in float32."""
    for call, _ in file.calls():
        if not isinstance(call.func, ast.Attribute):
            continue
        dropped = (
            (call.func.attr == "float" and not call.args)
            or (call.func.attr == "to" and len(call.args) == 1 and _DTYPE.search(file.code(call.args[0])))
            or call.func.attr == "type_as"
        )
        if dropped:
            yield file.injection("cast-order", [call], [file.replace(call, file.code(call.func.value))])
    for call, _ in file.calls(file.constructor_nodes):
        for keyword in call.keywords:
            if keyword.arg == "compute_dtype" and file.code(keyword.value) == "torch.float32":
                yield file.injection("cast-order", [call], [file.replace(keyword.value, "torch.bfloat16")])


KINDS: Mapping[str, Mutator] = {"residual-dtype": residual_dtype, "cast-order": cast_order}
