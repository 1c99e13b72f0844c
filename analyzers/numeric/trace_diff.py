"""Two traces side by side: where they first differ.

Both are free runs: an error is carried on to what comes later, so the first difference is told, and what
follows is only counted. A *row* is a tensor that both traces have, in the order of the second trace, which is
the port's.

What is told apart: `equal`; `differs`; `layout` (the statistics that no order can change agree, and the
sketches do not); `nonfinite` (NaN or infinite on one side); `incomparable` (other numbers of elements, or no
number that both have). Where a row has no sketches, statistics alone are compared, and they cannot see values
in another order: `blind` counts these rows, and the verdict says so.

Noise. Two free runs differ by rounding, and no floor was measured here, so each row has a tolerance of
`ROUNDINGS` roundings of the coarser of its two dtypes (float32: 9.5e-7 of the norm, bfloat16: 3.1e-2), unless
one is given. A relative L2 error is estimated from sketches with a standard error of 1 / sqrt(2 * buckets).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from analyzers.numeric.trace_files import TraceFile, TraceTap, steps_of
from analyzers.numeric.trace_names import Counterpart

ROUNDINGS = 16
"""Float32 runs of two clean implementations were up to 7 roundings apart (relative L2 4e-7)."""

_LAYOUT_AT_LEAST = 0.05  # an error of this size cannot leave sum, extremes and norm alone unless it reorders
_UNIT: Final[Mapping[str, float]] = {
    "float64": 2.0**-24,  # sketches are float32
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-9,
    "complex64": 2.0**-24,
    "complex128": 2.0**-24,
}

RowStatus: TypeAlias = Literal["equal", "differs", "layout", "nonfinite", "incomparable"]

DiffStatus: TypeAlias = Literal["passed", "failed", "skipped", "error"]


@dataclass(frozen=True)
class Row:
    """One tensor of both traces. `official`: several where the port merged them and only sums of statistics
    can be compared. `error`: relative L2 where both have sketches, else the largest relative deviation of a
    statistic (`by` says which). `message`: what is wrong, as a clause; empty for `equal`."""

    official: tuple[TraceTap, ...]
    native: TraceTap
    why: str
    status: RowStatus
    by: str
    error: float | None
    tolerance: float
    message: str = ""

    @property
    def is_certain(self) -> bool:
        """Whether the two modules do the same work for certain, not by place or contents alone."""
        return self.why in ("weights", "slice", "name")


@dataclass(frozen=True)
class TraceDiff:
    """What became of two traces. `first`: the first row that differs; `after`: the last row before it that
    agrees. `blind`: rows compared by statistics alone. `unaligned`: modules with rows that have no
    counterpart (side, name). `extents`: rows of modules that only correspond by place or contents, that
    differ although what comes next agrees: they hold other work, and say nothing."""

    status: DiffStatus
    reason: str
    next_step: str
    rows: tuple[Row, ...]
    first: Row | None
    after: Row | None
    blind: int
    unaligned: tuple[tuple[str, str], ...]
    extents: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def divergent(self) -> tuple[Row, ...]:
        """Every row that differs, in order."""
        return tuple(row for row in self.rows if row.status in ("differs", "layout", "nonfinite"))


def diff(
    official: TraceFile,
    native: TraceFile,
    counterparts: Mapping[str, Counterpart],
    tolerance: float | None = None,
) -> TraceDiff:
    """Compare two traces whose modules correspond as told."""
    notes = [*official.notes, *native.notes]
    if official.sketch is not None and native.sketch is not None and official.sketch != native.sketch:
        notes.append("The sketches of the two files were made in another way and cannot be compared.")
        native = replace(native, taps=tuple(replace(tap, sketch=None) for tap in native.taps))
    rows, unaligned = _aligned(official, native, counterparts, tolerance, notes)
    rows, extents = _without_extents(rows)
    compared = [row for row in rows if row.status != "incomparable"]
    first = next((row for row in compared if row.status != "equal"), None)
    after = None
    if first is not None:
        before = compared[: compared.index(first)]
        after = before[-1] if before else None
    blind = sum(row.by != "sketch" for row in compared)
    if tolerance is None and any(
        tap.dtype is None for row in compared for tap in (*row.official, row.native)
    ):
        notes.append(
            "The files do not tell dtypes, so values may be as far apart as bfloat16 rounds; --tolerance "
            "says otherwise (1e-6 for float32)."
        )
    if rows and blind:
        notes.append(
            f"{_count(blind, 'row')} of {len(compared)} could only be compared by statistics, which cannot "
            "see values in another order."
        )
    cut = [trace.path for trace in (official, native) if not trace.complete]
    status, reason, step = _verdict(rows, compared, first, after, blind, cut)
    return TraceDiff(
        status, reason, step, tuple(rows), first, after, blind, unaligned, tuple(extents), tuple(notes)
    )


def _verdict(
    rows: list[Row],
    compared: list[Row],
    first: Row | None,
    after: Row | None,
    blind: int,
    cut: list[str],
) -> tuple[DiffStatus, str, str]:
    if first is not None:
        where = f"after {describe(after)}, the last that agrees, " if after is not None else ""
        others = sum(row.status not in ("equal", "incomparable") for row in compared) - 1
        rest = f"; {_count(others, 'later row')} may all follow from it" if others else ""
        return "failed", f"{where}{describe(first)}: {first.message}{rest}.", ""
    if not rows:
        return (
            "error",
            "no tensor of one trace has a counterpart in the other.",
            "If the two models name their modules differently, give the port (--port) or its mapping "
            "(--mapping).",
        )
    if not compared:
        return "error", "the tensors that correspond have no number in common.", "Trace both sides again."
    if cut:
        return (
            "error",
            f"{_count(len(compared), 'row')} agree; {' and '.join(cut)} ended early, so the rest is unknown.",
            "Trace again, and let the run come to its end.",
        )
    text = f"{_count(len(compared), 'row')} agree"
    return "passed", f"{text} as far as statistics can tell." if blind else f"{text}.", ""


def describe(row: Row) -> str:
    """A row by its address."""
    tap = row.native
    times = [f"step {tap.step}"] if tap.step else []
    times += [f"call {tap.call}"] if tap.call else []
    name = tap.module or "the model"
    end = f"{tap.label}" if tap.end == "out" else f"input {tap.label}"
    part = f", slice {tap.part[0]} of {tap.part[1]}" if tap.part is not None else ""
    return f"{name} ({', '.join([end, *times])}{part})"


# --------------------------------------------------------------------------- alignment

_Key: TypeAlias = "tuple[object, int, str, tuple[int, int] | None]"
_Group: TypeAlias = "dict[tuple[object, int, str], list[TraceTap]]"


def _aligned(
    official: TraceFile,
    native: TraceFile,
    counterparts: Mapping[str, Counterpart],
    tolerance: float | None,
    notes: list[str],
) -> tuple[list[Row], tuple[tuple[str, str], ...]]:
    by_step = _same_steps(official, native)
    if not by_step:
        notes.append(
            "The two traces count their steps differently; calls of a module are compared in the order in "
            "which they happened."
        )
    left, right = _by_module(official.taps, by_step), _by_module(native.taps, by_step)
    rows: list[Row] = []
    merged: dict[str, list[tuple[tuple[int, int], str]]] = {}
    met: set[str] = set()
    sliced: set[str] = set()
    for name, counterpart in counterparts.items():
        if name not in left or counterpart.module not in right:
            continue
        if counterpart.part is not None:
            merged.setdefault(counterpart.module, []).append((counterpart.part, name))
        for one, other in _paired(left[name], right[counterpart.module], counterpart.part):
            rows.append(_compare((one,), other, counterpart.why, tolerance))
            met.update((f"official {name}", f"native {counterpart.module}"))
            if counterpart.part is not None and other.part is not None:
                sliced.add(counterpart.module)
    for module, parts in merged.items():
        if module in sliced:
            continue
        for ones, other in _summed([left[name] for _, name in sorted(parts)], parts, right[module]):
            rows.append(_compare(ones, other, "slice", tolerance))
            met.update([f"native {module}", *(f"official {name}" for _, name in parts)])
    rows.sort(key=lambda row: row.native.line)
    unaligned = [("official", name) for name in left if f"official {name}" not in met]
    unaligned += [("native", name) for name in right if f"native {name}" not in met]
    return rows, tuple(unaligned)


def _same_steps(official: TraceFile, native: TraceFile) -> bool:
    """Whether a step of one is the same step of the other: both count forwards, or both denoise steps."""
    if official.format != native.format:
        return False
    return (None in steps_of(official.taps)) == (None in steps_of(native.taps))


def _by_module(taps: Iterable[TraceTap], by_step: bool) -> dict[str, _Group]:
    """Taps by module, then by (step, call, end); without steps, calls are counted through."""
    found: dict[str, _Group] = {}
    counts: Counter[tuple[str, str, str, object]] = Counter()
    for tap in taps:
        key: tuple[object, int, str] = (tap.step, tap.call, tap.end)
        if not by_step:
            place = (tap.module, tap.end, tap.label, tap.part)
            key = (None, counts[place], tap.end)
            counts[place] += 1
        found.setdefault(tap.module, {}).setdefault(key, []).append(tap)
    return found


def _paired(left: _Group, right: _Group, part: tuple[int, int] | None) -> Iterable[tuple[TraceTap, TraceTap]]:
    """Taps of one module pair: by label, and what is left alone on each side (`out` and `out[0]`)."""
    for key, ones in left.items():
        # Every merged projection gets the same input.
        part_here = None if key[2] == "in" else part
        others = {tap.label: tap for tap in right.get(key, []) if tap.part == part_here}
        ours = {tap.label: tap for tap in ones if tap.part is None}
        for label in [label for label in ours if label in others]:
            yield ours.pop(label), others.pop(label)
        if len(ours) == 1 and len(others) == 1:
            yield ours.popitem()[1], others.popitem()[1]


def _summed(
    left: list[_Group], parts: list[tuple[tuple[int, int], str]], right: _Group
) -> Iterable[tuple[tuple[TraceTap, ...], TraceTap]]:
    """Outputs of projections that the port merged, all of them against its one output."""
    if len(left) != parts[0][0][1]:
        return
    for key, others in right.items():
        whole = [tap for tap in others if tap.part is None]
        ones = [group.get(key, []) for group in left]
        if key[2] == "out" and len(whole) == 1 and all(len(taps) == 1 for taps in ones):
            yield tuple(taps[0] for taps in ones), whole[0]


def _without_extents(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows without those that differ at a module that is only placed while the next certain row agrees."""
    kept: list[Row] = []
    extents: list[Row] = []
    agrees = False  # whether the next certain row of the same trace agrees
    for row in reversed(rows):
        if row.is_certain and row.status != "incomparable":
            agrees = row.status == "equal"
        if not row.is_certain and agrees and row.status in ("differs", "layout"):
            extents.append(row)
        else:
            kept.append(row)
    return kept[::-1], extents[::-1]


