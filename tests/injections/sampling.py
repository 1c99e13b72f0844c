"""Which errors are tried: drawn at random, kinds in turn, so that none fills the sample."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from injections.kinds import KINDS, injections
from injections.source import Injection, SourceFile


def found(files: Sequence[SourceFile], kinds: Sequence[str] = tuple(KINDS)) -> Mapping[str, list[Injection]]:
    """Every error of every kind in some files."""
    return {kind: [i for file in files for i in injections(file, kind)] for kind in kinds}


def drawn(pool: Mapping[str, Sequence[Injection]], count: int, seed: int) -> list[Injection]:
    """So many, one of each kind in turn, each at a random place that was not taken before."""
    chance = random.Random(seed)
    left = {kind: chance.sample(list(some), len(some)) for kind, some in sorted(pool.items())}
    return list(_in_turn(left, count, chance))


def _in_turn(left: dict[str, list[Injection]], count: int, chance: random.Random) -> Iterator[Injection]:
    taken = 0
    while any(left.values()) and taken < count:
        order = [kind for kind in left if left[kind]]
        chance.shuffle(order)
        for kind in order[: count - taken]:
            yield left[kind].pop()
            taken += 1


def together(pool: Mapping[str, Sequence[Injection]], count: int, seed: int) -> tuple[Injection, ...] | None:
    """So many errors of different kinds in different statements of one file; None where the draw has none."""
    chance = random.Random(seed)
    kinds = sorted(kind for kind, some in pool.items() if some)
    if len(kinds) < count:
        return None
    chosen = [chance.choice(list(pool[kind])) for kind in chance.sample(kinds, count)]
    ranges = [lines for injection in chosen for lines in injection.before]
    apart = all(not a.meets(b) for at, a in enumerate(ranges) for b in ranges[at + 1 :])
    return tuple(chosen) if apart and len({injection.path for injection in chosen}) == 1 else None
