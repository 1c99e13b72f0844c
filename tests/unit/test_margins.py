"""How much looser a tolerance is than a run needed, and the fix that tightens it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyzers.findings import Applicability, Location, Severity, Span
from analyzers.fixes.replace_lines import edit
from lsp_server.checks.margins import margins, tightened
from lsp_server.checks.requests import CheckResult, Comparison, Output

PATH = "tests/test_wan_parity.py"
CALL = "    assert_close(sample, official, atol=0.1, rtol=0)\n"


def comparison(text: str, call: str = "assert_close(", *, need: float = 1e-4, nth: int = 0) -> Comparison:
    lines = [n for n, line in enumerate(text.split("\n")) if call in line]
    line = lines[nth]
    source = text.split("\n")[line]
    span = Span(line, source.index(call), line, len(source))
    return Comparison(
        output=Output("sample", need, need, need, 0.1, need, True),
        test="test_it",
        location=Location(PATH, span),
        actual="sample",
        expected="official",
        shape_actual=(2,),
        shape_expected=(2,),
        dtype_actual="float32",
        dtype_expected="float32",
        device_actual="cpu",
        device_expected="cpu",
        rtol=0.0,
        equal_nan=False,
        elements=2,
        mismatched=0,
        nonfinite_actual=0,
        nonfinite_expected=0,
        nonfinite_mismatched=0,
        problem=None,
        message=None,
    )


def result(*comparisons: Comparison, status: str = "passed") -> CheckResult:
    return CheckResult(
        port="Wan",
        tier="weights",
        status=status,  # type: ignore[arg-type]
        reason="",
        next_step="",
        test=PATH,
        outputs=(),
        comparisons=comparisons,
        outcomes=(),
        notes=(),
        log_tail="",
        seconds=1.0,
    )


def test_a_loose_literal_is_told_and_tightened() -> None:
    text = f"def test_it():\n{CALL}"
    (found,) = margins(result(comparison(text)), {PATH: text})
    assert (found.code, found.severity) == ("DIT808", Severity.INFORMATION)
    assert found.message == (
        "A difference of 0.1 is allowed and this run needed 0.0001 (1e+03 times less): an error of that size "
        "would stay unnoticed. 0.0005 leaves room for other kernels."
    )
    assert found.location.span == Span(1, CALL.index("0.1"), 1, CALL.index("0.1") + 3)
    assert found.fix is not None
    assert found.fix.applicability is Applicability.UNSAFE
    edited = edit(found.fix.arguments, lambda path: text)
    assert edited == {PATH: text.replace("atol=0.1", "atol=0.0005")}


def test_the_worst_need_of_a_loop_decides() -> None:
    text = f"def test_it():\n{CALL}"
    needs = [comparison(text, need=need) for need in (1e-5, 2e-3, 1e-4)]
    (found,) = margins(result(*needs), {PATH: text})
    assert "needed 0.002 (50 times less), the worst of 3 comparisons" in found.message
    assert "0.01 leaves room" in found.message


@pytest.mark.parametrize("need", [4e-3, 0.05])
def test_what_is_near_its_need_is_left_alone(need: float) -> None:
    text = f"def test_it():\n{CALL}"
    assert margins(result(comparison(text, need=need)), {PATH: text}) == []


def test_a_constant_that_only_measured_comparisons_read_is_tightened_where_it_stands() -> None:
    calls = "    assert_close(a, b, atol=ATOL)\n    assert_close(c, d, atol=ATOL)\n"
    text = f"ATOL = 1e-1\n\n\ndef test_it():\n{calls}"
    both = [comparison(text, need=1e-6), comparison(text, need=3e-4, nth=1)]
    (found,) = margins(result(*both), {PATH: text})
    assert found.location.span == Span(0, 7, 0, 11)
    assert found.fix is not None
    assert edit(found.fix.arguments, lambda path: text) == {PATH: text.replace("1e-1", "0.001")}


@pytest.mark.parametrize(
    "text",
    [
        # read by a comparison that this run did not measure
        "ATOL = 0.1\n\n\ndef test_it():\n    assert_close(a, b, atol=ATOL)\n    other(atol=ATOL)\n",
        # given twice
        "ATOL = 0.1\nATOL = 0.2\n\n\ndef test_it():\n    assert_close(a, b, atol=ATOL)\n",
        # computed
        "ATOL = 0.1 * 2\n\n\ndef test_it():\n    assert_close(a, b, atol=ATOL)\n",
        # a parameter
        "def test_it(ATOL=0.1):\n    assert_close(a, b, atol=ATOL)\n",
        # by the default of the function
        "def test_it():\n    assert_close(a, b)\n",
        # by position or unpacked
        "def test_it():\n    assert_close(a, b, **TOLERANCES)\n",
        # does not parse any more
        "def test_it(:\n    assert_close(a, b, atol=0.1)\n",
    ],
)
def test_what_cannot_be_told_is_left_alone(text: str) -> None:
    assert margins(result(comparison(text)), {PATH: text}) == []


def test_a_run_that_did_not_pass_measures_nothing() -> None:
    text = f"def test_it():\n{CALL}"
    assert margins(result(comparison(text), status="failed"), {PATH: text}) == []
    red = comparison(text)
    red = replace(red, output=replace(red.output, passed=False))
    assert margins(result(comparison(text), red), {PATH: text}) == []
    assert margins(result(replace(comparison(text), elements=0)), {PATH: text}) == []


def test_half_precision_keeps_its_floor() -> None:
    text = f"def test_it():\n{CALL}"
    half = replace(comparison(text, need=0.0), dtype_actual="bfloat16")
    (found,) = margins(result(half), {PATH: text})
    assert "needed none" in found.message
    assert "0.01 leaves room" in found.message


@pytest.mark.parametrize(
    ("need", "floor", "wanted"),
    [
        (0.0, 1e-6, 1e-6),
        (1e-4, 1e-6, 5e-4),
        (3e-4, 1e-6, 1e-3),
        (6e-4, 1e-6, 2e-3),
        (1e-9, 1e-6, 1e-6),
        (0.3, 1e-6, 1.0),
    ],
)
def test_steps(need: float, floor: float, wanted: float) -> None:
    assert tightened(need, floor) == pytest.approx(wanted)
