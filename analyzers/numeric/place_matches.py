"""Modules without parameters that correspond by place: kind, name and neighbours within aligned modules.

Only candidates: values prove them, or they are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.module_kinds import kind_of, works
from analyzers.numeric.module_names import ancestors, relative
from analyzers.numeric.records import Built, Module
from analyzers.numeric.weight_matches import ModuleMatch


def place_matches(
    built: Built, matches: Sequence[ModuleMatch], official: CallOrder, native: CallOrder
) -> tuple[ModuleMatch, ...]:
    """Pairs of modules without parameters under the same aligned module, where only one pairing is possible.

    Within a scope (the innermost aligned module around them) and a kind, in this order: equal names relative
    to the scope; the only ones that are left; the only ones between the same aligned neighbours.
    """
    scopes = _scopes(matches)
    sides = (
        _free(built.official, official, {scope[0] for scope in scopes}),
        _free(built.native, native, {scope[1] for scope in scopes}),
    )
    neighbours = (
        _neighbours(official, {match.official: number for number, match in enumerate(matches)}),
        _neighbours(native, _numbers_of_native(matches)),
    )
    found: list[ModuleMatch] = []
    for scope in scopes:
        kinds = set(sides[0][scope[0]]) & set(sides[1][scope[1]])
        for kind in sorted(kinds):
            left = (list(sides[0][scope[0]][kind]), list(sides[1][scope[1]][kind]))
            for key in (_by_name, _by_kind, _by_neighbours):
                keyed = [
                    {name: key(name, scope[side], neighbours[side]) for name in left[side]} for side in (0, 1)
                ]
                once = [{k for k, n in Counter(one.values()).items() if n == 1} for one in keyed]
                for value in sorted(once[0] & once[1]):
                    pair = [next(name for name, k in keyed[side].items() if k == value) for side in (0, 1)]
                    found.append(ModuleMatch(pair[0], pair[1], None, "place", False))
                    for side in (0, 1):
                        left[side].remove(pair[side])
    return tuple(found)


def _by_name(name: str, scope: str, neighbours: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    return (relative(name, scope),)


def _by_kind(name: str, scope: str, neighbours: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    return ()


def _by_neighbours(name: str, scope: str, neighbours: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    return neighbours.get(name, (name,))


def _scopes(matches: Sequence[ModuleMatch]) -> list[tuple[str, str]]:
    """Aligned modules with parts that are nobody else's counterpart, and the two models."""
    whole = [match for match in matches if match.part is None]
    officials = Counter(match.official for match in whole)
    natives = Counter(match.native for match in whole)
    clear = [(m.official, m.native) for m in whole if officials[m.official] == natives[m.native] == 1]
    return [("", ""), *clear]


def _free(
    modules: Sequence[Module], calls: CallOrder, scopes: set[str]
) -> defaultdict[str, dict[str, list[str]]]:
    """Called modules without any parameter, by scope and kind, in the order of their first call."""
    bearing = {module.name for module in modules if module.parameters}
    bearing |= {name for one in list(bearing) for name in ancestors(one)}
    found: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for module in modules:
        if module.name in bearing or not module.name or not calls.count(module.name) or not works(module.cls):
            continue
        scope = next(name for name in ancestors(module.name) if name in scopes)
        found[scope].setdefault(kind_of(module.cls) or module.cls.rpartition(".")[2], []).append(module.name)
    for kinds in found.values():
        for names in kinds.values():
            names.sort(key=lambda name: calls.entered[calls.by_module[name][0].number])
    return found


def _numbers_of_native(matches: Sequence[ModuleMatch]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, match in enumerate(matches):
        numbers.setdefault(match.native, number)
    return numbers


def _neighbours(calls: CallOrder, aligned: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    """For each module's first call: the aligned ones that were entered before and after it."""
    firsts = sorted((calls.entered[found[0].number], name) for name, found in calls.by_module.items())
    result: dict[str, tuple[str, str]] = {}
    before = ""
    waiting: list[str] = []
    for _, name in firsts:
        if name in aligned:
            for one in waiting:
                result[one] = (result[one][0], str(aligned[name]))
            waiting = []
            before = str(aligned[name])
        else:
            result[name] = (before, "")
            waiting.append(name)
    return result
