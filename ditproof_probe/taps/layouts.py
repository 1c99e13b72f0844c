"""Bringing two tensors together that hold the same values in another order or form.

A layout is found on values, never assumed from shapes where shapes leave a choice. Two ways:

* **Matching.** Values that are all different tell by themselves where each went: sorted side by side they
  give a permutation, and that falls apart into *atoms*, nested loops each with a length and a stride
  (permuted axes, flattened or split heads, windows and patches, halves against interleaved pairs, reversed
  order), or, within one shape, into an order of the slices along one axis (rolled or shuffled tokens).
* **Trying.** Where the values also differ (an error and another form at once), the few forms that the two
  shapes allow are tried, and one is taken that is far nearer than the next.

Values that are constant, repeated or symmetric say nothing: no order is claimed on them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ditproof_probe.taps.fingerprints import wide

_TOLERANCE = 1e-3
"""Relative L2 within which values are the same: above what an eps or a GELU variant does, far below 1.4, what
two unrelated tensors differ by."""
_REGULAR = 0.9
"""How many places must follow the pattern; close neighbours change places by rounding."""
_MOST_AXES = 6
_MOST_TIES = 0.01
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Layout:
    """The order of a native tensor, in terms of its official one.

    `words`: for a person, after the manner of einops. `reorders`: it exchanges values where the shapes give
    no reason to. `source`: for each place of the native tensor, row by row, the place in the official one;
    None for the same order in another form.
    """

    words: str
    reorders: bool
    official: tuple[int, ...]
    native: tuple[int, ...]
    source: torch.Tensor | None

    def to_native(self, official: torch.Tensor) -> torch.Tensor:
        """An official tensor in the native order and form."""
        flat = official.reshape(-1)
        if self.source is not None:
            flat = flat[self.source.to(flat.device)]
        return flat.reshape(self.native)

    def to_official(self, native: torch.Tensor) -> torch.Tensor:
        """A native tensor in the official order and form."""
        flat = native.reshape(-1)
        if self.source is not None:
            found = torch.empty_like(flat)
            found[self.source.to(flat.device)] = flat
            flat = found
        return flat.reshape(self.official)

    def fits(self, official: torch.Tensor, native: torch.Tensor) -> bool:
        """Whether it is about tensors of these shapes."""
        return tuple(official.shape) == self.official and tuple(native.shape) == self.native


def find(official: torch.Tensor, native: torch.Tensor, hint: Layout | None = None) -> Layout | None:
    """The layout that brings two tensors together, None where there is none or more than one.

    Tensors of one shape that agree, or differ otherwise than by order, have none. `hint`: a layout that was
    found at this place before; it is taken where the shapes leave a choice and the values do not tell.
    """
    if official.numel() != native.numel() or not official.numel():
        return None
    same_shape = official.shape == native.shape
    right, left = wide(official), wide(native)
    if right.is_complex() != left.is_complex():
        return None
    plain = _apart(right, left)
    shapes = (tuple(official.shape), tuple(native.shape))
    if same_shape and (plain <= 20 * _TOLERANCE or _apart(right, -left) <= _TOLERANCE):
        return None
    if _squeezed(shapes[0]) == _squeezed(shapes[1]) and not same_shape:
        if plain <= _TOLERANCE:
            return _form(*shapes)
        return _by_matching(right, left, *shapes) or _form(*shapes)
    if same_shape:
        found = _by_matching(right, left, *shapes)
        return found if found is not None and found.source is not None else None
    found = _by_matching(right, left, *shapes)
    if found is not None:
        return found
    if hint is not None and hint.fits(official, native) and not hint.reorders:
        return hint
    return _by_trying(right, left, *shapes)


def _form(official: tuple[int, ...], native: tuple[int, ...]) -> Layout:
    """The same order of values in another form. Where both have the same axes in another order, that form is
    not what the shapes say."""
    source = None
    words = _words(_named_identity(official, native), official, native)
    exchanged = _squeezed(official) != _squeezed(native) and sorted(_squeezed(official)) == sorted(
        _squeezed(native)
    )
    return Layout(words + (", read row by row" if exchanged else ""), exchanged, official, native, source)


# --------------------------------------------------------------------------- matching


def _by_matching(
    right: torch.Tensor, left: torch.Tensor, official: tuple[int, ...], native: tuple[int, ...]
) -> Layout | None:
    if right.is_complex() or not (bool(right.isfinite().all()) and bool(left.isfinite().all())):
        return None
    ordered, places = right.sort()
    ordered_left, places_left = left.sort()
    if _apart(ordered, ordered_left) > _TOLERANCE or _repeated(ordered):
        return None
    source = torch.empty_like(places)
    source[places_left] = places
    atoms = _atoms(source)
    if atoms is not None:
        exact = _composed(atoms)
        if not _is_permutation(exact) or _apart(right[exact], left) > _TOLERANCE:
            return None
        cut = _cut(atoms, official, native)
        identity = all(stride > 0 for _, stride in atoms.loops) and torch.equal(
            exact, torch.arange(len(exact))
        )
        if identity:
            return _form(official, native)
        if cut is None:
            return Layout(f"{_shape(official)} in another order", True, official, native, exact)
        words = _words(cut, official, native)
        return Layout(words, _reorders(cut, official, native), official, native, exact)
    if official == native:
        return _by_axis(right, left, official)
    return None


def _repeated(ordered: torch.Tensor) -> bool:
    """Whether too few values differ from one another to tell where each went."""
    if len(ordered) < 8:
        return bool((ordered[1:] == ordered[:-1]).any()) or len(ordered) < 3
    return float((ordered[1:] == ordered[:-1]).double().mean()) > _MOST_TIES


@dataclass(frozen=True)
class _Atoms:
    """Nested loops, outermost first, each (length, stride), that visit the official places in native order
    from `offset` on."""

    loops: tuple[tuple[int, int], ...]
    offset: int


def _atoms(source: torch.Tensor) -> _Atoms | None:
    """The loops behind a permutation, None for an irregular one. Single places may be off."""
    loops: list[tuple[int, int]] = []
    current = source
    while len(current) > 1:
        found = _innermost(current)
        if found is None:
            return None
        length, stride = found
        loops.insert(0, found)
        rows = current.reshape(-1, length) - torch.arange(length) * stride
        current = rows.mode(dim=1).values
    return _Atoms(tuple(loops), int(current[0]))


def _innermost(places: torch.Tensor) -> tuple[int, int] | None:
    """Length and stride of the innermost loop: the longest rows whose steps are all the same."""
    steps = places[1:] - places[:-1]
    stride = int(steps.mode().values)
    for length in _divisors(len(places)):
        rows = places.reshape(-1, length) - torch.arange(length) * stride
        if float((rows == rows.mode(dim=1, keepdim=True).values).double().mean()) >= _REGULAR:
            return length, stride
    return None


def _divisors(number: int) -> Iterator[int]:
    """From the number itself downwards, without 1."""
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    yield from sorted({number // n for n in small} | set(small) - {1}, reverse=True)


def _composed(atoms: _Atoms) -> torch.Tensor:
    places = torch.tensor([atoms.offset])
    for length, stride in atoms.loops:
        places = (places[:, None] + torch.arange(length) * stride).reshape(-1)
    return places


def _is_permutation(places: torch.Tensor) -> bool:
    return bool(torch.equal(places.sort().values, torch.arange(len(places))))


def _by_axis(right: torch.Tensor, left: torch.Tensor, shape: tuple[int, ...]) -> Layout | None:
    """Another order of the slices along one axis, found by what each slice holds."""
    generator = torch.Generator().manual_seed(0)
    for axis, length in enumerate(shape):
        if length < 3 or length == math.prod(shape):
            continue
        official = right.reshape(shape).movedim(axis, 0).reshape(length, -1)
        native = left.reshape(shape).movedim(axis, 0).reshape(length, -1)
        weights = torch.randn(official.shape[1], generator=generator, dtype=torch.float64)
        distances = (native @ weights)[:, None] - (official @ weights)[None, :]
        order = distances.abs().argmin(dim=1)
        if not _is_permutation(order) or _apart(official[order], native) > _TOLERANCE:
            continue
        if _apart(official[1:], official[:-1]) < 100 * _TOLERANCE:
            return None  # slices that are alike tell no order
        places = torch.arange(math.prod(shape)).reshape(shape).movedim(axis, 0)[order].movedim(0, axis)
        return Layout(
            f"axis {axis} {_order_in_words(order.tolist())}", True, shape, shape, places.reshape(-1)
        )
    return None


def _order_in_words(order: list[int]) -> str:
    length = len(order)
    if order == [*reversed(range(length))]:
        return "reversed"
    if order == [(order[0] + step) % length for step in range(length)]:
        return f"rolled by {(length - order[0]) % length}"
    moved = sum(place != index for index, place in enumerate(order))
    return f"in another order ({moved} of {length} moved)"


# --------------------------------------------------------------------------- atoms and axes


@dataclass(frozen=True)
class _Part:
    """An atom within one official and one native axis (unit axes left out); `stride` in the official."""

    length: int
    stride: int
    official_axis: int
    native_axis: int


def _cut(atoms: _Atoms, official: tuple[int, ...], native: tuple[int, ...]) -> tuple[_Part, ...] | None:
    """The loops cut at the borders of both shapes' axes, in native order; None where a border falls amid."""
    loops = list(atoms.loops)
    for border in _strides(official)[:-1]:
        for place, (length, stride) in enumerate(loops):
            step = abs(stride)
            if step < border < step * length:
                if border % step or length % (border // step):
                    return None
                inner = border // step
                loops[place : place + 1] = [(length // inner, stride * inner), (inner, stride)]
                break
    for border in _strides(native)[:-1]:
        done = 1
        for place in range(len(loops) - 1, -1, -1):
            length, stride = loops[place]
            if done < border < done * length:
                if border % done or length % (border // done):
                    return None
                inner = border // done
                loops[place : place + 1] = [(length // inner, stride * inner), (inner, stride)]
                break
            done *= length
    parts = []
    done = math.prod(native)
    for length, stride in loops:
        done //= length
        if length > 1:
            parts.append(_Part(length, stride, _axis_of(abs(stride), official), _axis_of(done, native)))
    return tuple(parts)


def _named_identity(official: tuple[int, ...], native: tuple[int, ...]) -> tuple[_Part, ...]:
    total = math.prod(official)
    return _cut(_Atoms(((total, 1),), 0), official, native) or ()


def _strides(shape: tuple[int, ...]) -> list[int]:
    """What each axis (units left out) counts in; the innermost is 1."""
    sizes = _squeezed(shape)
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))] or [1]


def _axis_of(stride: int, shape: tuple[int, ...]) -> int:
    for axis, unit in enumerate(_strides(shape)):
        if stride >= unit:
            return axis
    return 0


def _reorders(parts: Sequence[_Part], official: tuple[int, ...], native: tuple[int, ...]) -> bool:
    """Whether the shapes do not call for it: a reversed loop, axes merged or split in another order, or any
    change at all within the same shape."""
    if _squeezed(official) == _squeezed(native) or any(part.stride < 0 for part in parts):
        return True
    for axis in {part.native_axis for part in parts}:
        merged = [part.stride for part in parts if part.native_axis == axis]
        if merged != sorted(merged, reverse=True):
            return True
    for axis in {part.official_axis for part in parts}:
        split = [part.stride for part in parts if part.official_axis == axis]
        if split != sorted(split, reverse=True):
            return True
    return False


def _words(parts: Sequence[_Part], official: tuple[int, ...], native: tuple[int, ...]) -> str:
    """`axes (0, 2, 1, 3)` where whole axes changed places, else a pattern (`a b (c1 c2) -> a c1 b c2`)."""
    if not parts:
        return f"{_shape(official)} as {_shape(native)}"
    names: dict[tuple[int, int], str] = {}
    lengths: list[str] = []
    for axis in sorted({part.official_axis for part in parts}):
        own = sorted((p for p in parts if p.official_axis == axis), key=lambda p: -abs(p.stride))
        for place, part in enumerate(own, 1):
            name = _LETTERS[axis % 26] + (str(place) if len(own) > 1 else "")
            names[axis, part.stride] = name
            if len(own) > 1:
                lengths.append(f"{name}={part.length}")

    def side(of_native: bool) -> str:
        groups: dict[int, list[_Part]] = {}
        ordered = parts if of_native else sorted(parts, key=lambda p: -abs(p.stride))
        for part in ordered:
            groups.setdefault(part.native_axis if of_native else part.official_axis, []).append(part)
        texts = []
        for group in groups.values():
            inner = " ".join(
                names[p.official_axis, p.stride] + ("~" if of_native and p.stride < 0 else "") for p in group
            )
            texts.append(f"({inner})" if len(group) > 1 else inner)
        return " ".join(texts)

    whole = len(names) == len(_squeezed(official)) == len(_squeezed(native)) and len(official) == len(native)
    if whole and len(_squeezed(official)) == len(official) and all(p.stride > 0 for p in parts):
        return f"axes {tuple(part.official_axis for part in parts)}"
    pattern = f"{side(False)} -> {side(True)}"
    if any(part.stride < 0 for part in parts):
        pattern += " (~ reversed)"
    elif side(False) == side(True):
        return f"{_shape(official)} as {_shape(native)}"
    return pattern + (f", {', '.join(lengths)}" if lengths else "")


# --------------------------------------------------------------------------- trying


def _by_trying(
    right: torch.Tensor, left: torch.Tensor, official: tuple[int, ...], native: tuple[int, ...]
) -> Layout | None:
    """The form among those that whole axes allow which is far nearer than the next; the only one that there
    is, however far."""
    ranked = sorted(
        ((_apart(right[source], left), source) for source in _forms(official, native)),
        key=lambda item: item[0],
    )
    if not ranked:
        return None
    (best, source), rest = ranked[0], ranked[1:]
    if rest and not (best < 1.0 and best < 0.8 * rest[0][0]):
        return None
    if torch.equal(source, torch.arange(len(source))):
        return _form(official, native)
    atoms = _atoms(source)
    cut = None if atoms is None else _cut(atoms, official, native)
    words = f"{_shape(official)} as {_shape(native)}" if cut is None else _words(cut, official, native)
    reorders = cut is None or _reorders(cut, official, native)
    return Layout(words, reorders, official, native, source)


def _forms(official: tuple[int, ...], native: tuple[int, ...]) -> list[torch.Tensor]:
    """The orders that permuting whole axes of the finer shape and merging neighbours can make, each once."""
    short, long = _squeezed(official), _squeezed(native)
    fine_is_native = len(long) > len(short)
    fine, coarse = (long, short) if fine_is_native else (short, long)
    if len(fine) > _MOST_AXES:
        return []
    found: list[torch.Tensor] = []
    places = torch.arange(math.prod(fine))
    for order in itertools.permutations(range(len(fine))):
        if not _merges([fine[axis] for axis in order], coarse):
            continue
        source = places.reshape(fine).permute(order).reshape(-1)
        if fine_is_native:
            source = source.argsort()
        if not any(torch.equal(source, other) for other in found):
            found.append(source)
    return found


def _merges(sizes: Sequence[int], coarse: Sequence[int]) -> bool:
    """Whether neighbours can be multiplied to the sizes of `coarse`."""
    wanted = iter(coarse)
    product, goal = 1, next(wanted, None)
    for size in sizes:
        product *= size
        if product == goal:
            product, goal = 1, next(wanted, None)
        elif goal is None or product > goal:
            return False
    return goal is None and product == 1


# --------------------------------------------------------------------------- small things


def _apart(right: torch.Tensor, left: torch.Tensor) -> float:
    """Relative L2 of what is finite on both sides; infinite where nothing is, or one side alone is not."""
    finite = right.isfinite()
    if not torch.equal(finite, left.isfinite()):
        return math.inf
    if not bool(finite.all()):
        right, left = right[finite], left[finite]
    if not right.numel():
        return math.inf
    scale = float(torch.linalg.vector_norm(right)) or float(torch.linalg.vector_norm(left))
    return float(torch.linalg.vector_norm(left - right)) / scale if scale else 0.0


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
