"""Which of several sources of one target does not belong there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from analyzers.weights.mapping.name_parts import leaf, likeness, shape_of_name, words_of
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.bundles import fits
from analyzers.weights.proving.landing import Sides, Tangle
from analyzers.weights.verdicts import FaultKind

_ORDERS: Final = (("q", "k", "v"), ("query", "key", "value"), ("gate", "up"))
"""Words whose order in a fused tensor is a convention."""


class Lacking(NamedTuple):
    """What an unfinished group lacks (indices), and the names of those that wait in it."""

    indices: tuple[int, ...]
    company: tuple[str, ...]


Empty: TypeAlias = "Mapping[str, Lacking | None]"
"""Parameters that nothing fills; those with a group that waits for more with what it lacks."""


@dataclass(frozen=True)
class Blame:
    """The rule that does not belong, the one that it disturbs, and empty parameters that its names
    were likely meant for (one of each form). `detail`: what is wrong with a merge, in words."""

    kind: FaultKind
    rule: int | None
    other: int | None
    meant_for: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class _Suspect:
    """A source of a tangle: its rule, its merge, and how much better another place would suit it."""

    number: int
    rule: int | None
    merge: tuple[int, int] | None
    gain: float
    meant_for: tuple[str, ...]


def blame_of_collision(
    sides: Sides, rules: Sequence[SymbolicRule], tangles: Sequence[Tangle], empty: Empty
) -> Blame:
    """Of several sources without a merge the one that another, empty place suits better."""
    suspects = _suspects(sides, tangles, empty)
    worst = max(suspects, key=lambda s: (s.rule is not None, s.gain, s.rule or 0))
    other = next((s.rule for s in suspects if s.rule != worst.rule), None)
    return Blame("collision", worst.rule, other, worst.meant_for)


def blame_of_merge(
    sides: Sides, rules: Sequence[SymbolicRule], tangles: Sequence[Tangle], empty: Empty
) -> Blame:
    """The source that breaks a group: it stands there without an index, its index is another's or out of
    range, or its n differs; else nothing gives an index that the others ask for."""
    tangle = tangles[0]
    suspects = _suspects(sides, tangles, empty)
    plain = [suspect for suspect in suspects if suspect.merge is None]
    merging = [suspect for suspect in suspects if suspect.merge is not None]
    if plain:
        worst = max(plain, key=lambda s: (s.rule is not None, s.gain))
        return Blame("collision", worst.rule, merging[0].rule, worst.meant_for)
    count = _count(merging)
    counts = [suspect for suspect in merging if suspect.merge is not None and suspect.merge[1] != count]
    if counts:
        worst = counts[0]
        named = worst.merge[1] if worst.merge is not None else 0
        detail = f"it names a count of {named}, the group has {count}"
        return Blame("merge", worst.rule, _beside(merging, worst), detail=detail)
    given: dict[int, list[_Suspect]] = {}
    for suspect in merging:
        if suspect.merge is not None:
            given.setdefault(suspect.merge[0], []).append(suspect)
    outside = [s for index, same in given.items() if not 0 <= index < count for s in same]
    lacking = [index for index in range(count) if index not in given]
    if outside:
        worst = outside[0]
        index = worst.merge[0] if worst.merge is not None else 0
        detail = f"it gives index {index} to a group of {count}"
        return Blame("merge", worst.rule, _beside(merging, worst), detail=detail)
    repeated = [s for same in given.values() if len(same) > 1 for s in same]
    if repeated:
        return _repeated(rules, tangle, sides, merging, repeated, lacking)
    return _lacking(rules, tangle, merging, lacking, count)


def _repeated(
    rules: Sequence[SymbolicRule],
    tangle: Tangle,
    sides: Sides,
    merging: Sequence[_Suspect],
    repeated: Sequence[_Suspect],
    lacking: Sequence[int],
) -> Blame:
    index = repeated[0].merge[0] if repeated[0].merge is not None else 0
    if not lacking:
        worst = max(repeated, key=lambda s: (s.gain, s.rule or 0))
        return Blame("collision", worst.rule, _beside(repeated, worst), worst.meant_for)
    stray = max(repeated, key=lambda s: s.gain)
    if stray.gain > 0:
        return Blame(
            "merge", stray.rule, _beside(repeated, stray), stray.meant_for, f"index {index} is given twice"
        )
    worst = _out_of_place(sides, tangle, merging, repeated, lacking)
    detail = f"index {index} is given twice, and index {lacking[0]} by nothing"
    return Blame("merge", worst.rule, _beside(repeated, worst), detail=detail)


def _out_of_place(
    sides: Sides,
    tangle: Tangle,
    merging: Sequence[_Suspect],
    repeated: Sequence[_Suspect],
    lacking: Sequence[int],
) -> _Suspect:
    """Of sources with one index the one that another index is usual for, or that the rules' order puts
    elsewhere."""
    for suspect in repeated:
        if _usual(sides.official.names[tangle.sources[suspect.number].place]) in lacking:
            return suspect
    ranks = {s.number: rank for rank, s in enumerate(sorted(merging, key=lambda s: s.rule or 0))}
    off = [s for s in repeated if s.merge is not None and ranks[s.number] != s.merge[0]]
    return off[0] if off else repeated[-1]


def _lacking(
    rules: Sequence[SymbolicRule],
    tangle: Tangle,
    merging: Sequence[_Suspect],
    lacking: Sequence[int],
    count: int,
) -> Blame:
    """Nothing gives an index: a rule that would, and takes no name, or else no rule at all."""
    made = next((rules[s.rule].made for s in merging if s.rule is not None), None)
    idle = [
        position
        for position, rule in enumerate(rules)
        if rule.merge is not None
        and rule.merge[0] in lacking
        and rule.made == made
        and made is not None
        and all(position not in path for path in tangle.paths)
    ]
    named = ", ".join(map(str, lacking)) or "none"
    detail = f"nothing gives index {named} of {count}"
    rule = idle[0] if idle else merging[0].rule
    return Blame("merge", rule, merging[0].rule if idle else None, detail=detail)


def _suspects(sides: Sides, tangles: Sequence[Tangle], empty: Empty) -> list[_Suspect]:
    """The sources of the first tangle; the gains are those of all tangles of these rules together."""
    gains: dict[tuple[int, ...], float] = {}
    meant: dict[tuple[int, ...], dict[str, None]] = {}
    forms: dict[str, Tangle] = {}
    for tangle in tangles:
        forms.setdefault(shape_of_name(tangle.target)[0], tangle)
    for here, tangle in forms.items():
        for source, path in zip(tangle.sources, tangle.paths, strict=True):
            tensor = sides.official.tensors[source.place]
            name = shape_of_name(tensor.name)[0]
            rooms = [
                native
                for native, lacking in empty.items()
                if (lacking is None or (source.merge is not None and source.merge[0] in lacking.indices))
                and fits(tensor.shape, sides.natives[native].shape, source.merge is not None)
            ]
            beside = [sides.official.names[other.place] for other in tangle.sources if other is not source]
            gain = -_suits(name, here, beside if source.merge is not None else ())
            if rooms:
                suits, best = max((_suits_room(name, room, empty[room]), room) for room in rooms)
                gain += suits
                meant.setdefault(path, {})[best] = None
            gains[path] = gains.get(path, 0.0) + gain
    first = tangles[0]
    return [
        _Suspect(number, path[-1] if path else None, source.merge, gains[path], tuple(meant.get(path, ())))
        for number, (source, path) in enumerate(zip(first.sources, first.paths, strict=True))
    ]


def _suits_room(source: str, native: str, lacking: Lacking | None) -> float:
    return _suits(source, shape_of_name(native)[0], lacking.company if lacking is not None else ())


def _suits(source: str, native: str, company: Sequence[str]) -> float:
    """How well a source suits a parameter, and those that are merged into it."""
    suits = likeness(source, native) + 0.2 * (leaf(source) == leaf(native))
    return suits + max((likeness(source, shape_of_name(name)[0]) for name in company), default=0.0)


def _beside(suspects: Sequence[_Suspect], worst: _Suspect) -> int | None:
    return next((s.rule for s in suspects if s.rule != worst.rule), None)


def _count(merging: Sequence[_Suspect]) -> int:
    """The n that most sources name; of as many, the one that is the number of sources."""
    votes = Counter(suspect.merge[1] for suspect in merging if suspect.merge is not None)
    return max(votes, key=lambda count: (votes[count], count == len(merging), count))


def _usual(name: str) -> int | None:
    """The index that a source has by custom."""
    words = {word for word, _, _ in words_of(name)}
    for order in _ORDERS:
        found = [index for index, word in enumerate(order) if word in words]
        if len(found) == 1:
            return found[0]
    return None
