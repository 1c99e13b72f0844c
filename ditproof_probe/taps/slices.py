"""The way of one value back to values that are known to agree, on both sides, and what is equal on the ways.

Both models run in lockstep once more, with every operation kept. On either side the way ends at aligned taps,
parameters and inputs.

An aligned tap stands for the official value where that is what the model's code has in hand: after an exit
everywhere, at an entry within the call. Outside of the call the caller may hold another object than the one
that was put right (see `lockstep`); there the way goes on, on both sides alike: the official model is given
copies at the same entries, so that its inner and outer uses are told apart too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from ditproof_probe.taps.fingerprints import difference, statistics, wide
from ditproof_probe.taps.hooks import Address, Call, End, Leaf, copied
from ditproof_probe.taps.layouts import find
from ditproof_probe.taps.lockstep import Lockstep, Pair, dtype_name
from ditproof_probe.taps.operations import Done, Log, Origin
from ditproof_probe.taps.schemas import Argument, Schemas, text

_MOST_OPERATIONS = 1000
_LOOSEST = 1e-4


@dataclass
class NativeTaps:
    """A watcher of the port: lockstep, and what is in hand after each tap is marked as aligned.

    `goal`: is compared with nothing. Afterwards `goal_value` is its number (None: not met) and `outer` the
    pairs whose entries the callers' own objects agree with too.
    """

    lockstep: Lockstep
    log: Log
    goal: Address
    goal_value: int | None = None
    outer: set[int] = field(default_factory=set)

    def entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        return self._at(call, "in", leaves, self.lockstep.entered(*self._aligned(call, "in", leaves)))

    def left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        return self._at(call, "out", leaves, self.lockstep.left(*self._aligned(call, "out", leaves)))

    def _aligned(self, call: Call, end: End, leaves: Sequence[Leaf]) -> tuple[Call, Sequence[Leaf]]:
        for label, tensor in leaves:
            if Address(call.module, call.index, end, label) == self.goal and self.goal_value is None:
                self.goal_value = self.log.value(tensor)
        return call, leaves

    def _at(
        self, call: Call, end: End, leaves: Sequence[Leaf], new: Mapping[str, torch.Tensor]
    ) -> Mapping[str, torch.Tensor]:
        for label, tensor in leaves:
            pairs = self.lockstep.replaced_at(Address(call.module, call.index, end, label))
            if not pairs:
                continue
            self.log.mark(new.get(label, tensor), pairs[0])
            if label not in new or self.lockstep.owns(pairs):
                self.outer.update(pairs)
        return new


@dataclass
class OfficialTaps:
    """A watcher of the official model: nothing is changed, but entries whose `outer` uses are not aligned on
    the native side get a copy, so that these uses differ from the inner ones."""

    by_address: Mapping[Address, int]
    outer: Collection[int]
    log: Log
    goal: Address
    goal_value: int | None = None
    _copies: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    _given: dict[int, list[tuple[torch.Tensor, torch.Tensor, int]]] = field(default_factory=dict)

    def entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        new: dict[str, torch.Tensor] = {}
        for label, tensor in leaves:
            pair = self._pair(call, "in", label, tensor)
            if pair is None:
                continue
            if pair not in self.outer:
                new[label] = self._copy(call, tensor)
            self.log.mark(new.get(label, tensor), pair)
        return new

    def left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        for original, copy, version in self._given.pop(call.number, ()):
            if copy._version != version:
                with torch.no_grad():
                    original.copy_(copy)
        for label, tensor in leaves:
            pair = self._pair(call, "out", label, tensor)
            if pair is not None:
                self.log.mark(tensor, pair)
        return {}

    def _pair(self, call: Call, end: End, label: str, tensor: torch.Tensor) -> int | None:
        address = Address(call.module, call.index, end, label)
        if address == self.goal and self.goal_value is None:
            self.goal_value = self.log.value(tensor)
        return self.by_address.get(address)

    def _copy(self, call: Call, tensor: torch.Tensor) -> torch.Tensor:
        key = (self.log.value(tensor), id(tensor))
        known = self._copies.get(key)
        if known is None:
            known = self._copies[key] = copied(tensor)
        self._given.setdefault(call.number, []).append((tensor, known, known._version))
        return known


def aligned_besides(pairs: Iterable[Pair], goal: Pair, numbers: Mapping[Address, int]) -> list[Pair]:
    """The pairs that the ways may end at: none whose official value is the goal's own, which the ways lead
    through. `numbers`: of the official values."""
    own = numbers.get(goal.official)
    return [
        pair
        for pair in pairs
        if pair.native != goal.native
        and pair.official != goal.official
        and (own is None or numbers.get(pair.official) != own)
    ]


@dataclass(frozen=True)
class Way:
    """The operations of one side back from `goal`, in order, and every value that they speak of."""

    log: Log
    goal: int
    operations: tuple[Done, ...]
    values: tuple[int, ...]

    def as_json(self, schemas: Schemas) -> dict[str, Any]:
        """A slice as it goes over the wire."""
        return {
            "goal": self.goal,
            "operations": [self._operation(done, schemas) for done in self.operations],
            "values": [self._value(number) for number in self.values],
        }

    def _operation(self, done: Done, schemas: Schemas) -> dict[str, Any]:
        name, arguments = schemas.named(done.func, done.args, done.kwargs)
        if name.startswith("aten.scaled_dot_product_attention.") and arguments[0].value is not None:
            query = self.log.values.copies[arguments[0].value]
            arguments = tuple(_with_scale(argument, query) for argument in arguments)
        return {
            "number": done.number,
            "name": name,
            "operands": [_operand(argument, done) for argument in arguments],
            "outputs": [number for number in done.outputs if number in self.known],
            "module": done.module,
            "stack": [list(line) for line in done.stack],
        }

    @cached_property
    def known(self) -> frozenset[int]:
        """The numbers of `values`."""
        return frozenset(self.values)

    def _value(self, number: int) -> dict[str, Any]:
        tensor = self.log.values.copies[number]
        origin = self.log.origins[number]
        if origin.source == "op" and origin.maker not in {done.number for done in self.operations}:
            origin = Origin("outside")
        told = statistics(tensor)
        return {
            "number": number,
            "source": origin.source,
            "maker": origin.maker,
            "name": origin.name,
            "shape": list(tensor.shape),
            "dtype": dtype_name(tensor),
            "norm": told.norm,
            "nonfinite": told.nonfinite,
        }


def _operand(argument: Argument, done: Done) -> dict[str, Any]:
    held = done.held.get(argument.value, ()) if argument.value is not None else ()
    return {
        "value": argument.value,
        "variable": next((name for name in held if name is not None), None),
        "constant": argument.constant,
        "keyword": argument.keyword,
        "held": list(held),
    }


def _with_scale(argument: Argument, query: torch.Tensor) -> Argument:
    """Attention without a scale takes 1 / sqrt(head dimension): the same number as a given one."""
    if argument.keyword != "scale" or argument.constant != "None":
        return argument
    return Argument(None, text(float(query.shape[-1]) ** -0.5), argument.keyword)


def way_back(log: Log, goal: int) -> Way:
    """Follow the goal's operands back; the longest ways are cut, and what lies beyond is `outside`."""
    waiting, met = [goal], {goal}
    needed: dict[int, Done] = {}
    while waiting and len(needed) < _MOST_OPERATIONS:
        origin = log.origins[waiting.pop()]
        if origin.source != "op" or origin.maker is None or origin.maker in needed:
            continue
        done = log.done[origin.maker]
        needed[done.number] = done
        for number in (*done.operands, *done.outputs):
            if number not in met:
                met.add(number)
                if number in done.operands:
                    waiting.append(number)
    return Way(log, goal, tuple(needed[number] for number in sorted(needed)), tuple(sorted(met)))


