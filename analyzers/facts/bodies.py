"""Syntax trees of single functions, for questions that need the flow through a body.

A tree is parsed when it is first asked for, from the function's own text, and kept by that text: an
edit elsewhere in the file costs nothing. What is derived from a tree is kept the same way, for
longer, since it is small.
"""

from __future__ import annotations

import ast
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeAlias, TypeVar

from analyzers.facts.expressions import span_of
from analyzers.facts.model import FileFacts, FunctionFacts, Placed
from analyzers.facts.name_uses import Stores
from analyzers.facts.syntax import DEEPEST, parse_any, parse_shallow
from analyzers.facts.walking import nodes_within
from analyzers.findings import Location, Span

T = TypeVar("T")

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"

TREES = 256
"""Trees kept at most; about 100 KB each for a long `forward`."""
DERIVED = 16384
"""Derived answers kept at most."""
TEXTS = 4096
"""Answers about single strings kept at most: those of all mappings of a large tree."""


@dataclass(frozen=True)
class Body:
    """The tree of one function. Its line numbers count from 1 at the line where its text begins
    (that of the first decorator where there is one). `nodes`: every node of the tree (see `walk_tree`);
    many questions begin with all of them."""

    tree: Function
    text: str
    nodes: tuple[ast.AST, ...] = field(repr=False)

    @cached_property
    def stores(self) -> Stores:
        """Where the names of the function get their values."""
        return Stores(self.tree, self.nodes)

    @staticmethod
    def span(node: ast.expr | ast.stmt | ast.excepthandler | ast.arg | ast.keyword) -> Span:
        """The span of a node, relative to the function's first line; columns in UTF-8 bytes."""
        return span_of(node)


@dataclass(frozen=True)
class PlacedBody:
    """A function's tree together with where it stands in its file."""

    body: Body
    path: str
    line: int

    @property
    def tree(self) -> Function:
        """The function's syntax tree."""
        return self.body.tree

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree."""
        return self.body.nodes

    def at(self, node: ast.expr | ast.stmt | ast.excepthandler | ast.arg | ast.keyword) -> Location:
        """The location of a node of the tree in the file."""
        return self.place(Body.span(node))

    def place(self, span: Span) -> Location:
        """The location of a span that is relative to the function's first line."""
        return Location(self.path, span.shifted(self.line))


class Bodies:
    """Trees by text, and what was derived from them. Not shared between threads."""

    def __init__(self) -> None:
        self._trees: _Recent[str, Body | None] = _Recent(TREES)
        self._derived: _Recent[tuple[Hashable, str], object] = _Recent(DERIVED)
        self._lines: _Recent[str, list[str]] = _Recent(TREES)
        self._texts: _Recent[Hashable, object] = _Recent(TEXTS)

    def of(self, file: FileFacts, function: Placed[FunctionFacts]) -> PlacedBody | None:
        """The tree of a function or method of that file; None where its text does not parse now,
        or is too deep (see `parse_shallow`)."""
        found = self._text(file, function)
        if found is None:
            return None
        line, text = found
        body = self._trees.get(text, lambda: _parse(text, function.fact.name))
        return PlacedBody(body, file.path, line) if body is not None else None

    def derive(
        self,
        question: Hashable,
        file: FileFacts,
        function: Placed[FunctionFacts],
        answer: Callable[[Body], T],
    ) -> T | None:
        """`answer(body)`, kept by `question` and the function's text; None where there is no tree
        (see `of`).

        The answer must depend on the body alone, and its spans must be relative to the function's
        first line (`Body.span`); `start` tells where that is.
        """
        found = self._text(file, function)
        if found is None:
            return None
        text = found[1]

        def compute() -> T | None:
            body = self._trees.get(text, lambda: _parse(text, function.fact.name))
            return answer(body) if body is not None else None

        return self._derived.get((question, text), compute)  # type: ignore[return-value]

    def derive_chunk(self, question: Hashable, text: str, answer: Callable[[ast.Module], T]) -> T | None:
        """`answer(tree)` of a whole chunk, kept by `question` and the text; None where it
        does not parse or is too deep.

        For the statements of a module; spans are relative to the chunk's first line.
        """

        def compute() -> T | None:
            tree = parse_shallow(text)
            return answer(tree) if tree is not None else None

        return self._derived.get((question, text), compute)  # type: ignore[return-value]

    def derive_texts(self, question: Hashable, answer: Callable[[], T]) -> T:
        """`answer()`, kept by `question`, which must hold every text that the answer depends on.

        For what single strings of a file say (a pattern, a name), whatever stands around them.
        """
        return self._texts.get(question, answer)  # type: ignore[return-value]

    def start(self, function: Placed[FunctionFacts]) -> int:
        """The line of the file (from 0) at which a function's text begins."""
        return function.line + function.fact.span.line

    def _text(self, file: FileFacts, function: Placed[FunctionFacts]) -> tuple[int, str] | None:
        chunk = file.chunk_at(function.line)
        if chunk is None:
            return None
        span = function.fact.span
        # A class is split once, not once a method and question.
        whole = self._lines.get(chunk.text, lambda: chunk.text.split("\n"))
        lines = whole[span.line : span.end_line + 1]
        return (chunk.line + span.line, "\n".join(lines)) if lines else None


def _parse(text: str, name: str) -> Body | None:
    """The tree of a function whose text may be indented; None where it is not that function."""
    indented = text[:1] in (" ", "\t")
    module = parse_any("if 1:\n" + text if indented else text)
    statement = module.body[0] if module is not None and module.body else None
    if isinstance(statement, ast.If) and indented:
        statement = statement.body[0]
    if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) or statement.name != name:
        return None  # older facts over a text that has moved on
    nodes = nodes_within(statement, DEEPEST - (2 if indented else 1))
    if nodes is None:
        return None
    if indented:
        for node in nodes:
            place = vars(node)
            if "lineno" in place:
                place["lineno"] -= 1
                place["end_lineno"] -= 1
    return Body(statement, text, nodes)


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """The answers asked for last, up to a number of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The answer kept for `key`, else `make()`."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = make()
        self._kept[key] = value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
