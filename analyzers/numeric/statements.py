"""Statements of source files: their ranges, what binds a variable, and where an argument was written.

Lines count from 0. A file that cannot be read or parsed has no statements.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from analyzers.numeric.records import CodeLine

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Scope: TypeAlias = Function | ast.ClassDef | ast.Module

_BLOCKS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Match,
)


class Range(NamedTuple):
    """Lines `line` to `end_line` of a file, both included."""

    path: str
    line: int
    end_line: int


class Sources:
    """Parsed files, each read once."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self._read = read
        self._trees: dict[str, ast.Module | None] = {}

    def tree(self, path: str) -> ast.Module | None:
        """The file's syntax tree; None where it cannot be read or does not parse."""
        if path not in self._trees:
            text = self._read(path)
            try:
                self._trees[path] = None if text is None else ast.parse(text)
            except (SyntaxError, ValueError):
                self._trees[path] = None
        return self._trees[path]

    def statement(self, path: str, line: int) -> ast.stmt | None:
        """The innermost statement that covers the line; a compound one only by its head."""
        tree = self.tree(path)
        found: ast.stmt | None = None
        body: Sequence[ast.stmt] = tree.body if tree is not None else ()
        while True:
            inner = next((each for each in body if _first(each) <= line <= _last(each)), None)
            if inner is None:
                return found
            found = inner
            if not isinstance(inner, _BLOCKS) or line <= _head_end(inner):
                return found
            body = tuple(_inside(inner))
            found = None

    def range_at(self, path: str, line: int) -> Range:
        """The statement's lines; the line by itself where no statement is known."""
        node = self.statement(path, line)
        return Range(path, line, line) if node is None else range_of(path, node)

    def scopes(self, path: str, line: int) -> tuple[_Scope, ...]:
        """The functions and classes that the line lies in, innermost first, and the file."""
        tree = self.tree(path)
        if tree is None:
            return ()
        found: list[_Scope] = [tree]
        body: Sequence[ast.stmt] = tree.body
        while True:
            inner = next((each for each in body if _first(each) <= line <= _last(each)), None)
            if inner is None:
                return tuple(reversed(found))
            if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.append(inner)
            body = tuple(_inside(inner)) if isinstance(inner, _BLOCKS) else ()

    def function(self, path: str, line: int) -> Function | None:
        """The innermost function that the line lies in."""
        return next(
            (
                each
                for each in self.scopes(path, line)
                if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
            ),
            None,
        )

    def enclosing_class(self, path: str, line: int) -> ast.ClassDef | None:
        """The innermost class that the line lies in."""
        return next((each for each in self.scopes(path, line) if isinstance(each, ast.ClassDef)), None)

    def definition(self, path: str, line: int, name: str, executed: Collection[int] = ()) -> ast.stmt | None:
        """The statement that last bound the variable before the line, in the same function. Of bindings in a
        branch that the line does not lie in, only one with an executed line in that branch counts, unless no
        branch of its `if` shows one. None for a parameter or a name from outside."""
        function = self.function(path, line)
        use = self.statement(path, line)
        if function is None or use is None:
            return None
        best: ast.stmt | None = None
        for node, branches in _bindings(function.body, name, ()):
            if node is use or node.lineno - 1 >= _first(use):
                continue
            if all(_taken(branch, use, executed) for branch in branches):
                best = node
        return best

    def attribute(self, path: str, line: int, name: str) -> ast.stmt | None:
        """The statement of the class around the line that binds `self.<name>`, also by `register_buffer`."""
        cls = self.enclosing_class(path, line)
        if cls is None:
            return None
        found = [
            node for node in ast.walk(cls) if isinstance(node, ast.stmt) and _binds_attribute(node, name)
        ]
        return found[0] if found else None


def range_of(path: str, node: ast.stmt) -> Range:
    """The lines of a statement; of a compound one, those of its head."""
    return Range(path, node.lineno - 1, _head_end(node))


def names_in(node: ast.AST) -> frozenset[str]:
    """The variables that are read in a tree."""
    return frozenset(
        each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    )


def attributes_in(node: ast.AST) -> frozenset[str]:
    """The attributes of `self` that are read in a tree."""
    return frozenset(
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self"
    )


def has_number(node: ast.AST, wanted: float) -> bool:
    """Whether a number is written in the tree, also as arithmetic of numbers."""
    return any(
        number is not None and math.isclose(number, wanted, rel_tol=1e-6)
        for number in (_folded(each) for each in ast.walk(head(node)) if isinstance(each, ast.expr))
    )


def has_constant(node: ast.AST, wanted: object) -> bool:
    """Whether a constant is written in the tree."""
    if isinstance(wanted, bool) or wanted is None or isinstance(wanted, str):
        return any(isinstance(each, ast.Constant) and each.value == wanted for each in ast.walk(head(node)))
    return isinstance(wanted, (int, float)) and has_number(node, float(wanted))


def head(node: ast.AST) -> ast.AST:
    """A compound statement's own expressions; any other tree as it is."""
    if isinstance(node, (ast.If, ast.While)):
        return node.test
    if isinstance(node, (ast.For, ast.AsyncFor)):
        return node.iter
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return node.args
    return node


