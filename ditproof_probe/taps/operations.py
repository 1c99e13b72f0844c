"""Every operation of torch that a model's code calls in one run, with its line, its operands and its values.

Functions are recorded as the models' code calls them (`TorchFunctionMode`): one record for `F.layer_norm`,
`F.scaled_dot_product_attention` or `x.chunk(6, dim=1)`, with the constants that the code gives. Below, at
the dispatcher (`TorchDispatchMode`), the same calls come as several operations each (`linear` as view, t,
addmm, view; attention by one of its kernels or as matmul and softmax), which ones depends on shapes and the
kind of machine, and the constants are those of the kernels. The dispatcher is listened to only for what no
recorded function explains: calls from compiled code (`torch.jit.script`).

Data flow follows objects (`hooks.identity`): the same object after a write is another value, made by the
operation that wrote, also through a view of the same storage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal, TypeAlias

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ditproof_probe.taps.frames import CodeLine, Frames
from ditproof_probe.taps.hooks import Call, Leaf, Under, Values, Watcher, identity
from ditproof_probe.taps.labels import tensors
from ditproof_probe.taps.schemas import Ref

Source: TypeAlias = Literal["op", "pair", "parameter", "buffer", "input", "outside"]

_DEEPEST_STACK = 12


@dataclass
class Origin:
    """Where a value comes from; the fields are those of `analyzers.numeric.records.Value`."""

    source: Source
    maker: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Done:
    """One operation as it was called. `args`, `kwargs`: with `schemas.Ref` for tensors; `operands`: all
    values that went in; `held`: of each of them, the variable that held it in each frame of `stack`."""

    number: int
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    operands: tuple[int, ...]
    outputs: list[int]
    module: str
    stack: tuple[CodeLine, ...]
    held: Mapping[int, tuple[str | None, ...]]


@dataclass
class Log:
    """What one run did. `named`: objects that were there before, by identity of the object."""

    named: Mapping[int, Origin]
    values: Values = field(default_factory=Values)
    origins: dict[int, Origin] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    under: Under | None = None
    busy: bool = False
    frames: Frames = field(default_factory=Frames)
    _writers: dict[int, Done] = field(default_factory=dict)

    def value(self, tensor: torch.Tensor) -> int:
        """The number of what a tensor holds now."""
        number = self.values.number(tensor)
        if number not in self.origins:
            writer = self._writers.get(_storage(tensor))
            if writer is not None:
                writer.outputs.append(number)
                self.origins[number] = Origin("op", writer.number)
            else:
                self.origins[number] = self.named.get(id(tensor)) or Origin("outside")
        return number

    def mark(self, tensor: torch.Tensor, pair: int) -> None:
        """What a tensor holds now is an aligned value."""
        self.origins[self.value(tensor)] = Origin("pair", pair)

    def record(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], start: FrameType
    ) -> Any:
        """Call a function of torch and keep what it did; within one that is kept, only call it."""
        if self.busy:
            return func(*args, **kwargs)
        self.busy = True
        try:
            return self._recorded(func, args, kwargs, start)
        finally:
            self.busy = False

    def _recorded(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], start: FrameType
    ) -> Any:
        given = [tensor for _, tensor in tensors((args, dict(kwargs)))]
        before = {id(tensor): (tensor, identity(tensor), self.value(tensor)) for tensor in given}
        told = _referring(tuple(args), before), {key: _referring(v, before) for key, v in kwargs.items()}
        result = func(*args, **kwargs)
        fresh = [t for _, t in tensors(result) if id(t) not in before or identity(t) != before[id(t)][1]]
        fresh += [t for t, old, _ in before.values() if identity(t) != old and all(t is not f for f in fresh)]
        fresh = [tensor for tensor in fresh if id(tensor) in before or not self._is_old(tensor)]
        if not fresh:
            return result
        found = list(self.frames.model_frames(start))[:_DEEPEST_STACK]
        call = self.under.current if self.under is not None else None
        operation = Done(
            len(self.done),
            func,
            *told,
            tuple(number for _, _, number in before.values()),
            [],
            "" if call is None else call.module,
            tuple(line for line, _ in found),
            _held({number: tensor for tensor, _, number in before.values()}, [frame for _, frame in found]),
        )
        self.done.append(operation)
        for tensor in fresh:
            number = self.values.number(tensor)
            if self.origins.get(number, Origin("outside")).source == "outside":
                self.origins[number] = Origin("op", operation.number)
                operation.outputs.append(number)
        for tensor, old, _ in before.values():
            if identity(tensor) != old:
                self._writers[_storage(tensor)] = operation
        return result

    def _is_old(self, tensor: torch.Tensor) -> bool:
        """Whether a result is an object that was there before, such as a property that is a tensor."""
        return id(tensor) in self.named or self.values.knows(tensor)


class _Functions(TorchFunctionMode):  # type: ignore[misc]
    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.log.record(func, args, kwargs or {}, sys._getframe(1))


class _Kernels(TorchDispatchMode):  # type: ignore[misc]
    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.log.record(func, args, kwargs or {}, sys._getframe(1))


@contextmanager
def logging(log: Log) -> Iterator[None]:
    """Keep what is called while the context lasts. Give the log its `under` before the model runs."""
    with _Kernels(log), _Functions(log):
        yield


@dataclass(frozen=True)
class Unlogged:
    """A watcher whose own operations are not the model's."""

    log: Log
    watcher: Watcher

    def entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        """As the watcher."""
        return self._aside(lambda: self.watcher.entered(call, leaves))

    def left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        """As the watcher."""
        return self._aside(lambda: self.watcher.left(call, leaves))

    def _aside(self, work: Callable[[], Mapping[str, torch.Tensor]]) -> Mapping[str, torch.Tensor]:
        before, self.log.busy = self.log.busy, True
        try:
            return work()
        finally:
            self.log.busy = before


