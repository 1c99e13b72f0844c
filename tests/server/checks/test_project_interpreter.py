"""Which interpreter is the project's, and what it is asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lsp_server.checks.errors import InterpreterError, UntrustedWorkspaceError
from lsp_server.checks.interpreter import Interpreter, find_interpreter, probe_interpreter


def make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_order(tmp_path: Path) -> None:
    root = tmp_path / "project"
    on_path = make(tmp_path / "bin/python3")
    environment = {"PATH": str(tmp_path / "bin")}

    def found(explicit: str | None = None) -> tuple[str, str]:
        candidate = find_interpreter(root, explicit, environment)
        return candidate.path, candidate.source

    assert found() == (on_path, "PATH")
    venv = make(root / "venv/bin/python")
    assert found() == (venv, "venv")
    dot_venv = make(root / ".venv/bin/python")
    assert found() == (dot_venv, ".venv")
    environment["CONDA_PREFIX"] = str(tmp_path / "conda")
    conda = make(tmp_path / "conda/bin/python")
    assert found() == (conda, "CONDA_PREFIX")
    environment["VIRTUAL_ENV"] = str(tmp_path / "active")
    active = make(tmp_path / "active/bin/python")
    assert found() == (active, "VIRTUAL_ENV")
    (root / "pyproject.toml").write_text('[tool.ditproof]\npython = "venv/bin/python"\n')
    assert found() == (venv, "pyproject.toml")
    (root / "ditproof.toml").write_text('python = ".venv"\n')
    assert found() == (dot_venv, "ditproof.toml")
    assert found(on_path) == (on_path, "the editor's settings")


def test_the_servers_own_environment_is_not_the_projects(tmp_path: Path) -> None:
    if sys.prefix == sys.base_prefix:
        pytest.skip("these tests run outside a virtual environment")
    environment = {"VIRTUAL_ENV": sys.prefix, "PATH": str(Path(sys.executable).parent)}
    with pytest.raises(InterpreterError, match="No Python interpreter was found"):
        find_interpreter(tmp_path, None, environment)


def test_a_named_interpreter_must_exist(tmp_path: Path) -> None:
    make(tmp_path / ".venv/bin/python")
    with pytest.raises(InterpreterError, match="named by the editor's settings, does not exist"):
        find_interpreter(tmp_path, "no/such/python", {})
    (tmp_path / "pyproject.toml").write_text('[tool.ditproof]\npython = "gone"\n')
    with pytest.raises(InterpreterError, match=r"gone, named by pyproject.toml, does not exist"):
        find_interpreter(tmp_path, None, {})


def test_probe(project_python: str) -> None:
    found = probe_interpreter(project_python, trusted=True)
    assert found.version >= (3, 10)
    assert found.torch is not None
    assert found.pytest is not None
    assert found.code_bases == {"fastvideo": None, "sglang": None}
    found.require_parity()


def test_probe_of_what_is_no_python(tmp_path: Path) -> None:
    script = make(tmp_path / "script")
    for path, message in (
        (script, "does not answer as a Python interpreter"),
        (str(tmp_path / "absent"), "does not exist"),
        (os.devnull, "does not exist"),
    ):
        with pytest.raises(InterpreterError, match=message):
            probe_interpreter(path, trusted=True)
    with pytest.raises(UntrustedWorkspaceError):
        probe_interpreter(script, trusted=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": (3, 9, 1)}, "needs 3.10 or newer"),
        ({"torch": None}, "torch is not installed"),
        ({"pytest": None}, "pytest is not installed"),
    ],
)
def test_what_parity_requires(changes: dict[str, object], message: str) -> None:
    whole: dict[str, object] = {"version": (3, 11, 0), "torch": "2", "pytest": "9"}
    told = Interpreter(path="/py", code_bases={}, diffusers=None, **(whole | changes))  # type: ignore[arg-type]
    with pytest.raises(InterpreterError, match=message):
        told.require_parity()
