"""Checkpoints of a few numbers, written byte by byte, and tensors rearranged by plain lists."""

from __future__ import annotations

import itertools
import json
import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from analyzers.weights.state import Tensor
from analyzers.weights.verdicts import ParameterFilling, WeightProof

ITEMS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8, "U8": 1, "F8_E5M2": 1}


@dataclass(frozen=True)
class Values:
    """A tensor as a list of its elements' bytes."""

    dtype: str
    shape: tuple[int, ...]
    items: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        return b"".join(self.items)

    def shaped(self, *shape: int) -> Values:
        assert prod(shape) == len(self.items)
        return Values(self.dtype, shape, self.items)

    def permuted(self, dims: Sequence[int], order: Sequence[int]) -> Values:
        """`reshape(dims).permute(order)`, with the resulting shape."""
        assert prod(dims) == len(self.items)
        strides = [prod(dims[axis + 1 :]) for axis in range(len(dims))]
        items = [
            self.items[sum(index * strides[axis] for index, axis in zip(place, order, strict=True))]
            for place in itertools.product(*(range(dims[axis]) for axis in order))
        ]
        return Values(self.dtype, tuple(dims[axis] for axis in order), tuple(items))

    def chunks(self, count: int) -> list[Values]:
        """`chunk(count, dim=0)`."""
        size, rows = len(self.items) // count, self.shape[0] // count
        return [
            Values(self.dtype, (rows, *self.shape[1:]), self.items[part * size : (part + 1) * size])
            for part in range(count)
        ]


def cat(pieces: Sequence[Values]) -> Values:
    """`torch.cat(pieces, dim=0)`."""
    rows = sum(piece.shape[0] for piece in pieces)
    items = tuple(item for piece in pieces for item in piece.items)
    return Values(pieces[0].dtype, (rows, *pieces[0].shape[1:]), items)


def random_values(seed: int, dtype: str, *shape: int) -> Values:
    """Finite numbers around 1, nearly all of them different."""
    generator = random.Random(f"{seed} {dtype} {shape}")
    count = prod(shape)
    if dtype in ("F32", "F64", "F16"):
        code = {"F32": "f", "F64": "d", "F16": "e"}[dtype]
        items = [struct.pack(f"<{code}", generator.gauss(0, 1)) for _ in range(count)]
    elif dtype == "BF16":
        items = [struct.pack("<f", generator.gauss(0, 1))[2:] for _ in range(count)]
    else:
        items = [generator.randbytes(ITEMS[dtype]) for _ in range(count)]
    return Values(dtype, shape, tuple(items))


def constant(dtype: str, item: bytes, *shape: int) -> Values:
    """The same element everywhere."""
    return Values(dtype, shape, (item,) * prod(shape))


def write_checkpoint(path: Path, tensors: Mapping[str, Values], config: object = None) -> Path:
    """A safetensors file, with a `config.json` beside it where one is given."""
    header: dict[str, object] = {}
    offset = 0
    for name, values in tensors.items():
        size = len(values.items) * ITEMS[values.dtype]
        header[name] = {
            "dtype": values.dtype,
            "shape": list(values.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(values.data)
    if config is not None:
        (path.parent / "config.json").write_text(json.dumps(config))
    return path


def proof_of(fillings: Mapping[str, Sequence[str]]) -> WeightProof:
    """A proof of a mapping that fills each parameter from these sources."""
    return WeightProof(
        verdict="proven",
        because="every name has its place",
        by="names and shapes",
        placements=(),
        fillings=tuple(
            ParameterFilling(Tensor(native), tuple(sources), "proven", "")
            for native, sources in fillings.items()
        ),
        rules=(),
        faults=(),
        interchangeable=(),
        exclusions=(),
        merged=0,
    )
