"""Small predicates over strings, evaluated on their syntax trees by an interpreter of our own.

What FastVideo's pipeline registry calls a detector is a lambda (or a small function) over a path:
`lambda path: "wan" in path.lower() and "i2v" not in path.lower()`. Nothing is ever handed to
Python's `eval`: names mean what the module's own text says, and whatever is not known here raises
`Undecided`.

Known: constants, tuples, lists, sets and dicts; `and`, `or`, `not`, comparisons, `if` expressions,
subscripts, comprehensions, f-strings without format specifications; methods of strings that give a
string, a list or a truth value; `any`, `all`, `len`, `bool`, `str`, `tuple`, `list`, `set`,
`sorted`; `os.path.basename`; lambdas, functions and closures made of assignments, `if`, `for` and
`return`.
"""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from analyzers.facts.expressions import dotted_name
from analyzers.facts.walking import child_nodes, walk_tree

STEPS = 20_000
"""Nodes evaluated at most for one answer."""
DEPTH = 40
"""Calls within calls at most."""
LENGTH = 10_000
"""Longest string or collection that may come about."""


class Undecided(Exception):
    """The value depends on something that is not known here."""


class _Return(Exception):
    """Control flow: a `return`."""

    def __init__(self, value: object) -> None:
        self.value = value


class _Leave(Exception):
    """Control flow: a `break`."""


class _Skip(Exception):
    """Control flow: a `continue`."""


FunctionNode = ast.FunctionDef | ast.Lambda


@dataclass
class Scope:
    """Names and what they hold; `pending` are module-level expressions, evaluated when asked for.

    `unknown`: names that are bound in a way that is not followed.
    """

    values: dict[str, object] = field(default_factory=dict)
    pending: dict[str, ast.expr] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    parent: Scope | None = None


@dataclass(frozen=True, eq=False)
class Closure:
    """A function together with the names around it.

    `defaults`: those of its parameters, by name, as they were when it was made; None for a function
    of the module, whose defaults are looked at when it is called.
    """

    node: FunctionNode
    scope: Scope
    defaults: Mapping[str, object] | None = None

    def accepts(self, text: str) -> bool | None:
        """What the function makes of one string, as a truth value; None where that is undecided."""
        try:
            return bool(_Interpreter().call(self, (text,), {}))
        except (Undecided, RecursionError):
            return None


@dataclass(frozen=True)
class _Method:
    receiver: str
    name: str


@dataclass(frozen=True)
class _Builtin:
    name: str


_BUILTINS: Final = frozenset(
    {"any", "all", "len", "bool", "str", "tuple", "list", "set", "frozenset", "sorted"}
)
_METHODS: Final = frozenset(
    {"lower", "upper", "casefold", "strip", "lstrip", "rstrip", "removeprefix", "removesuffix", "replace"}
    | {"startswith", "endswith", "split", "rsplit", "partition", "rpartition", "splitlines", "join"}
    | {"find", "rfind", "count", "isdigit", "isalpha", "isalnum", "islower", "isupper"}
)
_MODULES: Final = {"os.path.basename": posixpath.basename, "posixpath.basename": posixpath.basename}


def evaluate(node: ast.expr, scope: Scope) -> object:
    """The value of an expression. Raises `Undecided`."""
    try:
        return _Interpreter().value(node, scope)
    except RecursionError as error:
        raise Undecided from error


def execute(statement: ast.stmt, scope: Scope) -> None:
    """Runs a definition or an assignment in a scope; names whose value is undecided become unknown."""
    names = set(bound_names(statement))
    try:
        if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.FunctionDef)):
            raise Undecided
        _Interpreter().statement(statement, scope)
    except (Undecided, RecursionError):
        for name in names:
            scope.values.pop(name, None)
        scope.unknown |= names


