"""Where in the port's own files a wrong constant or a wrong variable was written.

An operation often stands in a library; what is wrong with it was given to a constructor or to a call
elsewhere. The way back goes through variables, parameters and attributes, along the frames of the operation
and the frames that constructed its module.
"""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from analyzers.numeric import operands, statements
from analyzers.numeric.records import CodeLine, Module, Operation
from analyzers.numeric.statements import Range, Sources

_DEPTH = 12

_ABBREVIATED = 3
"""Letters that an abbreviation has at least to be one of a longer word (`eps`)."""


@dataclass(frozen=True)
class House:
    """One side's code. `modules`: by name. `home`: the folder of the model's own file."""

    modules: Mapping[str, Module]
    home: str | None
    sources: Sources

    @classmethod
    def of(cls, modules: Sequence[Module], sources: Sources) -> House:
        """The side whose submodules these are, the model itself first."""
        by_name = {module.name: module for module in modules}
        root = by_name.get("")
        home = posixpath.dirname(root.path) if root is not None and root.path else None
        return cls(by_name, home, sources)

    def owns(self, path: str) -> bool:
        """Whether a file belongs to the model rather than to a library of layers."""
        return self.home is not None and posixpath.dirname(path).startswith(self.home)

    def frame(self, operation: Operation) -> int | None:
        """The innermost frame of the operation in the model's own files."""
        return next((at for at, line in enumerate(operation.stack) if self.owns(line.path)), None)

    def statement(self, operation: Operation) -> Range | None:
        """The statement of the model's own files that led to the operation, else a library's."""
        at = self.frame(operation)
        if at is None:
            return self.at(operation.stack[0]) if operation.stack else None
        return self.at(operation.stack[at])

    def at(self, line: CodeLine) -> Range:
        """The statement that a frame stands at."""
        return self.sources.range_at(line.path, line.line)

    def library_module(self, operation: Operation) -> Module | None:
        """The outermost library module around the operation that the model itself holds; None where
        the operation stands in code of the model itself."""
        name, found = operation.module, None
        while name in self.modules:
            module = self.modules[name]
            if module.path is not None and self.owns(module.path):
                break
            if not name:
                break
            found = module
            name = name.rpartition(".")[0]
            while name and name not in self.modules:
                name = name.rpartition(".")[0]
        return found

    def called_from(self, operation: Operation) -> Range | None:
        """The statement of the model's own files that calls the module of an operation."""
        module = self.modules.get(operation.module)
        own = None
        if module is not None and module.path is not None and module.line is not None:
            own = self.sources.enclosing_class(module.path, module.line + 1)
        for frame in operation.stack:
            inside = own is not None and self.sources.enclosing_class(frame.path, frame.line) is own
            if self.owns(frame.path) and not inside:
                return self.at(frame)
        return self.statement(operation)

    def loop(self, name: str, executed: Mapping[str, Collection[int]]) -> Range | None:
        """The head of the loop of the model's own files that runs over a list of modules; of several, the one
        with an executed line, else the last."""
        owner, _, attribute = name.rpartition(".")
        module = self.modules.get(owner)
        if module is None or module.path is None or module.line is None or not self.owns(module.path):
            return None
        cls = self.sources.enclosing_class(module.path, module.line + 1)
        found = [
            node
            for node in (ast.walk(cls) if cls is not None else ())
            if isinstance(node, (ast.For, ast.AsyncFor)) and attribute in statements.attributes_in(node.iter)
        ]
        called = [node for node in found if any(isinstance(each, ast.Call) for each in ast.walk(node))]
        function = self.sources.function(module.path, module.line + 1)
        own = [node for node in called if function is None or node in list(ast.walk(function))]
        lines = executed.get(module.path, ())
        ran = [node for node in own if any(node.lineno <= line <= (node.end_lineno or 0) for line in lines)]
        chosen = (ran or own[-1:])[:1]
        return statements.range_of(module.path, chosen[0]) if chosen else None

    def built(self, module: Module) -> Range | None:
        """The statement of the model's own files that constructs a module."""
        line = statements.innermost(module.built_at, self.owns)
        return self.at(line) if line is not None else None

    def holder(self, place: Range, near: str, ran: Iterable[str]) -> str | None:
        """The module whose class a place lies in, where that is neither `near` nor around it nor in it: the
        first of those that `ran`, and of those around them. None for a place that no such class has."""
        cls = self.sources.enclosing_class(place.path, place.line)
        if cls is None:
            return None
        of_class = [name for name, module in self.modules.items() if self.is_of(module, place.path, cls)]
        if any(_around(name, near) or _around(near, name) for name in of_class):
            return None
        seen = list(dict.fromkeys(ran))
        return next((name for name in of_class if any(_around(name, each) for each in seen)), None)

    def is_of(self, module: Module, path: str, cls: ast.ClassDef) -> bool:
        """Whether a class of a file is the one that defines the module's `forward`."""
        at = module.line
        return module.path == path and at is not None and self.sources.enclosing_class(path, at + 1) is cls

    def settings(self, operation: Operation, text: str) -> Iterator[tuple[Module, str]]:
        """The module of the operation and those around it, as far as they hold the constant as setting."""
        name = operation.module
        while name in self.modules:
            module = self.modules[name]
            for setting, value in module.settings.items():
                if operands.equal_constants(value, text) and not _common(value):
                    yield module, setting
            if module.path is not None and self.owns(module.path):
                return
            if not name:
                return
            name = name.rpartition(".")[0]


