"""The pytest plugin of a parity run: what was collected, what became of each test, and why.

An `outcome` record holds: test, outcome (`passed`, `failed`, `skipped`, `error`, `xfailed`,
`xpassed`), reason, skip_class, seconds, exception (the type's name), failure (path, line of the
innermost frame in the project), test_frame (path, line in the test's own file) and definition (the
span of the test's name: line, column, end_column; from 0, bytes).
"""

from __future__ import annotations

import ast
import os
import traceback
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ditproof_probe.callsite import in_project, parsed
from ditproof_probe.recorder import Recorder
from ditproof_probe.records import RecordWriter
from ditproof_probe.skips import EXPECTED_FAILURE, classify_skip

_LONGEST = 4000


@dataclass
class _Progress:
    """What is known of one test between its first and its last phase."""

    outcome: str | None = None
    reason: str = ""
    skip_class: str | None = None
    seconds: float = 0.0
    details: dict[str, object] = field(default_factory=dict)


class ParityPlugin:
    """Writes records; selects the test at `line` (from 0) of the target file if one is given."""

    def __init__(self, writer: RecordWriter, recorder: Recorder, root: str, line: int | None) -> None:
        self._writer = writer
        self._recorder = recorder
        self._root = root
        self._line = line
        self._tests: dict[str, _Progress] = {}
        self._deselected = 0

    # -- collection -----------------------------------------------------------------------------

    def pytest_collection(self) -> None:
        self._writer.write("phase", phase="collecting", test=None)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self._deselected += len(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._line is None or not items:
            return
        chosen = [item for item in items if _covers(item, self._line)]
        if not chosen:
            names = sorted({getattr(item, "originalname", None) or item.name for item in items})
            self._writer.write(
                "no_target",
                message=f"no test stands at line {self._line + 1}; "
                f"the file's tests are {', '.join(names[:10])}",
            )
        items[:] = chosen

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._writer.write(
            "collected",
            tests=[item.nodeid for item in session.items[:200]],
            count=len(session.items),
            deselected=self._deselected,
        )

    def pytest_exception_interact(self, node: pytest.Collector, call: Any, report: Any) -> None:
        """Called where collecting a file raised (and for tests, which `makereport` sees)."""
        if not isinstance(report, pytest.CollectReport):
            return
        causes = list(_causes(call.excinfo.value))
        path, line = self._innermost(call.excinfo.value, str(node.path))
        self._writer.write(
            "collect_error",
            node=report.nodeid,
            path=path,
            line=line,
            missing=next((e.name for e in causes if isinstance(e, ModuleNotFoundError)), None),
            message=_cut(str(report.longrepr)),
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            reason = _skip_reason(report.longrepr)
            self._writer.write(
                "outcome",
                test=report.nodeid,
                outcome="skipped",
                reason=reason,
                skip_class=classify_skip(reason),
                seconds=0.0,
                definition=None,
            )

    # -- running --------------------------------------------------------------------------------

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._recorder.current_test = nodeid
        self._tests[nodeid] = _Progress()
        self._writer.write("phase", phase="running", test=nodeid)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, None]:
        outcome = yield
        report: pytest.TestReport = outcome.get_result()
        progress = self._tests.setdefault(item.nodeid, _Progress())
        progress.details.setdefault("definition", _definition(item))
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = _skip_reason(report.longrepr)
            unconditional = call.when == "setup" and item.get_closest_marker("skip") is not None
            progress.skip_class = classify_skip(reason, unconditional=unconditional)
        if report.failed and call.excinfo is not None:
            own = str(item.path)
            path, line = self._innermost(call.excinfo.value, own)
            frames = [entry for entry in call.excinfo.traceback if str(entry.path) == own]
            progress.details.update(
                exception=call.excinfo.typename,
                failure={"path": path, "line": line},
                test_frame={"path": own, "line": frames[-1].lineno} if frames else None,
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        progress = self._tests.setdefault(report.nodeid, _Progress())
        progress.seconds += report.duration
        expected = hasattr(report, "wasxfail")
        if report.failed:
            # A broken fixture is no verdict on the port; a failed teardown after a failed call is not news.
            outcome = "failed" if report.when == "call" else "error"
            if progress.outcome not in ("failed", "error"):
                progress.outcome, progress.reason = outcome, _failure_reason(report)
        elif report.skipped and expected:
            progress.outcome, progress.reason = "xfailed", str(report.wasxfail)
            progress.skip_class = EXPECTED_FAILURE
        elif report.skipped:
            if progress.outcome is None:
                progress.outcome, progress.reason = "skipped", _skip_reason(report.longrepr)
        elif report.when == "call" and progress.outcome is None:
            progress.outcome = "xpassed" if expected else "passed"
            progress.reason = str(report.wasxfail) if expected else ""

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        progress = self._tests.pop(nodeid, _Progress())
        self._writer.write(
            "outcome",
            test=nodeid,
            outcome=progress.outcome or "error",
            reason=_cut(progress.reason or ("" if progress.outcome else "no phase of the test reported")),
            skip_class=progress.skip_class if progress.outcome in ("skipped", "xfailed") else None,
            seconds=progress.seconds,
            **progress.details,
        )
        self._recorder.current_test = None

    def _innermost(self, error: BaseException, fallback: str) -> tuple[str, int | None]:
        """The deepest frame in the project that an exception passed, or the one that caused it."""
        for cause in reversed(list(_causes(error))):  # pytest wraps an import error in one of its own
            if isinstance(cause, SyntaxError) and cause.filename and cause.lineno:
                return os.path.abspath(cause.filename), cause.lineno - 1  # noqa: PTH100 - as pytest has it
            frames = [
                (frame.f_code.co_filename, line)
                for frame, line in traceback.walk_tb(cause.__traceback__)
                if in_project(frame.f_code.co_filename, self._root)
            ]
            if frames:
                return frames[-1][0], frames[-1][1] - 1
        return fallback, None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was explicitly raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _covers(item: pytest.Item, line: int) -> bool:
    """Whether the test's function (its decorators included) or, failing that, its class covers a line."""
    tree = parsed(str(item.path))
    nodes = _path_to(tree, item) if tree is not None else []
    if not nodes:
        return False
    function = nodes[-1]
    if _first_line(function) <= line + 1 <= (function.end_lineno or function.lineno):
        return True
    if len(nodes) < 2:
        return False
    # On the class's own lines, outside its functions: every test of the class.
    holder = nodes[-2]
    inside = any(
        _first_line(node) <= line + 1 <= (node.end_lineno or node.lineno)
        for node in getattr(holder, "body", [])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    )
    return not inside and _first_line(holder) <= line + 1 <= (holder.end_lineno or holder.lineno)


def _definition(item: pytest.Item) -> dict[str, object] | None:
    """The span of the test's name in its `def` line: line and columns from 0, in bytes."""
    tree = parsed(str(item.path))
    nodes = _path_to(tree, item) if tree is not None else []
    if not nodes:
        return None
    node = nodes[-1]
    start = node.col_offset + len("async def " if isinstance(node, ast.AsyncFunctionDef) else "def ")
    return {
        "path": str(item.path),
        "line": node.lineno - 1,
        "column": start,
        "end_column": start + len(node.name.encode()),
    }


_Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _path_to(tree: ast.Module, item: pytest.Item) -> list[_Node]:
    """The classes around a test function and the function itself; empty where it stands elsewhere."""
    names = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    names.append(getattr(item, "originalname", None) or item.name)
    found: list[_Node] = []
    body: Sequence[ast.stmt] = tree.body
    for name in names:
        matches = [n for n in _definitions(body) if n.name == name]
        if not matches:
            return []
        found.append(matches[-1])  # the last definition of a name is the one in force
        body = matches[-1].body
    return found


def _definitions(body: Sequence[ast.stmt]) -> list[_Node]:
    """The definitions of a block, those under `if` and `try` included."""
    found: list[_Node] = []
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.append(statement)
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            found.extend(_definitions(statement.body))
            found.extend(_definitions(getattr(statement, "orelse", [])))
    return found


def _first_line(node: _Node) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _skip_reason(longrepr: object) -> str:
    if isinstance(longrepr, tuple) and len(longrepr) == 3:
        return _cut(str(longrepr[2]).removeprefix("Skipped: "))
    return _cut(str(longrepr))


def _failure_reason(report: pytest.TestReport) -> str:
    """The exception as one line of text, or what pytest says of the failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message) if crash is not None else str(report.longrepr)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
