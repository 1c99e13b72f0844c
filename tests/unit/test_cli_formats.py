"""`--format sarif` and `--format github`: valid, complete, and nothing in them that was not escaped."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import jsonschema
import pytest
from cli_testing import COPY, DUPLICATE, NO_ENTRY, SOUND, Cli, cli, tree_at

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding, Location, Severity, Span
from lsp_server.annotations import annotations_text

__all__ = ["cli"]

QUIET_DIT = "fastvideo/models/dits/quiet.py"
SCHEMA = json.loads(
    (Path(__file__).parent.parent / "fixtures" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8")
)
"""The schema as OASIS publishes it."""


def test_sarif_is_valid_and_says_what_the_report_says(cli: Cli, tmp_path: Path) -> None:
    tree_at(tmp_path, {COPY: DUPLICATE, QUIET_DIT: NO_ENTRY})
    outcome = cli("check", "--root", tmp_path, "--format", "sarif")
    assert (outcome.code, outcome.err) == (1, "")
    log = outcome.json
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(log)
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["DIT101", "DIT106"]
    plain = cli("check", "--root", tmp_path, "--format", "json").json["findings"]
    assert len(run["results"]) == len(plain) == 3
    for result, finding in zip(run["results"], plain, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding["code"]
        assert result["message"]["text"] == finding["message"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == finding["path"]
        assert place["region"] == {
            "startLine": finding["line"],
            "startColumn": finding["column"],
            "endLine": finding["end_line"],
            "endColumn": finding["end_column"],
        }
    [duplicate] = [
        r
        for r in run["results"]
        if r.get("relatedLocations")
        and r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == COPY
    ]
    assert duplicate["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == SOUND
    prints = [result["partialFingerprints"]["ditproof/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_of_a_clean_tree_is_valid(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path), "--format", "sarif")
    assert outcome.code == 0
    jsonschema.Draft4Validator(SCHEMA).validate(outcome.json)
    assert outcome.json["runs"][0]["results"] == []


def test_a_wrong_log_does_not_validate() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate({"version": "2.1.0", "runs": [{"tool": {}}]})


def test_sarif_fingerprints_hold_while_lines_move(cli: Cli, tmp_path: Path) -> None:
    def prints() -> list[str]:
        log = cli("check", "--root", tmp_path, "--format", "sarif").json
        return [result["partialFingerprints"]["ditproof/v1"] for result in log["runs"][0]["results"]]

    tree_at(tmp_path, {QUIET_DIT: NO_ENTRY})
    before = prints()
    tree_at(tmp_path, {QUIET_DIT: "import os\n\n" + NO_ENTRY})
    assert prints() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_sarif_names_a_file_whose_name_is_not_utf_8(cli: Cli, tmp_path: Path) -> None:
    name = os.fsdecode(b"fastvideo/models/dits/q\xff.py")
    tree_at(tmp_path, {name: NO_ENTRY})
    log = cli("check", "--root", tmp_path, "--format", "sarif").json
    jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(log)
    [result] = log["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "fastvideo/models/dits/q%FF.py"


def test_github_shows_each_finding_where_the_workflow_looks(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree_at(tmp_path / "python", {COPY: DUPLICATE})
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    outcome = cli("check", "--root", root, "--format", "github")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        f"::warning file=python/{COPY},line=5,endLine=5,col=14,endColumn=37,title=DIT106 registry-duplicate::"
        "'SoundTransformer3DModel' is registered twice"
    )
    assert "Found 2 findings" in outcome.err
    assert cli("check", "--root", root, "--format", "github", "--quiet").err == ""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    assert f"file={COPY}," in cli("check", "--root", root, "--format", "github").out


def test_github_commands_are_escaped() -> None:
    place = Location("a,b:c%.py", Span(0, 0, 1, 2))
    finding = Finding("DIT999", "odd", Severity.INFORMATION, place, "100 %\n::error::no")
    text = annotations_text([finding], lambda _: LineIndex("x\ny\n"), Path("/nowhere"))
    assert text == "::notice file=a%2Cb%3Ac%25.py,line=1,endLine=2,title=DIT999 odd::100 %25%0A::error::no\n"


@pytest.mark.parametrize("kind", ["json", "sarif", "github"])
def test_a_diff_has_no_other_format(cli: Cli, tmp_path: Path, kind: str) -> None:
    outcome = cli("check", "--root", tree_at(tmp_path), "--diff", "--format", kind)
    assert outcome.code == 2
    assert f"cannot be combined with --format {kind}" in outcome.err
