"""A fix is refused over a finding that it causes, and not over one that it makes read differently."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.fixes.base import Refused
from analyzers.fixes.verify import verify_texts
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.engine import find_all
from analyzers.rules.examples import TREE, write_tree

CONFIG = "fastvideo/configs/models/dits/sound.py"
RULE = 'r"^blocks\\.(\\d+)\\.attn\\.to_q\\.(.*)$": r"blocks.\\1.to_q.\\2"'


def with_rule(rule: str) -> str:
    assert RULE in TREE[CONFIG]
    return TREE[CONFIG].replace(RULE, rule)


def verify(root: Path, before: str, after: str, code: str) -> None:
    write_tree(root, {CONFIG: before})
    project = Project(Sources(root), FASTVIDEO, Settings())
    settled = [f for f in find_all(project, CONFIG) if f.code == code]
    assert settled
    verify_texts(project, {CONFIG: after}, settled)


def test_another_finding_may_quote_the_edited_text(tmp_path: Path) -> None:
    loose, anchored = r'r"head\.(.*)$": r"gone.\1"', r'r"^head\.(.*)$": r"gone.\1"'
    verify(tmp_path, with_rule(loose), with_rule(anchored), "DIT308")


def test_a_finding_of_another_line_is_caused(tmp_path: Path) -> None:
    loose = r'r"head\.(.*)$": r"\1"'
    after = with_rule(r'r"^head\.(.*)$": r"\1",' + "\n" + r'            r"^tail\.(.*)$": r"gone.\1"')
    with pytest.raises(Refused, match="DIT311"):
        verify(tmp_path, with_rule(loose), after, "DIT308")


def test_what_takes_the_place_of_the_settled_finding_is_caused(tmp_path: Path) -> None:
    before, after = r'r"^head\.(.*)$": r"gone.\1"', r'r"^head\.(.*)$": r"away.\1"'
    with pytest.raises(Refused, match="away"):
        verify(tmp_path, with_rule(before), with_rule(after), "DIT311")
