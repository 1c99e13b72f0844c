"""Random values for every parameter, such that no part of a model is hidden.

As they are initialised, models hide half of themselves: gates and last projections are zero, norms are one,
biases zero. Here everything counts: projections keep the scale of what passes through them, norms scatter
around one, biases and tables are plain to see. Each tensor's values depend on its name and the seed alone,
so that an edit elsewhere leaves them as they are.
"""

from __future__ import annotations

import hashlib

import torch

BIAS = 0.1
"""Standard deviation of biases."""

NORM = 0.2
"""Standard deviation of a norm's weight around one."""

TABLE = 0.5
"""Standard deviation of tables that are added or multiplied as they are: modulation, positions, pads."""


def generator(name: str, seed: int) -> torch.Generator:
    """A source of randomness of its own for a name. On the CPU: the same values on every machine."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Give every parameter new values, in place. Buffers stay: they hold what is computed, not learnt."""
    with torch.no_grad():
        for prefix, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                full = f"{prefix}.{name}" if prefix else name
                parameter.copy_(values(module, name, parameter, generator(full, seed)))


def values(module: torch.nn.Module, name: str, like: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Values for a module's parameter of that name, in float32 and the parameter's shape."""
    drawn = torch.randn(like.shape, generator=random)
    if _is_norm(module) and like.numel() == max(like.shape, default=1):
        return drawn * BIAS if "bias" in name else 1 + NORM * drawn
    if like.dim() <= 1:
        if "bias" in name:
            return drawn * BIAS
        return 1 + NORM * drawn if name in ("weight", "gamma", "scale") else drawn * TABLE
    if name.endswith("weight") or _is_projection(module):
        return drawn if isinstance(module, torch.nn.Embedding) else drawn * _fan_in(like) ** -0.5
    return drawn * TABLE


def _is_norm(module: torch.nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _is_projection(module: torch.nn.Module) -> bool:
    return isinstance(module, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))


def _fan_in(weight: torch.Tensor) -> int:
    """Of a weight [out, in, ...], as `nn.Linear` and convolutions have it."""
    return max(1, int(weight.numel()) // int(weight.shape[0]))
