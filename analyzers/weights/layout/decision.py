"""How one converted tensor lies: the expected order first, then every other that is conceivable."""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from analyzers.weights.files.headers import TensorPlace
from analyzers.weights.layout.arrangements import (
    AsIs,
    Form,
    Heads,
    Hypothesis,
    LayoutKind,
    Rolled,
    conceivable,
    form_of,
    ordered,
)
from analyzers.weights.layout.casts import castable, item_size, narrows
from analyzers.weights.layout.laid import BLOCK, BudgetSpentError, Laid, RangeReader, UnreadableTensorError
from analyzers.weights.layout.official_rows import OfficialRows, Stretch, sampled, varied
from analyzers.weights.layout.samples import Pair, Plan, differing, plan, scattered
from analyzers.weights.layout.texts import labels_of, told
from analyzers.weights.layout.verdicts import CastKind, LayoutVerdict


@dataclass(frozen=True)
class Task:
    """One tensor of the converted checkpoint. `official`: the names of its sources in merge order with their
    `pieces`; none where the mapping names none."""

    native: str
    official: tuple[str, ...]
    pieces: tuple[TensorPlace, ...]
    found: TensorPlace

    def verdict(self, kind: LayoutKind, detail: str) -> LayoutVerdict:
        """A verdict without samples."""
        dtypes = tuple(dict.fromkeys(piece.dtype for piece in self.pieces))
        return LayoutVerdict(
            self.native,
            self.official,
            kind,
            detail,
            rows=0,
            ambiguous=False,
            converted=self.found.name,
            reference=" and ".join(dtypes) or None,
            dtype=self.found.dtype,
            cast=_cast_of(dtypes, self.found.dtype),
        )


def _cast_of(sources: Sequence[str], found: str) -> CastKind:
    if any(source != found and not castable(source, found) for source in sources):
        return "changed"
    if any(source != found and narrows(source, found) for source in sources):
        return "narrowed"
    return "widened" if any(source != found for source in sources) else "same"


_AGAIN = 3
"""Tensors of one name (numbers aside) that stay unexplained before others are no longer searched through."""

_MORE = 24
"""Samples beyond those of the first look that an unexpected order has to explain."""

_DEAREST_SEARCH = 1 << 20
"""Bytes that looking for single rows may cost."""

_LOOKED_FOR = 12


@dataclass
class _Open:
    """A tensor whose samples do not lie as expected. `differing`: where; `compared`: how many there were."""

    task: Task
    form: Form
    pair: Pair
    differing: list[int]
    compared: int


