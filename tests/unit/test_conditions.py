"""Conditions of a run, and the revision of a tree."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lsp_server.checks.conditions import Device, read_conditions
from lsp_server.checks.revision import revision_of

TOLD: dict[str, Any] = {
    "python": "3.12.1",
    "platform": "Linux",
    "packages": {"torch": "2.9.0", "numpy": "2.0", "diffusers": "0.40"},
    "seeds": [["torch.manual_seed", 42], ["random.seed", 42]],
    "warnings": [["UserWarning", "slow", 2]],
    "peak_memory": 3 << 30,
    "threads": 8,
    "deterministic": True,
    "matmul_precision": "high",
    "cuda": "13.0",
    "devices": [["NVIDIA H200", 5 << 30]],
}


def test_what_is_told_is_read() -> None:
    found = read_conditions(TOLD)
    assert found is not None
    assert found.devices == (Device("NVIDIA H200", 5 << 30),)
    assert found.seeds == (("torch.manual_seed", 42), ("random.seed", 42))
    assert found.summary == (
        "torch 2.9.0, diffusers 0.40, NVIDIA H200, seed 42; peak 3.0 GiB, 5.0 GiB on the GPU"
    )
    assert found.to_json()["packages"] == TOLD["packages"]


def test_a_run_without_torch_has_its_conditions_too() -> None:
    kept = ("python", "platform", "packages", "seeds", "warnings", "peak_memory")
    found = read_conditions({**{name: TOLD[name] for name in kept}, "packages": {}, "seeds": []})
    assert found is not None
    assert found.summary == "cpu; peak 3.0 GiB"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("python", 3),
        ("packages", []),
        ("packages", {"torch": 2}),
        ("seeds", [["torch.manual_seed"]]),
        ("seeds", [["torch.manual_seed", "42"]]),
        ("warnings", [["a", "b"]]),
        ("devices", [["a"]]),
        ("peak_memory", -1),
    ],
)
def test_what_does_not_fit_its_form_is_left_aside(name: str, wrong: Any) -> None:
    assert read_conditions({**TOLD, name: wrong}) is None


# ---------------------------------------------------------------------- git


def git(root: Path, *arguments: str) -> None:
    options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *options, "-C", str(root), *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_tree_has_a_commit_alone(checkout: Path) -> None:
    found = revision_of(checkout)
    assert found is not None
    assert len(found.commit) == 40
    assert found.dirty is None


def test_what_is_not_committed_is_hashed(checkout: Path) -> None:
    (checkout / "a.py").write_text("x = 2\n")
    edited = revision_of(checkout)
    (checkout / "b.py").write_text("new\n")
    added = revision_of(checkout)
    (checkout / "b.py").write_text("newer\n")
    changed = revision_of(checkout)
    hashes = {found.dirty for found in (edited, added, changed) if found is not None}
    assert len(hashes) == 3
    assert None not in hashes
    (checkout / "b.py").unlink()
    (checkout / "a.py").write_text("x = 1\n")
    clean = revision_of(checkout)
    assert clean is not None
    assert clean.dirty is None


def test_what_git_ignores_counts_not(checkout: Path) -> None:
    (checkout / "ignored").mkdir()
    (checkout / "ignored" / "cache").write_text("x")
    found = revision_of(checkout)
    assert found is not None
    assert found.dirty is None


def test_the_index_is_left_alone(checkout: Path) -> None:
    (checkout / "a.py").touch()
    before = (checkout / ".git" / "index").read_bytes()
    revision_of(checkout)
    assert (checkout / ".git" / "index").read_bytes() == before


def test_without_git_or_a_commit_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert revision_of(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert revision_of(tmp_path) is None
