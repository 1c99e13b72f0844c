"""`ditproof check`: what is reported, where, with which exit code, and what bad input gives."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from cli_testing import COPY, DUPLICATE, NO_ENTRY, REGISTRY, SOUND, Cli, cli, tree_at

__all__ = ["cli"]

QUIET_DIT = "fastvideo/models/dits/quiet.py"


# --------------------------------------------------------------------------- results


def test_a_clean_tree(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("No findings in ")
    assert "(1 port in the tree)" in outcome.out


def test_text_shows_place_message_source_related_places_and_the_fix(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    outcome = cli("check", "--root", tmp_path)
    assert outcome.code == 1
    assert f"{COPY}:5:14: warning[DIT106] registry-duplicate: 'SoundTransformer3DModel'" in outcome.out
    assert (
        "  5 | EntryClass = SoundTransformer3DModel\n    |              ^^^^^^^^^^^^^^^^^^^^^^^\n"
        in outcome.out
    )
    assert f"  = {SOUND}:39:14: the other entry\n" in outcome.out
    assert "  help: Append 'EntryClass = QuietTransformer3DModel' (--fix)\n" in outcome.out
    last = outcome.out.splitlines()[-1]
    assert last.startswith("Found 3 findings")
    assert last.endswith("1 error, 2 warnings. 1 fixable with --fix.")


def test_json_has_the_documented_shape(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    outcome = cli("check", "--root", tmp_path, "--format", "json")
    assert outcome.code == 1
    document = outcome.json
    assert set(document) == {"version", "root", "profile", "findings", "summary"}
    assert document["version"] == 1
    assert document["root"] == str(tmp_path.resolve())
    assert document["profile"] == "fastvideo"
    assert set(document["summary"]) == {"files", "ports", "by_rule", "seconds"}
    assert document["summary"]["by_rule"] == {"DIT101": 1, "DIT106": 2}
    assert document["summary"]["ports"] == 2
    duplicate = next(f for f in document["findings"] if f["path"] == COPY)
    assert duplicate.pop("message").startswith("'SoundTransformer3DModel' is registered twice")
    assert duplicate == {
        "code": "DIT106",
        "name": "registry-duplicate",
        "severity": "warning",
        "path": COPY,
        "line": 5,
        "column": 14,
        "end_line": 5,
        "end_column": 37,
        "symbol": "SoundTransformer3DModel",
        "port": None,
        "related": [{"path": SOUND, "line": 39, "message": "the other entry"}],
        "fix": None,
    }
    missing = next(f for f in document["findings"] if f["code"] == "DIT101")
    assert missing["fix"]["applicability"] == "safe"


def test_columns_count_code_points(cli: Cli, tmp_path: Path) -> None:
    text = DUPLICATE.replace("EntryClass", "日本 = '😀é'; EntryClass")
    tree_at(tmp_path, {COPY: text})
    findings = cli("check", "--root", tmp_path, "--format", "json", tmp_path / COPY).json["findings"]
    line = text.splitlines()[4]
    assert [f["column"] for f in findings] == [line.index("SoundTransformer3DModel") + 1]


def test_fail_on_decides_the_exit_code(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    assert cli("check", "--root", tmp_path).code == 1
    assert cli("check", "--root", tmp_path, "--fail-on", "information").code == 1
    assert cli("check", "--root", tmp_path, "--fail-on", "error").code == 0
    assert cli("check", "--root", tmp_path, "--fail-on", "never").code == 2


def test_quiet_leaves_the_findings(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    outcome = cli("check", "--root", tmp_path, "--quiet")
    assert "Found" not in outcome.out
    assert outcome.out.count("DIT106") == 2
    assert cli("check", "--root", tmp_path, "--quiet", "--ignore", "ALL").out == ""


def test_statistics_count_by_rule(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    outcome = cli("check", "--root", tmp_path, "--statistics", "--quiet")
    assert outcome.out.splitlines() == [
        "2  DIT106  registry-duplicate",
        "1  DIT101  entry-class-missing  fixable: 1 safe",
    ]


# --------------------------------------------------------------------------- which rules


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--select", "DIT106"], {"DIT106"}),
        (["--select", "registry-duplicate"], {"DIT106"}),
        (["--select", "DIT1"], {"DIT101", "DIT106"}),
        (["--select", "DIT1", "--ignore", "DIT106"], {"DIT101"}),
        (["--ignore", "DIT106,DIT101"], set()),
        (["--select", "ALL", "--ignore", "entry-class-missing"], {"DIT106"}),
        (["--select", "DIT4", "--select", "dit106"], {"DIT106"}),
    ],
)
def test_select_and_ignore(cli: Cli, tmp_path: Path, arguments: list[str], expected: set[str]) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    document = cli("check", "--root", tmp_path, "--format", "json", *arguments).json
    assert set(document["summary"]["by_rule"]) == expected


def test_select_replaces_the_settings_and_ignore_adds_to_them(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    (tmp_path / "ditproof.toml").write_text('select = ["DIT106"]\n')

    def rules(*arguments: str) -> set[str]:
        return set(
            cli("check", "--root", tmp_path, "--format", "json", *arguments).json["summary"]["by_rule"]
        )

    assert rules() == {"DIT106"}
    assert rules("--select", "DIT101") == {"DIT101"}
    assert rules("--ignore", "DIT106") == set()


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_a_rule_that_does_not_exist_is_wrong_usage(cli: Cli, tmp_path: Path, option: str) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path), option, "DIT1O6")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{option}: no rule is called 'DIT1O6'; did you mean 'DIT106'?" in outcome.err


# --------------------------------------------------------------------------- which files


def test_paths_restrict_what_is_reported_not_what_is_read(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    monkeypatch.chdir(tmp_path)

    def reported(*paths: str) -> set[str]:
        document = cli("check", "--format", "json", *paths).json
        return {f["path"] for f in document["findings"]}

    assert reported(COPY) == {COPY}
    assert reported("fastvideo/models/dits") == {COPY, SOUND, QUIET_DIT}
    assert reported(COPY, QUIET_DIT) == {COPY, QUIET_DIT}
    assert reported("fastvideo/configs/") == set()
    assert reported(".") == {COPY, SOUND, QUIET_DIT}
    monkeypatch.chdir(tmp_path / "fastvideo/models")
    assert reported("dits/copy.py") == {COPY}
    # A path that counts from the root is taken as well, where there is nothing of that name here.
    assert reported(COPY) == {COPY}
    assert reported(str(tmp_path / COPY)) == {COPY}


def test_a_link_to_a_file_of_the_tree_is_that_link(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "elsewhere.py"
    outside.write_text(DUPLICATE)
    root = tree_at(tmp_path / "tree")
    (root / COPY).symlink_to(outside)
    monkeypatch.chdir(tmp_path)
    document = cli("check", "--format", "json", f"tree/{COPY}").json
    assert [f["path"] for f in document["findings"]] == [COPY]


def test_a_path_without_dit_files_is_not_clean(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path)
    outcome = cli("check", "--root", tmp_path, tmp_path / "fastvideo/layers")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no DiT file found here" in outcome.err
    assert "next:" in outcome.err


def test_one_path_without_dit_files_beside_another_is_told(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path)
    outcome = cli("check", "--root", tmp_path, tmp_path / "fastvideo/layers", tmp_path / SOUND)
    assert outcome.code == 0
    assert "No findings in 1 file" in outcome.out
    assert "fastvideo/layers holds no DiT file" in outcome.err


def test_a_tree_without_files_is_not_clean(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "fastvideo/models/dits").mkdir(parents=True)
    outcome = cli("check", "--root", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "no DiT file found" in outcome.err


# --------------------------------------------------------------------------- bad input


def test_a_path_that_does_not_exist(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path), "fastvideo/models/dits/nope.py")
    assert (outcome.code, outcome.out) == (2, "")
    assert "nope.py does not exist" in outcome.err
    assert "next:" in outcome.err


def test_not_a_fastvideo_tree(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["--root", str(tmp_path)], [str(tmp_path)]):
        outcome = cli("check", *arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert "is not in a tree of FastVideo or SGLang" in outcome.err
        assert "--root" in outcome.err


def test_a_root_that_is_no_folder(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("check", "--root", tmp_path / "nope")
    assert (outcome.code, outcome.out) == (2, "")
    assert "is not a folder" in outcome.err


def test_paths_of_two_trees(cli: Cli, tmp_path: Path) -> None:
    first, second = tree_at(tmp_path / "a"), tree_at(tmp_path / "b")
    outcome = cli("check", first, second)
    assert (outcome.code, outcome.out) == (2, "")
    assert "different trees" in outcome.err


def test_a_path_outside_the_root(cli: Cli, tmp_path: Path) -> None:
    first, second = tree_at(tmp_path / "a"), tree_at(tmp_path / "b")
    outcome = cli("check", "--root", first, second / SOUND)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"is not in {first.resolve()}" in outcome.err


def test_a_file_that_does_not_parse(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: "x = 1\ndef f(:\n"})
    outcome = cli("check", "--root", tmp_path)
    assert outcome.code == 1
    assert f"{COPY}:2:7: error[DIT001] syntax-error: " in outcome.out
    assert outcome.out.count("DIT001") == 1


def test_a_file_that_is_not_utf8(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path)
    (tmp_path / COPY).write_bytes(b"name = '\xe9'\n")
    outcome = cli("check", "--root", tmp_path)
    assert outcome.code == 1
    assert "not UTF-8 (byte 8): save it as UTF-8" in outcome.out


def test_an_empty_file(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: ""})
    outcome = cli("check", "--root", tmp_path, tmp_path / COPY)
    assert (outcome.code, outcome.err) == (0, "")


def test_a_file_that_may_not_be_read(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's answer is made up: where tests run as root, no file would be closed to them."""
    tree_at(tmp_path, {COPY: DUPLICATE})
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == tmp_path / COPY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    outcome = cli("check", "--root", tmp_path)
    assert outcome.code == 1
    assert f"{COPY}:1:1: error[DIT001]" in outcome.out
    assert "cannot be read: Permission denied" in outcome.out


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 5000 + ")" * 5000 + "\n",
        "x = " + "-" * 50_000 + "1\n",
        "x = " + "f(" * 150 + ")" * 150 + "\n",
    ],
    ids=["brackets", "operators", "calls"],
)
def test_deep_nesting_is_a_finding_or_fine_but_no_crash(cli: Cli, tmp_path: Path, text: str) -> None:
    tree_at(tmp_path, {COPY: text, QUIET_DIT: NO_ENTRY})
    for _ in range(2):  # computed, then perhaps from the cache
        outcome = cli("check", "--root", tmp_path)
        assert outcome.code == 1
        assert "DIT101" in outcome.out
        assert "Traceback" not in outcome.err


