"""Which tensors went into a module's call and came out of it, each under a label.

Labels as in `analyzers.numeric.records.Tap`. Of inputs: the parameter's name in `forward` (`args[1]` for
what a `*args` took, the keyword itself for what a `**kwargs` took); of outputs: `out`; what lies in a
container goes on with `[0]` (sequences) or `.name` (mappings and dataclasses). So `out[0]` and `out.sample`
are the labels of FastVideo's own trace (`fastvideo/hooks/activation_trace.py`, `_flatten_tensors`), which
passes dataclasses over.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DEEPEST = 8


class InputLabels:
    """The labels of a module's inputs. Signatures are read once a class; one object a recorder."""

    def __init__(self) -> None:
        self._by_class: dict[type, tuple[tuple[str, ...], str]] = {}

    def of(self, module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """(label, tensor) of every tensor that a call gives to a module, in the order given."""
        cls = type(module)
        known = self._by_class.get(cls)
        if known is None:
            known = self._by_class[cls] = _parameters(cls)
        names, starred = known
        found: list[tuple[str, Any]] = []
        for place, value in enumerate(args):
            if value is not None:
                label = names[place] if place < len(names) else f"{starred}[{place - len(names)}]"
                found.extend(tensors(value, label))
        for name, value in kwargs.items():
            if value is not None:
                found.extend(tensors(value, name))
        return found


def tensors(value: Any, label: str = "out") -> Iterator[tuple[str, Any]]:
    """(label, tensor) of every tensor in a value: itself, or in nested sequences, mappings, dataclasses."""
    return _tensors(value, label, _DEEPEST)


def _tensors(value: Any, label: str, deeper: int) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield label, value
        return
    if deeper == 0:
        return
    if isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from _tensors(item, f"{label}[{place}]", deeper - 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{label}.{key}", deeper - 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name, None), f"{label}.{field.name}", deeper - 1)


def renewed(value: Any, news: Iterator[Any]) -> Any:
    """The value with its tensors exchanged: `news` yields, in the order of `tensors`, the new tensor or None
    for one that stays.

    Lists, mappings and dataclasses are changed themselves: whoever shares one with the caller (a cache that a
    module fills) goes on sharing it. Tuples and frozen dataclasses are made anew where something changed.
    """
    return _renewed(value, news, _DEEPEST)


def _renewed(value: Any, news: Iterator[Any], deeper: int) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        new = next(news)
        return value if new is None else new
    if deeper == 0:
        return value
    if isinstance(value, (tuple, list)):
        items = [_renewed(item, news, deeper - 1) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if isinstance(value, list):
            value[:] = items
            return value
        make = getattr(type(value), "_make", type(value))
        return make(items)
    if isinstance(value, Mapping):
        changed = {key: _renewed(item, news, deeper - 1) for key, item in value.items()}
        changed = {key: item for key, item in changed.items() if item is not value[key]}
        if changed and not isinstance(value, MutableMapping):
            return type(value)({**value, **changed})  # type: ignore[call-arg]
        for key, item in changed.items():
            value[key] = item  # type: ignore[index]
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        holder = value
        for field in dataclasses.fields(value):
            old = getattr(value, field.name, None)
            new = _renewed(old, news, deeper - 1)
            if new is old:
                continue
            if _frozen(value) and holder is value:
                holder = copy.copy(value)
            object.__setattr__(holder, field.name, new)
        return holder
    return value


def _frozen(value: Any) -> bool:
    return bool(type(value).__dataclass_params__.frozen)


def _parameters(cls: type) -> tuple[tuple[str, ...], str]:
    """The positional parameters of a class's `forward` without `self`, and the name of its starred one."""
    try:
        parameters = list(inspect.signature(cls.forward).parameters.values())[1:]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return (), "args"  # made by an extension, which tells no signature
    names = tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)
    starred = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    return names, starred[0] if starred else "args"