def known_objects(model: torch.nn.Module, kwargs: Mapping[str, Any]) -> dict[int, Origin]:
    """The tensors that are there before a model runs: inputs, parameters, buffers, other attributes."""
    found: dict[int, Origin] = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in ("_parameters", "_buffers", "_modules"):
                continue
            for label, tensor in _plain_tensors(value, attribute):
                found.setdefault(id(tensor), Origin("outside", name=prefix + label))
    for name, tensor in model.named_buffers():
        found[id(tensor)] = Origin("buffer", name=name)
    for name, tensor in model.named_parameters():
        found[id(tensor)] = Origin("parameter", name=name)
    for key, value in kwargs.items():
        for label, tensor in tensors(value, key):
            found[id(tensor)] = Origin("input", name=label)
    return found


def _plain_tensors(value: Any, label: str) -> Iterable[tuple[str, torch.Tensor]]:
    if isinstance(value, (torch.Tensor, tuple, list, dict)):
        return tensors(value, label)
    return ()


def _referring(value: Any, before: Mapping[int, tuple[torch.Tensor, Any, int]]) -> Any:
    """Arguments with tensors replaced by references to their values."""
    if isinstance(value, torch.Tensor):
        return Ref(before[id(value)][2]) if id(value) in before else "<tensor>"
    if isinstance(value, torch.Size):
        return list(value)
    if isinstance(value, (tuple, list)):
        items = [_referring(item, before) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _held(
    operands: Mapping[int, torch.Tensor], frames: Sequence[FrameType]
) -> dict[int, tuple[str | None, ...]]:
    """Which variable of each frame holds each operand: a local name, `name[0]`, or `self.name`."""
    if not operands:
        return {}
    wanted = {id(tensor) for tensor in operands.values()}
    names = [_names(frame, wanted) for frame in frames]
    return {
        number: tuple(of_frame.get(id(tensor)) for of_frame in names) for number, tensor in operands.items()
    }


def _names(frame: FrameType, wanted: set[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    inner: dict[int, str] = {}
    for name, value in frame.f_locals.items():
        if id(value) in wanted:
            found.setdefault(id(value), name)
        elif type(value) in (tuple, list):
            for place, item in enumerate(value):
                if id(item) in wanted:
                    inner.setdefault(id(item), f"{name}[{place}]")
        elif name == "self" and isinstance(value, torch.nn.Module):
            for held in (vars(value), value._parameters, value._buffers):
                for attribute, item in held.items():
                    if id(item) in wanted:
                        inner.setdefault(id(item), f"self.{attribute}")
    return {**inner, **found}


def _storage(tensor: torch.Tensor) -> int:
    """Where the values lie; the object itself for a tensor without such a place."""
    if tensor.layout is not torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage().data_ptr())
