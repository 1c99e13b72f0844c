"""Errors written into real ports: what the oracle knows of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from injections.families import FAMILIES, Family
from injections.kinds import injections
from injections.oracle import Clean, Oracle, copied_tree
from injections.scoring import Truth
from injections.source import Injection, Lines, Replacement

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("DITPROOF_PROJECT_PYTHON", str(REPOSITORY / ".project-venv/bin/python"))
BUILDING = [family for family in FAMILIES if not family.held_out]


@pytest.fixture(scope="module")
def oracle(fastvideo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    folder = tmp_path_factory.mktemp("oracle")
    asked = Oracle(PYTHON, copied_tree(fastvideo, folder / "tree"), folder / "clean")
    yield asked
    asked.close()


@pytest.fixture(scope="module")
def clean(oracle: Oracle) -> dict[str, Clean]:
    return {family.name: oracle.clean(family) for family in BUILDING}


def _family(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def _truth(oracle: Oracle, clean: dict[str, Clean], family: str, kind: str, part: str) -> Truth:
    """What the first error of a kind does whose description holds `part`."""
    some = (one for file in clean[family].files for one in injections(file, kind) if part in one.what)
    return oracle.truth(_family(family), [next(some)])


@pytest.mark.parametrize("family", BUILDING, ids=lambda family: family.name)
def test_the_oracle_sees_no_difference_where_there_is_none(
    oracle: Oracle, clean: dict[str, Clean], family: Family
) -> None:
    comment = Replacement(0, 0, "# a comment\n")
    nothing = Injection("nothing", family.path, None, None, (comment,), (Lines(0, 0),), (Lines(0, 0),), "")
    assert oracle.truth(family, [nothing]) == Truth("same", 0.0)


def test_the_oracle_sees_an_epsilon(oracle: Oracle, clean: dict[str, Clean]) -> None:
    truth = _truth(oracle, clean, "flux", "eps", "1e-5")
    assert truth.outputs == "differ"
    assert 1e-9 < truth.error < 1e-4


def test_the_oracle_knows_what_outputs_cannot_see(oracle: Oracle, clean: dict[str, Clean]) -> None:
    rolled = _truth(oracle, clean, "wan", "token-permutation", "roll")  # text without positions
    assert rolled.outputs == "same"
    assert rolled.error < 1e-12


def test_the_oracle_tells_refused_names_and_raised_lines(oracle: Oracle, clean: dict[str, Clean]) -> None:
    refused = _truth(oracle, clean, "sd3", "missing-bias", "'True' -> 'False'").refused
    assert refused
    assert all(name.endswith(".bias") for name in refused)
    raised = _truth(oracle, clean, "flux", "swapped-returns", "'x' -> 'gate_msa'").raised
    assert raised is not None
    assert raised[-1][0].startswith("fastvideo/models/dits/")
