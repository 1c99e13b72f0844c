"""A file's syntax tree with the way up: parents, enclosing methods, what a local name is bound to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from analyzers.fixes.base import Refused
from analyzers.fixes.texts import Source, source_of

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)


@dataclass(frozen=True, eq=False)
class SourceTree:
    """One file; `source.text`, which has `\\n` as line end, is what the tree was made from."""

    path: str
    source: Source
    module: ast.Module

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node around each node."""
        return {child: node for node in ast.walk(self.module) for child in ast.iter_child_nodes(node)}

    def where(self, node: ast.AST) -> str:
        """`path:line` of a node, for a message."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def code(self, node: ast.AST) -> str:
        """The node's text on one line, shortened."""
        text = " ".join((ast.get_source_segment(self.source.text, node) or "").split())
        return text if len(text) <= 60 else f"{text[:57]}..."

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, nearest first."""
        at = self.parents.get(node)
        while at is not None:
            yield at
            at = self.parents.get(at)

    def function_of(self, node: ast.AST) -> Function | None:
        """The nearest function around a node (no lambda), or None."""
        return next(
            (a for a in self.above(node) if isinstance(a, (ast.FunctionDef, ast.AsyncFunctionDef))), None
        )

    def method_of(self, node: ast.AST) -> tuple[ast.ClassDef, Function] | None:
        """The method of a top-level class that a node stands in, also in a function inside it."""
        around = [node, *self.above(node)]
        for inner, outer, top in zip(around, around[1:], around[2:], strict=False):
            if (
                isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))
                and isinstance(outer, ast.ClassDef)
                and isinstance(top, ast.Module)
            ):
                return outer, inner
        return None

    def is_instance(self, name: ast.Name) -> bool:
        """Whether a name is the instance that the method around it was called on."""
        found = self.method_of(name)
        if found is None:
            return False
        method = found[1]
        first = [*method.args.posonlyargs, *method.args.args][:1]
        if not first or first[0].arg != name.id or _is_static(method):
            return False
        if any(isinstance(n, ast.Name) and n.id == name.id and _stores(n) for n in ast.walk(method)):
            return False
        for around in self.above(name):
            if around is method:
                return True
            if isinstance(around, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and any(
                a.arg == name.id for a in _arguments(around)
            ):
                return False
        return False

    def has_room(self, target: ast.expr) -> bool:
        """Whether `, _` can stand behind the target of an assignment, in a function that never reads `_`."""
        function = self.function_of(target)
        line, column = target.end_lineno, target.end_col_offset
        assert line is not None
        behind = self.source.text.split("\n")[line - 1].encode("utf-8")[column:]
        return (
            function is not None
            and behind.lstrip().startswith(b"=")
            and not any(
                isinstance(n, ast.Name) and n.id == "_" and not _stores(n) for n in ast.walk(function)
            )
        )

    def stores(self, function: Function, name: str) -> list[ast.Name]:
        """Where a function, or one inside it, binds a local name; comprehensions have their own names."""
        return [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Name)
            and node.id == name
            and _stores(node)
            and self.comprehension(node) is None
        ]

    def loads(self, scope: ast.AST, name: str) -> list[ast.Name]:
        """Where a name is read below a node, names of comprehensions and parameters of lambdas left out."""
        return [
            node
            for node in ast.walk(scope)
            if isinstance(node, ast.Name)
            and node.id == name
            and isinstance(node.ctx, ast.Load)
            and not self._is_hidden(node, scope)
        ]

    def comprehension(self, target: ast.Name) -> ast.comprehension | None:
        """The `for` of a comprehension that binds a name, or None."""
        for around in self.above(target):
            if isinstance(around, ast.comprehension):
                return around
            if not isinstance(around, (ast.Tuple, ast.List, ast.Starred)):
                return None
        return None

    def _is_hidden(self, name: ast.Name, scope: ast.AST) -> bool:
        for around in self.above(name):
            if around is scope:
                return False
            if isinstance(around, (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)) and any(
                a.arg == name.id for a in _arguments(around)
            ):
                return True
            if isinstance(around, _COMPREHENSIONS) and any(
                isinstance(n, ast.Name) and n.id == name.id
                for generator in around.generators
                for n in ast.walk(generator.target)
            ):
                return True
        return False


def parse_source(text: str, path: str) -> SourceTree:
    """The tree of a text. Raises `Refused` where it does not parse or mixes line ends."""
    source = source_of(text, path)
    try:
        return SourceTree(path, source, ast.parse(source.text))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise Refused(f"{path} does not parse") from error


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` for a chain of attributes that starts at a name, else None."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _stores(name: ast.Name) -> bool:
    return isinstance(name.ctx, (ast.Store, ast.Del))


def _arguments(function: Function | ast.Lambda) -> list[ast.arg]:
    args = function.args
    extra = [a for a in (args.vararg, args.kwarg) if a is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *extra]


def _is_static(method: Function) -> bool:
    return any(
        (dotted(d) or "").rpartition(".")[2] in ("staticmethod", "classmethod") for d in method.decorator_list
    )
