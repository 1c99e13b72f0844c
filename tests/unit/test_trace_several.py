"""Several parity tests of one port: what each came to is said beside what all came to."""

from __future__ import annotations

from lsp_server.checks.requests import CheckResult, Status
from lsp_server.checks.trace_result import TraceResult
from lsp_server.commands.trace import tests_text as text_of


def result(test: str, status: Status) -> TraceResult:
    check = CheckResult("Sound", "weights", status, "because", "", test, (), (), (), (), "", 1.0)
    return TraceResult("Sound", status, "because", "", 1.0, tier="weights", check=check)


def test_one_that_cannot_be_collected_does_not_hide_the_others() -> None:
    text = text_of([result("tests/a.py", "error"), result("tests/b.py", "passed")], "error")
    assert [line.split() for line in text.splitlines()] == [
        ["2", "tests", "of", "Sound:", "error"],
        ["error", "tests/a.py"],
        ["passed", "tests/b.py"],
    ]
