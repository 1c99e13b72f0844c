"""Conditioning: dropped, made constant, scaled, embedded or pooled otherwise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from injections.source import Injection, Mutator, SourceFile

_CONDITION = re.compile(r"emb|temb|vec\b|vec$|pooled|guidance|aware|time|shift")
_TIME = re.compile(r"^(t|ts|g|timesteps?|guidance|\w*timestep|timesteps_proj)$")
_GIVEN = re.compile(
    r"^(t|ts|g|c|vec|temb|emb|timesteps?|guidance|pooled_\w+|\w*adaln_input|conditioning\w*)$"
)
_NUMBERS = re.compile(r"len|num|size|dim|pad|count|index|idx")


def dropped(file: SourceFile) -> Iterator[Injection | None]:
    """A term of the conditioning, or a shift, left out."""
    for node in file.forward_nodes:
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
            continue
        if isinstance(node.left, ast.Constant) or _NUMBERS.search(file.code(node.right)):
            continue
        for kept, lost in ((node.left, node.right), (node.right, node.left)):
            if _CONDITION.search(file.code(lost)) and not ("shift" in file.code(kept) and lost is node.left):
                yield file.injection(
                    "dropped-conditioning", [node], [file.replace(node, file.code(kept))],
                    f"without {file.code(lost)!r}",
                )  # fmt: skip


def constant(file: SourceFile) -> Iterator[Injection | None]:
    """Ones where the conditioning belongs."""
    for call, callee in file.calls(file.forward_nodes):
        if not callee.startswith("self."):
            continue
        for argument in [*call.args, *(k.value for k in call.keywords)]:
            if isinstance(argument, ast.Name) and _GIVEN.match(argument.id):
                text = f"torch.ones_like({argument.id})"
                yield file.injection("constant-conditioning", [argument], [file.replace(argument, text)])


def timestep_scale(file: SourceFile) -> Iterator[Injection | None]:
    """The timestep in thousandths, or a factor of it forgotten."""
    for call, callee in file.calls(file.forward_nodes):
        if callee.startswith("self."):
            for argument in [*call.args, *(k.value for k in call.keywords)]:
                if isinstance(argument, ast.Name) and _TIME.match(argument.id):
                    text = f"{argument.id} / 1000"
                    yield file.injection("timestep-scale", [argument], [file.replace(argument, text)])
    for node in file.forward_nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            factor = file.code(node.right)
            if factor == "1000" or ("scale" in factor and _TIME.match(file.code(node.left))):
                yield file.injection("timestep-scale", [node], [file.replace(node, file.code(node.left))])


def timestep_embedding(file: SourceFile) -> Iterator[Injection | None]:
    """Sine before cosine, the frequencies shifted, another period."""
    flipped = {
        ("flip_sin_to_cos", "True"): "False",
        ("flip_sin_to_cos", "False"): "True",
        ("downscale_freq_shift", "0"): "1",
        ("downscale_freq_shift", "1"): "0",
    }
    for call, callee in file.calls():
        for keyword in call.keywords:
            other = flipped.get((keyword.arg or "", file.code(keyword.value)))
            if other is not None:
                yield file.injection("timestep-embedding", [call], [file.replace(keyword.value, other)])
        if callee == "math.log" and "period" in file.code(call.args[0]):
            text = f"math.log(2 * {file.code(call.args[0])})"
            yield file.injection("timestep-embedding", [call], [file.replace(call, text)])


def pooling(file: SourceFile) -> Iterator[Injection | None]:
    """The first token for the mean of all, and the reverse."""
    for call, callee in file.calls(file.forward_nodes):
        dims = [file.code(k.value) for k in call.keywords if k.arg == "dim"] + [
            file.code(a) for a in call.args
        ]
        if callee == "torch.mean" and "1" in dims:
            text = f"{file.code(call.args[0])}[:, 0]"
            yield file.injection("pooling", [call], [file.replace(call, text)])
        elif isinstance(call.func, ast.Attribute) and call.func.attr == "mean" and dims[:1] == ["1"]:
            text = f"{file.code(call.func.value)}[:, 0]"
            yield file.injection("pooling", [call], [file.replace(call, text)])


KINDS: Mapping[str, Mutator] = {
    "dropped-conditioning": dropped,
    "constant-conditioning": constant,
    "timestep-scale": timestep_scale,
    "timestep-embedding": timestep_embedding,
    "pooling": pooling,
}
