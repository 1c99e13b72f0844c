"""The header of one safetensors file, read by range: names, dtypes, shapes and places, never the data.

The format (https://github.com/huggingface/safetensors, `safetensors/src/tensor.rs`): eight bytes with the
header's length (little-endian), the header as a JSON object from name to `dtype`, `shape` and
`data_offsets` (bytes, relative to the end of the header), then the data without a gap. What the library
refuses is a problem here, with all names that could still be told.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from analyzers.weights.files.ranges import ByteSource, EndOfData
from analyzers.weights.files.strangers import recognise
from analyzers.weights.state import StateDict, Tensor

LENGTH_BYTES = 8
LARGEST_HEADER = 100_000_000
"""Bytes; `MAX_HEADER_SIZE` of the library, which refuses a longer header."""

BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of one element by dtype code (`Dtype::bitsize` of safetensors 0.8)."""

_METADATA = "__metadata__"
_FIELDS = ("dtype", "shape", "data_offsets")
_LARGEST = 2**64 - 1
_SHOWN = 3

DataState: TypeAlias = Literal["whole", "absent", "cut"]
"""`absent`: there is a header and nothing behind it, as where only the head was downloaded."""

Effect: TypeAlias = Literal["broken", "unknown", "none"]
"""What a problem does to a load by FastVideo: it fails or misses tensors, which of several copies counts is
chance, or it loads the same (what goes by an index does not)."""


@dataclass(frozen=True)
class TensorPlace:
    """Where one tensor of a checkpoint lies.

    `dtype`: the code in the header, which may be one that nobody knows. `shape`: dimensions. `start` and
    `end`: bytes, absolute in `file`; beyond its end where the file is cut or holds a header alone.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class CheckpointProblem:
    """What is wrong with a checkpoint. `message`: one sentence without a full stop, which names the file,
    the tensors and the consequence; `next_step`: another, for what to do. `tensors`: all that it is about.
    `effect`: what it does to loading."""

    path: Path
    message: str
    next_step: str
    tensors: tuple[str, ...] = ()
    effect: Effect = "broken"


@dataclass(frozen=True)
class Header:
    """What the header of one file says.

    `places`: by name, the order in which `safe_open(...).keys()` gives them to a loader. `unplaced`: names
    whose entry cannot be read. `data`: whether the data that the header speaks of is there.
    """

    file: Path
    places: tuple[TensorPlace, ...] = ()
    unplaced: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[CheckpointProblem, ...] = ()
    data: DataState = "whole"


@dataclass(frozen=True)
class Checkpoint:
    """The names of a checkpoint, and where its tensors lie.

    `path`: what was read (the `transformer` folder where a pipeline was named). `tensors`: each name once,
    file by file, in each by name. `bytes_read` of `total_bytes`: what was read of `files`, all files that
    were opened. `config`: the `config.json` beside it. `names_only`: names that an index or a broken
    header gives and no place is known of. `headers_only`: files without their data. `metadata`: the
    `__metadata__` of each file that has one. `notes`: how the path was understood, for a person.
    """

    path: Path
    tensors: tuple[TensorPlace, ...]
    problems: tuple[CheckpointProblem, ...]
    bytes_read: int
    total_bytes: int
    config: Mapping[str, object] | None
    files: tuple[Path, ...]
    names_only: tuple[str, ...] = ()
    headers_only: tuple[Path, ...] = ()
    metadata: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def state_dict(self) -> StateDict:
        """The names with shapes and dtypes, these None for a name without a place."""
        entries = [Tensor(t.name, t.shape, t.dtype) for t in self.tensors]
        entries += [Tensor(name) for name in self.names_only]
        return StateDict(str(self.path), "checkpoint", tuple(entries))


def read_header(path: Path, source: ByteSource) -> Header:
    """The header of a safetensors file, or of a file that holds a header alone (with its eight bytes or
    without). Never raises for what is in the file; `OSError` as reading raises it."""
    try:
        return _Reader(path, source).header()
    except _Unreadable as error:
        return Header(path, problems=(CheckpointProblem(path, error.message, error.next_step),))
    except EndOfData:
        problem = CheckpointProblem(
            path,
            f"'{path.name}' became shorter while it was read: something is writing it",
            "wait until the download or conversion has ended, and try again",
        )
        return Header(path, problems=(problem,))


def shown(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    text = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{text} and {more:,} more" if more > 0 else text


def size_text(count: int) -> str:
    """A number of bytes for a person: exact when small, in decimal units when not."""
    if count < 100_000:
        return f"{count:,} byte{'s' if count != 1 else ''}"
    units = ("kB", "MB", "GB", "TB", "PB", "EB")
    power = min(int(math.log10(count)) // 3, len(units))
    return f"{count / 1000**power:,.1f} {units[power - 1]}"


class _Unreadable(Exception):
    """Nothing can be told of the file."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