def bound_names(statement: ast.stmt) -> Iterator[str]:
    """Every name that a statement (with what is nested in it, functions' insides apart) may bind."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            yield node.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        pending.extend(child_nodes(node))


class _Interpreter:
    def __init__(self) -> None:
        self.steps = 0
        self.depth = 0

    # ------------------ calls

    def call(self, closure: Closure, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> object:
        self.depth += 1
        if self.depth > DEPTH:
            raise Undecided
        node = closure.node
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            raise Undecided
        scope = Scope(self._bound(closure, arguments, keywords), parent=closure.scope)
        try:
            if isinstance(node, ast.Lambda):
                return self.value(node.body, scope)
            # A name that the body binds is local throughout.
            scope.unknown = {n for s in node.body for n in bound_names(s)} - set(scope.values)
            for statement in node.body:
                self.statement(statement, scope)
        except _Return as given:
            return given.value
        finally:
            self.depth -= 1
        return None

    def _bound(
        self, closure: Closure, arguments: tuple[object, ...], keywords: Mapping[str, object]
    ) -> dict[str, object]:
        given = closure.node.args
        if given.vararg is not None or given.kwarg is not None:
            raise Undecided
        positional = [*given.posonlyargs, *given.args]
        bound: dict[str, object] = {}
        defaults = closure.defaults
        if defaults is None:
            defaults = self.defaults(closure.node, closure.scope)
        if len(arguments) > len(positional):
            raise Undecided
        bound.update(zip([a.arg for a in positional], arguments, strict=False))
        for name, value in keywords.items():
            if name in bound:
                raise Undecided
            bound[name] = value
        for parameter in (*positional, *given.kwonlyargs):
            if parameter.arg not in bound:
                if parameter.arg not in defaults:
                    raise Undecided
                bound[parameter.arg] = defaults[parameter.arg]
        if len(bound) != len(positional) + len(given.kwonlyargs):
            raise Undecided
        return bound

    def defaults(self, node: FunctionNode, scope: Scope) -> dict[str, object]:
        """The defaults of a function's parameters, by name."""
        given = node.args
        positional = [a.arg for a in (*given.posonlyargs, *given.args)]
        found = dict(zip(reversed(positional), reversed(given.defaults), strict=False))
        keyword = zip(given.kwonlyargs, given.kw_defaults, strict=True)
        found.update({a.arg: d for a, d in keyword if d is not None})
        return {name: self.value(value, scope) for name, value in found.items()}

    # ------------------ statements

    def statement(self, node: ast.stmt, scope: Scope) -> None:
        self._step()
        if isinstance(node, ast.Return):
            raise _Return(self.value(node.value, scope) if node.value is not None else None)
        if isinstance(node, ast.Assign):
            value = self.value(node.value, scope)
            for target in node.targets:
                self._store(target, value, scope)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self._store(node.target, self.value(node.value, scope), scope)
        elif isinstance(node, ast.FunctionDef):
            made = Closure(node, scope, self.defaults(node, scope))
            self._store(ast.Name(node.name, ast.Store()), made, scope)
        elif isinstance(node, ast.If):
            for inner in node.body if self.value(node.test, scope) else node.orelse:
                self.statement(inner, scope)
        elif isinstance(node, ast.For):
            self._loop(node, scope)
        elif isinstance(node, ast.Break):
            raise _Leave
        elif isinstance(node, ast.Continue):
            raise _Skip
        elif isinstance(node, ast.Expr):
            if not isinstance(node.value, ast.Constant):
                raise Undecided  # what it does besides cannot be told
        elif not isinstance(node, ast.Pass):
            raise Undecided

    def _loop(self, node: ast.For, scope: Scope) -> None:
        for item in self._items(self.value(node.iter, scope)):
            self._store(node.target, item, scope)
            try:
                for inner in node.body:
                    self.statement(inner, scope)
            except _Leave:
                return
            except _Skip:
                continue
        for inner in node.orelse:
            self.statement(inner, scope)

    def _store(self, target: ast.expr, value: object, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.values[target.id] = value
            scope.unknown.discard(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            items = list(self._items(value))
            if len(items) != len(target.elts) or any(isinstance(t, ast.Starred) for t in target.elts):
                raise Undecided
            for inner, item in zip(target.elts, items, strict=True):
                self._store(inner, item, scope)
        else:
            raise Undecided

    # ------------------ expressions

    def value(self, node: ast.expr, scope: Scope) -> object:
        self._step()
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._name(node.id, scope)
        if isinstance(node, ast.Lambda):
            return Closure(node, scope, self.defaults(node, scope))
        if isinstance(node, ast.BoolOp):
            return self._boolean(node, scope)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self.value(node.operand, scope)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self.value(node.operand, scope)
            if isinstance(number, int):
                return -number
        if isinstance(node, ast.IfExp):
            return self.value(node.body if self.value(node.test, scope) else node.orelse, scope)
        if isinstance(node, ast.Compare):
            return self._compare(node, scope)
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return self._display(node, scope)
        if isinstance(node, ast.Dict):
            return {self._hashable(self.value(k, scope)): self.value(v, scope) for k, v in _pairs(node)}
        if isinstance(node, ast.NamedExpr):
            found = self.value(node.value, scope)
            self._store(node.target, found, scope)
            return found
        if isinstance(node, ast.Attribute):
            receiver = self.value(node.value, scope)
            if isinstance(receiver, str) and node.attr in _METHODS:
                return _Method(receiver, node.attr)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, scope)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp)):
            inner = Scope(parent=scope)
            return [self.value(node.elt, inner) for _ in self._comprehended(node.generators, inner)]
        if isinstance(node, ast.JoinedStr):
            return self._joined(node, scope)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._sum(self.value(node.left, scope), self.value(node.right, scope))
        if isinstance(node, ast.Call):
            return self._call(node, scope)
        raise Undecided

    def _name(self, name: str, scope: Scope) -> object:
        around: Scope | None = scope
        while around is not None:
            if name in around.unknown:
                raise Undecided
            if name in around.values:
                return around.values[name]
            if name in around.pending:
                self.depth += 1
                if self.depth > DEPTH:
                    raise Undecided
                found = self.value(around.pending[name], around)
                self.depth -= 1
                around.values[name] = found
                return found
            around = around.parent
        if name in _BUILTINS:
            return _Builtin(name)
        raise Undecided

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> object:
        ends = isinstance(node.op, ast.Or)
        found: object = None
        for operand in node.values:
            found = self.value(operand, scope)
            if bool(found) is ends:
                return found
        return found

    def _compare(self, node: ast.Compare, scope: Scope) -> bool:
        left = self.value(node.left, scope)
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.value(right_node, scope)
            if not _compared(operator, left, right):
                return False
            left = right
        return True

    def _display(self, node: ast.Tuple | ast.List | ast.Set, scope: Scope) -> object:
        items: list[object] = []
        for element in node.elts:
            if isinstance(element, ast.Starred):
                items.extend(self._items(self.value(element.value, scope)))
            else:
                items.append(self.value(element, scope))
        if isinstance(node, ast.Set):
            return {self._hashable(i) for i in items}
        return items if isinstance(node, ast.List) else tuple(items)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> object:
        holder = self.value(node.value, scope)
        index: object
        if isinstance(node.slice, ast.Slice):
            ends = (node.slice.lower, node.slice.upper, node.slice.step)
            index = slice(*(self.value(e, scope) if e is not None else None for e in ends))
        else:
            index = self.value(node.slice, scope)
        try:
            if isinstance(holder, (str, tuple, list)) and isinstance(index, (int, slice)):
                return holder[index]
            if isinstance(holder, dict):
                return holder[self._hashable(index)]
        except (LookupError, TypeError, ValueError) as error:
            raise Undecided from error
        raise Undecided

    def _comprehended(self, generators: list[ast.comprehension], scope: Scope) -> Iterator[None]:
        first, *rest = generators
        if first.is_async:
            raise Undecided
        for item in self._items(self.value(first.iter, scope)):
            self._step()
            self._store(first.target, item, scope)
            if all(self.value(test, scope) for test in first.ifs):
                if rest:
                    yield from self._comprehended(rest, scope)
                else:
                    yield

    def _joined(self, node: ast.JoinedStr, scope: Scope) -> str:
        parts: list[str] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and (part.format_spec or part.conversion != -1):
                raise Undecided
            found = self.value(part.value if isinstance(part, ast.FormattedValue) else part, scope)
            if not isinstance(found, (str, int)):
                raise Undecided
            parts.append(str(found))
        return "".join(parts)

    def _sum(self, left: object, right: object) -> object:
        if isinstance(left, str) and isinstance(right, str):
            return self._bounded(left + right)
        if isinstance(left, tuple) and isinstance(right, tuple):
            return self._bounded(left + right)
        if isinstance(left, list) and isinstance(right, list):
            return self._bounded(left + right)
        raise Undecided

    def _call(self, node: ast.Call, scope: Scope) -> object:
        dotted = dotted_name(node.func)
        known = _MODULES.get(dotted) if dotted is not None else None
        if known is not None and dotted is not None and self._is_module(dotted.partition(".")[0], scope):
            argument = self.value(node.args[0], scope) if len(node.args) == 1 else None
            if isinstance(argument, str) and not node.keywords:
                return known(argument)
            raise Undecided
        function = self.value(node.func, scope)
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            raise Undecided
        if isinstance(function, _Builtin) and function.name in ("any", "all"):
            return self._quantified(function.name, node, scope)
        arguments = tuple(self.value(a, scope) for a in node.args)
        keywords = {k.arg: self.value(k.value, scope) for k in node.keywords if k.arg is not None}
        if isinstance(function, Closure):
            return self.call(function, arguments, keywords)
        if isinstance(function, _Method):
            return self._method(function, arguments, keywords)
        if isinstance(function, _Builtin) and len(arguments) == 1 and not keywords:
            return self._builtin(function.name, arguments[0])
        raise Undecided

    def _quantified(self, name: str, node: ast.Call, scope: Scope) -> bool:
        """`any` and `all`, which stop at the first item that decides."""
        if len(node.args) != 1 or node.keywords:
            raise Undecided
        ends = name == "any"
        given = node.args[0]
        if isinstance(given, ast.GeneratorExp):
            inner = Scope(parent=scope)
            for _ in self._comprehended(given.generators, inner):
                if bool(self.value(given.elt, inner)) is ends:
                    return ends
            return not ends
        items = self._items(self.value(given, scope))
        return any(items) if ends else all(items)

    def _is_module(self, name: str, scope: Scope) -> bool:
        """Whether nothing but an import binds the name of a module (imports are bound to themselves)."""
        around: Scope | None = scope
        while around is not None:
            if name in around.values or name in around.pending:
                return False
            if name in around.unknown:
                return around.parent is None
            around = around.parent
        return False

    def _method(
        self, method: _Method, arguments: tuple[object, ...], keywords: Mapping[str, object]
    ) -> object:
        given = [*arguments, *keywords.values()]
        for argument in given:
            items = argument if isinstance(argument, (tuple, list, set)) else (argument,)
            if not all(isinstance(i, (str, int, type(None))) for i in items):
                raise Undecided
            if method.name not in ("join", "startswith", "endswith") and items is argument:
                raise Undecided
        function = getattr(method.receiver, method.name)
        try:
            return self._bounded(function(*arguments, **keywords))
        except (TypeError, ValueError) as error:
            raise Undecided from error

    def _builtin(self, name: str, argument: object) -> object:
        if name == "bool":
            return bool(argument)
        if name == "str":
            if isinstance(argument, str):
                return argument
            raise Undecided
        items = list(self._items(argument))
        if name == "len":
            return len(items)
        if name in ("set", "frozenset"):
            return {self._hashable(i) for i in items}
        if name == "sorted":
            if not all(isinstance(i, str) for i in items):
                raise Undecided
            return sorted(i for i in items if isinstance(i, str))
        return tuple(items) if name == "tuple" else items

    # ------------------ bounds

    def _items(self, value: object) -> Iterable[object]:
        if isinstance(value, (str, tuple, list, dict)):
            return value
        if isinstance(value, (set, frozenset)):
            # The order of a set is not known; nothing here may depend on it.
            return sorted(value, key=repr)
        raise Undecided

    def _bounded(self, value: object) -> object:
        if isinstance(value, (str, tuple, list)) and len(value) > LENGTH:
            raise Undecided
        return value

    def _hashable(self, value: object) -> str | int | None:
        if isinstance(value, (str, int)) or value is None:
            return value
        raise Undecided

    def _step(self) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise Undecided


