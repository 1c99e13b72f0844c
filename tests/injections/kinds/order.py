"""The right values in the wrong order: tokens, features, heads, axes, and slices that miss by one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from injections.source import Injection, Mutator, SourceFile

_EMBEDS_TOKENS = re.compile(r"self\.(x_embedder|context_embedder|txt_in|text_embedder|cond_proj)$")
_SPATIAL = re.compile(r"height|width|\bp_[thw]\b|patch|\b[thw]{1,2}\b|post_patch")


def token_permutation(file: SourceFile) -> Iterator[Injection | None]:
    """Tokens reversed or rolled, text before image for image before text."""
    for call, callee in file.calls(file.forward_nodes):
        if _is_concatenation(callee) and _dim(file, call) in ("0", "1"):
            yield from _swapped_parts(file, call, "token-permutation")
        if isinstance(call.func, ast.Attribute) and re.search(r"flatten\(2\)\.transpose$", callee):
            text = f"{file.code(call)}.flip(1)"
            yield file.injection("token-permutation", [call], [file.replace(call, text)])
        if _EMBEDS_TOKENS.match(callee) and call.args and isinstance(call.args[0], ast.Name):
            text = f"{file.code(call.args[0])}.roll(1, 1)"
            yield file.injection("token-permutation", [call], [file.replace(call.args[0], text)])


def concat_order(file: SourceFile) -> Iterator[Injection | None]:
    """Features concatenated in another order."""
    for call, callee in file.calls(file.forward_nodes):
        if _is_concatenation(callee) and _dim(file, call) in ("-1", "2"):
            yield from _swapped_parts(file, call, "concat-order")


def _is_concatenation(callee: str) -> bool:
    return callee in ("torch.cat", "torch.concat", "torch.concatenate")


def _dim(file: SourceFile, call: ast.Call) -> str:
    given = [k.value for k in call.keywords if k.arg == "dim"] or call.args[1:]
    return file.code(given[0]) if given else "0"


def _swapped_parts(file: SourceFile, call: ast.Call, kind: str) -> Iterator[Injection | None]:
    parts = call.args[0] if call.args else None
    if isinstance(parts, (ast.List, ast.Tuple)) and len(parts.elts) == 2:
        yield file.injection(kind, [call], file.swap(*parts.elts))


def head_order(file: SourceFile) -> Iterator[Injection | None]:
    """Heads taken as the fast axis."""
    for call, _ in file.calls(file.forward_nodes):
        if not isinstance(call.func, ast.Attribute):
            continue
        sizes = call.args[-2:]
        if call.func.attr == "unflatten" and isinstance(call.args[-1], ast.Tuple):
            sizes = call.args[-1].elts[-2:]
        elif call.func.attr not in ("view", "reshape") or len(call.args) < 4:
            continue
        if (len(sizes) == 2 and "head" in file.code(sizes[0])) or [file.code(s) for s in sizes] == ["n", "d"]:
            text = file.code(call)
            start = file.span(call)[0]
            (a0, a1), (b0, b1) = file.span(sizes[0]), file.span(sizes[1])
            text = (
                text[: a0 - start] + file.code(sizes[1]) + text[a1 - start : b0 - start]
                + file.code(sizes[0]) + text[b1 - start :] + ".transpose(-1, -2)"
            )  # fmt: skip
            yield file.injection("head-order", [call], [file.replace(call, text)])


def transposed(file: SourceFile) -> Iterator[Injection | None]:
    """Two axes exchanged where a tensor is taken apart or put together."""
    for call, callee in file.calls(file.forward_nodes):
        attribute = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if attribute == "permute":
            for a, b in pairwise(call.args):
                yield file.injection("transposed-order", [call], file.swap(a, b))
        if attribute in ("reshape", "view"):
            for a, b in pairwise(call.args):
                plain = not any(isinstance(size, ast.BinOp) for size in (a, b))
                if plain and _SPATIAL.search(file.code(a)) and _SPATIAL.search(file.code(b)):
                    yield file.injection("transposed-order", [call], file.swap(a, b))
        if callee == "torch.einsum" and isinstance(call.args[0], ast.Constant):
            given, _, asked = str(call.args[0].value).partition("->")
            for at in range(1, len(asked) - 1):
                other = asked[:at] + asked[at + 1] + asked[at] + asked[at + 2 :]
                text = f'"{given}->{other}"'
                yield file.injection("transposed-order", [call], [file.replace(call.args[0], text)])


def off_by_one(file: SourceFile) -> Iterator[Injection | None]:
    """A slice or a mask that ends or begins one element off."""
    for node in file.forward_nodes:
        if not isinstance(node, ast.Subscript):
            continue
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for index in indices:
            if not isinstance(index, ast.Slice) or index.step is not None:
                continue
            for bound in (index.lower, index.upper):
                if bound is None or ".shape[" in file.code(node):
                    continue
                if isinstance(bound, ast.Constant) and (not isinstance(bound.value, int) or bound.value < 2):
                    continue
                if isinstance(bound, ast.UnaryOp) and isinstance(bound.operand, ast.Constant):
                    continue
                for change in ("- 1", "+ 1"):
                    text = f"{file.code(bound)} {change}"
                    yield file.injection("mask-off-by-one", [node], [file.replace(bound, text)])


KINDS: Mapping[str, Mutator] = {
    "token-permutation": token_permutation,
    "concat-order": concat_order,
    "head-order": head_order,
    "transposed-order": transposed,
    "mask-off-by-one": off_by_one,
}
