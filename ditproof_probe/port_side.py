"""The port on the meta device, built by the route of FastVideo's `TransformerLoader`.

That is (`models/loader/component_loader.py`, `models/loader/fsdp_load.py`): a copy of the config takes
the values of `config.json` through `update_model_arch`, which drops what the arch config has no field
for; `update_from_weight_keys` may look at the checkpoint's names; the class is called with `config=` and
`hf_config=` under the pipeline's dtype on the meta device.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from ditproof_probe import fastvideo_side
from ditproof_probe.problems import Inside, Problem, Unbuildable, from_exception, problem, said
from ditproof_probe.state_dicts import entries, parameter_count

DEFAULT_DTYPE = torch.bfloat16
"""`PipelineConfig.dit_precision` (`configs/pipelines/base.py`). A pipeline may say otherwise; which one
serves a port is not asked, since names and shapes do not depend on it."""

_NO_VALUES_OF_A_CONFIG = ("_class_name", "_diffusers_version", "_name_or_path")


@dataclass(frozen=True)
class PortConfig:
    """A configuration as the loader makes it, and the names of `config.json` that it has no field for, with
    their values as text. `hf_config`: what the constructor gets beside it."""

    config: Any
    hf_config: dict[str, Any]
    dropped: list[list[str]]


class RefusedValues(Unbuildable):
    """The config's own code fails on values of the configuration, each of them also by itself. `config`: one
    that has its own values still."""

    def __init__(self, config: Any, values: Mapping[str, Any], error: BaseException) -> None:
        own = config.arch_config
        told = ", ".join(
            f"{key} = {_text(value)} (its own value is {getattr(own, key)!r})"
            for key, value in values.items()
        )
        super().__init__(
            f"{type(own).__name__} does not take {told}: {said(error)}",
            f"Have it take {'such a value' if len(values) == 1 else 'such values'}, or give a configuration "
            "that it takes (--config).",
        )


def find_class(module_name: str, class_name: str) -> type[torch.nn.Module]:
    """Import the port's module; its class. Raises whatever the import raises, and Unbuildable where there is
    no such class."""
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise Unbuildable(
            f"There is no module {error.name} on the disk.", "Save the port's file, or restore it."
        ) from error
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, torch.nn.Module)):
        raise Unbuildable(
            f"{module_name} has no torch module named {class_name}.",
            "Name the port by the class that its file defines.",
        )
    return cls


def configure(
    cls: type[torch.nn.Module],
    module_name: str,
    config: Mapping[str, Any] | None,
    official_names: Sequence[str] | None,
) -> PortConfig:
    """The port's config with the values of a `config.json` (None: its own defaults).

    `official_names`: the names a checkpoint would have, where they are known. Raises whatever the config's
    code raises, RefusedValues where single values are the cause, and Unbuildable where no config class can
    be told.
    """
    made = config_class(cls, module_name)()
    dropped: list[list[str]] = []
    if config is not None:
        values = {key: value for key, value in config.items() if key not in _NO_VALUES_OF_A_CONFIG}
        fields = {field.name for field in dataclasses.fields(made.arch_config)}
        dropped = [
            [key, _text(value)]
            for key, value in values.items()
            if key not in fields and not key.startswith("_")
        ]
        try:
            made.update_model_arch(copy.deepcopy(values))
        except Exception as error:
            refused = _refused(cls, module_name, {key: values[key] for key in values if key in fields})
            if not refused:
                raise
            raise RefusedValues(config_class(cls, module_name)(), refused, error) from error
    look_at_names = getattr(made.arch_config, "update_from_weight_keys", None)
    if callable(look_at_names) and official_names is not None:
        look_at_names(set(official_names))
    return PortConfig(made, {} if config is None else copy.deepcopy(dict(config)), dropped)


def _refused(cls: type[torch.nn.Module], module_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that a fresh config does not take, each given alone."""
    refused = {}
    for key, value in values.items():
        try:
            config_class(cls, module_name)().update_model_arch({key: copy.deepcopy(value)})
        except Exception:  # noqa: BLE001 - whatever it raises, it does not take the value
            refused[key] = value
    return refused


def config_class(cls: type[torch.nn.Module], module_name: str) -> type[Any]:
    """The `DiTConfig` that the constructor is annotated with, else the only one that the model's module
    sees, else the only one of the module of the same name among the configs.

    Raises Unbuildable where that names none or several.
    """
    base: type[Any] = importlib.import_module(f"{fastvideo_side.CONFIGS}.base").DiTConfig
    home = sys.modules[cls.__module__]

    def is_config(value: object) -> bool:
        return isinstance(value, type) and issubclass(value, base) and value is not base

    annotated = _annotation(cls, home)
    if is_config(annotated):
        return annotated  # type: ignore[no-any-return]
    seen = {id(value): value for value in vars(home).values() if is_config(value)}
    if len(seen) == 1:
        return next(iter(seen.values()))  # type: ignore[no-any-return]
    if not seen:
        seen = {id(value): value for value in _of_the_same_name(module_name) if is_config(value)}
    if len(seen) == 1:
        return next(iter(seen.values()))  # type: ignore[no-any-return]
    names = ", ".join(sorted(value.__name__ for value in seen.values()))
    raise Unbuildable(
        f"Which config {cls.__name__} is built from is not clear"
        + (f": {names} are there." if names else ": no subclass of DiTConfig is there."),
        "Annotate the parameter `config` of its constructor with its config class, or import that class in "
        "the model's module.",
    )


