"""From a verdict to what stands in the editor."""

from __future__ import annotations

from typing import Any

from analyzers.findings import Location, Severity, Span
from lsp_server.checks.executor import RawRun
from lsp_server.checks.findings import findings_of
from lsp_server.checks.requests import CheckRequest, CheckResult
from lsp_server.checks.results import build_result

ROOT = "/work/project"
TEST = "tests/test_wan.py"
REQUEST = CheckRequest(root=ROOT, python="/py", test=TEST, trusted=True, port="WanTransformer3DModel")
PORT_CLASS = Location("fastvideo/models/dits/wanvideo.py", Span(10, 6, 10, 27))


def comparison(**changes: Any) -> dict[str, Any]:
    record = {
        "kind": "comparison",
        "test": f"{TEST}::test_a",
        "name": "sample",
        "path": f"{ROOT}/{TEST}",
        "line": 7,
        "column": 4,
        "end_line": 9,
        "end_column": 5,
        "rtol": 0.0,
        "atol": 1e-4,
        "equal_nan": False,
        "passed": False,
        "message": "Tensor-likes are not close!",
        "shape_actual": [2],
        "shape_expected": [2],
        "max_abs": 0.0025,
        "mean_abs": 0.001,
        "rel_l2": 0.01,
        "needed_tolerance": 0.0025,
        "elements": 2,
        "mismatched": 1,
        "nonfinite_mismatched": 0,
        "problem": None,
    }
    return record | changes


def outcome(kind: str, **changes: Any) -> dict[str, Any]:
    definition = {"path": f"{ROOT}/{TEST}", "line": 3, "column": 4, "end_column": 10}
    record = {"kind": "outcome", "test": f"{TEST}::test_a", "outcome": kind, "reason": ""}
    return record | {"definition": definition} | changes


def result(*records: dict[str, Any], exit_code: int = 1) -> CheckResult:
    started = {"kind": "started", "root": ROOT}
    session = {"kind": "session", "exit_code": exit_code}
    leaving = {"kind": "exit", "code": exit_code, "signal": None}
    return build_result(REQUEST, RawRun("exited", "", (started, *records, session, leaving), "", 1.5))


def test_red_at_the_call_and_at_the_class() -> None:
    found = findings_of(result(comparison(), outcome("failed")), PORT_CLASS)
    at_class, at_call = found
    assert [f.code for f in found] == ["DIT901", "DIT901"]
    assert at_call.location == Location(TEST, Span(7, 4, 9, 5))
    assert at_call.severity is Severity.ERROR
    assert at_call.message == (
        "Parity is red: `sample` drifts by 0.0025 at most, 0.001 on average (relative L2 0.01), "
        "beyond atol 0.0001 and rtol 0; atol 0.0025 would pass."
    )
    assert at_class.location == PORT_CLASS
    assert at_class.related[0].location == at_call.location
    assert at_class.port == "WanTransformer3DModel"
    assert "1 of 1 comparison failed; `sample` drifts by 0.0025" in at_class.message


def test_one_finding_a_call_and_the_worst_first_in_the_reason() -> None:
    worse = comparison(max_abs=0.5, needed_tolerance=0.5, line=20, end_line=20)
    told = result(comparison(), comparison(), comparison(passed=True), worse, outcome("failed"))
    assert [o.name for o in told.outputs] == ["sample", "sample #2", "sample #3", "sample #4"]
    assert told.reason.startswith("3 of 4 comparisons failed; `sample #4` drifts by 0.5")
    found = findings_of(told)
    assert [f.location.span.line for f in found] == [7, 20]
    assert "(1 more comparisons failed here)" in found[0].message


def test_values_that_are_not_finite_and_shapes() -> None:
    nan = comparison(needed_tolerance=None, nonfinite_mismatched=3, nonfinite_actual=3, nonfinite_expected=0)
    told = result(nan | {"elements": 8}, outcome("failed"))
    assert "3 of 8 values are NaN or infinite on one side only (3 actual, 0 expected)" in told.reason
    shapes = comparison(problem="shape [2] against [3]", max_abs=None, needed_tolerance=None)
    assert "`sample`: shape [2] against [3]" in result(shapes, outcome("failed")).reason
    dtype = comparison(max_abs=0.0, needed_tolerance=0.0, message="The values for attribute 'dtype' differ")
    assert "`sample`: The values for attribute 'dtype' differ" in result(dtype, outcome("failed")).reason


def test_an_assertion_of_its_own_and_an_exception() -> None:
    frame = {"path": f"{ROOT}/{TEST}", "line": 5}
    deep = {"path": f"{ROOT}/fastvideo/models/dits/wanvideo.py", "line": 99}
    own = outcome("failed", reason="AssertionError: drift", exception="AssertionError", test_frame=frame)
    (finding,) = findings_of(result(own))
    assert (finding.code, finding.location.span.line) == ("DIT901", 5)
    raised = outcome(
        "failed", reason="RuntimeError: mat1", exception="RuntimeError", test_frame=frame, failure=deep
    )
    (finding,) = findings_of(result(raised))
    assert finding.code == "DIT907"
    assert "raised before it could compare: RuntimeError: mat1" in finding.message
    assert finding.related[0].location.path == "fastvideo/models/dits/wanvideo.py"


def test_a_skip_is_no_evidence() -> None:
    skipped = outcome("skipped", reason="CUDA required", skip_class="no-cuda")
    (finding,) = findings_of(result(skipped, exit_code=0), PORT_CLASS)
    assert (finding.code, finding.severity) == ("DIT902", Severity.WARNING)
    assert finding.location == Location(TEST, Span(3, 4, 3, 10))
    assert "no evidence (no-cuda): CUDA required." in finding.message
    mixed = result(skipped, outcome("passed", test=f"{TEST}::test_b"), exit_code=0)
    assert mixed.status == "passed"
    assert [skip.test for skip in mixed.skips] == [f"{TEST}::test_a"]
    (finding,) = findings_of(mixed)
    assert finding.severity is Severity.INFORMATION


def test_a_check_that_could_not_run() -> None:
    error = {
        "kind": "collect_error",
        "path": f"{ROOT}/{TEST}",
        "line": 2,
        "missing": "diffusers.models",
        "message": "x\nE   ModuleNotFoundError: No module named 'diffusers'",
    }
    (finding,) = findings_of(result(error, exit_code=2), PORT_CLASS)
    assert (finding.code, finding.severity, finding.location.span.line) == ("DIT907", Severity.ERROR, 2)
    assert "No module named 'diffusers'" in finding.message
    assert "`diffusers` cannot be imported by /py: install it there" in finding.message


def test_nothing_to_say_of_passed_and_cancelled() -> None:
    passed = result(comparison(passed=True), outcome("passed"), exit_code=0)
    assert passed.reason == "1 test passed, 1 comparison within tolerance"
    assert findings_of(passed, PORT_CLASS) == []
    cancelled = build_result(REQUEST, RawRun("cancelled", "", (outcome("skipped"),), "", 0.1))
    assert findings_of(cancelled) == []


def test_a_crash_after_a_pass_is_no_pass() -> None:
    records = (
        {"kind": "started", "root": ROOT},
        outcome("passed"),
        {"kind": "exit", "code": None, "signal": "SIGKILL"},
    )
    told = build_result(REQUEST, RawRun("exited", "", records, "", 1.0))
    assert told.status == "error"
    assert "Probably out of memory" in told.next_step
