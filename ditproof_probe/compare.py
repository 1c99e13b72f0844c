"""How far two values are apart, in numbers, with bounded memory.

Invariants
----------
* Nothing is written to: every operation makes a new tensor of at most `BLOCK` elements.
* Arithmetic is fp64 (complex128 for complex values), so that a bf16 pair is measured exactly;
  integers beyond 2**53 are rounded.
* Drift is taken over the positions where both sides are finite. What is not finite is counted, and
  where the two sides disagree about it no tolerance would do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ditproof_probe.tensors import unreadable

BLOCK = 1 << 18  # 2 MiB in fp64, some 60 MiB with all that is alive at a time; larger is slower
MAX_PAIRS = 256


@dataclass(frozen=True)
class Pair:
    """Two values that `assert_close` would compare; `suffix` says where they lie in a container.

    `problem` tells why there are no values, where the two containers do not match.
    """

    suffix: str
    actual: Any
    expected: Any
    problem: str | None = None


@dataclass(frozen=True)
class Drift:
    """What two values of one shape differ by. Lengths in the unit of the values themselves.

    `needed_tolerance` is the smallest `atol` that, with the given `rtol`, would have passed:
    max(|actual - expected| - rtol * |expected|), at least 0. None where none would do: shapes
    differ, or one side is NaN or infinite where the other is not. `assert_close` itself computes
    in the tensors' dtype, so at half precision the edge may lie one rounding step further.
    `rel_l2` is |actual - expected| / |expected| in the Euclidean norm; None if only `expected` is 0.
    """

    shape_actual: list[int] | None
    shape_expected: list[int] | None
    dtype_actual: str | None
    dtype_expected: str | None
    device_actual: str | None
    device_expected: str | None
    max_abs: float | None = None
    mean_abs: float | None = None
    rel_l2: float | None = None
    needed_tolerance: float | None = None
    elements: int | None = None
    mismatched: int | None = None
    nonfinite_actual: int | None = None
    nonfinite_expected: int | None = None
    nonfinite_mismatched: int | None = None
    problem: str | None = None


def pairs(actual: Any, expected: Any, suffix: str = "") -> Iterator[Pair]:
    """The pairs of leaves that `assert_close` compares: sequences by index, mappings by key.

    The first `MAX_PAIRS` are enough for a verdict that a person reads; the caller cuts there.
    """
    if _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            yield Pair(suffix, None, None, f"{len(actual)} items against {len(expected)}")
            return
        for index, (left, right) in enumerate(zip(actual, expected, strict=True)):
            yield from pairs(left, right, f"{suffix}[{index}]")
    elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            missing = sorted(repr(key) for key in set(expected) - set(actual))
            extra = sorted(repr(key) for key in set(actual) - set(expected))
            yield Pair(
                suffix,
                None,
                None,
                f"keys differ: missing {_some(missing)}, unexpected {_some(extra)}",
            )
            return
        for key in actual:
            yield from pairs(actual[key], expected[key], f"{suffix}[{key!r}]")
    else:
        yield Pair(suffix, actual, expected)


def effective_tolerances(
    actual: Any, expected: Any, rtol: float | None, atol: float | None
) -> tuple[float, float] | None:
    """(rtol, atol) as `assert_close` uses them: as given, else its defaults for the two dtypes.

    None where there are no defaults, because a value is no tensor and cannot become one.
    """
    if rtol is not None and atol is not None:
        return float(rtol), float(atol)
    from torch.testing import _comparison

    left, right = _as_tensor(actual), _as_tensor(expected)
    if left is None or right is None:
        return None
    default_rtol, default_atol = _comparison.default_tolerances(left, right)
    return float(default_rtol), float(default_atol)


def measure(actual: Any, expected: Any, *, rtol: float, atol: float, equal_nan: bool) -> Drift:
    """The drift of two leaves (tensors of any shape, arrays, numbers).

    Never raises for values it cannot read (meta, fake, sparse, distributed tensors, objects):
    `problem` then says why. An out-of-memory error of a device is met by measuring on the CPU.
    """
    import torch

    left, right = _as_tensor(actual), _as_tensor(expected)
    facts = _facts(actual, expected, left, right)
    if left is None or right is None:
        return Drift(**facts, problem="not a tensor, array or number")
    problem = unreadable(left) or unreadable(right)
    if problem is not None:
        return Drift(**facts, problem=problem)
    if left.shape != right.shape:
        return Drift(**facts, problem=f"shape {list(left.shape)} against {list(right.shape)}")
    with torch.no_grad():
        left, right = left.detach(), right.detach()
        on_device = left.device == right.device and left.device.type in ("cpu", "cuda", "xpu")
        try:
            sums = _accumulate(left, right, rtol, atol, equal_nan, on_device=on_device)
        except torch.cuda.OutOfMemoryError:
            sums = _accumulate(left, right, rtol, atol, equal_nan, on_device=False)
    return Drift(**facts, **sums)


def _accumulate(
    left: Any, right: Any, rtol: float, atol: float, equal_nan: bool, *, on_device: bool
) -> dict[str, Any]:
    """One pass over both tensors; the running values stay on the device until the end."""
    import torch

    elements = left.numel()
    if elements == 0:
        zeros: dict[str, Any] = dict.fromkeys(("max_abs", "mean_abs", "rel_l2", "needed_tolerance"), 0.0)
        counts = ("mismatched", "nonfinite_actual", "nonfinite_expected", "nonfinite_mismatched")
        return {**zeros, **dict.fromkeys(counts, 0), "elements": 0}
    wide = torch.complex128 if left.is_complex() or right.is_complex() else torch.float64
    totals: list[Any] | None = None
    for a, b in _blocks(left, right):
        if not on_device:
            a, b = a.cpu(), b.cpu()
        part = _finite_part(a, b, wide, rtol, atol) if a.device.type == "cpu" else None
        if part is None:
            part = _part(a.reshape(-1).to(wide), b.reshape(-1).to(wide), rtol, atol, equal_nan=equal_nan)
        if totals is None:
            totals = part
        else:
            largest = [torch.maximum(x, y) for x, y in zip(totals[:2], part[:2], strict=True)]
            totals = largest + [x + y for x, y in zip(totals[2:], part[2:], strict=True)]
    assert totals is not None
    most, excess_max, total, squares, norm = (float(value) for value in totals[:5])
    n_finite, over, bad_left, bad_right, bad = (int(value) for value in totals[5:])
    measured = n_finite > 0
    return {
        "max_abs": _number(most) if measured else None,
        "mean_abs": _number(total / n_finite) if measured else None,
        "rel_l2": _relative(squares, norm) if measured else None,
        "needed_tolerance": None if bad else _number(max(excess_max, 0.0)),
        "elements": elements,
        "mismatched": over + bad,
        "nonfinite_actual": bad_left,
        "nonfinite_expected": bad_right,
        "nonfinite_mismatched": bad,
    }


def _finite_part(a: Any, b: Any, wide: Any, rtol: float, atol: float) -> list[Any] | None:
    """The values of `_part` where every element is finite, in half of its passes; None where one is not.

    For the CPU: on another device the question whether all are finite would wait for it.
    """
    import torch

    difference, magnitude = a.reshape(-1).to(wide), b.reshape(-1).to(wide)
    difference = (difference - magnitude).abs()
    magnitude = magnitude.abs()
    total, largest = difference.sum(), magnitude.sum()
    if not (math.isfinite(float(total)) and math.isfinite(float(largest))):
        return None
    squares, norm = torch.dot(difference, difference), torch.dot(magnitude, magnitude)
    most = difference.max()
    excess = difference.sub_(magnitude.mul_(rtol)) if rtol else difference
    none = torch.zeros((), dtype=torch.int64)
    over = (excess > atol).sum() if bool(excess.max() > atol) else none
    elements = torch.tensor(difference.numel())
    return [most, excess.max(), total, squares, norm, elements, over, none, none, none]


def _part(a: Any, b: Any, rtol: float, atol: float, *, equal_nan: bool) -> list[Any]:
    """Of one block: the largest difference and excess, sums of differences, their squares and the squares of
    what was expected, and how many are finite, over, not finite on each side, and not finite on one alone."""
    import torch

    finite = a.isfinite() & b.isfinite()
    same = a == b  # equal infinities count as equal, as in isclose
    if equal_nan:
        same = same | (a.isnan() & b.isnan())
    difference = torch.where(finite, (a - b).abs(), 0.0)
    magnitude = torch.where(finite, b.abs(), 0.0)
    excess = difference - rtol * magnitude
    return [
        difference.max(),
        excess.max(),
        difference.sum(),
        difference.square().sum(),
        magnitude.square().sum(),
        finite.sum(),
        (finite & (excess > atol)).sum(),
        (~a.isfinite()).sum(),
        (~b.isfinite()).sum(),
        (~finite & ~same).sum(),
    ]


def _blocks(left: Any, right: Any) -> Iterator[tuple[Any, Any]]:
    """Views of at most `BLOCK` elements, by halving the longest axis: no copy, whatever the strides."""
    if left.numel() <= BLOCK:
        yield left, right
        return
    axis = max(range(left.dim()), key=lambda i: int(left.shape[i]))
    half = int(left.shape[axis]) // 2
    rest = int(left.shape[axis]) - half
    yield from _blocks(left.narrow(axis, 0, half), right.narrow(axis, 0, half))
    yield from _blocks(left.narrow(axis, half, rest), right.narrow(axis, half, rest))


def _as_tensor(value: Any) -> Any:
    """The value as a tensor that shares its memory, or None where it is nothing of the kind."""
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, bool):
        return torch.tensor(value, device="cpu")
    if isinstance(value, int):
        # Beyond int64 a float is the nearest thing; assert_close compares Python numbers as such.
        wide = torch.int64 if -(2**63) <= value < 2**63 else torch.float64
        return torch.tensor(value, dtype=wide, device="cpu")
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64, device="cpu")
    if isinstance(value, complex):
        return torch.tensor(value, dtype=torch.complex128, device="cpu")
    if hasattr(value, "__array__"):
        try:
            return torch.as_tensor(value, device="cpu")
        except (TypeError, ValueError, RuntimeError):
            return None
    return None


def _facts(actual: Any, expected: Any, left: Any, right: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for side, value, tensor in (("actual", actual, left), ("expected", expected, right)):
        known = tensor is not None
        facts[f"shape_{side}"] = [int(size) for size in tensor.shape] if known else None
        facts[f"dtype_{side}"] = str(tensor.dtype).removeprefix("torch.") if known else type(value).__name__
        facts[f"device_{side}"] = str(tensor.device) if known else None
    return facts


def _relative(squares: float, norm: float) -> float | None:
    if norm > 0.0:
        return _number(math.sqrt(squares) / math.sqrt(norm))
    return 0.0 if squares == 0.0 else None


def _number(value: float) -> float | None:
    """The value, or None where it overflowed: records hold neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
