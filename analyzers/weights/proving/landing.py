"""Where renamed tensors land in the port: name by name, shape by shape, before anyone is blamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, NamedTuple

from analyzers.project.profiles.base import Loading, MappingSemantics
from analyzers.weights.mapping.name_parts import shape_of_name
from analyzers.weights.mapping.renaming import Share, positions
from analyzers.weights.proving.merging import Assembly, Source, assemble, concatenated
from analyzers.weights.recent import Keep
from analyzers.weights.state import StateDict, Tensor
from analyzers.weights.verdicts import KeyPlacement, ParameterFilling, Verdict

_FITS: Final = "the port has its target, with its shape"
_FITS_BY_NAME: Final = "the port has its target; shapes are not known"
_FALLS_INTO_PLACE: Final = "no rule rewrites it, and the port has it under this name"
_JOINED: Final = "merged with its group into the port's parameter, with its shape"
_JOINED_BY_NAME: Final = "merged with its group into the port's parameter; shapes are not known"
_NOT_BUILT: Final = "the names of the port are not known"
_RESHAPED: Final = "the parameter has a loader of its own, which may take another shape"
NO_PLACE: Final = "the port has no tensor of this name"


@dataclass(frozen=True)
class Sides:
    """Both sides of a proof, and what the loader leaves out. `native`: None where it is not known."""

    official: StateDict
    native: StateDict | None
    loading: Loading
    cls: str
    semantics: MappingSemantics

    @cached_property
    def natives(self) -> Mapping[str, Tensor]:
        """The port's entries by name; empty where they are not known."""
        return self.native.by_name if self.native is not None else {}

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for equal sides."""
        return (self.official.digest, self.native.digest if self.native else None, self.loading, self.cls)

    @property
    def is_strict(self) -> bool:
        """Whether the loader passes over no names without a place but those of an ending."""
        lenient = bool(self.loading.lenient) and self.cls.startswith(self.loading.lenient)
        return self.native is not None and self.semantics == "first-match" and not lenient

    def passed_over(self, target: str) -> str | None:
        """Why the loader leaves out a name that the port has not; None where it does not."""
        if not target and self.semantics == "chained":
            return "the loader leaves out what is renamed to nothing"
        if self.loading.skipped and target.endswith(self.loading.skipped):
            return f"the loader passes over names that end in {target.rpartition('.')[2]}"
        if self.loading.lenient and self.cls.startswith(self.loading.lenient):
            return f"{self.cls} is loaded leniently: names without a place are passed over"
        return None


class Misshapen(NamedTuple):
    """A parameter and what arrives: positions in merge order, and the shape they make together."""

    native: str
    places: tuple[int, ...]
    expected: tuple[int, ...]
    found: tuple[int, ...] | None


class Tangle(NamedTuple):
    """A target with several sources that does not come out as it should."""

    target: str
    sources: tuple[Source, ...]
    paths: tuple[tuple[int, ...], ...]
    """The rules that each source went through."""
    assembly: Assembly


class Miscast(NamedTuple):
    """A parameter that is of another kind of number than what arrives."""

    native: str
    places: tuple[int, ...]
    expected: str
    found: str


@dataclass(frozen=True)
class Landed:
    """What became of some official tensors.

    `unexpected`: positions of those without a place. `by_name`: natives whose shape could not be
    compared. `merged`: how many natives were merged from several.
    """

    placements: tuple[tuple[int, KeyPlacement], ...] = ()
    fillings: tuple[ParameterFilling, ...] = ()
    unexpected: tuple[int, ...] = ()
    misshapen: tuple[Misshapen, ...] = ()
    tangles: tuple[Tangle, ...] = ()
    miscast: tuple[Miscast, ...] = ()
    by_name: int = 0
    merged: int = 0

    @cached_property
    def sound(self) -> Mapping[int | None, AbstractSet[str]]:
        """For each rule (None: none) the forms of the names that it, as the last, brings to their place."""
        found: dict[int | None, set[str]] = {}
        for _, placement in self.placements:
            if placement.verdict != "broken" and not placement.excluded:
                rule = placement.rules[-1] if placement.rules else None
                found.setdefault(rule, set()).add(shape_of_name(placement.tensor.name)[0])
        return found

    @cached_property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """The official names that the loader leaves out by design, with the reason."""
        return tuple((p.tensor.name, p.because) for _, p in self.placements if p.excluded)

    @cached_property
    def placed(self) -> Mapping[int, KeyPlacement]:
        """The placements by the tensors' positions."""
        return dict(self.placements)

    @cached_property
    def filled(self) -> Mapping[str, ParameterFilling]:
        """The natives that get something, be it of the wrong shape, and what it is."""
        return {filling.tensor.name: filling for filling in self.fillings}


