"""The handoff block: what runs support, and nothing else."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lsp_server.checks.evidence.model import Evidence, WeightsFile
from lsp_server.checks.handoff.making import MOST_LINES, Kept, PortFacts, handoff_of, parity_runs, shown
from lsp_server.checks.handoff.model import EscapeHatch, Handoff, KeyDumps, block_text, markdown
from lsp_server.checks.handoff.report import InvalidHandoff, valid_block
from lsp_server.checks.requests import Output

PORT = "fastvideo/models/dits/noise.py"
TEST = "tests/local_tests/noise/test_noise_transformer_parity.py"
OTHER = "tests/local_tests/noise/test_noise_full_parity.py"
DUMPS = KeyDumps("converted_weights/noise/_mapping/o.json", "converted_weights/noise/_mapping/f.json")
WEIGHTS = (WeightsFile("/w/a.safetensors", 10, "beef"),)
REQUEST = {
    "component": "transformer",
    "parity_test": "none",
    "failing_keys": {"official": ["a.weight"], "fastvideo": []},
    "expected_actual_shapes": [],
    "source_prefix_or_path": "diffusers:Noise",
    "evidence": ["one name has no place"],
    "suspected_fix": "rename",
}


def facts(**changes: Any) -> PortFacts:
    known: dict[str, Any] = {
        "root": Path("/work/tree"),
        "component": "dit",
        "strictness": "strict",
        "files_changed": (PORT,),
        "readme": "tests/local_tests/noise/README.md",
        "state_file": "tests/local_tests/noise/PORT_STATUS.md",
        "parity_tests": (TEST,),
        "scopes": {TEST: "production_loader"},
        "own": ("fastvideo", "tests"),
    }
    return PortFacts(**{**known, **changes})


def kept(status: Any = "passed", *, changed: tuple[str, ...] = (), **changes: Any) -> Kept:
    known: dict[str, Any] = {
        "id": "run",
        "port": f"{PORT}::Noise",
        "tier": "weights",
        "subject": TEST,
        "status": status,
        "reason": "as it went",
        "ended": time.time() - 100,
        "seconds": 1.0,
        "sources": {PORT: "abc"},
        "outputs": (Output("out", 1e-3, 1e-4, 1e-3, 1e-2, 1e-3, status == "passed"),)
        if status in ("passed", "failed")
        else (),
    }
    return Kept(Evidence(**{**known, **changes}), changed)


def names(status: Any = "passed", **changes: Any) -> Kept:
    document = {"counts": {"native": 10}, "exclusions": []}
    return kept(
        status,
        **{"tier": "meta", "subject": "diffusers:Noise", "document": document, "outputs": (), **changes},
    )


def made(*runs: Kept, **changes: Any) -> Handoff:
    """The handoff; what its schema refuses fails the test."""
    handoff = handoff_of(facts(**changes), runs)
    valid_block(handoff)
    return handoff


# ---------------------------------------------------------------------- parity


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("passed", "non_skip_pass"),
        ("failed", "debug_red"),
        ("skipped", "scaffold_skip"),
        ("error", "blocked"),
    ],
)
def test_each_outcome_has_its_word(status: str, told: str) -> None:
    handoff = made(kept(status))
    assert handoff.parity_status == told
    assert handoff.parity_test == TEST
    assert handoff.pytest_output is not None
    assert handoff.pytest_output.command == f"pytest {TEST} -v -s"
    assert (handoff.blocker is None) == (status == "passed")


def test_without_a_run_nothing_is_claimed() -> None:
    handoff = made()
    assert handoff.parity_status is None
    assert handoff.pytest_output is None
    assert handoff.strict_load == "not_run"
    assert handoff.mode == "prototype"
    assert handoff.next_step == "blocked"
    assert f"never run here: {TEST}" in handoff.concerns_or_unknowns


@pytest.mark.parametrize("tier", ["weights", "meta", "tiny"])
def test_a_stale_pass_is_no_pass_and_says_so(tier: str) -> None:
    run = kept(tier=tier, changed=(f"{PORT} has changed", "x has changed"), weights=WEIGHTS)
    handoff = made(run)
    assert handoff.parity_status is None
    assert handoff.strict_load == "not_run"
    (told,) = [text for text in handoff.concerns_or_unknowns if text.startswith("stale: ")]
    assert f"{PORT} has changed and 1 more" in told


def test_a_run_that_speaks_of_no_file_is_stale() -> None:
    handoff = made(kept(sources={}))
    assert handoff.parity_status is None
    assert any("which files it hung on is not known" in text for text in handoff.concerns_or_unknowns)


def test_a_run_in_which_one_test_was_skipped_is_a_skip() -> None:
    skips = [{"test": f"{TEST}::test_b", "class": "no-weights", "reason": "weights not found"}]
    handoff = made(kept(document={"skips": skips, "next_step": "Make the weights available."}))
    assert handoff.parity_status == "scaffold_skip"
    assert handoff.blocker == "skipped (no-weights): weights not found; Make the weights available"


@pytest.mark.parametrize("order", list(itertools.permutations(("passed", "skipped", "error", "failed"))))
def test_the_worst_of_several_tests_counts(order: tuple[str, ...]) -> None:
    runs = [
        kept(status, subject=f"tests/test_{status}_parity.py", ended=time.time() - number)
        for number, status in enumerate(order)
    ]
    worst = ("debug_red", "blocked", "scaffold_skip", "non_skip_pass")
    for count, word in zip((4, 3, 2, 1), worst, strict=True):
        left = [r for r in runs if r.run.status in ("passed", "skipped", "error", "failed")[:count]]
        handoff = made(*left)
        assert handoff.parity_status == word
        assert handoff.parity_test is not None
        assert handoff.parity_test.startswith("tests/test_")


def test_a_run_of_the_whole_file_makes_older_ones_of_its_tests_old() -> None:
    now = time.time()
    whole = kept("passed", ended=now - 10)
    before = kept("failed", subject=f"{TEST}::test_a", ended=now - 20)
    after = kept("failed", subject=f"{TEST}::test_a", ended=now - 5)
    elsewhere = kept("failed", subject=f"{OTHER}::test_a", ended=now - 20)
    assert made(whole, before).parity_status == "non_skip_pass"
    assert made(whole, after).parity_status == "debug_red"
    assert made(whole, elsewhere).parity_status == "debug_red"
    assert parity_runs([before, whole, after]) == (after, whole)


def test_the_output_is_bounded_and_has_no_secrets() -> None:
    log = "\n".join(
        [f"line {n}" for n in range(100)] + ["token=abc123def456ghi7", "x" * 9000, "", "1 passed"]
    )
    output = made(kept(document={"log_tail": log})).pytest_output
    assert output is not None
    assert len(output.lines) == MOST_LINES
    assert output.lines[-1] == "1 passed"
    assert max(map(len, output.lines)) <= 200
    assert "abc123" not in "".join(output.lines)
    assert "[redacted]" in "".join(output.lines)


def test_a_pass_that_compared_nothing_is_a_concern() -> None:
    assert f"no comparison was recorded: {TEST}" in made(kept(outputs=())).concerns_or_unknowns


# ---------------------------------------------------------------------- weights


def test_a_strict_load_needs_weights_that_were_read() -> None:
    assert made(kept(weights=WEIGHTS)).strict_load == "pass"
    without = made(kept())
    assert without.strict_load == "not_run"
    assert f"read no file of weights: {TEST}" in without.concerns_or_unknowns


@pytest.mark.parametrize("scope", ["implementation_subcomponent", None])
def test_a_strict_load_needs_a_test_that_loads_as_production_does(scope: str | None) -> None:
    handoff = made(kept(weights=WEIGHTS), scopes={TEST: scope} if scope else {})
    assert handoff.strict_load == "not_run"
    assert f"does not say that it loads as production does: {TEST}" in handoff.concerns_or_unknowns
    assert made(kept(weights=WEIGHTS), scopes={TEST: "both"}).strict_load == "pass"


@pytest.mark.parametrize("status", ["failed", "skipped", "error"])
def test_only_a_pass_loaded(status: str) -> None:
    assert made(kept(status, weights=WEIGHTS)).strict_load == "not_run"


def test_names_and_shapes_load_nothing() -> None:
    handoff = made(names())
    assert handoff.strict_load == "not_run"
    assert any(
        "proven against diffusers:Noise, which loads no weights" in c for c in handoff.concerns_or_unknowns
    )


def test_names_that_were_left_out_are_documented() -> None:
    left = names(
        document={"counts": {"native": 9}, "exclusions": [{"name": "a._extra_state", "reason": "skipped"}]}
    )
    handoff = made(kept(weights=WEIGHTS), left)
    assert handoff.strict_load == "pass_with_documented_exclusions"
    assert any("a._extra_state (skipped)" in text for text in handoff.concerns_or_unknowns)


def test_a_loader_that_is_not_strict_needs_the_names_too() -> None:
    lenient = {"strictness": "non_strict_with_allowed_keys"}
    assert made(kept(weights=WEIGHTS), **lenient).strict_load == "not_run"
    handoff = made(kept(weights=WEIGHTS), names(), **lenient)
    assert handoff.strict_load == "pass_with_documented_exclusions"
    assert handoff.production_loader_strictness == "non_strict_with_allowed_keys"


def test_a_component_without_parameters_is_stateless() -> None:
    assert made(names(document={"counts": {"native": 0}})).production_loader_strictness == "stateless"
    assert made(strictness=None).production_loader_strictness is None


def test_broken_names_block_the_load_and_ask_for_a_conversion() -> None:
    broken = names("failed", reason="1 name has no place", document={"conversion_retry_request": REQUEST})
    handoff = made(broken, kept(weights=WEIGHTS))
    assert handoff.strict_load == "blocked"
    assert handoff.next_step == "phase_5_conversion_retry"
    assert handoff.conversion_retry_request == {**REQUEST, "component": "dit", "parity_test": TEST}
    assert handoff.blocker is not None
    assert "1 name has no place" in handoff.blocker


def test_broken_names_of_other_sources_ask_for_nothing() -> None:
    stale = names("failed", document={"conversion_retry_request": REQUEST}, changed=("x has changed",))
    handoff = made(stale, dumps=DUMPS)
    assert handoff.conversion_retry_request is None
    assert handoff.strict_load == "not_run"


# ---------------------------------------------------------------------- what comes next


def test_a_prototype_goes_on_to_the_conversion_with_both_dumps() -> None:
    handoff = made(kept("skipped"), dumps=DUMPS)
    assert (handoff.mode, handoff.next_step) == ("prototype", "phase_5_conversion")
    assert handoff.prototype_key_dumps == DUMPS
    half = made(kept("skipped"), dumps=KeyDumps(DUMPS.official, None))
    assert half.next_step == "blocked"
    assert half.blocker is not None
    assert "--dump" in half.blocker


@pytest.mark.parametrize(("status", "step"), [("passed", "phase_6_continue"), ("failed", "phase_6_continue")])
def test_a_test_that_ran_is_debugging(status: str, step: str) -> None:
    handoff = made(kept(status), dumps=DUMPS)
    assert (handoff.mode, handoff.next_step) == ("parity-debug", step)


def test_a_test_that_no_longer_runs_blocks_debugging() -> None:
    now = time.time()
    handoff = made(
        kept("skipped", subject=OTHER, ended=now - 1),
        kept("passed", ended=now - 9),
        parity_tests=(TEST, OTHER),
    )
    assert (handoff.mode, handoff.next_step) == ("parity-debug", "blocked")


def test_the_user_is_asked_what_the_state_file_has_open() -> None:
    hatch = EscapeHatch("E001", "Which checkpoint?", "the first")
    handoff = made(kept(), escape_hatch=hatch)
    assert handoff.next_step == "ask_user"
    assert valid_block(handoff)["escape_hatch"]["id"] == "E001"


# ---------------------------------------------------------------------- files


def test_official_files_are_those_outside_of_the_code_base() -> None:
    sources = dict.fromkeys(
        (
            PORT,
            TEST,
            "pyproject.toml",
            "Official/model.py",
            "Official/config.yaml",
            "Official/weights.safetensors",
            "/work/Clone/net.py",
            "/venv/lib/python3.11/site-packages/diffusers/noise.py",
        ),
        "x",
    )
    handoff = made(kept(sources=sources), oracle_file="Official/main.py")
    assert handoff.official_files_used == (
        "../Clone/net.py",
        "Official/config.yaml",
        "Official/main.py",
        "Official/model.py",
        "diffusers/noise.py",
    )


def test_the_official_class_of_a_trace_is_used_too() -> None:
    place = {"official_place": {"path": "/v/site-packages/diffusers/a.py", "line": 3}}
    assert made(kept(tier="tiny", document={"compared": place})).official_files_used == ("diffusers/a.py",)


def test_many_official_files_are_bounded() -> None:
    found = made(kept(sources={f"Official/{n}.py": "x" for n in range(100)})).official_files_used
    assert found[-1] == "and 60 more"
    assert len(found) == 41


def test_paths_outside_are_shown_from_where_they_are_known() -> None:
    root = Path("/work/tree")
    assert shown(root, "/v/site-packages/a/b.py") == "a/b.py"
    assert shown(root, "/work/Clone/b.py") == "../Clone/b.py"
    assert shown(root, "/elsewhere/b.py") == "/elsewhere/b.py"
    assert shown(root, "a/b.py") == "a/b.py"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ((PORT,), "no"),
        ((PORT, "tests/local_tests/noise/README.md"), "yes"),
        (None, None),
    ],
)
def test_the_readme_is_updated_where_git_says_so(changed: tuple[str, ...] | None, told: str | None) -> None:
    handoff = made(files_changed=changed)
    assert valid_block(handoff)["readme_updated"] == told
    assert ("git does not know" in " ".join(handoff.concerns_or_unknowns)) == (changed is None)


def test_small_models_that_differ_are_a_concern() -> None:
    first = {"native": {"module": "blocks.0", "path": PORT, "line": 7}}
    run = kept(
        "failed",
        tier="tiny",
        subject="diffusers:Noise",
        reason="one place differs",
        document={"first": first},
    )
    told = made(run).concerns_or_unknowns
    assert f"small models: failed against diffusers:Noise: one place differs, first at {PORT}:7" in told


# ---------------------------------------------------------------------- texts


def test_the_block_is_one_field_a_line() -> None:
    text = block_text(made(kept("failed", reason="two\nlines\nfield: forged"), dumps=DUMPS))
    lines = text.splitlines()
    tops = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    assert tops == list(Handoff.__dataclass_fields__)
    assert "parity_status: debug_red" in lines
    assert "conversion_retry_request: none" in lines
    assert "  official: converted_weights/noise/_mapping/o.json" in lines


def test_the_fence_of_the_markdown_is_longer_than_any_inside() -> None:
    text = markdown(made(kept("failed", reason="````")), "Noise", ("after",))
    assert "`````text" in text.splitlines()
    assert text.endswith("`````\nafter\n")


def test_a_block_that_contradicts_itself_never_leaves() -> None:
    with pytest.raises(InvalidHandoff, match="ask_user"):
        valid_block(replace(made(kept()), next_step="ask_user"))


def test_every_mixture_of_runs_gives_a_valid_block() -> None:
    parity = [
        None,
        *(kept(s, weights=w) for s in ("passed", "failed", "skipped", "error") for w in ((), WEIGHTS)),
    ]
    meta = [
        None,
        names(),
        names("skipped"),
        names("failed", document={}),
        names("failed", document={"conversion_retry_request": REQUEST}),
        names(document={"counts": {"native": 0}}),
    ]
    tiny = [None, kept("failed", tier="tiny")]
    dumps = [None, DUMPS, KeyDumps(None, DUMPS.fastvideo)]
    hatches = [None, EscapeHatch("E001", "which?", "")]
    strict = ["strict", "non_strict_with_allowed_keys", None]
    seen = set()
    for p, m, t, d, h, s in itertools.product(parity, meta, tiny, dumps, hatches, strict):
        for changed in ((), ("x has changed",)):
            runs = [replace(one, changed=changed) for one in (p, m, t) if one is not None]
            handoff = made(*runs, dumps=d, escape_hatch=h, strictness=s)
            seen.add((handoff.parity_status, handoff.strict_load, handoff.next_step))
    assert {status for status, _, _ in seen} == {
        None,
        "non_skip_pass",
        "debug_red",
        "scaffold_skip",
        "blocked",
    }
    assert {load for _, load, _ in seen} == {"not_run", "pass", "pass_with_documented_exclusions", "blocked"}
    assert len({step for _, _, step in seen}) == 5
