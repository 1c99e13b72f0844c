"""A tree with broken files: everything is said about the others, and nothing is missed in the broken ones."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from pathlib import Path

import pytest

from analyzers.findings import Finding
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_files

MISSING = frozenset(rule.code for rule in all_rules() if rule.reports_missing)


SHARED = {FASTVIDEO.registry, "fastvideo/configs/models/base.py"} | {
    f"{folder}/base.py" for folder in (FASTVIDEO.dits, FASTVIDEO.dit_configs)
}
"""What every port rests on."""

BREAKS = ("(", "[", '"""', "def ", "\n  x = = 1\n", "class :", "if x\n", "'")


def broken(text: str, chance: random.Random) -> str:
    """The text with something put in, or a stretch cut out, at a random place, so that it does not parse."""
    for _ in range(50):
        place = chance.randrange(len(text) + 1)
        cut = chance.choice((0, 0, 1, 7, 40))
        result = text[:place] + chance.choice(BREAKS) + text[place + cut :]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compile(result, "broken", "exec")
        except (SyntaxError, ValueError):
            return result
    return text + "\n("


@pytest.fixture(scope="module")
def intact(fastvideo: Path) -> tuple[Sources, list[Finding]]:
    sources = Sources(fastvideo)
    project = Project(sources, FASTVIDEO, Settings())
    return sources, check_files(project, project.checked_files)


@pytest.mark.parametrize("seed", range(4))
def test_broken_files_hide_nothing_elsewhere(intact: tuple[Sources, list[Finding]], seed: int) -> None:
    sources, before = intact
    chance = random.Random(seed)
    python = sorted({*sources.walk("fastvideo"), *sources.walk("tests")})
    chosen = chance.sample(python, len(python) // 20)
    texts = {path: broken(text, chance) for path in chosen if (text := sources.text(path))}
    project = Project(Sources.overlaid(sources, texts), FASTVIDEO, Settings())
    after = check_files(project, project.checked_files)

    told = {f.location.path for f in after if f.code == "DIT001"}
    assert told == set(texts) & set(project.checked_files)
    about_broken = [f for f in after if f.location.path in texts and f.code in MISSING]
    assert about_broken == []

    def elsewhere(findings: list[Finding]) -> Counter[tuple[str, str, str | None]]:
        return Counter((f.code, f.location.path, f.symbol) for f in findings if f.location.path not in texts)

    assert elsewhere(after) - elsewhere(before) == Counter()
    # Quiet is right where the answer lies in a file that does not parse: a config, a base, a package.
    names = {module(path) for path in texts}
    lost = [key for key in elsewhere(before) - elsewhere(after) if not names & named_by(sources, key[1])]
    assert lost == [] or SHARED & set(texts)


def module(path: str) -> str:
    """The last name of a file's module."""
    return path.removesuffix("/__init__.py").removesuffix(".py").rpartition("/")[2]


def named_by(sources: Sources, path: str) -> frozenset[str]:
    """The words of a file and of the model that it configures: whatever it rests on is among them."""
    model = f"{FASTVIDEO.dits}/{module(path)}.py"
    own = sources.words(path) | {module(path), path.split("/")[-2]}
    return frozenset(own | (sources.words(model) if sources.exists(model) else frozenset()))
