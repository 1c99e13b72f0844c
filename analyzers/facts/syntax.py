"""Python's parser, and its error as a fact."""

from __future__ import annotations

import ast
import warnings

from analyzers.facts.model import SyntaxProblem
from analyzers.facts.walking import is_deeper
from analyzers.findings import Span

DEEPEST = 100
"""Levels of a tree that is walked by recursion; the deepest of FastVideo's has 42."""


def parse(text: str) -> ast.Module:
    """`ast.parse` without its warnings (invalid escapes are not what is asked here)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def parse_shallow(text: str) -> ast.Module | None:
    """The tree of a text that may be walked by recursion; None where it does not parse, or is deeper than
    `DEEPEST` levels: a chain of a thousand operators must not exhaust the stack of whoever asks."""
    tree = parse_any(text)
    return None if tree is None or is_deeper(tree, DEEPEST) else tree


def parse_any(text: str) -> ast.Module | None:
    """The tree of a text, however deep; None where it does not parse."""
    try:
        return parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def problem_of(error: SyntaxError, text: str) -> SyntaxProblem:
    """Python's error as a fact; its offsets count code points from 1 and may be missing."""
    lines = text.split("\n")
    line = min(max((error.lineno or 1) - 1, 0), len(lines) - 1)
    content = lines[line]
    begin = min(max((error.offset or 1) - 1, 0), len(content))
    end_line = (error.end_lineno or line + 1) - 1
    end = (error.end_offset or 0) - 1
    if end_line != line or end <= begin:
        end = min(begin + 1, len(content)) if begin < len(content) else begin
    end = min(end, len(content))
    width = len(content[:begin].encode("utf-8", "surrogatepass"))
    stop = len(content[:end].encode("utf-8", "surrogatepass"))
    return SyntaxProblem(error.msg, Span(line, width, line, stop))
