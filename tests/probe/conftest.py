"""Runs the probe as the executor does, under the project's interpreter, and reads its records."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
Record = dict[str, Any]


@pytest.fixture(scope="session")
def project_python() -> str:
    """The stand-in for a user's environment. Its absence is a failure: nothing was tested then."""
    path = os.environ.get("DITPROOF_PROJECT_PYTHON") or str(REPOSITORY / ".project-venv/bin/python")
    if not Path(path).is_file():
        pytest.fail(f"{path} is missing: run `make setup` (scripts/project_env.sh)")
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    package = folder / "ditproof_probe"
    shutil.copytree(REPOSITORY / "ditproof_probe", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(package / "__main__.py", folder / "__main__.py")
    return folder


@pytest.fixture(scope="session")
def run_probe(
    project_python: str, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[Record]]:
    def run(root: Path, target: str, line: int | None = None, python: str | None = None) -> list[Record]:
        run_dir = tmp_path_factory.mktemp("run")
        specification = run_dir / "spec.json"
        records = run_dir / "records.jsonl"
        specification.write_text(
            json.dumps(
                {
                    "records": str(records),
                    "run_dir": str(run_dir),
                    "bundle": str(bundle),
                    "target": target,
                    "line": line,
                    "grace": 0.5,
                }
            )
        )
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        child = subprocess.Popen(
            [python or project_python, str(bundle), str(specification)],
            cwd=root,
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert child.stdout is not None
        output = child.stdout.read()
        child.wait(60)
        assert child.stdin is not None
        child.stdin.close()
        found = [json.loads(line) for line in records.read_text().splitlines() if line.strip()]
        assert found[-1]["kind"] == "exit", output.decode()
        return found

    return run
