"""Parity tests after a save: what runs, what is told again, what is superseded, what grows stale."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from lsp_editor import Editor, editor_at, plain
from lsprotocol import types

from lsp_server.checks.evidence.store import EvidenceStore

pytestmark = pytest.mark.asyncio

TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
SOUND = "fastvideo/models/dits/sound.py"
CONFIG = "fastvideo/configs/models/dits/sound.py"
RIGHT, WRONG = "hidden_size: int = 64", "hidden_size: int = 65"

ON = {"trusted": True, "python": sys.executable, "parity": {"onSave": True}}
OFF = {**ON, "parity": {"onSave": False}}


@pytest.fixture(autouse=True)
def selected(tree: Path) -> None:
    settings = tree / "ditproof.toml"
    settings.write_text(settings.read_text().replace('"DIT9"', '"DIT811", "DIT9"'))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugins of our own environment take longer to import than such a test takes to run."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def write_test(tree: Path, body: str = "") -> None:
    """A test of the port's configuration, which needs no torch; every run leaves a mark beside the tree."""
    (tree / TEST).write_text(
        "# SoundTransformer3DModel\n"
        "import time\n"
        "import pytest\n"
        "from fastvideo.configs.models.dits.sound import SoundArchConfig\n\n\n"
        "def test_sound():\n"
        f"    open({str(marks(tree))!r}, 'a').write('x')\n"
        f"{body}"
        "    assert SoundArchConfig().hidden_size == 64\n"
    )


def marks(tree: Path) -> Path:
    return tree.parent / "runs"


def runs(tree: Path) -> int:
    return len(marks(tree).read_text()) if marks(tree).exists() else 0


def save(editor: Editor, path: str, text: str) -> None:
    """Types a text and saves it."""
    editor.change(path, text)
    (editor.root / path).write_text(text)
    editor.client.text_document_did_save(
        types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(editor.uri(path)))
    )


async def verdicts(editor: Editor, count: int) -> list[Any]:
    await editor.until(lambda: len(editor.verdicts) >= count, f"not {count} verdicts: {editor.verdicts}")
    return editor.verdicts


async def at_rest(editor: Editor) -> None:
    """Waits until nothing runs, and long enough for what a save would start to have begun."""
    await asyncio.sleep(1.6)
    await editor.until(lambda: editor.status[-1]["state"] == "ready", "something still runs")


def of(found: list[types.Diagnostic], code: str) -> list[types.Diagnostic]:
    return [d for d in found if d.code == code]


async def test_a_wrong_constant_turns_it_red_and_taking_it_back_green_without_a_run(tree: Path) -> None:
    write_test(tree)
    right = (tree / CONFIG).read_text()
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        editor.open(TEST)
        await editor.indexed()
        save(editor, CONFIG, right + "\n")
        assert (await verdicts(editor, 1))[-1]["status"] == "passed"
        assert editor.verdicts[-1]["known_since"] is None
        save(editor, CONFIG, right.replace(RIGHT, WRONG) + "\n")
        assert (await verdicts(editor, 2))[-1]["status"] == "failed"
        found = await editor.diagnostics(TEST, lambda found: of(found, "DIT901"))
        assert of(found, "DIT901")[0].range.start.line == 8
        assert runs(tree) == 2
        save(editor, CONFIG, right + "\n")
        assert (await verdicts(editor, 3))[-1]["status"] == "passed"
        assert editor.verdicts[-1]["known_since"] is not None
        await editor.diagnostics(TEST, lambda found: not of(found, "DIT901"))
        save(editor, CONFIG, right.replace(RIGHT, WRONG) + "\n")
        assert (await verdicts(editor, 4))[-1]["status"] == "failed"
        again = await editor.diagnostics(TEST, lambda found: of(found, "DIT901"))
        assert of(again, "DIT901")[0].message == of(found, "DIT901")[0].message
        assert runs(tree) == 2


async def test_another_session_knows_what_one_before_has_run(tree: Path) -> None:
    write_test(tree)
    for number in (1, 2):
        async with editor_at(tree, settings=ON) as editor:
            editor.open(CONFIG)
            await editor.indexed()
            save(editor, CONFIG, (tree / CONFIG).read_text())
            told = (await verdicts(editor, 1))[-1]
            assert (told["status"], told["known_since"] is None) == ("passed", number == 1)
    assert runs(tree) == 1


