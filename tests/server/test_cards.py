"""Hover, code lenses, settings and the requests of our own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lsp_editor import Editor, editor_at, plain
from lsprotocol import types

pytestmark = pytest.mark.asyncio

SOUND = "fastvideo/models/dits/sound.py"
COPY = "fastvideo/models/dits/copy.py"
TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
COPIED = "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"


def codes(found: object) -> list[str]:
    return [d.code for d in found]  # type: ignore[attr-defined]


async def hover(editor: Editor, path: str, line: int, column: int) -> types.Hover | None:
    return await editor.client.text_document_hover_async(
        types.HoverParams(types.TextDocumentIdentifier(editor.uri(path)), types.Position(line, column))
    )


async def lenses(editor: Editor, path: str) -> list[types.CodeLens]:
    found = await editor.client.text_document_code_lens_async(
        types.CodeLensParams(types.TextDocumentIdentifier(editor.uri(path)))
    )
    return list(found or ())


async def test_hover_on_a_finding_explains_the_rule(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree) as editor:
        editor.open(COPY)
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))
        shown = await hover(editor, COPY, 4, 15)
        assert shown is not None
        assert isinstance(shown.contents, types.MarkupContent)
        assert "**DIT106** `registry-duplicate`" in shown.contents.value
        assert "Rename one of the classes" in shown.contents.value
        assert await hover(editor, COPY, 1, 5) is None


async def test_hover_on_a_port_shows_its_card(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        await editor.indexed()
        line = editor.text(SOUND).splitlines().index("class SoundTransformer3DModel(BaseDiT):")
        shown = await hover(editor, SOUND, line, 8)
        assert shown is not None
        assert isinstance(shown.contents, types.MarkupContent)
        for part in ("**Port** `SoundTransformer3DModel`", "SoundConfig", "exported", "1 rules", TEST):
            assert part in shown.contents.value


async def test_lenses_lead_to_parity(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        editor.open(TEST)
        await editor.indexed()
        proof, traced, lens = await lenses(editor, SOUND)
        assert proof.command is not None
        assert proof.command.command == "ditproof.weights"
        assert traced.command is not None
        assert traced.command.command == "ditproof.writeRecipe"
        assert lens.command is not None
        assert lens.command.title == "Run parity: test_sound_transformer_parity"
        assert lens.command.command == "ditproof.parity"
        (target,) = plain(lens.command.arguments)
        assert (target["uri"], target["line"]) == (editor.uri(TEST), None)
        (lens,) = await lenses(editor, TEST)
        assert lens.command is not None
        (target,) = plain(lens.command.arguments)
        assert (target["uri"], target["line"]) == (editor.uri(TEST), lens.range.start.line)
        assert editor.text(TEST).splitlines()[target["line"]].startswith("def test_sound")


async def test_settings_count_without_a_restart(tree: Path) -> None:
    (tree / COPY).write_text(COPIED)
    async with editor_at(tree) as editor:
        editor.open(COPY)
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))
        editor.saved_outside("ditproof.toml", 'ignore = ["DIT106"]\n')
        await editor.diagnostics(COPY, lambda found: "DIT106" not in codes(found))
        editor.saved_outside("ditproof.toml", None)
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))
        editor.saved_outside("pyproject.toml", '[tool.ditproof]\nignore = ["DIT106"]\n')
        await editor.diagnostics(COPY, lambda found: "DIT106" not in codes(found))
        editor.saved_outside("pyproject.toml", None)
        await editor.diagnostics(COPY, lambda found: "DIT106" in codes(found))


async def test_a_wrong_setting_is_shown_at_its_line(tree: Path) -> None:
    (tree / "ditproof.toml").unlink()
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        await editor.indexed()
        editor.saved_outside("pyproject.toml", '[project]\nname = "x"\n\n[tool.ditproof]\nselct = ["DIT1"]\n')
        (found,) = await editor.diagnostics("pyproject.toml", lambda found: found)
        assert "did you mean 'select'" in found.message
        assert found.range == types.Range(types.Position(4, 0), types.Position(4, 5))
        editor.saved_outside("pyproject.toml", "[tool.ditproof]\nselect = [\n")
        await editor.diagnostics(
            "pyproject.toml", lambda found: found and "cannot be read" in found[0].message
        )
        editor.saved_outside("pyproject.toml", '[tool.ditproof]\nselect = ["ALL"]\n')
        await editor.diagnostics("pyproject.toml", lambda found: not found)


async def test_files_are_watched(tree: Path) -> None:
    async with editor_at(tree) as editor:
        await editor.indexed()
        await editor.until(lambda: editor.registered, "no registration")
        (registration,) = editor.registered
        assert registration.method == "workspace/didChangeWatchedFiles"
        patterns = {watcher["globPattern"] for watcher in plain(registration.register_options)["watchers"]}
        assert {"**/*.py", "**/pyproject.toml", "**/ditproof.toml"} <= patterns


async def test_ports_are_the_command_lines_json(tree: Path) -> None:
    async with editor_at(tree) as editor:
        await editor.indexed()
        (port,) = await editor.request("ditproof/ports", {})
        assert port["path"] == SOUND
        assert port["reachable"] == "discovered"
        assert port["parity_tests"] == [TEST]


async def test_check_reads_everything_again(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        await editor.indexed()
        (tree / COPY).write_text(COPIED)  # behind the watcher's back
        (report,) = await editor.command("ditproof.check")
        assert report["version"] == 1
        assert {f["path"] for f in report["findings"] if f["code"] == "DIT106"} == {SOUND, COPY}
        assert report["summary"]["by_rule"]["DIT106"] == 2
        await editor.diagnostics(SOUND, lambda found: "DIT106" in codes(found))


async def test_the_server_stays_light(tree: Path) -> None:
    """Fixes and all: libcst and torch are other processes' burden."""
    (tree / COPY).write_text("class Block:\n    pass\n\n\nEntryClass = Blok\n")
    async with editor_at(tree) as editor:
        editor.open(COPY)
        found = await editor.diagnostics(COPY, lambda found: "DIT103" in codes(found))
        assert [a for a in await editor.actions(COPY, found[0]) if a.is_preferred]
        state = await editor.request("ditproof/state")
        assert state["heavy"] == []


async def test_the_way_the_command_line_starts_it_is_light_too() -> None:
    heavy = "{'torch', 'libcst', 'numpy', 'rich'}"
    program = f"import lsp_server.server, sys; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
