"""The sentences of a verdict: what differs, by how much, and how far above rounding."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.numeric.floors import Floors
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Built, Module
from analyzers.numeric.sightings import Sighting

_NAMES_AT_MOST = 4


def size_of_error(error: float | None, floor: float | None) -> str:
    """`relative error 4.2e-06, 35 times what rounding makes here (1.2e-07)`."""
    if error is None:
        return "no finite values to compare"
    if floor is None:
        return f"relative error {error:.2g}"
    return f"relative error {error:.2g}, {_times(error / floor)} what rounding makes here ({floor:.1g})"


def message(group: Sequence[Sighting], built: Built, floors: Floors) -> str:
    """One sentence about differences of one cause, without what follows from them."""
    first = group[0]
    reading, native, official = first.reading, first.pair.native, first.pair.official
    error = size_of_error(reading.error, floors.floor(reading))
    places = _places_beside(group, built)
    if first.kind == "nonfinite":
        what = "receives" if native.end == "in" else "gives"
        count, right = reading.nonfinite[1], reading.nonfinite[0]
        return (
            f"{named(native.module)} {what} {count} values that are NaN or infinite, "
            f"where the official model has {right or 'none'}"
        )
    if first.kind == "layout":
        return (
            f"the values at {end_of(first)} are right but in another order ({reading.layout}), "
            "which is not put back"
        )
    if first.kind == "incomparable":
        return (
            f"{end_of(first)} has shape {list(reading.shapes[1])}, the official value "
            f"{list(reading.shapes[0])}, and no change of layout brings them together"
        )
    if native.end == "in":
        which = "as its input" if _plain(native.label) else f"as '{native.label}'"
        start = (
            f"what {_quoted(places)} get as their input differs from what the official modules get"
            if 1 < len(places) <= _NAMES_AT_MOST
            else f"what {named(native.module)} gets {which} differs from what the official "
            f"{named(official.module)} gets"
        )
        after = f", though '{first.after[0]}' before it is right" if first.after else ""
        return f"{start}: {error}{after}"
    if first.kind == "between":
        return (
            f"{named(native.module)} gives another output ({native.label}) although its parts are right: "
            f"{error}; it goes wrong after '{first.after[0]}'"
        )
    classes = _classes(built, first)
    parts = sorted({sighting.pair.part for sighting in group if sighting.pair.part is not None})
    part = f" in its {_ordinals([index for index, _ in parts])} of {parts[0][1]} slices" if parts else ""
    return f"{named(native.module)}{classes} gets the right input and gives another output{part}: {error}"


def end_of(sighting: Sighting) -> str:
    """`the input 'hidden_states' of 'blocks.0'`."""
    native = sighting.pair.native
    what = "input" if native.end == "in" else "output"
    label = "" if _plain(native.label) else f" '{native.label}'"
    return f"the {what}{label} of {named(native.module)}"


def named(module: str) -> str:
    """A module in a sentence; the model itself has no name."""
    return f"'{module}'" if module else "the model"


def repeated(count: int) -> str:
    """What is added where one cause shows at several places."""
    return f"; the same at {count - 1} other place{'s' if count > 2 else ''}" if count > 1 else ""


def _places_beside(group: Sequence[Sighting], built: Built) -> list[str]:
    """The modules concerned in one case and in one block."""
    stacks = Stacks.of(built.native)
    block = stacks.number(group[0].pair.native.module)
    return list(
        dict.fromkeys(
            sighting.pair.native.module
            for sighting in group
            if sighting.case == group[0].case and stacks.number(sighting.pair.native.module) == block
        )
    )


def _classes(built: Built, sighting: Sighting) -> str:
    native = built.native_by_name.get(sighting.pair.native.module)
    official = built.official_by_name.get(sighting.pair.official.module)
    if native is None or official is None or not native.name:
        return ""
    return f" ({native.cls}, in the official model {official.cls}{_settings(native, official)})"


def _settings(native: Module, official: Module) -> str:
    """Settings of one name whose texts differ."""
    apart = [
        f"{name} {native.settings[name]} against {official.settings[name]}"
        for name in native.settings
        if name in official.settings and native.settings[name] != official.settings[name]
    ]
    return f"; {', '.join(apart[:2])}" if apart else ""


def _plain(label: str) -> bool:
    return label in ("out", "out[0]", "x", "input", "inputs", "input_")


def _times(ratio: float) -> str:
    return (
        f"{ratio:.0f} times" if ratio < 1e5 else f"{ratio:.0e} times".replace("e+0", "e").replace("e+", "e")
    )


def _quoted(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _ordinals(indices: Sequence[int]) -> str:
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    return " and ".join(names[index] if index < len(names) else f"{index + 1}th" for index in indices)
