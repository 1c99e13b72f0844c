"""Tests as pytest runs them: what is collected, and every function that a test reaches.

A reviewer reads a test through its helpers and fixtures; so do the rules about tests. Followed are
calls and references to functions below the test roots: of the same file, of imported helper modules
(by package, or lying beside the file), of `conftest.py`, methods of the test's own class, fixtures
asked for by parameter, by `usefixtures` or by `autouse`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from analyzers.facts.model import (
    Call,
    CallFact,
    ClassFacts,
    Constant,
    Expr,
    FileFacts,
    FunctionFacts,
    Import,
    Placed,
    Reference,
    imported_target,
)
from analyzers.project.definitions import Definition, External
from analyzers.project.names import Names
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

_CLAIM = re.compile(
    r"parity|match(es)?_(the_)?(official|upstream|reference|diffusers|hf|original)"
    r"|vs_(official|upstream|reference|diffusers|hf|original)"
)
MOST_FUNCTIONS = 400
"""No test reaches more helpers than that; a tangle ends here."""


@dataclass(frozen=True)
class Owner:
    """The class that a method stands in, with the classes around it."""

    cls: ClassFacts
    path: str
    line: int
    around: tuple[ClassFacts, ...] = ()


@dataclass(frozen=True)
class Member:
    """A function with the class that it is a method of, None for a function of the module."""

    function: Placed[FunctionFacts]
    owner: Owner | None = None

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.fact.name

    @property
    def claims_parity(self) -> bool:
        """Whether a test says by its name that it compares with the original."""
        return _CLAIM.search(self.name) is not None


def collected(facts: FileFacts) -> tuple[Member, ...]:
    """What pytest collects from a file by its default names, in the order of the text.

    Functions `test*`, methods `test*` of classes `Test*` (also nested ones) and of
    `unittest.TestCase` subclasses.
    """
    found = [Member(f) for f in facts.functions if f.fact.name.startswith("test")]
    for cls in facts.classes:
        found += _methods(Owner(cls.fact, cls.path, cls.line))
    return tuple(sorted(found, key=lambda m: (m.function.line, m.function.fact.span)))


def _methods(owner: Owner) -> Iterator[Member]:
    if not is_test_class(owner.cls):
        return
    for method in owner.cls.methods:
        if method.name.startswith("test"):
            yield Member(Placed(method, owner.path, owner.line), owner)
    for inner in owner.cls.classes:
        yield from _methods(Owner(inner, owner.path, owner.line, (owner.cls, *owner.around)))


def is_test_class(cls: ClassFacts) -> bool:
    """Whether pytest collects the class: by its name, or as a `unittest.TestCase`."""
    return cls.name.startswith("Test") or any(
        isinstance(base, Reference) and base.tail == "TestCase" for base in cls.bases
    )


def is_fixture(function: FunctionFacts) -> bool:
    """Whether a function is decorated as a pytest fixture."""
    return any(_is_fixture_mark(d) for d in function.decorators)


def is_autouse(function: FunctionFacts) -> bool:
    """Whether a function is a fixture that every test in its reach runs."""
    for decorator in function.decorators:
        if isinstance(decorator, Call) and _is_fixture_mark(decorator):
            value = decorator.keyword("autouse")
            if isinstance(value, Constant) and value.value is True:
                return True
    return False


def fixture_name(function: FunctionFacts) -> str:
    """What tests call a fixture: its `name=`, else the function's own name."""
    for decorator in function.decorators:
        if isinstance(decorator, Call) and _is_fixture_mark(decorator):
            value = decorator.keyword("name")
            if isinstance(value, Constant) and isinstance(value.value, str):
                return value.value
    return function.name


def _is_fixture_mark(decorator: Expr) -> bool:
    callee = decorator.function if isinstance(decorator, Call) else decorator
    return isinstance(callee, Reference) and callee.tail in ("fixture", "yield_fixture")


def module_beside(sources: Sources, path: str, module: str) -> str | None:
    """The file that a module without a package is to pytest, which imports from a test's own folder."""
    candidate = f"{path.rpartition('/')[0]}/{module}.py"
    return candidate if module and "." not in module and sources.exists(candidate) else None


