"""From a divergence and the operations before it to the statement that is wrong."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from analyzers.numeric import gaps, operands, statements
from analyzers.numeric.epsilons import unlike_epsilons
from analyzers.numeric.origins import House, Origins
from analyzers.numeric.outputs import given_out, names_of
from analyzers.numeric.records import (
    Address,
    Built,
    Call,
    CodeLine,
    Observation,
    Operand,
    Operation,
    Operations,
    Slice,
)
from analyzers.numeric.roles import Names, Roles
from analyzers.numeric.settings import Settings
from analyzers.numeric.slices import Account, Change, Equality, account
from analyzers.numeric.statements import Range, Sources
from analyzers.numeric.uncalled import called_instead, place_of_call, uncalled
from analyzers.numeric.uses import Uses
from analyzers.numeric.verdicts import Divergence, Mismatch, Spot
from analyzers.numeric.walks import executed

_CERTAIN: Mapping[str, int] = {
    "constant": 0,
    "operand": 0,
    "operation": 1,
    "lacking": 1,
    "extra": 1,
    "value": 2,
}

_HOPELESS = 30.0
"""What an account may cost to be believed at all."""

_BRACKET = 5
"""Lines that a bracket goes on after its first one at most."""

_PLAUSIBLE = 7.0
"""What an account may cost to be believed before simpler signs."""

_What = Literal["operation", "constant", "operand", "dtype", "value", "lacking", "extra"]


@dataclass(frozen=True)
class _Finding:
    change: Change
    what: _What
    native: Range | None
    official: Range | None
    ours: str | None
    theirs: str | None
    message: str
    also: tuple[Range, ...] = ()


def blame(
    divergence: Divergence,
    operations: Operations,
    built: Built,
    source: Callable[[str], str | None],
    observation: Observation | None = None,
) -> Divergence:
    """The divergence with the first operation that differs, and with both spots at its statements.

    `source`: text of a file by the path of its records, None where it cannot be read. `observation`: of
    the case that the operations are of; without it, less is known of both ways. Where the operations
    say nothing certain, the spots span what was computed between agreeing values and the wrong one (as far as
    that lies in one function), or stay as they are.
    """
    case = _Case(divergence, operations, built, Sources(source), observation)
    found = case.dtype() if divergence.kind == "dtype" else None
    found = found or case.first()
    if found is None:
        return case.bracketed()
    native = _spot(case.holder(found.native), found.native)
    official = _spot(divergence.official, found.official)
    also = [_spot(case.holder(place), place) for place in found.also if place != found.native]
    return replace(
        divergence,
        native=native,
        official=official,
        message=found.message,
        mismatch=Mismatch(
            found.what,
            found.ours,
            found.theirs,
            native if found.ours is not None else None,
            official if found.theirs is not None else None,
        ),
        also=(*divergence.also, *also),
    )


def _spot(old: Spot, place: Range | None) -> Spot:
    return old if place is None else Spot(old.module, place.path, place.line, place.end_line)


class _Case:
    """One divergence's operations, and what is asked of them."""

    def __init__(
        self,
        divergence: Divergence,
        operations: Operations,
        built: Built,
        sources: Sources,
        observation: Observation | None = None,
    ) -> None:
        self._operations = operations
        self._built = built
        self._calls: Sequence[Call] = observation.native if observation is not None else ()
        self._official_calls: Sequence[Call] = observation.official if observation is not None else ()
        self._divergence = divergence
        self._sources = sources
        self._native = House.of(built.native, sources)
        self._official = House.of(built.official, sources)
        self._settings = Settings(self._native, built.official)

    def holder(self, place: Range | None) -> Spot:
        """The port's spot, at the module whose code the place is: a value may have been made far from the
        module that it was wrong for."""
        own = self._divergence.native
        if place is None:
            return own
        ran = (operation.module for operation in self._operations.native.operations)
        name = self._native.holder(place, own.module, ran)
        return own if name is None else Spot(name, own.path, own.line, own.end_line)

    @cached_property
    def _account(self) -> Account:
        """The shortest account of the goal, or of the first value that is proven to be what is wrong with it:
        put right, it puts the goal right, so what comes after needs no account."""
        whole = account(self._operations)
        nearer = [account(self._leading_to(*pair)) for pair in self._proven]
        nearer = [each for each in nearer if each.native.made or each.official.made]
        if not nearer:
            return whole
        best = min(nearer, key=lambda each: (not each.complete, _changes_shape(each), each.cost))
        return replace(best, changes=tuple(_with_users(change, best) for change in best.changes))

    @cached_property
    def _proven(self) -> tuple[tuple[int, int], ...]:
        """The first value of the port's that no official one equals and that, exchanged for an official one,
        puts the goal right; with each official value that does so."""
        equality, makers = Equality(self._operations.same), self._operations.native.makers
        found = [
            each.exchanged[0]
            for each in self._operations.repairs
            if len(each.exchanged) == 1
            and each.user is None
            and not equality.officials_of(each.exchanged[0][0], in_form=False)
        ]
        if not found:
            return ()

        def order(value: int) -> int:
            return makers[value].number if value in makers else -1

        first = min((value for value, _ in found), key=order)
        return tuple(pair for pair in found if pair[0] == first)

    def _leading_to(self, native: int, official: int) -> Operations:
        """The operations with other goals."""
        told = self._operations
        return replace(
            told, native=replace(told.native, goal=native), official=replace(told.official, goal=official)
        )

    @cached_property
    def _equality(self) -> Equality:
        return self._account.equality

    @cached_property
    def _executed(self) -> Mapping[str, frozenset[int]]:
        modules = [self._divergence.pair.native.module]
        return executed(self._operations.native.operations, self._calls, modules)

    @cached_property
    def _origins(self) -> Origins:
        return Origins(self._native, self._executed)

    def first(self) -> _Finding | None:
        """The change to blame: a value proven to be taken for another, then the certain changes before
        matters of form, the first in the port's order."""
        found = (
            self._left_out_block()
            or self._uncalled()
            or self._given_for_another()
            or self._taken_for_another()
            or self._bound_wrongly()
            or self._wrong_leaf()
            or self._handed_over()
        )
        if found is not None:
            return found
        return self._epsilon() or self._explained() or self._quiet_constant() or self._proven_wrong()

    def _epsilon(self) -> _Finding | None:
        """Another epsilon, in a norm that only one of the sides fuses."""
        found = unlike_epsilons(self._operations)
        if found is None:
            return None
        ours, theirs = found
        pair = (ours.operation.outputs[0], theirs.operation.outputs[0])
        texts = (ours.constant.text, theirs.constant.text)
        made = self._constant(
            Change("constant", ours.operation, theirs.operation, pair, 0.9, constants=texts)
        )
        return replace(made, message=f"norms with eps {texts[0]} where the official model has {texts[1]}")

    def _explained(self) -> _Finding | None:
        """The first change that counts of an account that can be believed."""
        if not self._account.complete or self._account.cost > _PLAUSIBLE:
            found = self._layer_left_out() or self._from_nothing()
            if found is not None:
                return found
        blind = self._account.native.made and not self._account.official.made
        if self._account.cost > _HOPELESS or (
            blind and any(change.kind == "operand" for change in self._account.changes)
        ):
            # Too far-fetched, or guessed against an official side of which nothing is seen.
            return None
        changes = [change for change in self._account.changes if change.kind in _CERTAIN]
        heavy = [change for change in changes if change.cost >= 0.5]
        # Another form by itself computes nothing else, unless it is another one than the official.
        heavy = heavy or [change for change in changes if change.kind in ("constant", "operand")]
        if not self._account.complete and not any(self._grounded(change) for change in heavy):
            return None
        heavy = [change for change in heavy if self._grounded(change)] or heavy
        heavy = [change for change in heavy if not _is_moved(change, self._account.changes)] or heavy
        if not heavy:
            return None
        # The same operation on the same values gives the same result: something small is hidden in those.
        nearer = self._quiet_constant() if heavy[0].kind == "value" else None
        if heavy[0].kind == "lacking":
            nearer = self._layer_left_out()
        return nearer or self._read(heavy[0], heavy)

    def _quiet_constant(self) -> _Finding | None:
        """A constant that differs between two ways of the same operations, where rounding hides at most of
        their results that it does: an epsilon."""
        native, official = self._operations.native, self._operations.official
        ours, theirs = (
            [each for each in side.operations if operands.weight(operands.canonical(each)) >= 1.0]
            for side in (native, official)
        )
        if [operands.canonical(each) for each in ours] != [operands.canonical(each) for each in theirs]:
            return None
        for one, other in zip(ours, theirs, strict=True):
            for given, wanted in operands.differing_constants(one, other, native.values, official.values):
                if given is None or wanted is None:
                    continue
                pair = (one.outputs[0], other.outputs[0])
                texts = (given.text, wanted.text)
                return self._constant(
                    Change("constant", one, other, pair, 0.9, constants=texts, place=given.place)
                )
        return None

    def _left_out_block(self) -> _Finding | None:
        """A numbered block that the official way comes through and the port's does not: its loop."""
        at, theirs = self._divergence.pair.native, self._divergence.pair.official
        owner, number = _numbered(at.module)
        official_owner, official_number = _numbered(theirs.module)
        if owner is None or official_owner is None or not number or number != official_number:
            return None
        missing, passed = f"{owner}.{number - 1}", f"{official_owner}.{number - 1}"
        native, official = self._operations.native, self._operations.official
        if (
            any(_within(each.module, missing) for each in native.operations)
            or missing not in self._native.modules
        ):
            return None
        through = [each for each in official.operations if _within(each.module, passed)]
        if not through or self._account.cost < 1.0:
            return None
        place = self._native.loop(owner, self._executed)
        if place is None:
            return None
        change = Change("lacking", None, through[-1], (native.goal, official.goal), 1.0)
        message = f"block '{missing}' is left out on the way to '{at.module}': the loop does not call it"
        where = self._official.loop(official_owner, {})
        return _Finding(change, "lacking", place, where, None, f"the call of '{passed}'", message)

    def _uncalled(self) -> _Finding | None:
        """A module with weights that the port never calls, at the statement that should."""
        official = self._operations.official
        for each in uncalled(self._built, self._calls, official, self._account.official.operations):
            instead = None
            place = place_of_call(self._native, each.native)
            if place is None:
                native = replace(self._operations.native, operations=self._account.native.operations)
                instead = called_instead(self._native, native, each.native)
            if instead is not None:
                place = instead[0]
            if place is None:
                continue
            change = Change(
                "lacking", None, each.operation, (self._operations.native.goal, official.goal), 1.0
            )
            where = self._official.called_from(each.operation)
            message = (
                f"'{each.native}' is never called, although its weights are loaded; the official model calls "
                f"'{each.official}' ({self._official_written(each.operation)})"
            ) + (f"; '{instead[1]}' is called here" if instead is not None else "")
            return _Finding(change, "lacking", place, where, None, f"the call of '{each.official}'", message)
        return None

    def _given_for_another(self) -> _Finding | None:
        """A part of a module's result that the official module gives out at another place."""
        at, native, official = (
            self._divergence.pair.native,
            self._operations.native,
            self._operations.official,
        )
        instead = [v for v in self._equality.officials_of(native.goal, in_form=False) if v != official.goal]
        given = given_out(self._native, at, self._executed) if at.end == "out" and instead else None
        if given is None or given.name is None:
            return None
        wanted, taken = (names_of(self._official, official, each) for each in ([official.goal], instead))
        if not wanted or not taken:
            return None
        stack = (CodeLine(given.place.path, given.place.line, ""),)
        place = self._names.misnamed(stack, 0, given.name, Roles(wanted, taken), given.place)
        if place is None:
            return None
        right, held = sorted(wanted)[0], sorted(taken)[0]
        message = (
            f"'{at.module}' gives out as `{at.label}` the official model's `{held}` instead of `{right}`"
        )
        maker, theirs = native.makers.get(native.goal), official.makers.get(official.goal)
        change = Change("operand", maker, theirs, (native.goal, official.goal), 1.0)
        where = self._official.statement(theirs) if theirs is not None else None
        return _Finding(change, "operand", place, where, f"`{held}`", f"`{right}`", message)

    def _wrong_leaf(self) -> _Finding | None:
        """A parameter of another module than the official one: the statement that calls that module."""
        for value, wanted in self._proven:
            ours, theirs = self._operations.native.values[value], self._operations.official.values.get(wanted)
            if ours.source != "parameter" or theirs is None or theirs.source != "parameter":
                continue
            user = next(
                each
                for each in self._operations.native.operations
                if any(operand.value == value for operand in each.operands)
            )
            official_user = next(
                (
                    each
                    for each in self._operations.official.operations
                    if any(operand.value == wanted for operand in each.operands)
                ),
                None,
            )
            change = Change("operand", None, None, (value, wanted), 1.0, user, official_user)
            where = self._official.statement(official_user) if official_user is not None else None
            message = (
                f"{operands.shown(user)} uses the weights of `{ours.name}` where the official model uses "
                f"those of `{theirs.name}`"
            )
            place = self._native.called_from(user)
            return _Finding(change, "operand", place, where, f"`{ours.name}`", f"`{theirs.name}`", message)
        return None

    def _proven_wrong(self) -> _Finding | None:
        """The statement that made the first value which, put right, puts the goal right."""
        maker = self._operations.native.makers.get(self._proven[0][0]) if self._proven else None
        if maker is None:
            return None
        theirs = next(
            (
                found
                for _, wanted in self._proven
                if (found := self._operations.official.makers.get(wanted)) is not None
            ),
            None,
        )
        if theirs is not None and (shaped := self._shaped_before(maker, theirs)) is not None:
            maker, theirs = shaped
        where = self._official.statement(theirs) if theirs is not None else None
        one = self._written(maker)
        other = self._official_written(theirs) if theirs is not None else None
        message = (
            f"{one} gives another value than the official {other or 'model'}; with that one all is right"
        )
        change = Change("operation", maker, theirs, self._proven[0], 1.0)
        return _Finding(change, "operation", self._native.statement(maker), where, one, other, message)

    def _shaped_before(self, ours: Operation, theirs: Operation) -> tuple[Operation, Operation] | None:
        """Of two operations that do the same with values which only have another shape: those that gave the
        values their shapes."""
        native, official = self._operations.native, self._operations.official
        if operands.canonical(ours) != operands.canonical(theirs) or operands.differing_constants(
            ours, theirs, native.values, official.values
        ):
            return None
        for mine, other in zip(operands.tensors(ours), operands.tensors(theirs), strict=False):
            if mine.value is None or other.value is None:
                continue
            maker, official_maker = native.makers.get(mine.value), official.makers.get(other.value)
            if (
                maker is not None
                and official_maker is not None
                and native.values[mine.value].shape != official.values[other.value].shape
                and {operands.canonical(maker), operands.canonical(official_maker)} <= operands.FORM
            ):
                return maker, official_maker
        return None

    def _handed_over(self) -> _Finding | None:
        """A wrong argument whose making was not seen: where the name that is passed got its value."""
        at, spot = self._divergence.pair.native, self._divergence.native
        module = self._native.modules.get(at.module)
        if at.end != "in" or self._account.native.operations or spot.path is None or spot.line is None:
            return None
        goal = self._operations.native.values.get(self._operations.native.goal)
        if (
            goal is None
            or goal.source not in ("outside", "buffer")
            or self._equality.officials_of(goal.number)
        ):
            return None
        if module is None or module.path is None or module.line is None or not self._native.owns(spot.path):
            return None
        function = self._sources.function(module.path, module.line)
        node = self._sources.statement(spot.path, spot.line)
        if function is None or node is None:
            return None
        steps = self._names.passed((CodeLine(spot.path, spot.line, ""),), function, at.label)
        own = [step.place for step in steps if self._native.owns(step.place.path)]
        if not own or own[-1].line == spot.line:
            return None
        change = Change("operand", None, None, (self._operations.native.goal, -1), 1.0)
        shown = self._sources.statement(own[-1].path, own[-1].line)
        text = ast.unparse(shown).partition("\n")[0] if shown is not None else at.label
        message = (
            f"`{at.label}` of '{at.module}' is another value than the official one: it comes from `{text}`"
        )
        return _Finding(change, "operand", own[-1], None, f"`{at.label}`", None, message)

    def _taken_for_another(self) -> _Finding | None:
        """A value that both sides have, taken where the official model takes another one: with that other one
        in its place the goal is right."""
        equality = Equality(self._operations.same)
        for repair in self._operations.repairs:
            for value, wanted in repair.exchanged:
                if not equality.has_native(value) or not equality.has_official(wanted):
                    continue
                maker = self._operations.native.makers.get(value)
                if maker is not None and any(
                    wanted in equality.officials_of(each.value)
                    for each in operands.tensors(maker)
                    if each.value is not None
                ):
                    continue  # it had the right value in hand and went on with another: no matter of names
                users = [
                    each
                    for each in self._operations.native.operations
                    if any(operand.value == value for operand in each.operands)
                    and repair.user in (None, each.number)
                ]
                wrong = [each for each in users if not any(map(equality.has_native, each.outputs))]
                for user in (wrong or users)[:1]:
                    if any(wanted in equality.officials_of(made) for made in user.outputs):
                        continue  # this is how the port comes to the wanted value

                    found = self._misnamed(value, wanted, user, equality)
                    if found is not None:
                        return found
        return None

    def _bound_wrongly(self) -> _Finding | None:
        """A variable with the official name that holds another value, of which nothing is seen but that the
        official one in its place mends the goal: the statement that bound it."""
        native, official = self._operations.native, self._operations.official
        for value, wanted in self._proven:
            if value in native.makers or wanted in official.makers:
                continue
            user, position = _first_user(replace(native, goal=value))
            official_user, official_position = _first_user(replace(official, goal=wanted))
            if user is None or official_user is None:
                continue
            variable, frame = self._used_as(user, position)
            theirs = _held(operands.tensors(official_user)[official_position], 0)
            if variable is None or frame is None or variable != theirs:
                continue
            place = self._bound(frame, variable)
            if place is None:
                continue
            change = Change("operand", None, None, (value, wanted), 1.0, user, official_user, position)
            where = self._innermost(official_user)
            message = (
                f"`{variable}` holds another value than the official model's `{theirs}`; "
                f"{operands.shown(user)} takes it at line {frame.line + 1}"
            )
            return _Finding(change, "operand", place, where, f"`{variable}`", f"`{theirs}`", message)
        return None

    def _misnamed(self, value: int, wanted: int, user: Operation, equality: Equality) -> _Finding | None:
        taken = [operand.value for operand in operands.tensors(user)]
        own = self._native.statement(user)
        roles = Roles(
            self._official_names(equality.officials_like(wanted)),
            self._official_names(equality.officials_of(value)),
        )
        operand = operands.tensors(user)[taken.index(value)]
        for at, name in enumerate(operand.held):
            if name is None or at >= len(user.stack):
                continue
            place = self._names.misnamed(user.stack, at, name, roles, own)
            if place is None:
                continue
            official_user = next(
                (
                    each
                    for each in self._operations.official.operations
                    if any(each_operand.value == wanted for each_operand in each.operands)
                ),
                None,
            )
            change = Change(
                "operand", None, None, (value, wanted), 1.0, user, official_user, taken.index(value)
            )
            where = self._official.statement(official_user) if official_user is not None else None
            theirs = self._official_written(official_user) if official_user is not None else None
            right = sorted(roles.wanted - roles.taken) or sorted(roles.wanted)
            held = sorted(roles.taken - roles.wanted) or sorted(roles.taken)
            message = (
                f"{operands.shown(user)} takes as `{name}` the official model's "
                f"`{held[0] if held else name}` instead of `{right[0] if right else name}`"
            )
            return _Finding(change, "operand", place, where, self._written(user), theirs, message)
        return None

    @cached_property
    def _names(self) -> Names:
        return Names(self._native, self._executed)

    def _official_names(self, values: Iterable[int]) -> frozenset[str]:
        """The variables that hold some official values, in the model's own files."""
        wanted = set(values)
        return frozenset(
            name.partition("[")[0]
            for operation in self._operations.official.operations
            for operand in operation.operands
            if operand.value in wanted
            for name in operand.held
            if name is not None and not name.startswith("self.")
        )

    def _layer_left_out(self) -> _Finding | None:
        """An official layer with weights that the port does not come through: where both sides call it, it is
        an aligned place of its own and no part of what lies between."""
        native, official = self._account.native, self._account.official
        if any(
            value is not None and native.slice.values[value].source == "parameter"
            for operation in native.operations
            for value in (operand.value for operand in operation.operands)
        ):
            return None
        for theirs in official.operations:
            given = [operand.value for operand in theirs.operands if operand.value is not None]
            weights = [value for value in given if official.slice.values[value].source == "parameter"]
            if not weights or given[0] in weights:
                continue
            equal = self._equality.natives_of(given[0])
            for user in native.slice.operations:
                taken = [operand.value for operand in operands.tensors(user)]
                position = next((at for at, value in enumerate(taken) if value in equal), None)
                if position is None:
                    continue
                value = taken[position]
                after = next(
                    (
                        each
                        for each in official.slice.operations
                        if any(operand.value in theirs.outputs for operand in each.operands)
                    ),
                    None,
                )
                pair = (equal[0] if value is None else value, theirs.outputs[0])
                return self._lacking(Change("lacking", None, theirs, pair, 1.0, user, after, position))
        return None

    def _from_nothing(self) -> _Finding | None:
        """The first wrong value that was computed from constants alone (rotary angles, a mask, frequencies):
        whatever way the official model takes to its own, the port's was made by the code that led there."""
        region = self._account.native
        values = region.slice.values
        closed = {number for number, value in values.items() if value.source in ("outside", "buffer")}
        for operation in region.slice.operations:
            if {operand.value for operand in operation.operands if operand.value is not None} <= closed:
                closed.update(operation.outputs)
        for operation in region.operations:
            given = {operand.value for operand in operation.operands if operand.value is not None}
            wrong = sorted(value for value in given & closed if not self._equality.has_native(value))
            if not wrong or not given - closed:
                continue
            place, text = self._source_of(wrong[0], operation)
            if place is None:
                continue
            change = Change("operand", None, None, (wrong[0], -1), 1.0, operation)
            message = f"{operands.shown(operation)} takes {text}, a value that the official model never has"
            return _Finding(change, "operand", self._with_arguments(place), None, text, None, message)
        return None

    def _source_of(self, value: int, user: Operation) -> tuple[Range | None, str]:
        """The statement that made a value before it was only reshaped or cast, and what it is."""
        makers = self._operations.native.makers
        maker = makers.get(value)
        while maker is not None and operands.weight(operands.canonical(maker)) < 0.5:
            given = [operand.value for operand in maker.operands if operand.value is not None]
            if len(given) != 1:
                break
            value, user = given[0], maker
            maker = makers.get(value)
        if maker is not None:
            return self._settings.differing(maker) or self._native.statement(maker), self._written(maker)
        taken = [operand.value for operand in operands.tensors(user)]
        variable, frame = self._used_as(user, taken.index(value)) if value in taken else (None, None)
        name = self._operations.native.values[value].name
        bound = None
        if variable is not None and frame is not None:
            bound = self._first_bound(user, frame, variable)
            line = CodeLine(bound.path, bound.line, "") if bound is not None else None
            bound = (line is not None and self._settings.read_at(line, user.module)) or bound
        if bound is None and name:
            bound = self._attribute(name)
        return bound or self._native.statement(user), f"`{variable or name or 'a value'}`"

    def _first_bound(self, user: Operation, frame: CodeLine, variable: str) -> Range | None:
        """The first statement that a variable's value came from, as far as it was only handed on."""
        steps = self._names.back(user.stack, user.stack.index(frame), variable)
        own = [step.place for step in steps if self._native.owns(step.place.path)]
        return own[-1] if own else self._bound(frame, variable.partition("[")[0])

    def _with_arguments(self, place: Range) -> Range:
        """A statement together with those right above it that only prepare plain arguments for it."""
        node = self._sources.statement(place.path, place.line)
        lines, first = self._lines(place.path), place.line
        for name in sorted(statements.names_in(node)) if node is not None else ():
            bound = self._sources.definition(place.path, place.line, name, lines)
            if bound is None:
                continue
            near = statements.range_of(place.path, bound)
            if place.line - near.end_line <= 2 and not any(
                near.line <= line <= near.end_line for line in lines
            ):
                first = min(first, near.line)
        if place.end_line - first > _BRACKET:
            return place
        return Range(place.path, first, place.end_line)

    def _grounded(self, change: Change) -> bool:
        """Whether the port's operation has only operands that both sides have."""
        operation = change.native or change.user
        if operation is None:
            return False
        made = set(self._account.native.made)
        values = {operand.value for operand in operation.operands if operand.value is not None}
        if change.native is None or change.kind == "operand":
            return change.values[0] not in made or not (values & made - {change.values[0]})
        return not (values & made)

    def _read(self, change: Change, changes: Iterable[Change]) -> _Finding:
        if change.kind == "constant" and change.native is not None and change.official is not None:
            return self._constant(change)
        if change.kind == "operand":
            return self._operand(change, [other for other in changes if other.kind == "operand"])
        if change.kind == "lacking":
            return self._lacking(change)
        return self._operation(change)

    # --- constants

    def _constant(self, change: Change) -> _Finding:
        ours, theirs = change.native, change.official
        assert ours is not None
        assert theirs is not None
        one, other = change.constants
        place = self._origins.constant(ours, one, other)
        place = place or self._construction(ours) or self._native.statement(ours)
        chosen = self._settings.branch(ours, place, other) if place is not None else None
        place = chosen or self._settings.differing(ours) or place
        return _Finding(
            change,
            "constant",
            place,
            self._official.statement(theirs),
            self._written(ours),
            self._official_written(theirs),
            _constant_message(ours, change.place, one, other),
        )

    def _construction(self, operation: Operation) -> Range | None:
        module = self._native.library_module(operation)
        return self._native.built(module) if module is not None else None

    # --- operations

    def _operation(self, change: Change) -> _Finding:
        ours, theirs = change.native, change.official
        place = None
        if ours is not None and change.kind == "extra" and self._called_again(ours):
            place = self._native.statement(ours)
        elif ours is not None:
            place = self._settings.kind(ours) or self._construction(ours) or self._native.statement(ours)
        official = self._official.statement(theirs) if theirs is not None else None
        if theirs is None and change.official_user is not None:
            official = self._official.statement(change.official_user)
        one = self._written(ours) if ours is not None else None
        other = self._official_written(theirs) if theirs is not None else None
        if change.kind == "extra":
            message, what = f"computes {one}, which the official model does not", "extra"
        elif change.kind == "value":
            message, what = (
                f"{one} gives another result than the official {other} on the same values",
                "value",
            )
        else:
            message, what = f"computes {one} where the official model computes {other}", "operation"
        return _Finding(change, what, place, official, one, other, message)  # type: ignore[arg-type]

    def _called_again(self, operation: Operation) -> bool:
        """Whether the module of an operation that is too many does the same elsewhere on the way: one of its
        calls is wrong then, and not how it is built."""
        alike = [
            each
            for each in self._operations.native.operations
            if each.module == operation.module and each.name == operation.name
        ]
        return len(alike) > 1

    def _lacking(self, change: Change) -> _Finding:
        theirs = change.official
        assert theirs is not None
        other = self._official_written(theirs)
        official = self._official.statement(theirs)
        place: Range | None
        if change.native is not None:
            place = self._construction(change.native) or self._native.statement(change.native)
        else:
            place = self._gap(change, theirs, official)
        message = f"lacks the official model's {other}"
        ours = self._written(change.native) if change.native is not None else None
        return _Finding(change, "lacking", place, official, ours, other, message)

    def _gap(self, change: Change, theirs: Operation, official: Range | None) -> Range | None:
        """Where the lacking operation should stand: in the statement that uses the value, in the one that
        made it, or between them, as the official statements lie."""
        user, maker = change.user, self._operations.native.makers.get(change.values[0])
        use = self._native.statement(user) if user is not None else self._goal_use[0]
        official_user = change.official_user
        official_use = (
            self._innermost(official_user) if official_user is not None else self._official_goal_use[0]
        )
        in_one = official is not None and official_use in (official, self._innermost(theirs))
        lost = self._lost(user, change)
        if lost is not None and (not in_one or use is None or self._one_function(lost, use)):
            return lost
        called = self._called_with(user, official_user, theirs)
        if called is not None:
            return called
        made = self._native.statement(maker) if maker is not None else None
        inside = user is not None and self._native.library_module(user) is not None
        if user is not None and inside and self._official_inside(theirs):
            return self._construction(user) or use
        if use is not None and in_one:
            return use
        variable, frame = self._used_as(user, change.position)
        named, lacking = self._official_used_as(change), self._innermost(theirs)
        rebound = self._rebound(variable, named, frame, lacking)
        if rebound is not None:
            return rebound
        if official_user is None and not (
            official_use is not None and lacking is not None and self._one_function(official_use, lacking)
        ):
            named = None  # a parameter of the function that it was passed to has any name
        other_name = variable is not None and named is not None and variable != named
        if other_name and frame is not None and named is not None and self._bound(frame, named) is not None:
            return use
        if variable is not None and frame is not None:
            bound = self._bound(frame, variable)
            if bound is not None and self._passes_on(bound):
                return bound
            made = bound or made
        makers = (
            self._operations.official.makers.get(operand.value)
            for operand in theirs.operands
            if operand.value is not None
        )
        if made is not None and self._innermost(theirs) in [
            self._innermost(each) for each in makers if each is not None
        ]:
            return made
        return self._between(made, use)

    def _called_with(
        self, user: Operation | None, official_user: Operation | None, theirs: Operation
    ) -> Range | None:
        """The port's statement that calls what uses the value, where the official one does the lacking
        operation on what it gives: `embed(t * scale)` against `embed(t)`."""
        if user is None or official_user is None:
            return None
        ours = [line for line in user.stack if self._native.owns(line.path)]
        way = [line for line in official_user.stack if self._official.owns(line.path)]
        stands = [line for line in theirs.stack if self._official.owns(line.path)]
        # The operation stands in a statement around the user's own, at the same depth as its counterpart.
        if not stands or stands != way[-len(stands) :] or len(stands) >= min(len(way), len(ours)):
            return None
        return self._native.at(ours[-len(stands)])

    def _rebound(
        self, variable: str | None, named: str | None, frame: CodeLine | None, lacking: Range | None
    ) -> Range | None:
        """The port's statement that binds a variable, where the official one does the lacking operation while
        it binds a variable of that name, and the port's use speaks of it."""
        if frame is None or named is None or lacking is None or variable not in (None, named):
            return None
        theirs = self._sources.statement(lacking.path, lacking.line)
        ours = self._sources.statement(frame.path, frame.line)
        if theirs is None or ours is None or named not in statements.targets(theirs):
            return None
        if named not in statements.names_in(statements.head(ours)):
            return None
        node = self._sources.definition(frame.path, frame.line, named, self._lines(frame.path))
        assigns = isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign))
        return statements.range_of(frame.path, node) if node is not None and assigns else None

    def _innermost(self, theirs: Operation) -> Range | None:
        """The official statement of an operation, in whatever file of models it stands."""
        return self._official.at(theirs.stack[0]) if theirs.stack else None

    def _lost(self, user: Operation | None, change: Change) -> Range | None:
        """The statement that let something go on the way to where it is lacking."""
        variable, frame = self._used_as(user, change.position)
        if variable is None or frame is None:
            return None
        if user is not None:
            stack = user.stack[user.stack.index(frame) :]
        else:
            at = self._divergence.pair.native
            way_in = Uses(self._native).way_in(at.module, at.label, self._goal_use[0])
            stack = way_in if at.end == "in" else (frame,)
        if not stack:
            return None
        return gaps.idle(self._names, stack, variable)

    def _between(self, made: Range | None, use: Range | None) -> Range | None:
        """The lines from one statement to another of one function; the later one where they are far apart."""
        if made is None or use is None:
            return use or made
        near = made.path == use.path and 0 <= use.line - made.line <= _BRACKET
        if near and self._one_function(made, use):
            return Range(use.path, made.line, use.end_line)
        return use

    @cached_property
    def _goal_use(self) -> tuple[Range | None, str | None]:
        """The statement that passes the goal on to the module where it is wrong, and in which variable."""
        at, site = self._divergence.pair.native, self._divergence.native
        if at.end == "out":
            given = given_out(self._native, at, self._executed)
            return (None, None) if given is None else (given.place, given.name)
        here = None
        if site.path is not None and site.line is not None:
            here = self._sources.range_at(site.path, site.line)
        return Uses(self._native).of(at.module, at.label, here) or (None, None)

    @cached_property
    def _official_goal_use(self) -> tuple[Range | None, str | None]:
        at = self._divergence.pair.official
        if at.end == "out":
            return None, None
        place, variable = Uses(self._official).of(at.module, at.label) or (None, None)
        site = _site(self._official_calls, at)
        if site is None or self._official.at(site) == place:
            return place, variable
        return self._official.at(site), self._given_at(site, at)

    def _given_at(self, site: CodeLine, at: Address) -> str | None:
        """The variable that the official call at a line gives: by its label, else the first."""
        node = self._sources.statement(site.path, site.line)
        own = at.module.rpartition(".")[2]
        for call in statements.calls_in(node) if node is not None else ():
            if statements.callee(call) == own:
                named = [each.value for each in call.keywords if each.arg == at.label]
                given = next(iter([*named, *call.args]), None)
                return given.id if isinstance(given, ast.Name) else None
        return None

    def _used_as(self, user: Operation | None, position: int) -> tuple[str | None, CodeLine | None]:
        """The port's variable that an operation (or the call at the goal) takes a value from, and the line of
        that use."""
        if user is None:
            place, variable = self._goal_use
            return variable, None if place is None else CodeLine(place.path, place.line, "")
        at = self._native.frame(user)
        return self._variable(user, position), user.stack[at] if at is not None else None

    def _official_used_as(self, change: Change) -> str | None:
        if change.official_user is None:
            return self._official_goal_use[1]
        return self._official_variable(change)

    def _lines(self, path: str) -> frozenset[int]:
        return self._executed.get(path, frozenset())

    def _official_inside(self, operation: Operation) -> bool:
        return self._official.library_module(operation) is not None

    def _one_function(self, one: Range, other: Range) -> bool:
        function = self._sources.function(one.path, one.line)
        return function is not None and function is self._sources.function(other.path, other.line)

    def _passes_on(self, place: Range) -> bool:
        """Whether a statement only gives a value another name."""
        node = self._sources.statement(place.path, place.line)
        value = getattr(node, "value", None)
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        return all(isinstance(part, (ast.Name, ast.Attribute, ast.Constant)) for part in parts)

    # --- operands

    def _operand(self, change: Change, all_operands: Iterable[Change]) -> _Finding:
        ours, theirs = change.user or change.native, change.official_user or change.official
        official = self._official.statement(theirs) if theirs is not None else None
        one = self._written(ours) if ours is not None else None
        other = self._official_written(theirs) if theirs is not None else None
        place, message = self._role(change, tuple(all_operands))
        return _Finding(change, "operand", place, official, one, other, message)

    def _role(self, change: Change, all_operands: tuple[Change, ...]) -> tuple[Range | None, str]:
        user, (value, wanted) = change.user, change.values
        chosen = self._settings.differing(user) if user is not None else None
        if chosen is not None and user is not None:
            return chosen, f"{operands.shown(user)} works on what another setting than the official one made"
        if change.place == "part" and change.native is not None:
            place = self._construction(change.native) or self._native.statement(change.native)
            return place, f"takes another part of the result of {operands.shown(change.native)}"
        maker = self._operations.native.makers.get(value)
        other_order = self._equality.layout(value, wanted)
        if other_order is not None and other_order.reorders and maker is not None:
            text = f"{self._written(maker)} has the official values in another order ({other_order.layout})"
            return self._native.statement(maker), text
        use = self._native.statement(user) if user is not None else self._goal_use[0]
        if maker is not None and operands.canonical(maker) in operands.FRESH:
            text = self._written(maker)
            return self._native.statement(maker), f"uses {text}, where the official model has another value"
        variable, frame = self._used_as(user, change.position)
        named, right = self._official_used_as(change), self._names_of(wanted)
        operation = operands.shown(user) if user is not None else self._divergence.pair.native.module
        taken = self._described(self._operations.native, value)
        other = self._described(self._operations.official, wanted)
        message = _role_message(operation, variable, named, right, taken, other)
        if variable is None or frame is None:
            leaf = self._operations.native.values.get(value)
            if leaf is not None and leaf.source in ("buffer", "outside") and leaf.name:
                return self._attribute(leaf.name) or use, message
            return use, message
        bound = self._bound(frame, variable)
        if named is not None and named != variable and not right and self._bound(frame, named) is not None:
            return use, message
        if named == variable or variable in right:
            if bound is not None and not right and not self._passes_on(bound):
                return self._between(bound, use), message
            return bound or use, message
        exchanged = any(
            other is not change and self._equality.agree(value, other.values[1]) for other in all_operands
        )
        if named not in right and bound is not None and (exchanged or self._passes_on(bound)):
            return bound, message
        return use, message

    def _described(self, side: Slice, number: int) -> str:
        """What a value is: what it is called, what made it, or where it came from; empty where that is not
        seen."""
        value, maker = side.values.get(number), side.makers.get(number)
        if value is None:
            return ""
        if value.name:
            return f"`{value.name}`"
        if maker is not None:
            return f"the result of {operands.written(maker, side.values)}"
        return f"a value of the shape {list(value.shape)}"

    def _attribute(self, name: str) -> Range | None:
        owner, _, own = name.rpartition(".")
        module = self._native.modules.get(owner)
        if module is None:
            return None
        if module.path is not None and module.line is not None and self._native.owns(module.path):
            node = self._sources.attribute(module.path, module.line, own)
            if node is not None:
                return statements.range_of(module.path, node)
        return self._native.built(module)

    def _variable(self, user: Operation, position: int) -> str | None:
        found, at = operands.tensors(user), self._native.frame(user)
        name = _held(found[position], at) if position < len(found) else None
        return name if name is None or at is None else self._as_written(user.stack[at], name)

    def _as_written(self, frame: CodeLine, name: str) -> str:
        """Of several variables that hold one value, the one that the statement speaks of."""
        node = self._sources.statement(frame.path, frame.line)
        written = statements.names_in(node) if node is not None else frozenset()
        if name.partition("[")[0] in written or name.startswith("self."):
            return name
        for other in sorted(written):
            steps = self._names.back([frame], 0, other)
            if any(step.source == name for step in steps):
                return other
        return name

    def _official_variable(self, change: Change) -> str | None:
        user = change.official_user
        if user is None:
            return None
        for operand in operands.tensors(user):
            if operand.value == change.values[1]:
                return _held(operand, self._official.frame(user))
        return None

    def _names_of(self, official: int) -> frozenset[str]:
        """The port's variables that hold a value equal to an official one, most used first."""
        values = set(self._equality.natives_of(official))
        names: Counter[str] = Counter()
        for operation in self._operations.native.operations:
            at = self._native.frame(operation)
            for operand in operation.operands:
                name = _held(operand, at) if operand.value in values else None
                if name is not None:
                    names[name] += 1
        return frozenset(names)

    def _bound(self, frame: CodeLine, variable: str) -> Range | None:
        """The statement that bound a variable before a line."""
        if variable.startswith("self."):
            node = self._sources.attribute(frame.path, frame.line, variable[5:])
        else:
            node = self._sources.definition(frame.path, frame.line, variable, self._lines(frame.path))
        return statements.range_of(frame.path, node) if node is not None else None

    # --- dtypes

    def dtype(self) -> _Finding | None:
        """The port's first operation that makes, from operands of the official dtypes, another dtype."""
        native, official = self._operations.native, self._operations.official
        partners = self._partners()
        for operation in native.operations:
            for value in operation.outputs:
                other = partners.get(value)
                if other is None or native.values[value].dtype == official.values[other].dtype:
                    continue
                if any(self._other_dtype(operand, partners) for operand in operation.operands):
                    continue
                theirs = official.makers.get(other)
                one = f"{self._written(operation)} in {native.values[value].dtype}"
                theirs_text = official.values[other].dtype
                two = (
                    f"{self._official_written(theirs)} in {theirs_text}"
                    if theirs is not None
                    else theirs_text
                )
                change = Change("constant", operation, theirs, (value, other), 1.0)
                place = self._native.statement(operation)
                where = self._official.statement(theirs) if theirs is not None else None
                return _Finding(
                    change, "dtype", place, where, one, two, f"computes {one}, the official model {two}"
                )
        return None

    def _partners(self) -> dict[int, int]:
        partners: dict[int, int] = {}
        for pair in self._operations.same:
            ours, theirs = self._operations.native.values, self._operations.official.values
            old = partners.get(pair.native)
            if old is None or theirs[old].dtype != ours[pair.native].dtype == theirs[pair.official].dtype:
                partners[pair.native] = pair.official
        return partners

    def _other_dtype(self, operand: Operand, partners: Mapping[int, int]) -> bool:
        if operand.value is None or operand.value not in partners:
            return False
        ours = self._operations.native.values[operand.value].dtype
        return ours != self._operations.official.values[partners[operand.value]].dtype

    # --- where nothing is certain

    def bracketed(self) -> Divergence:
        """The divergence with its spots over all statements between agreeing values and the wrong one."""
        divergence = self._divergence
        ours = self._account.native.operations
        native = _span(self._native, ours) or _span(self._native, self._frontier(ours))
        official = _span(self._official, self._account.official.operations)
        return replace(
            divergence, native=_spot(divergence.native, native), official=_spot(divergence.official, official)
        )

    def _frontier(self, operations: Iterable[Operation]) -> list[Operation]:
        """The operations that only take what both sides have."""
        made = set(self._account.native.made)
        return [each for each in operations if not {operand.value for operand in each.operands} & made]

    def _written(self, operation: Operation) -> str:
        return operands.written(operation, self._operations.native.values)

    def _official_written(self, operation: Operation) -> str:
        return operands.written(operation, self._operations.official.values)


