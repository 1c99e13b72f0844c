"""Names that differ in their numbers only, taken together; and the lost ones led to the empty ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from analyzers.weights.mapping.name_parts import leaf, likeness, owner, shape_of_name
from analyzers.weights.proving.merging import concatenated

Shape: TypeAlias = "tuple[int, ...] | None"

_LEAST: Final = 0.45
"""Names less alike than this are led to each other only where their shape leaves no choice."""
_SAME_LEAF: Final = 0.15
_SAME_SIZE: Final = 0.15
_MOST_PAIRS: Final = 20_000
"""So many pairs of bundles are compared at most; what is then left has no partner."""


@dataclass(frozen=True)
class Lost:
    """Official names of one form that went one way to a wrong place, in the order of their numbers.

    `path`: the rules; `target`: the form of what was made of them (the source's own where nothing was).
    """

    path: tuple[int, ...]
    source: str
    target: str
    places: tuple[int, ...]
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Empty:
    """Parameters of one form that nothing fills. `rooms`: what is free in each: its shape, or of a
    merged one what its other sources leave; `partly`: whether it has other sources; `wanted`: how many
    bundles it may take."""

    template: str
    names: tuple[str, ...]
    rooms: tuple[Shape, ...]
    partly: bool = False
    wanted: int = 1


def bundle(names: Iterable[tuple[str, str]]) -> Mapping[str, list[str]]:
    """What stands beside each name, by the name's form, in the order of the numbers."""
    found: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for name, item in names:
        template, numbers = shape_of_name(name)
        members = found.get(template)
        if members is None:
            members = found[template] = []
        members.append((numbers, item))
    return {template: [item for _, item in sorted(members)] for template, members in found.items()}


def fits(shape: Shape, room: Shape, partly: bool = False) -> bool:
    """Whether a tensor may be what a room is for; unknown shapes may."""
    if shape is None or room is None:
        return True
    if partly:
        return bool(shape) and bool(room) and shape[1:] == room[1:] and shape[0] <= room[0]
    return shape == room


def led_together(lost: Sequence[Lost], empty: Sequence[Empty]) -> dict[int, int]:
    """For each lost bundle the empty one that it was most likely meant for.

    An empty one is used once, a merged one by as many as it lacks. Shapes must agree; of what they leave,
    names decide: a wrong target is close to the right one, and a name that no rule takes is close to its
    place. Last come those that fill an empty one only together.
    """
    candidates = sorted(_candidates(lost, empty), reverse=True)
    chosen: dict[int, int] = {}
    free = {number: one.wanted for number, one in enumerate(empty)}
    for score, one, two in candidates:
        if -one not in chosen and free[-two] > 0 and score >= _LEAST:
            chosen[-one] = -two
            free[-two] -= 1
    for one, two in _without_choice(candidates, chosen, free):
        chosen[one] = two
    chosen.update(_fused(lost, empty, chosen))
    return chosen


def _candidates(lost: Sequence[Lost], empty: Sequence[Empty]) -> Iterator[tuple[float, int, int]]:
    """Pairs that fit, with how well; positions negative, so that the first of equals comes first."""
    by_room: dict[Shape, list[int]] = {}
    anything: list[int] = []
    for number, room in enumerate(empty):
        if room.partly or room.rooms[0] is None:
            anything.append(number)
        else:
            by_room.setdefault(room.rooms[0], []).append(number)
    compared = 0
    for number, bundle_ in enumerate(lost):
        shape = bundle_.shapes[0]
        near = range(len(empty)) if shape is None else [*by_room.get(shape, ()), *anything]
        for other in near:
            compared += 1
            if compared > _MOST_PAIRS:
                return
            room = empty[other]
            if _all_fit(bundle_, room):
                yield score(bundle_, room), -number, -other


def _all_fit(lost: Lost, empty: Empty) -> bool:
    if lost.shapes == empty.rooms and not empty.partly:
        return True
    kinds = set(zip(lost.shapes, empty.rooms, strict=False))
    return all(fits(shape, room, empty.partly) for shape, room in kinds)


def score(lost: Lost, empty: Empty) -> float:
    """How likely a lost bundle was meant for an empty one."""
    alike = max(likeness(lost.target, empty.template), likeness(lost.source, empty.template))
    alike += _SAME_LEAF * (leaf(lost.source) == leaf(empty.template))
    return alike + _SAME_SIZE * (len(lost.places) == len(empty.names)) - _SAME_LEAF - _SAME_SIZE


def _without_choice(
    candidates: Sequence[tuple[float, int, int]], chosen: Mapping[int, int], free: Mapping[int, int]
) -> Iterator[tuple[int, int]]:
    """The pairs of which each fits the other alone, of what is left; a merged one as many as it lacks."""
    left = [(-one, -two) for _, one, two in candidates if -one not in chosen and free[-two] > 0]
    ones: dict[int, int] = {}
    twos: dict[int, int] = {}
    for one, two in left:
        ones[one] = ones.get(one, 0) + 1
        twos[two] = twos.get(two, 0) + 1
    yield from ((one, two) for one, two in left if ones[one] == 1 and twos[two] <= free[two])


def _fused(lost: Sequence[Lost], empty: Sequence[Empty], chosen: Mapping[int, int]) -> dict[int, int]:
    """The siblings that no rule takes and that fill an empty bundle together, where only one does.

    They are of one module (`attn.to_q.weight`, `attn.to_k.weight`), and their shapes make up the room.
    """
    modules: dict[tuple[str, str, int], list[int]] = {}
    for number, one in enumerate(lost):
        if number not in chosen and not one.path and all(one.shapes):
            module = owner(owner(one.source))
            modules.setdefault((module, leaf(one.source), len(one.places)), []).append(number)
    used = set(chosen.values())
    led: dict[int, int] = {}
    for (_, last, size), numbers in modules.items():
        together = concatenated([shape for n in numbers if (shape := lost[n].shapes[0]) is not None])
        rooms = [
            other
            for other, room in enumerate(empty)
            if other not in used and not room.partly and len(room.names) == size and len(numbers) > 1
            if leaf(room.template) == last and room.rooms[0] is not None and room.rooms[0] == together
        ]
        if len(rooms) == 1:
            used.add(rooms[0])
            led.update(dict.fromkeys(numbers, rooms[0]))
    return led
