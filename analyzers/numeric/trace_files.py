"""Reads traces: ditproof's own record files, and the lines of FastVideo's activation trace.

What the lines hold is told in `ditproof_probe/taps/trace_file.py` (ours) and in
`fastvideo/hooks/activation_trace.py` (FastVideo's). A file that was cut off is read as far as it goes, and
says so in `notes`; what is no trace at all is an error.
"""

from __future__ import annotations

import array
import base64
import binascii
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from analyzers.numeric.records import End, Side

STATISTICS = ("norm", "sum", "abs_mean", "min", "max", "mean", "std")

TraceFormat: TypeAlias = Literal["ditproof", "fastvideo"]

_SHOWN = 120


class TraceFileError(Exception):
    """A file that cannot be read as a trace. `reason` and `next_step` are for a person."""

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.next_step = next_step


class SketchKind(NamedTuple):
    """How the sketches of a file were made; only those of one kind can be compared."""

    kind: str
    buckets: int
    period: int
    seed: int


class TracedModule(NamedTuple):
    """A module of the traced model. `parameters`: the short names of its own. `path` (absolute) and `line`
    (from 0): where its class defines `forward`, None where the file does not tell."""

    name: str
    cls: str
    parameters: tuple[str, ...]
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class TraceTap:
    """One line: a tensor at an end of a module's call.

    `step`: which forward (ours) or denoise step (FastVideo's, None outside of one). `call`: how many lines
    of the same module, step, end and label came before it in that step. `statistics`: by the names of
    `STATISTICS`; None for a number that is not finite. `nonfinite` and `sketch`: None where the file does
    not tell. `line`: in the file, from 0.
    """

    module: str
    step: int | None
    call: int
    end: End
    label: str
    part: tuple[int, int] | None
    shape: tuple[int, ...] | None
    dtype: str | None
    statistics: Mapping[str, float | None]
    nonfinite: int | None
    sketch: bytes | None
    problem: str | None
    line: int

    @cached_property
    def values(self) -> array.array[float]:
        """The sketch's buckets, float32; empty where there is none."""
        found = array.array("f", self.sketch or b"")
        if sys.byteorder == "big":
            found.byteswap()
        return found

    @property
    def elements(self) -> int | None:
        """How many elements the tensor has, where its shape is known."""
        return None if self.shape is None else math.prod(self.shape)


@dataclass(frozen=True)
class TraceFile:
    """One trace. `modules` is empty where the format does not tell them. `complete`: it has its footer
    (FastVideo's has none, and counts as complete if its last line is whole)."""

    path: str
    format: TraceFormat
    side: Side | None
    model: str | None
    modules: tuple[TracedModule, ...]
    sketch: SketchKind | None
    taps: tuple[TraceTap, ...]
    complete: bool
    notes: tuple[str, ...]