# --------------------------------------------------------------------------- one row


def _compare(ones: tuple[TraceTap, ...], other: TraceTap, why: str, tolerance: float | None) -> Row:
    limit = (
        tolerance if tolerance is not None else ROUNDINGS * max(_unit(tap.dtype) for tap in (*ones, other))
    )
    row = Row(ones, other, why, "incomparable", "sketch", None, limit)
    problem = next((tap.problem for tap in (*ones, other) if tap.problem), None)
    if problem is not None:
        return replace(row, message=problem)
    sizes = [tap.elements for tap in ones]
    if other.elements is not None and None not in sizes:
        total = sum(size for size in sizes if size is not None)
        if total != other.elements:
            shapes = " and ".join(str(list(tap.shape or ())) for tap in ones)
            return replace(row, message=f"shape {list(other.shape or ())} against {shapes}")
    bad = sum(tap.nonfinite or 0 for tap in ones), other.nonfinite or 0
    if bad != (0, 0) or any(tap.nonfinite for tap in (*ones, other)):
        if bad[0] == bad[1]:
            return replace(row, message=f"{bad[0]} values are NaN or infinite on both sides")
        text = f"{bad[1]} values are NaN or infinite, in the official model {bad[0]}"
        return replace(row, status="nonfinite", message=text)
    if len(ones) == 1 and ones[0].sketch is not None and other.sketch is not None:
        return _by_sketch(row, ones[0], other)
    return _by_statistics(row, ones, other)


