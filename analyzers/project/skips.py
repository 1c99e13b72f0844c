"""Skips that no other machine can lift: what their conditions ask for exists in one place, or nowhere.

Read are conditions on a hard-coded absolute path without an override, on the name of a machine or a
user, on an option of pytest that nothing defines, and imports of modules and names of the code base
that do not exist. Whatever a condition asks beside that is taken to be possible.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from analyzers.facts.model import Assignment, Constant, FileFacts, Placed
from analyzers.facts.module_trees import PlacedNode, constants, tree_of
from analyzers.facts.name_uses import Stores, called_name, parameters, tail
from analyzers.facts.walking import walk_tree
from analyzers.findings import Location
from analyzers.project.bindings import import_absence, missing_module
from analyzers.project.index import Project
from analyzers.project.tests import Member, every_function, is_test_class

_SYSTEM = frozenset(
    {
        "",
        "tmp",
        "dev",
        "proc",
        "sys",
        "usr",
        "etc",
        "bin",
        "sbin",
        "lib",
        "lib64",
        "opt",
        "var",
        "run",
        "boot",
    }
)
"""Folders that every machine has, or that anybody may write to."""

_PRIVATE = frozenset({"home", "Users", "mnt", "media", "root"})
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_READS = frozenset({"load", "load_file", "safe_open", "open", "load_torch_file", "torch_load"})
"""Calls that fail where the file that they are given first is missing."""

_MISSING_FILE = frozenset({"FileNotFoundError", "OSError", "IOError", "Exception", "BaseException"})
_MISSING_IMPORT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_PRESENCE = frozenset({"exists", "is_file", "is_dir", "isfile", "isdir"})
_WHERE = frozenset(
    {
        "socket.gethostname",
        "gethostname",
        "platform.node",
        "getpass.getuser",
        "getuser",
        "os.getlogin",
        "socket.getfqdn",
    }
)
_WHO = frozenset({"USER", "USERNAME", "LOGNAME", "HOSTNAME", "HOST"})
_KEEPS = frozenset(
    {
        "Path",
        "PosixPath",
        "PurePath",
        "str",
        "fspath",
        "resolve",
        "absolute",
        "expanduser",
        "abspath",
        "realpath",
    }
)
_KNOWN_OPTIONS = frozenset(
    {
        "verbose",
        "capture",
        "tb",
        "maxfail",
        "collectonly",
        "runxfail",
        "lf",
        "last_failed",
        "durations",
        "basetemp",
        "keyword",
        "markexpr",
        "numprocesses",
        "n",
        "timeout",
        "cov",
        "benchmark_only",
        "forked",
        "dist",
        "rootdir",
        "confcutdir",
        "quiet",
        "strict_markers",
        "usepdb",
        "trace",
        "reportchars",
        "showlocals",
        "traceconfig",
        "debug",
        "cache_clear",
        "cacheclear",
        "cacheshow",
        "setupshow",
        "setuponly",
        "setupplan",
        "importmode",
        "junitxml",
        "pastebin",
        "doctestmodules",
        "count",
        "reruns",
        "rerun_except",
        "randomly_seed",
        "flake_finder",
    }
)
MAXIMUM_DEPTH = 12


@dataclass(frozen=True)
class Hopeless:
    """A skip that no other machine can lift, where it stands, and why."""

    location: Location
    because: str
    who: str | None


def hopeless_skips(project: Project, facts: FileFacts) -> tuple[Hopeless, ...]:
    """The skips of a test file or helper that no other machine can lift, in the order of the text."""
    words = project.sources.words(facts.path)
    if words.isdisjoint({"skip", "skipif", "skipIf", "skipUnless", "skipTest", "SkipTest", "importorskip"}):
        return ()
    key = ("hopeless skips", facts.path)
    return project.sources.memory.about(facts.path, facts, key, lambda: _Reader(project, facts).read())


@dataclass(frozen=True)
class _Scope:
    """Where a condition stands: its function, None for the module, and what parameters are given."""

    path: str
    function: ast.FunctionDef | ast.AsyncFunctionDef | None = None
    given: tuple[tuple[str, ast.expr, _Scope], ...] = ()


class _Reader:
    def __init__(self, project: Project, facts: FileFacts) -> None:
        self.project = project
        self.facts = facts
        self.indexed: dict[int, Stores] = {}

    def stores(self, tree: ast.AST) -> Stores:
        """The names of a function; the index holds its tree, so that the key stays its own."""
        known = self.indexed.get(id(tree))
        if known is None:
            known = self.indexed[id(tree)] = Stores(tree)
        return known

    def read(self) -> tuple[Hopeless, ...]:
        found = [*self.marks(), *self.module_skips()]
        for member in every_function(self.facts):
            found += self.function(member)
        unique = {item.location: item for item in found}
        return tuple(sorted(unique.values(), key=lambda item: item.location))

    # ------------------------------------------------------------------ where skips stand

    def marks(self) -> Iterator[Hopeless]:
        """`pytestmark` and the marks of classes; those of functions are read with them."""
        whole = _Scope(self.facts.path)
        for name, node in self.constants(self.facts.path).items():
            if name == "pytestmark":
                marks = node.node.elts if isinstance(node.node, (ast.List, ast.Tuple)) else [node.node]
                for mark in marks:
                    because = self.mark(mark, whole)
                    if because is not None:
                        yield Hopeless(PlacedNode(mark, node.line).at(self.facts.path), because, None)
        for chunk in self.facts.chunks:
            if not any(is_test_class(c) for c in chunk.facts.classes):
                continue
            tree = tree_of(chunk)
            for cls in walk_tree(tree) if tree is not None else ():
                if isinstance(cls, ast.ClassDef):
                    for mark in cls.decorator_list:
                        because = self.mark(mark, whole)
                        if because is not None:
                            place = PlacedNode(mark, chunk.line).at(self.facts.path)
                            yield Hopeless(place, because, cls.name)

    def module_skips(self) -> Iterator[Hopeless]:
        whole = _Scope(self.facts.path)
        for chunk in self.facts.chunks:
            if chunk.facts.classes or chunk.facts.functions or not chunk.facts.calls:
                continue
            tree = tree_of(chunk)
            if tree is None:
                continue
            for node, because in self.statements(tree.body, whole):
                yield Hopeless(PlacedNode(node, chunk.line).at(self.facts.path), because, None)

    def function(self, member: Member) -> Iterator[Hopeless]:
        function = member.function
        names = {c.call.callee or "" for c in function.fact.calls}
        skips = any(n.rpartition(".")[2] in ("skip", "skipTest", "SkipTest", "importorskip") for n in names)
        local = any(n.rpartition(".")[2] == "getoption" for n in names)
        called = any(n.isidentifier() for n in names)
        if not (skips or local or called or function.fact.decorators):
            return
        placed = self.project.body(function)
        if placed is None:
            return
        scope = _Scope(self.facts.path, placed.tree)
        for mark in placed.tree.decorator_list:
            because = self.mark(mark, scope)
            if because is not None:
                yield Hopeless(placed.at(mark), because, member.name)
        for node, because in self.statements(placed.tree.body, scope):
            yield Hopeless(placed.at(node), because, member.name)
        for call in (n for n in placed.nodes if isinstance(n, ast.Call)):
            because = self.called_with(member, call, scope)
            if because is not None:
                yield Hopeless(placed.at(call), because, member.name)

    def called_with(self, member: Member, call: ast.Call, scope: _Scope) -> str | None:
        """Why a helper that is called here always skips for what it is given; None where it may not."""
        name = called_name(call)
        arguments = [*call.args, *(k.value for k in call.keywords)]
        if not name or not arguments or any(isinstance(a, ast.Starred) for a in call.args):
            return None
        if not any(self.hard(a, scope) for a in arguments):
            return None
        for helper in self.project.tests.meant(member, name):
            body = self.project.body(helper.function)
            if body is None or body.tree is scope.function:
                continue
            positional = [a.arg for a in (*body.tree.args.posonlyargs, *body.tree.args.args)]
            if helper.owner is not None and positional[:1] in (["self"], ["cls"]):
                positional = positional[1:]
            given = list(zip(positional, call.args, strict=False))
            given += [(k.arg, k.value) for k in call.keywords if k.arg is not None]
            bound = tuple((n, v, scope) for n, v in given)
            inner = _Scope(helper.function.path, body.tree, bound)
            free = _Scope(helper.function.path, body.tree)
            alone = {id(node) for node, _ in self.statements(body.tree.body, free)}
            for node, because in self.statements(body.tree.body, inner):
                if id(node) not in alone:
                    return because
        return None

    # ------------------------------------------------------------------ statements

    def statements(self, body: list[ast.stmt], scope: _Scope) -> Iterator[tuple[ast.expr, str]]:
        """The skips among statements that no other machine can get past, with the reason."""
        reasons: list[str] = []  # why every earlier way out of this list of statements is closed
        for statement in body:
            skip = _skip(statement)
            if skip is not None and reasons:
                yield skip, reasons[0]
                return
            if isinstance(statement, ast.If):
                yield from self.branch(statement, scope)
                out = self.impossible(statement.test, scope) if _leaves(statement.body) else None
                if out is not None and not statement.orelse:
                    reasons.append(out)
                elif _leaves([statement]):
                    reasons.clear()
            elif isinstance(statement, ast.For):
                yield from self.statements(statement.body, scope)
                inside = [s for s in statement.body if isinstance(s, ast.If) and _leaves(s.body)]
                whys = [self.impossible(s.test, scope) for s in inside]
                if inside and len(inside) == len(statement.body) and all(whys):
                    reasons += [why for why in whys if why is not None]
            elif isinstance(statement, ast.Try):
                yield from self.tried(statement, scope)
                yield from self.statements(statement.body, scope)
                yield from self.statements(statement.finalbody, scope)
            elif isinstance(statement, (ast.With, ast.AsyncWith)):
                yield from self.statements(statement.body, scope)
            else:
                yield from self.imports_or_options(statement, scope)

    def branch(self, statement: ast.If, scope: _Scope) -> Iterator[tuple[ast.expr, str]]:
        taken = next((s for s in map(_skip, statement.body) if s is not None), None)
        if taken is not None:
            because = self.inevitable(statement.test, scope)
            if because is not None:
                yield taken, because
        other = next((s for s in map(_skip, statement.orelse) if s is not None), None)
        if other is not None:
            because = self.impossible(statement.test, scope)
            if because is not None:
                yield other, because
        if taken is None:
            yield from self.statements(statement.body, scope)
        if other is None:
            yield from self.statements(statement.orelse, scope)

    def tried(self, statement: ast.Try, scope: _Scope) -> Iterator[tuple[ast.expr, str]]:
        """What certainly fails, and a handler that skips for it: an import of the code base, a read of a
        path of one machine."""
        for handler in statement.handlers:
            skip = next((s for s in map(_skip, handler.body) if s is not None), None)
            if skip is not None and _catches(handler, _MISSING_FILE):
                held = self.read_first(statement.body, scope)
                if held is not None:
                    yield skip, f"'{held}' is a path of one machine, and nothing can override it"
                    return
            if skip is None or not _catches(handler, _MISSING_IMPORT):
                continue
            for inner in statement.body:
                if isinstance(inner, (ast.Import, ast.ImportFrom)):
                    why = self.missing_import(inner, scope)
                    if why is not None:
                        yield skip, why
                        return

    def read_first(self, body: list[ast.stmt], scope: _Scope) -> str | None:
        """The path of one machine that every run of the statements reads; None where none is read."""
        for statement in body:
            if not isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr, ast.Return, ast.With)):
                return None
            whole = (
                [item.context_expr for item in statement.items]
                if isinstance(statement, ast.With)
                else [statement]
            )
            for node in (n for part in whole for n in ast.walk(part)):
                if isinstance(node, ast.Call) and tail(node) in _READS and node.args:
                    held = self.hard(node.args[0], scope)
                    if held is not None:
                        return held
        return None

    def imports_or_options(self, statement: ast.stmt, scope: _Scope) -> Iterator[tuple[ast.expr, str]]:
        for node in walk_tree(statement):
            if not isinstance(node, ast.Call):
                continue
            if called_name(node) == "pytest.importorskip" and node.args:
                why = self.missing_module(node.args[0])
                if why is not None:
                    yield node, why
            if tail(node) == "getoption" and _truth(node, "skip") is True:
                why = self.undefined_option(node)
                if why is not None:
                    yield node, why

    def mark(self, mark: ast.expr, scope: _Scope) -> str | None:
        if isinstance(mark, ast.Name):
            held = self.constants(scope.path).get(mark.id)
            if held is None:
                return None
            mark, scope = held.node, _Scope(scope.path)
        if not isinstance(mark, ast.Call):
            return None
        condition = next((k.value for k in mark.keywords if k.arg == "condition"), None)
        if condition is None:
            condition = mark.args[0] if mark.args else None
        if condition is None:
            return None
        scope = _Scope(scope.path)  # decorators do not see the function's own names
        if tail(mark) in ("skipif", "skipIf"):
            return self.inevitable(condition, scope)
        return self.impossible(condition, scope) if tail(mark) == "skipUnless" else None

    # ------------------------------------------------------------------ conditions

    def inevitable(self, test: ast.expr, scope: _Scope, depth: int = MAXIMUM_DEPTH) -> str | None:
        """Why a condition holds on every other machine; None where it may not."""
        if depth <= 0:
            return None
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.impossible(test.operand, scope, depth - 1)
        if isinstance(test, ast.BoolOp):
            whys = [self.inevitable(v, scope, depth - 1) for v in test.values]
            return _first(whys) if isinstance(test.op, ast.Or) else _all(whys)
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            if isinstance(test.ops[0], (ast.NotEq, ast.NotIn, ast.IsNot)):
                if isinstance(test.comparators[0], ast.Constant) and test.comparators[0].value in (True, 1):
                    return self.impossible(test.left, scope, depth - 1)
                return self.elsewhere(test)
            other = test.comparators[0]
            if isinstance(test.ops[0], (ast.Eq, ast.Is)) and isinstance(other, ast.Constant):
                return self.impossible(test.left, scope, depth - 1) if other.value in (False, None) else None
            return None
        if isinstance(test, ast.Call) and called_name(test) == "any" and test.args:
            return self.over_elements(test.args[0], scope, depth, inevitable=True, every=False)
        if isinstance(test, ast.Call) and called_name(test) == "all" and test.args:
            return self.over_elements(test.args[0], scope, depth, inevitable=True, every=True)
        return self.through_name(test, scope, depth, inevitable=True)

    def impossible(self, test: ast.expr, scope: _Scope, depth: int = MAXIMUM_DEPTH) -> str | None:
        """Why a condition fails on every other machine; None where it may hold."""
        if depth <= 0:
            return None
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self.inevitable(test.operand, scope, depth - 1)
        if isinstance(test, ast.BoolOp):
            whys = [self.impossible(v, scope, depth - 1) for v in test.values]
            return _first(whys) if isinstance(test.op, ast.And) else _all(whys)
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            return self.elsewhere(test) if isinstance(test.ops[0], (ast.Eq, ast.In)) else None
        if isinstance(test, ast.Call):
            last = tail(test)
            if last in _PRESENCE:
                path = test.args[0] if test.args else None
                if path is None and isinstance(test.func, ast.Attribute):
                    path = test.func.value
                held = self.hard(path, scope, depth - 1) if path is not None else None
                if held is not None:
                    return f"'{held}' is a path of one machine, and nothing can override it"
                return None
            if called_name(test) == "next" and len(test.args) == 2 and _is_falsy(test.args[1]):
                return self.none_passes(test.args[0], scope, depth)
            if last == "getoption" and _truth(test, "default") in (None, False):
                return self.undefined_option(test)
            if called_name(test) == "bool" and test.args:
                return self.impossible(test.args[0], scope, depth - 1)
            if called_name(test) == "all" and test.args:
                return self.over_elements(test.args[0], scope, depth, inevitable=False, every=False)
            if called_name(test) == "any" and test.args:
                return self.over_elements(test.args[0], scope, depth, inevitable=False, every=True)
            if last == "startswith" and isinstance(test.func, ast.Attribute) and _asks_where(test.func.value):
                return f"'{ast.unparse(test)}' holds on one machine"
            return self.of_function(test, scope, depth)
        if isinstance(test, ast.ListComp):
            return self.none_passes(test, scope, depth)
        return self.through_name(test, scope, depth, inevitable=False)

    def none_passes(self, source: ast.expr, scope: _Scope, depth: int) -> str | None:
        """Why nothing is left of a comprehension elsewhere: no element passes one of its conditions."""
        if not isinstance(source, (ast.GeneratorExp, ast.ListComp)) or len(source.generators) != 1:
            return None
        generator = source.generators[0]
        elements = self.elements(generator.iter, scope)
        if not isinstance(generator.target, ast.Name) or not elements:
            return None
        whys: list[str | None] = []
        for element in elements:
            bound = replace(scope, given=(*scope.given, (generator.target.id, element, scope)))
            whys.append(_first([self.impossible(test, bound, depth - 1) for test in generator.ifs]))
        return _all(whys)

    def over_elements(
        self, source: ast.expr, scope: _Scope, depth: int, *, inevitable: bool, every: bool
    ) -> str | None:
        """The answer for a condition over several: where `every`, each of them must be so."""
        whys: list[str | None] = []
        ask = self.inevitable if inevitable else self.impossible
        if isinstance(source, (ast.GeneratorExp, ast.ListComp)) and len(source.generators) == 1:
            generator = source.generators[0]
            elements = self.elements(generator.iter, scope)
            if not isinstance(generator.target, ast.Name) or elements is None or generator.ifs:
                return None
            for element in elements:
                bound = replace(scope, given=(*scope.given, (generator.target.id, element, scope)))
                whys.append(ask(source.elt, bound, depth - 1))
        else:
            whys = [ask(e, scope, depth - 1) for e in self.elements(source, scope) or []]
        return _all(whys) if every else _first(whys)

    def elements(self, source: ast.expr, scope: _Scope) -> list[ast.expr] | None:
        if isinstance(source, (ast.List, ast.Tuple, ast.Set)):
            return list(source.elts)
        if isinstance(source, ast.Name):
            values = self.values(source.id, scope)
            if values is not None and len(values) == 1 and values[0][1].path == scope.path:
                return self.elements(values[0][0], values[0][1])
        return None

    def through_name(self, test: ast.expr, scope: _Scope, depth: int, *, inevitable: bool) -> str | None:
        if not isinstance(test, ast.Name):
            return None
        values = self.values(test.id, scope)
        ask = self.inevitable if inevitable else self.impossible
        return _all([ask(value, where, depth - 1) for value, where in values or ()])

    def of_function(self, call: ast.Call, scope: _Scope, depth: int) -> str | None:
        """Why a predicate of the file (`_has_weights()`) is false on every other machine."""
        return _all([self.impossible(value, inner, depth - 1) for value, inner in self.returned(call, scope)])

    def returned(self, call: ast.Call, scope: _Scope) -> list[tuple[ast.expr, _Scope]]:
        """What a function of the file returns that is called without arguments; empty where that is
        unclear."""
        if not isinstance(call.func, ast.Name) or call.args or call.keywords:
            return []
        facts = self.project.sources.facts(scope.path)
        function = facts.function_named(call.func.id) if facts is not None else None
        body = self.project.body(function) if function is not None else None
        if body is None:
            return []
        returns = [n.value for n in body.nodes if isinstance(n, ast.Return)]
        inner = _Scope(scope.path, body.tree)
        return [(value, inner) for value in returns if value is not None] if all(returns) else []

    def elsewhere(self, test: ast.Compare) -> str | None:
        """Why a comparison with the name of a machine or user holds in one place only."""
        if _asks_where(test.left) or _asks_where(test.comparators[0]):
            return f"'{ast.unparse(test)}' names one machine or user"
        return None

    # ------------------------------------------------------------------ paths

    def hard(self, node: ast.expr, scope: _Scope, depth: int = MAXIMUM_DEPTH) -> str | None:
        """The absolute path of one machine that an expression comes down to, or None."""
        if depth <= 0:
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value if is_private(node.value) else None
        if isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
            start = str(node.values[0].value)
            return start if is_private(start + "x") and start.count("/") > 1 else None
        if isinstance(node, ast.JoinedStr) and node.values:
            first = node.values[0]
            return self.hard(first.value, scope, depth - 1) if isinstance(first, ast.FormattedValue) else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
            start_of = self.hard(node.left, scope, depth - 1)
            if start_of is None or not isinstance(node.right, ast.Constant):
                return start_of
            joint = "/" if isinstance(node.op, ast.Div) and not start_of.endswith("/") else ""
            return f"{start_of}{joint}{node.right.value!s}"
        if isinstance(node, ast.Call):
            if called_name(node) in ("os.path.join", "join", "path.join") and node.args:
                return self.hard(node.args[0], scope, depth - 1)
            if tail(node) in _KEEPS:
                inner = node.args[0] if node.args else None
                if inner is None and isinstance(node.func, ast.Attribute):
                    inner = node.func.value
                return self.hard(inner, scope, depth - 1) if inner is not None else None
            if tail(node) == "joinpath" and isinstance(node.func, ast.Attribute):
                return self.hard(node.func.value, scope, depth - 1)
            return _all([self.hard(value, where, depth - 1) for value, where in self.returned(node, scope)])
        if isinstance(node, ast.NamedExpr):
            return self.hard(node.value, scope, depth - 1)
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            return self.hard(node.value, scope, depth - 1)
        if isinstance(node, ast.Name):
            values = self.values(node.id, scope)
            return _all([self.hard(value, where, depth - 1) for value, where in values or ()])
        return None

    def values(self, name: str, scope: _Scope) -> list[tuple[ast.expr, _Scope]] | None:
        """What a name may hold, with where that is written; None where it cannot be told."""
        for given, value, where in reversed(scope.given):
            if given == name:
                return [(value, where)]
        if scope.function is not None:
            loop = self.stores(scope.function).loop_over(name)
            if loop is not None:
                elements = self.elements(loop, scope)
                return [(e, scope) for e in elements] if elements else None
            local = self.stores(scope.function).of(name)
            if local is None or name in parameters(scope.function):
                return None
            if local:
                return [(value, scope) for value in local]
        held = self.constants(scope.path).get(name)
        if held is not None:
            return [(held.node, _Scope(scope.path))]
        found = self.project.names.resolve(scope.path, name)
        if isinstance(found, Placed) and isinstance(found.fact, Assignment) and found.path != scope.path:
            other = self.constants(found.path).get(name)
            return [(other.node, _Scope(found.path))] if other is not None else None
        return None

    def constants(self, path: str) -> dict[str, PlacedNode]:
        facts = self.project.sources.facts(path)
        if facts is None:
            return {}
        key = ("module constants", path)
        return self.project.sources.memory.about(path, facts, key, lambda: constants(facts))

    # ------------------------------------------------------------------ options and imports

    def undefined_option(self, call: ast.Call) -> str | None:
        first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "name"), None)
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            return None
        plain = _plain(first.value)
        if plain in _KNOWN_OPTIONS or plain in self.defined_options():
            return None
        return f"no conftest.py of the tree defines the option '{first.value}'"

    def defined_options(self) -> frozenset[str]:
        found: set[str] = set()
        for path in self.project.tests.option_files:
            facts = self.project.sources.facts(path)
            for _, function in facts.all_functions() if facts is not None else ():
                for fact in function.fact.calls:
                    if (fact.call.callee or "").rpartition(".")[2] in (
                        "addoption",
                        "add_argument",
                        "_addoption",
                    ):
                        values = [*fact.call.arguments, fact.call.keyword("dest")]
                        found |= {
                            _plain(v.value)
                            for v in values
                            if isinstance(v, Constant) and isinstance(v.value, str)
                        }
        return frozenset(found)

    def missing_import(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> str | None:
        names = self.project.names
        if isinstance(node, ast.Import):
            return _first([self.missing_module(ast.Constant(alias.name)) for alias in node.names])
        for placed in self.facts.imports:
            item = placed.fact
            same = item.module == (node.module or "") and item.level == node.level
            if same and item.name in {a.name for a in node.names} and scope.path == self.facts.path:
                absent = import_absence(names, scope.path, replace(item, guarded=False, conditional=False))
                if absent is not None:
                    return str(absent)
        return None

    def missing_module(self, name: ast.expr) -> str | None:
        if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
            return None
        if not self.project.profile.owns(name.value):
            return None
        absent = missing_module(self.project.names, name.value)
        return str(absent) if absent is not None else None


def is_private(path: str) -> bool:
    """Whether a path is absolute and no other machine can be expected to have it."""
    if _WINDOWS.match(path):
        return True
    if not path.startswith("/") or path.startswith("//"):
        return False
    parts = [part for part in path.split("/") if part]
    if not parts or parts[0] in _SYSTEM:
        return False
    return len(parts) > 1 or parts[0] in _PRIVATE


def _plain(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _first(whys: list[str | None]) -> str | None:
    return next((why for why in whys if why is not None), None)


def _all(whys: list[str | None]) -> str | None:
    return whys[0] if whys and all(why is not None for why in whys) else None


def _skip(statement: ast.stmt) -> ast.expr | None:
    """The call that skips, where a statement is one."""
    value = statement.value if isinstance(statement, (ast.Expr, ast.Return)) else None
    if isinstance(value, ast.Call) and called_name(value) in ("pytest.skip", "self.skipTest", "skip"):
        return value
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        exc = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        if isinstance(exc, (ast.Name, ast.Attribute)) and ast.unparse(exc).endswith(
            ("SkipTest", "skip.Exception")
        ):
            return statement.exc
    return None


def _leaves(body: list[ast.stmt]) -> bool:
    return any(
        isinstance(n, (ast.Return, ast.Yield)) and _skip_of_return(n) is None
        for s in body
        for n in walk_tree(s)
    )


def _skip_of_return(node: ast.AST) -> ast.expr | None:
    return _skip(node) if isinstance(node, ast.stmt) else None


def _catches(handler: ast.ExceptHandler, exceptions: frozenset[str]) -> bool:
    if handler.type is None:
        return True
    return any(
        name in exceptions for name in ast.unparse(handler.type).strip("()").replace(" ", "").split(",")
    )


def _is_falsy(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _truth(call: ast.Call, name: str) -> object:
    """The constant given for an argument of `getoption` (`default`, `skip`), None where there is none."""
    value = next((k.value for k in call.keywords if k.arg == name), None)
    if value is None and name == "default" and len(call.args) > 1:
        value = call.args[1]
    if value is None:
        return None
    return value.value if isinstance(value, ast.Constant) else "?"


def _asks_where(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        if called_name(node) in _WHERE:
            return True
        if called_name(node) in ("os.getenv", "os.environ.get", "getenv") and node.args:
            return isinstance(node.args[0], ast.Constant) and node.args[0].value in _WHO
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
        return isinstance(node.slice, ast.Constant) and node.slice.value in _WHO
    return isinstance(node, ast.Attribute) and ast.unparse(node).startswith("os.uname().nodename")
