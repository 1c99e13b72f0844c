"""The shortest account of how one side's computation differs from the other's.

Both ways to a value are graphs of operations that end in values which both sides have. The account turns the
port's graph into the official one by as few changes as it takes: another constant, another operand, an
operation replaced, lacking or too many. What both sides have needs no account, however it was computed; so
two styles of writing the same thing cost nothing as long as their results agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeAlias

from analyzers.numeric import operands, sums
from analyzers.numeric.records import Operand, Operation, Operations, Same, Slice

ChangeKind: TypeAlias = Literal[
    "operation", "constant", "operand", "value", "lacking", "extra", "form", "unlike"
]
"""Kinds of `Mismatch`, and `form` (a value of both sides in another order) and `unlike` (no way to match)."""

LIMIT: Final = 250_000
"""Pairs of values that are weighed against each other; a pair takes about 10 microseconds."""

_UNLIKE: Final = 14.0

_NAMED: Final = 2.0

_IN_FORM: Final = 0.3
"""Less than this costs a value that both sides have, in whatever form."""

_REPLACED: Final = 2.2
_REPLACED_EACH: Final = 0.3


@dataclass(frozen=True)
class Change:
    """One step of the account.

    `native` and `official`: the operations that differ; of something lacking there is no native one, of
    something extra no official one. `values`: the native and the official value that should be equal here.
    `user` and `official_user`: the operations that use these values (None at the goal). `position`: which
    operand of `user` it is. `constants`: texts of a differing constant (native, official), and `place` what
    it is called.
    """

    kind: ChangeKind
    native: Operation | None
    official: Operation | None
    values: tuple[int, int]
    cost: float
    user: Operation | None = None
    official_user: Operation | None = None
    position: int = 0
    constants: tuple[str | None, str | None] = (None, None)
    place: str | None = None


def _is_form(pair: Same) -> bool:
    """Another order or form; a value with the other sign is another value."""
    return pair.layout is not None and not pair.layout.startswith("negated")


@dataclass(frozen=True)
class Equality:
    """Which values of the two sides are equal, and which are so in another order only."""

    same: Sequence[Same]

    @cached_property
    def _classes(self) -> Mapping[tuple[str, int], int]:
        parents: dict[tuple[str, int], tuple[str, int]] = {}

        def root(key: tuple[str, int]) -> tuple[str, int]:
            parents.setdefault(key, key)
            while parents[key] != key:
                parents[key] = parents[parents[key]]
                key = parents[key]
            return key

        for pair in self.same:
            if pair.layout is None:
                parents[root(("official", pair.official))] = root(("native", pair.native))
        numbers: dict[tuple[str, int], int] = {}
        return {key: numbers.setdefault(root(key), len(numbers)) for key in list(parents)}

    @cached_property
    def _layouts(self) -> Mapping[tuple[int, int], Same]:
        return {(pair.native, pair.official): pair for pair in self.same if _is_form(pair)}

    @cached_property
    def _in_form(self) -> tuple[frozenset[int], frozenset[int]]:
        pairs = [pair for pair in self.same if _is_form(pair) and not pair.reorders]
        return frozenset(pair.native for pair in pairs), frozenset(pair.official for pair in pairs)

    def agree(self, native: int, official: int) -> bool:
        """Whether the two values are equal, element by element."""
        one = self._classes.get(("native", native))
        return one is not None and one == self._classes.get(("official", official))

    def layout(self, native: int, official: int) -> Same | None:
        """The other order or form in which the two values are equal."""
        return self._layouts.get((native, official))

    def has_native(self, value: int) -> bool:
        """Whether the official side has this value of the port's."""
        return ("native", value) in self._classes or value in self._in_form[0]

    def has_official(self, value: int) -> bool:
        """Whether the port has this official value."""
        return ("official", value) in self._classes or value in self._in_form[1]

    def officials_of(self, native: int, in_form: bool = True) -> tuple[int, ...]:
        """The official values that are equal to one of the port's, with `in_form` also in another form."""
        wanted = self._classes.get(("native", native))
        found = {
            number
            for (side, number), at in self._classes.items()
            if wanted is not None and at == wanted and side == "official"
        }
        if in_form:
            forms = self._layouts.items()
            found |= {other for (own, other), pair in forms if own == native and not pair.reorders}
        return tuple(sorted(found))

    def officials_like(self, official: int) -> tuple[int, ...]:
        """The official values that are known to be equal to one of them, that one first."""
        found = {official}
        for native in self.natives_of(official):
            found.update(self.officials_of(native))
        for (own, other), pair in self._layouts.items():
            if other == official and not pair.reorders:
                found.update(self.officials_of(own))
        return (official, *sorted(found - {official}))

    def natives_of(self, official: int) -> tuple[int, ...]:
        """The port's values that are equal to an official one."""
        wanted = self._classes.get(("official", official))
        if wanted is None:
            return ()
        return tuple(
            sorted(
                number for (side, number), at in self._classes.items() if at == wanted and side == "native"
            )
        )


