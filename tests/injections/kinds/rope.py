"""Rotary position embedding: base, axes, pairs or halves, cosine and sine, positions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from injections.source import Injection, Mutator, SourceFile

_AXES = re.compile(r"rope_dim|axes|axis_dims")
_ABOUT_POSITIONS = re.compile(r"rotary|rope|pos_embed|sincos|freqs|grid", re.IGNORECASE)
_COUNTING = ("len", "list", "tuple", "sum", "enumerate", "zip", "range")
_FREQUENCIES = re.compile(r"get_\w*(rotary|rope)\w*$")
_POSITIONS = re.compile(r"^(pos|ids|\w*pos_ids|\w+_ids)$")


def theta(file: SourceFile) -> Iterator[Injection | None]:
    """Another base."""
    for call, _ in file.calls():
        values = [k.value for k in call.keywords if k.arg and "theta" in k.arg]
        values += [
            a for a in call.args if isinstance(a, (ast.Name, ast.Attribute)) and "theta" in file.code(a)
        ]
        for value in values:
            yield file.injection("rope-theta", [value], [file.replace(value, _other_base(file, value))])
    for node in file.forward_nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            base = node.left
            if "theta" in file.code(base) or (isinstance(base, ast.Constant) and base.value in (256, 10000)):
                yield file.injection("rope-theta", [base], [file.replace(base, _other_base(file, base))])


def _other_base(file: SourceFile, value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return "10000" if value.value in (256, 256.0) else "256"
    return f"(2 * {file.code(value)})"


def axes(file: SourceFile) -> Iterator[Injection | None]:
    """The axes of positions in another order."""
    for node in file.nodes:
        if isinstance(node, ast.Assign) and _AXES.search(file.code(node.targets[0])):
            made = isinstance(node.value, ast.Call) and file.code(node.value.func) in ("list", "tuple")
            if made or isinstance(node.value, ast.List):
                text = f"{file.code(node.value)}[::-1]"
                yield file.injection("rope-axes", [node], [file.replace(node.value, text)])
    for call, callee in file.calls():
        for argument in [*call.args, *(k.value for k in call.keywords)]:
            code = file.code(argument)
            if isinstance(argument, ast.Tuple) and _ABOUT_POSITIONS.search(callee) and len(argument.elts) > 1:
                a, b = argument.elts[-2:]
                if not all(isinstance(e, ast.Constant) for e in (a, b)):
                    yield file.injection("rope-axes", [call], file.swap(a, b))
            elif (
                isinstance(argument, (ast.Name, ast.Attribute))
                and _AXES.search(code)
                and callee not in _COUNTING
            ):
                yield file.injection("rope-axes", [argument], [file.replace(argument, f"{code}[::-1]")])
        if callee == "torch.meshgrid" and len(call.args) == 2:
            yield file.injection("rope-axes", [call], file.swap(*call.args))


def halves(file: SourceFile) -> Iterator[Injection | None]:
    """Halves rotated where pairs are meant, and the reverse."""
    for call, callee in file.calls(file.forward_nodes):
        keywords = {k.arg: k.value for k in call.keywords}
        if (
            callee == "apply_rotary_emb"
            and not file.defines(callee)
            and "use_real_unbind_dim" not in keywords
        ):
            yield file.injection("rope-halves", [call], [file.add_argument(call, "use_real_unbind_dim=-2")])
        for name, flipped in (("use_real_unbind_dim", {"-1": "-2", "-2": "-1"}),
                              ("is_neox_style", {"True": "False", "False": "True"})):  # fmt: skip
            value = keywords.get(name)
            if value is not None and file.code(value) in flipped:
                yield file.injection("rope-halves", [call], [file.replace(value, flipped[file.code(value)])])
        if isinstance(call.func, ast.Attribute) and call.func.attr == "reshape" and len(call.args) > 1:
            one, two = call.args[-2:]
            if (file.code(one), file.code(two)) == ("-1", "2"):
                start = file.span(one)[0]
                text = file.text[file.span(call)[0] : start] + "2, -1).transpose(-1, -2)"
                yield file.injection("rope-halves", [call], [file.replace(call, text)])
        if isinstance(call.func, ast.Attribute) and call.func.attr == "repeat_interleave":
            text = f"torch.cat([{file.code(call.func.value)}] * 2, dim=-1)"
            yield file.injection("rope-halves", [call], [file.replace(call, text)])


def cos_sin(file: SourceFile) -> Iterator[Injection | None]:
    """Cosine and sine exchanged."""
    for node in file.forward_nodes:
        if isinstance(node, (ast.Tuple, ast.List)) and len(node.elts) == 2:
            a, b = node.elts
            if "cos" in file.code(a) and "sin" in file.code(b) and file.code(a) != file.code(b):
                yield file.injection("rope-cos-sin", [node], file.swap(a, b))


def offset(file: SourceFile) -> Iterator[Injection | None]:
    """Positions that begin one too late."""
    for node in file.forward_nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value, target = node.value, node.targets[0].id
            if _POSITIONS.match(target) and not isinstance(value, (ast.Constant, ast.List, ast.Subscript)):
                text = f"({file.code(value)}) + 1"
                yield file.injection("rope-offset", [node], [file.replace(value, text)])
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and _POSITIONS.match(node.value.id)
            and isinstance(node.slice, ast.Tuple)
        ):
            yield file.injection("rope-offset", [node], [file.replace(node, f"({file.code(node)} + 1)")])
    for call, callee in file.calls(file.forward_nodes):
        function = file.function(call)
        if callee == "torch.arange" and function is not None and _ABOUT_POSITIONS.search(function.name):
            yield file.injection("rope-offset", [call], [file.replace(call, f"({file.code(call)} + 1)")])
        if _FREQUENCIES.match(callee.rpartition(".")[2]) and isinstance(file.parents[call], ast.Assign):
            text = f"(torch.roll(f, 1, 0) for f in {file.code(call)})"
            yield file.injection("rope-offset", [call], [file.replace(call, text)])
        for keyword in call.keywords:
            if keyword.arg == "start" and isinstance(keyword.value, ast.Tuple):
                first = keyword.value.elts[0]
                text = f"{file.code(first)} + 1"
                yield file.injection("rope-offset", [call], [file.replace(first, text)])


KINDS: Mapping[str, Mutator] = {
    "rope-theta": theta,
    "rope-axes": axes,
    "rope-halves": halves,
    "rope-cos-sin": cos_sin,
    "rope-offset": offset,
}
