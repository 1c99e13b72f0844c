"""Two models that somebody else built and ran, as a twin: a parity test's own, with the inputs it gave them.

What the test set up around a forward is set up again: autocast, and FastVideo's forward context. The models
themselves are only read in their own dtype; every other one is a copy.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ditproof_probe.problems import Inside, Stopped, problem
from ditproof_probe.taps.twin import Arguments
from ditproof_probe.tensors import copied, mapped

CASE = "as in the test"

_CONTEXT = "fastvideo.forward_context"
_AUTOCAST = ("cpu", "cuda")


@dataclass(frozen=True)
class Given:
    """One call of a model as the test made it: its arguments by the parameters' names, tensors copied, and
    what was set up around it. `autocast`: (device type, dtype) of those in force."""

    arguments: Arguments
    autocast: tuple[tuple[str, torch.dtype], ...]
    context: Any

    @classmethod
    def of(cls, model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
        """Raises TypeError where an argument has no name by which it could be given again."""
        signature = inspect.signature(model.forward)
        bound = signature.bind(*args, **kwargs).arguments
        named: dict[str, Any] = {}
        for name, value in bound.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
                if value or kind is inspect.Parameter.POSITIONAL_ONLY:
                    raise TypeError(f"its forward takes {name} by position only")
            else:
                named[name] = value
        return cls(mapped(named, copied), _autocast(), _forward_context())

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """What was in force when the test called the model, without gradients."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            for device, dtype in self.autocast:
                stack.enter_context(torch.autocast(device, dtype))
            module = sys.modules.get(_CONTEXT)
            if module is not None:
                before = _forward_context()
                stack.callback(setattr, module, "_forward_context", before)
                module._forward_context = self.context  # type: ignore[attr-defined]
            yield


@dataclass(frozen=True)
class LiveTwin:
    """Both models of a test, each with the call that the test made of it. Satisfies `taps.twin.Twin`.

    `dtype`: that of the models. `original`: the test's own models, where these are copies in another dtype; a
    copy runs without the autocast that the test made its call under. The one case is `CASE`.
    """

    official: torch.nn.Module
    port: torch.nn.Module
    official_given: Given
    native_given: Given
    inside: Inside
    dtype: torch.dtype
    original: LiveTwin | None = None
    cases: tuple[str, ...] = field(default=(CASE,))

    def inputs(self, case: str, dtype: torch.dtype) -> tuple[Arguments, Arguments]:
        """Fresh clones of what the test gave to both models."""

        def placed(tensor: torch.Tensor) -> torch.Tensor:
            # In the models' own dtype every tensor keeps the one that the test gave it (a float32 timestep).
            kept = not tensor.is_floating_point() or (dtype is self.dtype and self.original is None)
            return tensor.clone() if kept else tensor.to(dtype, copy=True)

        return mapped(self.official_given.arguments, placed), mapped(self.native_given.arguments, placed)

    def run_official(self, kwargs: Arguments, model: torch.nn.Module | None = None) -> Any:
        """A forward of the official model, or of a copy of it. Raises what its code raises."""
        with self._around(self.official_given, wide=model is not None):
            return (self.official if model is None else model)(**kwargs)

    def run_native(self, kwargs: Arguments) -> Any:
        """A forward of the port. Raises what its code raises."""
        with self._around(self.native_given):
            return self.port(**kwargs)

    def outputs(self, official: Any, native: Any) -> tuple[Any, Any]:
        """The results as they are."""
        return official, native

    def to(self, dtype: torch.dtype) -> LiveTwin:
        """The test's own models where they are in that dtype, else copies.

        Raises Stopped where a model cannot be copied.
        """
        original = self if self.original is None else self.original
        if original.dtype is dtype:
            return original
        return replace(
            original,
            official=_converted(original.official, dtype, "official"),
            port=_converted(original.port, dtype, "port"),
            dtype=dtype,
            original=original,
        )

    @contextlib.contextmanager
    def _around(self, given: Given, *, wide: bool = False) -> Iterator[None]:
        if self.original is not None or wide:
            given = replace(given, autocast=())
        with given.around():
            yield


def dtype_of(model: torch.nn.Module) -> torch.dtype:
    """The dtype that most elements of a model's floating parameters have; float32 for a model without any."""
    sizes: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[parameter.dtype] = sizes.get(parameter.dtype, 0) + parameter.numel()
    return max(sizes, key=lambda dtype: sizes[dtype]) if sizes else torch.float32


def state_bytes(model: torch.nn.Module) -> int:
    """What a model's parameters and buffers take."""
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def unmeasurable(model: torch.nn.Module) -> str | None:
    """Why the values of a model cannot be worked with here; None where they can."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        kind = type(tensor.data).__name__ if isinstance(tensor, torch.nn.Parameter) else type(tensor).__name__
        if tensor.is_meta or kind in ("DTensor", "FakeTensor"):
            return f"{name} is a {'meta tensor' if tensor.is_meta else kind}"
        if tensor.is_quantized or tensor.layout is not torch.strided:
            return f"{name} is not a plain tensor"
    return None


def _converted(model: torch.nn.Module, dtype: torch.dtype, side: Any) -> torch.nn.Module:
    try:
        return copy.deepcopy(model).to(dtype).eval()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        text = f"The model cannot be copied into {dtype}: {type(error).__name__}: {error}"
        raise Stopped(problem(side, "trace", "NotCopied", text)) from error


def _autocast() -> tuple[tuple[str, torch.dtype], ...]:
    return tuple(
        (device, torch.get_autocast_dtype(device))
        for device in _AUTOCAST
        if torch.is_autocast_enabled(device)
    )


def _forward_context() -> Any:
    return getattr(sys.modules.get(_CONTEXT), "_forward_context", None)
