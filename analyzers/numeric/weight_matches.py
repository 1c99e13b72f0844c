"""Which modules of the two sides hold the same weights, as the loading told it.

Leaves first: a module of the port whose own parameters are filled from one official module's is that module,
and one that is filled from n modules is their fusion. Composites with the same parameters may still do
different work (a residual inside or outside, a wrapper around one leaf): they are candidates, until values
prove them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analyzers.numeric.module_kinds import kind_of
from analyzers.numeric.module_names import Stacks, ancestors, parent_of
from analyzers.numeric.records import Built, Filling, Module

Why = Literal["weights", "slice", "block", "place"]


@dataclass(frozen=True)
class ModuleMatch:
    """Two modules that correspond. `part`: as in `records.Pair`. `certain`: it needs no proof by values."""

    official: str
    native: str
    part: tuple[int, int] | None
    why: Why
    certain: bool


def leaf_matches(built: Built) -> tuple[ModuleMatch, ...]:
    """Modules with parameters of their own and none below: one to one, or slices of a fused one."""
    fillings = {filling.native: filling for filling in built.fillings}
    bearing = {side: _bearing(modules) for side, modules in (("o", built.official), ("n", built.native))}
    users = _users(built.fillings)
    found: list[ModuleMatch] = []
    for module in built.native:
        if not module.parameters or _has_below(module.name, bearing["n"]):
            continue
        own = [fillings[full] for full in _full_names(module) if full in fillings]
        owners = _owners(own)
        if owners is None:
            continue
        known = [built.official_by_name.get(owner) for owner in owners]
        official = [one for one in known if one is not None and not _has_below(one.name, bearing["o"])]
        if len(official) != len(owners) or any(users[one.name] != {module.name} for one in official):
            continue
        count = len(official)
        for position, one in enumerate(official):
            kinds = {kind_of(one.cls), kind_of(module.cls)}
            sure = len(kinds) == 1 and None not in kinds
            found.append(
                ModuleMatch(one.name, module.name, None, "weights", sure)
                if count == 1
                else ModuleMatch(one.name, module.name, (position, count), "slice", sure)
            )
    return tuple(found)


def composite_matches(
    built: Built, leaves: Sequence[ModuleMatch], called: tuple[set[str], set[str]]
) -> tuple[ModuleMatch, ...]:
    """Modules with parts whose official parameters are the same set: candidates, all of them.

    `called`: the names of the official and of the native modules that were called at all. Where a stack's
    block is among those of one set, it is meant rather than a wrapper around it.
    """
    taken = ({match.official for match in leaves}, {match.native for match in leaves})
    used = {source for filling in built.fillings for source in filling.sources}
    sets: defaultdict[frozenset[str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    below = (_below({name: (name,) for name in used}), _below({f.native: f.sources for f in built.fillings}))
    for side, modules in enumerate((built.official, built.native)):
        for module in modules:
            held = below[side].get(module.name)
            if held and module.name and module.name not in taken[side] and module.name in called[side]:
                sets[frozenset(held)][side].append(module.name)
    stacks = (Stacks.of(built.official), Stacks.of(built.native))
    found: list[ModuleMatch] = []
    for officials, natives in sets.values():
        blocks = [
            [name for name in names if name in stack.blocks]
            for names, stack in zip((officials, natives), stacks, strict=True)
        ]
        if len(blocks[0]) == len(blocks[1]) == 1:
            found.append(ModuleMatch(blocks[0][0], blocks[1][0], None, "block", False))
            officials = [name for name in officials if name != blocks[0][0]]
            natives = [name for name in natives if name != blocks[1][0]]
        found += [
            ModuleMatch(official, native, None, "weights", False)
            for official in officials
            for native in natives
        ]
    return tuple(found)


def _owners(own: Sequence[Filling]) -> list[str] | None:
    """The official modules that fill a module, in merge order: the same for each of its parameters."""
    lists = [[parent_of(source) for source in filling.sources] for filling in own]
    if not lists or any(owners != lists[0] for owners in lists) or len(set(lists[0])) != len(lists[0]):
        return None
    return lists[0]


def _users(fillings: Iterable[Filling]) -> Mapping[str, set[str]]:
    """Which of the port's modules each official module's own parameters went to."""
    users: defaultdict[str, set[str]] = defaultdict(set)
    for filling in fillings:
        for source in filling.sources:
            users[parent_of(source)].add(parent_of(filling.native))
    return users


def _full_names(module: Module) -> list[str]:
    return [f"{module.name}.{short}" if module.name else short for short in module.parameters]


def _bearing(modules: Sequence[Module]) -> frozenset[str]:
    """Modules that hold others with parameters."""
    return frozenset(name for module in modules if module.parameters for name in ancestors(module.name))


def _has_below(name: str, bearing: frozenset[str]) -> bool:
    return name in bearing


def _below(sources: Mapping[str, Iterable[str]]) -> Mapping[str, set[str]]:
    """The official parameters below every module, from those of each parameter of its side."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    for name, official in sources.items():
        for module in ancestors(name):
            held[module].update(official)
    return held