@dataclass(frozen=True)
class Region:
    """What one side did between values that the other has too and the goal: values in the order in which they
    were made, those that the other side has (or that nothing made) first."""

    slice: Slice
    leaves: tuple[int, ...]
    made: tuple[int, ...]

    @property
    def values(self) -> tuple[int, ...]:
        """All values, operands before results."""
        return self.leaves + self.made

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations that made `made`, in order."""
        makers = {self.slice.makers[value].number: self.slice.makers[value] for value in self.made}
        return tuple(makers[number] for number in sorted(makers))


def region(side: Slice, known: Callable[[int], bool]) -> Region:
    """Walks back from the goal and stops at what is known."""
    leaves: dict[int, None] = {}
    made: dict[int, None] = {}
    waiting = [side.goal]
    while waiting:
        value = waiting.pop()
        if value in leaves or value in made:
            continue
        maker = side.makers.get(value)
        if maker is None or known(value):
            leaves[value] = None
            continue
        made[value] = None
        waiting.extend(operand.value for operand in maker.operands if operand.value is not None)
    order = {value: (side.makers[value].number, value) for value in made}
    return Region(side, tuple(sorted(leaves)), tuple(sorted(made, key=order.__getitem__)))


@dataclass(frozen=True)
class Account:
    """Why the goal differs: the changes, those nearest to what both sides have first. `complete`: it explains
    the difference without `unlike`."""

    changes: tuple[Change, ...]
    native: Region
    official: Region
    equality: Equality

    @property
    def cost(self) -> float:
        """How far-fetched the account is: about one for each change that counts."""
        return sum(change.cost for change in self.changes)

    @property
    def complete(self) -> bool:
        """Whether every difference found its counterpart."""
        return bool(self.changes) and all(change.kind != "unlike" for change in self.changes)


def account(operations: Operations) -> Account:
    """The shortest account of the difference at the goals. Without changes where there is nothing to compare
    (no operations, or more than `LIMIT` pairs of values)."""
    equality = Equality(operations.same)
    goal, official_goal = operations.native.goal, operations.official.goal
    in_form = equality.layout(goal, official_goal) is not None
    native = region(
        operations.native, lambda value: equality.has_native(value) and (value != goal or not in_form)
    )
    official = region(
        operations.official,
        lambda value: equality.has_official(value) and (value != official_goal or not in_form),
    )
    if not (native.made or official.made) or len(native.values) * len(official.values) > LIMIT:
        return Account((), native, official, equality)
    steps = _Weighing(native, official, equality).changes()
    order = {operation.number: place for place, operation in enumerate(native.operations)}
    far = len(order)

    def place(change: Change) -> int:
        operation = change.native or change.user
        return order.get(operation.number, far) if operation is not None else far

    return Account(tuple(sorted(steps, key=place)), native, official, equality)


@dataclass(frozen=True)
class _Choice:
    way: str
    cost: float
    own: tuple[Change, ...]
    pairs: tuple[tuple[int, int, int], ...]  # native value, official value, position in the native operation
    costs: Mapping[Hashable, float] = field(default_factory=dict)


class _Weighing:
    """Finds, for each pair of values, the cheapest way to account for their difference; a change that several
    ways share is counted once."""

    def __init__(self, native: Region, official: Region, equality: Equality) -> None:
        self._native = native
        self._official = official
        self._equality = equality
        self._best: dict[tuple[int, int], _Choice] = {}

    def changes(self) -> Iterator[Change]:
        natives, officials = self._native.values, self._official.values
        for one in natives:
            for other in officials:
                self._best[one, other] = self._weigh(one, other)
        goal = (self._native.slice.goal, self._official.slice.goal)
        yield from self._collect(goal)

    def _collect(self, goal: tuple[int, int]) -> Iterator[Change]:
        seen = set()
        waiting: list[tuple[tuple[int, int], Operation | None, Operation | None, int]] = [
            (goal, None, None, 0)
        ]
        while waiting:
            pair, user, official_user, position = waiting.pop()
            if pair in seen:
                continue
            seen.add(pair)
            choice = self._best[pair]
            for change in choice.own:
                yield Change(
                    change.kind,
                    change.native,
                    change.official,
                    change.values,
                    change.cost,
                    change.user or user,
                    change.official_user or official_user,
                    change.position if change.user is not None else position,
                    change.constants,
                    change.place,
                )
            maker = self._native.slice.makers.get(pair[0])
            official_maker = self._official.slice.makers.get(pair[1])
            next_user = user if choice.way == "lacking" else maker
            next_official = official_user if choice.way == "extra" else official_maker
            for one, other, at in choice.pairs:
                waiting.append(
                    ((one, other), next_user, next_official, position if choice.way == "lacking" else at)
                )

    def _weigh(self, one: int, other: int) -> _Choice:
        at_goal = (one, other) == (self._native.slice.goal, self._official.slice.goal)
        if not at_goal:
            if self._equality.agree(one, other):
                return _Choice("same", 0.0, (), ())
            layout = self._equality.layout(one, other)
            if layout is not None and not layout.reorders:
                change = Change("form", self._maker(one), self._official_maker(other), (one, other), 0.15)
                return _Choice("form", 0.15, (change,), (), {_key(change): 0.15})
        choices = list(self._choices(one, other))
        return min(choices, key=lambda choice: choice.cost)

    def _maker(self, value: int) -> Operation | None:
        return self._native.slice.makers.get(value)

    def _official_maker(self, value: int) -> Operation | None:
        return self._official.slice.makers.get(value)

    def _choices(self, one: int, other: int) -> Iterator[_Choice]:
        made, official_made = one in self._made, other in self._official_made
        ours, theirs = self._maker(one), self._official_maker(other)
        if not (made and official_made):
            settled = not made and not official_made
            cost = 1.2 if settled else 6.0
            fresh = made and ours is not None and operands.canonical(ours) in operands.FRESH
            yield self._alone("operand", ours, theirs, (one, other), 1.3 if fresh else cost)
        else:
            yield self._alone("unlike", ours, theirs, (one, other), _UNLIKE)
            if self._replaces(one, other):
                size = max(
                    len(self._extent[one] & self._made),
                    len(self._official_extent[other] & self._official_made),
                )
                cost = _REPLACED + _REPLACED_EACH * size
                yield self._alone("operation", ours, theirs, (one, other), cost)
        if made and official_made and ours is not None and theirs is not None:
            yield from self._summed(one, other)
            yield from self._matched(ours, theirs, one, other)
            yield from self._joining(ours, theirs, one, other)
        elif (made or official_made) and ours is not None and theirs is not None:
            yield from self._behind(ours, theirs, one, other)
        if made and ours is not None:
            for at, operand in enumerate(operands.tensors(ours)):
                if operand.value is not None and (operand.value, other) in self._best:
                    cost = operands.weight(operands.canonical(ours)) + _dropped(
                        ours, operand.value, self._made
                    )
                    change = Change("extra", ours, None, (one, other), cost)
                    yield self._joined("extra", (change,), ((operand.value, other, at),))
        if official_made and theirs is not None:
            for operand in operands.tensors(theirs):
                if operand.value is not None and (one, operand.value) in self._best:
                    cost = operands.weight(operands.canonical(theirs))
                    cost += _dropped(theirs, operand.value, self._official_made)
                    cost += _spread(self._official.slice, operand.value, other)
                    change = Change("lacking", None, theirs, (one, other), cost)
                    yield self._joined("lacking", (change,), ((one, operand.value, 0),))

    @cached_property
    def _made(self) -> frozenset[int]:
        return frozenset(self._native.made)

    @cached_property
    def _official_made(self) -> frozenset[int]:
        return frozenset(self._official.made)

    def _matched(self, ours: Operation, theirs: Operation, one: int, other: int) -> Iterator[_Choice]:
        name, official_name = operands.canonical(ours), operands.canonical(theirs)
        mine, others = operands.tensors(ours), operands.tensors(theirs)
        own: list[Change] = []
        if name != official_name:
            alike = operands.weight(name) == operands.weight(official_name)
            cost = (1.0 if alike else 2.5) + (0.0 if len(mine) == len(others) else 0.6)
            own.append(Change("operation", ours, theirs, (one, other), cost))
        else:
            cost = 0.15 if name in operands.FORM or name in operands.CAST else 0.9
            for given, official_given in operands.differing_constants(
                ours, theirs, self._native.slice.values, self._official.slice.values
            ):
                texts = (given.text if given else None, official_given.text if official_given else None)
                named = given.place if given else official_given.place if official_given else None
                own.append(Change("constant", ours, theirs, (one, other), cost, constants=texts, place=named))
            if ours.outputs.index(one) != theirs.outputs.index(other):
                own.append(Change("operand", ours, theirs, (one, other), 0.9, place="part"))
        values = [operand.value for operand in mine if operand.value is not None]
        official_values = [operand.value for operand in others if operand.value is not None]
        for pairs, gaps in _pairings(
            values, official_values, name in operands.COMMUTATIVE and name == official_name
        ):
            changes = list(own)
            for side, value in gaps:
                kind: ChangeKind = "extra" if side == "native" else "lacking"
                changes.append(Change(kind, ours, theirs, (one, other), 1.0, place=str(value)))
            pairs, wrong = self._other_names(ours, theirs, pairs)
            changes.extend(wrong)
            if not changes and all(self._best_cost(a, b) == 0.0 for a, b, _ in pairs):
                changes.append(Change("value", ours, theirs, (one, other), 1.2))
            yield self._joined("matched", tuple(changes), pairs)

    def _summed(self, one: int, other: int) -> Iterator[_Choice]:
        """Two sums whose terms are the same but for one."""
        ours = sums.terms(self._native.slice, one, self._made)
        theirs = sums.terms(self._official.slice, other, self._official_made)
        found = sums.matched(ours, theirs, lambda a, b: self._best_cost(a, b) < _IN_FORM)
        if found is None or len(found.signs) + max(len(found.ours), len(found.theirs)) != 1:
            return
        for a, b in found.signs:
            yield self._alone("operation", a.operation, b.operation, (one, other), 1.0)
        if found.ours and found.theirs:
            (mine,), (its,) = found.ours, found.theirs
            if mine.negative == its.negative:
                yield self._joined("matched", (), ((mine.value, its.value, mine.position),))
        elif found.ours:
            yield self._alone("extra", found.ours[0].operation, None, (one, other), 1.0)
        elif found.theirs:
            yield self._alone("lacking", None, found.theirs[0].operation, (one, other), 1.0)

    def _replaces(self, one: int, other: int) -> bool:
        """Whether one line of the port's code computes something else from the same values."""
        ours, theirs = self._extent[one], self._official_extent[other]
        lines = {self._native.slice.makers[value].stack[-2:] for value in ours & self._made}
        sources = {value: self._native.slice.values[value].source for value in ours}
        leaves = [value for value in ours - self._made if sources[value] not in ("parameter", "buffer")]
        official_leaves = [
            value
            for value in theirs - self._official_made
            if self._official.slice.values[value].source not in ("parameter", "buffer")
        ]
        return (
            len(lines) == 1
            and bool(leaves)
            and all(self._equality.has_native(value) for value in leaves)
            and all(self._equality.has_official(value) for value in official_leaves)
            and any(self._equality.agree(a, b) for a in leaves for b in official_leaves)
        )

    @cached_property
    def _extent(self) -> Mapping[int, frozenset[int]]:
        return _extents(self._native)

    @cached_property
    def _official_extent(self) -> Mapping[int, frozenset[int]]:
        return _extents(self._official)

    def _joining(self, ours: Operation, theirs: Operation, one: int, other: int) -> Iterator[_Choice]:
        """Two ways of putting the same parts together: joined, or written into an empty tensor."""
        if operands.canonical(ours) == operands.canonical(theirs):
            return
        parts = _assembled(self._native.slice, ours)
        others = _assembled(self._official.slice, theirs)
        if parts is None or others is None or len(parts) != len(others):
            return
        pairs = tuple((a, b, at) for at, (a, b) in enumerate(zip(parts, others, strict=True)))
        if all((a, b) in self._best for a, b, _ in pairs):
            yield self._joined("matched", (Change("form", ours, theirs, (one, other), 0.2),), pairs)

    def _other_names(
        self, ours: Operation, theirs: Operation, pairs: tuple[tuple[int, int, int], ...]
    ) -> tuple[tuple[tuple[int, int, int], ...], list[Change]]:
        """Operands that the port takes from a variable of another name than the official known value, where
        that is the shorter account."""
        kept, wrong = [], []
        mine = operands.tensors(ours)
        others = {operand.value: operand for operand in operands.tensors(theirs)}
        for one, other, at in pairs:
            names, official = _names(ours, mine[at]), _names(theirs, others[other])
            settled = other not in self._official_made and self._best_cost(one, other) > _NAMED
            if settled and names and official and not names & official:
                wrong.append(Change("operand", None, None, (one, other), _NAMED, ours, theirs, at))
            else:
                kept.append((one, other, at))
        return tuple(kept), wrong

    def _behind(self, ours: Operation, theirs: Operation, one: int, other: int) -> Iterator[_Choice]:
        """Two like operations of which one's result happens to be known: rounding swallows a small constant,
        and adding nothing leaves a value as it was."""
        mine = [operand.value for operand in operands.tensors(ours) if operand.value is not None]
        others = [operand.value for operand in operands.tensors(theirs) if operand.value is not None]
        if operands.canonical(ours) != operands.canonical(theirs) or len(mine) != len(others):
            return
        free = operands.canonical(ours) in operands.COMMUTATIVE
        for pairs, _ in _pairings(mine, others, free):
            wrong = [(a, b, at) for a, b, at in pairs if not self._equality.agree(a, b)]
            if len(wrong) == len(pairs) or len(wrong) > 1:
                continue
            changes = [Change("operand", None, None, (a, b), 0.95, ours, theirs, at) for a, b, at in wrong]
            for given, official_given in operands.differing_constants(
                ours, theirs, self._native.slice.values, self._official.slice.values
            ):
                texts = (given.text if given else None, official_given.text if official_given else None)
                named = given.place if given else official_given.place if official_given else None
                changes.append(
                    Change("constant", ours, theirs, (one, other), 0.9, constants=texts, place=named)
                )
            if changes:
                yield self._joined("matched", tuple(changes), ())

    def _best_cost(self, one: int, other: int) -> float:
        found = self._best.get((one, other))
        return _UNLIKE if found is None else found.cost

    def _alone(
        self,
        kind: ChangeKind,
        ours: Operation | None,
        theirs: Operation | None,
        pair: tuple[int, int],
        cost: float,
    ) -> _Choice:
        change = Change(kind, ours, theirs, pair, cost)
        return _Choice(kind, cost, (change,), (), {_key(change): cost})

    def _joined(
        self,
        way: str,
        own: tuple[Change, ...],
        pairs: tuple[tuple[int, int, int], ...],
    ) -> _Choice:
        costs: dict[Hashable, float] = {}
        for one, other, _ in pairs:
            costs.update(self._best[one, other].costs)
        costs.update((_key(change), change.cost) for change in own)
        return _Choice(way, sum(costs.values()), own, pairs, costs)


