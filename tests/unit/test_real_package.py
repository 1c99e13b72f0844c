"""The rules and fixes on the real packages: what they find there is what docs/accuracy.md says."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from pathlib import Path

import pytest

from analyzers.facts.chunks import normalise_newlines, split
from analyzers.findings import Finding
from analyzers.fixes.verify import apply_fix
from analyzers.project.index import Project
from analyzers.project.profile import find_profile
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files

ACCURACY = Path(__file__).resolve().parents[2] / "docs" / "accuracy.md"


COLUMNS = {"fastvideo": 1, "sglang": 3}
"""Package -> its column in the table of counts: rule, package, repository, sglang."""


@pytest.fixture(scope="module", params=sorted(COLUMNS))
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(package: str, request: pytest.FixtureRequest) -> Project:
    root: Path = request.getfixturevalue(package)
    profile = find_profile(root)
    assert profile is not None
    assert profile.name == package
    return Project(Sources(root), profile, Settings())


@pytest.fixture(scope="module")
def findings(project: Project) -> list[Finding]:
    return check_files(project, project.checked_files)


def test_the_findings_are_those_that_were_judged(package: str, findings: list[Finding]) -> None:
    """A count that moves means findings that nobody has looked at: judge them, then write them down.

    A rule that is switched off in a code base has a dash there.
    """
    row = re.compile(r"^\| (DIT\d{3}) \| [\w-]+ \| (\d+) \| (\d+) \| (\d+|–) \|", re.MULTILINE)
    profile = find_profile(Path(), package)
    assert profile is not None
    stated = {m[1]: m[1 + COLUMNS[package]] for m in row.finditer(ACCURACY.read_text(encoding="utf-8"))}
    counted = Counter(f.code for f in findings)
    assert stated == {
        rule.code: "–" if profile.off(rule.code) else str(counted[rule.code]) for rule in all_rules()
    }


def test_what_is_truly_there_is_found(package: str, findings: list[Finding]) -> None:
    if package == "sglang":
        assert not [f for f in findings if f.code.startswith("DIT1")]  # every port is discovered
        return
    found = {(f.code, f.location.path, f.symbol) for f in findings}
    registry = "fastvideo/models/registry.py"
    assert ("DIT104", registry, "LongCatVideoTransformer3DModel") in found
    assert ("DIT104", registry, "AutoencoderKLStepvideo") in found
    packages = {path for code, path, _ in found if code == "DIT102"}
    assert {
        f"fastvideo/models/dits/{p}/__init__.py" for p in ("hyworld", "matrixgame2", "matrixgame3")
    } <= packages
    unexported = {symbol for code, _, symbol in found if code == "DIT110"}
    assert {"Gen3CVideoConfig", "SD3DiTConfig", "MatrixGame3WanVideoConfig"} <= unexported


def test_every_fix_holds_and_leaves_the_rest_alone(
    package: str, project: Project, findings: list[Finding]
) -> None:
    fixable = [f for f in findings if f.fix is not None]
    expected = (
        {"DIT101", "DIT102", "DIT104", "DIT110", "DIT205", "DIT211"} if package == "fastvideo" else set()
    )
    assert {f.code for f in fixable} >= expected
    for finding in fixable:
        assert finding.fix is not None
        # `apply_fix` refuses a result that does not parse, keeps its finding or adds another.
        result = apply_fix(project, finding, finding.fix)
        for path, after in result.texts.items():
            before = project.sources.text(path)
            assert before is not None
            # A layer's calls stand in other classes, too; every other fix is about one definition.
            statements = 5 if finding.code == "DIT401" else 3
            assert_local_edit(before, after, f"{finding.code} in {path}", statements)


def assert_local_edit(before: str, after: str, what: str, statements: int) -> None:
    """Only so many top-level statements differ, by a few lines; every other byte is the same."""
    old = [c.text for c in split(normalise_newlines(before)).chunks]
    new = [c.text for c in split(normalise_newlines(after)).chunks]
    chunks = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    touched = [op for op in chunks.get_opcodes() if op[0] != "equal"]
    assert sum(max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in touched) <= statements, what
    lines = difflib.SequenceMatcher(a=before.splitlines(True), b=after.splitlines(True), autojunk=False)
    changed = [op for op in lines.get_opcodes() if op[0] != "equal"]
    assert sum(max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in changed) <= 8, what
