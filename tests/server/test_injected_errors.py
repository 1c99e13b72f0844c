"""Errors written into real ports: what the oracle knows of them, and what a trace says of a sample. The whole
suite is `benchmarks/injections.py`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from injections.families import FAMILIES, Family, is_held_out
from injections.kinds import KINDS, injections
from injections.oracle import Clean, Oracle, copied_tree, written
from injections.sampling import drawn, found
from injections.scoring import LOSS, Score, Truth, score
from injections.source import Injection, Lines, Replacement
from injections.tracing import Answer, Tracer

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("DITPROOF_PROJECT_PYTHON", str(REPOSITORY / ".project-venv/bin/python"))
BUILDING = [family for family in FAMILIES if not family.held_out]
SAMPLE, SEED = 3, 5
"""Errors a family, and what draws them: chosen before one of them was run."""
RIGHT = 8
"""So many of them are told rightly, at the least."""


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
    assert oracle.truth(family, [nothing]) == Truth("same", 0.0, loss=1.0)


def test_the_oracle_sees_an_epsilon(oracle: Oracle, clean: dict[str, Clean]) -> None:
    truth = _truth(oracle, clean, "flux", "eps", "1e-5")
    assert truth.outputs == "differ"
    assert 1e-9 < truth.error < 1e-4


def test_the_oracle_knows_what_outputs_cannot_see(oracle: Oracle, clean: dict[str, Clean]) -> None:
    rolled = _truth(oracle, clean, "wan", "token-permutation", "roll")  # text without positions
    assert rolled.outputs == "same"
    assert rolled.error < 1e-12


def test_the_oracle_knows_casts_that_float32_cannot_see(oracle: Oracle, clean: dict[str, Clean]) -> None:
    truth = _truth(oracle, clean, "wan", "cast-order", "'freqs_cos.to(hidden_states.device).float()' -> ")
    assert (truth.outputs, truth.error, truth.raised) == ("bfloat16", 0.0, None)
    assert truth.loss is not None
    assert 0.5 < truth.loss < LOSS  # other values, as good ones


def test_the_oracle_knows_casts_without_which_bfloat16_raises(
    oracle: Oracle, clean: dict[str, Clean]
) -> None:
    truth = _truth(oracle, clean, "wan", "cast-order", "'temb.float()' -> 'temb'")
    assert (truth.outputs, truth.refused) == ("bfloat16", ())
    assert truth.raised is not None
    path, line = truth.raised[-1]
    (file,) = (file for file in clean["wan"].files if file.path == path)
    assert file.text.splitlines()[line].strip() == "assert shift_msa.dtype == torch.float32"


def test_the_oracle_tells_refused_names_and_raised_lines(oracle: Oracle, clean: dict[str, Clean]) -> None:
    refused = _truth(oracle, clean, "sd3", "missing-bias", "'True' -> 'False'").refused
    assert refused
    assert all(name.endswith(".bias") for name in refused)
    raised = _truth(oracle, clean, "flux", "swapped-returns", "'x' -> 'gate_msa'").raised
    assert raised is not None
    assert raised[-1][0].startswith("fastvideo/models/dits/")


def test_a_sample_is_told_rightly_and_clean_ports_are_not_accused(
    fastvideo: Path, oracle: Oracle, clean: dict[str, Clean], tmp_path: Path
) -> None:
    sample = [(family, one) for family in BUILDING for one in _drawn(family, clean[family.name])]
    assert len(sample) == SAMPLE * len(BUILDING)
    answers, truths = asyncio.run(_asked(copied_tree(fastvideo, tmp_path / "tree"), oracle, sample))
    for family in BUILDING:
        said = answers[family.name, ""].told
        assert (said.status, said.divergences) == ("passed", ()), f"the clean {family.name}: {said.reason}"
    scores: dict[tuple[str, str], Score] = {}
    for family, one in sample:
        at = family.name, one.key
        scores[at] = score(one, truths[at], answers[at].told, clean[family.name].modules)
    wrong = {at: scored.outcome for at, scored in scores.items() if not scored.right}
    assert len(sample) - len(wrong) >= RIGHT, wrong


def _drawn(family: Family, clean: Clean) -> list[Injection]:
    kinds = [kind for kind in KINDS if not is_held_out(family, kind)]
    return drawn(found(clean.files, kinds), SAMPLE, SEED)


async def _asked(
    tree: Path, oracle: Oracle, sample: list[tuple[Family, Injection]]
) -> tuple[dict[tuple[str, str], Answer], dict[tuple[str, str], Truth]]:
    """What is said, with one warm worker, and meanwhile what is so. The clean ports have an empty key."""

    def truths() -> dict[tuple[str, str], Truth]:
        return {(family.name, one.key): oracle.truth(family, [one]) for family, one in sample}

    async def answers() -> dict[tuple[str, str], Answer]:
        tracer = Tracer(PYTHON, tree)
        try:
            said = {(family.name, ""): await tracer.ask(tracer.question(family)) for family in BUILDING}
            for family, one in sample:
                with written(tree, [one]):
                    said[family.name, one.key] = await tracer.ask(tracer.question(family))
        finally:
            await tracer.close()
        return said

    return await asyncio.gather(answers(), asyncio.to_thread(truths))  # type: ignore[return-value]
