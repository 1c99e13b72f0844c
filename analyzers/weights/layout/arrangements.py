"""The orders in which a conversion can lay out the elements of a tensor, and which of them are conceivable.

An arrangement answers, for each element of what was converted, which element of the expected tensor (the
mapping's sources, one after the other on dimension 0) lies there. Elements are counted flat, in row-major
order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, combinations, permutations
from math import gcd, prod
from typing import Literal, Protocol, TypeAlias

LayoutKind: TypeAlias = Literal[
    "identical",  # one source, as it is
    "concatenated",  # several sources, one after the other in the order of the merge
    "reordered",  # the same pieces in another order
    "swapped",  # two halves exchanged (gate and up, shift and scale)
    "interleaved",  # pieces alternate, head by head or row by row
    "separated",  # the source alternates, the converted tensor does not
    "rope",  # rows within heads permuted between interleaved pairs and halves
    "transposed",  # two dimensions exchanged
    "axes",  # dimensions in another order (a convolution's kernel)
    "reshaped",  # the same bytes under a shape that would need a transposition
    "stacked",  # concatenated on dimension 1
    "columns",  # input columns in another order
    "reversed",  # last row first
    "rolled",  # rows moved by a constant
    "permuted",  # the same rows in an order that none of the known ones explains
    "other tensor",  # rows of official tensors that the mapping places elsewhere
    "located",  # the mapping names no source; these are the rows of an official tensor
    "values",  # none of these
    "shape",  # another number of elements
    "absent",  # not in one of the checkpoints
    "unread",  # its bytes cannot be compared
]


class Arrangement(Protocol):
    """An order. `run`: within blocks of so many elements neighbours stay neighbours."""

    @property
    def run(self) -> int: ...

    def at(self, flat: int) -> int:
        """The expected tensor's element that lies at an element of what was converted."""


@dataclass(frozen=True)
class AsIs:
    """The expected order. `size`: elements."""

    size: int

    @property
    def run(self) -> int:
        return self.size

    def at(self, flat: int) -> int:
        return flat


@dataclass(frozen=True)
class Axes:
    """`expected.reshape(dims).permute(order)`."""

    dims: tuple[int, ...]
    order: tuple[int, ...]

    @cached_property
    def _steps(self) -> tuple[tuple[int, int], ...]:
        """Size and stride of each axis, the fastest first."""
        strides = [prod(self.dims[axis + 1 :]) for axis in range(len(self.dims))]
        return tuple((self.dims[axis], strides[axis]) for axis in reversed(self.order))

    @cached_property
    def run(self) -> int:
        kept = 1
        for axis in reversed(range(len(self.dims))):
            if self.order[axis] != axis:
                break
            kept *= self.dims[axis]
        return kept

    def at(self, flat: int) -> int:
        found = 0
        for size, stride in self._steps:
            flat, index = divmod(flat, size)
            found += index * stride
        return found


@dataclass(frozen=True)
class Pieces:
    """Pieces of `sizes` elements in another `order`."""

    sizes: tuple[int, ...]
    order: tuple[int, ...]

    @cached_property
    def _tables(self) -> tuple[list[int], list[int]]:
        starts = [0, *accumulate(self.sizes)]
        placed = [0, *accumulate(self.sizes[piece] for piece in self.order)]
        return placed, [starts[piece] for piece in self.order]

    @cached_property
    def run(self) -> int:
        return gcd(*self.sizes)

    def at(self, flat: int) -> int:
        placed, starts = self._tables
        index = bisect_right(placed, flat) - 1
        return starts[index] + flat - placed[index]