async def test_a_save_while_the_tree_is_read_is_not_lost(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        assert (await verdicts(editor, 1))[-1]["status"] == "passed"


async def test_nothing_runs_by_itself_unless_it_was_turned_on(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=OFF) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        await at_rest(editor)
        assert (runs(tree), editor.verdicts) == (0, [])


async def test_the_projects_own_settings_decide(tree: Path) -> None:
    write_test(tree)
    settings = tree / "ditproof.toml"
    settings.write_text(settings.read_text() + "[on-save]\nweights = true\n")
    async with editor_at(tree, settings=OFF) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        assert (await verdicts(editor, 1))[-1]["status"] == "passed"


async def test_nothing_runs_in_a_workspace_that_is_not_trusted(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings={**ON, "trusted": False}) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        await at_rest(editor)
        assert runs(tree) == 0


async def test_a_save_of_what_nobody_looks_at_runs_nothing(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=ON) as editor:
        await editor.indexed()
        editor.saved_outside(CONFIG, (tree / CONFIG).read_text() + "\n")
        await at_rest(editor)
        assert runs(tree) == 0


async def test_nothing_runs_while_a_file_of_the_port_has_unsaved_changes(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        editor.open(SOUND)
        await editor.indexed()
        editor.change(SOUND, (tree / SOUND).read_text() + "\nHALF = 1\n")
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        await at_rest(editor)
        assert runs(tree) == 0


async def test_nothing_runs_of_text_that_does_not_parse(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\ndef half(\n")
        await at_rest(editor)
        assert runs(tree) == 0


async def test_ten_saves_in_two_seconds_start_at_most_two_runs_and_leave_one_verdict(tree: Path) -> None:
    write_test(tree, "    time.sleep(1.5)\n")
    right = (tree / CONFIG).read_text()
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        # The pauses let the first run begin: the saves after it have to end it.
        for number, pause in enumerate((0.5, 0.1, 0.3, 0.1, 0.3, 0.1, 0.2, 0.1, 0.2, 0.1)):
            save(editor, CONFIG, f"{right}\n# {number}\n")
            await asyncio.sleep(pause)
        told = await verdicts(editor, 1)
        await at_rest(editor)
        final = [verdict for verdict in told if verdict["status"] != "cancelled"]
        assert [verdict["status"] for verdict in final] == ["passed"]
        assert runs(tree) <= 2
    kept = EvidenceStore(tree).latest()
    assert [evidence.status for evidence in kept] == ["passed"]
    assert len(EvidenceStore(tree).history(kept[0].port)) == 1


async def test_a_user_may_end_it(tree: Path) -> None:
    write_test(tree, "    time.sleep(60)\n")
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        await editor.until(lambda: runs(tree) or editor.status[-1]["state"] == "running", "it does not run")
        deadline = asyncio.get_running_loop().time() + 20
        while not runs(tree):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert await editor.command("ditproof.cancel") == 1
        await at_rest(editor)
        assert runs(tree) == 1
    assert EvidenceStore(tree).latest() == []


async def test_what_lacks_something_is_not_run_by_every_save(tree: Path) -> None:
    """A skip hangs on the machine: it is asked again when the test is saved, never told again."""
    weights = tree.parent / "weights"
    write_test(
        tree,
        f"    import os\n    if not os.path.exists({str(weights)!r}):\n        pytest.skip('no weights')\n",
    )
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        editor.open(TEST)
        await editor.indexed()
        save(editor, CONFIG, (tree / CONFIG).read_text())
        assert (await verdicts(editor, 1))[-1]["status"] == "skipped"
        await editor.diagnostics(TEST, lambda found: of(found, "DIT902"))
        weights.write_text("")
        save(editor, CONFIG, (tree / CONFIG).read_text())
        await at_rest(editor)
        assert runs(tree) == 1
        save(editor, TEST, (tree / TEST).read_text())
        assert (await verdicts(editor, 2))[-1]["status"] == "passed"
        await editor.diagnostics(TEST, lambda found: not of(found, "DIT902"))


async def test_several_tests_come_to_one_verdict(tree: Path) -> None:
    write_test(tree)
    lacking = tree / "tests/local_tests/sound/test_sound_weights_parity.py"
    lacking.write_text("import pytest\n\ndef test_it():\n    pytest.skip('SoundTransformer3DModel: CUDA')\n")
    right = (tree / CONFIG).read_text()
    async with editor_at(tree, settings=ON) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        save(editor, CONFIG, right)
        told = (await verdicts(editor, 3))[-1]
        assert told["repeated"]
        assert told["status"] == "passed"
        assert "(1 more skipped)" in told["reason"]
        save(editor, CONFIG, right.replace(RIGHT, WRONG))
        assert (await verdicts(editor, 4))[-1]["status"] == "failed"


async def test_a_pass_grows_stale(tree: Path) -> None:
    write_test(tree)
    right = (tree / CONFIG).read_text()
    async with editor_at(tree, settings=OFF) as editor:
        editor.open(CONFIG)
        editor.open(SOUND)
        await editor.indexed()
        answer = await editor.command("ditproof.parity", {"test": TEST})
        assert plain(answer)["status"] == "passed"
        save(editor, CONFIG, right.replace(RIGHT, WRONG))
        found = await editor.diagnostics(SOUND, lambda found: of(found, "DIT811"))
        (stale,) = of(found, "DIT811")
        assert stale.severity is types.DiagnosticSeverity.Information
        assert f"{CONFIG} has changed" in stale.message
        assert stale.range.start.line == (tree / SOUND).read_text().splitlines().index(
            "class SoundTransformer3DModel(BaseDiT):"
        )
        save(editor, CONFIG, right)
        await editor.diagnostics(SOUND, lambda found: not of(found, "DIT811"))


async def test_who_ignores_it_is_not_told(tree: Path) -> None:
    write_test(tree)
    settings = tree / "ditproof.toml"
    settings.write_text(settings.read_text().replace('"DIT811", ', ""))
    async with editor_at(tree, settings=OFF) as editor:
        editor.open(CONFIG)
        editor.open(SOUND)
        await editor.indexed()
        await editor.command("ditproof.parity", {"test": TEST})
        save(editor, CONFIG, (tree / CONFIG).read_text() + "\n")
        await at_rest(editor)
        assert of(await editor.diagnostics(SOUND), "DIT811") == []


async def test_what_an_earlier_session_left_is_told_to_be_stale(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=OFF) as editor:
        await editor.indexed()
        await editor.command("ditproof.parity", {"test": TEST})
    (tree / CONFIG).write_text((tree / CONFIG).read_text() + "\n")
    async with editor_at(tree, settings={**OFF, "trusted": False}) as editor:
        editor.open(SOUND)
        found = await editor.diagnostics(SOUND, lambda found: of(found, "DIT811"))
        assert "has changed" in of(found, "DIT811")[0].message


async def test_lenses_and_the_card_of_the_port_tell_the_last_run(tree: Path) -> None:
    write_test(tree)
    async with editor_at(tree, settings=OFF) as editor:
        editor.open(SOUND)
        editor.open(TEST)
        await editor.indexed()
        await editor.command("ditproof.parity", {"test": TEST})

        async def titles(path: str) -> list[str]:
            found = await editor.client.text_document_code_lens_async(
                types.CodeLensParams(types.TextDocumentIdentifier(editor.uri(path)))
            )
            return [lens.command.title for lens in found or () if lens.command is not None]

        for _ in range(100):
            if "ditproof: run parity (passed just now)" in await titles(TEST):
                break
            await asyncio.sleep(0.1)
        assert "ditproof: run parity (passed just now)" in await titles(TEST)
        assert "Run parity: test_sound_transformer_parity (passed just now)" in await titles(SOUND)
        line = editor.text(SOUND).splitlines().index("class SoundTransformer3DModel(BaseDiT):")
        shown = await editor.client.text_document_hover_async(
            types.HoverParams(types.TextDocumentIdentifier(editor.uri(SOUND)), types.Position(line, 8))
        )
        assert shown is not None
        assert isinstance(shown.contents, types.MarkupContent)
        assert "| `test_sound_transformer_parity.py` | passed just now |" in shown.contents.value


async def test_a_port_stands_for_its_tests(tree: Path) -> None:
    write_test(tree)
    lacking = tree / "tests/local_tests/sound/test_sound_weights_parity.py"
    lacking.write_text("import pytest\n\ndef test_it():\n    pytest.skip('SoundTransformer3DModel: CUDA')\n")
    async with editor_at(tree, settings=OFF) as editor:
        editor.open(SOUND)
        await editor.indexed()
        answer = await editor.command("ditproof.parity", {"uri": editor.uri(SOUND), "line": None})
        assert answer["status"] == "passed"
        assert [run["status"] for run in answer["runs"]] == ["passed", "skipped"]
        assert (await verdicts(editor, 3))[-1]["repeated"]
