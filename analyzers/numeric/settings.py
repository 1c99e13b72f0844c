"""Which argument of a construction decided what a module computes, and where that argument was written.

A module often computes the wrong thing because another branch, another class or another size was chosen for
it: `FeedForward(activation_fn="gelu")`. The operation stands far from there. What was chosen goes through
parameters, variables and attributes along the frames that constructed the module, and is read in them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyzers.numeric import operands, statements
from analyzers.numeric.origins import House
from analyzers.numeric.records import CodeLine, Module, Operation
from analyzers.numeric.statements import Function, Range

_LONGEST = 12


@dataclass(frozen=True)
class Given:
    """What an expression was at one step of its way. `place`: the statement that it was written in."""

    place: Range
    value: ast.expr


@dataclass(frozen=True)
class Settings:
    """The search in one side's code. `others`: the modules of the other side."""

    house: House
    others: Sequence[Module]

    def branch(self, operation: Operation, place: Range, other: str | None) -> Range | None:
        """Where the choice was made that led to a branch with a wrong constant, if the constant of the other
        side stands in another branch of the same `if`: then the choice is wrong and no branch is."""
        wanted = None if other is None else operands.parsed(other)
        if wanted is None or isinstance(wanted, (list, tuple)):
            return None
        for frames in self._constructions(operation):
            for at, frame in enumerate(frames):
                node = self.house.sources.statement(frame.path, frame.line)
                if node is None or statements.range_of(frame.path, node) != place:
                    continue
                function = self.house.sources.function(frame.path, frame.line)
                for test in _choices(function, node, wanted):
                    for name in sorted(statements.names_in(test)):
                        found = self._text(frames, at, name)
                        if found is not None:
                            return found
        return None

    def kind(self, operation: Operation) -> Range | None:
        """Where a text was written that chose what a module computes (`act_fn="gelu"`), if that text speaks
        of the operation. None where it stands in the construction itself or nothing of the sort is seen."""
        words = _words(operands.canonical(operation))
        for frames in self._constructions(operation):
            at = next((n for n, frame in enumerate(frames) if self.house.owns(frame.path)), None)
            node = self.house.sources.statement(frames[at].path, frames[at].line) if at is not None else None
            if at is None or node is None:
                continue
            for call in statements.calls_in(node):
                for each in [*call.args, *(keyword.value for keyword in call.keywords)]:
                    if isinstance(each, ast.Name):
                        found = self._text(frames, at, each.id, words)
                        if found is not None:
                            return found
        return None

    def differing(self, operation: Operation) -> Range | None:
        """Where a setting was written that the statement of an operation reads and that the other side has
        nowhere: a base of frequencies, axes in another order."""
        at = self.house.frame(operation)
        return None if at is None else self.read_at(operation.stack[at], operation.module)

    def read_at(self, frame: CodeLine, inside: str) -> Range | None:
        """As `differing`, of the statement at a frame. `inside`: a module in that of the frame."""
        node = self.house.sources.statement(frame.path, frame.line)
        module = self._owner(frame, inside)
        if node is None or module is None:
            return None
        for name in sorted(statements.attributes_in(node) & module.settings.keys()):
            if self._has_another(name, module.settings[name]):
                found = self.written(module, name)
                if found is not None:
                    return found
        return None

    def written(self, module: Module, setting: str) -> Range | None:
        """Where the value of a plain attribute was written first, as far as it was only handed on."""
        if module.path is None or module.line is None:
            return None
        bound = self.house.sources.attribute(module.path, module.line + 1, setting)
        if bound is None or not isinstance(bound, (ast.Assign, ast.AnnAssign)) or bound.value is None:
            return None
        here = CodeLine(module.path, bound.lineno - 1, "__init__")
        steps = list(self._trail([here, *module.built_at], 0, bound.value))
        first = Given(statements.range_of(module.path, bound), bound.value)
        own = [step for step in [first, *steps] if self.house.owns(step.place.path)]
        return own[-1].place if own else None

    def _constructions(self, operation: Operation) -> Iterator[tuple[CodeLine, ...]]:
        """The frames that constructed the module of an operation and those around it, as far as one that has
        code of the model's own."""
        name = operation.module
        while name in self.house.modules:
            module = self.house.modules[name]
            yield module.built_at
            if not name or (module.path is not None and self.house.owns(module.path)):
                return
            name = name.rpartition(".")[0]

    def _owner(self, frame: CodeLine, name: str) -> Module | None:
        """The module around an operation whose class has the frame."""
        own = self.house.sources.enclosing_class(frame.path, frame.line)
        while own is not None and name in self.house.modules:
            module = self.house.modules[name]
            if self.house.is_of(module, frame.path, own):
                return module
            if not name:
                return None
            name = name.rpartition(".")[0]
        return None

    def _text(
        self, frames: Sequence[CodeLine], at: int, name: str, words: frozenset[str] | None = None
    ) -> Range | None:
        """The statement of the model's own files that wrote the text which a parameter holds at a frame.
        `words`: of these the text must have one."""
        function = self.house.sources.function(frames[at].path, frames[at].line)
        if function is None or name not in statements.parameters(function):
            return None
        steps = list(self._trail(frames, at, ast.Name(id=name, ctx=ast.Load())))
        if not steps or not self.house.owns(steps[-1].place.path):
            return None
        value = steps[-1].value
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            return None
        if words is not None and not words & _words(value.value):
            return None
        return steps[-1].place

    def _trail(self, frames: Sequence[CodeLine], at: int, value: ast.expr) -> Iterator[Given]:
        """The statements that handed a value on under a name, the last one first. It ends at what is no mere
        name."""
        sources = self.house.sources
        for _ in range(_LONGEST):
            if not isinstance(value, ast.Name):
                return
            frame = frames[at]
            bound = sources.definition(frame.path, frame.line, value.id)
            if bound is not None:
                if not isinstance(bound, (ast.Assign, ast.AnnAssign)) or bound.value is None:
                    return
                if isinstance(bound, ast.Assign) and not isinstance(bound.targets[0], ast.Name):
                    return
                value = bound.value
                yield Given(statements.range_of(frame.path, bound), value)
                frames = [
                    *frames[:at],
                    CodeLine(frame.path, bound.lineno - 1, frame.function),
                    *frames[at + 1 :],
                ]
                continue
            function = sources.function(frame.path, frame.line)
            if function is None or value.id not in statements.parameters(function):
                return
            given = self._given(frames, at, function, value.id)
            if given is None:
                preset = statements.default(function, value.id)
                if preset is not None and at + 1 < len(frames):
                    lines = preset.lineno - 1, (preset.end_lineno or preset.lineno) - 1
                    yield Given(Range(frame.path, *lines), preset)
                return
            at, value = at + 1, given
            yield Given(self.house.at(frames[at]), value)

    def _given(self, frames: Sequence[CodeLine], at: int, function: Function, name: str) -> ast.expr | None:
        """What the call at the next frame gives for a parameter."""
        if at + 1 >= len(frames):
            return None
        outer, sources = frames[at + 1], self.house.sources
        node = sources.statement(outer.path, outer.line)
        cls = sources.enclosing_class(frames[at].path, function.lineno - 1)
        called = {function.name, cls.name if cls is not None else function.name}
        calls = statements.calls_in(node) if node is not None else ()
        exact = [call for call in calls if statements.callee(call) in called] or list(calls)
        found = (statements.argument(call, function, name, bound=cls is not None) for call in exact)
        return next((each for each in found if each is not None), None)

    def _has_another(self, name: str, text: str) -> bool:
        """Whether the other side has settings of that meaning and none of that value. A list's meaning is
        told by its items, in whatever order."""
        value = operands.parsed(text)
        if isinstance(value, (list, tuple)):
            if len(value) < 2 or not all(isinstance(each, (int, float)) for each in value):
                return False
            lists = [
                list(each)
                for module in self.others
                for each in map(operands.parsed, module.settings.values())
                if isinstance(each, (list, tuple)) and _sorted(each) == _sorted(value)
            ]
            return bool(lists) and list(value) not in lists
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        alike = [
            other
            for module in self.others
            for setting, other in module.settings.items()
            if _words(setting) <= _words(name) or _words(name) <= _words(setting)
        ]
        return bool(alike) and not any(operands.equal_constants(text, other) for other in alike)


def _choices(function: Function | None, node: ast.stmt, wanted: object) -> Iterator[ast.expr]:
    """The tests that led to a statement and past another branch with the wanted constant."""
    for each in ast.walk(function) if function is not None else ():
        if not isinstance(each, ast.If):
            continue
        inside = [
            any(part is node for one in body for part in ast.walk(one)) for body in (each.body, each.orelse)
        ]
        if not any(inside):
            continue
        other = each.orelse if inside[0] else each.body
        if any(_writes(part, wanted) for one in other for part in ast.walk(one)):
            yield each.test


def _writes(node: ast.AST, wanted: object) -> bool:
    return isinstance(node, ast.Call) and any(
        isinstance(each, ast.Constant) and type(each.value) is type(wanted) and each.value == wanted
        for each in [*node.args, *(keyword.value for keyword in node.keywords)]
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in re.split(r"[\W_\d]+", text.lower()) if word)


def _sorted(values: Sequence[object]) -> list[float]:
    return sorted(float(each) for each in values if isinstance(each, (int, float)))
