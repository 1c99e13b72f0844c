"""Safetensors files as tests need them: sound ones, and broken in one place."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from analyzers.weights.files.headers import BITS


def entries(tensors: Mapping[str, tuple[str, Sequence[int]]]) -> dict[str, dict[str, object]]:
    """Header entries, one behind the other, by name: dtype and shape."""
    found: dict[str, dict[str, object]] = {}
    at = 0
    for name, (dtype, shape) in tensors.items():
        bits = BITS[dtype]
        for dimension in shape:
            bits *= dimension
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + bits // 8]}
        at += bits // 8
    return found


def header_bytes(header: object) -> bytes:
    """The length and the JSON text; a text or bytes are taken as they are."""
    raw = header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else None
    if raw is None:
        raw = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw)) + raw


def write_file(path: Path, header: object, data: int | bytes = 0) -> Path:
    """A file of a header and data; a number of bytes is a hole in the file (zeros that take no room)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = header_bytes(header)
    if isinstance(data, bytes):
        path.write_bytes(content + data)
    else:
        path.write_bytes(content)
        os.truncate(path, len(content) + data)
    return path


def write_tensors(path: Path, tensors: Mapping[str, tuple[str, Sequence[int]]]) -> Path:
    """A sound file whose data are zeros."""
    header = entries(tensors)
    ends = [entry["data_offsets"][1] for entry in header.values()]  # type: ignore[index]
    return write_file(path, header, max(ends, default=0))
