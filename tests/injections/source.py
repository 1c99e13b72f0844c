"""A port's file as mutators see it: its tree, the text of every node, and edits that know their lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias


class Lines(NamedTuple):
    """A range of lines, from 0, both included."""

    first: int
    last: int

    def meets(self, other: Lines) -> bool:
        return self.first <= other.last and other.first <= self.last

    def holds(self, other: Lines) -> bool:
        return self.first <= other.first and other.last <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1


class Replacement(NamedTuple):
    """Characters `start` to `end` (excluded) of the text become `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Injection:
    """One error at one place.

    `path`: the file, relative to the root of the tree. `before`: the lines of the statements that are
    edited, in the clean text; `after`: the same in the mutated text. Every one of them is a right answer:
    there are several only where the error *is* the order of two statements. `owner`: the class whose code
    it is. `function`: the function, None in a class body or module.
    """

    kind: str
    path: str
    owner: str | None
    function: str | None
    replacements: tuple[Replacement, ...]
    before: tuple[Lines, ...]
    after: tuple[Lines, ...]
    what: str

    @property
    def key(self) -> str:
        """The same in every run: what a results file knows an injection by."""
        at = ",".join(f"{r.start}-{r.end}={r.text}" for r in self.replacements)
        return f"{self.path}:{self.before[0].first + 1}:{self.kind}:{at}"

    def applied(self, text: str) -> str:
        """The mutated text."""
        return replaced(text, self.replacements)


def replaced(text: str, replacements: Sequence[Replacement]) -> str:
    """The text with all replacements made. Raises ValueError where two of them overlap."""
    parts, at = [], 0
    for replacement in sorted(replacements):
        if replacement.start < at:
            raise ValueError(f"overlapping replacements at {replacement.start}")
        parts += [text[at : replacement.start], replacement.text]
        at = replacement.end
    return "".join([*parts, text[at:]])


Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"


@dataclass(frozen=True)
class SourceFile:
    """`path`: relative to the root. `executed`: the lines (from 0) that run in a tiny comparison; None where
    that is not known, so that all count."""

    path: str
    text: str
    executed: frozenset[int] | None = None

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        starts = [0]
        for line in self.text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        return tuple(starts)

    @cached_property
    def _lines(self) -> tuple[str, ...]:
        return tuple(self.text.split("\n"))

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def offset(self, line: int, column: int) -> int:
        """Of a line from 1 and a column in bytes, as `ast` counts them."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def code(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement around a node."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def lines(self, node: ast.AST, whole: bool = False) -> Lines:
        """Of the statement around a node; of one that holds others its head alone, unless it is wanted
        whole."""
        statement = self.statement(node)
        body = getattr(statement, "body", None)
        if body and not whole:
            return Lines(statement.lineno - 1, max(statement.lineno, body[0].lineno - 1) - 1)
        assert statement.end_lineno is not None
        return Lines(statement.lineno - 1, statement.end_lineno - 1)

    def function(self, node: ast.AST) -> Function | None:
        """The innermost function whose body holds the node."""
        at: ast.AST | None = self.statement(node)
        while at is not None:
            above = self.parents.get(at)
            if isinstance(above, (ast.FunctionDef, ast.AsyncFunctionDef)) and at in above.body:
                return above
            at = above
        return None

    def owner(self, node: ast.AST) -> ast.ClassDef | None:
        """The innermost class around a node."""
        at: ast.AST | None = node
        while at is not None and not isinstance(at, ast.ClassDef):
            at = self.parents.get(at)
        return at

    def runs(self, node: ast.AST) -> bool:
        """Whether the statement around a node is executed."""
        if self.executed is None:
            return True
        lines = self.lines(node)
        return any(line in self.executed for line in range(lines.first, lines.last + 1))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes in the bodies of functions that run, in the order of the text."""
        found = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, (ast.expr, ast.stmt)) and self.function(node) is not None and self.runs(node)
        ]
        return tuple(sorted(found, key=lambda node: (node.lineno, node.col_offset, -_end(node))))

    @cached_property
    def forward_nodes(self) -> tuple[ast.AST, ...]:
        """Those of them that compute, so not in a constructor."""
        return tuple(node for node in self.nodes if not self._is_constructor(node))

    @cached_property
    def constructor_nodes(self) -> tuple[ast.AST, ...]:
        """Those of them in constructors."""
        return tuple(node for node in self.nodes if self._is_constructor(node))

    def _is_constructor(self, node: ast.AST) -> bool:
        function = self.function(node)
        return function is not None and (function.name == "__init__" or function.name.startswith("_build"))

    def calls(self, nodes: Sequence[ast.AST] | None = None) -> Iterator[tuple[ast.Call, str]]:
        """Every call, and the name that it is called by."""
        for node in self.nodes if nodes is None else nodes:
            if isinstance(node, ast.Call):
                yield node, self.code(node.func)

    @cached_property
    def _functions_own(self) -> frozenset[str]:
        return frozenset(
            node.name for node in ast.walk(self.tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        )

    def defines(self, name: str) -> bool:
        """Whether this file defines a function or class of that name."""
        return name in self._functions_own

    def replace(self, node: ast.expr | ast.stmt, text: str) -> Replacement:
        start, end = self.span(node)
        return Replacement(start, end, text)

    def add_argument(self, call: ast.Call, text: str) -> Replacement:
        """One more keyword argument, behind all others."""
        _, end = self.span(call)
        last = [*call.args, *(keyword.value for keyword in call.keywords)]
        if not last:
            return Replacement(end - 1, end - 1, text)
        at = max(self.span(node)[1] for node in last)
        return Replacement(at, at, f", {text}")

    def swap(self, a: ast.expr | ast.stmt, b: ast.expr | ast.stmt) -> tuple[Replacement, Replacement]:
        return self.replace(a, self.code(b)), self.replace(b, self.code(a))

    def injection(
        self,
        kind: str,
        at: Sequence[ast.AST],
        replacements: Sequence[Replacement],
        what: str = "",
        whole: bool = False,
    ) -> Injection | None:
        """The error, unless the text does not change or stops being Python. `at`: nodes of the edited
        statements. `whole`: with what a statement holds, where it is moved as one."""
        mutated = replaced(self.text, replacements)
        if mutated == self.text:
            return None
        try:
            ast.parse(self._chunk(at[0], mutated))
        except SyntaxError:
            return None
        before = tuple(dict.fromkeys(self.lines(node, whole) for node in at))
        owner, function = self.owner(at[0]), self.function(at[0])
        return Injection(
            kind,
            self.path,
            owner.name if owner else None,
            function.name if function else None,
            tuple(sorted(replacements)),
            before,
            tuple(self._moved(lines, replacements) for lines in before),
            what or _told(self.text, replacements),
        )

    def _chunk(self, node: ast.AST, mutated: str) -> str:
        """The class or function of the file that a node stands in, of the mutated text."""
        while not isinstance(self.parents[node], ast.Module):
            node = self.parents[node]
        assert isinstance(node, ast.stmt)
        start, end = self.span(node)
        return mutated[start : end + len(mutated) - len(self.text)]

    def _moved(self, lines: Lines, replacements: Sequence[Replacement]) -> Lines:
        """Where lines of the clean text are once the replacements are made."""
        first = self._starts[lines.first]
        last = self._starts[lines.last + 1] - 1
        delta = [(r, r.text.count("\n") - self.text.count("\n", r.start, r.end)) for r in replacements]
        return Lines(
            lines.first + sum(change for r, change in delta if r.end <= first),
            lines.last + sum(change for r, change in delta if r.end <= last),
        )


def _end(node: ast.AST) -> int:
    return (getattr(node, "end_lineno", 0) or 0) * 10000 + (getattr(node, "end_col_offset", 0) or 0)


def _told(text: str, replacements: Sequence[Replacement]) -> str:
    parts = [f"{text[r.start : r.end]!r} -> {r.text!r}" for r in sorted(replacements)]
    return re.sub(r"\\n\s*", " ", "; ".join(parts))


Mutator: TypeAlias = "Callable[[SourceFile], Iterator[Injection | None]]"
