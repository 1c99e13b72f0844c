"""Where a call stands, also on Python 3.10, whose code objects know lines and no columns."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from ditproof_probe import callsite

SOURCE = """\
def nested():
    assert_close(
        port.forward(x)[0],
        expected=reference,
    )
"""


@pytest.fixture
def module(tmp_path: Path) -> types.ModuleType:
    path = tmp_path / "sources.py"
    path.write_text(SOURCE)
    made = types.ModuleType("sources")
    vars(made).update(x=1, reference=3)
    vars(made)["port"] = types.SimpleNamespace(forward=lambda x: [x])
    exec(compile(SOURCE, str(path), "exec"), vars(made))
    return made


def sites(module: types.ModuleType, root: Path, function: str) -> callsite.CallSite:
    found: list[callsite.CallSite] = []

    def record(*_: object, **__: object) -> None:
        found.append(callsite.call_site(sys._getframe(1), str(root)))

    vars(module).update(record=record, assert_close=record)
    getattr(module, function)()
    return found[0]


def test_with_columns(module: types.ModuleType, tmp_path: Path) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has no columns")
    site = sites(module, tmp_path, "nested")
    assert (site.line, site.column, site.end_line, site.end_column) == (1, 4, 4, 5)
    assert (site.actual, site.expected) == ("port.forward(x)[0]", "reference")


def test_with_lines_alone(module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callsite, "_position", lambda *_: None)
    site = sites(module, tmp_path, "nested")
    assert (site.line, site.column, site.end_line) == (1, 4, 4)
    assert (site.actual, site.expected) == ("port.forward(x)[0]", "reference")


def test_a_file_that_is_gone_says_nothing(module: types.ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sources.py").unlink()
    callsite.parsed.cache_clear()
    callsite._calls.cache_clear()
    site = sites(module, tmp_path, "nested")
    assert (site.actual, site.column, site.function) == (None, None, "nested")


def test_what_belongs_to_the_project(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert callsite.in_project(f"{root}/tests/test_a.py", root)
    assert not callsite.in_project(f"{root}/.venv/lib/site-packages/x.py", root)
    assert not callsite.in_project(f"{root}-other/x.py", root)
    assert not callsite.in_project("<string>", root)
