"""FastVideo's pipeline registry, simulated from its text: who registers what, and which detector decides.

Source: `fastvideo/registry.py`. `register_configs` files a pipeline config under published paths and
appends detectors to one list; `_get_config_info` takes an exact path first, then an equal short
name, then the first registration of which a detector accepts the lowercased path or the lowercased
`_class_name` of `model_index.json`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from analyzers.facts.entries import DISCOVERED_NAME
from analyzers.facts.predicates import Closure, Scope, Undecided, bound_names, evaluate, execute
from analyzers.facts.syntax import parse_shallow
from analyzers.facts.walking import walk_tree
from analyzers.findings import Location, Span
from analyzers.project.names import Names
from analyzers.project.profile import Registrations
from analyzers.project.registry import entry_names
from analyzers.project.sources import Sources

_BESIDES = ("hf_model_paths", "model_detectors", "workload_types")
"""Arguments of a registration that do not change what a checkpoint is run with."""


@dataclass(frozen=True)
class Detector:
    """One detector; `function` is None where it is nothing that can be followed."""

    location: Location
    function: Closure | None

    def accepts(self, text: str) -> bool | None:
        """Whether it accepts a (lowercased) path or class name; None where that is undecided."""
        return self.function.accepts(text) if self.function is not None else None


@dataclass(frozen=True)
class Registration:
    """One call of the registering function, in the order in which the module makes them.

    `config`: the name given for the pipeline config, as written. `paths`: None where they are
    computed. `info`: what a checkpoint that resolves here is run with, as written. `pinned`: the
    pipeline class that is named outright.
    """

    config: str | None
    location: Location
    paths: tuple[str, ...] | None
    detectors: tuple[Detector, ...] | None
    info: tuple[tuple[str, str], ...]
    pinned: str | None


@dataclass(frozen=True)
class PipelineRegistry:
    """What the pipeline registry's module says.

    `complete`: every registration could be read, none stands in a loop or under a condition.
    `first_wins`: the resolver takes the first registration that accepts. `mentioned`: the names that
    the module uses outside of imports.
    """

    registrations: tuple[Registration, ...]
    complete: bool
    lowers: bool
    first_wins: bool
    mentioned: frozenset[str]


def read_pipeline_registry(sources: Sources, where: Registrations) -> PipelineRegistry | None:
    """The registry of the tree; None where there is none, or it does not parse."""
    if not sources.exists(where.registry):
        return None
    return sources.memory.get(("pipeline registry",), lambda: _read(sources, where))


def _read(sources: Sources, where: Registrations) -> PipelineRegistry | None:
    path = where.registry
    text = sources.text(path)
    facts = sources.facts(path)
    if text is None or facts is None or facts.broken:
        return None
    tree = parse_shallow(text)
    if tree is None:
        return None
    reader = _Reader(path, tree, where.register)
    try:
        reader.read()
    except RecursionError:  # functions that call one another, hundreds deep
        return None
    lowers, first = _resolver(tree)
    return PipelineRegistry(tuple(reader.found), reader.complete, lowers, first, frozenset(_mentions(tree)))


def _mentions(tree: ast.Module) -> Iterator[str]:
    for node in walk_tree(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


# --------------------------------------------------------------------------- registrations


class _Reader:
    """Walks the module as importing it would, as far as registrations are concerned."""

    def __init__(self, path: str, tree: ast.Module, function: str) -> None:
        self.path = path
        self.tree = tree
        self.function = function
        self.functions = {s.name: s for s in tree.body if isinstance(s, ast.FunctionDef)}
        self.found: list[Registration] = []
        self.complete = True
        self.module = Scope()
        self._running: set[str] = set()
        self._ran: set[str] = set()

    def read(self) -> None:
        self._module_scope()
        for statement in self.tree.body:
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                self._statement(statement, self.module)
        if not self.found:
            # Registered on first use: the functions in the order of the text.
            for name, function in self.functions.items():
                if name not in self._ran and name != self.function:
                    self._function(function)

    def _module_scope(self) -> None:
        scope = self.module
        for statement in self.tree.body:
            names = set(bound_names(statement))
            for name in names & (scope.values.keys() | scope.pending.keys() | scope.unknown):
                scope.values.pop(name, None)
                scope.pending.pop(name, None)
                scope.unknown.add(name)
            names -= scope.unknown
            if isinstance(statement, ast.FunctionDef):
                scope.values[statement.name] = Closure(statement, scope)
            elif (value := _plain_value(statement)) is not None:
                scope.pending.update((name, value) for name in names)
            else:
                scope.unknown |= names

    def _function(self, function: ast.FunctionDef) -> None:
        if function.name in self._running or not self._registers(function):
            return
        self._running.add(function.name)
        self._ran.add(function.name)
        scope = Scope(parent=self.module)
        for statement in function.body:
            self._statement(statement, scope)
        self._running.discard(function.name)

    def _statement(self, statement: ast.stmt, scope: Scope) -> None:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            if call.func.id == self.function:
                self._register(call, scope)
                return
            called = self.functions.get(call.func.id)
            if called is not None and self._registers(called):
                if call.args or call.keywords or called.args.args:
                    self.complete = False  # what it registers depends on what it is given
                else:
                    self._function(called)
                return
        if self._registers(statement):
            self.complete = False  # in a loop, under a condition: not followed
        if scope is not self.module:
            execute(statement, scope)

    def _registers(self, node: ast.AST) -> bool:
        """Whether a call in there registers something, also through a function of the module."""
        called = {
            n.func.id for n in walk_tree(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        if self.function in called:
            return True
        return any(
            self.function in _called(self.functions[name])
            for name in called
            if name in self.functions and name != self.function
        )

    def _register(self, call: ast.Call, scope: Scope) -> None:
        if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
            self.complete = False
            return
        given = {k.arg: k.value for k in call.keywords if k.arg is not None}
        definition = self.functions.get(self.function)
        if call.args:
            if definition is None:
                self.complete = False
                return
            names = [a.arg for a in (*definition.args.posonlyargs, *definition.args.args)]
            given.update(zip(names, call.args, strict=False))
        config = given.get("pipeline_config_cls")
        pinned = given.get("pipeline_cls_name")
        self.found.append(
            Registration(
                config=ast.unparse(config) if config is not None else None,
                location=self._at(call.func),
                paths=self._paths(given.get("hf_model_paths"), scope),
                detectors=self._detectors(given.get("model_detectors"), scope),
                info=tuple(sorted((n, ast.unparse(v)) for n, v in given.items() if n not in _BESIDES)),
                pinned=pinned.value
                if isinstance(pinned, ast.Constant) and isinstance(pinned.value, str)
                else None,
            )
        )

    def _paths(self, node: ast.expr | None, scope: Scope) -> tuple[str, ...] | None:
        try:
            value = evaluate(node, scope) if node is not None else ()
        except Undecided:
            return None
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            return None
        return tuple(str(v) for v in value)

    def _detectors(self, node: ast.expr | None, scope: Scope) -> tuple[Detector, ...] | None:
        if node is None or (isinstance(node, ast.Constant) and node.value is None):
            return ()
        if isinstance(node, (ast.List, ast.Tuple)) and not any(isinstance(e, ast.Starred) for e in node.elts):
            return tuple(Detector(self._at(e), self._closure(e, scope)) for e in node.elts)
        try:
            value = evaluate(node, scope)
        except Undecided:
            return None
        if not isinstance(value, (list, tuple)):
            return None
        return tuple(Detector(self._at(node), v if isinstance(v, Closure) else None) for v in value)

    def _closure(self, node: ast.expr, scope: Scope) -> Closure | None:
        try:
            value = evaluate(node, scope)
        except Undecided:
            return None
        return value if isinstance(value, Closure) else None

    def _at(self, node: ast.expr) -> Location:
        end_line, end_column = node.end_lineno, node.end_col_offset
        assert end_line is not None
        assert end_column is not None
        return Location(self.path, Span(node.lineno - 1, node.col_offset, end_line - 1, end_column))


def _plain_value(statement: ast.stmt) -> ast.expr | None:
    """What a statement assigns to plain names alone."""
    if isinstance(statement, ast.Assign) and all(isinstance(t, ast.Name) for t in statement.targets):
        return statement.value
    return statement.value if isinstance(statement, ast.AnnAssign) else None


def _called(node: ast.AST) -> set[str]:
    """The plain names that are called in there."""
    calls = (n for n in walk_tree(node) if isinstance(n, ast.Call))
    return {c.func.id for c in calls if isinstance(c.func, ast.Name)}


# --------------------------------------------------------------------------- the resolver


def _resolver(tree: ast.Module) -> tuple[bool, bool]:
    """How the module asks its detectors: with lowercased texts only, and the first one wins.

    Both False where no function goes through a list of (id, detector) pairs and calls the second.
    """
    for function in walk_tree(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in walk_tree(function):
            loop = node if isinstance(node, (ast.For, ast.comprehension)) else None
            target = loop.target if loop is not None else None
            if not isinstance(target, ast.Tuple) or len(target.elts) != 2:
                continue
            second = target.elts[1]
            name = second.id if isinstance(second, ast.Name) else None
            calls = [
                c
                for c in walk_tree(function)
                if isinstance(c, ast.Call) and isinstance(c.func, ast.Name) and c.func.id == name and c.args
            ]
            if calls:
                return all(_is_lowered(c.args[0], function) for c in calls), _takes_first(function, node)
    return False, False


def _is_lowered(node: ast.expr, function: ast.FunctionDef) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in ("lower", "casefold")
    if not isinstance(node, ast.Name):
        return False
    values = [
        other.value
        for other in walk_tree(function)
        if isinstance(other, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == node.id for t in other.targets)
    ]
    return bool(values) and all(not isinstance(v, ast.Name) and _is_lowered(v, function) for v in values)


def _takes_first(function: ast.FunctionDef, loop: ast.AST) -> bool:
    if isinstance(loop, ast.For) and any(isinstance(n, (ast.Return, ast.Break)) for n in walk_tree(loop)):
        return True
    zero = [
        n
        for n in walk_tree(function)
        if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Constant) and n.slice.value == 0
    ]
    ranked = any(
        isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in ("max", "min")
        for n in walk_tree(function)
    )
    return bool(zero) and not ranked


# --------------------------------------------------------------------------- pipelines


def pipeline_classes(sources: Sources, names: Names, folder: str) -> tuple[str, ...]:
    """The pipelines that a `model_index.json` can name: what `EntryClass` says below a folder."""
    return tuple(
        name
        for path in sources.walk(folder)
        for name in sources.memory.get(("pipelines", path), partial(_entries, sources, names, path))
    )


def _entries(sources: Sources, names: Names, path: str) -> tuple[str, ...]:
    text = sources.text(path)
    if text is None or DISCOVERED_NAME not in text:
        return ()
    facts = sources.facts(path)
    if facts is None or not facts.entries:
        return ()
    found = []
    for name, _ in entry_names(facts.entries[-1]):
        cls = names.class_of(path, name)
        found.append(cls.fact.name if cls is not None else name)
    return tuple(found)
