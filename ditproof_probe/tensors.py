"""What any tensor is asked, alone or in containers. Torch is imported when there is one to ask about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def unreadable(tensor: Any) -> str | None:
    """Why the values of a tensor cannot be read here, or None."""
    import torch

    if tensor.is_meta:
        return "a meta tensor has no values"
    kind = type(tensor).__name__
    if kind in ("FakeTensor", "FunctionalTensor", "DTensor"):
        return f"the values of a {kind} are not measured"
    if tensor.layout != torch.strided:
        return f"the values of a {tensor.layout} tensor are not measured"
    if tensor.is_quantized:
        return "the values of a quantized tensor are not measured"
    return None


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same containers (mappings as dicts, named tuples, lists, tuples) with every tensor changed."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(item, change) for item in value)
    return value


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """The values in memory of their own, without what they were computed from."""
    return tensor.detach().clone()
