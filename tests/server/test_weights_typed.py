"""The real thing: FastVideo's Wan against the official class, while its mapping is edited in an editor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lsp_editor import Editor, editor_at
from lsprotocol import types
from weight_questions import labels, until_label, until_lens

pytestmark = pytest.mark.asyncio

REPOSITORY = Path(__file__).resolve().parents[2]
FASTVIDEO = REPOSITORY / ".real/fastvideo-0.2.1"
CONFIG = "fastvideo/configs/models/dits/wanvideo.py"
MODEL = "fastvideo/models/dits/wanvideo.py"
COLD = 120.0
"""Seconds: torch and FastVideo are imported first, on a machine that others use too."""
OFFICIAL = "diffusers:WanTransformer3DModel"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The unpacked package, as a porter's checkout has it."""
    if not FASTVIDEO.is_dir():
        pytest.fail(f"{FASTVIDEO} is missing: run `make setup` (scripts/project_env.sh)")
    root = tmp_path.resolve() / "workspace"
    shutil.copytree(FASTVIDEO / "fastvideo", root / "fastvideo")
    (root / "ditproof.toml").write_text(f'[oracles]\nWanTransformer3DModel = "{OFFICIAL}"\n')
    return root


async def test_a_mapping_is_proven_broken_and_mended_while_it_is_typed(
    workspace: Path, project_python: str
) -> None:
    """In one session, for torch is imported but once."""
    async with editor_at(workspace, settings={"trusted": True, "python": project_python}) as editor:
        editor.open(MODEL)
        await until_lens(editor, MODEL, f"keys proven against {OFFICIAL}", within=COLD)
        editor.open(CONFIG)
        proven = await until_lens(editor, CONFIG, f"keys proven against {OFFICIAL}")
        assert proven.removeprefix("WanTransformer3DModel: ").startswith("1095 of 1095 keys")
        await _a_typo_is_found_and_mended(editor)
        await _a_rule_hovers_with_its_keys(editor)
        await _the_report_is_the_one_of_the_command_line(editor)


async def _a_typo_is_found_and_mended(editor: Editor) -> None:
    text = editor.text(CONFIG)
    before = await labels(editor, CONFIG)
    assert "→ 80 keys" in before
    assert not [label for label in before if "wrong" in label]

    old = r"blocks.\1.to_q.\2"
    assert text.count(old) == 1
    line = next(n for n, content in enumerate(text.split("\n")) if old in content)
    editor.change(CONFIG, text.replace(old, r"blocks.\1.to_qq.\2"))
    await until_label(editor, CONFIG, "→ 80 keys, all wrong")
    found = await editor.diagnostics(CONFIG, _of_weights)
    assert {d.range.start.line for d in _of_weights(found)} == {line}
    assert "80" in _of_weights(found)[0].message

    editor.change(CONFIG, text)
    await editor.diagnostics(CONFIG, lambda found: not _of_weights(found))
    assert await labels(editor, CONFIG) == before


async def _a_rule_hovers_with_its_keys(editor: Editor) -> None:
    lines = editor.text(CONFIG).split("\n")
    line = next(n for n, content in enumerate(lines) if "attn1" in content and "to_q" in content)
    hover = await editor.client.text_document_hover_async(
        types.HoverParams(
            types.TextDocumentIdentifier(editor.uri(CONFIG)),
            types.Position(line, lines[line].index("attn1")),
        )
    )
    assert hover is not None
    card = hover.contents.value  # type: ignore[union-attr]
    assert "blocks.{0..39}.attn1.to_q.weight  [5120, 5120]  ×40" in card
    assert "→ blocks.{0..39}.to_q.weight  [5120, 5120]" in card


async def _the_report_is_the_one_of_the_command_line(editor: Editor) -> None:
    answer = await editor.command("ditproof.weights", {"port": f"{MODEL}::WanTransformer3DModel"})
    (report,) = answer["reports"]
    assert report["verdict"] == "proven"
    assert report["counts"]["official"] == 1095
    assert report["against"] in answer["text"]


def _of_weights(found: list[types.Diagnostic]) -> list[types.Diagnostic]:
    return [d for d in found if str(d.code).startswith(("DIT609", "DIT7"))]
