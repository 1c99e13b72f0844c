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
    """A statement of the port. `near`: 0 for the one to blame, a half for what bound a variable that holds a
    wrong value there, 1 for what led to it, 2 for the rest."""

    code: Code
    statement: ast.stmt
    near: float

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
            for statement, near in self._definitions(place):
                if statement not in found or found[statement].near > near:
                    found[statement] = Place(place.code, statement, near)
            for statement in self._returns(place):
                found.setdefault(statement, Place(place.code, statement, 1))
        return tuple(sorted(found.values(), key=lambda place: place.near))

    @cached_property
    def suspects(self) -> frozenset[str]:
        """The port's variables that were used where the official model uses another value."""
        return frozenset(
            name for change in self.changes if change.kind == "operand" for name in self._taken(change)
        )

    def _taken(self, change: Change) -> Iterator[str]:
        """The variables that a wrong operand came from, through views and slices of it."""
        user, position = change.user, change.position
        while user is not None:
            taken, at = operands.tensors(user), self.native.frame(user)
            if at is None or position >= len(taken):
                return
            operand = taken[position]
            name = operand.held[at] if at < len(operand.held) else operand.variable
            if name is not None:
                yield name
                return
            maker = self.operations.native.makers.get(operand.value) if operand.value is not None else None
            picks = maker is not None and operands.canonical(maker) in operands.FORM | operands.ORDER
            user, position = (maker if picks else None), 0

    def _lines(self) -> Iterator[tuple[float, str, int]]:
        for spot in (self.divergence.native, *self.divergence.also):
            yield from self._spot_lines(0, spot)
        if self.divergence.mismatch is not None and self.divergence.mismatch.native_spot is not None:
            yield from self._spot_lines(0, self.divergence.mismatch.native_spot)
        for change in self.changes:
            maker = self.operations.native.makers.get(change.values[0])
            for operation in (change.native, change.user, maker):
                yield from self._stack_lines(1, operation)
        for operation in self.account.native.operations:
            yield from self._stack_lines(2, operation)
        module = self.built.native_by_name.get(self.divergence.pair.native.module)
        for frame in module.built_at if module is not None else ():
            yield 1, frame.path, frame.line

    def _spot_lines(self, near: float, spot: Spot) -> Iterator[tuple[float, str, int]]:
        if spot.path is None or spot.line is None:
            return
        last = spot.line if spot.end_line is None else spot.end_line
        for line in range(spot.line, last + 1):
            yield near, spot.path, line

    def _stack_lines(self, near: float, operation: Operation | None) -> Iterator[tuple[float, str, int]]:
        if operation is None:
            return
        own = [frame for frame in operation.stack if self.native.owns(frame.path)]
        for depth, frame in enumerate(own[:2]):
            yield near + depth, frame.path, frame.line
        library = self.native.library_module(operation)
        built = self.native.built(library) if library is not None else None
        if built is not None:
            yield min(near, 1), built.path, built.line

    def _returns(self, place: Place) -> Iterator[ast.stmt]:
        """Where the function of a statement returns: what is lacking may be lacking there."""
        function = self.sources.function(place.code.path, place.statement.lineno - 1)
        if function is None or not any(change.kind == "lacking" for change in self.changes):
            return
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                yield node

    def _definitions(self, place: Place) -> Iterator[tuple[ast.stmt, float]]:
        """The statements that bound what a statement reads, and how near they are."""
        path, line = place.code.path, place.statement.lineno - 1
        for name in sorted(statements.names_in(statements.head(place.statement))):
            bound = self.sources.definition(path, line, name, self._executed.get(path, frozenset()))
            if bound is not None:
                yield bound, 0.5 if name in self.suspects else 2
        for name in sorted(statements.attributes_in(statements.head(place.statement))):
            bound = self.sources.attribute(path, line, name)
            if bound is not None:
                yield bound, 2

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

    @cached_property
    def official_literals(self) -> Mapping[str, tuple[object, ...]]:
        """What the official model's files give for parameters, keywords and attributes by name, literals
        alone."""
        found: dict[str, dict[str, object]] = {}
        for path in self._official_files:
            tree = self.sources.tree(path)
            for name, node in _named_values(tree) if tree is not None else ():
                if isinstance(node, ast.Constant) and node.value is not None:
                    found.setdefault(name, {})[repr(node.value)] = node.value
        return {name: tuple(values.values()) for name, values in found.items()}

    @cached_property
    def official_keywords(self) -> Mapping[str, frozenset[str]]:
        """The keywords that the official files' calls give, by the last word of what is called."""
        found: dict[str, set[str]] = {}
        for path in self._official_files:
            tree = self.sources.tree(path)
            for node in ast.walk(tree) if tree is not None else ():
                if isinstance(node, ast.Call) and statements.callee(node) is not None:
                    words = found.setdefault(str(statements.callee(node)), set())
                    words.update(keyword.arg for keyword in node.keywords if keyword.arg is not None)
        return {name: frozenset(words) for name, words in found.items()}

    @property
    def _official_files(self) -> tuple[str, ...]:
        root = self.built.official_by_name.get("")
        spots = (self.divergence.official.path, root.path if root is not None else None)
        return tuple(dict.fromkeys(path for path in spots if path is not None))

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
        found += self._of_eps()
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

    def _of_eps(self) -> Iterator[Constants]:
        """The small numbers that the port adds, and the eps of the official model's norms."""
        ours = _small_constants(self.operations.native.operations)
        theirs = _small_constants(self.operations.official.operations)
        for one in sorted(ours):
            for other in sorted(theirs):
                if not operands.equal_constants(one, other):
                    yield Constants(_value(one), _value(other), "eps", "", False)

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


def _small_constants(found: Sequence[Operation]) -> set[str]:
    return {
        constant.text
        for operation in found
        for constant in operands.constants(operation)
        if constant.place == "eps" or (operands.canonical(operation) == "add" and _is_small(constant.text))
    }


def _is_small(text: str) -> bool:
    value = operands.parsed(text)
    return isinstance(value, float) and 0 < value <= 1e-2


def _value(text: str | None) -> object:
    return None if text is None else operands.parsed(text)


def _by_operation(found: Sequence[Operation]) -> dict[str, dict[str, set[str]]]:
    result: dict[str, dict[str, set[str]]] = {}
    for operation in found:
        for constant in operands.constants(operation):
            places = result.setdefault(operands.canonical(operation), {})
            places.setdefault(constant.place, set()).add(constant.text)
    return result


def _named_values(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Parameters with their defaults, keywords and variables with what they are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg, node.value
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for name in sorted(statements.parameters(node)):
                preset = statements.default(node, name)
                if preset is not None:
                    yield name, preset
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            bound = getattr(target, "attr", None) or getattr(target, "id", None)
            if bound is not None:
                yield bound, node.value