def _extents(side: Region) -> dict[int, frozenset[int]]:
    """All values of the region that each value was computed from, and itself."""
    found: dict[int, frozenset[int]] = {value: frozenset({value}) for value in side.leaves}
    for value in side.made:
        parts = [found[each.value] for each in side.slice.makers[value].operands if each.value is not None]
        found[value] = frozenset({value}).union(*parts)
    return found


def _names(operation: Operation, operand: Operand) -> frozenset[str]:
    """The variables that hold an operand in the file whose code runs the model: that of the outermost
    `forward`, inside of whatever wraps its call."""
    run_by = [frame.path for frame in operation.stack if frame.function == "forward"]
    path = run_by[-1] if run_by else operation.stack[-1].path
    frames = zip(operation.stack, operand.held, strict=False)
    return frozenset(name for frame, name in frames if name is not None and frame.path == path)


def _assembled(side: Slice, operation: Operation) -> tuple[int, ...] | None:
    """The values that an operation joins, or that it and those before it wrote into an empty tensor."""
    name = operands.canonical(operation)
    found = [each.value for each in operands.tensors(operation) if each.value is not None]
    if name in ("stack", "cat"):
        return tuple(found)
    written: list[int] = []
    current: Operation | None = operation
    while current is not None and operands.canonical(current) == "setitem":
        parts = [each.value for each in operands.tensors(current) if each.value is not None]
        if len(parts) != 2:
            return None
        written.insert(0, parts[1])
        current = side.makers.get(parts[0])
    blank = current is not None and operands.canonical(current) in operands.BLANK
    return tuple(written) if written and blank else None


