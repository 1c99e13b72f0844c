"""Which parts a method returns, and which parts of what other methods return it takes.

Decides across methods what `facts.flow` decides inside one: a head that `_run` puts into a tuple leaves
the model only where somebody takes that element of the tuple.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import dotted_name
from analyzers.facts.flow_names import PURE_METHODS, constant_index
from analyzers.facts.walking import child_nodes
from analyzers.findings import Span

Key: TypeAlias = "int | str"
"""The index of a tuple's element, or the key of a dict's entry."""

_DEPTH: Final = 6


@dataclass(frozen=True)
class Step:
    """A call that a value went through: the callee as written, and where."""

    callee: str
    span: Span


@dataclass(frozen=True)
class Part:
    """A part of what a method returns: the calls it went through, the last one first, none of whose
    values anything else reads. `size`: how many elements the tuple has, None for a dict."""

    key: Key
    size: int | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Taking:
    """One use of what a method of the instance returns.

    `taken`: the elements or entries that are read, None where it may be all of them. `passed_on`: the
    value as it is, is what the taking method returns. `names`: of an unpacking, the names of its targets.
    """

    callee: str
    taken: frozenset[Key] | None
    passed_on: bool
    span: Span
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """`returned`: empty where the method does not always return a tuple or dict of one shape."""

    returned: tuple[Part, ...]
    takings: tuple[Taking, ...]


def parts_of(body: Body) -> Parts:
    """The parts that a method returns and takes."""
    looked = _Looked(body)
    return Parts(tuple(looked.returned()), tuple(looked.takings()))


class _Looked:
    def __init__(self, body: Body) -> None:
        tree = self._tree = body.tree
        self._nodes = body.nodes
        arguments = [*tree.args.posonlyargs, *tree.args.args]
        self._own = arguments[0].arg if arguments else None

    @cached_property
    def _parents(self) -> dict[int, ast.AST]:
        return {id(child): node for node in self._nodes for child in child_nodes(node)}

    @cached_property
    def _mentions(self) -> dict[str, list[ast.Name]]:
        found: dict[str, list[ast.Name]] = {}
        for node in self._nodes:
            if isinstance(node, ast.Name):
                found.setdefault(node.id, []).append(node)
        return found

    @cached_property
    def _stored(self) -> dict[str, list[ast.expr]]:
        """What plain assignments give a local name; `x, _ = call()` gives it the call."""
        found: dict[str, list[ast.expr]] = {}
        for node in self._nodes:
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                continue
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Call) and target.elts:
                others = [t.id for t in target.elts[1:] if isinstance(t, ast.Name)]
                if len(others) == len(target.elts) - 1 and all(n.startswith("_") for n in others):
                    target = target.elts[0]
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
        return found

    # ------------------------------------------------------------------ returned

    def returned(self) -> Iterator[Part]:
        displays = []
        for node in self._nodes:
            if isinstance(node, (ast.Yield, ast.YieldFrom, ast.Lambda)) or (
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node is not self._tree
            ):
                return
            if isinstance(node, ast.Return):
                displays.append(self._display(node.value))
        sizes = {len(d.elts) if isinstance(d, ast.Tuple) else None for d in displays if d is not None}
        if not displays or None in displays or len(sizes) != 1:
            return
        found: dict[Key, list[Part | None]] = {}
        for display in displays:
            if isinstance(display, ast.Tuple):
                for index, item in enumerate(display.elts):
                    found.setdefault(index, []).append(self._part(index, len(display.elts), item))
            elif isinstance(display, ast.Dict):
                for name, item in zip(display.keys, display.values, strict=True):
                    key = name.value if isinstance(name, ast.Constant) else None
                    if isinstance(key, str):
                        found.setdefault(key, []).append(self._part(key, None, item))
        for given in found.values():
            known = [part for part in given if part is not None]
            if len(known) == len(given):
                yield known[0]

    def _display(self, value: ast.expr | None) -> ast.Tuple | ast.Dict | None:
        if isinstance(value, ast.Name):
            stored = self._stored.get(value.id, [])
            if len(stored) != 1 or len(self._mentions[value.id]) != 2:
                return None
            value = stored[0]
        if isinstance(value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in value.elts):
            return value
        if isinstance(value, ast.Dict) and all(
            isinstance(k, ast.Constant) and isinstance(k.value, str) for k in value.keys
        ):
            return value
        return None

    def _part(self, key: Key, size: int | None, item: ast.expr) -> Part | None:
        steps = tuple(self._steps(item, _DEPTH))
        return Part(key, size, steps) if steps else None

    def _steps(self, value: ast.expr, depth: int) -> Iterator[Step]:
        """The calls that a value went through, the last one first, as long as nothing else reads it."""
        while depth:
            depth -= 1
            if isinstance(value, ast.Subscript):
                value = value.value
            elif isinstance(value, ast.Name):
                assigned = self._only_for_this(value.id)
                if not assigned:
                    return
                for later in reversed(assigned[1:]):
                    yield from self._reshaping(later)
                value = assigned[0]
            elif isinstance(value, ast.Call):
                if isinstance(value.func, ast.Attribute) and value.func.attr in PURE_METHODS:
                    value = value.func.value
                    continue
                callee = dotted_name(value.func)
                if callee is None:
                    return
                yield Step(callee, Body.span(value))
                if not value.args:
                    return
                value = value.args[0]
            else:
                return

    def _only_for_this(self, name: str) -> list[ast.expr]:
        """The values that a local name is given, the later ones made of it alone; empty where anything
        but these and one place reads it."""
        stored = sorted(self._stored.get(name, []), key=lambda v: (v.lineno, v.col_offset))
        count = sum(not isinstance(n.ctx, ast.Load) for n in self._mentions.get(name, ()))
        if count != len(stored) or len(self._mentions.get(name, ())) != 2 * count:
            return []
        return stored if all(self._reshapes(later, name) for later in stored[1:]) else []

    def _reshapes(self, value: ast.expr, name: str) -> bool:
        """Whether a value is made of the name alone, by methods and calls that take it first."""
        while not isinstance(value, ast.Name):
            if isinstance(value, ast.Subscript):
                value = value.value
            elif isinstance(value, ast.Call):
                method = value.func
                if isinstance(method, ast.Attribute) and method.attr in PURE_METHODS:
                    value = method.value
                elif value.args:
                    value = value.args[0]
                else:
                    return False
            else:
                return False
        return value.id == name

    def _reshaping(self, value: ast.expr) -> Iterator[Step]:
        while not isinstance(value, ast.Name):
            if isinstance(value, ast.Subscript):
                value = value.value
                continue
            assert isinstance(value, ast.Call)
            method = value.func
            if isinstance(method, ast.Attribute) and method.attr in PURE_METHODS:
                value = method.value
                continue
            yield Step(dotted_name(method) or "?", Body.span(value))
            value = value.args[0]

    # ------------------------------------------------------------------ taken

    def takings(self) -> Iterator[Taking]:
        for node in self._nodes:
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id != self._own or not isinstance(node.ctx, ast.Load):
                continue
            callee = f"{self._own}.{node.attr}"
            call = self._parents[id(node)]
            if isinstance(call, ast.Call) and call.func is node:
                yield self._taking(callee, call)
            elif not isinstance(call, ast.Attribute):
                yield Taking(callee, None, False, Body.span(node))

    def _taking(self, callee: str, call: ast.Call) -> Taking:
        parent = self._parents[id(call)]
        span = Body.span(call)
        if isinstance(parent, ast.Return):
            return Taking(callee, None, True, span)
        if isinstance(parent, ast.Subscript) and parent.value is call:
            index = constant_index(parent.slice)
            known = frozenset({index}) if isinstance(index, (int, str)) else None
            return Taking(callee, known, False, Body.span(parent))
        if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
            target = parent.targets[0]
            if isinstance(target, ast.Name):
                return Taking(callee, *self._indexed(target), span)
            if isinstance(target, ast.Tuple) and all(isinstance(t, ast.Name) for t in target.elts):
                names = tuple(t.id for t in target.elts if isinstance(t, ast.Name))
                return Taking(callee, self._read(names), False, span, names)
        return Taking(callee, None, False, span)

    def _indexed(self, target: ast.Name) -> tuple[frozenset[Key] | None, bool]:
        """The constant indices that are all that is read of a name; or whether it is only returned."""
        mentions = [n for n in self._mentions[target.id] if n is not target]
        if not mentions or any(not isinstance(n.ctx, ast.Load) for n in mentions):
            return None, False
        keys: set[Key] = set()
        for name in mentions:
            parent = self._parents[id(name)]
            if isinstance(parent, ast.Return) and len(mentions) == 1:
                return None, True
            index = constant_index(parent.slice) if isinstance(parent, ast.Subscript) else None
            if not isinstance(index, (int, str)) or not isinstance(parent, ast.Subscript):
                return None, False
            if parent.value is not name or not isinstance(parent.ctx, ast.Load):
                return None, False
            keys.add(index)
        return frozenset(keys), False

    def _read(self, names: tuple[str, ...]) -> frozenset[Key] | None:
        """The positions of the names that are read, or that say that nobody wants them."""
        if any(c > 1 for n, c in Counter(names).items() if not n.startswith("_")):
            return None
        return frozenset(
            index
            for index, name in enumerate(names)
            if name.startswith("_") or any(isinstance(n.ctx, ast.Load) for n in self._mentions[name])
        )
