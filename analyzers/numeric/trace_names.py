"""Which module of a port's trace stands for which of the official one's: by the weight mapping.

The rules are about parameters, so a module is brought over by its own parameters. Where a trace does not tell
them (FastVideo's), `weight` and `bias` are tried. A module without parameters follows its parent, under the
same last name; a module with children follows them all, where the port has one that holds exactly theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from analyzers.numeric.trace_files import TracedModule, TraceFile
from analyzers.weights.mapping.renaming import Renamed

Rename: TypeAlias = "Callable[[str], Renamed]"

_GUESSED = ("weight", "bias")


@dataclass(frozen=True)
class Counterpart:
    """A module of the port. `part`: (i, n) where the official module is the i-th of n that were merged.
    `why`: `weights`, `slice`, `block`, `place` or `name`."""

    module: str
    part: tuple[int, int] | None
    why: str


def by_equal_names(official: TraceFile, native: TraceFile) -> Mapping[str, Counterpart]:
    """Each module for the one of the same name."""
    there = _names(native)
    return {name: Counterpart(name, None, "name") for name in _names(official) if name in there}


def by_mapping(official: TraceFile, native: TraceFile, rename: Rename) -> Mapping[str, Counterpart]:
    """Each official module for the one that its parameters go to."""
    there = _names(native)
    own = {module.name: module.parameters for module in official.modules}
    found: dict[str, Counterpart] = {}
    for name in _names(official):
        counterpart = _by_parameters(name, own.get(name, _GUESSED), rename, there, bool(own))
        if counterpart is not None:
            found[name] = counterpart
    if official.modules and native.modules:
        found.update(_holders(official.modules, native.modules, rename, found))
    for name in sorted(_names(official), key=lambda name: name.count(".")):
        if name not in found:
            counterpart = _by_place(name, found, there)
            if counterpart is not None:
                found[name] = counterpart
    return found


def _names(trace: TraceFile) -> Mapping[str, None]:
    """The modules of a trace, in order, each once."""
    return dict.fromkeys([*(m.name for m in trace.modules), *(tap.module for tap in trace.taps)])


def _by_parameters(
    name: str, parameters: tuple[str, ...], rename: Rename, there: Mapping[str, None], certain: bool
) -> Counterpart | None:
    """`certain`: these parameters are known; else they are tried, and only what a rule rewrites counts."""
    made = [rename(f"{name}.{parameter}" if name else parameter) for parameter in parameters]
    if not certain:
        made = [renamed for renamed in made if renamed.rules]
    targets = {(renamed.target.rpartition(".")[0], renamed.merge) for renamed in made}
    if len(targets) != 1:
        return None
    module, merge = next(iter(targets))
    if module not in there:
        return None
    return Counterpart(module, merge, "slice" if merge is not None else "weights")


def _holders(
    official: tuple[TracedModule, ...],
    native: tuple[TracedModule, ...],
    rename: Rename,
    leaves: Mapping[str, Counterpart],
) -> dict[str, Counterpart]:
    """Modules with children, where exactly one module of each side holds exactly these parameters.

    A wrapper around another holder has the same parameters and another extent: both are left out, unless
    one of each side is a numbered block."""
    ours = _by_contents(native, lambda name: name)
    theirs = _by_contents(official, lambda name: rename(name).target)
    found = {}
    for contents, names in theirs.items():
        there = ours.get(contents, [])
        pair = _only(names), _only(there)
        if pair[0] is not None and pair[1] is not None and pair[0] not in leaves:
            found[pair[0]] = Counterpart(pair[1], None, "block")
    return found


def _by_contents(
    modules: tuple[TracedModule, ...], renamed: Callable[[str], str]
) -> dict[frozenset[str], list[str]]:
    """Holders by all parameters below them, under the port's names."""
    below: dict[str, set[str]] = {}
    for module in modules:
        for parameter in module.parameters:
            full = f"{module.name}.{parameter}" if module.name else parameter
            target, parent = renamed(full), module.name
            while parent:
                parent = parent.rpartition(".")[0]
                below.setdefault(parent, set()).add(target)
    found: dict[frozenset[str], list[str]] = {}
    for name, contents in below.items():
        found.setdefault(frozenset(contents), []).append(name)
    return found


def _only(names: list[str]) -> str | None:
    if len(names) == 1:
        return names[0]
    numbered = [name for name in names if name.rpartition(".")[2].isdigit()]
    return numbered[0] if len(numbered) == 1 else None


def _by_place(name: str, found: Mapping[str, Counterpart], there: Mapping[str, None]) -> Counterpart | None:
    """A module for the child of its parent's counterpart that has the same name."""
    if name == "":
        return Counterpart("", None, "place") if "" in there else None
    parent, _, last = name.rpartition(".")
    above = found.get(parent) if parent else Counterpart("", None, "place")
    if above is None or above.part is not None:
        return None
    target = f"{above.module}.{last}" if above.module else last
    return Counterpart(target, None, "place") if target in there else None