class Part(NamedTuple):
    """Shares of one way through the proof: one with those of its targets that are its own, or several that
    meet at targets. `names`: the targets that are contested among all shares; of one share those that are
    not judged with it, of several those that are. `key`: equal for equal contents."""

    shares: tuple[Share, ...]
    names: AbstractSet[str]
    alone: bool
    key: tuple[object, ...]


def parts_of(shares: Sequence[Share], keep: Keep) -> tuple[Part, ...]:
    """The shares, parted so that what becomes of a part depends on nothing beside it."""
    targets = [keep(("targets", share.key), partial(_targets, share)) for share in shares]
    contested = _contested(shares, targets)
    parts: list[Part] = []
    clusters: dict[str, int] = {}
    together: list[set[int]] = []
    for number, share in enumerate(shares):
        mine = frozenset(targets[number].keys() & contested)
        if share.merge is None:
            parts.append(Part((share,), mine, True, (share.key, share.path, mine)))
        _gather(number, mine, clusters, together)
    for cluster in together:
        members = tuple([shares[number] for number in sorted(cluster)])
        names = frozenset().union(*(targets[number].keys() & contested for number in cluster))
        parts.append(
            Part(members, names, False, (tuple((share.key, share.path) for share in members), names))
        )
    return tuple(parts)


def land(sides: Sides, parts: Sequence[Part], keep: Keep) -> tuple[Landed, ...]:
    """Where all shares land. What depends on a part alone is kept by its contents."""
    landed: list[Landed] = []
    for part in parts:
        question = ("landed", sides.key, part.alone, part.key)
        if part.alone:
            landed.append(keep(question, partial(_alone, sides, part.shares[0], part.names)))
        else:
            landed.append(keep(question, partial(_together, sides, part.shares, part.names)))
    return tuple(landed)


def broken_in(sides: Sides, parts: Sequence[Part], keep: Keep) -> set[int]:
    """The positions of the tensors whose placements are broken where their parts land, without the
    placements: a key may move thousands of them."""
    broken: set[int] = set()
    for part in parts:
        question = ("broken", sides.key, part.alone, part.key)
        if part.alone:
            broken.update(keep(question, partial(_broken_alone, sides, part.shares[0], part.names)))
        else:
            broken.update(keep(question, partial(_broken_together, sides, part.shares, part.names)))
    return broken


def _targets(share: Share) -> Mapping[str, int]:
    """The names made, with how many tensors become each."""
    return Counter(map(share.targets.__getitem__, positions(share.mask)))


def _contested(shares: Sequence[Share], targets: Sequence[Mapping[str, int]]) -> AbstractSet[str]:
    """The names that several tensors become, or that are merged."""
    seen: set[str] = set()
    contested: set[str] = set()
    for share, made in zip(shares, targets, strict=True):
        if share.merge is not None:
            contested.update(made)
        else:
            if len(made) != share.mask.bit_count():
                contested.update(name for name, count in made.items() if count > 1)
            if not seen.isdisjoint(made):
                contested.update(seen & made.keys())
        seen.update(made)
    return contested


