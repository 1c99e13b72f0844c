"""Whether the port loses more than the official model where both compute in a lower dtype.

Three values are held against each other at every place: the official one in float32, the official one and
the port's in the lower dtype, all on the same inputs. So the official model's own loss is the measure, and
a port that keeps more bits than it is never accused.

One rounding more is no fault either: diffusers keeps some modules in float32 by a list, FastVideo does not,
and a right port may round before a norm or after it. Such places are told in a note. A fault loses clearly
more than the official model does at its own rounded places: a sinusoid of large angles, a sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from analyzers.numeric.alignment import Alignment
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Built, Pair, Reading
from analyzers.numeric.sentences import named, repeated
from analyzers.numeric.sightings import Run, Sighting
from analyzers.numeric.spots import spot_of_value
from analyzers.numeric.verdicts import Divergence

_BITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
"""Significant bits of what is computed with."""

_TIMES = 3.0
"""Two ways to round the same operations stay within 2.0 of each other: measured on nine right ports."""

_NAMES_AT_MOST = 4


def dtype_divergences(
    built: Built,
    alignment: Alignment,
    readings: Sequence[Reading],
    found: Sequence[Sighting],
    runs: Mapping[str, Run],
) -> tuple[tuple[Divergence, ...], tuple[str, ...]]:
    """One divergence for each place of all blocks where the port stands clearly above the official model's
    own loss, and a note on those where it only rounds once more.

    Places that already differ in float32 are left out: what is wrong there is no question of dtypes.
    """
    stacks = Stacks.of(built.native)
    known = {stacks.generic(sighting.pair.native.module) for sighting in found}
    run = next(iter(runs.values()), None)
    by_pair = {reading.pair: reading for reading in readings}
    rounding = _rounding(readings)
    groups: dict[tuple[str, str], list[tuple[Pair, Reading]]] = {}
    rounded: dict[str, str] = {}
    for pair in alignment.pairs:
        reading = by_pair.get(pair.number)
        place = stacks.generic(pair.native.module)
        if reading is None or place in known or not _loses(reading, 0.0):
            continue
        if _loses(reading, rounding):
            groups.setdefault((place, pair.native.end), []).append((pair, reading))
        elif reading.dtypes[0] != reading.dtypes[1]:
            rounded.setdefault(place, pair.native.module)
    if run is None:
        return (), ()
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
    return tuple(result), _notes(tuple(rounded.values()))


def _rounding(readings: Sequence[Reading]) -> float:
    """What the official model itself loses at a place that it rounds: the median."""
    own = [reading.floor for reading in readings if reading.floor and _BITS.get(reading.dtypes[0], 24) < 24]
    return median(own) if own else 0.0


def _loses(reading: Reading, rounding: float) -> bool:
    """Whether the port's own loss is clearly above the official model's and above a rounding, and one that
    its dtype can make."""
    if reading.status not in ("compared", "layout") or reading.error is None or reading.floor is None:
        return False
    official, native = (_BITS.get(dtype) for dtype in reading.dtypes)
    if official is None or native is None or native > official:
        return False
    return reading.error > _TIMES * max(reading.floor, rounding) and reading.error > 2.0 ** -(native + 2)


def _notes(modules: Sequence[str]) -> tuple[str, ...]:
    if not modules:
        return ()
    names = ", ".join(f"'{name}'" for name in modules[:_NAMES_AT_MOST])
    more = f" and {len(modules) - _NAMES_AT_MOST} more" if len(modules) > _NAMES_AT_MOST else ""
    return (
        "in a lower dtype the port rounds where the official model keeps more bits, by no more than one "
        f"rounding each: {names}{more}",
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
