"""`--baseline` and `--write-baseline`: old findings stay quiet while lines move, new ones never do."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest
from cli_testing import COPY, DUPLICATE, NO_ENTRY, Cli, cli, tree_at

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding, Location, Severity, Span
from analyzers.project.baseline import (
    Baseline,
    MalformedBaseline,
    baseline_text,
    parse_baseline,
)

__all__ = ["cli"]

QUIET_DIT = "fastvideo/models/dits/quiet.py"
OTHER_DIT = "fastvideo/models/dits/other.py"
NAME = "ditproof-baseline.json"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tree_at(tmp_path / "tree", {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})


def test_what_was_recorded_is_left_out(cli: Cli, tree: Path) -> None:
    written = cli("check", "--root", tree, "--write-baseline")
    assert (written.code, written.out) == (0, "")
    assert f"Recorded 3 findings in {NAME}." in written.err
    outcome = cli("check", "--root", tree, "--baseline", tree / NAME)
    assert outcome.code == 0
    assert outcome.out.startswith("No findings in ")
    assert outcome.out.endswith("3 more in the baseline.\n")


def test_lines_that_move_do_not_matter_and_new_findings_speak(cli: Cli, tree: Path) -> None:
    cli("check", "--root", tree, "--write-baseline")
    moved = NO_ENTRY.replace("class Quiet", "import os\n\nLIMIT = 3\n\n\nclass Quiet")
    tree_at(tree, {QUIET_DIT: moved, OTHER_DIT: NO_ENTRY.replace("Quiet", "Other")})
    found = cli("check", "--root", tree, "--baseline", tree / NAME, "--format", "json").json["findings"]
    assert [(f["code"], f["path"]) for f in found] == [("DIT101", OTHER_DIT)]


def test_the_settings_name_it(cli: Cli, tree: Path) -> None:
    (tree / "ditproof.toml").write_text(f'baseline = "{NAME}"\n')
    missing = cli("check", "--root", tree)
    assert missing.code == 2
    assert f"the baseline {NAME} cannot be used" in missing.err
    assert "--write-baseline" in missing.err
    assert cli("check", "--root", tree, "--write-baseline").code == 0
    assert cli("check", "--root", tree).code == 0
    assert cli("check", "--root", tree).code == 0  # from the cache


def test_a_changed_line_speaks_again_and_a_mended_one_is_told(cli: Cli, tree: Path) -> None:
    cli("check", "--root", tree, "--write-baseline")
    tree_at(tree, {QUIET_DIT: NO_ENTRY.replace("class Quiet", "class Quieter")})
    outcome = cli("check", "--root", tree, "--baseline", tree / NAME)
    assert outcome.code == 1
    assert "DIT101" in outcome.out
    assert "1 recorded finding no longer there" in outcome.err


def test_part_of_the_tree_leaves_the_rest_recorded(cli: Cli, tree: Path) -> None:
    cli("check", "--root", tree, "--write-baseline")
    tree_at(tree, {QUIET_DIT: NO_ENTRY.replace("class Quiet", "class Quieter")})
    cli("check", "--root", tree, "--write-baseline", "--baseline", tree / NAME, tree / QUIET_DIT)
    assert cli("check", "--root", tree, "--baseline", tree / NAME).code == 0
    cli("check", "--root", tree, "--write-baseline", "--baseline", tree / NAME, "--select", "DIT106")
    assert cli("check", "--root", tree, "--baseline", tree / NAME).code == 0
    (tree / QUIET_DIT).unlink()
    cli("check", "--root", tree, "--write-baseline", "--baseline", tree / NAME)
    assert {f["code"] for f in json.loads((tree / NAME).read_text())["findings"]} == {"DIT106"}


def test_fixes_leave_known_findings_alone(cli: Cli, tree: Path) -> None:
    cli("check", "--root", tree, "--write-baseline")
    before = (tree / QUIET_DIT).read_text()
    tree_at(tree, {OTHER_DIT: NO_ENTRY.replace("Quiet", "Other")})
    assert cli("check", "--root", tree, "--baseline", tree / NAME, "--fix").code == 0
    assert (tree / QUIET_DIT).read_text() == before
    assert "EntryClass = OtherTransformer3DModel" in (tree / OTHER_DIT).read_text()


def test_a_file_that_does_not_parse_is_never_recorded(cli: Cli, tree: Path) -> None:
    tree_at(tree, {QUIET_DIT: "def broken(:\n"})
    cli("check", "--root", tree, "--write-baseline")
    outcome = cli("check", "--root", tree, "--baseline", tree / NAME)
    assert outcome.code == 1
    assert "DIT001" in outcome.out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no", "not JSON"),
        ("[]", "no list of findings"),
        ('{"version": 9, "findings": []}', "its version is 9"),
        ('{"version": 1, "findings": [{"path": "a"}]}', "its finding 1 lacks"),
        (
            '{"version": 1, "findings":'
            ' [{"path": "a", "code": "b", "symbol": "", "line_hash": "c", "count": 0}]}',
            "the count of its finding 1 is 0",
        ),
    ],
)
def test_what_is_no_baseline_is_told_and_kept(cli: Cli, tree: Path, text: str, reason: str) -> None:
    (tree / NAME).write_text(text)
    for option in ((), ("--write-baseline",)):
        outcome = cli("check", "--root", tree, "--baseline", tree / NAME, *option)
        assert outcome.code == 2
        assert reason in outcome.err
    assert (tree / NAME).read_text() == text


def test_nothing_is_fixed_where_the_baseline_cannot_be_replaced(cli: Cli, tree: Path) -> None:
    (tree / NAME).write_text("notes of mine")
    before = (tree / QUIET_DIT).read_text()
    assert cli("check", "--root", tree, "--fix", "--write-baseline").code == 2
    assert (tree / QUIET_DIT).read_text() == before
    assert (tree / NAME).read_text() == "notes of mine"


def test_a_link_to_the_baseline_and_its_permissions_stay(cli: Cli, tree: Path) -> None:
    (tree / "shared.json").write_text('{"version": 1, "findings": []}')
    (tree / "shared.json").chmod(0o664)
    (tree / NAME).symlink_to("shared.json")
    assert cli("check", "--root", tree, "--write-baseline").code == 0
    assert (tree / NAME).is_symlink()
    assert len(json.loads((tree / "shared.json").read_text())["findings"]) == 3
    assert (tree / "shared.json").stat().st_mode & 0o777 == 0o664


def test_what_cannot_be_written_is_told_and_the_old_one_stays(
    cli: Cli, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("check", "--root", tree, "--write-baseline")
    before, names = (tree / NAME).read_text(), sorted(p.name for p in tree.iterdir())
    tree_at(tree, {OTHER_DIT: NO_ENTRY.replace("Quiet", "Other")})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        outcome = cli("check", "--root", tree, "--write-baseline", "--no-cache")
    assert (outcome.code, outcome.out) == (3, "")
    assert f"{NAME} was not written: No space left on device." in outcome.err
    assert (tree / NAME).read_text() == before
    assert sorted(p.name for p in tree.iterdir()) == names
    outcome = cli("check", "--root", tree, "--write-baseline", "--baseline", tree / "none" / NAME)
    assert outcome.code == 3
    assert "was not written: No such file or directory." in outcome.err


@pytest.mark.parametrize("option", [("--diff",), ("--changed-since", "HEAD")])
def test_writing_does_not_go_with_a_part_of_the_findings(
    cli: Cli, tree: Path, option: tuple[str, ...]
) -> None:
    assert cli("check", "--root", tree, "--write-baseline", *option).code == 2
    assert not (tree / NAME).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_file_whose_name_is_not_utf_8_is_recorded(cli: Cli, tree: Path) -> None:
    tree_at(tree, {os.fsdecode(b"fastvideo/models/dits/q\xff.py"): NO_ENTRY.replace("Quiet", "Other")})
    tree_at(tree, {"fastvideo/models/dits/größe.py": NO_ENTRY.replace("Quiet", "Third")})
    assert "Recorded 5 findings" in cli("check", "--root", tree, "--write-baseline").err
    assert cli("check", "--root", tree, "--baseline", tree / NAME).code == 0
    assert "größe.py" in (tree / NAME).read_text(encoding="utf-8")


def test_of_equal_findings_as_many_are_known_as_were_there() -> None:
    lines = LineIndex("same()\nsame()\nsame()\n")

    def finding(line: int) -> Finding:
        return Finding("DIT999", "equal", Severity.WARNING, Location("a.py", Span(line, 0, line, 4)), "again")

    recorded = Baseline().updated([finding(0), finding(1)], lambda _: False, lambda _, n: lines.line(n))
    again = parse_baseline(baseline_text(recorded))
    assert again == recorded
    new, known = again.split([finding(0), finding(1), finding(2)], lambda _, n: lines.line(n))
    assert [f.location.span.line for f in new] == [2]
    assert len(known) == 2
    with pytest.raises(MalformedBaseline):
        parse_baseline("{}")
