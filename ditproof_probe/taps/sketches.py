"""A tensor in little more than a kilobyte: a sketch that sees the order of its values, and statistics.

The sketch. Every element is given a fixed pseudo-random sign, and signed elements are added up in `BUCKETS`
buckets: element `n` of the flattened tensor goes with the sign `table[n % PERIOD] * flip(n // PERIOD)` into
the bucket `(n + 97 * (n // PERIOD)) % BUCKETS`. That is a linear map, so the sketch of a difference is the
difference of the sketches, and its squared length is an unbiased estimate of the squared L2 norm, with a
relative standard error of sqrt(2 / BUCKETS) (half of that for the norm itself: `STANDARD_ERROR`, 4.4 %). Two
tensors with the same values in another order have the same statistics and other sketches; the same values
under another shape (heads apart or together) have the same sketch, if the memory order is the same.

The table has one period, so that it stays in the cache of a CPU and is little on a device; bucket and sign
move on with each period, so that equal periods (a broadcast row, a constant) neither cancel nor add up.

Arithmetic is float32: the sketches of two float32 tensors differ by rounding alone in some 1e-7 of the norm.
What is wider (float64, integers beyond 2**24) is rounded to float32 first, complex values are taken as their
two parts. Nothing is read back from the device: results stay in a buffer of its own, which is copied once
(`Sketcher.collect`). On a CPU, where reading costs nothing, non-finite values are counted only where the sums
show that there are some.
"""

from __future__ import annotations

import array
import base64
import math
import random
import sys
from dataclasses import dataclass
from typing import Any

from ditproof_probe.tensors import unreadable

BUCKETS = 256
PERIOD = 1 << 16
SEED = 20
VERSION = "sign-fold-1"
STANDARD_ERROR = 1 / math.sqrt(2 * BUCKETS)
"""Relative standard error of a norm that is estimated from a sketch."""

_STEP = 97  # coprime to BUCKETS: the buckets of 256 periods in a row begin at 256 places
_CPU_BLOCK = 1 << 19  # elements that are worked on at a time: all passes but the first are from the cache
_DEVICE_BLOCK = 1 << 25  # on a device each pass is a launch; the block bounds the extra memory (256 MiB)
_NORM, _SUM, _ABS, _MAX, _MIN, _BAD = range(BUCKETS, BUCKETS + 6)
_WIDTH = BUCKETS + 6
_ROWS = 1024  # of a buffer, 1 MiB


@dataclass(frozen=True)
class Measured:
    """One tensor, measured. All numbers are Python's; None where they are not finite or there are none.

    `norm`: L2. `elements`: of the tensor, complex ones counted once. `nonfinite`: how many elements are NaN
    or infinite (of a complex one: parts). `sketch`: base64 of `BUCKETS` little-endian float32, None where
    values are not finite or could not be read; `problem` then says why there are no values.
    """

    shape: tuple[int, ...]
    dtype: str
    elements: int
    norm: float | None
    sum: float | None
    abs_mean: float | None
    minimum: float | None
    maximum: float | None
    nonfinite: int
    sketch: str | None
    problem: str | None = None


@dataclass(frozen=True)
class Slot:
    """Where the results of one tensor will lie once they are collected."""

    shape: tuple[int, ...]
    dtype: str
    elements: int
    parts: int
    device: Any
    row: int
    nonfinite: int | None
    problem: str | None


class Sketcher:
    """Measures tensors, and hands the results of many over at once. Not for several threads.

    `add` starts the work and returns a `Slot`; `collect` waits for each device once and returns all results
    since the last time.
    """

    def __init__(self) -> None:
        self._devices: dict[Any, _Device] = {}

    def add(self, tensor: Any) -> Slot:
        """Measure a tensor of any dtype, shape and device. Must run without gradient and inference hooks;
        `tensor` may be changed in place afterwards."""
        shape, dtype = tuple(int(size) for size in tensor.shape), str(tensor.dtype).removeprefix("torch.")
        elements = math.prod(shape)
        problem = unreadable(tensor)
        if problem is not None or elements == 0:
            return Slot(shape, dtype, elements, 0, None, -1, 0, problem)
        device = self._devices.get(tensor.device)
        if device is None:
            device = self._devices[tensor.device] = _Device(tensor.device)
        row, nonfinite, parts = device.add(tensor)
        return Slot(shape, dtype, elements, parts, tensor.device, row, nonfinite, None)

    def collect(self, slots: list[Slot]) -> list[Measured]:
        """The results of all slots since the last `collect`: one copy a buffer. Forgets them."""
        copies = {key: device.take() for key, device in self._devices.items()}
        return [_measured(slot, copies) for slot in slots]


