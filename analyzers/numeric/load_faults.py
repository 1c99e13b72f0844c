"""What the strict load of the weights would have refused, as places of a numeric verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.module_names import Stacks, parent_of
from analyzers.numeric.records import Address, Built, Pair
from analyzers.numeric.spots import built_at, forward_of
from analyzers.numeric.verdicts import Divergence, Spot

LOADED = -1
"""The number of a pair that is no aligned value: the load told the fault, before anything was computed."""


@dataclass(frozen=True)
class _Fault:
    """Parameters of one module, in every block: `lacking` them, or having them for nothing."""

    module: str
    tensors: tuple[str, ...]
    lacking: bool
    modules: tuple[str, ...]


def load_divergences(built: Built, alignment: Alignment, found: Sequence[Divergence]) -> list[Divergence]:
    """The divergences, those of modules that did not load right first told by that.

    A module that the numbers show as wrong inside keeps its numbers; the sentence and the place become those
    of the load, which knows the cause.
    """
    result = list(found)
    partners = {pair.native.module: pair.official.module for pair in alignment.pairs}
    for fault in _faults(built):
        known = next(
            (d for d in result if d.kind == "inside" and d.pair.native.module in fault.modules), None
        )
        text = _sentence(fault)
        native = _spot(built, fault.module)
        if known is not None:
            result[result.index(known)] = replace(known, message=text, native=native)
            continue
        partner = partners.get(fault.module)
        official = built.official_by_name.get(partner) if partner is not None else None
        result.append(
            Divergence(
                kind="inside",
                pair=Pair(
                    LOADED,
                    Address(partner or "", 0, "out", "out"),
                    Address(fault.module, 0, "out", "out"),
                    None,
                    "weights",
                ),
                native=native,
                official=Spot("", None, None, None)
                if official is None
                else built_at(built.official, official),
                error=None,
                floor=None,
                after=(),
                message=text,
                calls=len(fault.modules),
            )
        )
    return result


def _faults(built: Built) -> Iterator[_Fault]:
    stacks = Stacks.of(built.native)
    for names, lacking in ((built.unexpected, True), (built.missing, False)):
        groups: dict[str, dict[str, list[str]]] = {}
        for name in names:
            module = parent_of(name)
            own = groups.setdefault(stacks.generic(module), {})
            own.setdefault(module, []).append(name.rpartition(".")[2])
        for own in groups.values():
            first = next(iter(own))
            yield _Fault(first, tuple(own[first]), lacking, tuple(own))


def _spot(built: Built, name: str) -> Spot:
    """Where the module is built; for one that does not exist, where the nearest that does would build it."""
    module = built.native_by_name.get(name)
    if module is not None:
        return built_at(built.native, module)
    while name not in built.native_by_name and name:
        name = parent_of(name)
    return forward_of(name, built.native_by_name.get(name))


def _sentence(fault: _Fault) -> str:
    tensors = " and ".join(f"'{name}'" for name in fault.tensors[:3])
    more = f"; the same in {len(fault.modules)} blocks" if len(fault.modules) > 1 else ""
    name = f"'{fault.module}'" if fault.module else "the model"
    if fault.lacking:
        return f"{name} has no {tensors}, which the official weights hold: the strict load refuses them{more}"
    return f"{name} has {tensors}, which no official weight fills: the strict load refuses that{more}"
