"""What operations of torch mean for a comparison: their names, their constants, and which of them only change
the form of a value.

Names are those of torch's dispatcher (`aten.mul.Tensor`). Two ways of writing one operation get one name:
in place or not, with a bias or without, on a view or on a copy.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from analyzers.numeric.records import Operand, Operation, Value

FORM: Final = frozenset(
    {
        "view",
        "reshape",
        "unsqueeze",
        "squeeze",
        "expand",
        "expand_as",
        "clone",
        "contiguous",
        "alias",
        "detach",
        "flatten",
        "unflatten",
        "lift_fresh",
        "empty_like",
        "view_as",
        "repeat",
        "broadcast_to",
        "view_as_real",
        "view_as_complex",
        "copy",
        "as_strided",
    }
)
"""Operations that keep every value and the order that memory holds them in, or repeat them whole."""

CAST: Final = frozenset({"cast"})

ORDER: Final = frozenset(
    {
        "transpose",
        "permute",
        "t",
        "mT",
        "slice",
        "select",
        "split",
        "unbind",
        "chunk",
        "cat",
        "stack",
        "flip",
        "roll",
        "index",
        "index_select",
        "narrow",
        "gather",
        "repeat_interleave",
        "index_put",
        "slice_scatter",
        "select_scatter",
        "movedim",
        "swapaxes",
        "getitem",
        "setitem",
        "swapdims",
        "hstack",
        "vstack",
    }
)
"""Operations that pick, join or reorder values without computing."""

COMMUTATIVE: Final = frozenset({"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or"})

FRESH: Final = frozenset(
    {
        "zeros",
        "ones",
        "full",
        "arange",
        "linspace",
        "zeros_like",
        "ones_like",
        "full_like",
        "randn",
        "scalar_tensor",
        "tensor",
        "new_zeros",
        "new_ones",
        "new_full",
    }
)
"""Operations whose result depends on no value."""

_HEAVY: Final = frozenset(
    {"linear", "convolution", "scaled_dot_product_attention", "matmul", "bmm", "baddbmm", "einsum"}
)

_SAME_NAME: Final = {
    "_to_copy": "cast",
    "to": "cast",
    "float": "cast",
    "double": "cast",
    "type_as": "cast",
    "_unsafe_view": "view",
    "_reshape_alias": "view",
    "split_with_sizes": "split",
    "tensor_split": "split",
    "unsafe_split": "split",
    "unsafe_chunk": "chunk",
    "addmm": "linear",
    "mm": "linear",
    "divide": "div",
    "true_divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "rms_norm": "rms_norm",
    "_fused_rms_norm": "rms_norm",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "concat": "cat",
    "concatenate": "cat",
}

BLANK: Final = frozenset({"empty", "empty_like", "new_empty", "zeros", "zeros_like", "new_zeros"})
"""Operations that make room for values to be written."""

_NO_MEANING: Final = frozenset(
    {
        "device",
        "layout",
        "pin_memory",
        "memory_format",
        "non_blocking",
        "copy",
        "out",
        "generator",
        "requires_grad",
    }
)


def canonical(operation: Operation) -> str:
    """The operation's name without namespace, overload and the sign of working in place."""
    words = operation.name.split(".")
    name = words[1] if len(words) > 1 and words[0] in ("aten", "prims", "prim") else words[-1]
    if name.startswith("conv") and name[4:5].isdigit():
        return "convolution"
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    if "scaled_dot_product" in name:
        return "scaled_dot_product_attention"
    return _SAME_NAME.get(name, name)


def weight(name: str) -> float:
    """How much it takes to believe that a side has an operation too many or too few."""
    if name in FORM or name in CAST:
        return 0.1
    if name in ORDER:
        return 0.6
    return 5.0 if name in _HEAVY else 1.0


@dataclass(frozen=True)
class Constant:
    """An argument that is no tensor. `place`: its keyword, or its position among all arguments as text."""

    place: str
    text: str


def tensors(operation: Operation) -> tuple[Operand, ...]:
    """The operands that are values, a matrix product's bias last."""
    found = tuple(operand for operand in operation.operands if operand.value is not None)
    if operation.name.split(".")[1:2] == ["addmm"] and len(found) == 3:
        return (found[1], found[2], found[0])
    return found


