"""The official weights in the port, by FastVideo's own functions.

`get_param_names_mapping` and `hf_to_custom_state_dict` (`models/loader/utils.py`) name and merge them;
`load_model_from_full_model_state_dict` (`models/loader/fsdp_load.py`) loads them strictly. Where that would
fail, the names are told, and what can be loaded is: the numbers may still say something.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from ditproof_probe.problems import Unbuildable
from ditproof_probe.state_dicts import takes_another_shape
from ditproof_probe.tiny.randomising import generator, values

_MAY_BE_NEW = ("gate_compress", "proj_l")
"""`ALLOWED_NEW_PARAM_PATTERNS` of FastVideo's load: filled with zeros."""

_WEIGHTS = "fastvideo.models.loader.utils"
_LOAD = "fastvideo.models.loader.fsdp_load"


@dataclass(frozen=True)
class Loaded:
    """`fillings`: [a tensor of the port, [the official ones that it is made of, in order]]. `missing`,
    `unexpected`: what FastVideo's strict load refuses; `shapes`: [name, the port's shape, the shape that
    comes]. `filled`: what checkpoints hold and the official class ignores; it got values of our own."""

    fillings: tuple[tuple[str, tuple[str, ...]], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    filled: tuple[str, ...]


def load(
    port: torch.nn.Module,
    official: Mapping[str, torch.Tensor],
    ignored: Iterable[str],
    dtype: torch.dtype,
    seed: int,
    in_float32: Sequence[str] | None = None,
) -> Loaded:
    """Load the official tensors into a port that lies on the meta device; it lies on the CPU then.

    `ignored`: patterns of what the official class ignores in a checkpoint
    (`_keys_to_ignore_on_load_unexpected`). `dtype`: the loader's default dtype. `in_float32`: official names
    whose values stay in float32, beside what the port selects itself (`_get_parameter_dtype`); None: all
    takes `dtype`.

    Raises what FastVideo's functions raise, and Unbuildable where something stays without values.
    """
    utils: Any = importlib.import_module(_WEIGHTS)
    rename = utils.get_param_names_mapping(port.param_names_mapping)
    wanted = port.state_dict()
    arrived = _arrived(utils, official, rename)
    filled = [
        name
        for name in wanted
        if name not in arrived
        and rename(name) == (name, None, None)
        and any(re.search(pattern, name) for pattern in ignored)
    ]
    sources = {
        name: tensor.detach().clone()
        for name, tensor in chain(official.items(), ((name, _own(port, name, seed)) for name in filled))
    }
    arrived = _arrived(utils, sources, rename)
    missing = [
        name for name in wanted if name not in arrived and not any(part in name for part in _MAY_BE_NEW)
    ]
    unexpected = [name for name in arrived if name not in wanted and not name.endswith("_extra_state")]
    parameters = dict(port.named_parameters())
    shapes = [
        (name, tuple(wanted[name].shape), tuple(tensor.shape))
        for name, tensor in arrived.items()
        if name in wanted
        and wanted[name].shape != tensor.shape
        and not (name in parameters and takes_another_shape(parameters[name]))
    ]
    fillings = _fillings(sources, rename, wanted)
    strict = not (missing or unexpected or shapes)
    if strict:
        given, name_of = sources, rename
    else:
        bad = {name for name, _, _ in shapes} | set(unexpected)
        given = {name: tensor for name, tensor in arrived.items() if name not in bad}
        given |= {name: _own(port, name, seed) for name in [*missing, *(name for name, _, _ in shapes)]}
        name_of = _unchanged
    with _selecting(port, fillings, in_float32):
        _load(port, given, name_of, dtype, strict)
    materialise = getattr(port, "materialize_non_persistent_buffers", None)
    if callable(materialise):
        materialise(device=torch.device("cpu"), dtype=dtype)
    _refuse_empty(port)
    for parameter in port.parameters():
        parameter.requires_grad = False
    return Loaded(fillings, tuple(missing), tuple(unexpected), tuple(shapes), tuple(filled))


def _arrived(utils: Any, sources: Mapping[str, torch.Tensor], rename: Any) -> dict[str, torch.Tensor]:
    named: dict[str, torch.Tensor] = utils.hf_to_custom_state_dict(dict(sources), rename)[0]
    return named


def _load(
    port: torch.nn.Module, tensors: Mapping[str, torch.Tensor], rename: Any, dtype: torch.dtype, strict: bool
) -> None:
    loader: Any = importlib.import_module(_LOAD)
    loader.load_model_from_full_model_state_dict(
        port,
        iter(tensors.items()),
        torch.device("cpu"),
        dtype,
        strict=strict,
        param_names_mapping=rename,
        training_mode=False,
    )


def _unchanged(name: str) -> tuple[str, None, None]:
    return name, None, None


@contextlib.contextmanager
def _selecting(
    port: torch.nn.Module,
    fillings: Iterable[tuple[str, tuple[str, ...]]],
    in_float32: Sequence[str] | None,
) -> Iterator[None]:
    """While it lasts the port selects dtypes as asked, by the method that FastVideo's load asks."""
    own = getattr(port, "_get_parameter_dtype", None)
    held = set(in_float32 or ())
    kept = {name for name, sources in fillings if held.intersection(sources)}

    def select(name: str, default: torch.dtype) -> torch.dtype:
        if in_float32 is None:
            return default
        if name in kept:
            return torch.float32
        return own(name, default) if callable(own) else default

    vars(port)["_get_parameter_dtype"] = select
    try:
        yield
    finally:
        del vars(port)["_get_parameter_dtype"]


def _own(port: torch.nn.Module, name: str, seed: int) -> torch.Tensor:
    """Random values for an entry of the port that nothing fills."""
    prefix, _, own = name.rpartition(".")
    module = port.get_submodule(prefix)
    like = getattr(module, own)
    return values(module, own, like, generator(name, seed)).to(torch.float32)


def _fillings(
    sources: Mapping[str, torch.Tensor],
    rename: Callable[[str], tuple[str, int | None, int | None]],
    wanted: Mapping[str, torch.Tensor],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, dict[int, str]] = {}
    for source in sources:
        target, index, _ = rename(source)
        if target not in wanted:
            continue
        if index is None:
            found[target] = {0: source}  # a later one of the same name replaces the earlier
        else:
            found.setdefault(target, {})[index] = source
    return tuple((name, tuple(parts[i] for i in sorted(parts))) for name, parts in found.items())


def _refuse_empty(port: torch.nn.Module) -> None:
    """As FastVideo's loader does at its end."""
    for name, tensor in chain(port.named_parameters(), port.named_buffers()):
        if tensor.is_meta:
            raise Unbuildable(
                f"{name} has no values after loading: FastVideo's loader raises \"Unexpected param or buffer "
                f'{name} on meta device".',
                "Compute it in materialize_non_persistent_buffers(device, dtype), or when it is first used.",
            )
