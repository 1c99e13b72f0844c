"""Codes that no rule has any more: understood where they are named, never given away again."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_testing import SOUND, Cli, cli, tree_at

from analyzers.rules import catalogue, engine, retired
from analyzers.rules.examples import TREE
from analyzers.rules.retired import Retired, find_retired

__all__ = ["cli"]

OLD = Retired("DIT199", "old-rule", "0.2", "every finding of it was wrong", "DIT101")


@pytest.fixture
def tombstone(monkeypatch: pytest.MonkeyPatch) -> Retired:
    monkeypatch.setattr(retired, "RETIRED", (OLD,))
    monkeypatch.setattr(engine, "RETIRED", (OLD,))
    monkeypatch.setattr(retired.find_retired, "__defaults__", ((OLD,),))
    return OLD


def test_it_is_found_by_code_and_name() -> None:
    for selector in ("DIT199", "dit199", "old-rule"):
        assert find_retired(selector, (OLD,)) is OLD
    assert find_retired("DIT1", (OLD,)) is None


def test_settings_and_the_rule_command_tell_what_became_of_it(
    cli: Cli, tmp_path: Path, tombstone: Retired
) -> None:
    told = (
        "DIT199 (old-rule) was retired in 0.2: every finding of it was wrong; DIT101 reports what it reported"
    )
    outcome = cli("rule", "DIT199")
    assert outcome.code == 2
    assert told in outcome.err
    assert "`ditproof rule DIT101` explains that one." in outcome.err
    assert told in cli("check", "--root", tree_at(tmp_path), "--ignore", "old-rule").err


def test_a_suppression_that_names_it_is_unused(cli: Cli, tmp_path: Path, tombstone: Retired) -> None:
    text = "# ditproof: ignore[DIT199] it was wrong here\n" + TREE[SOUND]
    outcome = cli("check", "--root", tree_at(tmp_path, {SOUND: text}))
    assert "DIT003" in outcome.out


def test_no_rule_may_take_the_code_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Retired("DIT101", "another-name", "0.2", "for a test")
    monkeypatch.setattr(catalogue, "RETIRED", (taken,))
    with pytest.raises(AssertionError, match="DIT101 or its name was retired"):
        catalogue.all_rules.__wrapped__()