def read_trace(path: Path) -> TraceFile:
    """Read a trace of either format. Raises TraceFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraceFileError(
            f"{path} cannot be read: {error.strerror or error}.", "Name a file that a trace was written to."
        ) from error
    except UnicodeDecodeError as error:
        raise _no_trace(str(path), f"it is not text (byte {error.start})") from error
    return parse_trace(text, str(path))


def parse_trace(text: str, path: str) -> TraceFile:
    """The trace in a text; `path` is for messages. Raises TraceFileError."""
    lines, torn = _objects(text, path)
    if not lines:
        raise _no_trace(path, "it holds no line that is whole" if torn else "it is empty")
    first = lines[0][1]
    if "ditproof_trace" in first:
        return _ours(path, first, lines[1:], torn)
    if "module" in first and "tensor" in first:
        return _fastvideos(path, lines, torn)
    raise _no_trace(path, "its first line is neither a header of ditproof nor a line with module and tensor")


def _objects(text: str, path: str) -> tuple[list[tuple[int, dict[str, Any]]], bool]:
    """(number, object) of each line, and whether the last one was torn off."""
    found: list[tuple[int, dict[str, Any]]] = []
    lines = text.split("\n")
    last = max((number for number, line in enumerate(lines) if line.strip()), default=-1)
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == last and not text.endswith("\n"):
                return found, True
            raise TraceFileError(
                f"Line {number + 1} of {path} is not JSON: {_cut(line)!r}.",
                "Trace again: two processes may have written to one file.",
            ) from error
        if not isinstance(value, dict):
            raise _no_trace(path, f"line {number + 1} holds no object")
        found.append((number, value))
    return found, False


# --------------------------------------------------------------------------- ours


def _ours(
    path: str, header: Mapping[str, Any], lines: list[tuple[int, dict[str, Any]]], torn: bool
) -> TraceFile:
    if header["ditproof_trace"] != 1:
        raise TraceFileError(
            f"{path} has version {header['ditproof_trace']!r} of the format; this ditproof reads version 1.",
            "Trace again with this version, or update ditproof.",
        )
    footer = lines[-1][1] if lines and lines[-1][1].get("end") is True else None
    rows = lines[:-1] if footer is not None else lines
    notes = []
    try:
        sketch = _sketch_kind(header)
        modules = tuple(_modules(header))
        taps = tuple(_tap(number, row, sketch) for number, row in rows)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise TraceFileError(
            f"{path} is a damaged trace: {type(error).__name__}: {error}.", "Trace again."
        ) from error
    if footer is None:
        notes.append(f"{path} was cut off{' in the middle of a line' if torn else ''}: it has no last line.")
    elif footer.get("taps") != len(taps):
        raise TraceFileError(
            f"{path} holds {len(taps)} taps and says that it has {footer.get('taps')}.", "Trace again."
        )
    side = header.get("side")
    return TraceFile(
        path=path,
        format="ditproof",
        side=side if side in ("official", "native") else None,
        model=str(header["model"]) if header.get("model") else None,
        modules=modules,
        sketch=sketch,
        taps=taps,
        complete=footer is not None,
        notes=tuple(notes),
    )


def _modules(header: Mapping[str, Any]) -> Iterator[TracedModule]:
    told = header["modules"]
    places = header.get("places") or [None] * len(told)
    for (name, cls, parameters), place in zip(told, places, strict=True):
        path, line = (None, None) if place is None else (str(place[0]), int(place[1]))
        yield TracedModule(str(name), str(cls), tuple(map(str, parameters)), path, line)


def _sketch_kind(header: Mapping[str, Any]) -> SketchKind:
    told = header["sketch"]
    return SketchKind(str(told["kind"]), int(told["buckets"]), int(told["period"]), int(told["seed"]))


def _tap(number: int, row: Mapping[str, Any], kind: SketchKind) -> TraceTap:
    end = row["end"]
    if end not in ("in", "out"):
        raise ValueError(f"line {number + 1}: an end called {end!r}")
    data = base64.b64decode(row["sketch"], validate=True) if row.get("sketch") is not None else None
    if data is not None and len(data) != 4 * kind.buckets:
        raise ValueError(f"line {number + 1}: a sketch of {len(data)} bytes")
    part = row.get("part")
    return TraceTap(
        module=str(row["module"]),
        step=int(row["step"]),
        call=int(row["call"]),
        end=end,
        label=str(row["tensor"]),
        part=(int(part[0]), int(part[1])) if part is not None else None,
        shape=tuple(int(size) for size in row["shape"]),
        dtype=str(row["dtype"]),
        statistics={name: _number(row[name]) for name in STATISTICS if name in row},
        nonfinite=int(row["nonfinite"]),
        sketch=data,
        problem=row.get("problem"),
        line=number,
    )


# --------------------------------------------------------------------------- FastVideo's


def _fastvideos(path: str, lines: list[tuple[int, dict[str, Any]]], torn: bool) -> TraceFile:
    counts: Counter[tuple[str, int | None, str]] = Counter()
    taps = []
    failed: Counter[str] = Counter()
    for number, row in lines:
        module, label, step = row.get("module"), row.get("tensor"), row.get("step")
        if not isinstance(module, str) or not isinstance(label, str):
            raise _no_trace(path, f"line {number + 1} has no module or no tensor")
        step = step if isinstance(step, int) else None
        key = (module, step, label)
        failed.update(name for name in STATISTICS if isinstance(row.get(name), str))
        dtype = row.get("dtype")
        taps.append(
            TraceTap(
                module=module,
                step=step,
                call=counts[key],
                end="out",
                label=label,
                part=None,
                shape=_shape(row.get("shape")),
                dtype=dtype.removeprefix("torch.") if isinstance(dtype, str) else None,
                statistics={name: _number(row[name]) for name in STATISTICS if _is_number(row.get(name))},
                nonfinite=None,
                sketch=None,
                problem=None,
                line=number,
            )
        )
        counts[key] += 1
    notes = list(_fastvideo_notes(path, failed, counts, torn))
    return TraceFile(path, "fastvideo", None, None, (), None, tuple(taps), not torn, tuple(notes))


def _fastvideo_notes(
    path: str, failed: Mapping[str, int], counts: Mapping[tuple[str, int | None, str], int], torn: bool
) -> Iterator[str]:
    if torn:
        yield f"{path} was cut off in the middle of its last line."
    for name, count in failed.items():
        yield f"{path}: {name} could not be computed for {count} tensors."
    most = max(counts.values(), default=0)
    if most > 1 and any(step is not None for _, step, _ in counts):
        yield (
            f"{path} has up to {most} lines of one module, step and tensor: several calls in a step, or "
            "several runs in one file (FastVideo appends); they are compared in the order of the lines."
        )


def _shape(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(isinstance(size, int) for size in value):
        return None
    return tuple(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not _is_number(value):
        raise ValueError(f"{value!r} is no number")
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None


def steps_of(taps: Iterable[TraceTap]) -> frozenset[int | None]:
    """The steps that the taps were recorded in."""
    return frozenset(tap.step for tap in taps)


def _no_trace(path: str, why: str) -> TraceFileError:
    return TraceFileError(
        f"{path} is no trace: {why}.",
        "Name a file written by ditproof's recorder, or by FastVideo with FASTVIDEO_TRACE_ACTIVATIONS=1.",
    )


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."