def constants(operation: Operation) -> tuple[Constant, ...]:
    """The operation's other arguments, without those that choose memory or a device."""
    return tuple(
        Constant(operand.keyword or str(position), operand.constant)
        for position, operand in enumerate(operation.operands)
        if operand.value is None and operand.constant is not None and operand.keyword not in _NO_MEANING
    )


def parsed(text: str) -> object:
    """The constant as Python value; the text itself where it is no literal (`torch.float32`)."""
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value


def equal_constants(one: str, other: str) -> bool:
    """Whether two constants say the same: numbers to a relative 1e-6, lists by item."""
    return one == other or _equal(parsed(one), parsed(other))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or math.isclose(one, other, rel_tol=1e-6)
    return one == other


def _neutral(text: str) -> bool:
    return parsed(text) in (None, False, 0, 0.0, 1, (), "") or text == "[]"


def differing_constants(
    native: Operation,
    official: Operation,
    native_values: Mapping[int, Value],
    official_values: Mapping[int, Value],
) -> tuple[tuple[Constant | None, Constant | None], ...]:
    """Pairs of constants (native, official) that differ between two operations of one name.

    An argument that only one side gives counts where it cannot be the default: attention's own scale is one
    over the root of the head's width; `None`, 0, 1, False and the empty list leave things as they are.
    """
    name = canonical(native)
    ours = _counted_from_the_front(native, native_values)
    theirs = _counted_from_the_front(official, official_values)
    if name == "scaled_dot_product_attention":
        ours = _with_scale(ours, native, native_values)
        theirs = _with_scale(theirs, official, official_values)
    found: list[tuple[Constant | None, Constant | None]] = []
    for place in [*ours, *(place for place in theirs if place not in ours)]:
        one, other = ours.get(place), theirs.get(place)
        if one is not None and other is not None:
            if not equal_constants(one.text, other.text):
                found.append((one, other))
        else:
            given = one or other
            if given is not None and not _neutral(given.text):
                found.append((one, other))
    return tuple(found)


_AXES: Final = frozenset({"dim", "dim0", "dim1", "dims", "start_dim", "end_dim", "normalized_dim"})

_ONLY_MEMORY: Final = frozenset({"output_size"})


def _counted_from_the_front(operation: Operation, values: Mapping[int, Value]) -> dict[str, Constant]:
    """The constants by place, axes without a sign: of three axes the last one is -1 or 2."""
    found = {each.place: each for each in constants(operation) if each.place not in _ONLY_MEMORY}
    first = next((values.get(each.value) for each in operation.operands if each.value is not None), None)
    if first is None:
        return found
    axes = len(first.shape) + (1 if canonical(operation) in ("stack", "unsqueeze") else 0)
    for place in _AXES & found.keys():
        axis = parsed(found[place].text)
        if isinstance(axis, int) and not isinstance(axis, bool) and axis < 0:
            found[place] = Constant(place, str(axis + axes))
        elif isinstance(axis, list) and all(isinstance(each, int) for each in axis):
            found[place] = Constant(place, str([each % axes if axes else each for each in axis]))
    return found


def _with_scale(
    given: Mapping[str, Constant], operation: Operation, values: Mapping[int, Value]
) -> dict[str, Constant]:
    scale = given.get("scale")
    if scale is not None and scale.text != "None":
        return dict(given)
    operands = tensors(operation)
    query = values.get(operands[0].value) if operands and operands[0].value is not None else None
    if query is None or not query.shape or not query.shape[-1]:
        return dict(given)
    return {**given, "scale": Constant("scale", repr(query.shape[-1] ** -0.5))}


def written(operation: Operation, values: Mapping[int, Value]) -> str:
    """The operation as a short text: `layer_norm(hidden_states, [128], eps=1e-06)`."""
    parts = []
    for operand in operation.operands:
        text = operand.constant if operand.value is None else _name(operand, values)
        if text is None or text == "None":
            continue
        parts.append(f"{operand.keyword}={text}" if operand.keyword else text)
    return f"{shown(operation)}({', '.join(parts)})"


def shown(operation: Operation) -> str:
    """The operation's name for a person."""
    words = operation.name.split(".")
    return words[1] if len(words) > 1 and words[0] == "aten" else words[-1]


def _name(operand: Operand, values: Mapping[int, Value]) -> str:
    if operand.variable is not None:
        return operand.variable
    value = values.get(operand.value) if operand.value is not None else None
    if value is not None and value.name:
        return value.name
    if value is not None:
        return f"[{', '.join(map(str, value.shape))}]"
    return "..."
