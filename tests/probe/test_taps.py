"""The instrument: calls, lockstep, layouts and operations, on models of our own, in one child."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("taps") / "checks.py"


def _names() -> list[str]:
    """The checks by name, read without importing: they need the project's torch."""
    functions = (node for node in ast.parse(CHECKS.read_text()).body if isinstance(node, ast.FunctionDef))
    return [node.name for node in functions if node.name.startswith("check_")]


@pytest.fixture(scope="module")
def done(project_python: str, bundle: Path) -> dict[str, str | None]:
    child = subprocess.run(
        [project_python, str(CHECKS)],
        env=os.environ | {"PYTHONPATH": str(bundle), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return dict(json.loads(line) for line in child.stdout.splitlines())


@pytest.mark.parametrize("name", _names())
def test_the_instrument(name: str, done: dict[str, str | None]) -> None:
    assert name in done
    assert done[name] is None, done[name]
