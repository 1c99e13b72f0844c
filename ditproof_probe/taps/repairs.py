"""Which official value, put in the place of one of the port's, makes the goal right: an experiment, no guess.

The port's way to the goal is computed once more from its recorded operations, each time with one value
exchanged: for all that use it, or for one of them; or with two of its values exchanged with one another. What
leads from the exchanged value to the goal is thereby proven right, and the error lies in how the port came to
that value or in taking it. A way that does not come to its own goal again (operations that write through
views, random numbers) gives no repairs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ditproof_probe.taps.fingerprints import difference
from ditproof_probe.taps.labels import tensors
from ditproof_probe.taps.operations import Done
from ditproof_probe.taps.schemas import Ref
from ditproof_probe.taps.slices import Way

MOST_CALLS = 60_000
"""Operations that are computed again at most, of about 10 microseconds each."""

_MOST_FOUND = 60
_LOOSEST = 1e-4

Exchange = Mapping[int, torch.Tensor]


class _CannotReplay(Exception):
    """The recorded operation does not give as many values as it gave."""


@dataclass
class _Replay:
    """The port's way, ready to be computed again. `users`: of each value, the places (in the way) of the
    operations that take it."""

    way: Way
    left: int = MOST_CALLS
    users: Mapping[int, Sequence[int]] = field(init=False)

    def __post_init__(self) -> None:
        users: dict[int, list[int]] = defaultdict(list)
        for place, done in enumerate(self.way.operations):
            for value in dict.fromkeys(done.operands):
                users[value].append(place)
        self.users = users

    def value(self, number: int) -> torch.Tensor:
        """A value as it was."""
        return self.way.log.values.copies[number]

    def goal(self, exchanged: Exchange, only: int | None = None) -> torch.Tensor | None:
        """The goal with some values exchanged, for all users or for `only` one; None if it cannot be had."""
        fresh = dict(exchanged)
        for place in range(len(self.way.operations)):
            done = self.way.operations[place]
            given = {
                value: fresh[value]
                for value in done.operands
                if value in fresh and (value not in exchanged or only is None or only == place)
            }
            if not given:
                continue
            self.left -= 1
            try:
                made = self._again(done, given)
            except (RuntimeError, TypeError, ValueError, IndexError, _CannotReplay):
                return None  # the exchanged value has a form that the operation does not take
            for number, tensor in made.items():
                if number not in exchanged:
                    fresh[number] = tensor
        return fresh.get(self.way.goal)

    def _again(self, done: Done, given: Exchange) -> dict[int, torch.Tensor]:
        def put(item: Any) -> Any:
            if isinstance(item, Ref):
                return given.get(item.value, self.value(item.value)).clone()
            if isinstance(item, list):
                return [put(each) for each in item]
            if isinstance(item, tuple):
                return tuple(put(each) for each in item)
            return item

        args = put(done.args)
        result = done.func(*args, **{key: put(value) for key, value in done.kwargs.items()})
        found = [tensor for _, tensor in tensors(result)] or [t for _, t in tensors(args[:1])]
        if len(found) != len(done.outputs):
            raise _CannotReplay
        return dict(zip(done.outputs, found, strict=True))


def repairs(
    official: Way,
    native: Way,
    same: Sequence[Mapping[str, Any]],
    goal_error: float | None,
    part: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """The exchanges that bring the goal to the official one, those of the earliest values first.

    `goal_error`: how far it is now; `part`: (i, n) where it is the i-th of n slices of the native one. What
    is left must be below a fifth of that, and below 1e-4.

    Each: `exchanged` (pairs of a native value and the official value that took its place), `user` (the number
    of the only operation that was given it; None: all), `error` (of the goal, relative L2).
    """
    tolerance = _LOOSEST if goal_error is None else min(_LOOSEST, goal_error / 5)
    wanted = official.log.values.copies[official.goal]
    own = native.log.values.copies[native.goal]
    replay = _Replay(native)
    leaves = {value: replay.value(value) for done in native.operations for value in done.operands}
    again = replay.goal({value: tensor for value, tensor in leaves.items() if value not in _made(native)})
    if again is None or _apart(own, again) > tolerance:
        return []
    found: list[dict[str, Any]] = []
    for exchanged, user in _candidates(official, native, replay, same):
        if replay.left <= 0 or len(found) >= _MOST_FOUND:
            break
        given = {
            value: _fitted(official.log.values.copies[other], replay.value(value))
            for value, other in exchanged
        }
        if any(tensor is None for tensor in given.values()):
            continue
        result = replay.goal({value: t for value, t in given.items() if t is not None}, user)
        error = math.inf if result is None else _apart(wanted, _part(result, part))
        if error <= tolerance:
            number = None if user is None else native.operations[user].number
            found.append({"exchanged": [list(each) for each in exchanged], "user": number, "error": error})
    return found


def _part(value: torch.Tensor, part: tuple[int, int] | None) -> torch.Tensor:
    if part is None or not value.dim() or value.shape[-1] % part[1]:
        return value
    return value.chunk(part[1], dim=-1)[part[0]]


def _made(way: Way) -> frozenset[int]:
    return frozenset(value for done in way.operations for value in done.outputs)


def _candidates(
    official: Way, native: Way, replay: _Replay, same: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[tuple[tuple[int, int], ...], int | None]]:
    equal = {(pair["native"], pair["official"]) for pair in same if pair["layout"] is None}
    known = {pair["native"] for pair in same if not pair["reorders"]}
    known_official: dict[int, list[int]] = defaultdict(list)
    for pair in same:
        plain = pair["layout"] is None or " as " in pair["layout"]
        if plain and not pair["reorders"] and not str(pair["layout"]).startswith("negated"):
            known_official[pair["native"]].append(pair["official"])
    by_size: dict[int, list[int]] = defaultdict(list)
    for number in official.values:
        by_size[official.log.values.copies[number].numel()].append(number)
    order = [value for value in native.values if value != native.goal and replay.users.get(value)]

    def others(value: int) -> list[int]:
        return [other for other in by_size[replay.value(value).numel()] if (value, other) not in equal]

    for value in order:
        if value not in known:
            for other in others(value):
                yield ((value, other),), None
    taken = [value for value in order if value in known]
    for value in taken:
        for other in others(value):
            yield ((value, other),), None
            if len(replay.users[value]) > 1:
                for place in replay.users[value]:
                    yield ((value, other),), place
    for at, one in enumerate(taken):
        for two in taken[at + 1 :]:
            if (
                known_official[one]
                and known_official[two]
                and replay.value(one).shape == replay.value(two).shape
            ):
                a, b = known_official[one][0], known_official[two][0]
                if (one, b) not in equal:
                    yield ((one, b), (two, a)), None


def _fitted(official: torch.Tensor, native: torch.Tensor) -> torch.Tensor | None:
    """An official value in the form of a native one, where that is only a matter of form."""
    if official.is_complex() != native.is_complex():
        return None
    if official.shape == native.shape:
        return official.to(native.dtype)
    if official.dim() == native.dim() == 4 and official.transpose(1, 2).shape == native.shape:
        return official.transpose(1, 2).to(native.dtype)
    if official.dim() == 4 and official.transpose(1, 2).flatten(2).shape == native.shape:
        return official.transpose(1, 2).flatten(2).to(native.dtype)
    return official.reshape(native.shape).to(native.dtype)


def _apart(wanted: torch.Tensor, value: torch.Tensor) -> float:
    if wanted.shape != value.shape:
        if wanted.numel() != value.numel():
            return math.inf
        value = value.reshape(wanted.shape)
    error = difference(wanted, value).error
    return math.inf if error is None else error
