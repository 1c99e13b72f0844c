"""Records every module call of one model: what goes in and what comes out, measured and not kept.

Hooks are put on the model's modules by `Tracer.attach` and taken off by `detach`; without them a forward runs
as it always did. A tensor that is met again in the same forward, unchanged, is measured once: most inputs are
the output of the module before. All results of a forward are read from the device together, at its end.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ditproof_probe.taps.labels import InputLabels, tensors
from ditproof_probe.taps.sketches import Measured, Sketcher, Slot


@dataclass(frozen=True)
class Row:
    """One tensor at one end of a module's call.

    `forward`: which call of the model, from 0. `number`: the order in which the calls of this forward began;
    `parent`: the number of the call around it; `index`: how many calls of this module came before in this
    forward. `end`: `in` or `out`. `part`: (i, n) where only the i-th of n equal slices along the last axis
    was measured, so that it can be held against one of the projections that were merged.
    """

    forward: int
    number: int
    parent: int | None
    module: str
    index: int
    end: str
    label: str
    part: tuple[int, int] | None
    measured: Measured


@dataclass
class _Call:
    """A call that is under way."""

    number: int
    parent: int | None
    module: str
    index: int


class Tracer:
    """Records the forwards of one model. It does not keep the model alive.

    `parts`: of these modules' outputs each of the n slices is measured too. `deliver` is called at the end of
    each forward with its rows; at most `limit` forwards are recorded (None: all).
    """

    def __init__(
        self,
        model: Any,
        deliver: Callable[[list[Row]], None],
        *,
        sketcher: Sketcher | None = None,
        parts: Mapping[str, int] | None = None,
        limit: int | None = None,
    ) -> None:
        self.forwards = 0
        self._modules = {name: weakref.ref(module) for name, module in model.named_modules()}
        self._deliver = deliver
        self._sketcher = sketcher or Sketcher()
        self._parts = parts or {}
        self._limit = limit
        self._labels = InputLabels()
        self._handles: list[Any] = []
        self._active = False
        self._forget()

    def attach(self) -> None:
        """Put the hooks on. Modules that are added to the model later are not seen."""
        for name, held in self._modules.items():
            module = held()
            if module is None:
                continue
            self._handles.append(module.register_forward_pre_hook(self._before(name), with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._after(name)))

    def detach(self) -> None:
        """Take the hooks off; a forward that is under way is not delivered."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._active = False
        self._forget()

    def _forget(self) -> None:
        self._stack: list[_Call] = []
        self._counts: dict[str, int] = {}
        self._began = 0
        self._met: dict[int, tuple[Any, int, int]] = {}
        self._slots: list[Slot] = []
        self._places: list[tuple[_Call, str, str, tuple[int, int] | None, int]] = []

    def _before(self, name: str) -> Callable[..., None]:
        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name == "":
                self._begin()
            if not self._active:
                return
            parent = self._stack[-1].number if self._stack else None
            index = self._counts.get(name, 0)
            self._counts[name] = index + 1
            call = _Call(self._began, parent, name, index)
            self._began += 1
            self._stack.append(call)
            for label, tensor in self._labels.of(module, args, kwargs):
                self._note(call, "in", label, tensor)

        return before

    def _after(self, name: str) -> Callable[..., None]:
        def after(_module: Any, _args: Any, output: Any) -> None:
            if not self._active:
                return
            # A call that ended in an exception, which was caught further out, has left itself on the stack.
            while self._stack and self._stack[-1].module != name:
                self._stack.pop()
            if not self._stack:
                return
            call = self._stack.pop()
            for label, tensor in tensors(output):
                self._note(call, "out", label, tensor)
                count = self._parts.get(name)
                if count is not None and tensor.dim() and tensor.shape[-1] % count == 0:
                    for place, piece in enumerate(tensor.chunk(count, -1)):
                        self._note(call, "out", label, piece, (place, count))
            if name == "" and not self._stack:
                self._end()

        return after

    def _begin(self) -> None:
        """A new forward; what an earlier one left that ended in an exception is dropped."""
        if self._slots:
            self._sketcher.collect([])
        self._forget()
        self._active = self._limit is None or self.forwards < self._limit

    def _end(self) -> None:
        measured = self._sketcher.collect(self._slots)
        rows = [
            Row(
                self.forwards,
                call.number,
                call.parent,
                call.module,
                call.index,
                end,
                label,
                part,
                measured[at],
            )
            for call, end, label, part, at in self._places
        ]
        self.forwards += 1
        self._active = False
        self._forget()
        self._deliver(rows)

    def _note(
        self, call: _Call, end: str, label: str, tensor: Any, part: tuple[int, int] | None = None
    ) -> None:
        self._places.append((call, end, label, part, self._slot(tensor)))

    def _slot(self, tensor: Any) -> int:
        """Where the results of a tensor will be; of one that was met before and is unchanged, the same."""
        if tensor.is_inference():
            return self._measure(tensor)  # it does not tell whether it was written to
        known = self._met.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == tensor._version:
            return known[2]
        at = self._measure(tensor)
        self._met[id(tensor)] = (weakref.ref(tensor), tensor._version, at)
        return at

    def _measure(self, tensor: Any) -> int:
        import torch

        with torch.no_grad():
            self._slots.append(self._sketcher.add(tensor))
        return len(self._slots) - 1
