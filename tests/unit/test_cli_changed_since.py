"""`--changed-since REV`: findings of changed files, and those elsewhere that the change caused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cli_testing import NO_ENTRY, REGISTRY, SOUND, Cli, cli, tree_at

from analyzers.rules.examples import TREE

__all__ = ["cli"]

QUIET_DIT = "fastvideo/models/dits/quiet.py"
OTHER_DIT = "fastvideo/models/dits/other.py"
OTHER = NO_ENTRY.replace("Quiet", "Other")


def git(place: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        cwd=place,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository whose tree lies in a folder of it, with one old finding."""
    top = tmp_path / "größe"
    root = tree_at(top / "python", {QUIET_DIT: NO_ENTRY})
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "first")
    return root


def places(cli: Cli, tree: Path, revision: str = "main", *more: str | Path) -> list[tuple[str, str]]:
    outcome = cli("check", "--root", tree, "--changed-since", revision, "--format", "json", *more)
    assert outcome.err == ""
    return [(f["code"], f["path"]) for f in outcome.json["findings"]]


def test_nothing_changed_is_clean(cli: Cli, tree: Path) -> None:
    outcome = cli("check", "--root", tree, "--changed-since", "HEAD")
    assert outcome.code == 0
    assert outcome.out.startswith("No findings in 0 files")


def test_untracked_edited_and_committed_files_count(cli: Cli, tree: Path) -> None:
    tree_at(tree, {OTHER_DIT: OTHER})
    assert places(cli, tree) == [("DIT101", OTHER_DIT)]
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "second")
    assert places(cli, tree) == []
    assert places(cli, tree, "HEAD~1") == [("DIT101", OTHER_DIT)]
    tree_at(tree, {QUIET_DIT: NO_ENTRY + "\n\nLIMIT = 3\n"})
    assert places(cli, tree) == [("DIT101", QUIET_DIT)]


def test_what_main_did_meanwhile_is_not_ours(cli: Cli, tree: Path) -> None:
    git(tree, "checkout", "-q", "-b", "work")
    git(tree, "checkout", "-q", "main")
    tree_at(tree, {QUIET_DIT: NO_ENTRY + "\n\nEntryClass = QuietTransformer3DModel\n"})
    git(tree, "commit", "-q", "-am", "mended on main")
    git(tree, "checkout", "-q", "work")
    assert places(cli, tree, "main") == []


def test_a_removed_class_is_reported_where_it_is_missed(cli: Cli, tree: Path) -> None:
    row = '_TEXT_TO_VIDEO_DIT_MODELS = {\n    "Old": ("dits", "other", "OtherTransformer3DModel"),'
    assert "_TEXT_TO_VIDEO_DIT_MODELS = {" in TREE[REGISTRY]
    registry = TREE[REGISTRY].replace("_TEXT_TO_VIDEO_DIT_MODELS = {", row, 1)
    tree_at(tree, {OTHER_DIT: OTHER, REGISTRY: registry})
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "second")
    (tree / OTHER_DIT).unlink()
    assert places(cli, tree, "HEAD") == [("DIT104", REGISTRY)]


def test_paths_narrow_it_further(cli: Cli, tree: Path) -> None:
    tree_at(tree, {OTHER_DIT: OTHER})
    assert places(cli, tree, "main", tree / SOUND) == []
    assert places(cli, tree, "main", tree / OTHER_DIT) == [("DIT101", OTHER_DIT)]


def test_fixes_stay_in_changed_files(cli: Cli, tree: Path) -> None:
    tree_at(tree, {OTHER_DIT: OTHER})
    assert cli("check", "--root", tree, "--changed-since", "main", "--fix").code == 0
    assert "EntryClass" in (tree / OTHER_DIT).read_text()
    assert (tree / QUIET_DIT).read_text() == NO_ENTRY
    tree_at(tree, {OTHER_DIT: OTHER})
    diff = cli("check", "--root", tree, "--changed-since", "main", "--diff")
    assert OTHER_DIT in diff.out
    assert QUIET_DIT not in diff.out


@pytest.mark.parametrize("revision", ["nowhere", "-x", "--output=/tmp/x", ""])
def test_an_unknown_revision_is_told(cli: Cli, tree: Path, revision: str) -> None:
    outcome = cli("check", "--root", tree, f"--changed-since={revision}")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"git knows no revision '{revision}'" in outcome.err


def test_no_repository_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    outcome = cli("check", "--root", tree_at(tmp_path / "bare"), "--changed-since", "HEAD")
    assert outcome.code == 2
    assert "is not in a git repository" in outcome.err


def test_a_name_with_a_line_end_stops_nothing(cli: Cli, tree: Path) -> None:
    tree_at(tree, {OTHER_DIT: OTHER, "fastvideo/models/dits/a\nb.py": "LIMIT = 3\n"})
    assert places(cli, tree) == [("DIT101", OTHER_DIT)]


def test_why_git_refuses_is_told(cli: Cli, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    outcome = cli("check", "--root", tree, "--changed-since", "HEAD")
    assert outcome.code == 2
    assert "dubious ownership" in outcome.err
    assert "is not in a git repository" not in outcome.err


def test_the_repository_itself_is_no_work_tree(cli: Cli, tree: Path) -> None:
    inside = tree_at(tree.parent / ".git" / "tree")
    outcome = cli("check", "--root", inside, "--changed-since", "HEAD")
    assert outcome.code == 2
    assert "is not in a git repository" in outcome.err


def test_no_git_is_told(cli: Cli, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    outcome = cli("check", "--root", tree, "--changed-since", "HEAD")
    assert outcome.code == 2
    assert "needs git" in outcome.err
