"""Every rule's examples are its tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.base import Example, Rule
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import write_tree

VALID = [pytest.param(r, e, id=f"{r.code}-{e.title}") for r in all_rules() for e in r.valid]
INVALID = [pytest.param(r, e, id=f"{r.code}-{e.title}") for r in all_rules() for e in r.invalid]


def project_at(root: Path, example: Example) -> Project:
    write_tree(root, example.files)
    return Project(Sources(root), FASTVIDEO, Settings(), example.states)


@pytest.mark.parametrize(("rule", "example"), VALID)
def test_valid_examples_are_clean(rule: Rule, example: Example, tmp_path: Path) -> None:
    project = project_at(tmp_path, example)
    assert check_files(project, project.checked_files, [rule]) == []


@pytest.mark.parametrize(("rule", "example"), INVALID)
def test_invalid_examples_are_found(rule: Rule, example: Example, tmp_path: Path) -> None:
    assert example.findings, "an invalid example lists its findings"
    project = project_at(tmp_path, example)
    found = check_files(project, project.checked_files, [rule])
    expected = sorted(example.findings, key=lambda e: (e.path, e.line))
    assert [(f.location.path, f.location.span.line + 1) for f in found] == [
        (e.path, e.line) for e in expected
    ], [f.message for f in found]
    for finding, wanted in zip(found, expected, strict=True):
        assert finding.code == rule.code
        assert wanted.message in finding.message
        if wanted.severity is not None:
            assert finding.severity is wanted.severity


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.code)
def test_metadata_is_complete(rule: Rule) -> None:
    assert rule.valid, "a rule shows what it accepts"
    assert rule.invalid, "a rule shows what it reports"
    for text in (rule.summary, rule.what, rule.why, rule.how):
        assert text.strip()


def test_the_sound_tree_is_sound(tmp_path: Path) -> None:
    """Every example is this tree with something laid over it: what it shows must come from that alone."""
    write_tree(tmp_path, {})
    project = Project(Sources(tmp_path), FASTVIDEO, Settings())
    assert check_files(project, project.checked_files) == []
