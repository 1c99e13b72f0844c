"""What an operation is called, however the code wrote it: `x * y`, `torch.mul(x, y)` and `x.mul(y)` are one.

A function of torch is named by the aten operator that it stands for, its arguments in the order of that
operator's schema, with the schema's defaults. Where no schema takes the arguments it keeps its own name
(`torch.einsum`) and the arguments as they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

_LONGEST = 200
_ALIASES = {
    "__radd__": "add",
    "__rmul__": "mul",
    "__div__": "div",
    "__truediv__": "div",
    "__itruediv__": "div_",
    "__idiv__": "div_",
    "__mod__": "remainder",
    "__floordiv__": "floor_divide",
    "__invert__": "bitwise_not",
    "__and__": "bitwise_and",
    "__or__": "bitwise_or",
    "__xor__": "bitwise_xor",
    "__abs__": "abs",
    "T": "numpy_T",
    "mT": "mT",
    "absolute": "abs",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "subtract": "sub",
    "negative": "neg",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
}
_CASTS = {
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "int": torch.int32,
    "long": torch.int64,
    "bool": torch.bool,
    "cfloat": torch.complex64,
    "cdouble": torch.complex128,
}
_SWAPPED = {"__rpow__": "pow", "__rmatmul__": "matmul", "__rtruediv__": "div", "__rdiv__": "div"}
_UNIMPORTANT = ("inplace", "_stacklevel", "memory_format")


class Ref(NamedTuple):
    """Stands for a tensor among recorded arguments."""

    value: int


@dataclass(frozen=True)
class Argument:
    """One argument: a value, or a constant as text. `keyword`: None for the first tensors of the schema."""

    value: int | None
    constant: str | None
    keyword: str | None


@dataclass
class Schemas:
    """Names operations. Schemas are asked of torch once a name."""

    _known: dict[str, list[Any]] = field(default_factory=dict)

    def named(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[str, tuple[Argument, ...]]:
        """The name and the arguments; tensors among them are `Ref`s."""
        if isinstance(func, torch._ops.OpOverload):
            return str(func), self._bound(func._schema, args, kwargs) or _as_given(args, kwargs)
        name = _plain_name(func)
        if name in ("__getitem__", "__setitem__"):
            return f"Tensor.{name.strip('_')}", _indexed(args)
        if name in _SWAPPED and len(args) == 2:
            name, args = _SWAPPED[name], (args[1], args[0])
        elif name in _CASTS and len(args) == 1:
            name, args = "to", (args[0], _CASTS[name])
        else:
            name = _ALIASES.get(name, name)
        if name.startswith("__") and name.endswith("__"):
            name = name[2:-2]
            if name.startswith("i") and self._of(f"{name[1:]}_"):
                name = f"{name[1:]}_"
        for given in _spellings(args, kwargs):
            for schema in self._of(name):
                bound = self._bound(schema, *given)
                if bound is not None:
                    return f"aten.{name}.{schema.overload_name or 'default'}", bound
        return f"torch.{name}", _as_given(args, kwargs)

    def _of(self, name: str) -> list[Any]:
        if name not in self._known:
            found = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
            self._known[name] = sorted(found, key=lambda schema: len(schema.arguments))
        return self._known[name]

    def _bound(
        self, schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Argument, ...] | None:
        """The arguments in the schema's order, with its defaults; None where it does not take them."""
        parameters = list(schema.arguments)
        positional = [parameter for parameter in parameters if not parameter.kwarg_only]
        if len(args) > len(positional):
            return None
        given = dict(zip((parameter.name for parameter in positional), args, strict=False))
        for key, value in kwargs.items():
            key = _RENAMED.get(key, key)
            if key in given and key != "self":
                return None
            given[key] = value
        if "input" in given and parameters and parameters[0].name == "self" and "self" not in given:
            given["self"] = given.pop("input")
        if given.keys() - {parameter.name for parameter in parameters}:
            return None
        bound: list[Argument] = []
        for place, parameter in enumerate(parameters):
            if parameter.name in given:
                value = given[parameter.name]
                if not _fits(value, str(parameter.real_type)):
                    return None
            elif parameter.has_default_value():
                value = parameter.default_value
            elif parameter.name in _IMPLIED:
                continue
            else:
                return None
            required = not parameter.has_default_value() and not parameter.kwarg_only
            keyword = None if required and (place == 0 or isinstance(value, Ref)) else parameter.name
            bound.extend(_arguments(value, keyword))
        return tuple(bound)