def _spread(side: Slice, kept: int, result: int) -> float:
    """What it costs to take an operation's smaller operand, spread over the other, for its main one."""
    small = math.prod(side.values[kept].shape) < math.prod(side.values[result].shape)
    return 0.7 if small else 0.0


def _dropped(operation: Operation, kept: int, made: frozenset[int]) -> float:
    """What it costs to leave out an operation's other operands that took computing."""
    values = {operand.value for operand in operation.operands if operand.value is not None}
    return 2.0 * len((values & made) - {kept})


def _key(change: Change) -> Hashable:
    """What makes two changes one: a line of code does the same thing wrong in each turn of a loop."""
    operation = change.native or change.official
    if operation is None or change.kind not in ("constant", "extra", "lacking", "operation"):
        return change.kind, change.values
    place = operation.stack[0] if operation.stack else operation.number
    return change.kind, place, operation.name, operation.module, change.constants, change.place


def _pairings(
    ours: Sequence[int], theirs: Sequence[int], commutative: bool
) -> Iterator[tuple[tuple[tuple[int, int, int], ...], tuple[tuple[str, int], ...]]]:
    """Ways of laying operands side by side: in order, exchanged where the order means nothing, and with gaps
    where one side has more."""
    if len(ours) == len(theirs):
        yield tuple((one, other, at) for at, (one, other) in enumerate(zip(ours, theirs, strict=True))), ()
        if commutative and len(ours) == 2:
            yield ((ours[0], theirs[1], 0), (ours[1], theirs[0], 1)), ()
    elif len(ours) > len(theirs):
        for gone in range(len(ours)) if len(ours) == len(theirs) + 1 else ():
            rest = [(value, at) for at, value in enumerate(ours) if at != gone]
            yield (
                tuple((value, other, at) for (value, at), other in zip(rest, theirs, strict=True)),
                (("native", ours[gone]),),
            )
    else:
        for gone in range(len(theirs)) if len(theirs) == len(ours) + 1 else ():
            rest_official = [value for at, value in enumerate(theirs) if at != gone]
            yield (
                tuple(
                    (one, other, at) for at, (one, other) in enumerate(zip(ours, rest_official, strict=True))
                ),
                (("official", theirs[gone]),),
            )
