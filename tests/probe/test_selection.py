"""Which tests run, what the project's path looks like, and what happens without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Record = dict[str, Any]

SOURCE = """\
import sys

import pytest


def helper():
    pass


@pytest.mark.parametrize("n", [1, 2])
def test_first(n):
    assert n


class TestGroup:
    limit = 3

    def test_first(self):
        pass

    async_like = None

    def test_second(self):
        pass


def test_path():
    import records  # the project's own, not the probe's
    assert records.OURS
    assert "torch" not in sys.modules, "the probe must not import torch of its own accord"
    assert sys.stdin.read() == ""
    assert not any("ditproof" in name for name in sys.modules if not name.startswith("ditproof_probe"))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project ünïcode")
    (root / "tests").mkdir()
    (root / "tests/test_selection.py").write_text(SOURCE)
    (root / "records.py").write_text("OURS = True\n")
    (root / "compare.py").write_text("raise RuntimeError('never imported')\n")
    return root


def ran(records: list[Record]) -> list[str]:
    return [r["test"].removeprefix("tests/test_selection.py::") for r in records if r["kind"] == "outcome"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@pytest.mark.parametrize", ["test_first[1]", "test_first[2]"]),
        ("def test_second", ["TestGroup::test_second"]),
        ("limit = 3", ["TestGroup::test_first", "TestGroup::test_second"]),
    ],
)
def test_by_line(
    run_probe: Callable[..., list[Record]], project: Path, text: str, expected: list[str]
) -> None:
    line = next(i for i, row in enumerate(SOURCE.splitlines()) if text in row)
    assert ran(run_probe(project, "tests/test_selection.py", line)) == expected


def test_a_line_without_a_test(run_probe: Callable[..., list[Record]], project: Path) -> None:
    records = run_probe(project, "tests/test_selection.py", 6)
    assert not ran(records)
    (told,) = (r for r in records if r["kind"] == "no_target")
    assert told["message"] == (
        "no test stands at line 7; the file's tests are test_first, test_path, test_second"
    )


def test_the_projects_path_is_its_own(run_probe: Callable[..., list[Record]], project: Path) -> None:
    # Run by an interpreter that has pytest and no torch: that must not matter to a test without it.
    records = run_probe(project, "tests/test_selection.py::test_path", python=sys.executable)
    (outcome,) = (r for r in records if r["kind"] == "outcome")
    assert outcome["outcome"] == "passed", outcome["reason"]
