"""The baseline in the editor: what it records is not shown, and what happens to it is seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from lsp_editor import capabilities, editor_at
from lsprotocol import types

from analyzers.project.baseline import Baseline, baseline_text
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.engine import find_all

pytestmark = pytest.mark.asyncio

COPY = "fastvideo/models/dits/copy.py"
COPIED = "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"
NAME = "ditproof-baseline.json"
EMPTY = baseline_text(Baseline())


def codes(found: Sequence[types.Diagnostic]) -> list[str]:
    return [str(d.code) for d in found]


def recorded(tree: Path) -> str:
    """A baseline of what is found in the copy now."""
    project = Project(Sources(tree), FASTVIDEO, Settings())
    found = find_all(project, COPY)
    assert "DIT106" in {finding.code for finding in found}
    return baseline_text(Baseline().updated(found, lambda _: True, project.line))


@pytest.fixture
def copied(tree: Path) -> Path:
    """A tree with findings in `COPY`, whose settings name a baseline that is not there yet."""
    (tree / COPY).write_text(COPIED)
    (tree / "ditproof.toml").write_text(f'baseline = "{NAME}"\n')
    return tree


async def test_what_is_recorded_is_not_shown_and_what_is_new_is(copied: Path) -> None:
    (copied / NAME).write_text(recorded(copied))
    async with editor_at(copied) as editor:
        editor.open(COPY)
        await editor.indexed()
        assert not (await editor.pull(COPY)).items
        editor.change(COPY, "import os\n\n\n" + COPIED)
        assert not (await editor.pull(COPY)).items
        editor.change(COPY, COPIED + "EntryClass = [SoundTransformer3DModel]\n")
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))


@pytest.mark.parametrize("whole", [False, True], ids=["relative", "absolute"])
async def test_an_edited_baseline_counts_at_once(copied: Path, whole: bool) -> None:
    if whole:
        (copied / "ditproof.toml").write_text(f'baseline = "{(copied / NAME).as_posix()}"\n')
    (copied / NAME).write_text(recorded(copied))
    async with editor_at(copied) as editor:
        editor.open(COPY)
        await editor.indexed()
        await editor.diagnostics(COPY, lambda found: not found)
        editor.saved_outside(NAME, EMPTY)
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))
        editor.saved_outside(NAME, recorded(copied))
        await editor.diagnostics(COPY, lambda found: not found)
        await editor.until(lambda: editor.registered, "no registration")
        assert "**/*baseline*.json" in str(editor.registered)


async def test_a_client_that_pulls_is_told_of_an_edited_baseline(copied: Path) -> None:
    (copied / NAME).write_text(recorded(copied))
    async with editor_at(copied, able=capabilities(pull=True)) as editor:
        editor.open(COPY)
        await editor.indexed()
        assert not (await editor.pull(COPY)).items
        before = editor.refreshes
        editor.saved_outside(NAME, EMPTY)
        await editor.until(lambda: editor.refreshes > before, "no refresh")
        assert "DIT106" in codes((await editor.pull(COPY)).items)


@pytest.mark.parametrize("text", [None, "no", "[]"], ids=["missing", "not JSON", "no baseline"])
async def test_a_baseline_that_cannot_be_used_is_told_in_the_settings(copied: Path, text: str | None) -> None:
    if text is not None:
        (copied / NAME).write_text(text)
    async with editor_at(copied) as editor:
        editor.open(COPY)
        [problem] = await editor.diagnostics("ditproof.toml", lambda found: found)
        assert f"{NAME} cannot be used" in problem.message
        assert problem.range.start == types.Position(0, 0)
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))
        editor.saved_outside(NAME, recorded(copied))
        await editor.diagnostics("ditproof.toml", lambda found: not found)
        await editor.diagnostics(COPY, lambda found: not found)
