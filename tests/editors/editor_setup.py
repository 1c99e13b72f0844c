"""What the editor tests need, and where it lies.

Nothing here is skipped: an editor that is not set up is a failure that names the command which sets it up.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Setup:
    """Paths that every editor test shares; each can be named by an environment variable."""

    server: Path
    fastvideo: Path
    project_python: Path
    parity_test: Path
    out: Path

    def need(self, *paths: Path) -> None:
        missing = [str(path) for path in paths if not path.exists()]
        if missing:
            pytest.fail(f"not set up, run `make setup`: {', '.join(missing)}", pytrace=False)


def find_setup() -> Setup:
    return Setup(
        server=_path("DITPROOF_SERVER", Path(sys.executable).with_name("ditproof")),
        fastvideo=_path("DITPROOF_REAL_FASTVIDEO", ROOT / ".real" / "fastvideo-0.2.1"),
        project_python=_path("DITPROOF_PROJECT_PYTHON", ROOT / ".project-venv" / "bin" / "python"),
        parity_test=_path(
            "DITPROOF_PARITY_TEST", ROOT / "tests" / "fixtures" / "parity" / "test_wan_tiny_parity.py"
        ),
        out=HERE / "out",
    )


def _path(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable, default))
