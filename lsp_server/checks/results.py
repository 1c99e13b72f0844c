"""From the records of a run to its verdict.

A verdict is never better than what was seen: a run that ended before pytest did is an error
whatever had passed until then, and a run in which nothing passed is no evidence.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analyzers.findings import START_OF_FILE, Location, Span
from lsp_server.checks.conditions import read_conditions
from lsp_server.checks.executor import RawRun
from lsp_server.checks.requests import (
    CheckRequest,
    CheckResult,
    Comparison,
    Loaded,
    ModelTrace,
    Outcome,
    Output,
    Status,
)

_SKIP_STEPS = {
    "no-cuda": "Run it on a machine with a CUDA device, or check the port with `--tier tiny`.",
    "no-weights": "Make the weights available where the test looks for them.",
    "no-official-clone": "Clone the official repository and name it in the variable that the test reads.",
    "environment-flag": "Set the environment variable that the reason names.",
    "missing-package": "Install the missing package into the project's environment.",
    "unconditional": "Remove the skip mark: this test never runs.",
    "expected-failure": "Remove the xfail mark once the port agrees: an expected failure proves nothing.",
    "other": "Meet the condition that the reason names.",
}


@dataclass(frozen=True)
class _Verdict:
    status: Status
    reason: str
    next_step: str = ""
    place: Location | None = None


def build_result(request: CheckRequest, run: RawRun, next_step: str = "") -> CheckResult:
    """The verdict of a finished run, or of one that did not start (then with its `next_step`)."""
    told = _Records(run.records)
    root = str(told.first("started").get("root") or request.root)
    outcomes = tuple(_outcome(record, root) for record in told.all("outcome"))
    comparisons = _named(tuple(_comparison(record, root) for record in told.all("comparison")))
    verdict = (
        _from_the_end(request, run, told, next_step)
        or _from_collection(request, told, root)
        or _from_a_crash(told, run)
        or _from_outcomes(request, told, outcomes, comparisons, run)
    )
    return CheckResult(
        port=request.port,
        tier=request.tier,
        status=verdict.status,
        reason=verdict.reason,
        next_step=verdict.next_step,
        test=request.test,
        outputs=tuple(comparison.output for comparison in comparisons),
        comparisons=comparisons,
        outcomes=outcomes,
        notes=tuple(_notes(told, verdict, outcomes, comparisons)),
        log_tail=run.log_tail,
        seconds=run.seconds,
        place=verdict.place or Location(request.test.split("::", 1)[0], START_OF_FILE),
        traces=tuple(
            ModelTrace(r["test"], r["side"], r["class"], r["file"], r["forwards"]) for r in told.all("traced")
        ),
        loaded=_loaded(told.last("loaded"), root),
        conditions=read_conditions(told.last("conditions")) if told.last("conditions") else None,
    )


class _Records:
    """Records by kind, in the order in which they were written."""

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self._by_kind: dict[str, list[Mapping[str, Any]]] = {}
        for record in records:
            self._by_kind.setdefault(str(record.get("kind")), []).append(record)

    def all(self, kind: str) -> list[Mapping[str, Any]]:
        return self._by_kind.get(kind, [])

    def first(self, kind: str) -> Mapping[str, Any]:
        return next(iter(self.all(kind)), {})

    def last(self, kind: str) -> Mapping[str, Any]:
        return next(iter(reversed(self.all(kind))), {})

    @property
    def doing(self) -> str:
        """What the run was about when its last phase began: `running <test>`, `collecting`, ..."""
        phase = self.last("phase")
        if not phase:
            return "starting"
        return f"running {phase['test']}" if phase.get("test") else str(phase["phase"])


def _from_the_end(request: CheckRequest, run: RawRun, told: _Records, next_step: str) -> _Verdict | None:
    """A run that was ended from outside, or never began."""
    if run.ended == "not-started":
        return _Verdict("error", run.detail, next_step)
    if run.ended == "cancelled":
        return _Verdict("cancelled", run.detail or "The run was cancelled.")
    if run.ended == "timeout":
        return _Verdict(
            "error",
            f"Ended after {run.detail}, the time limit, while {told.doing}.",
            "Raise the time limit, or check a smaller test.",
        )
    if run.ended == "memory":
        return _Verdict(
            "error",
            f"Ended while {told.doing}: it used {run.detail} of memory, more than the limit.",
            "Raise the memory limit, or check a smaller configuration.",
        )
    if told.first("problem"):
        return _Verdict(
            "error",
            f"{told.first('problem')['message']}.",
            f"Run `{request.python} -m pip install pytest`, or choose another interpreter.",
        )
    if not told.first("started"):
        return _Verdict(
            "error",
            f"{request.python} did not start the check: {_last_line(run.log_tail) or 'it said nothing'}.",
            "Check that it is the project's interpreter, Python 3.10 or newer.",
        )
    return None


def _from_collection(request: CheckRequest, told: _Records, root: str) -> _Verdict | None:
    errors = told.all("collect_error")
    if errors:
        error = errors[0]
        place = _place(error.get("path"), error.get("line"), root)
        # pytest marks the exception's own lines with E.
        lines = [line[1:].strip() for line in str(error["message"]).splitlines() if line.startswith("E")]
        text = lines[-1] if lines else _last_line(str(error["message"]))
        missing = error.get("missing")
        return _Verdict(
            "error",
            f"The test could not be collected: {text}",
            _import_step(request, text, missing, "Correct the import or the test file."),
            place,
        )
    if told.first("no_target"):
        return _Verdict(
            "error", f"{told.first('no_target')['message']}.", "Put the cursor into a test, or name one."
        )
    return None


def _from_a_crash(told: _Records, run: RawRun) -> _Verdict | None:
    """pytest writes its exit code last; without it the process did not come that far."""
    if told.first("session"):
        return None
    leaving = told.first("exit")
    if leaving.get("signal"):
        how = f"was killed by {leaving['signal']}"
    elif leaving:
        how = f"ended with code {leaving.get('code')} before pytest had finished"
    else:
        how = "was killed together with its supervisor"
    step = (
        "Probably out of memory: check a smaller configuration."
        if leaving.get("signal") == "SIGKILL"
        else "The end of the log shows what it was doing."
    )
    return _Verdict("error", f"The test process {how} while {told.doing}.", step)


def _from_outcomes(
    request: CheckRequest,
    told: _Records,
    outcomes: tuple[Outcome, ...],
    comparisons: tuple[Comparison, ...],
    run: RawRun,
) -> _Verdict:
    counts = Counter(outcome.outcome for outcome in outcomes)
    if counts["failed"]:
        return _failed(outcomes, comparisons)
    if counts["error"]:
        broken = next(o for o in outcomes if o.outcome == "error")
        return _Verdict(
            "error",
            f"{broken.test} could not be set up or torn down: {_first_line(broken.reason)}",
            "Correct the fixture that raised.",
            broken.failed_at or broken.definition,
        )
    # 0: all passed, 1: some failed, 5: nothing ran. Everything else is pytest's own trouble.
    exit_code = told.first("session").get("exit_code")
    if exit_code not in (0, 1, 5):
        conftest = re.search(r"^ImportError while loading conftest '(.+?)'\.?$", run.log_tail, re.MULTILINE)
        if conftest is not None:
            lines = re.findall(r"^E +(.+)$", run.log_tail, re.MULTILINE) or [
                "it raised while it was imported"
            ]
            missing = re.match(r"ModuleNotFoundError: No module named '([^']+)'", lines[-1])
            place = _place(conftest[1], None, str(told.first("started").get("root") or request.root))
            return _Verdict(
                "error",
                f"The conftest of {request.test} could not be imported: {lines[-1]}",
                _import_step(request, lines[-1], missing[1] if missing else None, "Correct the conftest."),
                place,
            )
        return _Verdict(
            "error",
            f"pytest could not run {request.test}: {_pytest_error(run.log_tail) or f'exit code {exit_code}'}",
            "Check the test's name and the project's pytest configuration.",
        )
    if counts["passed"] or counts["xpassed"]:
        return _Verdict("passed", _passed(outcomes, comparisons))
    if outcomes:
        skip = outcomes[0]
        rest = f" (and {len(outcomes) - 1} more)" if len(outcomes) > 1 else ""
        reason = skip.reason or "no reason is given"
        if skip.outcome == "xfailed":
            reason = f"it is expected to fail: {reason}"
        return _Verdict(
            "skipped",
            f"Skipped{rest}: {reason}",
            _SKIP_STEPS.get(skip.skip_class or "other", _SKIP_STEPS["other"]),
            skip.definition,
        )
    deselected = int(told.last("collected").get("deselected") or 0)
    if deselected:
        return _Verdict(
            "error",
            f"All tests of {request.test} ({deselected}) are deselected by the project's pytest options.",
            "Check `-m` and `-k` in the project's `addopts`.",
        )
    return _Verdict("error", f"{request.test} contains no test.", "Name a file with a function `test_...`.")


def _failed(outcomes: tuple[Outcome, ...], comparisons: tuple[Comparison, ...]) -> _Verdict:
    red = next(o for o in outcomes if o.outcome == "failed")
    failing = {o.test for o in outcomes if o.outcome == "failed"}
    drifted = [c for c in comparisons if not c.output.passed and c.test in failing]
    if not drifted:
        return _Verdict("failed", f"{red.test}: {_first_line(red.reason)}", "", red.failed_at)
    worst = max(drifted, key=_badness)
    text = f"{len(drifted)} of {_count(len(comparisons), 'comparison')} failed"
    return _Verdict("failed", f"{text}; {describe(worst)}", "", worst.location)


def describe(comparison: Comparison) -> str:
    """One comparison as a clause: what drifts, by how much, against what, and what would pass."""
    output = comparison.output
    if comparison.problem is not None:
        return f"`{output.name}`: {comparison.problem}"
    if comparison.nonfinite_mismatched:
        return (
            f"`{output.name}`: {comparison.nonfinite_mismatched} of {comparison.elements} values are NaN "
            f"or infinite on one side only ({comparison.nonfinite_actual} actual, "
            f"{comparison.nonfinite_expected} expected)"
        )
    drift = (
        f"`{output.name}` drifts by {_number(output.max_abs)} at most, {_number(output.mean_abs)} on average "
        f"(relative L2 {_number(output.rel_l2)})"
    )
    allowed = f"atol {_number(output.tolerance)} and rtol {_number(comparison.rtol)}"
    if output.passed:
        return f"{drift}, within {allowed}"
    if output.needed_tolerance is not None and output.needed_tolerance <= (output.tolerance or 0.0):
        # Values agree; what failed is the dtype, device, layout or stride.
        return f"`{output.name}`: {_first_line(comparison.message or 'not equal')}"
    return f"{drift}, beyond {allowed}; atol {_number(output.needed_tolerance)} would pass"


def _passed(outcomes: tuple[Outcome, ...], comparisons: tuple[Comparison, ...]) -> str:
    ran = sum(o.outcome in ("passed", "xpassed") for o in outcomes)
    text = f"{_count(ran, 'test')} passed"
    if comparisons:
        text += f", {_count(len(comparisons), 'comparison')} within tolerance"
    else:
        text += "; no comparison was recorded"
    skipped = len(outcomes) - ran
    return f"{text}; {_count(skipped, 'test')} skipped" if skipped else text


def _notes(
    told: _Records,
    verdict: _Verdict,
    outcomes: tuple[Outcome, ...],
    comparisons: tuple[Comparison, ...],
) -> Iterable[str]:
    if verdict.status == "passed" and not comparisons:
        yield "No comparison was recorded: the test passed without a call that compares values."
    for outcome in outcomes:
        if outcome.outcome == "xpassed":
            yield f"{outcome.test} passes although it is marked xfail: remove the mark."
    passing = {o.test for o in outcomes if o.outcome in ("passed", "xpassed")}
    tolerated = sum(not c.output.passed and c.test in passing for c in comparisons)
    if tolerated:
        yield f"{_count(tolerated, 'comparison')} failed inside a test that passed: it catches the failure."
    empty = sum(c.output.passed and c.problem is not None for c in comparisons)
    if empty:
        yield f"{_count(empty, 'comparison')} passed without values to compare (meta tensors): no evidence."
    for record in told.all("overflow"):
        yield f"{record['test']}: passing comparisons beyond {record['limit']} are not listed."
    for record in told.all("untraced"):
        yield f"{record['test']} was not traced: {record['message']}."
    for record in told.all("comparison_unmeasured"):
        yield f"A comparison of {record['test']} could not be measured: {record['message']}"


def _outcome(record: Mapping[str, Any], root: str) -> Outcome:
    definition = record.get("definition")
    failure, in_test = record.get("failure") or {}, record.get("test_frame") or {}
    return Outcome(
        test=record["test"],
        outcome=record["outcome"],
        reason=record.get("reason") or "",
        skip_class=record.get("skip_class"),
        seconds=float(record.get("seconds") or 0.0),
        exception=record.get("exception"),
        definition=_span_place(definition, root) if definition else None,
        failed_at=_place(failure.get("path"), failure.get("line"), root),
        in_test=_place(in_test.get("path"), in_test.get("line"), root),
    )


def _comparison(record: Mapping[str, Any], root: str) -> Comparison:
    def shape(side: str) -> tuple[int, ...] | None:
        sizes = record.get(f"shape_{side}")
        return None if sizes is None else tuple(sizes)

    return Comparison(
        output=Output(
            name=record["name"],
            max_abs=record["max_abs"],
            mean_abs=record["mean_abs"],
            rel_l2=record["rel_l2"],
            tolerance=record["atol"],
            needed_tolerance=record["needed_tolerance"],
            passed=bool(record["passed"]),
        ),
        location=_span_place(record, root),
        shape_actual=shape("actual"),
        shape_expected=shape("expected"),
        **{
            key: record.get(key)
            for key in (
                *("test", "actual", "expected", "dtype_actual", "dtype_expected"),
                *("device_actual", "device_expected", "rtol", "elements", "mismatched"),
                *("nonfinite_actual", "nonfinite_expected", "nonfinite_mismatched"),
                *("problem", "message"),
            )
        },
        equal_nan=bool(record["equal_nan"]),
        through=str(record.get("through") or Comparison.through),
    )


def _named(comparisons: tuple[Comparison, ...]) -> tuple[Comparison, ...]:
    """The comparisons under names that tell them apart: the test where there are several, a number
    where one test compares the same expression again (in a loop)."""
    several = len({comparison.test for comparison in comparisons}) > 1
    seen: Counter[str] = Counter()
    named = []
    for comparison in comparisons:
        name = comparison.output.name
        if several and comparison.test:
            name = f"{comparison.test.rpartition('::')[2]}: {name}"
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} #{seen[name]}"
        named.append(replace(comparison, output=replace(comparison.output, name=name)))
    return tuple(named)


def _loaded(record: Mapping[str, Any], root: str) -> Loaded | None:
    if not record:
        return None
    files = (_relative(path, root) or str(path).replace(os.sep, "/") for path in record["files"])
    packages, weights = (tuple(map(str, record[name])) for name in ("packages", "weights"))
    return Loaded(tuple(sorted(files)), packages, weights)


def _span_place(record: Mapping[str, Any], root: str) -> Location | None:
    path, line, column = _relative(record.get("path"), root), record.get("line"), record.get("column")
    if path is None or line is None:
        return None
    if column is None or record.get("end_column") is None:
        return Location(path, Span(line, 0, line, 0))
    return Location(path, Span(line, column, record.get("end_line") or line, record["end_column"]))


def _place(path: object, line: object, root: str) -> Location | None:
    relative = _relative(path, root)
    if relative is None:
        return None
    return Location(relative, Span(line, 0, line, 0) if isinstance(line, int) else START_OF_FILE)


def _relative(path: object, root: str) -> str | None:
    """A path inside the root, relative to it and with `/`; None for one outside."""
    if not isinstance(path, str) or not path.startswith(root.rstrip(os.sep) + os.sep):
        return None
    return posixpath.normpath(path[len(root.rstrip(os.sep)) + 1 :].replace(os.sep, "/"))


def _badness(comparison: Comparison) -> tuple[int, float]:
    """Order of what to tell first: no numbers at all, then non-finite values, then the excess."""
    output = comparison.output
    if comparison.problem is not None:
        return (3, 0.0)
    if output.needed_tolerance is None:
        return (2, float(comparison.nonfinite_mismatched or 0))
    return (1, output.needed_tolerance - (output.tolerance or 0.0))


_KNOWN_IMPORTS = (
    (
        r"torchvision::\w+ does not exist",
        "torchvision was built for another torch: install the release that belongs to the torch of {python}.",
    ),
    (
        r"CUDA driver|libcuda\.so|libcudart|no NVIDIA driver|Torch not compiled with CUDA",
        "It needs CUDA when it is imported: run it on a machine with a CUDA device.",
    ),
)
"""What an import that fails means, and what mends it."""


def _import_step(request: CheckRequest, text: str, missing: object, otherwise: str) -> str:
    if missing:
        return _install(request, missing)
    steps = (step for pattern, step in _KNOWN_IMPORTS if re.search(pattern, text))
    return next(steps, otherwise).format(python=request.python)


def _install(request: CheckRequest, missing: object) -> str:
    package = str(missing).split(".")[0]
    return (
        f"`{package}` cannot be imported by {request.python}: install it there, or choose the "
        "interpreter that has it."
    )


def _pytest_error(log: str) -> str | None:
    found = re.findall(r"^(?:ERROR: |INTERNALERROR> )(.+)$", log, re.MULTILINE)
    return found[0] if found else None


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
