"""One model run beside values that are known to be right: compared at aligned taps, then put right.

At the entry of an aligned call the input is compared and replaced, at its exit the output. So every aligned
place is judged on right inputs: an input that differs was made wrong between the last aligned places, an
output that differs was made wrong inside (in a composite: after its last aligned child).

What replacing means:

* A value is replaced by a copy in the native side's own layout, shape and dtype. A value that has the right
  bits already stays the object that it is, and counts as replaced. The same object, met again unwritten and
  compared with an equal reference, is replaced by the same copy; copies live as long as the run. So code that
  caches by identity sees one object for one.
* An exit's copy is what the caller gets: all later uses are right. An entry's copy is seen by the call alone,
  while the caller may go on using its own object (a residual). Where that object is a whole tensor (no view,
  no parameter, no input of the model) that no earlier tap has compared, and no layout is involved, the right
  values are therefore written into it. Such writes are undone when the run ends, unless the model itself
  wrote there later: a port may have kept the tensor for its next call.
* A call that writes into a replaced input has its writes carried over to the caller's object.
* The entries of *owned* pairs are put right for the caller too, whatever its object is: from there on every
  operation and every module gets the copy in place of it. Whether a wrong value was wrong as an object, or
  only taken at a wrong place, no run tells by itself; so this is for those who compare runs.
* A value in another order is replaced in that order, as the port may put it back later; for pairs that are
  put `in_order` it is replaced by the official order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from ditproof_probe.taps.fingerprints import difference, nonfinite, statistics
from ditproof_probe.taps.hooks import Address, Call, End, Leaf, identity
from ditproof_probe.taps.layouts import Layout, find

Status = Literal["compared", "layout", "absent", "incomparable"]


@dataclass(frozen=True)
class Pair:
    """Two taps that should hold the same value; `part` (i, n): the official one is the i-th of n equal slices
    of the native one along its last axis."""

    number: int
    official: Address
    native: Address
    part: tuple[int, int] | None


@dataclass(frozen=True)
class Reading:
    """One pair in one run; the fields are those of `analyzers.numeric.records.Reading`, where they are
    described. `found`: the layout as an object."""

    pair: int
    status: Status
    error: float | None = None
    plain_error: float | None = None
    max_abs: float | None = None
    norm: float | None = None
    dtypes: tuple[str, str] = ("", "")
    shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    nonfinite: tuple[int, int] = (0, 0)
    replaced: bool = False
    found: Layout | None = None

    def as_json(self, floor: float | None = None, official_dtype: str | None = None) -> dict[str, Any]:
        """The reading as it goes over the wire."""
        return {
            "pair": self.pair,
            "status": self.status,
            "error": self.error,
            "plain_error": self.plain_error,
            "max_abs": self.max_abs,
            "norm": self.norm,
            "floor": floor,
            "layout": None if self.found is None else self.found.words,
            "reorders": self.found is not None and self.found.reorders,
            "dtypes": [official_dtype or self.dtypes[0], self.dtypes[1]],
            "shapes": [list(shape) for shape in self.shapes],
            "nonfinite": list(self.nonfinite),
            "replaced": self.replaced,
        }


def to_themselves(addresses: Iterable[Address]) -> list[Pair]:
    """Pairs of one side with itself: numbered in the order given."""
    return [Pair(number, address, address, None) for number, address in enumerate(addresses)]


@dataclass
class Lockstep:
    """A watcher that compares and replaces; afterwards `readings` has one reading a pair that was met.

    `references`: the official values by official address. `replace`: the numbers of the pairs that are put
    right. `protected`: tensors that are never written into (parameters, buffers, inputs of the model).
    `layouts`: what was found at these pairs before. `owned` and `in_order`: numbers of pairs, see above; the
    model then runs within `substituting`. Call `finish` when the run is over.
    """

    pairs: Sequence[Pair]
    references: Mapping[Address, torch.Tensor]
    replace: Collection[int]
    protected: Iterable[torch.Tensor] = ()
    layouts: Mapping[int, Layout] = field(default_factory=dict)
    search_layouts: bool = True
    owned: Collection[int] = ()
    in_order: Collection[int] = ()
    readings: dict[int, Reading] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_address: dict[Address, list[Pair]] = {}
        for pair in self.pairs:
            self._by_address.setdefault(pair.native, []).append(pair)
        self._storages = {storage for tensor in self.protected if (storage := _storage(tensor)) is not None}
        self._met: set[int] = set()
        self._copies: dict[tuple[int, int], _Copy] = {}
        self._given: dict[int, list[_Copy]] = {}
        self._written: list[_Written] = []
        self._alive: list[torch.Tensor] = []
        self._substitutes: dict[tuple[int, int], torch.Tensor] = {}
        self._watching = False

    @contextmanager
    def substituting(self) -> Iterator[None]:
        """Run the model in this, so that owned entries are right for their callers too."""
        if not self.owned:
            yield
            return
        with _Substituting(self._substitute):
            yield

    def entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        """Compare, and answer with what the call is to get instead."""
        self._watching = True
        try:
            return self._entered(call, leaves)
        finally:
            self._watching = False

    def left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        """Compare, and answer with what the caller is to get instead."""
        self._watching = True
        try:
            return self._left(call, leaves)
        finally:
            self._watching = False

    def _entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        new: dict[str, torch.Tensor] = {}
        for label, given in leaves:
            tensor = self._substitutes.get(identity(given), given)
            right = self._right_value(call, "in", label, tensor)
            if right is None:
                if tensor is not given:
                    new[label] = tensor
                continue
            if self._owns(call, label):
                self._substitutes[identity(given)] = self._substitutes[identity(tensor)] = right.value
            if self._may_write(tensor, right):
                self._write(tensor, right.value)
            else:
                new[label] = right.value
                self._given.setdefault(call.number, []).append(right)
            self._remember(tensor, right.value)
        return new

    def _left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        for copy in self._given.pop(call.number, ()):
            if copy.value._version != copy.version:
                with torch.no_grad():
                    copy.original.copy_(copy.value)
                copy.version = copy.value._version
        new: dict[str, torch.Tensor] = {}
        for label, given in leaves:
            tensor = self._substitutes.get(identity(given), given)
            right = self._right_value(call, "out", label, tensor)
            if right is not None:
                new[label] = right.value
                self._remember(tensor, right.value)
            elif tensor is not given:
                new[label] = tensor
        return new

    def owns(self, pairs: Iterable[int]) -> bool:
        """Whether one of these pairs is put right for the caller too."""
        return any(pair in self.owned for pair in pairs)

    def _owns(self, call: Call, label: str) -> bool:
        return self.owns(self.replaced_at(Address(call.module, call.index, "in", label)))

    def _substitute(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._watching or not self._substitutes:
            return tensor
        return self._substitutes.get(identity(tensor), tensor)

    def replaced_at(self, address: Address) -> list[int]:
        """The pairs that were put right at a native tap."""
        readings = (self.readings.get(pair.number) for pair in self._by_address.get(address, ()))
        return [reading.pair for reading in readings if reading is not None and reading.replaced]

    def finish(self) -> None:
        """Take back what was written into the models' own objects."""
        for written in reversed(self._written):
            if written.tensor._version == written.version:
                with torch.no_grad():
                    written.tensor.copy_(written.before)
        self._written.clear()

    def _right_value(self, call: Call, end: End, label: str, tensor: torch.Tensor) -> _Copy | None:
        """What stands in for a native value: None where it may stay."""
        pairs = self._by_address.get(Address(call.module, call.index, end, label))
        if not pairs:
            return None
        met = []
        for pair in pairs:
            reading = self._compare(pair, tensor)
            self.readings[pair.number] = reading
            if reading.replaced:
                met.append((pair, reading))
        if not met:
            return None
        key = identity(tensor)
        value = self._assembled(met, tensor)
        if same_bits(value, tensor):
            self._remember(tensor)
            return None
        known = self._copies.get(key)
        if known is not None and known.value._version == known.version and same_bits(known.value, value):
            return known
        by_layout = any(self._form(pair, reading) is not None for pair, reading in met)
        copy = self._copies[key] = _Copy(tensor, value, value._version, by_layout)
        return copy

    def _compare(self, pair: Pair, whole: torch.Tensor) -> Reading:
        reference = self.references.get(pair.official)
        native = _part(whole, pair.part)
        if reference is None:
            return Reading(pair.number, "absent")
        if native is None:
            return _incomparable(pair, reference, whole)
        layout = None
        if self.search_layouts:
            layout = find(reference, native, self.layouts.get(pair.number))
        if layout is None and reference.shape != native.shape:
            return _incomparable(pair, reference, native)
        undone = native if layout is None else layout.to_official(native)
        apart = difference(reference, undone)
        plain = difference(reference, native).error if reference.shape == native.shape else None
        return Reading(
            pair=pair.number,
            status="compared" if layout is None else "layout",
            error=apart.error,
            plain_error=plain,
            max_abs=apart.max_abs,
            norm=apart.norm,
            dtypes=(dtype_name(reference), dtype_name(native)),
            shapes=(tuple(reference.shape), tuple(native.shape)),
            nonfinite=(nonfinite(reference), nonfinite(native)),
            replaced=pair.number in self.replace and _can_hold(native, reference),
            found=layout,
        )

    def _assembled(self, met: Sequence[tuple[Pair, Reading]], tensor: torch.Tensor) -> torch.Tensor:
        """The right value in the native form: of a merged projection, of the parts that are known."""
        whole = torch.empty_like(tensor, requires_grad=False)
        pair, reading = met[0]
        with torch.no_grad():
            if pair.part is None:
                return whole.copy_(self._in_native_form(pair, reading))
            whole.copy_(tensor.detach())
            for pair, reading in met:
                into = whole if pair.part is None else _part(whole, pair.part)
                assert into is not None  # its reading would be incomparable
                into.copy_(self._in_native_form(pair, reading))
        return whole

    def _in_native_form(self, pair: Pair, reading: Reading) -> torch.Tensor:
        reference = self.references[pair.official]
        form = self._form(pair, reading)
        return reference if form is None else form.to_native(reference)

    def _form(self, pair: Pair, reading: Reading) -> Layout | None:
        """The layout that the right value is brought into."""
        found = reading.found
        return None if found is not None and found.reorders and pair.number in self.in_order else found

    def _may_write(self, tensor: torch.Tensor, right: _Copy) -> bool:
        return (
            not right.by_layout
            and not tensor.is_inference()
            and not tensor._is_view()
            and id(tensor) not in self._met
            and (storage := _storage(tensor)) is not None
            and storage not in self._storages
            and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        )

    def _write(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        before = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(value)
        self._written.append(_Written(tensor, before, tensor._version))

    def _remember(self, *tensors: torch.Tensor) -> None:
        for tensor in tensors:
            self._met.add(id(tensor))
            self._alive.append(tensor)


class _Substituting(TorchFunctionMode):  # type: ignore[misc]
    """While active, every operation gets other tensors in place of some."""

    def __init__(self, substitute: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._of = substitute

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {key: self._substituted(value) for key, value in (kwargs or {}).items()}
        return func(*map(self._substituted, args), **given)

    def _substituted(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._of(value)
        if type(value) in (list, tuple):
            return type(value)(self._substituted(item) for item in value)
        return value


@dataclass
class _Copy:
    """The right value that stands in for an object. `version`: of the copy, as it was made."""

    original: torch.Tensor
    value: torch.Tensor
    version: int
    by_layout: bool


@dataclass(frozen=True)
class _Written:
    tensor: torch.Tensor
    before: torch.Tensor
    version: int


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype hold the same; a NaN is like a NaN."""
    if torch.equal(one, other):
        return True
    return bool(torch.isnan(one).any()) and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)


def dtype_name(tensor: torch.Tensor) -> str:
    """`float32`, `bfloat16`, ..."""
    return str(tensor.dtype).removeprefix("torch.")


def _part(whole: torch.Tensor, part: tuple[int, int] | None) -> torch.Tensor | None:
    """A slice of the last axis as a view; None where it does not divide."""
    if part is None:
        return whole
    place, count = part
    if not whole.dim() or whole.shape[-1] % count:
        return None
    return whole.chunk(count, dim=-1)[place]


def _incomparable(pair: Pair, reference: torch.Tensor, native: torch.Tensor) -> Reading:
    return Reading(
        pair.number,
        "incomparable",
        norm=statistics(reference).norm,
        dtypes=(dtype_name(reference), dtype_name(native)),
        shapes=(tuple(reference.shape), tuple(native.shape)),
        nonfinite=(nonfinite(reference), nonfinite(native)),
    )


def _can_hold(native: torch.Tensor, reference: torch.Tensor) -> bool:
    """Whether a tensor of the native dtype can take the official values (floats may be rounded)."""
    if native.layout is not torch.strided or native.is_quantized:
        return False
    if native.is_complex():
        return True
    if reference.is_complex():
        return False
    if native.is_floating_point():
        return True
    return bool((reference.to(native.dtype).to(reference.dtype) == reference).all())


def _storage(tensor: torch.Tensor) -> int | None:
    """Where a tensor's values lie; None for one without such a place."""
    if tensor.layout is not torch.strided:
        return None
    return int(tensor.untyped_storage().data_ptr())
