"""Trees to open."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from analyzers.rules.examples import write_tree

REPOSITORY = Path(__file__).resolve().parents[2]
FASTVIDEO = REPOSITORY / ".real/fastvideo-0.2.1"
SELECTED = 'select = ["DIT00", "DIT103", "DIT106", "DIT110", "DIT9"]\n'


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """A shell's background job ignores SIGINT, and every process that a test starts would with it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers started by a test keep nothing in the user's own cache."""
    monkeypatch.setenv("DITPROOF_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The small FastVideo-shaped tree of the rule examples, with the few rules that tests look for."""
    root = tmp_path.resolve() / "tree"
    write_tree(root, {})
    (root / "ditproof.toml").write_text(SELECTED)
    return root


@pytest.fixture(scope="session")
def project_python() -> str:
    """The stand-in for a user's environment. Its absence is a failure: nothing was tested then."""
    path = os.environ.get("DITPROOF_PROJECT_PYTHON") or str(REPOSITORY / ".project-venv/bin/python")
    if not Path(path).is_file():
        pytest.fail(f"{path} is missing: run `make setup` (scripts/project_env.sh)")
    return path


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FastVideo's unpacked package, as a checkout that may be edited. Its absence is a failure too."""
    if not FASTVIDEO.is_dir():
        pytest.fail(f"{FASTVIDEO} is missing: run `make setup` (scripts/project_env.sh)")
    root = tmp_path_factory.mktemp("workspace")
    shutil.copytree(FASTVIDEO / "fastvideo", root / "fastvideo")
    return root.resolve()
