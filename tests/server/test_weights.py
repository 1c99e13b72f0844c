"""Names measured beside the editor, and what they prove while a mapping is typed: hints, lenses, hovers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from canned_worker import CannedWorker, problem
from lsp_editor import Editor, editor_at
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from weight_questions import hints, labels, until_lens

pytestmark = pytest.mark.asyncio

PORT = "fastvideo/models/dits/sound.py"
CONFIG = "fastvideo/configs/models/dits/sound.py"
RULE = r'r"^blocks\.(\d+)\.attn\.to_q\.(.*)$": r"blocks.\1.to_q.\2",'
PROVEN = "2 of 2 keys proven against official:SoundTransformer"


@pytest.fixture
def worker(tmp_path: Path) -> CannedWorker:
    return CannedWorker(tmp_path / "interpreter")


@pytest.fixture
def sound(tree: Path) -> Path:
    """The tree, with an official counterpart of the sound port and the findings that names give."""
    (tree / "ditproof.toml").write_text(
        'select = ["DIT00", "DIT609", "DIT701", "DIT702", "DIT703", "DIT907"]\n'
        '[oracles]\nSoundTransformer3DModel = "official:SoundTransformer"\n'
    )
    return tree


def trusted(worker: CannedWorker, **more: Any) -> dict[str, Any]:
    return {"trusted": True, "python": str(worker.python), **more}


def with_target(text: str, target: str) -> str:
    assert r"blocks.\1.to_q.\2" in text
    return text.replace(r"blocks.\1.to_q.\2", target)


def save(editor: Editor, path: str, text: str) -> None:
    (editor.root / path).write_text(text)
    editor.client.text_document_did_save(
        types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(editor.uri(path)))
    )


# ---------------------------------------------------------------------- measuring


async def test_an_opened_config_is_proven_and_its_rules_counted(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        assert await until_lens(editor, CONFIG, "keys proven") == PROVEN
        assert await labels(editor, CONFIG) == ["→ 2 keys"]
        (hint,) = await hints(editor, CONFIG)
        line = editor.text(CONFIG).split("\n")[hint.position.line]
        assert hint.position.character == len(line), "it stands behind the comma"
        assert worker.requests[0]["port"]["class"] == "SoundTransformer3DModel"
        assert worker.requests[0]["official"]["ref"] == "official:SoundTransformer"


async def test_the_class_has_the_verdict_too(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        assert await until_lens(editor, PORT, "keys proven") == PROVEN


async def test_nothing_runs_in_an_untrusted_workspace_until_it_is_trusted(
    sound: Path, worker: CannedWorker
) -> None:
    async with editor_at(sound, settings={"python": str(worker.python)}) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        await until_lens(editor, CONFIG, "the workspace is not trusted")
        with pytest.raises(JsonRpcException, match="trust the workspace"):
            await editor.command("ditproof.weights", {"uri": editor.uri(CONFIG), "line": None})
        await asyncio.sleep(0.5)
        assert worker.requests == []
        editor.settings["trusted"] = True
        editor.client.protocol.notify("ditproof/trustChanged", {"trusted": True})
        await until_lens(editor, CONFIG, PROVEN)


async def test_typing_measures_nothing_and_a_save_measures_once(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        text = with_target(editor.text(CONFIG), r"blocks.\1.to_k.\2")
        for end in range(5):
            editor.change(CONFIG, text + "#" * end)
        await asyncio.sleep(0.6)
        assert len(worker.requests) == 1
        editor.change(CONFIG, text)
        save(editor, CONFIG, text)
        await until_lens(editor, CONFIG, "broken")
        for _ in range(100):
            if len(worker.requests) > 1:
                break
            await asyncio.sleep(0.05)
        assert len(worker.requests) == 2


async def test_the_same_contents_are_not_measured_again(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        save(editor, CONFIG, editor.text(CONFIG))
        editor.open(PORT)
        await until_lens(editor, PORT, PROVEN)
        await asyncio.sleep(0.6)
        assert len(worker.requests) == 1


async def test_a_file_of_the_import_closure_makes_the_names_old(sound: Path, worker: CannedWorker) -> None:
    layer = "fastvideo/layers/linear.py"
    worker.answers(files=(str(sound / layer), str(sound / PORT)))
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        worker.answers(blocks=3, files=(str(sound / layer),))
        editor.saved_outside(layer, editor.text(layer) + "\n# another layer\n")
        await until_lens(editor, CONFIG, "3 of 3 keys proven")


async def test_another_release_of_the_official_package_is_measured_by_another_worker(
    sound: Path, worker: CannedWorker, tmp_path: Path
) -> None:
    installed = tmp_path / "site-packages"
    module = installed / "official" / "models" / "sound.py"
    module.parent.mkdir(parents=True)
    for file in (module, module.parent / "__init__.py", installed / "official" / "__init__.py"):
        file.touch()
    release = installed / "Official-1.0.dist-info"
    release.mkdir()
    worker.answers(official_file=module)
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        save(editor, CONFIG, editor.text(CONFIG))
        await asyncio.sleep(0.6)
        assert (len(worker.requests), worker.starts) == (1, 1)
        release.rename(installed / "Official-2.0.dist-info")
        worker.answers(blocks=3, official_file=module)
        save(editor, CONFIG, editor.text(CONFIG))
        await until_lens(editor, CONFIG, "3 of 3 keys proven")
        assert (len(worker.requests), worker.starts) == (2, 2)


async def test_a_newer_save_replaces_what_it_makes_wrong(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        worker.hold(True)
        editor.open(PORT)
        await until_lens(editor, PORT, "measuring weights")
        text = editor.text(PORT) + "\n# more\n"
        editor.change(PORT, text)
        save(editor, PORT, text)
        for _ in range(200):
            if len(worker.requests) > 1:
                break
            await asyncio.sleep(0.05)
        worker.hold(False)
        await until_lens(editor, PORT, PROVEN)
        assert len(worker.requests) == 2


async def test_a_save_while_a_report_is_asked_for_does_not_take_it_away(
    sound: Path, worker: CannedWorker
) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await until_lens(editor, PORT, PROVEN)
        worker.hold(True)
        asked = asyncio.create_task(
            editor.command("ditproof.weights", {"uri": editor.uri(PORT), "line": None})
        )
        await until_lens(editor, PORT, "measuring again")
        text = editor.text(PORT) + "\n# more\n"
        editor.change(PORT, text)
        save(editor, PORT, text)
        for _ in range(200):
            if len(worker.requests) > 2:
                break
            await asyncio.sleep(0.05)
        worker.hold(False)
        (report,) = (await asked)["reports"]
        assert report["verdict"] == "proven"


async def test_measuring_on_save_can_be_turned_off_and_asked_for(sound: Path, worker: CannedWorker) -> None:
    settings = trusted(worker, weights={"onSave": False})
    async with editor_at(sound, settings=settings) as editor:
        editor.open(CONFIG)
        await editor.indexed()
        await until_lens(editor, CONFIG, "measuring on save is off")
        assert worker.requests == []
        answer = await editor.command("ditproof.weights", {"uri": editor.uri(CONFIG), "line": None})
        assert [(r["port"], r["verdict"]) for r in answer["reports"]] == [
            ("SoundTransformer3DModel", "proven")
        ]
        assert "SoundTransformer3DModel" in answer["text"]
        assert "proven" in answer["text"]
        await until_lens(editor, CONFIG, PROVEN)


async def test_a_run_is_shown_and_cancelled(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        worker.hold(True)
        editor.open(CONFIG)
        await editor.until(
            lambda: any(s["message"] == "importing torch" for s in editor.status), "no progress is told"
        )
        run = editor.status[-1]["run"]
        assert run["short"] == "weights"
        assert await editor.command("ditproof.cancel", run["id"]) == 1
        await editor.until(lambda: editor.status[-1]["run"] is None, "still shown as running")
        await until_lens(editor, CONFIG, "cancelled")


# ---------------------------------------------------------------------- failures


async def test_an_official_model_that_is_not_there_is_said_once(sound: Path, worker: CannedWorker) -> None:
    worker.answers(problems=(problem("official", "No module named 'official'", missing="official"),))
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await until_lens(editor, PORT, "no module 'official'")
        found = await editor.diagnostics(PORT, lambda found: [d for d in found if d.code == "DIT907"])
        (told,) = [d for d in found if d.code == "DIT907"]
        assert told.severity is types.DiagnosticSeverity.Information
        assert "No module named 'official'" in told.message
        assert editor.client.messages == [], "a failure in the background opens no window"


async def test_a_port_that_cannot_be_built_is_marked_at_its_line(sound: Path, worker: CannedWorker) -> None:
    where = {"path": str(sound / PORT), "line": 24, "type": "NameError", "stage": "build"}
    worker.answers(problems=(problem("port", "name 'x' is not defined", **where),))
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        found = await editor.diagnostics(PORT, lambda found: [d for d in found if d.code == "DIT907"])
        (told,) = [d for d in found if d.code == "DIT907"]
        assert (told.range.start.line, told.severity) == (24, types.DiagnosticSeverity.Warning)
        assert "NameError" in told.message
        worker.answers()
        text = editor.text(PORT) + "\n# mended\n"
        editor.change(PORT, text)
        save(editor, PORT, text)
        await until_lens(editor, PORT, PROVEN)
        await editor.diagnostics(PORT, lambda found: not [d for d in found if d.code == "DIT907"])


async def test_what_the_environment_lacks_is_no_finding_of_every_port(
    sound: Path, worker: CannedWorker
) -> None:
    lacks = {"missing": "torch", "next_step": "Install torch."}
    worker.answers(built=False, problems=(problem("code base", "No module named 'torch'", **lacks),))
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        shown = await until_lens(editor, PORT, "no module 'torch'")
        assert shown == "weights not proven: no module 'torch' for the code base"
        assert not [d for d in await editor.diagnostics(PORT) if d.code == "DIT907"]
        with pytest.raises(JsonRpcException, match="torch"):
            await editor.command("ditproof.weights", {"uri": editor.uri(PORT), "line": None})


async def test_names_outlive_a_port_that_does_not_build_any_more(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await until_lens(editor, PORT, PROVEN)
        worker.answers(problems=(problem("port", "name 'x' is not defined", stage="build"),))
        text = editor.text(PORT) + "\n# worse\n"
        editor.change(PORT, text)
        save(editor, PORT, text)
        shown = await until_lens(editor, PORT, "names from before")
        assert shown.startswith(PROVEN)


async def test_an_interpreter_that_is_not_there_is_said_by_the_lens(sound: Path) -> None:
    settings = {"trusted": True, "python": str(sound / "nowhere" / "python")}
    async with editor_at(sound, settings=settings) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, "does not exist")


async def test_what_does_not_parse_is_not_measured(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await until_lens(editor, PORT, PROVEN)
        text = editor.text(PORT) + "\ndef broken(:\n"
        editor.change(PORT, text)
        save(editor, PORT, text)
        await until_lens(editor, PORT, "names from before the edits")
        assert len(worker.requests) == 1


async def test_unsaved_edits_of_the_model_make_the_names_old_and_those_of_the_mapping_do_not(
    sound: Path, worker: CannedWorker
) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        editor.open(PORT)
        await until_lens(editor, CONFIG, PROVEN)
        text = editor.text(CONFIG)
        editor.change(CONFIG, with_target(text, r"blocks.\1.to_k.\2"))
        assert "before" not in await until_lens(editor, CONFIG, "broken")
        editor.change(CONFIG, text)
        editor.change(PORT, editor.text(PORT).replace("self.to_q", "self.to_query"))
        await until_lens(editor, CONFIG, "names from before the edits")


# ---------------------------------------------------------------------- while it is typed


async def test_hints_and_findings_follow_what_is_typed(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        text = editor.text(CONFIG)
        editor.change(CONFIG, with_target(text, r"blocks.\1.to_k.\2"))
        assert await labels(editor, CONFIG) == ["→ 2 keys, all wrong"]
        found = await editor.diagnostics(CONFIG, lambda found: found)
        rule = next(n for n, line in enumerate(text.split("\n")) if "to_q" in line)
        assert {d.range.start.line for d in found} == {rule}
        assert (await until_lens(editor, CONFIG, "broken")).startswith(
            "weights broken: 2 keys have no place, 2 parameters stay empty (against"
        )
        editor.change(CONFIG, text)
        assert await labels(editor, CONFIG) == ["→ 2 keys"]
        await editor.diagnostics(CONFIG, lambda found: not found)


async def test_hints_keep_their_lines_while_a_rule_is_half_typed(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        assert await labels(editor, CONFIG) == ["→ 2 keys"]
        half = editor.text(CONFIG).replace(RULE, 'r"^new\n            ' + RULE)
        editor.change(CONFIG, half)
        (hint,) = await hints(editor, CONFIG)
        assert RULE in half.split("\n")[hint.position.line]


async def test_a_rule_typed_above_another_takes_its_hint_no_longer_than_it_parses(
    sound: Path, worker: CannedWorker
) -> None:
    """Two texts one below the other are one pattern, until the upper one has a colon."""
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        text = editor.text(CONFIG)
        assert await labels(editor, CONFIG) == ["→ 2 keys"]
        for typed in ("", 'r"^new"', 'r"^new."'):
            editor.change(CONFIG, text.replace(RULE, f"{typed}\n            {RULE}", 1))
            assert await labels(editor, CONFIG) == (["dead"] if "new" in typed else ["→ 2 keys"])
        half = text.replace(RULE, f'r"^new.": r"fresh"\n            {RULE}')
        editor.change(CONFIG, half)
        (hint,) = await hints(editor, CONFIG)
        assert (hint.label, RULE in half.split("\n")[hint.position.line]) == ("→ 2 keys", True)


async def test_a_failure_elsewhere_brings_no_other_findings_of_that_file(
    sound: Path, worker: CannedWorker
) -> None:
    """Of a file that is not open only that is told for which nobody else would tell it."""
    (sound / "ditproof.toml").write_text('[oracles]\nSoundTransformer3DModel = "official:Sound"\n')
    port = sound / PORT
    port.write_text(port.read_text() + "\n\nprint(SoundTransformer3DModel)\n")
    worker.answers(problems=(problem("official", "No module named 'official'", missing="official"),))
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        found = await editor.diagnostics(PORT, lambda found: [d for d in found if d.code == "DIT907"])
        assert {d.code for d in found} == {"DIT907"}
        editor.open(PORT)
        await editor.diagnostics(PORT, lambda found: [d for d in found if d.code == "DIT409"])


async def test_what_a_mapping_leaves_empty_in_a_model_that_is_not_open_is_told(
    sound: Path, worker: CannedWorker
) -> None:
    """Whoever deletes a rule looks at the config; what then stays empty stands in the model."""
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        text = editor.text(CONFIG)
        editor.change(CONFIG, "\n".join(line for line in text.split("\n") if "to_q" not in line))
        (told,) = await editor.diagnostics(PORT, lambda found: found)
        assert told.code == "DIT609"
        assert "to_q" in editor.text(PORT).split("\n")[told.range.start.line]
        editor.change(CONFIG, text)
        await editor.diagnostics(PORT, lambda found: not found)


async def test_a_rule_tells_its_keys_on_hover_and_at_its_hint(sound: Path, worker: CannedWorker) -> None:
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        lines = editor.text(CONFIG).split("\n")
        line = next(n for n, text in enumerate(lines) if "to_q" in text)
        place = types.Position(line, lines[line].index("attn"))
        hover = await editor.client.text_document_hover_async(
            types.HoverParams(types.TextDocumentIdentifier(editor.uri(CONFIG)), place)
        )
        assert hover is not None
        card = hover.contents.value  # type: ignore[union-attr]
        assert "blocks.{0,1}.attn.to_q.weight  [64, 64]  ×2" in card
        assert "→ blocks.{0,1}.to_q.weight  [64, 64]" in card
        (hint,) = await hints(editor, CONFIG)
        resolved = await editor.client.inlay_hint_resolve_async(hint)
        assert resolved.tooltip is not None
        assert resolved.tooltip.value in card  # type: ignore[union-attr]


async def test_a_fix_that_needs_the_names_is_verified_with_them(sound: Path, worker: CannedWorker) -> None:
    """The edit worker has no worker of its own that measures: it is told what was measured here."""
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(CONFIG)
        await until_lens(editor, CONFIG, PROVEN)
        text = editor.text(CONFIG)
        editor.open(PORT)
        editor.change(CONFIG, "\n".join(line for line in text.split("\n") if "to_q" not in line))
        found = await editor.diagnostics(PORT, lambda found: [d for d in found if d.code == "DIT609"])
        (told,) = [d for d in found if d.code == "DIT609"]
        (fix,) = [a for a in await editor.actions(PORT, told) if "Suppress" not in a.title]
        resolved = await editor.client.code_action_resolve_async(fix)
        assert resolved.edit is not None
        (change,) = resolved.edit.document_changes or ()
        assert isinstance(change, types.TextDocumentEdit)
        assert change.text_document.uri == editor.uri(CONFIG)
        assert "to_q" in "".join(edit.new_text for edit in change.edits)
