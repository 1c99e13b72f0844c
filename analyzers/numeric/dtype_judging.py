"""Whether the port loses more than the official model where both compute in a lower dtype.

Three values are held against each other at every place: the official one in float32, the official one and
the port's in the lower dtype, all on the same inputs. So the official model's own loss is the measure, and
a port that keeps more bits than it is never accused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Built, Pair, Reading
from analyzers.numeric.sentences import named, repeated
from analyzers.numeric.sightings import Run
from analyzers.numeric.spots import spot_of_value
from analyzers.numeric.verdicts import Divergence

_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
"""Significant bits of what is computed with."""

_TIMES = 4.0
"""Two ways to round the same operations stay within a factor of two or so of each other."""


def dtype_divergences(
    built: Built,
    alignment: Alignment,
    readings: Sequence[Reading],
    found: Sequence[Divergence],
    runs: Mapping[str, Run],
) -> tuple[Divergence, ...]:
    """One for each place of all blocks where the port stands clearly above the official model's own loss.

    Places that already differ in float32 are left out: what is wrong there is no question of dtypes.
    """
    stacks = Stacks.of(built.native)
    known = {stacks.generic(divergence.pair.native.module) for divergence in found}
    run = next(iter(runs.values()), None)
    by_pair = {reading.pair: reading for reading in readings}
    groups: dict[tuple[str, str], list[tuple[Pair, Reading]]] = {}
    for pair in alignment.pairs:
        reading = by_pair.get(pair.number)
        if reading is None or not _worse(reading):
            continue
        place = stacks.generic(pair.native.module)
        if place not in known:
            groups.setdefault((place, pair.native.end), []).append((pair, reading))
    if run is None:
        return ()
    result = []
    for group in groups.values():
        pair, reading = group[0]
        own = pair.native.end == "out"
        modules = {other.native.module for other, _ in group}
        result.append(
            Divergence(
                kind="dtype",
                pair=pair,
                native=spot_of_value(built.native, run.native, pair.native, own),
                official=spot_of_value(built.official, run.official, pair.official, own),
                error=reading.error,
                floor=reading.floor,
                after=(),
                message=_sentence(pair, reading) + repeated(len(modules)),
                calls=len(group),
            )
        )
    return tuple(result)


def _worse(reading: Reading) -> bool:
    """Whether the port's own loss is clearly above the official model's, and one that its dtype makes."""
    if reading.status not in ("compared", "layout") or reading.error is None or reading.floor is None:
        return False
    official, native = (_BITS.get(dtype) for dtype in reading.dtypes)
    if official is None or native is None or native > official:
        return False
    rounding = 2.0**-native
    return reading.error > _TIMES * max(reading.floor, rounding if native == official else 0.0) and (
        reading.error > rounding / 4
    )


def _sentence(pair: Pair, reading: Reading) -> str:
    what = "the input of" if pair.native.end == "in" else "the output of"
    dtypes = (
        f"in {reading.dtypes[1]} where the official model has {reading.dtypes[0]}"
        if reading.dtypes[0] != reading.dtypes[1]
        else f"with both in {reading.dtypes[1]}"
    )
    ratio = f"{reading.error / reading.floor:.0f} times " if reading.error and reading.floor else ""
    return (
        f"{what} {named(pair.native.module)} is computed {dtypes}, and its error against float32 is "
        f"{reading.error:.2g}, {ratio}what the official model loses there ({reading.floor:.1g})"
    )