_AGAIN = "download or convert it again"


class _Reader:
    """Reads one file."""

    def __init__(self, path: Path, source: ByteSource) -> None:
        self.path = path
        self.source = source
        self.problems: list[CheckpointProblem] = []

    def header(self) -> Header:
        text, base, present = self._text()
        top = self._object(text)
        metadata = self._metadata(top)
        repeated = tuple(n for n in top.repeated if n != _METADATA)
        if repeated:
            self._report(
                f"the header of '{self.path.name}' has {shown(repeated)} more than once: whoever reads it "
                "keeps the last entry and never sees the others",
                "write the file again with every tensor under a name of its own",
                repeated,
            )
        spans, unplaced = self._spans(top)
        spans.sort(key=lambda span: (span.begin, span.end))
        if not unplaced and not repeated:  # else the gap is theirs
            self._check_gaps(spans)
        self._check_overlaps(spans)
        data = self._check_data(spans, present, whole=not unplaced and not repeated)
        places = [
            TensorPlace(s.name, self.path, s.dtype, s.shape, base + s.begin, base + s.end) for s in spans
        ]
        places.sort(key=lambda place: place.name)
        return Header(self.path, tuple(places), unplaced, metadata, tuple(self.problems), data)

    # ------------------------------------------------------------------ the text

    def _text(self) -> tuple[str, int, int | None]:
        """The header, where the data begins, and how many bytes of data there are (None: the file is the
        header's text alone)."""
        name, size = self.path.name, self.source.size
        if size < LENGTH_BYTES:
            what = "is empty" if size == 0 else f"has {size_text(size)}"
            raise _Unreadable(
                f"'{name}' {what}: a safetensors file begins with eight bytes that tell the length of its "
                "header",
                f"the file was cut off or never written: {_AGAIN}",
            )
        first = self.source.read(0, LENGTH_BYTES)
        (length,) = struct.unpack("<Q", first)
        present = size - LENGTH_BYTES
        if length > min(present, LARGEST_HEADER):
            if length > LARGEST_HEADER and b"\0" not in first:  # text, or another format
                start = first + self.source.read(LENGTH_BYTES, min(present, 512))
                if start.lstrip()[:1] == b"{" and size <= LARGEST_HEADER:
                    text = self._decoded(first + self.source.read(LENGTH_BYTES, present))
                    return text, size + LENGTH_BYTES, None
                self._refuse_stranger(start)
            elif length > LARGEST_HEADER:
                self._refuse_stranger(first)
            raise _Unreadable(*self._too_long(length, present))
        if length == 0:
            raise _Unreadable(
                f"'{name}' begins with eight zero bytes where the length of its header should be: the "
                "file's space was reserved and its content never written",
                _AGAIN,
            )
        return self._decoded(self.source.read(LENGTH_BYTES, length)), LENGTH_BYTES + length, present - length

    def _refuse_stranger(self, start: bytes) -> None:
        stranger = recognise(start, self.path)
        if stranger is not None:
            raise _Unreadable(stranger.message, stranger.next_step)

    def _too_long(self, length: int, present: int) -> tuple[str, str]:
        claim = f"'{self.path.name}' claims a header of {size_text(length)}"
        if length <= LARGEST_HEADER:
            return (
                f"{claim} and has {size_text(present)} behind the eight that say so: the file is cut off "
                "inside its header, and no name can be told",
                f"{_AGAIN}, or fetch at least the first {length + LENGTH_BYTES:,} bytes",
            )
        if length <= present:
            return (
                f"{claim}, more than the {size_text(LARGEST_HEADER)} that the safetensors library reads: "
                "it refuses the file",
                "see whether this is a safetensors file; if so, write its tensors into several files",
            )
        return (
            f"{claim} in a file of {size_text(present + LENGTH_BYTES)}: its first eight bytes are no "
            "length, so this is no safetensors file, or a damaged one",
            f"see where the file comes from, and {_AGAIN}",
        )

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Unreadable(
                f"the header of '{self.path.name}' is not UTF-8 (byte {error.start:,} of it): the file is "
                "damaged or no safetensors file",
                _AGAIN,
            ) from None

    def _object(self, text: str) -> _Object:
        name = self.path.name
        try:
            top = json.loads(
                text,
                object_pairs_hook=_Object.of,
                parse_int=_integer,
                parse_float=_number,
                parse_constant=_constant,
            )
            if "\\u" in text:
                json.dumps(top, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:
            raise _Unreadable(
                f"the header of '{name}' is not JSON ({_reason(error)}): the file is damaged or no "
                "safetensors file",
                _AGAIN,
            ) from None
        if not isinstance(top, _Object):
            raise _Unreadable(
                f"the header of '{name}' is a JSON {_kind(top)} and no object from names to tensors",
                f"see what wrote the file, and {_AGAIN}",
            )
        return top

    # ------------------------------------------------------------------ entries

    def _metadata(self, top: _Object) -> Mapping[str, str]:
        found = top.get(_METADATA)
        wrong = None
        if found is not None and not isinstance(found, dict):
            wrong = f"is a JSON {_kind(found)}"
        elif found is not None and not all(isinstance(value, str) for value in found.values()):
            key, value = next((k, v) for k, v in found.items() if not isinstance(v, str))
            wrong = f"has a JSON {_kind(value)} for '{key}'"
        elif _METADATA in top.repeated:
            wrong = "is there more than once"
        if wrong is None:
            return dict(found or {})
        self._report(
            f"'{_METADATA}' of '{self.path.name}' {wrong} where the format has an object of strings: the "
            "safetensors library refuses the file",
            "write the file again with strings as metadata (`json.dumps` what is none)",
        )
        return {}

    def _spans(self, top: _Object) -> tuple[list[_Span], tuple[str, ...]]:
        """The entries that can be read, and the names of the others."""
        spans: list[_Span] = []
        refused: list[tuple[str, str]] = []
        misfits: list[tuple[str, str]] = []
        for name, entry in top.items():
            if name == _METADATA:
                continue
            read = _read_entry(name, entry)
            if isinstance(read, str):
                refused.append((name, read))
                continue
            spans.append(read)
            misfit = _misfit(read)
            if misfit is not None:
                misfits.append((name, misfit))
        for found, next_step in (
            (refused, "see what wrote the file: it does not keep to the format"),
            (misfits, "see what wrote the file, or download it again: shape, dtype and place must agree"),
        ):
            if found:
                name, what = found[0]
                more = (
                    f" ({len(found) - 1:,} more such entries, first '{found[1][0]}')"
                    if len(found) > 1
                    else ""
                )
                self._report(
                    f"the header entry of '{name}' in '{self.path.name}' is wrong: {what}{more}. The "
                    "safetensors library refuses the whole file",
                    next_step,
                    tuple(name for name, _ in found),
                )
        return spans, tuple(sorted(name for name, _ in refused))

    # ------------------------------------------------------------------ places

    def _check_gaps(self, spans: Sequence[_Span]) -> None:
        gaps = []
        reached = 0
        for span in spans:
            if span.begin > reached:
                gaps.append((span, span.begin - reached))
            reached = max(reached, span.end)
        if gaps:
            first, missing = gaps[0]
            more = f" ({len(gaps) - 1:,} more such holes)" if len(gaps) > 1 else ""
            self._report(
                f"before '{first.name}' in '{self.path.name}' lie {size_text(missing)} that belong to no "
                f"tensor{more}: the safetensors library refuses the file",
                "write the file again with `safetensors.torch.save_file`",
                tuple(span.name for span, _ in gaps),
            )

    def _check_overlaps(self, spans: Sequence[_Span]) -> None:
        overlaps = []
        furthest: _Span | None = None
        for span in spans:
            if furthest is not None and span.begin < furthest.end:
                overlaps.append((furthest, span))
            if furthest is None or span.end > furthest.end:
                furthest = span
        if overlaps:
            one, other = overlaps[0]
            more = f" ({len(overlaps) - 1:,} more such pairs)" if len(overlaps) > 1 else ""
            self._report(
                f"'{one.name}' (bytes {one.begin:,} to {one.end:,} of the data) and '{other.name}' "
                f"({other.begin:,} to {other.end:,}) overlap in '{self.path.name}'{more}: the safetensors "
                "library refuses the file, and what reads it otherwise gives one of them the other's numbers",
                "write the file again; tensors that share storage are to be cloned or left out first",
                tuple(dict.fromkeys(span.name for pair in overlaps for span in pair)),
            )

    def _check_data(self, spans: Sequence[_Span], present: int | None, whole: bool) -> DataState:
        expected = max((span.end for span in spans), default=0)
        if present is None or (present == 0 and expected > 0):
            return "absent"
        if expected > present:
            cut = [span for span in spans if span.end > present]
            gone = sum(span.begin >= present for span in cut)
            self._report(
                f"'{self.path.name}' is cut off: its header speaks of {size_text(expected)} of data, "
                f"{size_text(present)} are there, so {shown([s.name for s in cut])} "
                f"{'are' if len(cut) > 1 else 'is'} incomplete ({gone:,} of {len(cut):,} missing entirely)",
                f"the download or conversion did not end: {_AGAIN}",
                tuple(span.name for span in cut),
            )
            return "cut"
        if expected < present and whole:
            self._report(
                f"'{self.path.name}' has {size_text(present - expected)} behind its last tensor: the "
                "safetensors library refuses the file",
                f"{_AGAIN}; something was appended, or a writer of another file used this name",
            )
        return "whole"

    def _report(self, message: str, next_step: str, tensors: tuple[str, ...] = ()) -> None:
        self.problems.append(CheckpointProblem(self.path, message, next_step, tensors))


# ---------------------------------------------------------------------- entries


@dataclass(frozen=True)
class _Span:
    """An entry; `begin` and `end` as in the header, relative to the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _read_entry(name: str, entry: object) -> _Span | str:
    """The entry, or what is wrong with it."""
    if not isinstance(entry, _Object):
        return f"a JSON {_kind(entry)} in place of an object with {', '.join(_FIELDS)}"
    for key in _FIELDS:
        if key not in entry:
            return f"it has no {key}"
        if key in entry.repeated:
            return f"it has {key} more than once"
    dtype, shape, offsets = (entry[key] for key in _FIELDS)
    if not isinstance(dtype, str):
        return f"its dtype is a JSON {_kind(dtype)} and no text"
    dimensions = _counts(shape, "shape")
    if isinstance(dimensions, str):
        return dimensions
    places = _counts(offsets, "data_offsets")
    if isinstance(places, str):
        return places
    if len(places) != 2:
        return f"its data_offsets are {len(places)} numbers and not two, begin and end"
    return _Span(name, dtype, dimensions, places[0], places[1])


def _counts(value: object, key: str) -> tuple[int, ...] | str:
    """The numbers of a list, each from 0 to 2**64 - 1, or what is wrong with it."""
    if not isinstance(value, list):
        return f"its {key} is a JSON {_kind(value)} and no list of numbers"
    for item in value:
        if type(item) is not int:
            return f"its {key} holds a JSON {_kind(item)} where a whole number belongs"
        if item < 0:
            return f"its {key} holds {item}, and no count is negative"
        if item > _LARGEST:
            return f"its {key} holds {item}, which no file reaches"
    return tuple(value)


def _misfit(span: _Span) -> str | None:
    """Why dtype, shape and offsets do not agree; None where they do."""
    if span.end < span.begin:
        return f"its data end at {span.end:,}, before they begin at {span.begin:,}"
    bits = BITS.get(span.dtype)
    if bits is None:
        return f"its dtype '{span.dtype}' is none that safetensors knows"
    shape = f"[{', '.join(map(str, span.shape))}]"
    elements = 1
    for dimension in span.shape:
        elements *= dimension
        if elements > _LARGEST:
            return f"its shape {shape} has more elements than can be counted in 64 bits"
    total = elements * bits
    if total > _LARGEST:
        return f"its shape {shape} as {span.dtype} has more bits than can be counted in 64 bits"
    if total % 8:
        return f"its shape {shape} as {span.dtype} ends within a byte"
    if total // 8 != span.end - span.begin:
        return (
            f"its shape {shape} as {span.dtype} takes {size_text(total // 8)}, and its offsets leave "
            f"{size_text(span.end - span.begin)}"
        )
    return None


# ---------------------------------------------------------------------- JSON as the library reads it


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys it has more than once."""

    repeated: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Object:
        made = cls(pairs)
        if len(made) != len(pairs):
            made.repeated = tuple(_repeated(key for key, _ in pairs))
        return made


def _repeated(keys: Iterator[str]) -> dict[str, None]:
    seen: set[str] = set()
    found: dict[str, None] = {}
    for key in keys:
        if key in seen:
            found[key] = None
        seen.add(key)
    return found


def _integer(text: str) -> int | float:
    # More digits than any offset has: Python refuses thousands of them, and takes long before it does.
    return int(text) if len(text) <= 21 and text != "-0" else _number(text)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number out of range")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "half of a surrogate pair in a text"
    return str(error)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, float):
        return "fraction"
    if isinstance(value, int):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"
