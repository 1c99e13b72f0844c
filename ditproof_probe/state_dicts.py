"""The entries of a module that lies on the meta device: names, shapes and dtypes, no values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ditproof_probe.problems import Unbuildable

_CODES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
}
"""torch's name -> the code in the header of a safetensors file (`safetensors/src/tensor.rs`)."""

Entry = list[Any]
"""[name, shape, dtype code, flags] and, for a tied one, the first name of the same storage."""


def dtype_code(dtype: torch.dtype) -> str:
    """As safetensors writes it; torch's own name where safetensors has no code."""
    name = str(dtype).removeprefix("torch.")
    return _CODES.get(name, name)


def entries(module: torch.nn.Module, dtype_of: Callable[[str], torch.dtype] | None = None) -> list[Entry]:
    """The module's state dict in its own order.

    `dtype_of`: the dtype that a loader gives an entry, where it does not keep the module's. Flags: `b`
    a persistent buffer, `w` its `weight_loader` may take another shape. What a module keeps
    in its state dict and is no tensor (`_extra_state`) has no shape and is left out.

    Raises Unbuildable where the state dict is none.

    A loader of FastVideo asks a parameter's `weight_loader` only where the shapes differ
    (`load_model_from_full_model_state_dict` of `models/loader/fsdp_load.py`).
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    first: dict[tuple[object, ...], str] = {}
    found: list[Entry] = []
    for name, value in _state_dict(module).items():
        if not isinstance(value, torch.Tensor):
            continue
        parameter = parameters.get(name)
        flags = "b" if parameter is None else ""
        if parameter is not None and takes_another_shape(parameter):
            flags += "w"
        dtype = value.dtype if dtype_of is None else dtype_of(name)
        entry: Entry = [name, list(value.shape), dtype_code(dtype), flags]
        earlier = first.setdefault(_storage(value), name)
        if earlier != name:
            entry.append(earlier)
        found.append(entry)
    return found


def _state_dict(module: torch.nn.Module) -> Mapping[str, Any]:
    """Raises Unbuildable where a `state_dict` of the user's own returns something else."""
    found = module.state_dict(keep_vars=True)
    name = f"{type(module).__name__}.state_dict"
    step = "Have it return a dict from names to tensors, as torch.nn.Module does."
    if not isinstance(found, Mapping):
        raise Unbuildable(f"{name} returns a {type(found).__name__}.", step)
    for key in found:
        if not isinstance(key, str):
            raise Unbuildable(f"{name} has the key {key!r}, which is no text.", step)
    return found


def parameter_count(module: torch.nn.Module) -> int:
    """Elements of all parameters, a tied one once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _storage(value: torch.Tensor) -> tuple[object, ...]:
    """Equal for tensors that are the same elements of the same storage, on the meta device too."""
    try:
        storage = value.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return (id(value),)  # a tensor subclass without a storage of its own
    return (storage, value.storage_offset(), tuple(value.shape), tuple(value.stride()))


def takes_another_shape(parameter: torch.Tensor) -> bool:
    """Whether the parameter's `weight_loader` is one that cuts, stacks or scatters what it is given.

    `ReplicatedLinear`'s does not (`layers/linear.py`: it compares sizes, having made [1] of a scalar), and
    nearly every parameter has that one. Of others nothing is known, so they may.
    """
    loader = getattr(parameter, "weight_loader", None)
    if not callable(loader):
        return False
    owner = getattr(loader, "__self__", None)
    names = [cls.__name__ for cls in type(owner).__mro__ if "weight_loader" in vars(cls)]
    if names and names[0] == "ReplicatedLinear":
        return tuple(parameter.shape) == (1,)
    return True
