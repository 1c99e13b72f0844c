"""Every fix of an invalid example gives exactly the text that the example shows, and keeps its promises."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from analyzers.findings import Applicability, Finding
from analyzers.fixes.base import Refused, run_operation
from analyzers.fixes.verify import apply_fix, with_texts
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.base import Example, Rule
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files
from analyzers.rules.examples import TREE, write_tree

FIXED = [
    pytest.param(rule, example, id=f"{rule.code}-{example.title}")
    for rule in all_rules()
    for example in rule.invalid
    if example.fixed
]
MAXIMUM_FIXES = 20


def project_at(root: Path, example: Example) -> Project:
    return Project(Sources(root), FASTVIDEO, Settings(), example.states)


def findings(project: Project, rule: Rule) -> list[Finding]:
    return check_files(project, project.checked_files, [rule])


def take_all(root: Path, rule: Rule, example: Example) -> dict[str, str]:
    """Takes the rule's fixes one after the other, each on the texts that the last one left."""
    changed: dict[str, str] = {}
    for _ in range(MAXIMUM_FIXES):
        project = project_at(root, example)
        finding = next((f for f in findings(project, rule) if f.fix is not None), None)
        if finding is None or finding.fix is None:
            return changed
        for path, text in apply_fix(project, finding, finding.fix).texts.items():
            (root / path).write_bytes(text.encode("utf-8"))
            changed[path] = text
    raise AssertionError("the fixes do not come to an end")


def original(example: Example, path: str) -> str:
    text = {**TREE, **example.files}[path]
    assert text is not None
    return text


@pytest.mark.parametrize(("rule", "example"), FIXED)
def test_fixed_texts_are_exact(rule: Rule, example: Example, tmp_path: Path) -> None:
    write_tree(tmp_path, example.files)
    changed = take_all(tmp_path, rule, example)
    for path, text in changed.items():
        ast.parse(text)
        assert path in example.fixed or text == original(example, path), f"{path} is not meant to change"
    for path, wanted in example.fixed.items():
        assert changed.get(path, original(example, path)) == wanted
    assert [f for f in findings(project_at(tmp_path, example), rule) if f.fix is not None] == []


HEADER = "# Überschrift  \n\n# x = (1 ,2)\n\n"


def under_header(text: str) -> str:
    return HEADER + text


def with_crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def with_carriage_returns(text: str) -> str:
    return text.replace("\n", "\r")


def behind_form_feed(text: str) -> str:
    return "\f" + text


DRESSES = [under_header, with_crlf, with_carriage_returns, behind_form_feed]


@pytest.mark.parametrize("dress", DRESSES, ids=lambda d: d.__name__)
@pytest.mark.parametrize(("rule", "example"), FIXED)
def test_bytes_outside_the_edit_stay(
    rule: Rule, example: Example, dress: Callable[[str], str], tmp_path: Path
) -> None:
    """The same fix on the same text in other clothes gives the same result in those clothes."""
    write_tree(tmp_path, example.files)
    dressed = {path: dress(original(example, path)) for path in example.fixed}
    for path, text in dressed.items():
        (tmp_path / path).write_bytes(text.encode("utf-8"))
    changed = take_all(tmp_path, rule, example)
    for path, wanted in example.fixed.items():
        assert changed.get(path, dressed[path]) == dress(wanted)


@pytest.mark.parametrize(("rule", "example"), FIXED)
def test_a_byte_order_mark_stays_and_mixed_line_ends_are_refused(
    rule: Rule, example: Example, tmp_path: Path
) -> None:
    write_tree(tmp_path, example.files)
    sound = project_at(tmp_path, example)
    for fix in [f.fix for f in findings(sound, rule) if f.fix is not None]:
        plain = run_operation(fix.operation, fix.arguments, sound)
        if not all(path.endswith(".py") and sound.sources.text(path) is not None for path in plain):
            continue
        texts = {path: sound.sources.text(path) or "" for path in plain}
        marked = with_texts(sound, {path: f"\ufeff{text}" for path, text in texts.items()})
        assert run_operation(fix.operation, fix.arguments, marked) == {
            path: f"\ufeff{text}" for path, text in plain.items()
        }
        mixed = with_texts(sound, {path: f"{text}# end\r\n" for path, text in texts.items()})
        with pytest.raises(Refused, match="mixes line ends"):
            run_operation(fix.operation, fix.arguments, mixed)


@pytest.mark.parametrize(("rule", "example"), FIXED)
def test_each_fix_settles_its_finding_and_adds_none(rule: Rule, example: Example, tmp_path: Path) -> None:
    write_tree(tmp_path, example.files)
    project = project_at(tmp_path, example)
    before = check_files(project, project.checked_files)
    fixable = [f for f in findings(project, rule) if f.fix is not None]
    assert fixable, "an example with `fixed` has a finding with a fix"
    for finding in fixable:
        assert finding.fix is not None
        # A rule that is `safe` may hold single fixes back as `unsafe`, never the reverse.
        assert finding.fix.applicability is rule.fixable or rule.fixable is Applicability.SAFE
        result = apply_fix(project, finding, finding.fix)
        overlaid = Sources.overlaid(project.sources, result.texts)
        after = Project(overlaid, FASTVIDEO, Settings(), example.states)
        left = check_files(after, after.checked_files)
        known = {(f.code, f.location.path, f.message) for f in before}
        for now in left:
            assert (now.code, now.location.path, now.message) in known, now
        assert (finding.code, finding.message) not in {(f.code, f.message) for f in left}


@pytest.mark.parametrize(("rule", "example"), FIXED)
def test_a_fix_taken_twice_changes_nothing_more(rule: Rule, example: Example, tmp_path: Path) -> None:
    write_tree(tmp_path, example.files)
    project = project_at(tmp_path, example)
    for finding in findings(project, rule):
        if finding.fix is None:
            continue
        once = with_texts(project, apply_fix(project, finding, finding.fix).texts)
        try:
            twice = run_operation(finding.fix.operation, finding.fix.arguments, once)
        except Refused:
            continue
        assert {path: text for path, text in twice.items() if text != once.sources.text(path)} == {}


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.code)
def test_a_rule_says_whether_it_has_fixes_and_each_has_an_edit(rule: Rule, tmp_path: Path) -> None:
    found = []
    for number, example in enumerate(rule.invalid):
        root = tmp_path / str(number)
        write_tree(root, example.files)
        found += [f.fix for f in findings(project_at(root, example), rule) if f.fix is not None]
    assert bool(found) == (rule.fixable is not None)
    for fix in found:
        module = import_module(f"analyzers.fixes.{fix.operation.replace('-', '_')}")
        assert hasattr(module, "edit") != hasattr(module, "edit_project"), fix.operation
