"""Records every `torch.testing.assert_close`, also those that pass and those bound early.

The replacement is put in place while `torch.testing._comparison` is being imported, before
`torch.testing` or a test can take the original by name. torch is thus imported when and only when
the test itself imports it: an environment variable that a conftest sets first still counts.

A `comparison` record holds: test, call (a running number), through (the function that compared), name,
actual and expected (source text), path and line/column/end (from 0, bytes), function, rtol and atol
(effective), equal_nan, passed, message of the failure, and the fields of `ditproof_probe.compare.Drift`.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import FrameType, ModuleType
from typing import Any

from ditproof_probe import compare
from ditproof_probe.callsite import CallSite, call_site, in_project
from ditproof_probe.patching import on_import
from ditproof_probe.records import RecordWriter

COMPARISON_MODULE = "torch.testing._comparison"
MAX_CALLS = 500  # a test; beyond it only failing comparisons are measured and recorded
_LONGEST_MESSAGE = 2000


class Recorder:
    """Wraps `assert_close` and writes what it sees. `current_test` is set by the pytest plugin."""

    def __init__(self, writer: RecordWriter, root: str) -> None:
        self.current_test: str | None = None
        self._writer = writer
        self._root = root
        self._calls: dict[str | None, int] = {}

    def install(self) -> None:
        """Patch now if torch is imported already, else the moment it is."""
        module = sys.modules.get(COMPARISON_MODULE)
        if module is None:
            on_import(COMPARISON_MODULE, self._patch)
            return
        original = module.assert_close
        self._patch(module)
        for name in ("torch.testing", "torch.testing._internal.common_utils"):
            holder = sys.modules.get(name)
            if holder is not None and getattr(holder, "assert_close", None) is original:
                holder.assert_close = module.assert_close  # type: ignore[attr-defined]

    def _patch(self, module: ModuleType) -> None:
        module.assert_close = self._wrapped(module.assert_close)  # type: ignore[attr-defined]

    def _wrapped(self, original: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(original)

        def note(
            args: tuple[Any, ...],
            kwargs: Mapping[str, Any],
            failure: Exception | None,
            frame: FrameType,
        ) -> None:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return  # the original raises the same, and its message is better
            bound.apply_defaults()
            self._note(original, bound.arguments, failure, frame)

        @functools.wraps(original)
        def assert_close(*args: Any, **kwargs: Any) -> None:
            __tracebackhide__ = True
            try:
                original(*args, **kwargs)
            except Exception as failure:
                note(args, kwargs, failure, sys._getframe(1))
                raise
            note(args, kwargs, None, sys._getframe(1))

        return assert_close

    def _note(
        self,
        original: Callable[..., None],
        given: Mapping[str, Any],
        failure: Exception | None,
        frame: FrameType,
    ) -> None:
        test = self.current_test
        number = self._calls[test] = self._calls.get(test, 0) + 1
        if number > MAX_CALLS and failure is None:
            if number == MAX_CALLS + 1:
                self._writer.write("overflow", test=test, limit=MAX_CALLS)
            return
        try:
            leaves = list(
                itertools.islice(compare.pairs(given["actual"], given["expected"]), compare.MAX_PAIRS)
            )
            site = call_site(frame, self._root)
            for leaf in leaves:
                passed = failure is None or (
                    len(leaves) > 1 and leaf.problem is None and _passes(original, leaf, given)
                )
                self._record(leaf, given, passed, str(failure), site, number, "torch.testing.assert_close")
        except Exception as problem:  # noqa: BLE001 - a fault of ours must not change the outcome
            self._unmeasured(test, number, problem)

    def note_values(
        self,
        through: str,
        actual: Any,
        expected: Any,
        tolerances: Mapping[str, Any],
        passed: bool,
        message: str,
        frame: FrameType,
    ) -> None:
        """Records one pair that met in another function. `tolerances`: rtol, atol, equal_nan as that function
        has them. What libraries compare among themselves is left out: the call stands in the project."""
        test = self.current_test
        if test is None or not in_project(frame.f_code.co_filename, self._root):
            return
        number = self._calls[test] = self._calls.get(test, 0) + 1
        if number > MAX_CALLS and passed:
            if number == MAX_CALLS + 1:
                self._writer.write("overflow", test=test, limit=MAX_CALLS)
            return
        try:
            if "torch" not in sys.modules:
                raise RuntimeError("torch was not imported, so the values were not measured")
            pair = compare.Pair("", actual, expected)
            site = call_site(frame, self._root)
            self._record(pair, tolerances, passed, message, site, number, through)
        except Exception as problem:  # noqa: BLE001 - a fault of ours must not change the outcome
            self._unmeasured(test, number, problem)

    def _unmeasured(self, test: str | None, number: int, problem: Exception) -> None:
        text = f"{type(problem).__name__}: {problem}"[:_LONGEST_MESSAGE]
        self._writer.write("comparison_unmeasured", test=test, call=number, message=text)

    def _record(
        self,
        leaf: compare.Pair,
        given: Mapping[str, Any],
        passed: bool,
        message: str,
        site: CallSite,
        number: int,
        through: str,
    ) -> None:
        rtol, atol, equal_nan = given.get("rtol"), given.get("atol"), bool(given.get("equal_nan"))
        tolerances = None
        if leaf.problem is None:
            tolerances = compare.effective_tolerances(leaf.actual, leaf.expected, rtol, atol)
            drift = compare.measure(
                leaf.actual,
                leaf.expected,
                rtol=tolerances[0] if tolerances else 0.0,
                atol=tolerances[1] if tolerances else 0.0,
                equal_nan=equal_nan,
            )
        else:
            drift = compare.Drift(None, None, None, None, None, None, problem=leaf.problem)
        self._writer.write(
            "comparison",
            test=self.current_test,
            call=number,
            through=through,
            name=_name(site, leaf.suffix, number),
            actual=site.actual,
            expected=site.expected,
            path=site.path,
            line=site.line,
            column=site.column,
            end_line=site.end_line,
            end_column=site.end_column,
            function=site.function,
            rtol=_finite(tolerances[0]) if tolerances else None,
            atol=_finite(tolerances[1]) if tolerances else None,
            equal_nan=equal_nan,
            passed=passed,
            message=None if passed else message[:_LONGEST_MESSAGE],
            **asdict(drift),
        )


def _passes(original: Callable[..., None], leaf: compare.Pair, given: Mapping[str, Any]) -> bool:
    """Whether one leaf of a failed container comparison would have passed alone."""
    options = {key: value for key, value in given.items() if key not in ("actual", "expected", "msg")}
    try:
        original(leaf.actual, leaf.expected, **options)
    except (AssertionError, TypeError, ValueError, RuntimeError):
        return False
    return True


def _name(site: CallSite, suffix: str, number: int) -> str:
    name = (site.actual or f"comparison {number}") + suffix
    return f"{name} ({site.label})" if site.label is not None else name


def _finite(value: float) -> float | None:
    """An infinite tolerance is possible in a call and not in a record."""
    return value if math.isfinite(value) else None