class TestReach:
    """What tests reach, for one snapshot of the tree."""

    __test__ = False

    def __init__(self, sources: Sources, names: Names, profile: Profile) -> None:
        self.sources = sources
        self.names = names
        self.profile = profile

    def claimants(self, facts: FileFacts) -> tuple[Member, ...]:
        """The tests of a file that claim to compare a port with its original.

        By their own names; where the file's name claims it and no test's does, all of its tests.
        """
        tests = collected(facts)
        own = tuple(t for t in tests if t.claims_parity)
        if own or not self.profile.claims_parity(facts.path):
            return own
        return tests

    def reached(self, test: Member) -> tuple[Member, ...]:
        """The test, then every function below the test roots that it runs or hands on."""
        function = test.function
        key = ("test reach", function.path, function.line, function.fact.span, function.fact.name)
        return self.sources.memory.about(function.path, function.fact, key, lambda: tuple(self._walk(test)))

    def _walk(self, test: Member) -> Iterator[Member]:
        seen: set[tuple[str, int, str, object]] = set()
        queue = [test, *self._autouse(test)]
        while queue and len(seen) < MOST_FUNCTIONS:
            member = queue.pop(0)
            function = member.function
            key = (function.path, function.line, function.fact.name, function.fact.span)
            if key in seen:
                continue
            seen.add(key)
            yield member
            queue.extend(self._steps(member, is_test=member is test))

    def _steps(self, member: Member, *, is_test: bool) -> Iterator[Member]:
        function = member.function
        if is_test or is_fixture(function.fact):
            for parameter in function.fact.parameters:
                if parameter.default is None:
                    yield from self.fixture(function.path, member.owner, parameter.name)
        if is_test:
            for name in self._used_fixtures(member):
                yield from self.fixture(function.path, member.owner, name)
        for decorator in function.fact.decorators:
            for reference in _references(decorator):
                yield from self.meant(member, reference)
        for call in function.fact.calls:
            for reference in _handed_on(call):
                yield from self.meant(member, reference)

    # ------------------------------------------------------------------ names

    def meant(self, member: Member, dotted: str) -> Iterator[Member]:
        """The functions below the test roots that a name in the body of `member` stands for."""
        head, _, rest = dotted.partition(".")
        function = member.function
        first = function.fact.parameters[0].name if function.fact.parameters else None
        if member.owner is not None and head in (first, "self", "cls", member.owner.cls.name):
            yield from self._method(member.owner, rest)
            return
        found = self.resolve(member, dotted)
        if isinstance(found, Placed) and self._is_below_tests(found.path):
            if isinstance(found.fact, FunctionFacts):
                yield Member(found)
            elif isinstance(found.fact, ClassFacts):
                owner = Owner(found.fact, found.path, found.line)
                for method in found.fact.methods:
                    yield Member(Placed(method, found.path, found.line), owner)

    def resolve(self, member: Member, dotted: str) -> Definition | None:
        """What a name in the body of `member` means, imports inside the function included."""
        function = member.function
        facts = self.sources.facts(function.path)
        if facts is None:
            return None
        head, _, rest = dotted.partition(".")
        local = _local_import(facts, member, head)
        if local is None:
            return self._beside(function.path, self.names.resolve(function.path, dotted))
        target = self.names.absolute(function.path, imported_target(local))
        if target is None:
            return None
        full = f"{target}.{rest}" if rest else target
        found = self.names.by_qualified(full)
        if found is None and self.names.module_path(target.partition(".")[0]) is None:
            found = External(full)
        return self._beside(function.path, found)

    def _beside(self, path: str, found: Definition | None) -> Definition | None:
        """A module that pytest finds because it lies beside the test, where there is one."""
        if not isinstance(found, External):
            return found
        module, _, name = found.dotted.partition(".")
        candidate = module_beside(self.sources, path, module)
        if name and "." not in name and candidate is not None:
            return self.names.resolve(candidate, name) or found
        return found

    def _method(self, owner: Owner, name: str) -> Iterator[Member]:
        if not name or "." in name:
            return
        own = owner.cls.method(name)
        if own is not None:
            yield Member(Placed(own, owner.path, owner.line), owner)
            return
        for cls in self.names.ancestry(Placed(owner.cls, owner.path, owner.line)).classes[1:]:
            method = cls.fact.method(name)
            if method is not None:
                inherited = Owner(cls.fact, cls.path, cls.line)
                yield Member(Placed(method, cls.path, cls.line), inherited)
                return

    def _is_below_tests(self, path: str) -> bool:
        return path.startswith(tuple(root + "/" for root in self.profile.test_roots))

    # ------------------------------------------------------------------ fixtures

    def fixture(self, path: str, owner: Owner | None, name: str) -> Iterator[Member]:
        """The fixture that pytest would give for a name: the nearest one."""
        if name in ("self", "cls", "request"):
            return
        for cls in _classes(owner):
            for method in cls.methods:
                if is_fixture(method) and fixture_name(method) == name and owner is not None:
                    yield Member(Placed(method, owner.path, owner.line), owner)
                    return
        for where in (path, *self.conftests(path)):
            for function in self._fixtures_of(where):
                if fixture_name(function.fact) == name:
                    yield Member(function)
                    return
        found = self._beside(path, self.names.resolve(path, name))
        if isinstance(found, Placed) and isinstance(found.fact, FunctionFacts) and is_fixture(found.fact):
            yield Member(found)

    def _autouse(self, test: Member) -> Iterator[Member]:
        path = test.function.path
        for cls in _classes(test.owner):
            for method in cls.methods:
                set_up = method.name in ("setUp", "setup_method", "setup_class", "setUpClass")
                if (is_autouse(method) or set_up) and test.owner is not None:
                    yield Member(Placed(method, test.owner.path, test.owner.line), test.owner)
        for where in (path, *self.conftests(path)):
            yield from (Member(f) for f in self._fixtures_of(where) if is_autouse(f.fact))
        facts = self.sources.facts(path)
        for name in ("setup_module", "setup_function", "setUpModule"):
            found = facts.function_named(name) if facts is not None else None
            if found is not None:
                yield Member(found)

    def _fixtures_of(self, path: str) -> tuple[Placed[FunctionFacts], ...]:
        facts = self.sources.facts(path)
        return tuple(f for f in (facts.functions if facts is not None else ()) if is_fixture(f.fact))

    def conftests(self, path: str) -> tuple[str, ...]:
        """The `conftest.py` files that pytest reads for a test file, nearest first."""
        folders = path.split("/")[:-1]
        candidates = ["/".join([*folders[:cut], "conftest.py"]) for cut in range(len(folders), -1, -1)]
        return tuple(c for c in candidates if self.sources.exists(c))

    def _used_fixtures(self, test: Member) -> Iterator[str]:
        facts = self.sources.facts(test.function.path)
        marks = list(test.function.fact.decorators)
        for cls in _classes(test.owner):
            marks += [
                *cls.decorators,
                *(a.value for a in cls.attributes if "pytestmark" in a.names and a.value),
            ]
        if facts is not None:
            marks += [
                a.fact.value
                for a in facts.assignments
                if "pytestmark" in a.fact.names and a.fact.value is not None
            ]
        for mark in marks:
            for call in _calls(mark):
                if (call.callee or "").endswith("usefixtures"):
                    for argument in call.arguments:
                        if isinstance(argument, Constant) and isinstance(argument.value, str):
                            yield argument.value

    @cached_property
    def option_files(self) -> tuple[str, ...]:
        """The files that may define options of pytest: `conftest.py` files and plugins of the tree."""
        roots = self.profile.test_roots
        below = [p for root in roots for p in self.sources.walk(root) if "addoption" in self.sources.words(p)]
        return tuple(
            dict.fromkeys([*below, *(["conftest.py"] if self.sources.exists("conftest.py") else [])])
        )


