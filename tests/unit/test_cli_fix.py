"""`ditproof check --fix`, `--unsafe-fixes`, `--diff`: what is written, and what never is."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cli_testing import COPY, DUPLICATE, NO_ENTRY, REGISTRY, SOUND, Cli, cli, tree_at

from analyzers.findings import JsonValue

__all__ = ["cli"]

QUIET = "fastvideo/models/dits/quiet.py"
LOUD = "fastvideo/models/dits/loud.py"
FIXED = NO_ENTRY + "\n\nEntryClass = QuietTransformer3DModel\n"
EXPORTS = "fastvideo/configs/models/dits/__init__.py"
CONFIGS = "fastvideo/configs/models/dits/more.py"
TWO_CONFIGS = """\
from dataclasses import dataclass

from fastvideo.configs.models.dits.base import DiTConfig


@dataclass
class FirstConfig(DiTConfig):
    pass


@dataclass
class SecondConfig(DiTConfig):
    pass
"""
SHADOWED = """\
_TEXT_TO_VIDEO_DIT_MODELS = {
    "SoundTransformer3DModel": ("dits", "loud", "LoudTransformer"),
}

_LEGACY_FAST_VIDEO_MODELS = {
    **_TEXT_TO_VIDEO_DIT_MODELS,
}
"""
LOUD_TEXT = "class LoudTransformer:\n    pass\n"


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_safe_fixes_are_written_and_the_rest_is_reported(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY, COPY: DUPLICATE})
    before = snapshot(tmp_path)
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert (tmp_path / QUIET).read_text() == FIXED
    assert outcome.code == 1
    assert "DIT101" not in outcome.out
    assert outcome.out.splitlines()[-1].startswith("Fixed 1 finding. Found 2 findings")
    # Nothing else was touched, and nothing was left beside the file.
    after = snapshot(tmp_path)
    assert after.keys() == before.keys()
    assert {path for path in after if after[path] != before[path]} == {QUIET}


def test_a_tree_that_fixes_make_clean_exits_with_0(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY})
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert outcome.code == 0
    assert outcome.out.startswith("Fixed 1 finding. No findings")
    again = cli("check", "--root", tmp_path, "--fix")
    assert again.out.startswith("No findings")


def test_fixes_that_touch_one_file_are_taken_one_after_the_other(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {CONFIGS: TWO_CONFIGS})
    assert cli("check", "--root", tmp_path, "--format", "json").json["summary"]["by_rule"] == {"DIT110": 2}
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert outcome.code == 0
    assert outcome.out.startswith("Fixed 2 findings.")
    text = (tmp_path / EXPORTS).read_text()
    assert text.count('"FirstConfig"') == text.count('"SecondConfig"') == 1


def test_only_the_named_paths_are_fixed(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY, LOUD: NO_ENTRY.replace("Quiet", "Loud")})
    cli("check", "--root", tmp_path, "--fix", tmp_path / QUIET)
    assert (tmp_path / QUIET).read_text() == FIXED
    assert "EntryClass" not in (tmp_path / LOUD).read_text()


def test_only_selected_rules_are_fixed(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY, CONFIGS: TWO_CONFIGS})
    cli("check", "--root", tmp_path, "--fix", "--select", "DIT110")
    assert (tmp_path / QUIET).read_text() == NO_ENTRY
    assert "FirstConfig" in (tmp_path / EXPORTS).read_text()


def test_unsafe_fixes_need_to_be_asked_for(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {REGISTRY: SHADOWED, LOUD: LOUD_TEXT})
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert (tmp_path / REGISTRY).read_text() == SHADOWED
    assert "1 fixable with --fix --unsafe-fixes" in outcome.out
    outcome = cli("check", "--root", tmp_path, "--fix", "--unsafe-fixes")
    assert outcome.code == 0
    assert "LoudTransformer" not in (tmp_path / REGISTRY).read_text()


def test_unsafe_fixes_alone_change_nothing(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {REGISTRY: SHADOWED, LOUD: LOUD_TEXT, QUIET: NO_ENTRY})
    before = snapshot(tmp_path)
    cli("check", "--root", tmp_path, "--unsafe-fixes")
    assert snapshot(tmp_path) == before


def test_a_diff_changes_nothing_and_applies(cli: Cli, tmp_path: Path) -> None:
    root = tree_at(tmp_path / "a", {QUIET: NO_ENTRY.rstrip("\n"), CONFIGS: TWO_CONFIGS})
    before = snapshot(root)
    outcome = cli("check", "--root", root, "--diff")
    assert outcome.code == 1
    assert snapshot(root) == before
    assert "Would fix 3 findings in 2 files." in outcome.err
    assert "\\ No newline at end of file" in outcome.out
    fixed = shutil.copytree(root, tmp_path / "b")
    cli("check", "--root", fixed, "--fix")
    subprocess.run(
        ["git", "apply", "--unsafe-paths", "--directory", str(root), "-"],
        input=outcome.out,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)},
    )
    assert snapshot(root) == snapshot(fixed)


def test_an_empty_diff_is_clean(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path, {COPY: DUPLICATE}), "--diff", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_a_diff_with_fix_is_still_only_a_diff(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY})
    cli("check", "--root", tmp_path, "--fix", "--diff")
    assert (tmp_path / QUIET).read_text() == NO_ENTRY


def test_permissions_line_ends_and_links_survive(cli: Cli, tmp_path: Path) -> None:
    root = tree_at(tmp_path)
    target = root / "fastvideo/models/dits/quiet_implementation.txt"
    target.write_bytes(NO_ENTRY.replace("\n", "\r\n").encode())
    target.chmod(0o640)
    (root / QUIET).symlink_to(target)
    cli("check", "--root", root, "--fix")
    assert (root / QUIET).is_symlink()
    assert target.read_bytes() == FIXED.replace("\n", "\r\n").encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_link_out_of_the_tree_is_not_written(cli: Cli, tmp_path: Path) -> None:
    root = tree_at(tmp_path / "tree")
    target = tmp_path / "elsewhere.py"
    target.write_text(NO_ENTRY)
    (root / QUIET).symlink_to(target)
    outcome = cli("check", "--root", root, "--fix")
    assert outcome.code == 3
    assert "it is a link to a file outside the tree" in outcome.err
    assert target.read_text() == NO_ENTRY


Edit = Callable[[Mapping[str, JsonValue], Callable[[str], "str | None"]], "dict[str, str]"]


def _with_edit(monkeypatch: pytest.MonkeyPatch, edit: Edit) -> None:
    monkeypatch.setattr("analyzers.fixes.base.find_operation", lambda _: edit)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:\n", "would not parse"),
        (NO_ENTRY + "# nothing\n", "would not settle"),
        ("EntryClass = Missing\nclass A: pass\n", "would cause DIT103"),
        (NO_ENTRY, "changes nothing"),
    ],
    ids=["broken", "idle", "harmful", "empty"],
)
def test_an_edit_that_does_not_hold_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY})
    _with_edit(monkeypatch, lambda arguments, read: {QUIET: text})
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert outcome.code == 1
    assert (tmp_path / QUIET).read_text() == NO_ENTRY
    assert f"not fixed: {QUIET}:4 DIT101: " in outcome.err
    assert reason in outcome.err
    assert outcome.err.count("not fixed") == 1


def test_one_bad_edit_does_not_stop_the_good_ones(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY, LOUD: NO_ENTRY.replace("Quiet", "Loud")})

    def edit(arguments: Mapping[str, JsonValue], read: Callable[[str], str | None]) -> dict[str, str]:
        path = LOUD if "Loud" in str(arguments) else QUIET
        return {path: "def f(:\n" if path == LOUD else FIXED}

    _with_edit(monkeypatch, edit)
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert (tmp_path / QUIET).read_text() == FIXED
    assert "EntryClass" not in (tmp_path / LOUD).read_text()
    assert "Fixed 1 finding." in outcome.out
    assert f"not fixed: {LOUD}" in outcome.err


def test_a_file_that_changed_meanwhile_is_not_overwritten(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY})

    def edit(arguments: Mapping[str, JsonValue], read: Callable[[str], str | None]) -> dict[str, str]:
        (tmp_path / QUIET).write_text("# somebody else's\n" + NO_ENTRY)
        return {QUIET: FIXED}

    _with_edit(monkeypatch, edit)
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert outcome.code == 3
    assert "it changed while it was being checked" in outcome.err
    assert (tmp_path / QUIET).read_text() == "# somebody else's\n" + NO_ENTRY


def test_a_full_disk_leaves_the_old_file(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY})
    before = snapshot(tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    outcome = cli("check", "--root", tmp_path, "--fix")
    assert outcome.code == 3
    assert f"{QUIET} was not written: No space left on device" in outcome.err
    assert snapshot(tmp_path) == before


def test_json_after_fixing_lists_what_remains(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {QUIET: NO_ENTRY, COPY: DUPLICATE})
    document = cli("check", "--root", tmp_path, "--fix", "--format", "json").json
    assert document["summary"]["by_rule"] == {"DIT106": 2}
    assert {f["path"] for f in document["findings"]} == {COPY, SOUND}
