"""How many heads an expression of a model counts, as far as constructors and configs prove it.

A count is a number, a parameter or field that cannot be told (a `Symbol`), or a whole fraction of one. A
number that comes from a config is the default of its field: what the port was written for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from analyzers.facts.bodies import Function, PlacedBody
from analyzers.facts.expressions import dotted_name
from analyzers.facts.model import Assignment, ClassFacts, Constant, FunctionFacts, Placed
from analyzers.facts.walking import walk_tree
from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.names import Resolved

_DEPTH = 8


@dataclass(frozen=True)
class Symbol:
    """Something that has one value throughout the class, whatever it is."""

    name: str


@dataclass(frozen=True)
class Part:
    """A number of heads divided by a number greater than one."""

    whole: Symbol
    by: int


@dataclass(frozen=True)
class Nothing:
    """`None`: the default of a parameter or field."""


Count: TypeAlias = "int | Symbol | Part | Nothing"


def is_fewer(some: Count | None, whole: Count | None) -> bool:
    """Whether the first count is proven to be less than the second."""
    if isinstance(some, int) and isinstance(whole, int):
        return 0 < some < whole
    return isinstance(some, Part) and some.whole == whole


@dataclass(frozen=True)
class Scope:
    """A method of a class, and what its parameters are known to be (nothing for what they are not)."""

    project: Project
    cls: Placed[ClassFacts]
    method: Placed[FunctionFacts]
    given: Mapping[str, Count]

    def body(self) -> PlacedBody | None:
        """The method's tree."""
        return self.project.body(self.method)

    # ------------------------------------------------------------------ counting

    def count(self, node: ast.expr | None, depth: int = _DEPTH) -> Count | None:
        """What an expression of the method counts, None where that cannot be told."""
        if node is None or depth <= 0:
            return None
        if isinstance(node, ast.Constant):
            if node.value is None:
                return Nothing()
            return node.value if type(node.value) is int else None
        if isinstance(node, ast.Name):
            return self._name(node, depth - 1)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, depth - 1)
        if isinstance(node, ast.BinOp):
            return self._calculated(node, depth - 1)
        if isinstance(node, ast.IfExp):
            return self._chosen(node, depth - 1)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
            first = self.count(node.values[0], depth - 1)
            return self.count(node.values[1], depth - 1) if isinstance(first, Nothing) else _number(first)
        if isinstance(node, ast.Call) and dotted_name(node.func) == "int" and len(node.args) == 1:
            return self.count(node.args[0], depth - 1)
        return None

    def _name(self, node: ast.Name, depth: int) -> Count | None:
        body = self.body()
        if body is None:
            return None
        stores = _stores(body.tree, node.id)
        if self.method.fact.parameter(node.id) is not None:
            if stores:
                return None
            known = self.given.get(node.id)
            return known if known is not None else Symbol(f"{self.method.fact.name}:{node.id}")
        if len(stores) == 1:
            return self.count(_assigned(body.tree, stores[0]), depth)
        found = self.project.names.resolve(self.cls.path, node.id) if not stores else None
        value = found.fact.value if isinstance(found, Placed) and isinstance(found.fact, Assignment) else None
        return value.value if isinstance(value, Constant) and type(value.value) is int else None

    def _attribute(self, node: ast.Attribute, depth: int) -> Count | None:
        chain = dotted_name(node)
        instance = self.method.fact.parameters[0].name if self.method.fact.parameters else None
        if chain is None:
            return None
        head, _, rest = chain.partition(".")
        if head == instance:
            if "." not in rest:
                return self._of_instance(rest, depth)
            name, _, rest = rest.partition(".")
            if name != "config":
                return None
            head = name
        return self._of_config(head, rest.removeprefix("arch_config.")) or Symbol(f"config:{chain}")

    def _of_instance(self, name: str, depth: int) -> Count | None:
        """`self.name`, where the class assigns it once, unconditionally, in its constructor."""
        stored = [
            (method, assignment)
            for method in self.cls.fact.methods
            for assignment in method.assignments
            if assignment.name == name
        ]
        if len(stored) != 1 or stored[0][0].name != "__init__" or stored[0][1].conditional:
            return None
        init = Placed(stored[0][0], self.cls.path, self.cls.line)
        same = self.method.fact.name == "__init__"
        scope = self if same else Scope(self.project, self.cls, init, self.given)
        body = scope.body()
        return scope.count(_set_on_instance(body.tree, name), depth) if body is not None else None

    def _of_config(self, head: str, field: str) -> Count | None:
        """The default of a field of the config that a constructor declares to take."""
        init = self.cls.fact.method("__init__")
        taken = (self.method.fact.parameter(head) or init.parameter(head)) if init is not None else None
        annotation = getattr(taken.annotation, "dotted", None) if taken is not None else None
        config = self.project.names.class_of(self.cls.path, annotation) if annotation is not None else None
        if config is None or "." in field:
            return None
        found = self.project.names.config_field(config, (field,))
        value = found.value if isinstance(found, Resolved) else None
        if not isinstance(value, Constant):
            return None
        return Nothing() if value.value is None else value.value if type(value.value) is int else None

    def _calculated(self, node: ast.BinOp, depth: int) -> Count | None:
        left, right = self.count(node.left, depth), self.count(node.right, depth)
        if isinstance(left, int) and isinstance(right, int):
            if isinstance(node.op, ast.FloorDiv) and right > 0:
                return left // right
            return left * right if isinstance(node.op, ast.Mult) else None
        if isinstance(node.op, ast.FloorDiv) and isinstance(left, Symbol) and isinstance(right, int):
            return Part(left, right) if right > 1 else left if right == 1 else None
        return None

    def _chosen(self, node: ast.IfExp, depth: int) -> Count | None:
        """`x if x is not None else y`, where it is known whether there is an `x`."""
        test = node.test
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return None
        if not isinstance(test.comparators[0], ast.Constant) or test.comparators[0].value is not None:
            return None
        asked = self.count(test.left, depth)
        if asked is None or isinstance(asked, Symbol):
            return None
        absent = isinstance(asked, Nothing)
        if not isinstance(test.ops[0], (ast.Is, ast.IsNot)):
            return None
        return self.count(node.body if absent is isinstance(test.ops[0], ast.Is) else node.orelse, depth)

    # ------------------------------------------------------------------ constructions

    def constructions(self) -> Iterator[tuple[Scope, Location]]:
        """The constructor once for each place of its file where the class is built, with what is given to
        it there."""
        init = self.cls.fact.method("__init__")
        file = self.project.file(self.cls.path)
        if init is None or file is None:
            return
        names = [p.name for p in init.parameters[1:]]
        for owner, method in file.all_functions():
            if owner is None or not any(self._is_own(f.call.callee, method) for f in method.fact.calls):
                continue
            outer = Scope(self.project, owner, method, {})
            body = outer.body()
            for node in body.nodes if body is not None else ():
                if not isinstance(node, ast.Call) or not self._is_own(dotted_name(node.func), method):
                    continue
                given = dict(zip(names, node.args, strict=False))
                given |= {k.arg: k.value for k in node.keywords if k.arg is not None}
                hidden = any(isinstance(a, ast.Starred) for a in node.args) or any(
                    k.arg is None for k in node.keywords
                )
                known = {name: outer.count(value) for name, value in given.items()}
                if not hidden:
                    known |= {p.name: _default(p.default) for p in init.parameters[1:] if p.name not in given}
                placed = Placed(init, self.cls.path, self.cls.line)
                sure = {name: value for name, value in known.items() if value is not None}
                assert body is not None
                yield Scope(self.project, self.cls, placed, sure), body.at(node)

    def _is_own(self, callee: str | None, method: Placed[FunctionFacts]) -> bool:
        if callee is None or callee.rpartition(".")[2] != self.cls.fact.name:
            return False
        found = self.project.names.class_of(method.path, callee)
        return found is not None and found.fact is self.cls.fact


def _default(value: object) -> Count | None:
    if not isinstance(value, Constant):
        return None
    return Nothing() if value.value is None else value.value if type(value.value) is int else None


def _number(count: Count | None) -> Count | None:
    return count if isinstance(count, int) else None


def _stores(tree: Function, name: str) -> list[ast.Name]:
    return [
        n
        for n in walk_tree(tree)
        if isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load)
    ]


def _assigned(tree: Function, target: ast.expr) -> ast.expr | None:
    """The value of the plain assignment at the top of the function to that target."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and statement.targets == [target]:
            return statement.value
        if isinstance(statement, ast.AnnAssign) and statement.target is target:
            return statement.value
    return None


def _set_on_instance(tree: Function, name: str) -> ast.expr | None:
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        if len(targets) == 1 and isinstance(targets[0], ast.Attribute) and targets[0].attr == name:
            return statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
    return None