def estimated_error(left: bytes, right: bytes) -> float:
    """|x - y| of two tensors by their sketches, with the relative standard error `STANDARD_ERROR`.

    Raises ValueError where these are not two sketches of this kind.
    """
    values = []
    for data in (left, right):
        if len(data) != 4 * BUCKETS:
            raise ValueError(f"a sketch has {4 * BUCKETS} bytes, this one {len(data)}")
        found = array.array("f", data)
        if sys.byteorder == "big":
            found.byteswap()
        values.append(found)
    return math.dist(*values)


class _Device:
    """The tables and the result buffers of one device."""

    def __init__(self, device: Any) -> None:
        import torch

        self._device = device
        self._on_host = device.type == "cpu"
        self._block = _CPU_BLOCK if self._on_host else _DEVICE_BLOCK
        self._table = _table().to(device)
        self._buffers: list[Any] = []
        self._views: list[_Views] = []
        self._turns = _Turns(device)
        # On a CPU, memory that is asked for anew each time costs more than what is done in it.
        with torch.inference_mode(False):
            self._scratch = torch.empty(_CPU_BLOCK if self._on_host else 0, dtype=torch.float32)
        self._converted: Any = None
        self._used = 0

    def add(self, tensor: Any) -> tuple[int, int | None, int]:
        """(row of the results, non-finite values where they are known already, parts of an element)."""
        import torch

        source = tensor.detach()
        if source.is_conj() or source.is_neg():
            source = source.resolve_conj().resolve_neg()
        parts = 2 if source.is_complex() else 1
        if parts == 2:
            source = torch.view_as_real(source)
        flat = source.reshape(-1)
        size = flat.numel()
        row = self._row()
        views = self._views[row]
        if size <= self._block:
            self._measure(flat, 0, views)
        else:
            with torch.inference_mode(False):
                rows = torch.empty((-(-size // self._block), _WIDTH), dtype=torch.float32, device=flat.device)
            for number, start in enumerate(range(0, size, self._block)):
                # The sign and the bucket go by the place in the whole tensor.
                self._measure(flat[start : start + self._block], start // PERIOD, _Views(rows[number]))
            _combine(rows, views)
        if not self._on_host:
            return row, None, parts
        if math.isfinite(views.absolute.item()):
            return row, 0, parts  # one value that is not finite would have shown in this sum
        return row, size - int(flat.isfinite().sum()), parts

    def _float(self, flat: Any) -> Any:
        """The values in float32: themselves, or in memory that is overwritten at the next call."""
        import torch

        if flat.dtype == torch.float32:
            return flat
        if not self._on_host:
            return flat.to(torch.float32)
        if self._converted is None:
            with torch.inference_mode(False):
                self._converted = torch.empty(_CPU_BLOCK, dtype=torch.float32)
        return self._converted[: flat.numel()].copy_(flat)

    def take(self) -> Any:
        """All rows that were filled, on the host."""
        import torch

        used, self._used = self._used, 0
        if not used:
            return None
        copies = [buffer[: max(0, min(_ROWS, used - n * _ROWS))] for n, buffer in enumerate(self._buffers)]
        copies = [copy for copy in copies if copy.shape[0]]
        return (copies[0] if len(copies) == 1 else torch.cat(copies)).to("cpu", copy=True)

    def _row(self) -> int:
        import torch

        row = self._used
        if row == len(self._views):
            # What is made in inference mode could not be written to outside of it.
            with torch.inference_mode(False):
                if row % _ROWS == 0:
                    shape = (_ROWS, _WIDTH)
                    self._buffers.append(torch.empty(shape, dtype=torch.float32, device=self._device))
                self._views.append(_Views(self._buffers[-1][row % _ROWS]))
        self._used += 1
        return row

    def _measure(self, flat: Any, period: int, views: _Views) -> None:
        """The sketch and the statistics of at most one block, which begins at the given period."""
        import torch

        values = self._float(flat)
        size = values.numel()
        signed = self._scratch[:size] if self._on_host else torch.empty_like(values)
        torch.sum(values, 0, out=views.total)
        torch.amax(values, 0, out=views.maximum)
        torch.amin(values, 0, out=views.minimum)
        whole, rest = divmod(size, PERIOD)
        pieces = []
        if whole:
            end = whole * PERIOD
            torch.mul(values[:end].view(whole, PERIOD), self._table, out=signed[:end].view(whole, PERIOD))
            pieces.append(signed[:end].view(whole, PERIOD // BUCKETS, BUCKETS))
        if rest:
            last = torch.mul(values[-rest:], self._table[:rest], out=signed[-rest:])
            if rest % BUCKETS:
                last = torch.nn.functional.pad(last, (0, -rest % BUCKETS))
            pieces.append(last.view(1, -1, BUCKETS))
        if size <= PERIOD and period == 0:
            torch.sum(pieces[0][0], 0, out=views.sketch)
        else:
            folded = torch.cat([piece.sum(1) for piece in pieces])
            turns, flips = self._turns.of(period, folded.shape[0])
            torch.sum(folded.gather(1, turns) * flips, 0, out=views.sketch)
        # In two steps, for one long sum of squares would be off by 1e-5. Signs do not change a square.
        norms = [torch.linalg.vector_norm(piece, dim=2).view(-1) for piece in pieces]
        torch.linalg.vector_norm(norms[0] if len(norms) == 1 else torch.cat(norms), out=views.norm)
        torch.sum(signed.abs_(), 0, out=views.absolute)
        if not self._on_host:
            # 0 * x is 0 for every finite x and NaN, which is not zero, for all others.
            torch.sum((values * 0.0).ne_(0.0), 0, dtype=torch.float32, out=views.bad)


class _Views:
    """The places of one row, one a result."""

    __slots__ = ("absolute", "bad", "maximum", "minimum", "norm", "sketch", "total")

    def __init__(self, row: Any) -> None:
        self.sketch = row[:BUCKETS]
        self.norm, self.total, self.absolute, self.maximum, self.minimum, self.bad = row[BUCKETS:].unbind()


class _Turns:
    """By which buckets each period begins later, and with which sign, as indices and factors."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._made = 0
        self._turns: Any = None
        self._flips: Any = None

    def of(self, first: int, count: int) -> tuple[Any, Any]:
        """Index and factor of `count` periods from `first` on, both [count, ...]."""
        if first + count > self._made:
            self._make(max(64, 2 * (first + count)))
        return self._turns[first : first + count], self._flips[first : first + count]

    def _make(self, count: int) -> None:
        import torch

        bits = random.Random(SEED + 1).getrandbits(count)
        signs = [1.0 - 2.0 * (bits >> place & 1) for place in range(count)]
        with torch.inference_mode(False):
            places = torch.arange(BUCKETS)[None, :] - _STEP * torch.arange(count)[:, None]
            self._turns = (places % BUCKETS).to(self._device)
            self._flips = torch.tensor(signs, dtype=torch.float32)[:, None].to(self._device)
        self._made = count


def _table() -> Any:
    """The signs of one period, float32. Python's generator gives the same bits in every version."""
    import torch

    data = bytearray(random.Random(SEED).getrandbits(PERIOD).to_bytes(PERIOD // 8, "little"))
    with torch.inference_mode(False):
        packed = torch.frombuffer(data, dtype=torch.uint8).to(torch.int32)
        bits = packed[:, None] >> torch.arange(8, dtype=torch.int32)[None, :] & 1
        return (1 - 2 * bits).reshape(-1).to(torch.float32)


def _combine(rows: Any, views: _Views) -> None:
    """The results of the blocks of one tensor, [blocks, _WIDTH], as one row."""
    import torch

    torch.sum(rows[:, :BUCKETS], 0, out=views.sketch)
    torch.linalg.vector_norm(rows[:, _NORM], out=views.norm)
    torch.sum(rows[:, _SUM], 0, out=views.total)
    torch.sum(rows[:, _ABS], 0, out=views.absolute)
    torch.amax(rows[:, _MAX], 0, out=views.maximum)
    torch.amin(rows[:, _MIN], 0, out=views.minimum)
    torch.sum(rows[:, _BAD], 0, out=views.bad)


def _measured(slot: Slot, copies: dict[Any, Any]) -> Measured:
    if slot.row < 0:
        empty = slot.problem is None
        zero = 0.0 if empty else None
        return Measured(
            slot.shape, slot.dtype, slot.elements, zero, zero, None, None, None, 0, None, slot.problem
        )
    row = copies[slot.device][slot.row]
    norm, total, absolute, maximum, minimum, bad = row[BUCKETS:].tolist()
    nonfinite = int(bad) if slot.nonfinite is None else slot.nonfinite
    data = _as_bytes(row[:BUCKETS].tolist()) if nonfinite == 0 else None
    return Measured(
        shape=slot.shape,
        dtype=slot.dtype,
        elements=slot.elements,
        norm=_finite(norm),
        sum=_finite(total),
        abs_mean=_finite(absolute / (slot.elements * slot.parts)),
        minimum=_finite(minimum),
        maximum=_finite(maximum),
        nonfinite=nonfinite,
        sketch=None if data is None else base64.b64encode(data).decode("ascii"),
    )


def _as_bytes(values: list[float]) -> bytes:
    data = array.array("f", values)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
