"""Under which names a value went through the code to the place that takes it, and where it was misnamed.

A value in the wrong role was given a wrong name somewhere: unpacked in another order, returned at another
place, passed for another parameter. The official names of both values tell which name is wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from analyzers.numeric import statements
from analyzers.numeric.origins import House
from analyzers.numeric.records import CodeLine
from analyzers.numeric.statements import Range

_LONGEST = 16
_NO_VALUES = frozenset({"self", "torch", "F", "nn", "math", "np"})


class Step(NamedTuple):
    """A statement that gave a value a name. `source`: the name that it had before, None where the statement
    got it from something else than a name."""

    place: Range
    bound: str
    source: str | None


@dataclass(frozen=True)
class Roles:
    """Tells the names of a wanted value from those of the value that was taken. Both: official names."""

    wanted: frozenset[str]
    taken: frozenset[str]

    def of(self, name: str | None) -> str | None:
        """`wanted`, `taken`, or None where the name does not tell."""
        if name is None:
            return None
        plain = name.partition("[")[0].rpartition(".")[2]
        if (plain in self.wanted) != (plain in self.taken):
            return "wanted" if plain in self.wanted else "taken"
        one, other = _words(self.wanted), _words(self.taken)
        own = _words([plain])
        likeness = len(own & (one - other)) - len(own & (other - one))
        return None if not likeness else "wanted" if likeness > 0 else "taken"


def _words(names: Iterable[str]) -> set[str]:
    return {word for name in names for word in re.split(r"[\W_\d]+", name) if word}


@dataclass(frozen=True)
class Names:
    """The way back of a name in one side's code."""

    house: House
    executed: Mapping[str, Collection[int]]

    def back(self, stack: Sequence[CodeLine], at: int, name: str) -> tuple[Step, ...]:
        """The statements that gave a value its names, the last one first, beginning with the variable `name`
        at a frame; out of functions through the calls of the stack."""
        return tuple(self._back(list(stack), at, name))

    def _back(self, stack: list[CodeLine], at: int, name: str) -> Iterator[Step]:
        sources = self.house.sources
        for _ in range(_LONGEST):
            frame = stack[at]
            base, place = _split(name)
            bound = sources.definition(frame.path, frame.line, base, self.executed.get(frame.path, ()))
            if bound is not None:
                source = _root(_given(bound, base, place), place)
                yield Step(statements.range_of(frame.path, bound), base, source)
                stack[at] = CodeLine(frame.path, bound.lineno - 1, frame.function)
            else:
                source = None
                function = sources.function(frame.path, frame.line)
                if function is None or at + 1 >= len(stack) or base not in statements.parameters(function):
                    return
                at += 1
                outer = stack[at]
                given = self._argument(outer, function, frame, base)
                if given is None and at + 1 < len(stack) and self._hands_on(outer):
                    at += 1
                    outer = stack[at]
                    given = self._argument(outer, function, frame, base)
                source = _root(given, place)
                yield Step(self.house.at(outer), base, source)
            if source is None:
                return
            name = source

    def _hands_on(self, line: CodeLine) -> bool:
        """Whether the statement passes all keywords on that it got itself (`f(*args, **kwargs)`)."""
        node = self.house.sources.statement(line.path, line.line)
        calls = statements.calls_in(node) if node is not None else ()
        return any(keyword.arg is None for call in calls for keyword in call.keywords)

    def passed(
        self, stack: Sequence[CodeLine], function: statements.Function, label: str
    ) -> tuple[Step, ...]:
        """As `back`, from what the call at the first frame gives for a parameter (`freqs_cis[0]`)."""
        base, place = _split(label)
        node = self.house.sources.statement(stack[0].path, stack[0].line)
        calls = statements.calls_in(node) if node is not None else ()
        for call in calls:
            call = self._spread(call, stack[0])
            name = _root(statements.argument(call, function, base, bound=True), place)
            if name is not None:
                return self.back(stack, 0, name)
        return ()

    def _spread(self, call: ast.Call, frame: CodeLine) -> ast.Call:
        """The call with starred variables written out, where their list is written in the same function."""
        given: list[ast.expr] = []
        for each in call.args:
            listed = None
            if isinstance(each, ast.Starred) and isinstance(each.value, ast.Name):
                bound = self.house.sources.definition(frame.path, frame.line, each.value.id)
                listed = _given(bound, each.value.id, None) if bound is not None else None
            given.extend(listed.elts if isinstance(listed, (ast.List, ast.Tuple)) else [each])
        return ast.Call(func=call.func, args=given, keywords=call.keywords)

    def _argument(
        self, outer: CodeLine, function: statements.Function, inner: CodeLine, name: str
    ) -> ast.expr | None:
        node = self.house.sources.statement(outer.path, outer.line)
        if node is None:
            return None
        cls = self.house.sources.enclosing_class(inner.path, function.lineno - 1)
        given = (
            statements.argument(self._spread(c, outer), function, name, bound=cls is not None)
            for c in statements.calls_in(node)
        )
        return next((each for each in given if each is not None), None)

    def misnamed(
        self, stack: Sequence[CodeLine], at: int, name: str, roles: Roles, own: Range | None
    ) -> Range | None:
        """The statement of the model's own files that gave the value its wrong name, or takes it by its right
        one in a wrong place (`own`: the use). None where the names do not tell."""
        steps = self.back(stack, at, name)
        if roles.of(name) == "taken":
            return own
        seen = [each for each in steps if self.house.owns(each.place.path)]
        for each in seen:
            if roles.of(each.bound) != "taken" and roles.of(each.source) == "taken":
                return each.place
        told = [each for each in seen if roles.of(each.bound) == "wanted"]
        return told[-1].place if told else None


def _split(name: str) -> tuple[str, int | None]:
    base, bracket, rest = name.partition("[")
    number = rest.rstrip("]")
    return base, int(number) if bracket and number.lstrip("-").isdigit() else None


def _given(bound: ast.stmt, name: str, place: int | None) -> ast.expr | None:
    """What a statement binds to a name."""
    if isinstance(bound, ast.Assign):
        target, value = bound.targets[0], bound.value
        if isinstance(target, (ast.Tuple, ast.List)):
            names = [each.id if isinstance(each, ast.Name) else None for each in target.elts]
            if name not in names:
                return None
            at = names.index(name)
            if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(names):
                return value.elts[at]
            if isinstance(value, ast.Name):
                return ast.Subscript(value=value, slice=ast.Constant(at), ctx=ast.Load())
            return None
        return value
    if isinstance(bound, ast.AnnAssign):
        return bound.value
    return None


def _root(value: ast.expr | None, place: int | None) -> str | None:
    """The variable that an expression only casts, reshapes or picks from."""
    if isinstance(value, ast.IfExp):
        return _root(value.body, place) or _root(value.orelse, place)
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        value = value.func.value
        if isinstance(value, ast.Name) and value.id in _NO_VALUES:
            return None
    if isinstance(value, (ast.Tuple, ast.List)) and place is not None and place < len(value.elts):
        return _root(value.elts[place], None)
    if isinstance(value, ast.UnaryOp):
        return None
    if isinstance(value, ast.Name):
        return value.id if place is None else f"{value.id}[{place}]"
    if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name):
        index = value.slice
        if isinstance(index, ast.Constant) and isinstance(index.value, int):
            return f"{value.value.id}[{index.value}]"
        return value.value.id if place is None else None
    return None