def _by_sketch(row: Row, one: TraceTap, other: TraceTap) -> Row:
    distance, norm = math.dist(one.values, other.values), one.statistics.get("norm")
    if not norm:
        same = distance == 0.0
        text = "" if same else "the official value is zero everywhere and this one is not"
        return replace(row, status="equal" if same else "differs", error=0.0 if same else None, message=text)
    error = distance / norm
    if error <= row.tolerance:
        return replace(row, status="equal", error=error)
    if error >= _LAYOUT_AT_LEAST and _same_invariants(one, other):
        text = f"the same values in another order (relative error {error:.2g})"
        return replace(row, status="layout", error=error, message=text)
    text = f"relative error {error:.2g}, more than {row.tolerance:.2g}"
    return replace(row, status="differs", error=error, message=text + _dtypes(one, other))


def _same_invariants(one: TraceTap, other: TraceTap) -> bool:
    """Whether everything agrees that no order can change, as closely as rounding leaves it."""
    unit = 4 * max(_unit(one.dtype), _unit(other.dtype))
    first, second = one.statistics, other.statistics
    values = [(first.get(name), second.get(name)) for name in ("norm", "sum", "abs_mean", "min", "max")]
    if any(a is None or b is None for a, b in values):
        return False
    norm = first["norm"] or 0.0
    largest = max(abs(first["min"] or 0.0), abs(first["max"] or 0.0))
    size = one.elements or 1
    mean = first["abs_mean"] or 0.0
    # Noise in n values makes their sum scatter with the norm, not with the sum of magnitudes; how the sums
    # were added up (in float32) makes them scatter with that.
    added = 4 * _UNIT["float32"]
    scales = (norm * unit, norm * unit + mean * size * added, norm / size * unit + mean * added)
    allowed = (*scales, largest * unit, largest * unit)
    return all(abs((a or 0.0) - (b or 0.0)) <= limit for (a, b), limit in zip(values, allowed, strict=True))


