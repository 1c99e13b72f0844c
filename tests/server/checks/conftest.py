"""Runs requests through the local executor, and looks for what they leave behind."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.requests import CheckEvent, CheckRequest, CheckResult
from lsp_server.checks.run import run_parity


@pytest.fixture(autouse=True)
def private_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Runs make their folders here; each test ends with none left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], CheckRequest]:
    """Writes one test file into a project and gives the request to run it.

    The interpreter is the one that runs these tests: it has pytest and no torch, and starts fast.
    """

    # The plugins of our own environment take longer to import than such a test takes to run.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def write(source: str, name: str = "tests/test_it.py") -> CheckRequest:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return CheckRequest(
            root=str(tmp_path / "project"),
            python=sys.executable,
            test=name,
            trusted=True,
            timeout=60.0,
            allowed_environment=("PYTEST_DISABLE_PLUGIN_AUTOLOAD",),
        )

    return write


@pytest.fixture
def check() -> Callable[..., CheckResult]:
    def run(request: CheckRequest, events: list[CheckEvent] | None = None, **changes: object) -> CheckResult:
        on_event = events.append if events is not None else None
        return asyncio.run(run_parity(replace(request, **changes), LocalExecutor(), on_event))

    return run
