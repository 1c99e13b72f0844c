"""What has its place under a mapping and what has none: the question that an alignment starts from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.renaming import Renamed, positions, rename_all
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.state import Tensor


@dataclass(frozen=True)
class Places:
    """`official`, `native`: all names. `unplaced`: official tensors whose name leads nowhere. `unfilled`:
    parameters that are not filled as they should be. `waiting`: official tensors that give to a merge of
    which other parts are missing; `partial`: by target, which of them gives which index. `working`:
    official name -> target, of what is placed."""

    official: tuple[str, ...]
    native: tuple[str, ...]
    unplaced: tuple[Tensor, ...]
    unfilled: tuple[Tensor, ...]
    waiting: tuple[Tensor, ...]
    partial: Mapping[str, Mapping[int, str]]
    working: Mapping[str, str]


def outcomes(
    names: Sequence[str],
    rules: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    valid: Collection[str],
) -> dict[str, Renamed]:
    """What the rules make of each name; all rules can be read and are there on every path. `valid`: the
    names of the model."""
    made = {name: Renamed(name) for name in names}
    whole = tuple(made)
    for share in rename_all(whole, "", rules, semantics, valid=valid).shares:
        for place in positions(share.mask):
            made[whole[place]] = Renamed(share.targets[place], share.path, share.merge)
    return made


def places_of(
    official: Sequence[Tensor],
    native: Sequence[Tensor],
    rules: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    excluded: Collection[str],
) -> Places:
    """Puts every official name through the rules and looks where it leads."""
    slots = {tensor.name: tensor for tensor in native if tensor.name not in excluded}
    plain: dict[str, list[tuple[Tensor, int | None]]] = {}
    merged: dict[str, dict[int, list[tuple[Tensor, int]]]] = {}
    unplaced: set[str] = set()
    made = outcomes([tensor.name for tensor in official], rules, semantics, {t.name for t in native})
    for tensor in official:
        if tensor.name in excluded:
            continue
        target, merge = made[tensor.name].target, made[tensor.name].merge
        rule = made[tensor.name].rules[-1] if made[tensor.name].rules else None
        if target not in slots:
            unplaced.add(tensor.name)
        elif merge is None:
            plain.setdefault(target, []).append((tensor, rule))
        else:
            merged.setdefault(target, {}).setdefault(merge[0], []).append((tensor, merge[1]))
    working: dict[str, str] = {}
    waiting: dict[str, Tensor] = {}
    partial: dict[str, dict[int, str]] = {}
    filled: set[str] = set()
    for target, sources in plain.items():
        fitting = [(t, rule) for t, rule in sources if _fits(t.shape, slots[target].shape)]
        if len(fitting) > 1:
            # A name that falls through onto a parameter that a rule fills has lost its own rule.
            fitting = [(t, rule) for t, rule in fitting if rule is not None] or fitting
        if target in merged:
            fitting = []
        if len(fitting) == 1:
            working[fitting[0][0].name] = target
            filled.add(target)
        kept = {t.name for t, _ in fitting} if len(fitting) == 1 else set()
        unplaced |= {t.name for t, _ in sources if t.name not in kept}
    for target, by_index in merged.items():
        parts = {index: found[0][0] for index, found in by_index.items() if len(found) == 1}
        counts = {n for found in by_index.values() for _, n in found}
        if len(parts) < len(by_index) or len(counts) != 1:
            unplaced |= {t.name for found in by_index.values() for t, _ in found}
            continue
        count = next(iter(counts))
        complete = sorted(parts) == list(range(count))
        if complete and _fits(_together([parts[i].shape for i in range(count)]), slots[target].shape):
            working.update({tensor.name: target for tensor in parts.values()})
            filled.add(target)
        elif complete:
            unplaced |= {tensor.name for tensor in parts.values()}
        else:
            waiting.update({tensor.name: tensor for tensor in parts.values()})
            partial[target] = {index: tensor.name for index, tensor in parts.items()}
    return Places(
        tuple(tensor.name for tensor in official),
        tuple(tensor.name for tensor in native),
        tuple(tensor for tensor in official if tensor.name in unplaced),
        tuple(tensor for name, tensor in slots.items() if name not in filled),
        tuple(waiting.values()),
        partial,
        {**working, **{name: t for t, parts in partial.items() for name in parts.values()}},
    )


def _fits(found: tuple[int, ...] | None, wanted: tuple[int, ...] | None) -> bool:
    return found is None or wanted is None or found == wanted


def _together(shapes: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """The shape of these concatenated on dimension 0; None where one is not known."""
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape]
    if len(known) < len(shapes) or any(shape[1:] != known[0][1:] for shape in known):
        return ()
    return (sum(shape[0] for shape in known), *known[0][1:])
