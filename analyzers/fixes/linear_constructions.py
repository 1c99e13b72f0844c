"""Where an attribute is given its `nn.Linear`, and the same construction with FastVideo's linear."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.model import ClassFacts, FunctionFacts, Placed
from analyzers.fixes.base import Refused
from analyzers.fixes.receivers import means
from analyzers.fixes.replacements import Replacement, begin_of, end_of, replacing
from analyzers.fixes.source_trees import SourceTree, dotted
from analyzers.project.index import Project
from analyzers.project.layers import LINEAR

LAYER, LAST, LIST, DICT, MIXED = "layer", "last", "list", "dict", "mixed"
"""What the attribute holds: the layer itself, an `nn.Sequential` that ends in it, an `nn.ModuleList` or
an `nn.ModuleDict` of such layers, or an `nn.ModuleList` of them and others."""

_CONTAINERS = {
    "torch.nn.Sequential": LAST,
    "torch.nn.ModuleList": LIST,
    "torch.nn.ModuleDict": DICT,
}


@dataclass(frozen=True)
class NewLinear:
    """The linear to use instead: the local name of its class, and the names of its parameters."""

    name: str
    keywords: dict[str, str]


@dataclass(frozen=True)
class Held:
    """What an attribute holds, and the nodes (`nn.Linear(...)`) that build it. `length` and `places`: of a
    container, and where in it the layers stand."""

    kind: str
    calls: tuple[ast.Call, ...]
    length: int = 0
    places: tuple[int, ...] = ()


def keywords_of(project: Project, linear: str) -> dict[str, str]:
    """How the parameters of `nn.Linear` are called in the tree's own linear.

    Raises `Refused` where that class is not there or takes something else.
    """
    found = project.names.by_qualified(linear)
    cls = found.fact if isinstance(found, Placed) and isinstance(found.fact, ClassFacts) else None
    init: FunctionFacts | None = cls.method("__init__") if cls is not None else None
    names = [p.name for p in init.parameters[1:]] if init is not None else []
    if len(names) < 3 or names[2] != "bias":
        raise Refused(f"{linear} is not in this tree, or does not take (input, output, bias)")
    keywords = {"in_features": names[0], "out_features": names[1], "bias": "bias"}
    if "params_dtype" in names:
        keywords["dtype"] = "params_dtype"
    return keywords


def stored(project: Project, tree: SourceTree, value: ast.expr) -> Iterator[Held]:
    """What an assigned value is; nothing for `None`. Raises `Refused` for anything that is no layer."""
    if isinstance(value, ast.Constant) and value.value is None:
        return
    if isinstance(value, ast.IfExp):
        yield from stored(project, tree, value.body)
        yield from stored(project, tree, value.orelse)
        return
    made = means(project, tree.path, value.func) if isinstance(value, ast.Call) else None
    assert isinstance(value, ast.Call) or made is None
    if made == LINEAR and isinstance(value, ast.Call):
        yield Held(LAYER, (value,))
    elif made in _CONTAINERS and isinstance(value, ast.Call):
        yield _contained(project, tree, value, _CONTAINERS[made])
    else:
        raise Refused(f"{tree.where(value)} puts something else there: {tree.code(value)}")


def _contained(project: Project, tree: SourceTree, value: ast.Call, kind: str) -> Held:
    items = _items(value, kind)
    linears = [
        item
        for item in items or ()
        if isinstance(item, ast.Call) and means(project, tree.path, item.func) == LINEAR
    ]
    if items is None or not linears:
        raise Refused(f"what {tree.code(value)} holds ({tree.where(value)}) is not written out there")
    if kind == LAST:
        if linears != items[-1:]:
            early = linears[0] if linears[0] is not items[-1] else items[-1]
            raise Refused(
                f"nn.Sequential ({tree.where(early)}) hands the tuple (output, bias) on to its next layer"
            )
    elif len(linears) != len(items) and kind == LIST:
        kind = MIXED
    elif len(linears) != len(items):
        raise Refused(f"{tree.code(value)} ({tree.where(value)}) holds other layers, too")
    places = tuple(index for index, item in enumerate(items) if item in linears)
    return Held(kind, tuple(linears), len(items), places)


def _items(value: ast.Call, kind: str) -> list[ast.expr] | None:
    """The elements of a container as written (one for a comprehension), or None where they are hidden."""
    if value.keywords or any(isinstance(a, ast.Starred) for a in value.args):
        return None
    if kind == LAST:
        return value.args
    given = value.args[0] if len(value.args) == 1 else None
    if kind == LIST:
        if isinstance(given, (ast.List, ast.Tuple)) and not any(
            isinstance(e, ast.Starred) for e in given.elts
        ):
            return given.elts
        return [given.elt] if isinstance(given, (ast.ListComp, ast.GeneratorExp)) else None
    if isinstance(given, ast.Dict) and None not in given.keys:
        return given.values
    return [given.value] if isinstance(given, ast.DictComp) else None


def rewritten(tree: SourceTree, call: ast.Call, new: NewLinear) -> Iterator[Replacement]:
    """The same construction with the new class. Raises `Refused` for arguments that it does not take."""
    for argument in call.args:
        if isinstance(argument, ast.Starred):
            raise Refused(f"{tree.where(argument)} hides the arguments of nn.Linear behind *")
    if len(call.args) > 3:
        raise Refused(f"{tree.where(call)} gives a device or dtype by position")
    for keyword in call.keywords:
        if keyword.arg is None:
            raise Refused(f"{tree.where(keyword)} hides the arguments of nn.Linear behind **")
        if keyword.arg not in new.keywords:
            raise Refused(f"{tree.where(keyword)}: {new.name} takes no '{keyword.arg}'")
        if new.keywords[keyword.arg] != keyword.arg:
            begin = keyword.lineno, keyword.col_offset
            end = keyword.lineno, keyword.col_offset + len(keyword.arg)
            yield Replacement(begin, end, new.keywords[keyword.arg])
    yield replacing(call.func, new.name)
    yield from _realigned(tree, call, len(new.name) - len(dotted(call.func) or ""))


def _realigned(tree: SourceTree, call: ast.Call, shift: int) -> Iterator[Replacement]:
    """Arguments that stand under the first one stay under it."""
    line, column = end_of(call.func)
    last = end_of(call)[0]
    lines = tree.source.text.split("\n")
    following = lines[line:last]
    first = [*call.args, *(k.value for k in call.keywords)][:1]
    if not following or not first or begin_of(first[0])[0] != line:
        return
    width = column + 1
    if any(text.strip() and len(text) - len(text.lstrip(" ")) < width for text in following):
        return
    for number, text in enumerate(following, line + 1):
        if text.strip():
            begin = (number, 0)
            yield Replacement(begin, (number, max(0, -shift)), " " * max(0, shift))
