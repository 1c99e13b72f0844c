"""Submodules: a missing bias, the neighbour called instead, one block left out, the scale of attention."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from injections.source import Injection, Mutator, SourceFile

_ATTENTION = re.compile(r"(\w*Attention)$")


def missing_bias(file: SourceFile) -> Iterator[Injection | None]:
    """A linear layer without its bias, or with one too many."""
    for call, callee in file.calls(file.constructor_nodes):
        given = next((k.value for k in call.keywords if k.arg == "bias"), None)
        if isinstance(given, ast.Constant) and isinstance(given.value, bool):
            yield file.injection("missing-bias", [call], [file.replace(given, str(not given.value))])
        elif given is None and callee.rpartition(".")[2] in ("Linear", "ReplicatedLinear", "MLP"):
            yield file.injection("missing-bias", [call], [file.add_argument(call, "bias=False")])


def softmax_scale(file: SourceFile) -> Iterator[Injection | None]:
    """Attention with another scale."""
    for call, callee in file.calls():
        keywords = {k.arg: k.value for k in call.keywords}
        given = keywords.get("softmax_scale")
        if given is not None:
            yield file.injection("softmax-scale", [call], [file.replace(given, "0.1")])
        elif _ATTENTION.match(callee) and "head_size" in keywords:
            yield file.injection("softmax-scale", [call], [file.add_argument(call, "softmax_scale=0.1")])
        elif callee.endswith("scaled_dot_product_attention"):
            yield file.injection("softmax-scale", [call], [file.add_argument(call, "scale=0.1")])


def wrong_module(file: SourceFile) -> Iterator[Injection | None]:
    """The neighbour of the same make called instead."""
    for call, callee in file.calls(file.forward_nodes):
        owner = file.owner(call)
        if owner is None or not callee.startswith("self."):
            continue
        made = _made_in(file, owner)
        name = callee.removeprefix("self.")
        for other, text in made.items():
            if other != name and made.get(name) == text:
                yield file.injection("wrong-module", [call], [file.replace(call.func, f"self.{other}")])


def _made_in(file: SourceFile, owner: ast.ClassDef) -> dict[str, str]:
    """How each attribute of a class is constructed, but for its prefix; of its bases in this file too."""
    made: dict[str, str] = {}
    bases = {file.code(base) for base in owner.bases}
    classes = [n for n in file.tree.body if isinstance(n, ast.ClassDef) and (n is owner or n.name in bases)]
    for node in (n for cls in classes for n in ast.walk(cls)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            target = file.code(node.targets[0])
            if target.startswith("self.") and isinstance(node.value, (ast.Call, ast.IfExp)):
                text = re.sub(r"prefix=f?\"[^\"]*\"|\s", "", file.code(node.value)).replace(",)", ")")
                made[target.removeprefix("self.")] = text
    return {name: text for name, text in made.items() if re.match(r"[\w.]*[A-Z]\w*\(", text)}


def skipped_block(file: SourceFile) -> Iterator[Injection | None]:
    """The first block left out."""
    for node in file.forward_nodes:
        if isinstance(node, ast.For):
            for found in ast.walk(node.iter):
                if isinstance(found, ast.Attribute) and re.search(r"blocks|layers", found.attr):
                    text = f"{file.code(found)}[1:]"
                    yield file.injection("skipped-block", [node], [file.replace(found, text)])


KINDS: Mapping[str, Mutator] = {
    "missing-bias": missing_bias,
    "softmax-scale": softmax_scale,
    "wrong-module": wrong_module,
    "skipped-block": skipped_block,
}
