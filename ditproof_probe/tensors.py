"""What any tensor is asked, alone or in containers. Torch is imported when there is one to ask about."""

from __future__ import annotations

from typing import Any


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
