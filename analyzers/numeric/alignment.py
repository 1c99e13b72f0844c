"""Which values of the two sides should be equal: from the weights, from places, and from values.

The loading of the weights is the alignment. Leaves and slices of fused leaves are certain. Blocks, other
composites and modules without parameters are candidates, which are compared and not replaced until `settle`
has seen that their values agree somewhere, or that what comes after them is wrong as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.place_matches import place_matches
from analyzers.numeric.records import Address, Built, Call, Observation, Pair, Side
from analyzers.numeric.tap_labels import LabelMatch, match_labels, same_norm, size
from analyzers.numeric.weight_matches import ModuleMatch, composite_matches, leaf_matches

_Key: TypeAlias = tuple[Address, Address, tuple[int, int] | None]


@dataclass(frozen=True)
class Alignment:
    """The pairs of one comparison, in the order of the port's calls.

    `certain`: numbers of pairs that may be replaced as they are; the others are candidates, none are left
    after `settle`. `weak`: candidates whose labels were matched by norm or position only. `unaligned`:
    modules with parameters of their own that found no counterpart (side, name). `not_fired`: aligned modules
    of the port that were not called through their hooks although the official ones were, or the other way
    round. `notes`: what was left out and why, each a sentence.
    """

    pairs: tuple[Pair, ...]
    certain: frozenset[int]
    weak: frozenset[int]
    unaligned: tuple[tuple[Side, str], ...]
    not_fired: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def number(self, number: int) -> Pair:
        """The pair of a number. Raises `KeyError` for one that is not there."""
        for pair in self.pairs:
            if pair.number == number:
                return pair
        raise KeyError(number)


def align(built: Built, observation: Observation, others: Iterable[Observation] = ()) -> Alignment:
    """The pairs of all cases: those of the first observation, then what only others have.

    Call indices count per run, so a pair means the same call in every case.
    """
    pairs: dict[_Key, tuple[str, bool, bool]] = {}
    notes: dict[str, None] = {}
    not_fired: dict[str, None] = {}
    aligned: tuple[set[str], set[str]] = (set(), set())
    for one in (observation, *others):
        official, native = CallOrder.of(one.official), CallOrder.of(one.native)
        matches = _matches(built, official, native)
        found = [pair for match in matches for pair in _pairs(match, official, native, notes)]
        found += _output_pairs(one, official, native)
        found.sort(key=lambda pair: native.moment(pair[0][1]) or 0)
        for key, facts in found:
            pairs.setdefault(key, facts)
        not_fired.update(dict.fromkeys(_not_fired(matches, official, native)))
        for side, names in enumerate(({m.official for m in matches}, {m.native for m in matches})):
            aligned[side].update(names)
    numbered = [
        (Pair(number, key[0], key[1], key[2], why), sure, weak)
        for number, (key, (why, sure, weak)) in enumerate(pairs.items())
    ]
    return Alignment(
        tuple(pair for pair, _, _ in numbered),
        frozenset(pair.number for pair, sure, _ in numbered if sure),
        frozenset(pair.number for pair, _, weak in numbered if weak),
        _unaligned(built, aligned),
        tuple(not_fired),
        tuple(notes),
    )


def _matches(built: Built, official: CallOrder, native: CallOrder) -> tuple[ModuleMatch, ...]:
    leaves = leaf_matches(built)
    weighted = leaves + composite_matches(built, leaves, (set(official.by_module), set(native.by_module)))
    return weighted + place_matches(built, weighted, official, native)


def _pairs(
    match: ModuleMatch, official: CallOrder, native: CallOrder, notes: dict[str, None]
) -> list[tuple[_Key, tuple[str, bool, bool]]]:
    """The taps of every call of two modules; the flags say whether a pair is certain, and whether weak."""
    found: list[tuple[_Key, tuple[str, bool, bool]]] = []
    calls = _calls(official.by_module.get(match.official, ()), native.by_module.get(match.native, ()))
    counts = (official.count(match.official), native.count(match.native))
    if counts[0] != counts[1] and all(counts):
        notes[
            f"'{match.native}' is called {_times(counts[1])}, the official '{match.official}' "
            f"{_times(counts[0])}: {len(calls)} of these calls could be told to be the same"
        ] = None
    for one, other, ordered in calls:
        single = len(one.inputs) == len(other.inputs) == len(one.outputs) == len(other.outputs) == 1
        certain = match.certain and single and ordered
        for label in match_labels(one.inputs, other.inputs):
            if match.part is not None and match.part[0] > 0:
                break  # the slices of a fused module share its one input
            ends = (
                Address(one.module, one.index, "in", label.official),
                Address(other.module, other.index, "in", label.native),
            )
            found.append(((*ends, None), (match.why, certain, not label.sure)))
        if match.part is not None and not _slices(one, other, match.part[1]):
            notes[f"the parts of '{match.native}' are not of one size, so its output was not compared"] = None
            continue
        for label in match_labels(one.outputs, other.outputs) if match.part is None else _sliced(one, other):
            ends = (
                Address(one.module, one.index, "out", label.official),
                Address(other.module, other.index, "out", label.native),
            )
            found.append(((*ends, match.part), (match.why, certain, not label.sure)))
    return found


def _slices(one: Call, other: Call, count: int) -> bool:
    """Whether the outputs are as they must be for an equal slice of a fused one."""
    return len(one.outputs) == len(other.outputs) == 1 and size(one.outputs[0]) * count == size(
        other.outputs[0]
    )


def _sliced(one: Call, other: Call) -> list[LabelMatch]:
    return [LabelMatch(one.outputs[0].label, other.outputs[0].label, True)]


def _calls(official: Sequence[Call], native: Sequence[Call]) -> list[tuple[Call, Call, bool]]:
    """Which calls of two modules are the same; the flag says whether their order alone tells it.

    As many on both sides: by order, unless the inputs' norms pair them otherwise, each with exactly one.
    Other numbers: only those whose inputs' norms pair them one to one.
    """
    if len(official) == len(native) == 1:
        return [(official[0], native[0], True)]
    by_norm = _by_norm(official, native)
    if len(official) == len(native):
        if len(by_norm) == len(official) and any(one.index != other.index for one, other in by_norm):
            return [(one, other, False) for one, other in by_norm]
        return [(one, other, True) for one, other in zip(official, native, strict=True)]
    return [(one, other, False) for one, other in by_norm]


def _by_norm(official: Sequence[Call], native: Sequence[Call]) -> list[tuple[Call, Call]]:
    found: list[tuple[Call, Call]] = []
    for one in official:
        alike = [other for other in native if _same_inputs(one, other)]
        rivals = [rival for rival in official if alike and _same_inputs(rival, alike[0])]
        if len(alike) == 1 and len(rivals) == 1:
            found.append((one, alike[0]))
    return found


def _same_inputs(one: Call, other: Call) -> bool:
    return bool(one.inputs and other.inputs) and same_norm(one.inputs[0], other.inputs[0])


def _output_pairs(
    observation: Observation, official: CallOrder, native: CallOrder
) -> list[tuple[_Key, tuple[str, bool, bool]]]:
    """The outputs of the models, where they are taps of the models' own calls."""
    found: list[tuple[_Key, tuple[str, bool, bool]]] = []
    for output in observation.outputs:
        ends = (Address("", 0, "out", output.official), Address("", 0, "out", output.native))
        if official.tap(ends[0]) is not None and native.tap(ends[1]) is not None:
            found.append(((*ends, None), ("place", True, False)))
    return found


def _not_fired(matches: Sequence[ModuleMatch], official: CallOrder, native: CallOrder) -> Iterable[str]:
    """Aligned leaves that one side calls and the other does not, by the port's names."""
    partners: defaultdict[str, list[str]] = defaultdict(list)
    for match in matches:
        if match.why in ("weights", "slice"):
            partners[match.native].append(match.official)
    for name, officials in partners.items():
        if bool(native.count(name)) != any(official.count(one) for one in officials):
            yield name


def _unaligned(built: Built, aligned: tuple[set[str], set[str]]) -> tuple[tuple[Side, str], ...]:
    """Modules with parameters of their own and no counterpart; the models themselves are counterparts."""
    sides: tuple[tuple[Side, Sequence[str]], ...] = (
        ("official", [m.name for m in built.official if m.parameters and m.name not in aligned[0]]),
        ("native", [m.name for m in built.native if m.parameters and m.name not in aligned[1]]),
    )
    return tuple((side, name) for side, names in sides for name in names if name)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