def construct(cls: type[torch.nn.Module], config: Any, hf_config: Mapping[str, Any]) -> torch.nn.Module:
    """The class on the meta device under the loader's default dtype. Raises whatever its code raises."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DEFAULT_DTYPE)
    try:
        with torch.device("meta"):
            return cls(config=config, hf_config=hf_config)
    finally:
        torch.set_default_dtype(before)


def describe(
    model: torch.nn.Module, config: Any, ref: str, inside: Inside
) -> tuple[dict[str, Any], list[Problem]]:
    """The port's side of the answer, and what of it could not be told. Raises what `state_dict` raises."""
    cls = type(model)
    path, line = place(cls)
    problems: list[Problem] = []
    side: dict[str, Any] = {
        "source": ref,
        "class": cls.__name__,
        "path": path,
        "line": line,
        "tensors": port_entries(model),
        "config": as_json(_public_fields(config.arch_config)),
        "ignored": [],
        "parameters": parameter_count(model),
    }
    for field, attribute in (
        ("mapping", "param_names_mapping"),
        ("reverse", "reverse_param_names_mapping"),
        ("lora", "lora_param_names_mapping"),
    ):
        try:
            side[field] = rules_of(cls, attribute)
        except Unbuildable as error:
            side[field] = None
            problems.append(
                problem(
                    "port",
                    "state",
                    "MalformedMapping",
                    str(error),
                    path=path,
                    line=line,
                    next_step=error.next_step,
                )
            )
        except Exception as error:  # noqa: BLE001 - a mapping may be any object of the user's
            side[field] = None
            problems.append(from_exception(error, "port", "state", inside))
    return side, problems


def port_entries(model: torch.nn.Module) -> list[list[Any]]:
    """The model's entries, in the dtype that it selects for its parameters where it does."""
    select = getattr(model, "_get_parameter_dtype", None)
    if not callable(select):
        return entries(model)
    buffers = dict(model.named_buffers())

    def dtype_of(name: str) -> torch.dtype:
        return buffers[name].dtype if name in buffers else select(name, DEFAULT_DTYPE)

    return entries(model, dtype_of)


def rules_of(cls: type, attribute: str) -> list[list[Any]] | None:
    """A mapping of the class as [pattern, target, index or None, n or None], in order; None where the class
    has none.

    The class attribute counts, as for the loader (`fsdp_load.py`). Raises Unbuildable where it has
    another form than `get_param_names_mapping` reads.
    """
    value = getattr(cls, attribute, None)
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise Unbuildable(
            f"{cls.__name__}.{attribute} is a {type(value).__name__}.", "Make it a dict of patterns."
        )
    rules: list[list[Any]] = []
    for pattern, target in value.items():
        index = count = None
        if isinstance(target, tuple) and len(target) == 3:
            target, index, count = target
        plain = isinstance(pattern, str) and isinstance(target, str)
        whole = index is None and count is None
        if not plain or not (whole or (type(index) is int and type(count) is int)):
            raise Unbuildable(
                f"{cls.__name__}.{attribute} has a rule {pattern!r}: {value[pattern]!r}.",
                "A rule leads from a pattern to a target, or to (target, index, n) for a part of a merge.",
            )
        rules.append([pattern, target, index, count])
    return rules


def place(cls: type) -> tuple[str | None, int | None]:
    """File and line (from 0) of a class; None where Python does not know."""
    try:
        path = inspect.getsourcefile(cls)
        _, line = inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return None, None
    return path, max(line - 1, 0)


def as_json(value: Any) -> Any:
    """The value as JSON can hold it; what it cannot hold as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((as_json(item) for item in value), key=str)
    return str(value)


def _annotation(cls: type[torch.nn.Module], home: ModuleType) -> Any:
    try:
        parameter = inspect.signature(cls.__init__).parameters.get("config")
    except (TypeError, ValueError):
        return None
    found = None if parameter is None else parameter.annotation
    if not isinstance(found, str):
        return found
    defined_in = next((base for base in cls.__mro__ if "__init__" in vars(base)), cls)
    return vars(sys.modules.get(defined_in.__module__, home)).get(found)


def _of_the_same_name(module_name: str) -> list[Any]:
    """What the module of the family defines under `configs/models/dits`; the family is the first name
    below `models/dits`."""
    _, _, below = module_name.partition(".models.dits.")
    name = f"{fastvideo_side.CONFIGS}.{below.partition('.')[0]}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return []
    return [value for value in vars(module).values() if getattr(value, "__module__", None) == name]


def _public_fields(arch_config: Any) -> dict[str, Any]:
    """The fields of the arch config that a `config.json` could set: no patterns, no conditions of FSDP."""
    return {
        field.name: getattr(arch_config, field.name)
        for field in dataclasses.fields(arch_config)
        if not field.name.startswith("_") and not field.name.endswith("_mapping")
    }


def _text(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