def _compared(operator: ast.cmpop, left: object, right: object) -> bool:
    if isinstance(operator, (ast.In, ast.NotIn)):
        if isinstance(right, str):
            if not isinstance(left, str):
                raise Undecided
            found = left in right
        elif isinstance(right, (tuple, list, set, frozenset, dict)):
            found = left in right
        else:
            raise Undecided
        return found is isinstance(operator, ast.In)
    if isinstance(operator, ast.Eq):
        return left == right
    if isinstance(operator, ast.NotEq):
        return left != right
    if isinstance(operator, (ast.Is, ast.IsNot)):
        if left is not None and right is not None and not isinstance(left, bool):
            raise Undecided
        return (left is right) is isinstance(operator, ast.Is)
    if isinstance(left, int) and isinstance(right, int):
        if isinstance(operator, ast.Lt):
            return left < right
        if isinstance(operator, ast.LtE):
            return left <= right
        if isinstance(operator, ast.Gt):
            return left > right
        return left >= right
    raise Undecided


def _pairs(node: ast.Dict) -> Iterator[tuple[ast.expr, ast.expr]]:
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            raise Undecided
        yield key, value


def tokens(closure: Closure) -> frozenset[str]:
    """The strings that a predicate is made of: its literals, and those of the names that it reads."""
    found: set[str] = set()
    for node in walk_tree(closure.node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            scope: Scope | None = closure.scope
            while scope is not None and node.id not in scope.values:
                scope = scope.parent
            value = scope.values[node.id] if scope is not None else None
            items = value if isinstance(value, (tuple, list, set)) else (value,)
            found.update(i for i in items if isinstance(i, str))
    return frozenset(found)
