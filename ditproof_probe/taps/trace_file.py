"""Traces as files: our own records, and the lines of FastVideo's activation trace.

Our own, one JSON object a line, ASCII:

1. the header: `ditproof_trace` (the version, 1), `side` (`official` or `native`), `model` (its class), `path`
   (the file that defines it), `modules`: [[name, class, [names of its own parameters]]] in the order of
   `named_modules`, `places`: [[path, line from 0] or null] of their classes' `forward`, in the same order,
   `sketch`: {kind, buckets, period, seed}, `versions`: {python, torch}, and what else the
   writer knows (`test`);
2. a line for each tensor at an end of a module's call: `module`, `call` (which of this module's calls in its
   forward), `end` (`in`, `out`), `tensor` (the label), `part` ([i, n]; only where a slice was measured),
   `step` (which forward, from 0), `number` and `parent` (of calls, in the order in which they began),
   `shape`, `dtype`, `norm`, `sum`, `abs_mean`, `min`, `max`, `nonfinite`, `sketch` (base64 of little-endian
   float32) and, where there are no values, `problem`. A number that is not finite is null;
3. the footer: `end` (true), `taps`, `forwards`. A file without it was cut off.

FastVideo's (`fastvideo/hooks/activation_trace.py`): {"module", "tensor", "step", <statistics>} for each
output tensor, without a header; NaN and Infinity are written as Python's `json` does.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

from ditproof_probe.taps import sketches
from ditproof_probe.taps.sketches import Measured
from ditproof_probe.taps.tracing import Row

FORMAT = 1
FASTVIDEO_STATISTICS = ("abs_mean", "sum", "min", "max", "mean", "std", "shape", "dtype")


class TraceWriter:
    """Writes one side's trace; every line is whole as soon as `rows` returns.

    Raises OSError where the file cannot be written. A file that exists is replaced.
    """

    def __init__(self, path: str, side: str, model: Any, **more: object) -> None:
        self._file: IO[str] = open(path, "w", encoding="ascii")  # noqa: SIM115, PTH123
        self._taps = 0
        self._forwards: set[int] = set()
        self._write({**header(side, model), **more})

    def rows(self, rows: Iterable[Row]) -> None:
        """Append the rows of a forward."""
        for row in rows:
            self._taps += 1
            self._forwards.add(row.forward)
            self._write(as_record(row))
        self._file.flush()

    def close(self) -> None:
        """Write the footer."""
        if not self._file.closed:
            self._write({"end": True, "taps": self._taps, "forwards": len(self._forwards)})
            self._file.close()

    def _write(self, record: Mapping[str, object]) -> None:
        self._file.write(json.dumps(record, allow_nan=False) + "\n")


def header(side: str, model: Any) -> dict[str, object]:
    """The first line of our own format."""
    import torch

    module = sys.modules.get(type(model).__module__)
    return {
        "ditproof_trace": FORMAT,
        "side": side,
        "model": type(model).__name__,
        "path": getattr(module, "__file__", None),
        "modules": [
            [name, type(part).__name__, [own for own, _ in part.named_parameters(recurse=False)]]
            for name, part in model.named_modules()
        ],
        "places": [_forward_place(type(part)) for part in model.modules()],
        "sketch": {
            "kind": sketches.VERSION,
            "buckets": sketches.BUCKETS,
            "period": sketches.PERIOD,
            "seed": sketches.SEED,
        },
        "versions": {"python": sys.version.split()[0], "torch": str(torch.__version__)},
    }


def _forward_place(cls: type) -> list[object] | None:
    code = getattr(inspect.unwrap(cls.forward), "__code__", None)  # type: ignore[attr-defined]
    return None if code is None else [code.co_filename, code.co_firstlineno - 1]


def as_record(row: Row) -> dict[str, object]:
    """One row as a line of our own format."""
    found = row.measured
    record: dict[str, object] = {
        "module": row.module,
        "call": row.index,
        "end": row.end,
        "tensor": row.label,
        "step": row.forward,
        "number": row.number,
        "parent": row.parent,
        "shape": list(found.shape),
        "dtype": found.dtype,
        "norm": found.norm,
        "sum": found.sum,
        "abs_mean": found.abs_mean,
        "min": found.minimum,
        "max": found.maximum,
        "nonfinite": found.nonfinite,
        "sketch": found.sketch,
    }
    if row.part is not None:
        record["part"] = list(row.part)
    if found.problem is not None:
        record["problem"] = found.problem
    return record


def fastvideo_records(
    rows: Iterable[Row], statistics: Iterable[str] = FASTVIDEO_STATISTICS
) -> list[dict[str, object]]:
    """The lines that FastVideo's own trace would have: outputs of named modules, in the order in which they
    were left. Raises ValueError for a statistic that it does not know."""
    chosen = tuple(statistics)
    unknown = [name for name in chosen if name not in FASTVIDEO_STATISTICS]
    if unknown:
        raise ValueError(f"FastVideo's trace knows no statistic {unknown[0]!r}, only {FASTVIDEO_STATISTICS}")
    found = []
    for row in rows:
        # FastVideo hooks no root (it has no name) and outputs only, in the order in which calls end.
        if row.end == "out" and row.module and row.part is None and row.measured.problem is None:
            numbers = _fastvideo_statistics(row.measured)
            record: dict[str, object] = {"module": row.module, "tensor": row.label, "step": row.forward}
            found.append({**record, **{name: numbers[name] for name in chosen}})
    return found


def write_fastvideo(path: str, rows: Iterable[Row], statistics: Iterable[str] = FASTVIDEO_STATISTICS) -> None:
    """Append the rows to a file as FastVideo's trace does. Raises OSError."""
    with open(path, "a", encoding="ascii") as file:  # noqa: PTH123
        for record in fastvideo_records(rows, statistics):
            file.write(json.dumps(record) + "\n")


def _fastvideo_statistics(found: Measured) -> dict[str, object]:
    """Its eight statistics out of ours: `std` is the unbiased one, from norm and sum."""
    nan = float("nan")
    count = found.elements
    total = nan if found.sum is None else found.sum
    mean = total / count if count else nan
    spread = nan
    if count > 1 and found.norm is not None:
        spread = (max(found.norm**2 - count * mean**2, 0.0) / (count - 1)) ** 0.5
    return {
        "abs_mean": nan if found.abs_mean is None else found.abs_mean,
        "sum": total,
        "min": nan if found.minimum is None else found.minimum,
        "max": nan if found.maximum is None else found.maximum,
        "mean": mean,
        "std": spread,
        "shape": list(found.shape),
        "dtype": f"torch.{found.dtype}",
    }