def _span(house: House, operations: Iterable[Operation]) -> Range | None:
    """The lines of one function that the operations stand in; None where they stand in several."""
    places: list[Range] = []
    functions = []
    for operation in operations:
        at = house.frame(operation)
        if at is None:
            continue
        frame = operation.stack[at]
        places.append(house.at(frame))
        functions.append(house.sources.function(frame.path, frame.line))
    if not places or any(function is not functions[0] for function in functions):
        return None
    first, last = min(place.line for place in places), max(place.end_line for place in places)
    return Range(places[0].path, first, last) if last - first <= _BRACKET else None


def _site(calls: Iterable[Call], at: Address) -> CodeLine | None:
    """The line of the call that an address is of."""
    return next((each.site for each in calls if (each.module, each.index) == (at.module, at.index)), None)


def _numbered(name: str) -> tuple[str | None, int]:
    """The list that a module or one around it is a member of, and which one."""
    parts = name.split(".")
    at = next((place for place, part in enumerate(parts) if part.isdigit() and place), None)
    return (None, 0) if at is None else (".".join(parts[:at]), int(parts[at]))


def _with_users(change: Change, found: Account) -> Change:
    """A change at the goal of an account with who uses that goal: not always the divergence's module."""
    user, position = _first_user(found.native.slice)
    if change.user is not None or user is None:
        return change
    official_user, _ = _first_user(found.official.slice)
    return replace(change, user=user, position=position, official_user=change.official_user or official_user)


