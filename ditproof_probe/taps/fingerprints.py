"""What is said of one tensor, and of the difference of two: float64 throughout, finite values only.

Statistics and differences leave out what is not finite and count it instead, so that no NaN hides the rest
and every number is valid JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Statistics:
    """`norm` (L2), `minimum` and `maximum` of the finite values (0.0 where there are none; of complex ones
    over real and imaginary parts), and how many values are not finite."""

    norm: float
    minimum: float
    maximum: float
    nonfinite: int


@dataclass(frozen=True)
class Difference:
    """Two tensors of one shape. `error`: |value - reference| / |reference| over the places where both are
    finite; where the reference is zero there, relative to the value's own norm. None without such places."""

    error: float | None
    max_abs: float | None
    mean_abs: float | None
    norm: float


def statistics(tensor: torch.Tensor) -> Statistics:
    """The statistics of a tensor of any shape and dtype (quantised and sparse ones: as dense ones)."""
    flat = wide(tensor)
    finite = flat.isfinite()
    nonfinite = flat.numel() - int(finite.sum())
    if nonfinite:
        flat = flat[finite]
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if not flat.numel():
        return Statistics(0.0, 0.0, 0.0, nonfinite)
    low, high = torch.aminmax(flat)
    return Statistics(float(torch.linalg.vector_norm(flat)), float(low), float(high), nonfinite)


def difference(reference: torch.Tensor, value: torch.Tensor) -> Difference:
    """How far a value is from its reference. Raises ValueError for other shapes."""
    if reference.shape != value.shape:
        raise ValueError(f"{tuple(value.shape)} against {tuple(reference.shape)}")
    right, left = wide(reference), wide(value)
    if right.is_complex() != left.is_complex():
        right, left = right.to(torch.complex128), left.to(torch.complex128)
    if not right.numel():
        return Difference(0.0, 0.0, 0.0, 0.0)
    apart = (left - right).abs()
    finite = apart.isfinite()
    if not bool(finite.all()):
        apart, right, left = apart[finite], right[finite], left[finite]
        if not apart.numel():
            return Difference(None, None, None, 0.0)
    norm = float(torch.linalg.vector_norm(right))
    length = float(torch.linalg.vector_norm(apart))
    scale = norm or float(torch.linalg.vector_norm(left))
    return Difference(length / scale if scale else 0.0, float(apart.max()), float(apart.mean()), norm)


def nonfinite(tensor: torch.Tensor) -> int:
    """How many values are NaN or infinite."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    return int((~tensor.isfinite()).sum())


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """The values in a row, in float64 or complex128, on the CPU."""
    tensor = tensor.detach()
    if tensor.is_sparse or tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    kind = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.reshape(-1).cpu().to(kind)
