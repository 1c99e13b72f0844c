"""What is known about one error: the port's statements that may hold it, and what the official side has."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from analyzers.numeric import operands, statements
from analyzers.numeric.hypotheses.edits import Code, code_of, nodes_of
from analyzers.numeric.origins import House
from analyzers.numeric.records import Built, Operation, Operations
from analyzers.numeric.slices import Account, Change, account
from analyzers.numeric.statements import Sources
from analyzers.numeric.verdicts import Divergence, Spot


@dataclass(frozen=True)
class Place:
    """A statement of the port. `near`: 0 for the one to blame, 1 for what led to it, 2 for the rest."""

    code: Code
    statement: ast.stmt
    near: int

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(nodes_of(self.statement))


@dataclass(frozen=True)
class Constants:
    """A constant of the port and the official one in its stead, as Python values. `name`: what it is called
    (`eps`, or a position). `sure`: they belong to one operation of both sides."""

    ours: object
    theirs: object
    name: str
    operation: str
    sure: bool


class Evidence:
    """One error, and the code around it."""

    def __init__(
        self,
        divergence: Divergence,
        operations: Operations,
        built: Built,
        source: Callable[[str], str | None],
    ) -> None:
        self.divergence = divergence
        self.operations = operations
        self.built = built
        self._read = source
        self.sources = Sources(source)
        self.native = House.of(built.native, self.sources)
        self.official = House.of(built.official, self.sources)
        self._codes: dict[str, Code | None] = {}

    @cached_property
    def account(self) -> Account:
        return account(self.operations)

    @property
    def changes(self) -> Sequence[Change]:
        """What differs between the operations of the two sides, matters of form left out."""
        return [change for change in self.account.changes if change.kind not in ("form", "unlike")]

    # ------------------------------------------------------------------ statements

    def code(self, path: str) -> Code | None:
        """A file of the port's own; None for a library's."""
        if path not in self._codes:
            own = self.native.owns(path)
            self._codes[path] = code_of(path, self._read(path), self.sources.tree(path)) if own else None
        return self._codes[path]

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The port's statements that may hold the error, the likeliest first, each once."""
        found: dict[ast.stmt, Place] = {}
        for near, path, line in self._lines():
            code, statement = self.code(path), self.sources.statement(path, line)
            if code is not None and statement is not None:
                found.setdefault(statement, Place(code, statement, near))
        for place in [each for each in found.values() if each.near == 0]:
            for statement in self._definitions(place):
                found.setdefault(statement, Place(place.code, statement, 2))
        return tuple(sorted(found.values(), key=lambda place: place.near))

    def _lines(self) -> Iterator[tuple[int, str, int]]:
        for spot in (self.divergence.native, *self.divergence.also):
            yield from self._spot_lines(0, spot)
        if self.divergence.mismatch is not None and self.divergence.mismatch.native_spot is not None:
            yield from self._spot_lines(0, self.divergence.mismatch.native_spot)
        for change in self.changes:
            for operation in (change.native, change.user):
                yield from self._stack_lines(1, operation)
        for operation in self.account.native.operations:
            yield from self._stack_lines(2, operation)
        module = self.built.native_by_name.get(self.divergence.pair.native.module)
        for frame in module.built_at if module is not None else ():
            yield 1, frame.path, frame.line

    def _spot_lines(self, near: int, spot: Spot) -> Iterator[tuple[int, str, int]]:
        if spot.path is None or spot.line is None:
            return
        last = spot.line if spot.end_line is None else spot.end_line
        for line in range(spot.line, last + 1):
            yield near, spot.path, line

    def _stack_lines(self, near: int, operation: Operation | None) -> Iterator[tuple[int, str, int]]:
        if operation is None:
            return
        own = [frame for frame in operation.stack if self.native.owns(frame.path)]
        for depth, frame in enumerate(own[:2]):
            yield near + depth, frame.path, frame.line
        library = self.native.library_module(operation)
        built = self.native.built(library) if library is not None else None
        if built is not None:
            yield near, built.path, built.line

    def _definitions(self, place: Place) -> Iterator[ast.stmt]:
        """The statements that bound what a statement reads."""
        path, line = place.code.path, place.statement.lineno - 1
        for name in sorted(statements.names_in(statements.head(place.statement))):
            bound = self.sources.definition(path, line, name, self._executed.get(path, frozenset()))
            if bound is not None:
                yield bound
        for name in sorted(statements.attributes_in(statements.head(place.statement))):
            bound = self.sources.attribute(path, line, name)
            if bound is not None:
                yield bound

    @cached_property
    def _executed(self) -> Mapping[str, frozenset[int]]:
        lines: dict[str, set[int]] = {}
        for operation in self.operations.native.operations:
            for frame in operation.stack:
                lines.setdefault(frame.path, set()).add(frame.line)
        return {path: frozenset(found) for path, found in lines.items()}

    @cached_property
    def official_statements(self) -> tuple[ast.stmt, ...]:
        """The official statements beside the port's."""
        spots = [self.divergence.official]
        if self.divergence.mismatch is not None and self.divergence.mismatch.official_spot is not None:
            spots.append(self.divergence.mismatch.official_spot)
        found: dict[ast.stmt, None] = {}
        for spot in spots:
            for _, path, line in self._spot_lines(0, spot):
                statement = self.sources.statement(path, line)
                if statement is not None:
                    found[statement] = None
        return tuple(found)

    # ------------------------------------------------------------------ values

    def names_of(self, official: int) -> tuple[str, ...]:
        """The port's variables that hold a value equal to an official one, the most used first."""
        equal = set(self.account.equality.natives_of(official))
        names: Counter[str] = Counter()
        for operation in self.operations.native.operations:
            at = self.native.frame(operation)
            for operand in operation.operands:
                if operand.value in equal:
                    held = operand.held[at] if at is not None and at < len(operand.held) else operand.variable
                    if held is not None:
                        names[held] += 1
        return tuple(name for name, _ in names.most_common())

    @cached_property
    def renamed(self) -> Mapping[str, str]:
        """The port's name of each official variable, where values tell it."""
        found: dict[str, str] = {}
        for operation in self.operations.official.operations:
            at = self.official.frame(operation)
            for operand in operation.operands:
                if operand.value is None:
                    continue
                held = operand.held[at] if at is not None and at < len(operand.held) else operand.variable
                names = self.names_of(operand.value) if held is not None and held not in found else ()
                if held is not None and names:
                    found[held] = held if held in names else names[0]
        return found

    # ------------------------------------------------------------------ constants

    @cached_property
    def constants(self) -> tuple[Constants, ...]:
        """Constants that differ: first those of matched operations, then those of settings, then those that
        only one side has in operations of one name."""
        found = [
            Constants(
                _value(change.constants[0]),
                _value(change.constants[1]),
                change.place or "",
                operands.canonical(change.native),
                True,
            )
            for change in self.changes
            if change.kind == "constant" and change.native is not None and None not in change.constants
        ]
        found += self._of_settings()
        found += self._one_sided()
        return tuple({(repr(each.ours), repr(each.theirs)): each for each in reversed(found)}.values())[::-1]

    def _of_settings(self) -> Iterator[Constants]:
        pair = self.divergence.pair
        ours = self.built.native_by_name.get(pair.native.module)
        theirs = self.built.official_by_name.get(pair.official.module)
        if ours is None or theirs is None:
            return
        for name, text in ours.settings.items():
            other = theirs.settings.get(name)
            if other is not None and not operands.equal_constants(text, other):
                yield Constants(_value(text), _value(other), name, "", True)

    def _one_sided(self) -> Iterator[Constants]:
        one = _by_operation(self.operations.native.operations)
        other = _by_operation(self.operations.official.operations)
        for name in sorted(one.keys() & other.keys()):
            ours = {place: texts - other[name].get(place, set()) for place, texts in one[name].items()}
            theirs = {place: texts - one[name].get(place, set()) for place, texts in other[name].items()}
            for place in ours:
                for text in sorted(ours[place]):
                    for right in sorted(theirs.get(place, ())):
                        if not operands.equal_constants(text, right):
                            yield Constants(_value(text), _value(right), place, name, False)


def _value(text: str | None) -> object:
    return None if text is None else operands.parsed(text)


def _by_operation(found: Sequence[Operation]) -> dict[str, dict[str, set[str]]]:
    result: dict[str, dict[str, set[str]]] = {}
    for operation in found:
        for constant in operands.constants(operation):
            places = result.setdefault(operands.canonical(operation), {})
            places.setdefault(constant.place, set()).add(constant.text)
    return result
