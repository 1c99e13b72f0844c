"""What becomes of local names in a function: given, only printed, or looked at.

Everything here works on the tree of one function and resolves nothing beyond it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator

from analyzers.facts.expressions import dotted_name
from analyzers.facts.walking import child_nodes, walk_tree

_TELLS = frozenset(
    {"print", "pprint", "warn", "debug", "info", "warning", "error", "exception", "log", "write"}
)
"""Last names of functions that only tell: `print`, `logger.info`, `warnings.warn`, ..."""

_ENDS = frozenset({"skip", "fail", "xfail", "exit", "skipTest"})


class Parents:
    """A tree with the way up."""

    def __init__(self, tree: ast.AST) -> None:
        self.tree = tree
        self._above: dict[ast.AST, ast.AST] = {
            child: node for node in walk_tree(tree) for child in child_nodes(node)
        }

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, innermost first."""
        while (parent := self._above.get(node)) is not None:
            yield parent
            node = parent

    def loads(self, name: str) -> Iterator[ast.Name]:
        """Every place that reads a local name."""
        for node in walk_tree(self.tree):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                yield node


def tail(call: ast.Call) -> str:
    """The last name of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def only_tells(call: ast.Call) -> bool:
    """Whether a call prints or logs and does nothing else."""
    return tail(call) in _TELLS


def ends(statements: list[ast.stmt]) -> bool:
    """Whether some of the statements fails or skips the test, or leaves the function."""
    for statement in statements:
        for node in walk_tree(statement):
            if isinstance(node, (ast.Raise, ast.Return, ast.Assert)):
                return True
            if isinstance(node, ast.Call) and tail(node) in _ENDS:
                return True
    return False


def tells_alone(statements: list[ast.stmt]) -> bool:
    """Whether the statements only print or log."""
    for statement in statements:
        if isinstance(statement, (ast.If, ast.For)):
            if not tells_alone([*statement.body, *statement.orelse]):
                return False
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            if not only_tells(statement.value):
                return False
        elif not isinstance(statement, ast.Pass):
            return False
    return True


def is_looked_at(parents: Parents, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether anything but printing and logging reads a local name, also through other names."""
    if name in seen:
        return False
    return any(_acts(parents, node, seen | {name}) for node in parents.loads(name))


def _acts(parents: Parents, node: ast.AST, seen: frozenset[str]) -> bool:
    """Whether the value read at a place goes further than into what is printed."""
    inner: ast.AST = node
    for outer in parents.above(node):
        if isinstance(outer, ast.Call) and inner is not outer.func and only_tells(outer):
            return False
        if isinstance(outer, (ast.If, ast.For)) and inner is (
            outer.test if isinstance(outer, ast.If) else outer.iter
        ):
            return not tells_alone([*outer.body, *outer.orelse])
        if isinstance(outer, ast.Assign):
            names = [t.id for target in outer.targets for t in walk_tree(target) if isinstance(t, ast.Name)]
            return any(is_looked_at(parents, n, seen) for n in names) or any(
                not isinstance(t, (ast.Name, ast.Tuple)) for t in outer.targets
            )
        if isinstance(outer, ast.Expr):
            value = outer.value
            return isinstance(value, (ast.Call, ast.Await)) or not isinstance(value, ast.expr)
        if isinstance(outer, ast.stmt):
            return True
        inner = outer
    return True


class Stores:
    """Where the names of a tree get their values: one walk, for as many questions as there are."""

    def __init__(self, tree: ast.AST, nodes: Iterable[ast.AST] | None = None) -> None:
        """`nodes`: those of the tree, where they are at hand."""
        self.tree = tree
        self._values: dict[str, list[ast.expr]] = {}
        self._unclear: set[str] = set()
        self._sources: dict[str, list[ast.expr | None]] = {}
        self._loops: dict[str, list[ast.expr]] = {}
        plain: set[ast.AST] = set()
        names: list[ast.Name] = []
        for node in walk_tree(tree) if nodes is None else nodes:
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store):
                    names.append(node)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    for element, value in _pairs(target, node.value):
                        self._values.setdefault(element.id, []).append(value)
                        plain.add(element)
                    self._note(target, node.value)
            elif isinstance(node, ast.AnnAssign):
                if isinstance(node.target, ast.Name) and node.value is not None:
                    self._values.setdefault(node.target.id, []).append(node.value)
                    plain.add(node.target)
            elif isinstance(node, ast.NamedExpr):
                self._values.setdefault(node.target.id, []).append(node.value)
                plain.add(node.target)
            elif isinstance(node, (ast.Global, ast.Nonlocal)):
                self._unclear.update(node.names)
            elif isinstance(node, ast.AugAssign):
                self._note(node.target, node.value)
            elif isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
                self._note(node.target, node.iter)
                if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
                    self._loops.setdefault(node.target.id, []).append(node.iter)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                self._note(node.optional_vars, node.context_expr)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not tree:
                self._sources.setdefault(node.name, []).append(None)
        self._unclear.update(name.id for name in names if name not in plain)
        self._counts = Counter(name.id for name in names)
        self._names = set(self._counts) | set(self._sources)

    def _note(self, target: ast.expr, value: ast.expr) -> None:
        for node in walk_tree(target):
            if isinstance(node, ast.Name):
                self._sources.setdefault(node.id, []).append(value)

    def of(self, name: str) -> list[ast.expr] | None:
        """The values that a name is given by plain assignments, in the order of the walk.

        None where it may get its value in another way: as a loop variable, by unpacking a value that
        is no display, by `with ... as`, `+=`, or `global`.
        """
        return None if name in self._unclear else self._values.get(name, [])

    def holds(self, name: str) -> bool:
        """Whether a name is bound anywhere in the tree."""
        return name in self._names

    def loop_over(self, name: str) -> ast.expr | None:
        """What a name runs over, where it is the variable of exactly one loop and nothing else."""
        loops = self._loops.get(name, [])
        return loops[0] if len(loops) == 1 and self._counts[name] == 1 else None

    def sources(self, name: str) -> list[ast.expr | None]:
        """What a name gets its values from, unpacking and loops included; None where that is unclear."""
        return list(self.of(name) or self._sources.get(name, []))


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.Name, ast.expr]]:
    """The names of an assignment with their own values (`a, b = x, y` gives two)."""
    if isinstance(target, ast.Name):
        yield target, value
        return
    displays = (ast.Tuple, ast.List)
    if isinstance(target, displays) and isinstance(value, displays) and len(target.elts) == len(value.elts):
        for element, part in zip(target.elts, value.elts, strict=True):
            yield from _pairs(element, part)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """The names of a function's parameters."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return frozenset(a.arg for a in every)


def called_name(call: ast.Call) -> str:
    """The dotted name that is called, empty where it is none."""
    return dotted_name(call.func) or ""
