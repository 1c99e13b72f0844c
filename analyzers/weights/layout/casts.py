"""Elements of tensors as bytes: what a conversion to another dtype makes of them, exactly.

Bytes are little-endian, as safetensors has them; dtypes are its codes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable

from analyzers.weights.files.headers import BITS

_MANTISSAS = {"BF16": 8, "F16": 11, "F32": 24, "F64": 53}
"""Significant bits of the dtypes that are converted."""

_EXPONENTS = {"F16": 5, "BF16": 8, "F32": 8, "F64": 11}

_LARGEST_F16 = 65520.0
"""From here on a value rounds to infinity in F16."""


def item_size(dtype: str) -> int | None:
    """Bytes of an element; None for a dtype that is smaller than a byte, or not known."""
    bits = BITS.get(dtype)
    return bits // 8 if bits is not None and bits % 8 == 0 else None


def castable(source: str, target: str) -> bool:
    """Whether `cast` converts between the two (F64, F32, F16 and BF16)."""
    return source in _MANTISSAS and target in _MANTISSAS


def narrows(source: str, target: str) -> bool:
    """Whether a conversion between two castable dtypes can change a value."""
    return _MANTISSAS[target] < _MANTISSAS[source] or _EXPONENTS[target] < _EXPONENTS[source]


def cast(data: bytes, source: str, target: str) -> bytes:
    """The elements of `data` as `target` has them: rounded to nearest, ties to even, beyond the largest to
    infinity. As in torch, F64 becomes F32 before it becomes BF16 or F16. Every NaN comes out as one pattern,
    also where the dtype stays."""
    if source == target and source not in _MANTISSAS:
        return data
    if source in ("BF16", "F32") and target in ("BF16", "F32"):
        return _cast_bits(data, source, target)
    values: Iterable[float] = _decoded(data, source)
    if source == "F64" and target != "F64":
        values = [_as_f32(value) for value in values]
    return _encoded(values, target)


def through(data: bytes, dtype: str, via: str | None, target: str) -> bytes:
    """The elements after a stay in `via` (where it is given), as `target`."""
    if via is None:
        return cast(data, dtype, target)
    return cast(cast(data, dtype, via), via, target)


def _cast_bits(data: bytes, source: str, target: str) -> bytes:
    """Between F32 and BF16, whose exponents agree, on the bits alone."""
    bits: Iterable[int]
    if source == "BF16":
        bits = [value << 16 for value in struct.unpack(f"<{len(data) // 2}H", data)]
    else:
        bits = struct.unpack(f"<{len(data) // 4}I", data)
    bits = [0x7FC00000 if value & 0x7FFFFFFF > 0x7F800000 else value for value in bits]
    if target == "F32":
        return struct.pack(f"<{len(bits)}I", *bits)
    rounded = [(value + 0x7FFF + (value >> 16 & 1)) >> 16 for value in bits]
    return struct.pack(f"<{len(rounded)}H", *rounded)


def _decoded(data: bytes, dtype: str) -> list[float]:
    count = len(data) // (BITS[dtype] // 8)
    if dtype == "BF16":
        data, dtype = _cast_bits(data, "BF16", "F32"), "F32"
    return list(struct.unpack(f"<{count}{_FORMATS[dtype]}", data))


_FORMATS = {"F64": "d", "F32": "f", "F16": "e"}


def _encoded(values: Iterable[float], dtype: str) -> bytes:
    if dtype == "BF16":
        return _cast_bits(_encoded(values, "F32"), "F32", "BF16")
    tidy = [math.nan if math.isnan(value) else value for value in values]
    if dtype == "F16":
        tidy = [math.copysign(math.inf, v) if abs(v) >= _LARGEST_F16 else v for v in tidy]
    elif dtype == "F32":
        tidy = [_as_f32(value) for value in tidy]
    return struct.pack(f"<{len(tidy)}{_FORMATS[dtype]}", *tidy)


def _as_f32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
