"""Activations: another one, another variant of GELU, the wrong half gated, none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from injections.source import Injection, Mutator, SourceFile

_GELU = {
    "gelu_pytorch_tanh": "gelu",
    "gelu_tanh": "gelu",
    "gelu-approximate": "gelu",
    "gelu": "gelu_pytorch_tanh",
    "tanh": "none",
    "none": "tanh",
}
_ACT_CALL = re.compile(r"self\.(\w*act\w*|silu|gelu|nonlinearity|gate_fn)$")


def gelu_variant(file: SourceFile) -> Iterator[Injection | None]:
    """Exact for tanh GELU and the reverse."""
    for call, callee in file.calls():
        for keyword in call.keywords:
            value = keyword.value
            if (
                isinstance(value, ast.Constant)
                and value.value in _GELU
                and _is_about_activations(keyword.arg)
            ):
                yield file.injection("gelu-variant", [call], [file.replace(value, f'"{_GELU[value.value]}"')])
        if callee == "MLP" and not any(k.arg == "act_type" for k in call.keywords) and len(call.args) < 5:
            yield file.injection("gelu-variant", [call], [file.add_argument(call, 'act_type="gelu"')])
        if callee in ("nn.GELU", "F.gelu") and not any(k.arg == "approximate" for k in call.keywords):
            yield file.injection("gelu-variant", [call], [file.add_argument(call, 'approximate="tanh"')])


def _is_about_activations(argument: str | None) -> bool:
    return argument is not None and re.search(r"act|approximate", argument) is not None


def activation_kind(file: SourceFile) -> Iterator[Injection | None]:
    """SiLU for GELU and the reverse."""
    for node in file.nodes:
        if isinstance(node, ast.Attribute) and file.code(node) in ("nn.SiLU", "F.silu", "nn.GELU", "F.gelu"):
            other = {"SiLU": "GELU", "silu": "gelu", "GELU": "SiLU", "gelu": "silu"}[node.attr]
            call = file.parents[node]
            if isinstance(call, ast.Call) and not call.keywords:
                text = f"{file.code(node.value)}.{other}"
                yield file.injection("activation-kind", [node], [file.replace(node, text)])
    for call, _ in file.calls():
        for keyword in call.keywords:
            value = keyword.value
            if (
                isinstance(value, ast.Constant)
                and value.value in ("silu", "gelu_pytorch_tanh")
                and _is_about_activations(keyword.arg)
            ):
                other = "gelu" if value.value == "silu" else "silu"
                yield file.injection("activation-kind", [call], [file.replace(value, f'"{other}"')])


def activation_dropped(file: SourceFile) -> Iterator[Injection | None]:
    """No activation."""
    for call, callee in file.calls(file.forward_nodes):
        if _ACT_CALL.match(callee) and len(call.args) == 1:
            yield file.injection("activation-dropped", [call], [file.replace(call, file.code(call.args[0]))])


def gate_up(file: SourceFile) -> Iterator[Injection | None]:
    """The other factor of a gated unit activated."""
    for node in file.forward_nodes:
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
            continue
        active, other = node.left, node.right
        if isinstance(active, ast.Call) and len(active.args) == 1:
            callee = file.code(active.func)
            if callee in ("F.silu", "F.gelu") or _ACT_CALL.match(callee):
                text = f"{file.code(active.args[0])} * {callee}({file.code(other)})"
                yield file.injection("gate-up", [node], [file.replace(node, text)])


def gate_activation(file: SourceFile) -> Iterator[Injection | None]:
    """A gate or modulation without its own nonlinearity."""
    for call, _ in file.calls(file.forward_nodes):
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("tanh", "sigmoid") and not call.args:
            yield file.injection("gate-activation", [call], [file.replace(call, file.code(call.func.value))])


KINDS: Mapping[str, Mutator] = {
    "gelu-variant": gelu_variant,
    "activation-kind": activation_kind,
    "activation-dropped": activation_dropped,
    "gate-up": gate_up,
    "gate-activation": gate_activation,
}
