"""Normalisation: its epsilon, its kind, its place, and none at all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from injections.source import Injection, Mutator, Replacement, SourceFile

_EPS = ("eps", "norm_eps", "epsilon")
_NORM_CALL = re.compile(r"self\.(\w*norm\w*|\w*_ln)$")
_LIBRARY_NORM = re.compile(r"(nn\.)?(LayerNorm|RMSNorm|FP32LayerNorm|LayerNormScaleShift|"
                           r"ScaleResidualLayerNormScaleShift|RMSNormScaleShift)$")  # fmt: skip


def eps(file: SourceFile) -> Iterator[Injection | None]:
    """Another epsilon, given or taken for granted."""
    for call, callee in file.calls(file.constructor_nodes):
        given = [k.value for k in call.keywords if k.arg in _EPS]
        given += [a for a in call.args if "Norm" in callee and _last_name(a) in _EPS]
        for value in given:
            yield file.injection("eps", [value], [file.replace(value, _other_eps(value))])
        if not given and _LIBRARY_NORM.match(callee) and len(call.args) < 2:
            yield file.injection("eps", [call], [file.add_argument(call, "eps=1e-5")])
    for node in file.forward_nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _last_name(node.right) in _EPS:
            yield file.injection("eps", [node], [file.replace(node.right, f"10 * {file.code(node.right)}")])


def _other_eps(value: ast.expr) -> str:
    constant = value.value if isinstance(value, ast.Constant) else None
    return "1e-6" if constant == 1e-5 else "1e-5"


def _last_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def norm_kind(file: SourceFile) -> Iterator[Injection | None]:
    """Layer norm for RMS norm and the reverse, with the same parameters where they can have them."""
    for call, callee in file.calls(file.constructor_nodes):
        keywords = {k.arg: k for k in call.keywords}
        if callee.endswith("RMSNorm") and not file.defines(callee):
            dropped = [
                keywords[name] for name in ("has_weight", "dtype", "var_hidden_size") if name in keywords
            ]
            edits = [file.replace(call.func, "nn.LayerNorm"), *(_without(file, call, k) for k in dropped)]
            if "elementwise_affine" not in keywords:
                edits.append(file.add_argument(call, "bias=False"))
            yield file.injection("norm-kind", [call], edits)
        elif callee.endswith("LayerNorm") and not file.defines(callee):
            edits = [file.replace(call.func, "nn.RMSNorm")]
            if "bias" in keywords:
                edits.append(_without(file, call, keywords["bias"]))
            yield file.injection("norm-kind", [call], edits)
        elif "norm_type" in keywords and isinstance(keywords["norm_type"].value, ast.Constant):
            value = keywords["norm_type"].value
            if value.value in ("layer", "rms"):
                other = "rms" if value.value == "layer" else "layer"
                yield file.injection("norm-kind", [call], [file.replace(value, f'"{other}"')])


def _without(file: SourceFile, call: ast.Call, keyword: ast.keyword) -> Replacement:
    """The call without a keyword argument, and without the comma before it."""
    start = file.offset(keyword.lineno, keyword.col_offset)
    comma = file.text.rfind(",", file.span(call)[0], start)
    return Replacement(comma if comma >= 0 else start, file.span(keyword.value)[1], "")


def norm_place(file: SourceFile) -> Iterator[Injection | None]:
    """The norm behind what it belongs before, or before what it belongs behind."""
    for call, callee in file.calls(file.forward_nodes):
        inner = call.args[0] if len(call.args) == 1 and not call.keywords else None
        bare = inner.value if isinstance(inner, ast.Subscript) else inner
        if not isinstance(bare, ast.Call) or len(bare.args) != 1 or bare.keywords or inner is None:
            continue
        first = file.code(bare.func)
        if bool(_NORM_CALL.match(callee)) == bool(_NORM_CALL.match(first)) or not first.startswith("self."):
            continue
        suffix = file.text[file.span(bare)[1] : file.span(inner)[1]]
        argument = file.code(bare.args[0])
        if _NORM_CALL.match(callee):  # norm(linear(x)[0]) -> linear(norm(x))[0]
            text = f"{first}({callee}({argument})){suffix}"
        else:
            text = f"{first}({callee}({argument}){suffix})"
        yield file.injection("norm-place", [call], [file.replace(call, text)])
    for block in _blocks(file):
        yield from _reordered(file, block)


def _blocks(file: SourceFile) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(file.tree):
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and file.function(block[0]) is not None:
                yield block


def _reordered(file: SourceFile, block: list[ast.stmt]) -> Iterator[Injection | None]:
    for at, statement in enumerate(block):
        target = _normalised(file, statement)
        if target is None or not file.runs(statement):
            continue
        for other in block[at + 1 : at + 8]:
            if _assigns_from_itself(other, target):
                edits = file.swap(statement, other)
                yield file.injection("norm-place", [statement, other], edits, whole=True)
                break


def _normalised(file: SourceFile, statement: ast.stmt) -> str | None:
    """The variable of `x = self.norm(x)`, by itself or in an `if` of its own."""
    if isinstance(statement, ast.If) and len(statement.body) == 1 and not statement.orelse:
        statement = statement.body[0]
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        return None
    target, value = statement.targets[0], statement.value
    if not (isinstance(target, ast.Name) and isinstance(value, ast.Call)):
        return None
    is_norm = _NORM_CALL.match(file.code(value.func)) is not None
    return target.id if is_norm and _assigns_from_itself(statement, target.id) else None


def _assigns_from_itself(statement: ast.stmt, name: str) -> bool:
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        return False
    target = statement.targets[0]
    reads = {node.id for node in ast.walk(statement.value) if isinstance(node, ast.Name)}
    return isinstance(target, ast.Name) and target.id == name and name in reads


def norm_dropped(file: SourceFile) -> Iterator[Injection | None]:
    """No norm at all."""
    for call, callee in file.calls(file.forward_nodes):
        if _NORM_CALL.match(callee) and len(call.args) == 1 and not call.keywords:
            yield file.injection("norm-dropped", [call], [file.replace(call, file.code(call.args[0]))])


KINDS: Mapping[str, Mutator] = {
    "eps": eps,
    "norm-kind": norm_kind,
    "norm-place": norm_place,
    "norm-dropped": norm_dropped,
}