def calls_in(node: ast.AST) -> tuple[ast.Call, ...]:
    """The calls that are written in a tree."""
    return tuple(each for each in ast.walk(head(node)) if isinstance(each, ast.Call))


def callee(call: ast.Call) -> str | None:
    """The last word of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None


def argument(call: ast.Call, function: Function | None, parameter: str, bound: bool) -> ast.expr | None:
    """What a call gives for a parameter; None where it leaves it out or a starred argument hides it.

    `bound`: the function's first parameter is not among the arguments (`self`).
    """
    for keyword in call.keywords:
        if keyword.arg == parameter:
            return keyword.value
    if function is None:
        return None
    names = [each.arg for each in [*function.args.posonlyargs, *function.args.args]]
    if parameter not in names:
        return None
    position = names.index(parameter) - (1 if bound and names[:1] in (["self"], ["cls"]) else 0)
    if any(isinstance(each, ast.Starred) for each in call.args[: position + 1]) or position < 0:
        return None
    return call.args[position] if position < len(call.args) else None


def default(function: Function, parameter: str) -> ast.expr | None:
    """A parameter's default."""
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(function.args.defaults))
    for each, value in zip(
        [*positional, *function.args.kwonlyargs],
        [*defaults, *function.args.defaults, *function.args.kw_defaults],
        strict=True,
    ):
        if each.arg == parameter:
            return value
    return None


def parameters(function: Function) -> frozenset[str]:
    """The names of a function's parameters."""
    return frozenset(
        each.arg for each in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    )


def innermost(frames: Sequence[CodeLine], own: Callable[[str], bool]) -> CodeLine | None:
    """The innermost frame in code of one's own."""
    return next((frame for frame in frames if own(frame.path)), None)


def _folded(node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant):
        value = node.value
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _folded(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp):
        left, right = _folded(node.left), _folded(node.right)
        if left is None or right is None:
            return None
        try:
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.Div):
                return left / right
            if isinstance(node.op, ast.Add):
                return left + right
            if isinstance(node.op, ast.Sub):
                return left - right
            if isinstance(node.op, ast.Pow):
                power = left**right
                return power if isinstance(power, float) else None
        except (ZeroDivisionError, OverflowError):
            return None
    return None


def _first(node: ast.stmt) -> int:
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return min([node.lineno, *(each.lineno for each in decorators)]) - 1


def _last(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - 1


def _head_end(node: ast.stmt) -> int:
    if not isinstance(node, _BLOCKS):
        return _last(node)
    inner = [_first(each) for each in _inside(node)]
    return max(node.lineno - 1, min(inner) - 1) if inner else _last(node)


def _inside(node: ast.stmt) -> Iterator[ast.stmt]:
    for part in ("body", "orelse", "finalbody"):
        yield from getattr(node, part, ())
    for handler in getattr(node, "handlers", ()):
        yield from handler.body
    for case in getattr(node, "cases", ()):
        yield from case.body


_Branch: TypeAlias = tuple[ast.If, Sequence[ast.stmt]]


def _bindings(
    body: Sequence[ast.stmt], name: str, branches: tuple[_Branch, ...]
) -> Iterator[tuple[ast.stmt, tuple[_Branch, ...]]]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, ast.If):
            yield from _bindings(node.body, name, (*branches, (node, node.body)))
            yield from _bindings(node.orelse, name, (*branches, (node, node.orelse)))
            continue
        if name in targets(node):
            yield node, branches
        if isinstance(node, _BLOCKS):
            yield from _bindings(tuple(_inside(node)), name, branches)


def targets(node: ast.stmt) -> tuple[str, ...]:
    """The variables that a statement binds, in order."""
    places: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        places = list(node.targets)
    elif isinstance(node, (ast.AugAssign, ast.AnnAssign, ast.For, ast.AsyncFor)):
        places = [node.target]
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        places = [item.optional_vars for item in node.items if item.optional_vars is not None]
    found = [
        each.id
        for place in places
        for each in ast.walk(place)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    ]
    found += [
        each.value.id
        for place in places
        for each in ast.walk(place)
        if isinstance(each, ast.Subscript)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
    ]
    return tuple(found)


def _taken(branch: _Branch, use: ast.stmt, executed: Collection[int]) -> bool:
    test, body = branch
    inside = [(_first(node), _last(node)) for node in body]
    if any(first <= use.lineno - 1 <= last for first, last in inside):
        return True
    if any(first <= line <= last for line in executed for first, last in inside):
        return True
    others = test.orelse if body is test.body else test.body
    other_lines = [(_first(node), _last(node)) for node in others]
    return not any(first <= line <= last for line in executed for first, last in other_lines) and not others


def _binds_attribute(node: ast.stmt, name: str) -> bool:
    places: Sequence[ast.expr] = ()
    if isinstance(node, ast.Assign):
        places = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        places = (node.target,)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        return (
            callee(call) in ("register_buffer", "register_parameter", "add_module", "__setattr__")
            and bool(call.args)
            and any(isinstance(each, ast.Constant) and each.value == name for each in call.args[:2])
        )
    return any(
        isinstance(each, ast.Attribute)
        and each.attr == name
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
        for place in places
        for each in ast.walk(place)
    )
