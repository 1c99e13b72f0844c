"""The two models of one comparison, as the instrument needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch

from ditproof_probe.problems import Problem

Arguments = Mapping[str, Any]
"""Keyword arguments of a model's `forward`."""


class Twin(Protocol):
    """An official model and its port, loaded with the same weights, in `eval` mode.

    Every method that runs user code raises what that code raises.
    """

    @property
    def official(self) -> torch.nn.Module: ...
    @property
    def port(self) -> torch.nn.Module: ...
    @property
    def cases(self) -> tuple[str, ...]: ...

    def inputs(self, case: str, dtype: torch.dtype) -> tuple[Arguments, Arguments]:
        """The arguments of both models for a case: equal values, fresh clones, floats in `dtype`."""
        ...

    def run_official(self, arguments: Arguments) -> Any:
        """Run the official model without gradients."""
        ...

    def run_native(self, arguments: Arguments) -> Any:
        """Run the port without gradients, within what FastVideo sets up around a forward."""
        ...

    def outputs(self, result: Any, side: Literal["official", "native"]) -> list[tuple[str, torch.Tensor]]:
        """Every tensor of a result, labelled (`out`, `out.sample`). Raises Stopped for unknown containers."""
        ...

    def problem_of(self, error: BaseException, side: Literal["official", "native"]) -> Problem:
        """The record of what a run raised."""
        ...

    def to(self, dtype: torch.dtype) -> Twin:
        """Copies of both models in another dtype; this one stays as it is."""
        ...