# --------------------------------------------------------------------------- equal values


@dataclass(frozen=True)
class _Print:
    """What tells most tensors apart at once."""

    number: int
    tensor: torch.Tensor
    norm: float
    total: float
    elements: int
    extremes: tuple[float, float]


def equal_values(official: Way, native: Way, goal_error: float | None) -> list[dict[str, Any]]:
    """Every pair of values that are equal to rounding, plainly, negated, or in another order or form.

    Rounding must stay well below what is to be found: a fifth of the goal's error, never more than 1e-4, and
    never less than what the dtype resolves.
    """
    right = [_print(number, official.log.values.copies[number]) for number in official.values]
    found: list[dict[str, Any]] = []
    for number in native.values:
        own = _print(number, native.log.values.copies[number])
        for other in right:
            if other.elements != own.elements or not _alike(other, own):
                continue
            same = _same(other, own, _tolerance(other, own, goal_error))
            if same is not None:
                found.append(same)
    return found


def _same(right: _Print, left: _Print, tolerance: float) -> dict[str, Any] | None:
    told: dict[str, Any] = {"official": right.number, "native": left.number}
    if right.tensor.shape == left.tensor.shape:
        error = difference(right.tensor, left.tensor).error
        if error is not None and error <= tolerance:
            return {**told, "layout": None, "error": error, "reorders": False}
        if right.norm:
            error = difference(right.tensor, -_signed(left.tensor)).error
            if error is not None and error <= tolerance:
                return {**told, "layout": "negated", "error": error, "reorders": False}
    slack = 10 * tolerance * right.norm * math.sqrt(max(right.elements, 1))
    if abs(abs(right.total) - abs(left.total)) > slack:
        return None
    for sign in ("", "negated, "):
        value = -_signed(left.tensor) if sign else left.tensor
        layout = find(right.tensor, value)
        error = None if layout is None else difference(right.tensor, layout.to_official(value)).error
        if layout is not None and error is not None and error <= tolerance:
            return {**told, "layout": sign + layout.words, "error": error, "reorders": layout.reorders}
    return None


def _print(number: int, tensor: torch.Tensor) -> _Print:
    told = statistics(tensor)
    flat = wide(tensor)
    if flat.is_complex():
        flat = torch.view_as_real(flat)
    total = float(flat.sum()) if not told.nonfinite else 0.0
    return _Print(number, tensor, told.norm, total, tensor.numel(), (told.minimum, told.maximum))


def _alike(one: _Print, other: _Print) -> bool:
    """Whether norms and extremes allow for equality up to order and sign."""
    if abs(one.norm - other.norm) > 10 * _LOOSEST * max(one.norm, other.norm):
        return False
    reach = max(abs(one.extremes[0]), abs(one.extremes[1]))
    reach_other = max(abs(other.extremes[0]), abs(other.extremes[1]))
    return abs(reach - reach_other) <= max(100 * _LOOSEST * max(reach, reach_other), 1e-12)


def _tolerance(right: _Print, left: _Print, goal_error: float | None) -> float:
    resolved = max(
        (
            torch.finfo(p.tensor.dtype).eps
            for p in (right, left)
            if p.tensor.is_floating_point() or p.tensor.is_complex()
        ),
        default=0.0,
    )
    wanted = _LOOSEST if goal_error is None else min(_LOOSEST, goal_error / 5)
    return max(wanted, 3 * resolved)


def _signed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.int() if tensor.dtype in (torch.bool, torch.uint8) else tensor
