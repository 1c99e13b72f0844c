"""What all tests share: hypothesis profiles and the real packages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent

# The same examples on every machine and in every run; `HYPOTHESIS_PROFILE=explore` looks for new ones.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def fastvideo() -> Path:
    """The unpacked `fastvideo` package: the folder that holds `fastvideo/`, read only."""
    named = os.environ.get("DITPROOF_REAL_FASTVIDEO")
    root = Path(named) if named else REPOSITORY / ".real" / "fastvideo-0.2.1"
    if not (root / "fastvideo" / "models" / "registry.py").is_file():
        pytest.fail(f"the fastvideo package is not at {root}: run `make setup` first")
    return root


@pytest.fixture(scope="session")
def sglang() -> Path:
    """The unpacked diffusion part of the `sglang` package: the folder that holds `sglang/`, read only."""
    named = os.environ.get("DITPROOF_REAL_SGLANG")
    root = Path(named) if named else REPOSITORY / ".real" / "sglang-0.5.23"
    if not (root / "sglang" / "multimodal_gen" / "runtime" / "models" / "registry.py").is_file():
        pytest.fail(f"the sglang package is not at {root}: run `make setup` first")
    return root
