"""The rule author's guide: what it shows is a rule that is in use, short, and made from what it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from analyzers.facts import model
from analyzers.project.index import Project
from analyzers.rules.base import Context, Example, Rule
from analyzers.rules.catalogue import all_rules

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LISTING = re.search(r"<!-- listing: (\S+) -->\n```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_listing_is_the_file() -> None:
    assert LISTING is not None
    assert (ROOT / LISTING[1]).read_text(encoding="utf-8") == LISTING[2]


def test_the_rule_is_short_and_whole() -> None:
    assert LISTING is not None
    assert LISTING[2].count("\n") < 80
    rule = next(r for r in all_rules() if Path(LISTING[1]).stem.startswith(r.code.lower()))
    assert rule.valid
    assert rule.invalid
    assert rule.exceptions
    assert rule.source


def test_it_needs_nothing_but_what_the_guide_names() -> None:
    assert LISTING is not None
    modules = {node.module for node in ast.walk(ast.parse(LISTING[2])) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m and m.startswith("analyzers")} == {
        "analyzers.findings",
        "analyzers.rules.base",
    }


@pytest.mark.parametrize(
    ("owner", "attribute"),
    [
        (Context, "file"),
        (Context, "names"),
        (Context, "project"),
        (Context, "profile"),
        (Context, "text"),
        (Project, "body"),
        (Project, "derived"),
        (model.FileFacts, "at_import"),
        (model.FileFacts, "broken"),
        (model.ClassFacts, "partial"),
        (Example, "fixed"),
        (Rule, "suffixes"),
    ],
)
def test_what_the_guide_names_exists(owner: type, attribute: str) -> None:
    assert attribute in GUIDE
    assert attribute in {*dir(owner), *getattr(owner, "__dataclass_fields__", {})}


def test_the_files_that_it_names_exist() -> None:
    for path in re.findall(r"`((?:analyzers|docs)/[\w/.]+)`", GUIDE):
        assert (ROOT / path).exists(), path