class Prober:
    """Judges tensors: the cheap question first for all of them, then the search for those that fail it."""

    def __init__(
        self, official: Mapping[str, TensorPlace], reader: RangeReader, heads: Heads, tasks: Sequence[Task]
    ) -> None:
        self._reader = reader
        self._heads = heads
        self._tasks = tasks
        self._official = OfficialRows(official, reader)
        self._plans: dict[Form, Plan] = {}
        self._unexplained: Counter[str] = Counter()
        self._whole = _whole_limit(tasks, reader.limit // 4)

    def run(self) -> list[LayoutVerdict]:
        """A verdict for every task."""
        verdicts: list[LayoutVerdict] = []
        remaining: list[_Open] = []
        for task in self._tasks:
            try:
                judged = self._first_look(task)
            except (BudgetSpentError, UnreadableTensorError) as error:
                judged = self._unread(task, error)
            if isinstance(judged, LayoutVerdict):
                verdicts.append(judged)
            else:
                remaining.append(judged)
        for left in remaining:
            try:
                verdicts.append(self._second_look(left))
            except BudgetSpentError:
                text = f"the {self._reader.limit:,} bytes that may be read ended before its layout was found"
                verdicts.append(replace(self._different(left, text), ambiguous=True))
            except UnreadableTensorError as error:
                verdicts.append(self._unread(left.task, error))
        return verdicts

    def _unread(self, task: Task, error: BudgetSpentError | UnreadableTensorError) -> LayoutVerdict:
        if isinstance(error, UnreadableTensorError):
            return task.verdict("unread", str(error))
        return task.verdict(
            "unread", f"the {self._reader.limit:,} bytes that may be read were spent on other tensors"
        )

    # ------------------------------------------------------------------ the expected order

    def _first_look(self, task: Task) -> LayoutVerdict | _Open:
        pieces, found = task.pieces, task.found
        tidy = any(piece.dtype != found.dtype for piece in pieces)
        laid = Laid(self._reader, (found,), found.dtype, tidy=tidy)
        if not pieces:
            return self._located(task, laid)
        pair = Pair(Laid(self._reader, pieces, found.dtype, tidy=tidy), laid)
        form = form_of((piece.shape for piece in pieces), found.shape)
        if pair.expected.size != pair.size:
            shapes = " and ".join(dict.fromkeys(str(list(piece.shape)) for piece in pieces))
            return task.verdict(
                "shape",
                f"{pair.size:,} elements {list(found.shape)} where the sources have {pair.expected.size:,} "
                f"({len(pieces)} of {shapes})",
            )
        if not pair.size:
            return task.verdict("unread", "it has no elements")
        if all(prod(p.shape) * (item_size(p.dtype) or 0) <= self._whole for p in (*pieces, found)):
            pair.expected.load()
            pair.found.load()
        looking = self._plans.get(form)
        if looking is None:
            looking = self._plans[form] = plan(form, self._heads)
        starts = pair.all_starts() if pair.whole else looking.starts
        as_is = AsIs(pair.size)
        wrong = [start for start in starts if not pair.agrees(as_is, start)]
        rounded = None
        if wrong:
            for via in _stays(task):
                turned = Pair(pair.expected.turned(via), pair.found.turned(None))
                if all(turned.agrees(as_is, start) for start in starts):
                    pair, wrong, rounded = turned, [], via
                    break
        if wrong or not form.fits:
            return _Open(task, form, pair, wrong, len(starts))
        return replace(
            self._expected(task, pair, looking, len(starts)),
            rounded=rounded,
            exact=rounded is None and _exact(task, pair, starts),
        )

    def _expected(self, task: Task, pair: Pair, looking: Plan, rows: int) -> LayoutVerdict:
        """The samples lie as expected: whether they would under another order, or in another tensor."""
        kind: LayoutKind = "identical" if len(task.pieces) == 1 else "concatenated"
        others: list[str] = []
        runner_up = 0
        if not varied([pair.sample(start) for start in looking.starts], pair.found.item):
            others.append("its elements are all alike, and every order of them is the same")
        else:
            for rival in looking.rivals:
                starts = rival.starts
                if pair.whole:
                    starts = (*starts, *pair.all_starts())
                agreed = _agreed(pair, rival.hypothesis, starts)
                runner_up = max(runner_up, min(agreed, rows))
                if agreed == len(starts):
                    others.append(self._told(task, rival.hypothesis))
            others += self._twins(task, pair)
        return replace(
            task.verdict(kind, told(kind, task.official, task.found.name)),
            rows=rows,
            agreeing=rows,
            runner_up=runner_up,
            ambiguous=bool(others),
            alternatives=tuple(dict.fromkeys(others)),
        )

    def _twins(self, task: Task, pair: Pair) -> list[str]:
        """Official tensors that the mapping does not name and that agree as well."""
        twins: list[str] = []
        for name, found in self._slots(task, pair):
            if found is None:
                twins.append(f"the rows of {name} are all alike")
            else:
                twins += [f"{each.told} holds the same" for each in found if each.name != name]
        return twins

    def _slots(self, task: Task, pair: Pair) -> Iterator[tuple[str, tuple[Stretch, ...] | None]]:
        """For each source: its name, and whose rows are where it is expected."""
        start, tidy = 0, any(piece.dtype != task.found.dtype for piece in task.pieces)
        for name, piece in zip(task.official, task.pieces, strict=True):
            shape = tuple(size for size in piece.shape if size != 1)
            found = self._official.find(pair.found, start, shape, task.found.dtype, tidy=tidy)
            yield name, found
            start += prod(piece.shape)

    def _located(self, task: Task, laid: Laid) -> LayoutVerdict:
        """The mapping names no source: an official tensor, or a part of one, that has these rows."""
        if not laid.size:
            return task.verdict("unread", "it has no elements")
        shape = tuple(size for size in task.found.shape if size != 1)
        found = self._official.find(laid, 0, shape, task.found.dtype, tidy=False, parts=True)
        if not found:
            why = "its elements are all alike" if found is None else "no official tensor has its rows"
            return replace(
                task.verdict("values", f"the mapping names no source of it, and {why}"), ambiguous=True
            )
        return replace(
            task.verdict(
                "located",
                f"the mapping names no source of it; it holds {' or '.join(each.told for each in found)}",
            ),
            rows=sampled(laid.size),
            agreeing=sampled(laid.size),
            ambiguous=len(found) > 1,
            came_from=tuple(each.told for each in found),
        )

    # ------------------------------------------------------------------ other orders

    def _second_look(self, left: _Open) -> LayoutVerdict:
        task, pair = left.task, left.pair
        family = re.sub(r"\d+", "N", task.native)
        thorough = self._unexplained[family] < _AGAIN
        generator = random.Random(zlib.crc32(task.native.encode("utf-8", "surrogatepass")))
        explained = self._explained(left, pair, generator, thorough=thorough)
        if explained is None:
            explained = self._of_other_tensors(left)
        if explained is None and left.differing:
            for via in _stays(task):
                turned = Pair(pair.expected.turned(via), pair.found.turned(None))
                explained = self._explained(left, turned, generator, thorough=thorough)
                if explained is not None:
                    explained = replace(explained, rounded=via)
                    break
        if explained is None and thorough:
            explained = self._scattered_rows(left, generator)
        if explained is None:
            self._unexplained[family] += 1
            return self._different(left)
        return explained

    def _explained(
        self, left: _Open, pair: Pair, generator: random.Random, *, thorough: bool
    ) -> LayoutVerdict | None:
        """The order that explains all samples, with what else does."""
        task, form, as_is = left.task, left.form, AsIs(pair.size)
        quick = left.differing[:_MORE] or scattered(form, generator, 4)
        runner_up = 0
        survivors: list[Hypothesis] = []
        for hypothesis in self._hypotheses(form, pair, thorough):
            agreed = _agreed(pair, hypothesis, quick)
            if agreed == len(quick):
                survivors.append(hypothesis)
            else:
                runner_up = max(runner_up, agreed)
        if not survivors:
            return None
        starts: Sequence[int] = pair.all_starts()
        if not pair.whole:
            starts = tuple(
                dict.fromkeys(
                    (*left.differing, *self._plans[form].starts, *scattered(form, generator, _MORE))
                )
            )
        remaining = []
        for hypothesis in survivors:
            agreed = _agreed(pair, hypothesis, starts)
            if agreed == len(starts):
                remaining.append(hypothesis)
            else:
                runner_up = max(runner_up, agreed)
        remaining = _distinct(remaining, pair, form, generator)
        if not remaining:
            return None
        best, others = remaining[0], remaining[1:]
        moved = [start for start in starts if not pair.agrees(as_is, start)]
        if form.fits:
            runner_up = max(runner_up, len(starts) - len(moved))
        alternatives = [self._told(task, other) for other in others]
        if form.fits and not varied(_changed(pair, moved), pair.found.item):
            alternatives.append("too few different elements to tell orders apart")
        found = self._told(task, best)
        return replace(
            task.verdict(best.kind, told(best.kind, task.official, task.found.name, found)),
            rows=len(starts),
            agreeing=len(starts),
            runner_up=min(runner_up, len(starts)),
            ambiguous=bool(alternatives),
            alternatives=tuple(alternatives),
        )

    def _hypotheses(self, form: Form, pair: Pair, thorough: bool) -> Iterator[Hypothesis]:
        yield from conceivable(form, self._heads, thorough=thorough)
        if form.fits:
            yield from _inferred(form, pair)

    def _of_other_tensors(self, left: _Open) -> LayoutVerdict | None:
        """Rows that lie as expected, of other official tensors."""
        task, pair = left.task, left.pair
        if not left.form.fits:
            return None
        slots = list(self._slots(task, pair))
        if any(not found for _, found in slots):
            return None
        texts = []
        for name, found in slots:
            if found and name not in {each.name for each in found}:
                texts.append(f"{' or '.join(each.told for each in found)} in place of {name}")
        if not texts:
            return None
        compared = sum(sampled(prod(piece.shape)) for piece in task.pieces)
        return replace(
            task.verdict(
                "other tensor", told("other tensor", task.official, task.found.name, ", ".join(texts))
            ),
            rows=compared,
            agreeing=compared,
            runner_up=left.compared - len(left.differing),
            ambiguous=any(found is not None and len(found) > 1 for _, found in slots),
            came_from=tuple(found[0].told for _, found in slots if found),
            alternatives=tuple(f"{e.told} holds the same" for _, found in slots if found for e in found[1:]),
        )

    def _scattered_rows(self, left: _Open, generator: random.Random) -> LayoutVerdict | None:
        """Rows of the expected tensor in an order that nothing explains, found one by one."""
        task, pair, form = left.task, left.pair, left.form
        if not form.fits or not form.found:
            return None
        rows = form.found[0]
        width = pair.size // rows
        count = min(BLOCK, width)
        cost = rows * BLOCK * max(item_size(piece.dtype) or 0 for piece in task.pieces)
        if rows < _LOOKED_FOR or count < BLOCK or cost > min(_DEAREST_SEARCH, self._reader.left // 8):
            return None
        places: dict[bytes, list[int]] = {}
        for row in range(rows):
            places.setdefault(pair.expected.get(row * width, count), []).append(row)
        looked = (0, 1, 2, 3, *generator.sample(range(rows), _LOOKED_FOR - 4))
        found = {row: places.get(pair.found.get(row * width, count), []) for row in looked}
        if any(len(rows_found) != 1 for rows_found in found.values()):
            return None
        pairs = {row: rows_found[0] for row, rows_found in found.items()}
        columns = range(0, width - count + 1, max(count, (width - count) // 3))
        if any(
            pair.expected.get(there * width + at, count) != pair.found.get(here * width + at, count)
            for here, there in pairs.items()
            for at in columns
        ):
            return None
        shifts = {(there - here) % rows for here, there in pairs.items()}
        if len(shifts) == 1:
            (shift,) = shifts
            hypothesis = Hypothesis("rolled", f"rows moved by {shift}", Rolled(rows, width, shift))
            starts = scattered(form, generator, _MORE)
            if all(pair.agrees(hypothesis.map, start) for start in starts):
                text = told("rolled", task.official, task.found.name, hypothesis.found)
                return replace(task.verdict("rolled", text), rows=len(starts), agreeing=len(starts))
        shown = ", ".join(f"row {here} is row {there}" for here, there in list(pairs.items())[1:5])
        return replace(
            task.verdict("permuted", told("permuted", task.official, task.found.name, shown)),
            rows=len(pairs),
            agreeing=len(pairs),
            runner_up=left.compared - len(left.differing),
        )

    def _different(self, left: _Open, why: str = "") -> LayoutVerdict:
        same = left.compared - len(left.differing)
        text = told("values", left.task.official, left.task.found.name, f"{same} of {left.compared}", why)
        return replace(
            left.task.verdict("values", text),
            rows=left.compared,
            runner_up=same,
        )

    def _told(self, task: Task, hypothesis: Hypothesis) -> str:
        return hypothesis.found.format(*labels_of(task.official))


def _agreed(pair: Pair, hypothesis: Hypothesis, starts: Iterable[int]) -> int:
    """On how many samples an order agrees before it fails."""
    agreed = 0
    for start in starts:
        if not pair.agrees(hypothesis.map, start):
            break
        agreed += 1
    return agreed


def _changed(pair: Pair, starts: Iterable[int]) -> list[bytes]:
    """Elements of samples that differ from the expected ones."""
    item = pair.found.item
    changed = []
    for start in starts:
        found = pair.sample(start)
        expected = pair.expected.get(start, len(found) // item)
        changed += [
            found[at : at + item]
            for at in range(0, len(found), item)
            if found[at : at + item] != expected[at : at + item]
        ]
    return changed


def _distinct(
    hypotheses: Sequence[Hypothesis], pair: Pair, form: Form, generator: random.Random
) -> list[Hypothesis]:
    """Those that are not the same order in other words, and that the elements on which they differ leave."""
    kept: list[Hypothesis] = []
    for hypothesis in hypotheses:
        for index, other in enumerate(kept):
            places = list(differing(hypothesis.map, other.map, form, generator))
            if not places:
                break  # another name for the same
            found = [pair.found.get(at, 1) for at in places[:64]]
            right = [pair.expected.get(hypothesis.map.at(at), 1) for at in places[:64]] == found
            if not right:
                break
            if [pair.expected.get(other.map.at(at), 1) for at in places[:64]] != found:
                kept[index] = hypothesis
                break
        else:
            kept.append(hypothesis)
    return list(dict.fromkeys(kept))


def _inferred(form: Form, pair: Pair) -> Iterator[Hypothesis]:
    """Orders of more parts than are enumerated: for each part, the one whose samples it has."""
    rows = sum(form.rows)
    divisions = [form.sizes]
    if len(form.pieces) == 1:
        counts = [count for count in (5, 6, 7, 8, 9, 10, 12) if rows % count == 0]
        divisions = [(rows // count * form.width,) * count for count in counts]
    for sizes in divisions:
        if len(set(sizes)) > 1:
            continue
        size, count = sizes[0], len(sizes)
        offsets = tuple(dict.fromkeys(at // BLOCK * BLOCK for at in (0, size // 2, size - 1)))
        samples = [
            [
                tuple(laid.get(part * size + at, min(BLOCK, size - at)) for at in offsets)
                for part in range(count)
            ]
            for laid in (pair.expected, pair.found)
        ]
        where = {key: part for part, key in enumerate(samples[0])}
        if len(where) < count or any(key not in where for key in samples[1]):
            continue
        order = tuple(where[key] for key in samples[1])
        if order != tuple(range(count)) and sorted(order) == list(range(count)):
            yield ordered(sizes, order, named=len(form.pieces) > 1)


def _exact(task: Task, pair: Pair, starts: Iterable[int]) -> bool:
    """Whether the conversion to another dtype kept the value of every element in the samples."""
    dtypes = {piece.dtype for piece in task.pieces}
    if all(dtype == task.found.dtype or not narrows(dtype, task.found.dtype) for dtype in dtypes):
        return True
    if len(dtypes) > 1:
        return False
    (dtype,) = dtypes
    before = pair.expected.turned(None, dtype)
    after = pair.expected.turned(task.found.dtype, dtype)
    return all(
        before.get(start, min(BLOCK, pair.size - start)) == after.get(start, min(BLOCK, pair.size - start))
        for start in starts
    )


def _stays(task: Task) -> list[str]:
    """Narrower dtypes that values may have passed through on their way."""
    dtypes = {piece.dtype for piece in task.pieces} | {task.found.dtype}
    if not all(castable(dtype, dtype) for dtype in dtypes):
        return []
    return [via for via in ("BF16", "F16") if via not in dtypes]


def _whole_limit(tasks: Sequence[Task], budget: int) -> int:
    """Up to which number of bytes tensors are read whole, so that all such fit into the budget."""
    sizes = [
        [prod(place.shape) * (item_size(place.dtype) or 0) for place in (*task.pieces, task.found)]
        for task in tasks
    ]
    limit = 1 << 16
    while limit > 64 and sum(sum(each) for each in sizes if max(each) <= limit) > budget:
        limit >>= 1
    return limit