def test_a_loop_of_links(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE})
    dits = tmp_path / "fastvideo/models/dits"
    (dits / "loop").symlink_to(dits)
    (dits / "self.py").symlink_to(dits / "self.py")
    outcome = cli("check", "--root", tmp_path)
    assert outcome.code == 1
    assert outcome.out.count("DIT106") == 2
    named = cli("check", dits / "self.py")
    assert (named.code, named.out) == (2, "")
    assert "symbolic link that leads to itself" in named.err


@pytest.mark.parametrize(
    "registry",
    ["_LEGACY_FAST_VIDEO_MODELS = {\n", "_LEGACY_FAST_VIDEO_MODELS = make_tables()\n", None],
    ids=["does not parse", "computed", "missing"],
)
def test_a_registry_that_cannot_be_followed(cli: Cli, tmp_path: Path, registry: str | None) -> None:
    tree_at(tmp_path, {REGISTRY: registry, COPY: DUPLICATE})
    outcome = cli("check", "--root", tmp_path, tmp_path / COPY)
    assert outcome.code == 1
    assert outcome.out.count("DIT106") == 1
    assert f"the tables of {REGISTRY} cannot be followed" in outcome.err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "pyproject.toml",
            "[tool.ditproof]\nselct = ['DIT1']\n",
            "unknown key 'selct'; did you mean 'select'?",
        ),
        ("pyproject.toml", "[tool.ditproof]\nignore = 'DIT1'\n", "'ignore' must be a list of strings"),
        ("pyproject.toml", "[tool.ditproof]\nignore = ['DIT1O6']\n", "'ignore': no rule is called 'DIT1O6'"),
        (
            "ditproof.toml",
            "[per-file-ignores]\n'x.py' = ['loose']\n",
            "'per-file-ignores: x.py': no rule is called 'loose'",
        ),
        ("ditproof.toml", "oracles = 'diffusers'\n", "'oracles' must be a table"),
        ("ditproof.toml", "python = 3\n", "'python' must be a string"),
        ("pyproject.toml", "[tool.ditproof\n", "cannot be read"),
        ("ditproof.toml", "select = [\n", "cannot be read"),
    ],
)
def test_wrong_settings_are_told_and_the_rest_goes_on(
    cli: Cli, tmp_path: Path, name: str, text: str, message: str
) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, name: text})
    outcome = cli("check", "--root", tmp_path, "--format", "json")
    assert outcome.code == 2
    assert outcome.json["summary"]["by_rule"] == {"DIT106": 2}
    assert f"{name}: {message}" in outcome.err


def test_an_unknown_profile(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {"ditproof.toml": 'profile = "slowvideo"\n'})
    outcome = cli("check", "--root", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "there is no profile 'slowvideo'" in outcome.err
    assert "fastvideo" in outcome.err


def test_a_diff_is_no_json(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path), "--diff", "--format", "json")
    assert (outcome.code, outcome.out) == (2, "")