def _gather(number: int, mine: Iterable[str], clusters: dict[str, int], together: list[set[int]]) -> None:
    """Put a share with those that it meets at a target."""
    meets: set[int] = {clusters[name] for name in mine if name in clusters}
    if not mine:
        return
    if meets:
        kept = min(meets)
        for other in meets - {kept}:
            together[kept] |= together[other]
            together[other] = set()
            for name, cluster in clusters.items():
                if cluster == other:
                    clusters[name] = kept
    else:
        kept = len(together)
        together.append(set())
    together[kept].add(number)
    clusters.update(dict.fromkeys(mine, kept))


# --------------------------------------------------------------------------- one source


def _alone(sides: Sides, share: Share, contested: AbstractSet[str]) -> Landed:
    """Where the tensors of a share land that have their target to themselves."""
    placements: list[tuple[int, KeyPlacement]] = []
    fillings: list[ParameterFilling] = []
    unexpected: list[int] = []
    misshapen: list[Misshapen] = []
    miscast: list[Miscast] = []
    by_name = 0
    natives, tensors, path = sides.natives, sides.official.tensors, share.path
    fits = _FITS if path else _FALLS_INTO_PLACE
    strict, skipped = sides.is_strict, sides.loading.skipped
    for place in positions(share.mask):
        target = share.targets[place]
        if target in contested:
            continue
        tensor = tensors[place]
        native = natives.get(target)
        if native is None:
            if strict and not target.endswith(skipped):
                placements.append((place, KeyPlacement(tensor, target, path, None, "broken", NO_PLACE)))
                unexpected.append(place)
                continue
            placement = without_place(sides, tensor, target, path, None)
            placements.append((place, placement))
            if placement.verdict == "broken":
                unexpected.append(place)
            continue
        if native.shape == tensor.shape and native.shape is not None and native.dtype == tensor.dtype:
            placements.append((place, KeyPlacement(tensor, target, path, None, "proven", fits)))
            fillings.append(ParameterFilling(native, (tensor.name,), "proven", fits))
            continue
        arrival = _arrival(native, (place,), tensors)
        by_name += arrival.shape_unknown
        if arrival.misshapen is not None:
            misshapen.append(arrival.misshapen)
        if arrival.miscast is not None:
            miscast.append(arrival.miscast)
        because = arrival.because or (_FITS_BY_NAME if arrival.shape_unknown else fits)
        placements.append((place, KeyPlacement(tensor, target, path, None, arrival.verdict, because)))
        fillings.append(ParameterFilling(native, (tensor.name,), arrival.verdict, because))
    return Landed(
        tuple(placements),
        tuple(fillings),
        tuple(unexpected),
        tuple(misshapen),
        miscast=tuple(miscast),
        by_name=by_name,
    )


def _broken_alone(sides: Sides, share: Share, contested: AbstractSet[str]) -> list[int]:
    """Those of `_alone` that are broken."""
    natives, tensors, targets = sides.natives, sides.official.tensors, share.targets
    strict, skipped = sides.is_strict, sides.loading.skipped
    broken: list[int] = []
    for place in positions(share.mask):
        target = targets[place]
        if target in contested:
            continue
        native = natives.get(target)
        if native is None:
            if (strict and not target.endswith(skipped)) or _has_no_place(sides, target):
                broken.append(place)
            continue
        tensor = tensors[place]
        if native.shape == tensor.shape and native.shape is not None and native.dtype == tensor.dtype:
            continue
        if _arrival(native, (place,), tensors).verdict == "broken":
            broken.append(place)
    return broken


def _has_no_place(sides: Sides, target: str) -> bool:
    """Whether a tensor is broken whose target is no name of the port."""
    return sides.native is not None and sides.passed_over(target) is None


def without_place(
    sides: Sides, tensor: Tensor, target: str, path: tuple[int, ...], merge: tuple[int, int] | None
) -> KeyPlacement:
    """What becomes of a tensor whose target is no name of the port."""
    passed = sides.passed_over(target)
    if passed is not None and (sides.native is not None or target.endswith(sides.loading.skipped)):
        return KeyPlacement(tensor, target, path, merge, "proven", passed, excluded=True)
    if sides.native is None:
        return KeyPlacement(tensor, target, path, merge, "unknown", _NOT_BUILT)
    return KeyPlacement(tensor, target, path, merge, "broken", NO_PLACE)


