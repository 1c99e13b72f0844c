"""Every call of a model's modules in one run: who called whom, what went in and came out.

Hooks are set on each module of the model, not globally: a global pre-hook is not shown keyword arguments
(`torch.nn.modules.module.register_module_forward_pre_hook`), and modules that belong to neither model stay
out. A call that goes around the hooks (`module.forward(x)`) is not seen; what it computes belongs to the call
around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import torch

from ditproof_probe.taps.frames import CodeLine, Frames, caller
from ditproof_probe.taps.labels import InputLabels, renewed, tensors

End: TypeAlias = Literal["in", "out"]
Leaf: TypeAlias = "tuple[str, torch.Tensor]"


@dataclass(frozen=True)
class Address:
    """One tap: which module's which call, which end, which label."""

    module: str
    index: int
    end: End
    label: str


@dataclass(frozen=True)
class Call:
    """One call as it began. `number`: in the order of beginnings; `index`: how many calls of the module came
    before; `parent`: the call that it happened in; `site`: the line of the models' code that made it."""

    number: int
    module: str
    index: int
    parent: int | None
    site: CodeLine | None


class Watcher(Protocol):
    """What happens at both ends of a call. Each method may answer with new tensors, by label."""

    def entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]: ...

    def left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]: ...


class Under(Protocol):
    """Says which call is running."""

    @property
    def current(self) -> Call | None: ...


@contextmanager
def watching(model: torch.nn.Module, watcher: Watcher) -> Iterator[Under]:
    """Show every call of the model's modules to the watcher while the context lasts.

    A call that ends in an exception is shown without outputs.
    """
    watch = _Watch(watcher)
    with ExitStack() as handles:
        for name, module in model.named_modules():
            watch.names[id(module)] = name
            before = module.register_forward_pre_hook(watch.enter, with_kwargs=True, prepend=True)
            handles.callback(before.remove)
            after = module.register_forward_hook(watch.leave, with_kwargs=True, always_call=True)
            handles.callback(after.remove)
        yield watch


@dataclass
class _Watch:
    watcher: Watcher
    names: dict[int, str] = field(default_factory=dict)
    running: list[Call] = field(default_factory=list)
    calls: int = 0
    indices: Counter[str] = field(default_factory=Counter)
    labels: InputLabels = field(default_factory=InputLabels)
    frames: Frames = field(default_factory=Frames)

    @property
    def current(self) -> Call | None:
        return self.running[-1] if self.running else None

    def enter(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        name = self.names[id(module)]
        parent = self.running[-1].number if self.running else None
        site = self.frames.innermost(caller())
        call = Call(self.calls, name, self.indices[name], parent, site)
        self.calls += 1
        self.indices[name] += 1
        self.running.append(call)
        leaves = self.labels.of(module, args, kwargs)
        new = self.watcher.entered(call, leaves)
        if not new:
            return None
        news = (new.get(label) for label, _ in leaves)
        return renewed(args, news), {key: renewed(value, news) for key, value in kwargs.items()}

    def leave(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        leaves = list(tensors(result))
        new = self.watcher.left(self.running[-1], leaves)
        self.running.pop()
        if not new:
            return None
        return renewed(result, (new.get(label) for label, _ in leaves))


class Held(NamedTuple):
    """A tap's value: equal numbers are the same object with the same contents."""

    label: str
    value: int


@dataclass
class Values:
    """The tensors of one run, each as it was when it was seen first.

    An object that was written to in between is another value: torch counts the writes (`_version`, shared by
    views of one storage). Writes through `.data` are not counted. Objects are kept alive, so that no other
    takes over their identity.
    """

    copies: list[torch.Tensor] = field(default_factory=list)
    _numbers: dict[tuple[int, int], int] = field(default_factory=dict)
    _alive: list[torch.Tensor] = field(default_factory=list)

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether what the tensor holds now was seen before."""
        return identity(tensor) in self._numbers

    def number(self, tensor: torch.Tensor) -> int:
        """The number of what the tensor holds now; a new one is copied."""
        key = identity(tensor)
        known = self._numbers.get(key)
        if known is not None and not tensor.is_inference():
            return known
        if known is not None and torch.equal(self.copies[known], tensor.detach()):
            return known  # writes to tensors of inference mode are not counted
        number = self._numbers[key] = len(self.copies)
        self._alive.append(tensor)
        self.copies.append(copied(tensor))
        return number


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that shares nothing and carries no gradient."""
    return tensor.detach().clone()


def identity(tensor: torch.Tensor) -> tuple[int, int]:
    """Which object, and after how many writes (0 in inference mode, which does not count)."""
    return id(tensor), 0 if tensor.is_inference() else tensor._version


@dataclass(frozen=True)
class Recorded:
    """A call with the values at its ends; `outputs` is filled when it ends."""

    call: Call
    inputs: tuple[Held, ...]
    outputs: list[Held] = field(default_factory=list)


@dataclass
class Recorder:
    """A watcher that changes nothing and keeps everything."""

    values: Values = field(default_factory=Values)
    calls: list[Recorded] = field(default_factory=list)

    def entered(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        self.calls.append(Recorded(call, self._held(leaves)))
        return {}

    def left(self, call: Call, leaves: Sequence[Leaf]) -> Mapping[str, torch.Tensor]:
        self.calls[call.number].outputs.extend(self._held(leaves))
        return {}

    def _held(self, leaves: Sequence[Leaf]) -> tuple[Held, ...]:
        return tuple(Held(label, self.values.number(tensor)) for label, tensor in leaves)

    def taps(self) -> dict[Address, torch.Tensor]:
        """Every tap's value by its address."""
        return {address: self.values.copies[number] for address, number in self.numbers().items()}

    def numbers(self) -> dict[Address, int]:
        """The number of every tap's value by its address."""
        found: dict[Address, int] = {}
        for recorded in self.calls:
            name, index = recorded.call.module, recorded.call.index
            for held in recorded.inputs:
                found[Address(name, index, "in", held.label)] = held.value
            for held in recorded.outputs:
                found[Address(name, index, "out", held.label)] = held.value
        return found