def _around(outer: str, inner: str) -> bool:
    return outer in ("", inner) or inner.startswith(f"{outer}.")


def _common(text: str) -> bool:
    return operands.parsed(text) in (None, True, False, 0, 1) or text in ("True", "False", "None")


@dataclass(frozen=True)
class Origins:
    """The search for the place where something was written, in one side's code."""

    house: House
    executed: Mapping[str, Collection[int]]

    def constant(self, operation: Operation, text: str | None, unlike: str | None = None) -> Range | None:
        """The statement that a constant of the operation was written in; None where the way back is lost.

        `unlike`: the right constant; of a list only the items that are not there as well are looked for."""
        wanted = tuple(_scalars(operands.parsed(text))) if text is not None else ()
        if len(wanted) > 1 and unlike is not None:
            right = tuple(_scalars(operands.parsed(unlike)))
            wanted = tuple(each for each in wanted if each not in right)
        if not wanted or not operation.stack:
            return None
        at = self.house.frame(operation)
        if at == 0:
            found = self._here(operation.stack, 0, wanted)
            if found is not None:
                return found
        for module, setting in self.house.settings(operation, text or ""):
            found = self._setting(module, setting, wanted)
            if found is not None:
                return found
        return self._along(operation.stack, 0, None, operation.module, wanted, 0)

    def _here(self, frames: Sequence[CodeLine], at: int, wanted: Sequence[object]) -> Range | None:
        node = self.house.sources.statement(frames[at].path, frames[at].line)
        if node is not None and any(statements.has_constant(node, each) for each in wanted):
            return statements.range_of(frames[at].path, node)
        return None

    def _setting(self, module: Module, setting: str, wanted: Sequence[object]) -> Range | None:
        """Where the constructor's argument for a setting was written; the construction where that is not
        seen."""
        house, init, names = self.house, None, [setting]
        if module.path is not None and module.line is not None:
            bound = house.sources.attribute(module.path, module.line + 1, setting)
            if bound is not None:
                if house.owns(module.path) and any(statements.has_constant(bound, each) for each in wanted):
                    return statements.range_of(module.path, bound)
                init = house.sources.function(module.path, bound.lineno - 1)
                given = statements.parameters(init) if init is not None else frozenset()
                names = sorted(statements.names_in(bound) & given)
        for name in names:
            found = self._argument(module.built_at, 0, module.cls, name, wanted, 0, init)
            if found is not None:
                return found
        return house.built(module)

    def _argument(
        self,
        frames: Sequence[CodeLine],
        at: int,
        called: str,
        name: str,
        wanted: Sequence[object],
        depth: int,
        init: statements.Function | None = None,
    ) -> Range | None:
        """Follows what the call at a frame gives for a parameter."""
        if at >= len(frames) or depth > _DEPTH:
            return None
        sources = self.house.sources
        frame = frames[at]
        node = sources.statement(frame.path, frame.line)
        if node is None:
            return None
        calls = statements.calls_in(node)
        named = [call for call in calls if statements.callee(call) == called] or list(calls)
        for call in named:
            given = statements.argument(call, init, name, bound=True)
            candidates = (
                [given] if given is not None else list(call.args) + [each.value for each in call.keywords]
            )
            for expression in candidates:
                if any(statements.has_constant(expression, each) for each in wanted):
                    if self.house.owns(frame.path):
                        return statements.range_of(frame.path, node)
                    return None
            plain = [each for each in candidates if isinstance(each, (ast.Name, ast.Attribute))]
            literal = isinstance(
                given, ast.Constant
            )  # another one than the wanted: it was not taken as it is
            if given is not None and not plain and not literal and self.house.owns(frame.path):
                return statements.range_of(frame.path, node)
            for expression in plain:
                if given is None and not _alike(expression, name):
                    continue
                found = self._along(frames, at, expression, None, wanted, depth + 1)
                if found is not None:
                    return found
        return None

    def _along(
        self,
        frames: Sequence[CodeLine],
        at: int,
        expression: ast.AST | None,
        module: str | None,
        wanted: Sequence[object],
        depth: int,
    ) -> Range | None:
        """Follows the names of an expression (or of the whole statement) at a frame to a statement of the
        model's own that holds the constant."""
        if at >= len(frames) or depth > _DEPTH:
            return None
        house, frame = self.house, frames[at]
        sources = house.sources
        node = sources.statement(frame.path, frame.line)
        if node is None:
            return None
        tree = statements.head(node) if expression is None else expression
        if house.owns(frame.path) and any(statements.has_constant(tree, each) for each in wanted):
            return statements.range_of(frame.path, node)
        function = sources.function(frame.path, frame.line)
        for name in sorted(statements.attributes_in(tree)):
            bound = sources.attribute(frame.path, frame.line, name)
            if bound is None:
                continue
            if house.owns(frame.path) and any(statements.has_constant(bound, each) for each in wanted):
                return statements.range_of(frame.path, bound)
            owner = house.modules.get(module) if module is not None else None
            if owner is not None:
                for used in sorted(statements.names_in(bound)):
                    found = self._argument(owner.built_at, 0, owner.cls, used, wanted, depth + 1)
                    if found is not None:
                        return found
        for name in sorted(statements.names_in(tree)):
            bound = sources.definition(frame.path, frame.line, name, self.executed.get(frame.path, ()))
            if bound is not None:
                if house.owns(frame.path) and any(statements.has_constant(bound, each) for each in wanted):
                    return statements.range_of(frame.path, bound)
                line = CodeLine(frame.path, bound.lineno - 1, frame.function)
                found = self._along(
                    [*frames[:at], line, *frames[at + 1 :]], at, None, module, wanted, depth + 1
                )
                if found is not None:
                    return found
            elif function is not None and name in statements.parameters(function):
                found = self._parameter(frames, at, function, name, wanted, depth)
                if found is not None:
                    return found
        return None

    def _parameter(
        self,
        frames: Sequence[CodeLine],
        at: int,
        function: statements.Function,
        name: str,
        wanted: Sequence[object],
        depth: int,
    ) -> Range | None:
        house, frame = self.house, frames[at]
        given_at_call = False
        if at + 1 < len(frames):
            outer = frames[at + 1]
            node = house.sources.statement(outer.path, outer.line)
            cls = house.sources.enclosing_class(frame.path, function.lineno - 1)
            called = {function.name, cls.name if cls is not None else function.name}
            calls = statements.calls_in(node) if node is not None else ()
            exact = [call for call in calls if statements.callee(call) in called]
            for call in exact or calls:
                given = statements.argument(call, function, name, bound=cls is not None)
                if given is None:
                    continue
                given_at_call = True
                written = any(statements.has_constant(given, each) for each in wanted)
                if written and house.owns(outer.path) and node is not None:
                    return statements.range_of(outer.path, node)
                found = self._along(frames, at + 1, given, None, wanted, depth + 1)
                if found is not None:
                    return found
        preset = statements.default(function, name)
        if (
            given_at_call
            or preset is None
            or not any(statements.has_constant(preset, each) for each in wanted)
        ):
            return None
        if house.owns(frame.path):
            return Range(frame.path, preset.lineno - 1, (preset.end_lineno or preset.lineno) - 1)
        outer_own = next((line for line in frames[at + 1 :] if house.owns(line.path)), None)
        return house.at(outer_own) if outer_own is not None else None


def _scalars(value: object) -> Iterator[object]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _scalars(item)
    elif value is not None and value is not Ellipsis:
        yield value


def _alike(expression: ast.expr, name: str) -> bool:
    """Whether a positional argument's name resembles the parameter that it may be for (`norm_eps`, `eps`,
    `variance_epsilon`)."""
    text = expression.id if isinstance(expression, ast.Name) else getattr(expression, "attr", "")
    return any(
        one == other or (min(len(one), len(other)) >= _ABBREVIATED and _begins(one, other))
        for one in text.split("_")
        for other in name.split("_")
    )


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