class _Arrival(NamedTuple):
    verdict: Verdict
    because: str
    shape_unknown: bool
    misshapen: Misshapen | None
    miscast: Miscast | None


def _arrival(native: Tensor, places: tuple[int, ...], tensors: Sequence[Tensor]) -> _Arrival:
    """How what arrives fits a parameter that it is meant for."""
    shapes = [tensors[place].shape for place in places]
    known = [shape for shape in shapes if shape is not None]
    miscast = _miscast(native, places, tensors)
    if native.shape is None or len(known) != len(shapes):
        verdict: Verdict = "proven" if miscast is None else "broken"
        return _Arrival(verdict, _cast(miscast), True, None, miscast)
    found = concatenated(known)
    if found is not None and _takes(native.shape, found):
        verdict = "proven" if miscast is None else "broken"
        return _Arrival(verdict, _cast(miscast), False, None, miscast)
    if native.reshapes:
        return _Arrival("unknown", _RESHAPED, False, None, miscast)
    text = "cannot be concatenated" if found is None else f"arrives as {list(found)}"
    because = f"the port's {native.name} is {list(native.shape)}, and what is meant for it {text}"
    return _Arrival("broken", because, False, Misshapen(native.name, places, native.shape, found), miscast)


def _takes(expected: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Whether `load_state_dict` takes the shape: equal, or of one dimension where the port has none."""
    return expected == found or (not expected and len(found) == 1)


def _cast(miscast: Miscast | None) -> str:
    if miscast is None:
        return ""
    return f"the port's {miscast.native} is {miscast.expected}, and what arrives is {miscast.found}"


_KINDS: Final = {"F": "floating", "B": "floating", "C": "complex", "I": "integer", "U": "integer"}


def _kind(dtype: str) -> str:
    return "bool" if dtype == "BOOL" else _KINDS.get(dtype[:1], dtype)


def _miscast(native: Tensor, places: tuple[int, ...], tensors: Sequence[Tensor]) -> Miscast | None:
    """Numbers of another kind: the loader casts (`.to(param_dtype)`), and what they mean is lost."""
    for place in places:
        dtype = tensors[place].dtype
        if dtype is None or native.dtype is None or _kind(dtype) == _kind(native.dtype):
            continue
        return Miscast(native.name, places, native.dtype, dtype)
    return None


# --------------------------------------------------------------------------- several sources


def _together(sides: Sides, shares: Sequence[Share], names: AbstractSet[str]) -> Landed:
    """Where the tensors land that share their targets with others."""
    sources: dict[str, list[tuple[Source, tuple[int, ...]]]] = {}
    for share in shares:
        for place in positions(share.mask):
            target = share.targets[place]
            if target in names:
                sources.setdefault(target, []).append((Source(place, share.merge), share.path))
    parts = [_target(sides, target, sorted(found)) for target, found in sources.items()]
    return Landed(
        tuple(item for part in parts for item in part.placements),
        tuple(item for part in parts for item in part.fillings),
        tuple(item for part in parts for item in part.unexpected),
        tuple(item for part in parts for item in part.misshapen),
        tuple(item for part in parts for item in part.tangles),
        tuple(item for part in parts for item in part.miscast),
        sum(part.by_name for part in parts),
        sum(part.merged for part in parts),
    )


def _broken_together(sides: Sides, shares: Sequence[Share], names: AbstractSet[str]) -> list[int]:
    """Those of `_together` that are broken."""
    natives, tensors = sides.natives, sides.official.tensors
    strict, skipped = sides.is_strict, sides.loading.skipped
    broken: list[int] = []
    sources: dict[str, list[Source]] = {}
    for share in shares:
        for place in positions(share.mask):
            target = share.targets[place]
            if target not in names:
                continue
            if strict and target not in natives and not target.endswith(skipped):
                broken.append(place)  # whatever else is sent there
            else:
                sources.setdefault(target, []).append(Source(place, share.merge))
    for target, found in sources.items():
        if _is_broken(sides, tensors, target, sorted(found)):
            broken.extend(source.place for source in found)
    return broken


def _is_broken(sides: Sides, tensors: Sequence[Tensor], target: str, found: Sequence[Source]) -> bool:
    """Whether the sources of one target are broken, which all of them are if one is."""
    native = sides.natives.get(target)
    assembly = assemble(found)
    if native is not None:
        return not assembly.is_clean or _arrival(native, assembly.used, tensors).verdict == "broken"
    if sides.native is not None:
        return _has_no_place(sides, target)
    return not assembly.is_clean and not target.endswith(sides.loading.skipped)


def _target(sides: Sides, target: str, found: Sequence[tuple[Source, tuple[int, ...]]]) -> Landed:
    """What becomes of one target's sources."""
    tensors = sides.official.tensors
    native = sides.natives.get(target)
    if native is None:
        placements = tuple(
            (source.place, without_place(sides, tensors[source.place], target, path, source.merge))
            for source, path in found
        )
        lost = tuple(place for place, placement in placements if placement.verdict == "broken")
        known = sides.native is not None or all(placement.excluded for _, placement in placements)
        assembly = assemble([source for source, _ in found])
        if known or assembly.is_clean:
            return Landed(placements, unexpected=lost)
        return _tangled(sides, target, found, assembly, None)
    assembly = assemble([source for source, _ in found])
    if not assembly.is_clean:
        return _tangled(sides, target, found, assembly, native)
    arrival = _arrival(native, assembly.used, tensors)
    because = arrival.because or (_JOINED_BY_NAME if arrival.shape_unknown else _JOINED)
    placements = tuple(
        (s.place, KeyPlacement(tensors[s.place], target, path, s.merge, arrival.verdict, because))
        for s, path in found
    )
    names = tuple(tensors[place].name for place in assembly.used)
    return Landed(
        placements,
        (ParameterFilling(native, names, arrival.verdict, because),),
        misshapen=(arrival.misshapen,) if arrival.misshapen is not None else (),
        miscast=(arrival.miscast,) if arrival.miscast is not None else (),
        by_name=int(arrival.shape_unknown),
        merged=int(len(names) > 1),
    )


def _tangled(
    sides: Sides,
    target: str,
    found: Sequence[tuple[Source, tuple[int, ...]]],
    assembly: Assembly,
    native: Tensor | None,
) -> Landed:
    """The placements of sources that get in each other's way, or wait for others."""
    tensors = sides.official.tensors
    because = _what_happens(tensors, target, assembly)
    placements = tuple(
        (s.place, KeyPlacement(tensors[s.place], target, path, s.merge, "broken", because))
        for s, path in found
    )
    tangle = Tangle(target, tuple(s for s, _ in found), tuple(path for _, path in found), assembly)
    fillings: tuple[ParameterFilling, ...] = ()
    if native is not None and assembly.used:
        names = tuple(tensors[place].name for place in assembly.used)
        fillings = (ParameterFilling(native, names, "broken", because),)
    return Landed(placements, fillings, tangles=(tangle,))


def _what_happens(tensors: Sequence[Tensor], target: str, assembly: Assembly) -> str:
    if assembly.raises is not None:
        return f"the loader stops with KeyError: {assembly.raises}, an index that no source of {target} gives"
    if assembly.repeated:
        one, two = assembly.repeated[0]
        return f"{tensors[one].name} and {tensors[two].name} give {target} one index: the later one counts"
    if assembly.waiting:
        return f"the group of {target} never completes, and the loader drops it without a word"
    if assembly.lost:
        names = f"{tensors[assembly.used[0]].name} overwrites {tensors[assembly.lost[0]].name}"
        return f"{names} at {target}: which one stays depends on the order of the keys"
    counts = " and ".join(str(count) for count in assembly.counts)
    return (
        f"the sources of {target} name counts of {counts}; the loader heeds that of the last key only, so "
        "that another order of the keys breaks it"
    )
