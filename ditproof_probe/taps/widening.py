"""Running a model in float64 although its code asks for float32 here and there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}
_CASTS = {torch.Tensor.float: torch.Tensor.double, torch.Tensor.cfloat: torch.Tensor.cdouble}


class Widened(TorchFunctionMode):  # type: ignore[misc]
    """While active, every request for float32 is one for float64 (complex64: complex128).

    Models cast to float32 for accuracy (norms, timesteps, RoPE). In a float64 run such a cast would round as
    the float32 run does, and hide just the rounding that is to be measured.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        func = _CASTS.get(func, func)
        widened = {key: _wider(value) for key, value in (kwargs or {}).items()}
        return func(*map(_wider, args), **widened)


def _wider(value: Any) -> Any:
    return _WIDER.get(value, value) if isinstance(value, torch.dtype) else value