@dataclass(frozen=True)
class Alternating:
    """Of every piece a part, `groups` times: part 0 of each piece, then part 1 of each, and so on, the
    pieces in `order`."""

    sizes: tuple[int, ...]
    groups: int
    order: tuple[int, ...]

    @cached_property
    def _tables(self) -> tuple[int, list[int], list[int], list[int]]:
        parts = [self.sizes[piece] // self.groups for piece in self.order]
        starts = [0, *accumulate(self.sizes)]
        return (
            sum(parts),
            [0, *accumulate(parts)],
            [starts[piece] for piece in self.order],
            parts,
        )

    @cached_property
    def run(self) -> int:
        return gcd(*(size // self.groups for size in self.sizes))

    def at(self, flat: int) -> int:
        group_size, inside, starts, parts = self._tables
        group, rest = divmod(flat, group_size)
        index = bisect_right(inside, rest) - 1
        return starts[index] + group * parts[index] + rest - inside[index]


@dataclass(frozen=True)
class Separated:
    """The inverse of `Alternating`: the expected tensor alternates, what was converted does not."""

    sizes: tuple[int, ...]
    groups: int

    @cached_property
    def _tables(self) -> tuple[int, list[int], list[int]]:
        parts = [size // self.groups for size in self.sizes]
        return sum(parts), [0, *accumulate(self.sizes)], [0, *accumulate(parts)]

    @cached_property
    def run(self) -> int:
        return gcd(*(size // self.groups for size in self.sizes))

    def at(self, flat: int) -> int:
        group_size, starts, inside = self._tables
        piece = bisect_right(starts, flat) - 1
        group, rest = divmod(flat - starts[piece], inside[piece + 1] - inside[piece])
        return group * group_size + inside[piece] + rest


@dataclass(frozen=True)
class Each:
    """Every piece arranged in its own way, in place."""

    sizes: tuple[int, ...]
    within: tuple[Arrangement, ...]

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(self.sizes)]

    @cached_property
    def run(self) -> int:
        return gcd(*self.sizes, *(each.run for each in self.within))

    def at(self, flat: int) -> int:
        piece = bisect_right(self._starts, flat) - 1
        start = self._starts[piece]
        return start + self.within[piece].at(flat - start)


@dataclass(frozen=True)
class Columns:
    """Every row of `width` elements arranged in the same way."""

    width: int
    within: Arrangement

    @property
    def run(self) -> int:
        return gcd(self.width, self.within.run)

    def at(self, flat: int) -> int:
        row, column = divmod(flat, self.width)
        return row * self.width + self.within.at(column)


@dataclass(frozen=True)
class Then:
    """`first` makes of the expected tensor what `second` then rearranges."""

    first: Arrangement
    second: Arrangement

    @property
    def run(self) -> int:
        return gcd(self.first.run, self.second.run)

    def at(self, flat: int) -> int:
        return self.first.at(self.second.at(flat))


@dataclass(frozen=True)
class Backwards:
    """The last of `rows` rows first."""

    rows: int
    width: int

    @property
    def run(self) -> int:
        return self.width

    def at(self, flat: int) -> int:
        row, column = divmod(flat, self.width)
        return (self.rows - 1 - row) * self.width + column


@dataclass(frozen=True)
class Rolled:
    """Rows moved by a constant: the row `shift` comes first."""

    rows: int
    width: int
    shift: int

    @property
    def run(self) -> int:
        return self.width

    def at(self, flat: int) -> int:
        row, column = divmod(flat, self.width)
        return (row + self.shift) % self.rows * self.width + column


@dataclass(frozen=True)
class Hypothesis:
    """An arrangement that is conceivable. `found`: what it makes, for a person; `{0}`, `{1}` stand for the
    names of the pieces."""

    kind: LayoutKind
    found: str
    map: Arrangement


@dataclass(frozen=True)
class Heads:
    """What is known of attention heads: their numbers, the rows of each, and the parts of a head that a
    rotary embedding treats on their own."""

    counts: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    axes: tuple[tuple[int, ...], ...] = ()

    def groups(self, rows: int) -> tuple[int, ...]:
        """Numbers of heads that fit a projection of so many rows."""
        fitting = [count for count in self.counts if 1 < count < rows and rows % count == 0]
        fitting += [rows // size for size in self.sizes if 1 < size < rows and rows % size == 0]
        return tuple(dict.fromkeys(fitting))


def heads_in(*configs: Mapping[str, object] | None) -> Heads:
    """What `config.json` says of heads: numbers under keys with `head` (with `dim` or `size`: of one head),
    lists of the parts of a head under keys with `rope` or `axes`."""
    counts: list[int] = []
    sizes: list[int] = []
    axes: list[tuple[int, ...]] = []
    for config in configs:
        for key, value in (config or {}).items():
            if "head" in key and isinstance(value, int) and not isinstance(value, bool) and value > 1:
                (sizes if "dim" in key or "size" in key else counts).append(value)
            if ("rope" in key or "axes" in key) and isinstance(value, (list, tuple)):
                parts = tuple(part for part in value if isinstance(part, int) and part > 0 and part % 2 == 0)
                if len(parts) == len(value) and len(parts) > 1:
                    axes.append(parts)
    sizes += [sum(parts) for parts in axes]
    return Heads(tuple(dict.fromkeys(counts)), tuple(dict.fromkeys(sizes)), tuple(dict.fromkeys(axes)))


_USUAL_HEADS = (64, 128)
_MOST_AXES = 5


@dataclass(frozen=True)
class Form:
    """Shapes that take part: of the expected pieces, and of what was found, without dimensions of 1."""

    pieces: tuple[tuple[int, ...], ...]
    found: tuple[int, ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(prod(shape) for shape in self.pieces)

    @cached_property
    def width(self) -> int:
        """Elements of a row of the expected tensor."""
        return prod(self.pieces[0][1:])

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of each piece."""
        return tuple(size // self.width for size in self.sizes)

    @cached_property
    def expected(self) -> tuple[int, ...]:
        """The shape after concatenation; flat where the pieces cannot be concatenated."""
        if len({shape[1:] for shape in self.pieces}) == 1 and self.pieces[0]:
            return (sum(self.rows), *self.pieces[0][1:])
        return self.pieces[0] if len(self.pieces) == 1 else (sum(self.sizes),)

    @cached_property
    def fits(self) -> bool:
        """Whether the expected bytes as they are have the found shape: equal, or with neighbouring
        dimensions written as one (a convolution as a linear layer, a table as a row)."""
        return _merges(self.expected, self.found) or _merges(self.found, self.expected)


def form_of(pieces: Iterable[tuple[int, ...]], found: tuple[int, ...]) -> Form:
    """The form of tensors of these shapes."""
    return Form(tuple(_squeezed(shape) for shape in pieces), _squeezed(found))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _merges(fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
    """Whether the dimensions of `coarse` are products of neighbouring ones of `fine`."""
    rest = list(fine)
    for size in coarse:
        product = 1
        while product < size and rest:
            product *= rest.pop(0)
        if product != size:
            return False
    return not rest


def conceivable(form: Form, heads: Heads, *, thorough: bool) -> Iterator[Hypothesis]:
    """Orders other than the expected one that give the found shape.

    `thorough`: with every number of heads that divides the rows, and with combinations; otherwise those
    that are known, or usual.
    """
    if len(form.found) == len(form.expected) == 0:
        return
    if any(size % form.width for size in form.sizes):
        return  # pieces of different widths: they cannot be concatenated
    if not form.fits:
        yield Hypothesis("reshaped", "the same bytes under another shape", AsIs(sum(form.sizes)))
    else:
        yield from _rows(form, heads, thorough)
        yield from _columns(form)
    yield from _axes(form)


def _rows(form: Form, heads: Heads, thorough: bool) -> Iterator[Hypothesis]:
    """Orders that move rows, or parts of rows of tensors of one dimension."""
    total, width = sum(form.rows), form.width
    if len(form.pieces) > 1:
        yield from _of_pieces(form.rows, width, heads, thorough, named=True)
        yield from _rotary(form.rows, width, heads, thorough)
    else:
        for count in (2, 3, 4, 6, 8, 9, 12):
            if total % count == 0 and total > count:
                yield from _of_pieces((total // count,) * count, width, heads, thorough, named=False)
            elif total == count:
                yield from _orders((1,) * count, width, named=False)
        for rows in _grouped_queries(total, heads):
            yield from _of_pieces(rows, width, heads, thorough, named=False)
        yield from _rotary((total,), width, heads, thorough)
        if total % 3 == 0:
            yield from _rotary((total // 3,) * 3, width, heads, thorough)
    yield Hypothesis("reversed", "the last row first", Backwards(total, width))
    for shift in dict.fromkeys((1, total - 1)):
        yield Hypothesis("rolled", f"rows moved by {shift}", Rolled(total, width, shift))


def _grouped_queries(total: int, heads: Heads) -> Iterator[tuple[int, int, int]]:
    """Rows of q, k and v of a fused projection with fewer heads in k and v, as known numbers allow."""
    for size in heads.sizes:
        for queries in heads.counts:
            for others in heads.counts:
                if others < queries and (queries + 2 * others) * size == total:
                    yield queries * size, others * size, others * size


def _of_pieces(
    rows: tuple[int, ...], width: int, heads: Heads, thorough: bool, *, named: bool
) -> Iterator[Hypothesis]:
    """The pieces in other orders, and alternating."""
    count, sizes = len(rows), tuple(each * width for each in rows)
    yield from _orders(rows, width, named=named)
    labels = _labels(count, named)
    for groups in _head_counts(rows, heads, thorough):
        alternating = [tuple(range(count))]
        if thorough and count in (2, 3):
            alternating = list(permutations(range(count)))
        for order in alternating:
            told = ", ".join(labels[piece] for piece in order)
            if groups == min(rows):
                how = f"row by row ({told} in turn)"
            else:
                how = (
                    f"head by head ({told} of head 0, then of head 1; {groups} heads of "
                    f"{rows[0] // groups} rows)"
                )
            yield Hypothesis("interleaved", how, Alternating(sizes, groups, order))
        if not named and count < 8:
            yield Hypothesis(
                "separated",
                f"as {count} blocks of what the source has in turn ({groups} groups of "
                f"{rows[0] // groups} rows)",
                Separated(sizes, groups),
            )


def _orders(rows: tuple[int, ...], width: int, *, named: bool) -> Iterator[Hypothesis]:
    """All orders of up to four pieces; of more, exchanges of two and turns, as others are inferred."""
    count, sizes = len(rows), tuple(each * width for each in rows)
    plain = tuple(range(count))
    orders: Iterable[tuple[int, ...]] = permutations(plain)
    if count > 4:
        orders = (
            *(_exchanged(plain, *pair) for pair in combinations(plain, 2)),
            *(plain[shift:] + plain[:shift] for shift in range(1, count)),
            plain[::-1],
        )
    for order in orders:
        if order != plain:
            yield ordered(sizes, order, named=named)


def ordered(sizes: tuple[int, ...], order: tuple[int, ...], *, named: bool) -> Hypothesis:
    """The pieces of these sizes (elements) in another order."""
    labels = _labels(len(sizes), named)
    kind: LayoutKind = "swapped" if len(sizes) == 2 else "reordered"
    return Hypothesis(
        kind, "in the order " + ", ".join(labels[piece] for piece in order), Pieces(sizes, order)
    )


def _exchanged(plain: tuple[int, ...], one: int, other: int) -> tuple[int, ...]:
    changed = list(plain)
    changed[one], changed[other] = other, one
    return tuple(changed)


def _labels(count: int, named: bool) -> list[str]:
    """Names of the pieces: of their sources, or by number."""
    return [f"{{{index}}}" if named else f"part {index + 1} of {count}" for index in range(count)]


def _head_counts(rows: Sequence[int], heads: Heads, thorough: bool) -> tuple[int, ...]:
    """Numbers of heads to try, that divide all pieces; the number of rows too: row by row."""
    smallest, common = min(rows), gcd(*rows)
    counts = [count for each in dict.fromkeys(rows) for count in heads.groups(each)]
    if thorough:
        counts += _divisors(common)
    elif not counts:
        counts += [smallest // size for size in _USUAL_HEADS if smallest % size == 0]
    counts.append(common)
    return tuple(count for count in dict.fromkeys(counts) if count > 1 and common % count == 0)


def _divisors(number: int) -> list[int]:
    low = [each for each in range(1, int(number**0.5) + 1) if number % each == 0]
    return sorted({*low, *(number // each for each in low)})


def _rotary(rows: tuple[int, ...], width: int, heads: Heads, thorough: bool) -> Iterator[Hypothesis]:
    """Rows within each head between (pair, 2) and (2, pair), of q and k, or of the pieces that are given;
    heads are of one size in all pieces (there may be fewer of k and v)."""
    sizes = tuple(each * width for each in rows)
    every = tuple(range(len(rows)))
    chosen = [every[:2], every] if len(rows) > 2 else [every]
    if thorough and len(rows) > 1:
        chosen += [(piece,) for piece in every]
    for parts in _head_parts(rows, heads, thorough):
        head = sum(parts)
        counted = f"{rows[0] // head} heads of {head} rows"
        if len(parts) > 1:
            counted += f", in parts of {', '.join(map(str, parts))}"
        for pieces in chosen:
            whose = "" if pieces == every else f" of piece {' and '.join(str(p + 1) for p in pieces)}"
            for to_halves in (True, False):
                how = "interleaved pairs to halves" if to_halves else "halves to interleaved pairs"
                how = f"{whose} permuted as for rotary embeddings ({how}; {counted})"
                within = tuple(
                    _rotated(each, parts, width, to_halves) if piece in pieces else AsIs(each * width)
                    for piece, each in enumerate(rows)
                )
                turned = within[0] if len(rows) == 1 else Each(sizes, within)
                yield Hypothesis("rope", f"with the rows of each head{how}", turned)
                if thorough and len(rows) == 3 and len(pieces) == 2:
                    groups = min(rows) // head
                    yield Hypothesis(
                        "interleaved",
                        f"head by head, with the rows of each head{how}",
                        Then(turned, Alternating(sizes, groups, every)),
                    )


def _head_parts(rows: tuple[int, ...], heads: Heads, thorough: bool) -> Iterator[tuple[int, ...]]:
    """The parts of a head that are rotated on their own: the head as one, and the known axes."""
    seen = set()
    for groups in (1, *_head_counts(rows, heads, thorough)):
        head = min(rows) // groups
        if head >= 4 and head % 2 == 0 and min(rows) % groups == 0 and not any(each % head for each in rows):
            seen.add((head,))
            yield (head,)
    for parts in heads.axes:
        if parts not in seen and not any(each % sum(parts) for each in rows):
            yield parts


def _rotated(rows: int, parts: tuple[int, ...], width: int, to_halves: bool) -> Arrangement:
    """Every head of `rows`, each of its parts on its own."""
    if len(parts) == 1:
        (head,) = parts
        half, count = head // 2, rows // head
        dims = (count, half, 2, width) if to_halves else (count, 2, half, width)
        return Axes(dims, (0, 2, 1, 3))
    one = Each(
        tuple(part * width for part in parts),
        tuple(_rotated(part, (part,), width, to_halves) for part in parts),
    )
    count = rows // sum(parts)
    return Each((sum(parts) * width,) * count, (one,) * count)


def _columns(form: Form) -> Iterator[Hypothesis]:
    """Input columns in other orders: what is concatenated before a projection."""
    if len(form.expected) < 2:
        return
    width = form.width
    for count in (2, 3, 5):
        if width % count == 0 and width > count:
            sizes, plain = (width // count,) * count, tuple(range(count))
            orders: Iterable[tuple[int, ...]] = permutations(plain)
            if count == 5:
                orders = (plain[shift:] + plain[:shift] for shift in range(1, count))
            for order in orders:
                if order != plain:
                    told = ", ".join(str(piece + 1) for piece in order)
                    yield Hypothesis(
                        "columns",
                        f"with its input columns in another order (parts {told} of {count})",
                        Columns(width, Pieces(sizes, order)),
                    )


def _axes(form: Form) -> Iterator[Hypothesis]:
    """Dimensions in another order."""
    whole = form.expected
    if 1 < len(whole) <= _MOST_AXES:
        plain = tuple(range(len(whole)))
        for order in permutations(plain):
            moved = tuple(whole[axis] for axis in order)
            if order != plain and (_merges(moved, form.found) or _merges(form.found, moved)):
                kind: LayoutKind = "transposed" if len(whole) == 2 else "axes"
                how = "transposed" if len(whole) == 2 else f"with its dimensions in the order {list(order)}"
                yield Hypothesis(kind, how, Axes(whole, order))
    if len(form.pieces) > 1 and len(set(form.pieces)) == 1 and len(form.pieces[0]) == 2:
        count, (rows, columns) = len(form.pieces), form.pieces[0]
        if form.found == (rows, count * columns):
            yield Hypothesis(
                "stacked", "concatenated on dimension 1", Axes((count, rows, columns), (1, 0, 2))
            )
        if form.found == (count * columns, rows):
            yield Hypothesis(
                "transposed",
                "each transposed, then concatenated",
                Axes((count, rows, columns), (0, 2, 1)),
            )