def _by_statistics(row: Row, ones: tuple[TraceTap, ...], other: TraceTap) -> Row:
    """By the statistics that both have. Each deviation counts relative to the size of the values."""
    told = _together(ones)
    size = other.elements
    common = [name for name in told if name in other.statistics]
    if not common:
        return replace(row, message="no statistic that both traces have")
    lost = [name for name in common if (told[name] is None) != (other.statistics[name] is None)]
    if lost:
        side = "here" if other.statistics[lost[0]] is None else "in the official model"
        return replace(
            row, status="nonfinite", by=lost[0], message=f"{lost[0]} is NaN or infinite {side} alone"
        )
    deviations: dict[str, float] = {}
    for name in common:
        one, two = told[name], other.statistics[name]
        scale = _scale(name, told, size)
        if one is not None and two is not None and scale is not None:
            deviations[name] = abs(one - two) / scale if scale else (0.0 if one == two else math.inf)
    if not deviations:
        return replace(
            row, by=common[0], message="no statistic that can be judged without a shape or an abs_mean"
        )
    worst = max(deviations, key=lambda name: deviations[name])
    if deviations[worst] <= row.tolerance:
        return replace(row, status="equal", by=worst, error=deviations[worst])
    one, two = told[worst], other.statistics[worst]
    text = f"{worst} {_short(two)} against {_short(one)}"
    return replace(
        row,
        status="differs",
        by=worst,
        error=deviations[worst] if math.isfinite(deviations[worst]) else None,
        message=text + _dtypes(ones[0], other),
    )


def _scale(name: str, told: Mapping[str, float | None], size: int | None) -> float | None:
    """What a deviation is relative to, None where that is not known: sums cancel, so not their own size."""
    magnitude = told.get("abs_mean")
    if name in ("norm", "abs_mean"):
        return abs(told[name] or 0.0)
    if name == "std":
        return max(told["std"] or 0.0, magnitude or 0.0)
    if name in ("min", "max"):
        return max(abs(told.get("min") or 0.0), abs(told.get("max") or 0.0))
    if magnitude is None:
        norm = told.get("norm")
        magnitude = norm / math.sqrt(size) if norm is not None and size else told.get("std")
    if magnitude is None:
        return None
    return magnitude if name == "mean" else (magnitude * size if size is not None else None)


def _together(ones: tuple[TraceTap, ...]) -> Mapping[str, float | None]:
    """The statistics of the concatenation; without `std`, which cannot be put together."""
    if len(ones) == 1:
        return ones[0].statistics
    sizes = [tap.elements for tap in ones]
    found: dict[str, float | None] = {}
    for name in ("norm", "sum", "abs_mean", "min", "max", "mean"):
        values = [tap.statistics[name] for tap in ones if name in tap.statistics]
        if len(values) != len(ones):
            continue
        numbers = [value for value in values if value is not None]
        if len(numbers) != len(values):
            found[name] = None
        elif name == "norm":
            found[name] = math.hypot(*numbers)
        elif name == "sum":
            found[name] = math.fsum(numbers)
        elif name in ("min", "max"):
            found[name] = min(numbers) if name == "min" else max(numbers)
        elif None not in sizes:
            weights = [size or 0 for size in sizes]
            total = sum(weights)
            found[name] = sum(n * w for n, w in zip(numbers, weights, strict=True)) / total if total else None
        elif name == "abs_mean":
            continue
    return found


def _unit(dtype: str | None) -> float:
    """Half the distance of neighbouring numbers of a dtype, relative; of float8 that of its mantissa."""
    if dtype is None:
        return _UNIT["bfloat16"]  # not told: the coarsest that models compute in
    if dtype.startswith("float8"):
        return 2.0**-3 if "e5m2" in dtype else 2.0**-4
    return _UNIT.get(dtype, 2.0**-24)


def _dtypes(one: TraceTap, other: TraceTap) -> str:
    if one.dtype is None or other.dtype is None or one.dtype == other.dtype:
        return ""
    return f" ({other.dtype} against {one.dtype})"


def _short(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