def _first_user(side: Slice) -> tuple[Operation | None, int]:
    """The first operation that takes the goal, and as which of its tensors."""
    for operation in side.operations:
        taken = [operand.value for operand in operands.tensors(operation)]
        if side.goal in taken:
            return operation, taken.index(side.goal)
    return None, 0


def _is_moved(change: Change, changes: Iterable[Change]) -> bool:
    """Whether what one side lacks it has at another place: a selection that comes before an operation here
    and after it there says nothing of the error, the operation between them does."""
    if change.kind not in ("lacking", "extra"):
        return False
    one = change.official if change.kind == "lacking" else change.native
    if one is None or operands.weight(operands.canonical(one)) >= 1.0:
        return False
    for other in changes:
        there = other.native if change.kind == "lacking" else other.official
        alone = (other.official if change.kind == "lacking" else other.native) is None
        if there is not None and alone and operands.canonical(there) == operands.canonical(one):
            return True
    return False


def _changes_shape(found: Account) -> bool:
    """Whether the two goals have other shapes: then they are not the results of the same step."""
    native, official = found.native.slice, found.official.slice
    return native.values[native.goal].shape != official.values[official.goal].shape


def _within(module: str, outer: str) -> bool:
    return module == outer or module.startswith(f"{outer}.")


def _held(operand: Operand, frame: int | None) -> str | None:
    if frame is not None and frame < len(operand.held):
        return operand.held[frame]
    return operand.variable if not operand.held else None


