"""Edits of one source text by place, and what is tried with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from analyzers.numeric import statements


class Replacement(NamedTuple):
    """UTF-8 bytes `start` to `end` (excluded) of a text become `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Candidate:
    """An edit to try. `cause`: its name; `message`: one sentence that is true if the edit mends the error.
    `rank`: what is likelier has less."""

    cause: str
    message: str
    path: str
    replacements: tuple[Replacement, ...]
    rank: float


class Code:
    """A source file with the bytes of its nodes."""

    def __init__(self, path: str, text: str, tree: ast.Module) -> None:
        self.path, self.text, self.tree = path, text, tree
        self._data = text.encode("utf-8")
        starts = [0]
        for line in self._data.split(b"\n"):
            starts.append(starts[-1] + len(line) + 1)
        self._starts = starts

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node around each node."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """The bytes that a node stands in."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def code(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self._data[start:end].decode("utf-8")

    def replacing(self, node: ast.expr | ast.keyword, text: str) -> Replacement:
        """A node's text becomes another one."""
        return Replacement(*self.span(node), text)

    def replacing_whole(self, node: ast.expr, text: str) -> Replacement:
        """As `replacing`, with the brackets around the node, where it has some of its own."""
        start, end = self.span(node)
        before, behind = self._data[:start].rstrip(), self._data[end:]
        lead = len(behind) - len(behind.lstrip())
        own = before.endswith(b"(") and behind.lstrip().startswith(b")")
        if own and not re.search(rb"[\w\])]\s*$", before[:-1]):
            return Replacement(len(before) - 1, end + lead + 1, text)
        return Replacement(start, end, text)

    def method(self, call: ast.Call) -> tuple[str, Replacement] | None:
        """Of `x.f(...)`: the text `.f(...)`, and that without it; None for another call."""
        if not isinstance(call.func, ast.Attribute):
            return None
        start = self.span(call.func.value)[1]
        dot = self._data.find(b".", start)
        end = self.span(call)[1]
        return self._data[dot:end].decode("utf-8"), Replacement(dot, end, "")

    def without_argument(self, call: ast.Call, keyword: ast.keyword) -> Replacement:
        """A keyword argument goes, with the comma before it (or behind the first one)."""
        start, end = self.span(keyword)
        before = re.search(rb",\s*$", self._data[:start])
        if before is not None:
            return Replacement(before.start(), end, "")
        after = re.match(rb"\s*,\s*", self._data[end : self.span(call)[1]])
        return Replacement(start, end + (after.end() if after is not None else 0), "")

    def with_argument(self, call: ast.Call, text: str) -> Replacement:
        """One more argument at the end of a call."""
        end = self.span(call)[1] - 1
        given: Sequence[ast.expr | ast.keyword] = [*call.args, *call.keywords]
        if not given:
            return Replacement(end, end, text)
        last = max(self.span(each)[1] for each in given)
        trailing = b"," in self._data[last:end].split(b"#")[0]
        return Replacement(last, last, f", {text}") if not trailing else Replacement(end, end, f"{text}")

    def line_of(self, statement: ast.stmt) -> Replacement | None:
        """A statement goes with its lines; None where it shares them, or is all that its block has."""
        around = self.parents.get(statement)
        body = next(
            (b for b in (getattr(around, name, None) for name in ("body", "orelse")) if b and statement in b),
            None,
        )
        start, end = self.span(statement)
        first, last = self._starts[statement.lineno - 1], self._starts[statement.end_lineno or 0]
        rest = self._data[end:last].strip()
        if body is None or len(body) < 2 or self._data[first:start].strip() or (rest and rest[:1] != b"#"):
            return None
        return Replacement(first, min(last, len(self._data)), "")

    def applied(self, replacements: Iterable[Replacement]) -> str | None:
        """The text after the replacements; None where two touch or nothing changes."""
        parts: list[bytes] = []
        position = 0
        for start, end, text in sorted(set(replacements)):
            if start < position:
                return None
            parts += [self._data[position:start], text.encode("utf-8")]
            position = end
        parts.append(self._data[position:])
        result = b"".join(parts).decode("utf-8")
        return None if result == self.text else result


def code_of(path: str, text: str | None, tree: ast.Module | None) -> Code | None:
    """A file whose lines `ast` counts as everybody does; None for others."""
    if text is None or tree is None or "\f" in text or re.search(r"\r(?!\n)", text) or text[:1] == "\ufeff":
        return None
    return Code(path, text, tree)


def parses(text: str) -> bool:
    """Whether a text is Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def nodes_of(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement; of a compound one, of its head alone."""
    return ast.walk(statements.head(statement))


def bracketed(code: Code, node: ast.expr) -> str:
    """The text of a node as an operand of anything."""
    text = code.code(node)
    atom = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Tuple, ast.List)
    number = isinstance(node, ast.Constant) and not isinstance(node.value, (int, float))
    return text if isinstance(node, atom) or number else f"({text})"
