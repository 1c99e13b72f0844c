"""Names that a model has only under another setting of its config.

A mapping serves several checkpoints of a family: a rule without a match under one configuration may be
right under another. Each optional field of the arch config is set to its other values, one at a time; a
setting counts where the model still builds and has names that it did not have. Then all that count are
set at once, for names that need two of them.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import time
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ditproof_probe import official_side, port_side
from ditproof_probe.problems import Problem, problem
from ditproof_probe.state_dicts import entries

_SECONDS = 20.0
_OF_THE_BASE = frozenset({"hidden_size", "num_attention_heads", "num_channels_latents"})
"""Sizes that every port has: another value is another model, not an option."""


@dataclass(frozen=True)
class PortBase:
    """The port as it was built, and the names that it has."""

    cls: type[torch.nn.Module]
    made: port_side.PortConfig
    names: list[str]


@dataclass(frozen=True)
class OfficialBase:
    """The official model as it was built, and the names that it has."""

    found: official_side.OfficialClass
    config: dict[str, Any]
    names: list[str]


def try_all(port: PortBase, official: OfficialBase | None) -> tuple[list[dict[str, Any]], list[Problem]]:
    """What each setting adds: `field`, `value` (as text), `tensors` of the port and, where the official
    class has the same setting, `official`; and a problem if time ran out.

    A setting that the model refuses is no finding: most combinations make no sense.
    """
    deadline = time.monotonic() + _SECONDS
    known, known_official = set(port.names), set(official.names if official is not None else ())
    found: list[dict[str, Any]] = []
    counting: dict[str, Any] = {}
    tried, settings = 0, list(_settings(port.made.config.arch_config))
    for field, value in settings:
        if time.monotonic() > deadline:
            text = f"{tried} of {len(settings)} settings of the arch config were tried in {_SECONDS:.0f} s."
            return found, [problem("port", "build", "GatesUnfinished", text)]
        tried += 1
        if field in counting:
            continue  # an earlier value of this field counts already
        item = _item({field: value}, port, official, known, known_official)
        if item is not None:
            found.append(item)
            counting[field] = value
    if len(counting) > 1:
        for item in found:
            known |= {entry[0] for entry in item["tensors"]}
            known_official |= {entry[0] for entry in item["official"] or ()}
        item = _item(counting, port, official, known, known_official)
        if item is not None:
            found.append(item)
    return found, []


def _item(
    setting: dict[str, Any],
    port: PortBase,
    official: OfficialBase | None,
    known: set[str],
    known_official: set[str],
) -> dict[str, Any] | None:
    """What a setting adds to either side, None where it adds nothing."""
    added = [entry for entry in _port_entries(port, setting) if entry[0] not in known]
    added_official = None
    if official is not None:
        entries_there = _official_entries(official, setting)
        if entries_there is not None:
            added_official = [entry for entry in entries_there if entry[0] not in known_official]
    if not added and not added_official:
        return None
    return {
        "field": ", ".join(setting),
        "value": ", ".join(_text(value) for value in setting.values()),
        "tensors": added,
        "official": added_official,
    }


def _port_entries(port: PortBase, setting: dict[str, Any]) -> list[list[Any]]:
    config = copy.deepcopy(port.made.config)
    try:
        config.update_model_arch(dict(setting))
        model = port_side.construct(port.cls, config, {**copy.deepcopy(port.made.hf_config), **setting})
        return port_side.port_entries(model)
    except Exception:  # noqa: BLE001 - a setting that the model refuses is none of its settings
        return []


def _official_entries(official: OfficialBase, setting: dict[str, Any]) -> list[list[Any]] | None:
    """None where the class has no such setting or refuses it."""
    if not set(setting) <= set(official.config):
        return None
    try:
        return entries(official_side.build(official.found, {**official.config, **setting}))
    except Exception:  # noqa: BLE001 - as for the port
        return None


def _settings(arch_config: Any) -> Iterator[tuple[str, Any]]:
    """Other values of the optional fields, those that are most likely to build first."""
    hints = _hints(type(arch_config))
    width = getattr(arch_config, "hidden_size", 0) or 64
    for field in dataclasses.fields(arch_config):
        if field.name.startswith("_") or field.name.endswith("_mapping") or field.name in _OF_THE_BASE:
            continue
        value = getattr(arch_config, field.name)
        for other in _others(value, list(_alternatives(hints.get(field.name))), width):
            yield field.name, other


def _others(value: Any, kinds: list[Any], width: int) -> Iterable[Any]:
    literals = [item for kind in kinds if not isinstance(kind, type) for item in (kind,)]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, enum.Enum):
        return [item for item in type(value) if item is not value]
    if literals:
        return [item for item in literals if item != value]
    if value is None:
        guesses: list[Any] = []
        for kind in kinds:
            if kind is bool:
                guesses.append(True)
            elif kind is int:
                guesses += [width, 64, 1]
            elif kind is float:
                guesses.append(1.0)
        return guesses
    if type(value) is int and value == 0:
        return [1, width]
    return []


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - an annotation may name what is imported for type checkers alone
        return {field.name: field.type for field in dataclasses.fields(cls)}


def _alternatives(hint: Any) -> Iterator[Any]:
    """The classes of a union, and the values of a `Literal`."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        yield from typing.get_args(hint)
    elif origin is typing.Union or origin is types.UnionType:
        for part in typing.get_args(hint):
            yield from _alternatives(part)
    elif isinstance(hint, type) and hint is not type(None):
        yield hint


def _text(value: Any) -> str:
    return value.name if isinstance(value, enum.Enum) else repr(value)
