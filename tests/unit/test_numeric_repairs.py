"""Which repairs are tried, and when one counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from numeric_samples import blocks, readings

from analyzers.numeric.alignment import Alignment, align
from analyzers.numeric.floors import Floors
from analyzers.numeric.judging import judge
from analyzers.numeric.records import Reading
from analyzers.numeric.repairs import Repairs, is_better, repairs_to_try, wrong_pairs

BUILT, OBSERVATION = blocks()
FLOORS = Floors(1e-7)


@pytest.fixture
def alignment() -> Alignment:
    found = align(BUILT, OBSERVATION)
    return replace(found, certain=frozenset(pair.number for pair in found.pairs))


def numbers(alignment: Alignment, end: str, *modules: str) -> frozenset[int]:
    return frozenset(p.number for p in alignment.pairs if p.native.module in modules and p.native.end == end)


def tried(alignment: Alignment, found: list[Reading]) -> list[Repairs]:
    return list(repairs_to_try(BUILT, alignment, found, FLOORS))


def test_one_place_of_all_blocks_needs_none(alignment: Alignment) -> None:
    errors = {("blocks.0.to_out", "in"): 0.1, ("blocks.1.to_out", "in"): 0.2}
    assert tried(alignment, readings(alignment, errors)) == []


def test_wrong_entries_are_owned_in_all_blocks_but_not_the_last_place(alignment: Alignment) -> None:
    errors = {("blocks.0.norm1", "in"): 0.1, ("blocks.0.to_out", "in"): 0.2, ("proj_out", "in"): 0.1}
    assert tried(alignment, readings(alignment, errors)) == [
        Repairs(owned=numbers(alignment, "in", "blocks.0.norm1", "blocks.1.norm1")),
        Repairs(owned=numbers(alignment, "in", "blocks.0.to_out", "blocks.1.to_out")),
    ]


def test_readings_of_what_was_left_out_count_for_nothing(alignment: Alignment) -> None:
    errors = {("blocks.0.norm1", "in"): 0.1, ("blocks.0.to_out", "in"): 0.2}
    left = numbers(alignment, "in", "blocks.0.norm1")
    pairs = tuple(pair for pair in alignment.pairs if pair.number not in left)
    without = replace(alignment, pairs=pairs, certain=frozenset(pair.number for pair in pairs))
    assert tried(without, readings(alignment, errors)) == []


def test_another_order_is_put_back_first(alignment: Alignment) -> None:
    found = readings(alignment, {("blocks.0.to_out", "in"): 0.2})
    moved = numbers(alignment, "in", "blocks.0.norm1")
    found = [
        replace(one, status="layout", layout="axis 1 rolled", reorders=True) if one.pair in moved else one
        for one in found
    ]
    assert tried(alignment, found)[0] == Repairs(in_order=moved)


def test_a_repair_counts_where_fewer_places_are_wrong_and_no_other(alignment: Alignment) -> None:
    two = readings(alignment, {("blocks.0.norm1", "in"): 0.1, ("blocks.0.to_out", "in"): 0.2})
    one = readings(alignment, {("blocks.0.norm1", "in"): 0.1})
    other = readings(alignment, {("proj_out", "in"): 0.1})
    assert len(wrong_pairs(two, FLOORS)) == 2
    assert is_better(BUILT, alignment, two, one, FLOORS)
    assert not is_better(BUILT, alignment, two, two, FLOORS)
    assert not is_better(BUILT, alignment, two, other, FLOORS)


def test_an_order_that_had_to_be_put_back_is_an_error(alignment: Alignment) -> None:
    moved = numbers(alignment, "in", "blocks.0.norm1")
    found = [
        replace(one, status="layout", layout="axis 1 rolled", reorders=True) if one.pair in moved else one
        for one in readings(alignment)
    ]
    verdict = judge(BUILT, [OBSERVATION], {"plain": found}, alignment)
    assert [d.kind for d in verdict.divergences] == []
    verdict = judge(
        BUILT, [OBSERVATION], {"plain": found}, alignment, repairs=Repairs(in_order=frozenset(moved))
    )
    assert [(d.kind, d.pair.native.module) for d in verdict.divergences] == [("layout", "blocks.0.norm1")]