_VERBS: Mapping[str, str] = {"add": "adds", "sub": "subtracts", "mul": "multiplies by", "div": "divides by"}


def _constant_message(operation: Operation, place: str | None, one: str | None, other: str | None) -> str:
    name = operands.canonical(operation)
    verb = _VERBS.get(name)
    if verb is not None and one is not None and other is not None and place != "alpha":
        return f"{verb} {one} where the official model {verb} {other}"
    label = (
        f"{place} of {operands.shown(operation)}"
        if place and not place.isdigit()
        else operands.shown(operation)
    )
    return f"{label} is {one or 'not given'} where the official model has {other or 'none'}"


def _role_message(
    operation: str, ours: str | None, theirs: str | None, right: Iterable[str], taken: str, wanted: str
) -> str:
    """`taken` and `wanted`: what is known of the two values that have no name, empty for nothing."""
    mine = f"`{ours}`" if ours is not None else (taken or "a value")
    other = f"`{theirs}`" if theirs is not None else (wanted or "another")
    names = sorted(set(right) - {ours})
    held = f", which the port holds in `{names[0]}`" if names else ""
    if ours is not None and ours == theirs:
        return f"{operation} takes {mine}, which holds another value than the official model's {other}{held}"
    return f"{operation} takes {mine} where the official model takes {other}{held}"