def _classes(owner: Owner | None) -> tuple[ClassFacts, ...]:
    return (owner.cls, *owner.around) if owner is not None else ()


def _local_import(facts: FileFacts, member: Member, name: str) -> Import | None:
    """The import inside the function's body that binds `name`, or None."""
    own = member.function.fact.name
    start = member.function.line + member.function.fact.span.line
    end = member.function.line + member.function.fact.span.end_line
    for placed in facts.imports:
        item = placed.fact
        if item.bound != name or item.function is None or own not in item.function.split("."):
            continue
        if start <= placed.at(item.span).span.line <= end:
            return item
    return None


def _handed_on(fact: CallFact) -> Iterator[str]:
    """The names that a call calls or hands on."""
    call = fact.call
    if call.callee is not None:
        yield call.callee
    for value in (*call.arguments, *(k.value for k in call.keywords)):
        if isinstance(value, Reference):
            yield value.dotted


def _references(expr: Expr) -> Iterator[str]:
    if isinstance(expr, Reference):
        yield expr.dotted
    for call in _calls(expr):
        for value in (*call.arguments, *(k.value for k in call.keywords)):
            if isinstance(value, Reference):
                yield value.dotted


def _calls(expr: Expr) -> Iterator[Call]:
    """The calls that a mark, or a list of marks, is made of."""
    if isinstance(expr, Call):
        yield expr
        for argument in expr.arguments:
            yield from _calls(argument)
    for item in getattr(expr, "items", ()):
        if not isinstance(item, tuple):
            yield from _calls(item)


def every_function(facts: FileFacts) -> Iterator[Member]:
    """Every function of a file and every method of its classes, nested classes included."""
    yield from (Member(f) for f in facts.functions)
    for cls in facts.classes:
        yield from _every_method(Owner(cls.fact, cls.path, cls.line))


def _every_method(owner: Owner) -> Iterator[Member]:
    for method in owner.cls.methods:
        yield Member(Placed(method, owner.path, owner.line), owner)
    for inner in owner.cls.classes:
        yield from _every_method(Owner(inner, owner.path, owner.line, (owner.cls, *owner.around)))
