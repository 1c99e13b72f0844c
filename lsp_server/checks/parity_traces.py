"""The two models of a parity run, traced: what to record, and what the traces say side by side.

Both models ran free, in the test's own dtype and device, so what is told is the first place where they are
further apart than rounding explains (see `analyzers.numeric.trace_diff`). The first forward of each side in a
test is compared, if both got the same input; of a test that runs blocks alone, or one model, that is said.

What is not done, and why. The official model runs each time: most of a run is the loading of its weights,
which is the test's own code, and a forward whose result came from a file would turn the test's own comparison
into one with that file. Its trace is kept, though: `ditproof trace-diff` compares it with any later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analyzers.numeric.trace_diff import TraceDiff, diff
from analyzers.numeric.trace_files import TraceFile, TraceFileError, read_trace
from analyzers.numeric.trace_names import Rename, by_mapping
from lsp_server.checks.requests import CheckResult, ModelTrace


@dataclass(frozen=True)
class TracedTest:
    """The traces of one test, compared; `problem` says why they could not be."""

    test: str
    official: str | None
    native: str | None
    found: TraceDiff | None
    problem: str = ""


def compare_traces(result: CheckResult, rename: Rename) -> tuple[TracedTest, ...]:
    """Compare the traces of each test of a run. `rename`: the port's weight mapping."""
    tests = dict.fromkeys(outcome.test for outcome in result.outcomes if outcome.outcome != "skipped")
    return tuple(_compare(test, result.traces, rename) for test in tests)


def _compare(test: str, traces: tuple[ModelTrace, ...], rename: Rename) -> TracedTest:
    sides = {
        side: [t for t in traces if t.test == test and t.side == side and t.forwards]
        for side in ("official", "native")
    }
    missing = [
        name for name, side in (("the official model", "official"), ("the port", "native")) if not sides[side]
    ]
    official = sides["official"][0].file if sides["official"] else None
    native = sides["native"][0].file if sides["native"] else None
    if official is None or native is None:
        return TracedTest(
            test, official, native, None, f"the test does not run {' or '.join(missing)} as a whole"
        )
    try:
        left, right = read_trace(Path(official)), read_trace(Path(native))
    except TraceFileError as error:
        return TracedTest(test, official, native, None, error.reason)
    several = [side for side, found in sides.items() if len(found) > 1]
    if several:
        text = (
            f"the test runs several models of the {' and of the '.join(several)} side; which belong together?"
        )
        return TracedTest(test, official, native, None, text)
    found = diff(left, right, by_mapping(left, right, rename))
    return TracedTest(test, official, native, found, inputs_apart(left, right))


def inputs_apart(official: TraceFile, native: TraceFile) -> str:
    """Why the comparison says little: no input of the one model is an input of the other."""
    theirs = {tap.sketch for tap in official.taps if tap.module == "" and tap.end == "in"}
    ours = {tap.sketch for tap in native.taps if tap.module == "" and tap.end == "in"}
    shared = (theirs & ours) - {None}
    return (
        "" if shared else "no input of the official model is given to the port in the same values and order"
    )