_RENAMED = {"axis": "dim", "keepdims": "keepdim"}
_IMPLIED = ("non_blocking", "copy", "is_causal", "enable_gqa", "is_causal", "dropout_p", "inplace")
"""Parameters that some of torch's schemas have without a default, though Python's functions have one."""


def _plain_name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", None) or str(func)
    if name == "__get__":  # a property of tensors: `x.T`
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    return str(name)


def _spellings(
    args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Sequence[Any], Mapping[str, Any]]]:
    """The arguments as given; with numbers in a row as one list (`x.view(2, 3)`); without what only says how
    to compute."""
    yield args, kwargs
    if len(args) > 1 and all(isinstance(item, int) for item in args[1:]):
        yield (args[0], list(args[1:])), kwargs
    fewer = {key: value for key, value in kwargs.items() if key not in _UNIMPORTANT}
    if len(fewer) != len(kwargs):
        yield args, fewer


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("Optional["):
        return value is None or _fits(value, kind[len("Optional[") : -1])
    if kind.startswith("List["):
        inner = kind[len("List[") : -1]
        if isinstance(value, (list, tuple, torch.Size)):
            return all(_fits(item, inner) for item in value)
        return inner in ("int", "SymInt") and isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, Ref):
        return kind == "Tensor"
    if kind in ("int", "SymInt"):
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float, complex))
    known = {
        "bool": bool,
        "str": str,
        "ScalarType": torch.dtype,
        "Device": (torch.device, str),
        "MemoryFormat": torch.memory_format,
        "Layout": torch.layout,
    }.get(kind)
    return known is not None and isinstance(value, known)


def _arguments(value: Any, keyword: str | None) -> Iterator[Argument]:
    """One argument; of a list with tensors in it each item by itself."""
    if isinstance(value, Ref):
        yield Argument(value.value, None, keyword)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Ref) for item in value):
        for item in value:
            yield from _arguments(item, keyword)
    else:
        yield Argument(None, text(value), keyword)


def _as_given(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Argument, ...]:
    found = [argument for value in args for argument in _arguments(value, None)]
    found += [argument for key, value in kwargs.items() for argument in _arguments(value, key)]
    return tuple(found)


def _indexed(args: Sequence[Any]) -> tuple[Argument, ...]:
    """`x[index]` and `x[index] = value`: the index as one text, tensors in it as values of their own."""
    target, index, *rest = args
    items = index if isinstance(index, tuple) else (index,)
    found = [*_arguments(target, None), Argument(None, ", ".join(map(_index_text, items)), "index")]
    found += [Argument(item.value, None, "index") for item in items if isinstance(item, Ref)]
    for value in rest:
        found += _arguments(value, "value")
    return tuple(found)


def _index_text(item: Any) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, Ref):
        return "<tensor>"
    if isinstance(item, slice):
        start, stop = ("" if edge is None else text(edge) for edge in (item.start, item.stop))
        return f"{start}:{stop}" + (f":{text(item.step)}" if item.step is not None else "")
    return text(item)


def text(value: Any) -> str:
    """A constant as one writes it; a long one is cut."""
    if isinstance(value, torch.Size):
        value = list(value)
    elif isinstance(value, torch.device):
        value = str(value)
    elif isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        value = list(value)
    try:
        told = repr(value)
    except Exception as error:  # noqa: BLE001 - an object of the user's, with a text of the user's
        told = f"<{type(value).__name__}, whose text cannot be had ({type(error).__name__})>"
    return told if len(told) <= _LONGEST else told[: _LONGEST - 3] + "..."
