"""DIT401's fix keeps the numbers: real ports compute the same, bit by bit, before and after it.

The fix is taken on the command line for every finding of the real package, as a user would; then each
port runs tiny on the CPU under the project's interpreter, with the same weights and inputs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RUNNER = REPOSITORY / "tests/fixtures/rewritten/run_port.py"

REWRITTEN = {"cosmos": 22, "lingbotworld": 4, "matrixgame3": 8, "mmaudio": 23}
"""Port -> layers of its tiny model that the fix makes `ReplicatedLinear`."""

Answer = dict[str, Any]
Run = Callable[..., Answer]


@pytest.fixture(scope="module")
def rewritten(fastvideo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the real package after every DIT401 fix that can be proven."""
    root = tmp_path_factory.mktemp("rewritten")
    shutil.copytree(fastvideo / "fastvideo", root / "fastvideo")
    command = [sys.executable, "-m", "lsp_server", "check", "--root", str(root), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [*command, "--select", "DIT401", "--fix", "--unsafe-fixes"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # some findings stay: their fix is refused
    return root


@pytest.fixture(scope="module")
def run(project_python: str) -> Run:
    def run(root: Path, port: str, out: Path, against: Path | None = None) -> Answer:
        compared = ["--against", str(against)] if against is not None else []
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [project_python, str(RUNNER), str(root), port, str(out), *compared],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answer: Answer = json.loads(done.stdout.splitlines()[-1])
        return answer

    return run


@pytest.mark.parametrize("port", sorted(REWRITTEN))
def test_a_rewritten_port_computes_the_same(
    port: str, fastvideo: Path, rewritten: Path, run: Run, tmp_path: Path
) -> None:
    before = run(fastvideo, port, tmp_path / "before.pt")
    after = run(rewritten, port, tmp_path / "after.pt", against=tmp_path / "before.pt")
    assert after["replicated"] - before["replicated"] == REWRITTEN[port]
    assert before["plain"] - after["plain"] == REWRITTEN[port]
    assert sorted(after["state"]) == sorted(before["state"])
    assert before["speaks"]
    assert after["same_state"]
    assert after["same_outputs"]


def test_the_comparison_sees_a_layer_that_is_called_with_something_else(
    fastvideo: Path, rewritten: Path, run: Run, tmp_path: Path
) -> None:
    root = tmp_path / "wrong"
    shutil.copytree(rewritten / "fastvideo", root / "fastvideo")
    port = root / "fastvideo/models/dits/cosmos.py"
    text = port.read_text()
    assert text.count("key, _ = self.to_k(encoder_hidden_states)") == 2
    port.write_text(text.replace("key, _ = self.to_k(", "key, _ = self.to_v("))
    run(fastvideo, "cosmos", tmp_path / "before.pt")
    after = run(root, "cosmos", tmp_path / "after.pt", against=tmp_path / "before.pt")
    assert after["same_state"]
    assert not after["same_outputs"]
