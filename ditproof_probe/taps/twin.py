"""The two models of one comparison, as the instrument needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from ditproof_probe.problems import Inside

Arguments = Mapping[str, Any]
"""Keyword arguments of a model's `forward`."""


class Twin(Protocol):
    """An official model and its port, loaded with the same weights, in `eval` mode.

    `inside`: whose files are the user's. Every method that runs user code raises what that code raises.
    """

    @property
    def official(self) -> torch.nn.Module: ...
    @property
    def port(self) -> torch.nn.Module: ...
    @property
    def cases(self) -> tuple[str, ...]: ...
    @property
    def inside(self) -> Inside: ...

    def inputs(self, case: str, dtype: torch.dtype) -> tuple[Arguments, Arguments]:
        """The arguments of both models for a case: equal values, fresh clones, floats in `dtype`."""
        ...

    def run_official(self, kwargs: Arguments, model: torch.nn.Module | None = None) -> Any:
        """Run the official model without gradients; `model`: a copy of it in another dtype."""
        ...

    def run_native(self, kwargs: Arguments) -> Any:
        """Run the port without gradients, within what FastVideo sets up around a forward."""
        ...

    def outputs(self, official: Any, native: Any) -> tuple[Any, Any]:
        """What is to be compared of both results; the same objects where no recipe says otherwise. Raises
        Stopped for unknown containers."""
        ...

    def to(self, dtype: torch.dtype) -> Twin:
        """Copies of both models in another dtype; this one stays as it is."""
        ...
