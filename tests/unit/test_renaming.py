"""Renaming by rules: single names, many names, and what is kept between two edits."""

from __future__ import annotations

import re

import pytest

from analyzers.weights.mapping.renaming import (
    Renamed,
    as_mask,
    common_beginning,
    positions,
    rename,
    rename_all,
)
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.merging import Assembly, Source, assemble, concatenated
from analyzers.weights.recent import Recent

NAMES = ("blocks.0.attn.to_q.weight", "blocks.1.attn.to_q.weight", "blocks.1.norm1.weight", "head.weight")


def test_the_first_rule_that_matches_a_beginning_decides() -> None:
    rules = [SymbolicRule(r"blocks\.(\d+)\.attn", r"layers.\1.mix"), SymbolicRule(r"^blocks\.(.*)$", r"b.\1")]
    assert rename(NAMES[0], rules, "first-match") == Renamed("layers.0.mix.to_q.weight", (0,))
    assert rename(NAMES[2], rules, "first-match") == Renamed("b.1.norm1.weight", (1,))
    assert rename(NAMES[3], rules, "first-match") == Renamed("head.weight")


def test_every_occurrence_is_replaced() -> None:
    rules = [SymbolicRule("a", "xx")]
    assert rename("a.b.a", rules, "first-match").target == "xx.b.xx"


def test_a_group_that_does_not_exist_raises_as_in_the_loader() -> None:
    with pytest.raises(re.error):
        rename("a.b", [SymbolicRule("^a", r"\1")], "first-match")


def test_chained_rules_use_each_rule_once_and_the_last_merge() -> None:
    rules = [
        SymbolicRule(r"^a\.(.*)$", r"b.\1", (0, 2)),
        SymbolicRule(r"^b\.(.*)$", r"c.\1", (1, 3)),
        SymbolicRule(r"^c\.(.*)$", r"c.\1", (2, 4)),
    ]
    assert rename("a.x", rules, "chained") == Renamed("c.x", (0, 1), (1, 3))
    circle = [SymbolicRule("^a", "b"), SymbolicRule("^b", "a")]
    assert rename("a.x", circle, "chained") == Renamed("a.x", (0, 1))


def test_chained_rules_heed_the_names_of_the_model() -> None:
    rules = [SymbolicRule("^a", "b"), SymbolicRule("^b", "c")]
    assert rename("a.x", rules, "chained", {"b.x"}).target == "b.x"
    assert rename("a.x", rules, "chained", {"a.x"}) == Renamed("a.x")
    assert rename("a.x", rules, "chained", {"c.x", "b.x"}).target == "c.x"


def test_an_edit_of_one_rule_asks_for_that_rule_only() -> None:
    keep = Recent()
    asked: list[object] = []

    def counting(question: object, answer: object) -> object:
        def noted() -> object:
            asked.append(question)
            return answer()  # type: ignore[operator]

        return keep(question, noted)  # type: ignore[arg-type]

    rules = [
        SymbolicRule(r"^blocks\.(\d+)\.attn\.(.*)$", r"b.\1.\2"),
        SymbolicRule(r"^blocks\.(.*)$", r"c.\1"),
    ]
    keep.begin()
    rename_all(NAMES, "digest", rules, "first-match", keep=counting)  # type: ignore[arg-type]
    asked.clear()
    edited = [rules[0], SymbolicRule(r"^blocks\.(.*)$", r"d.\1")]
    keep.begin()
    rename_all(NAMES, "digest", edited, "first-match", keep=counting)  # type: ignore[arg-type]
    assert len(asked) == 1
    assert r"d.\1" in asked[0]  # type: ignore[operator]


def test_what_is_typed_on_the_way_is_forgotten() -> None:
    keep = Recent()
    for count in range(100):
        keep.begin()
        rename_all(NAMES, "digest", [SymbolicRule("^blocks", f"b{count}")], "first-match", keep=keep)
    assert len(keep) < 20


def test_positions_and_masks() -> None:
    places = [0, 3, 8, 17, 3509]
    assert list(positions(as_mask(places, 3510))) == places
    assert list(positions(0)) == []


def test_common_beginning() -> None:
    assert common_beginning(NAMES[:3]) == "blocks."
    assert common_beginning(NAMES) == ""
    assert common_beginning(()) == ""
    assert common_beginning(("a.b", "a.b.c")) == "a.b"


def test_a_merge_completes_by_the_count_of_its_last_key() -> None:
    wrong_first = [Source(0, (0, 2)), Source(1, (1, 3)), Source(2, (2, 3))]
    assert assemble(wrong_first) == Assembly((0, 1, 2), counts=(2, 3))
    assert not assemble(wrong_first).is_clean
    wrong_last = [Source(0, (0, 3)), Source(1, (1, 3)), Source(2, (2, 2))]
    assert assemble(wrong_last).used == ()
    assert assemble(wrong_last).waiting == (0, 1, 2)


def test_an_index_given_twice_is_overwritten_and_the_group_waits() -> None:
    made = assemble([Source(0, (0, 3)), Source(1, (1, 3)), Source(2, (1, 3))])
    assert (made.used, made.repeated, made.lost, made.lacking) == ((), ((1, 2),), (1,), (2,))


def test_a_count_reached_with_wrong_indices_is_a_key_error() -> None:
    assert assemble([Source(0, (0, 2)), Source(1, (2, 2))]).raises == 1


def test_the_later_source_of_a_plain_target_stays() -> None:
    made = assemble([Source(4, None), Source(9, None)])
    assert (made.used, made.lost) == ((9,), (4,))


def test_concatenation_asks_for_equal_other_dimensions() -> None:
    assert concatenated([(2, 4), (3, 4)]) == (5, 4)
    assert concatenated([(2, 4), (2, 5)]) is None
    assert concatenated([(), ()]) is None
