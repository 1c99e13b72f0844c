"""DIT803 skip-unsatisfiable: a skip that no other machine can lift."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.findings import Finding, Severity
from analyzers.project.skips import hopeless_skips
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at marks, at skips in tests, fixtures and helpers, and at those of the module."""
    path = context.file.path
    if not context.profile.is_parity_test(path) and not context.profile.is_parity_helper(path):
        return
    for skip in hopeless_skips(context.project, context.file):
        yield context.finding(
            skip.location,
            f"no other machine can lift this skip: {skip.because}, so nobody else ever gets evidence from it",
            symbol=skip.who,
        )


_TEST = "tests/local_tests/sound/test_sound_block_parity.py"
_HEAD = '''\
"""Sound block parity. Coverage scope: implementation_subcomponent."""
import os
import socket
import unittest
from pathlib import Path

import pytest
import torch

REPO_ROOT = Path(__file__).resolve().parents[3]
'''

RULE = Rule(
    code="DIT803",
    name="skip-unsatisfiable",
    severity=Severity.WARNING,
    tier=Tier.PROJECT,
    summary="a skip that no other machine can lift",
    what=(
        "Reports a skip in a parity test, its fixtures or helpers whose condition only its author's machine "
        "can meet: a hard-coded absolute path that no environment variable overrides (`/mnt/...`, "
        "`/home/alice/...`), the name of one machine or user, an option of pytest that no `conftest.py` "
        "defines; and a skip for a module or name of the code base that does not exist."
    ),
    why=(
        "Everywhere else the test skips and the run is green. Whoever changes the port next believes that it "
        "is covered, and nobody can show that it still matches."
    ),
    how=(
        "Read the path from an environment variable with a default in the repository: "
        '`Path(os.getenv("SOUND_WEIGHTS", REPO_ROOT / "official_weights" / "sound"))`. Define the option in '
        "a "
        "`conftest.py`, or ask for an environment variable. Import what exists."
    ),
    exceptions=(
        "Paths below `/tmp`, `/dev`, `/opt` and other folders that every machine has; conditions that "
        "another "
        "path, variable or machine can satisfy (`A.exists() or B.exists()`); environment variables, CUDA, "
        "packages outside the code base."
    ),
    source="`.agents/skills/add-model-02-parity/SKILL.md` (overrides by environment variables)",
    check=check,
    valid=(
        Example(
            "environment variables with defaults, several candidates, what any machine may have",
            {
                _TEST: _HEAD
                + """\
WEIGHTS = Path(os.getenv("SOUND_WEIGHTS", "/mnt/alice/sound"))
LOCAL = REPO_ROOT / "official_weights" / "sound"
CANDIDATES = (Path("/mnt/alice/sound"), LOCAL)
SCRATCH = Path("/tmp/sound")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture
def weights():
    for candidate in CANDIDATES:
        if candidate.exists():
            return candidate
    pytest.skip("no weights")


@pytest.mark.skipif(not os.path.exists("/dev/nvidia0"), reason="needs a GPU")
@pytest.mark.skipif(os.environ.get("RUN_SOUND") != "1", reason="heavy")
def test_block(weights, request):
    if not WEIGHTS.exists() or not SCRATCH.is_dir():
        pytest.skip(f"no {WEIGHTS}")
    if not Path("/mnt/alice/sound").exists() and not LOCAL.exists():
        pytest.skip("neither")
    if request.config.getoption("--maxfail") == 1:
        pytest.skip("quick run")
    if not request.config.getoption("--run-sound", default=False):
        pytest.skip("needs --run-sound")
    official = pytest.importorskip("official_sound")
    try:
        from fastvideo.models.dits.sound import SoundBlock
    except ImportError:
        pytest.skip("not ported yet")
    found = [p for p in CANDIDATES if p.exists()]
    if not found:
        pytest.skip("no candidate")
    try:
        torch.load(os.getenv("SOUND_STATE", "/mnt/alice/sound.pt"))
    except FileNotFoundError:
        pytest.skip("no state")
    path = os.environ.get("SOUND_CLONE") or "/mnt/alice/clone"
    if not os.path.isdir(path):
        pytest.skip("no clone")
    torch.testing.assert_close(SoundBlock(4)(1), official.block(1))
""",
                "tests/conftest.py": """\
def pytest_addoption(parser):
    parser.addoption("--run-sound", action="store_true")
""",
            },
        ),
    ),
    invalid=(
        Example(
            "paths of one machine",
            {
                _TEST: _HEAD
                + """\
ROOT = Path("/mnt/weka/alice/sound")
WEIGHTS = ROOT / "ckpts" / "model.safetensors"
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="no weights")


def _has_clone():
    return os.path.isdir("/home/alice/sound")


def _require(path, what):
    if not Path(path).exists():
        pytest.skip(f"no {what}")


@pytest.fixture
def clone():
    if ROOT.exists():
        return ROOT
    pytest.skip("no clone")


@needs_weights
def test_a():
    assert WEIGHTS


@pytest.mark.skipif(not _has_clone(), reason="no clone")
def test_b(clone):
    if not torch.cuda.is_available() or not os.path.exists(f"/data/alice/{clone}"):
        pytest.skip("no data")


@unittest.skipUnless(all(p.exists() for p in (ROOT, WEIGHTS)), "no files")
def test_c():
    _require("/Users/alice/sound.pt", "weights")
    available = os.path.join("/scratch/alice", "x")
    if os.path.isfile(available):
        assert available
    else:
        pytest.skip("no x")
"""
            },
            findings=(
                Expected(_TEST, 29, "'/mnt/weka/alice/sound' is a path of one machine", Severity.WARNING),
                Expected(_TEST, 32, "'/mnt/weka/alice/sound/ckpts/model.safetensors'"),
                Expected(_TEST, 37, "'/home/alice/sound'"),
                Expected(_TEST, 40, "'/data/alice/'"),
                Expected(_TEST, 43, "'/mnt/weka/alice/sound'"),
                Expected(_TEST, 45, "'/Users/alice/sound.pt'"),
                Expected(_TEST, 50, "'/scratch/alice'"),
            ),
        ),
        Example(
            "paths of one machine, in other words",
            {
                _TEST: _HEAD
                + """\
ROOT = "/lustre/alice/sound"
CANDIDATES = [Path("/mnt/alice/sound"), Path("/home/alice/sound")]


def _weights():
    return Path("/home/alice/weights")


def test_a():
    if not os.path.exists(f"{ROOT}/model.safetensors"):
        pytest.skip("no weights")
    found = next((p for p in CANDIDATES if p.exists()), None)
    if found is None:
        pytest.skip("no clone")
    assert torch.load(found)


def test_b():
    if not _weights().exists():
        pytest.skip("no weights")
    try:
        state = torch.load("/home/alice/sound.pt")
    except FileNotFoundError:
        pytest.skip("no state")
    if not (clone := Path("/home/alice/clone")).is_dir():
        pytest.skip("no clone")
    assert state and clone
"""
            },
            findings=(
                Expected(_TEST, 21, "'/lustre/alice/sound' is a path of one machine"),
                Expected(_TEST, 24, "'/mnt/alice/sound'"),
                Expected(_TEST, 30, "'/home/alice/weights'"),
                Expected(_TEST, 34, "'/home/alice/sound.pt'"),
                Expected(_TEST, 36, "'/home/alice/clone'"),
            ),
        ),
        Example(
            "options, machines, imports",
            {
                _TEST: _HEAD
                + """\
if socket.gethostname() != "dgx-01":
    pytest.skip("only on dgx-01", allow_module_level=True)
pytestmark = [pytest.mark.skipif(os.environ.get("USER") != "alice", reason="alice's files")]


def test_a(request):
    if not request.config.getoption("--run-sound", default=False):
        pytest.skip("needs --run-sound")


def test_b(pytestconfig):
    heavy = pytestconfig.getoption("--sound-heavy")
    if not heavy:
        pytest.skip("needs --sound-heavy")
    pytestconfig.getoption("sound_dir", skip=True)


def test_c():
    block = pytest.importorskip("fastvideo.models.dits.sound_old")
    try:
        from fastvideo.models.dits.sound import OldSoundBlock
    except ImportError as error:
        pytest.skip(f"not ported: {error}")
    assert block and OldSoundBlock
"""
            },
            findings=(
                Expected(_TEST, 12, "names one machine or user"),
                Expected(_TEST, 13, "names one machine or user"),
                Expected(_TEST, 18, "defines the option '--run-sound'"),
                Expected(_TEST, 24, "'--sound-heavy'"),
                Expected(_TEST, 25, "'sound_dir'"),
                Expected(_TEST, 29, "there is no module 'fastvideo.models.dits.sound_old'"),
                Expected(_TEST, 33, "does not define 'OldSoundBlock'"),
            ),
        ),
    ),
)
