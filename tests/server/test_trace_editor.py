"""Traces beside the editor: made after a save, shown as lens, hover, findings and on request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from canned_tracer import CannedTracer
from lsp_editor import Editor, capabilities, editor_at
from lsprotocol import types
from pygls.exceptions import JsonRpcException

pytestmark = pytest.mark.asyncio

PORT = "fastvideo/models/dits/sound.py"
CONFIG = "fastvideo/configs/models/dits/sound.py"
RECIPE = ".ditproof/recipes/SoundTransformer3DModel.py"
KEY = f"{PORT}::SoundTransformer3DModel"
AGREES = "agrees with official:SoundTransformer in fp32"
DIFFERS = "differs at blocks.0.to_q"
CLASS_LENSES = ("ditproof.trace", "ditproof.writeRecipe")


@pytest.fixture
def worker(tmp_path: Path) -> CannedTracer:
    return CannedTracer(tmp_path / "interpreter")


@pytest.fixture
def sound(tree: Path) -> Path:
    """The tree, with an official counterpart of the sound port and no recipe."""
    (tree / "ditproof.toml").write_text(
        'select = ["DIT00", "DIT90"]\n[oracles]\nSoundTransformer3DModel = "official:SoundTransformer"\n'
    )
    return tree


@pytest.fixture
def traced(sound: Path) -> Path:
    """The same tree with a recipe of its own."""
    (sound / RECIPE).parent.mkdir(parents=True)
    (sound / RECIPE).write_text('PORT = "SoundTransformer3DModel"\n\n\ndef inputs(case):\n    return {}\n')
    return sound


def trusted(worker: CannedTracer, **more: Any) -> dict[str, Any]:
    return {"trusted": True, "python": str(worker.python), **more}


def save(editor: Editor, path: str, text: str) -> None:
    """As an editor does: the text is in the document already."""
    editor.change(path, text)
    (editor.root / path).write_text(text)
    editor.client.text_document_did_save(
        types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(editor.uri(path)))
    )


def wrong(text: str) -> str:
    seeded = text.replace("ReplicatedLinear(dim, dim)", "ReplicatedLinear(dim, dim, bias=False)")
    assert seeded != text
    return seeded


async def lenses(editor: Editor, path: str = PORT) -> list[types.Command]:
    found = await editor.client.text_document_code_lens_async(
        types.CodeLensParams(types.TextDocumentIdentifier(editor.uri(path)))
    )
    commands = [lens.command for lens in found or () if lens.command is not None]
    return [command for command in commands if command.command in CLASS_LENSES]


async def until_lens(editor: Editor, text: str, path: str = PORT) -> types.Command:
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        shown = await lenses(editor, path)
        for command in shown:
            if text in command.title:
                return command
        titles = [command.title for command in shown]
        assert asyncio.get_running_loop().time() < deadline, f"no lens '{text}', but {titles}"
        await asyncio.sleep(0.05)


async def hover(editor: Editor, path: str, line: int, character: int) -> str:
    found = await editor.client.text_document_hover_async(
        types.HoverParams(types.TextDocumentIdentifier(editor.uri(path)), types.Position(line, character))
    )
    assert found is not None
    assert isinstance(found.contents, types.MarkupContent)
    return found.contents.value


def codes(found: list[types.Diagnostic]) -> list[str]:
    return [str(item.code) for item in found]


# ---------------------------------------------------------------------- after a save


async def test_a_save_underlines_the_line_that_differs_and_taking_it_back_clears_it(
    traced: Path, worker: CannedTracer
) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        await until_lens(editor, "not traced yet: trace it")
        clean = editor.text(PORT)
        save(editor, PORT, wrong(clean))
        (found,) = await editor.diagnostics(PORT, lambda told: "DIT903" in codes(told))
        line = wrong(clean).split("\n").index("        self.to_q = ReplicatedLinear(dim, dim, bias=False)")
        assert (found.code, found.range.start.line, found.severity) == (
            "DIT903",
            line,
            types.DiagnosticSeverity.Error,
        )
        assert found.range.start.character == 8, "the statement, without its indentation"
        related = [item.location.uri for item in found.related_information or ()]
        assert related == ["file:///site-packages/official.py"]
        assert (await until_lens(editor, DIFFERS)).command == "ditproof.trace"

        save(editor, PORT, clean)
        await editor.diagnostics(PORT, lambda told: "DIT903" not in codes(told))
        assert AGREES in (await until_lens(editor, "agrees")).title
        assert worker.kinds.count("tiny") == 2


async def test_an_edit_makes_the_result_stale_until_it_is_saved(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        clean = editor.text(PORT)
        save(editor, PORT, wrong(clean))
        (before,) = await editor.diagnostics(PORT, lambda told: "DIT903" in codes(told))
        editor.change(PORT, "# one more line\n" + wrong(clean))
        (stale,) = await editor.diagnostics(
            PORT, lambda told: told and told[0].message.startswith("[stale: sound.py has changed")
        )
        assert stale.range.start.line == before.range.start.line + 1, "it moves with its line"
        await until_lens(editor, f"{DIFFERS} (before the edits)")
        answer = await editor.request("ditproof/trace", {"port": KEY})
        assert answer["traces"][0]["stale"] is True
        editor.change(PORT, wrong(clean))
        await editor.diagnostics(PORT, lambda told: told and not told[0].message.startswith("[stale"))


async def test_opening_and_typing_trace_nothing(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        editor.change(PORT, wrong(editor.text(PORT)))
        await asyncio.sleep(1.0)
        assert "tiny" not in worker.kinds


async def test_the_names_of_a_save_are_measured_first(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        worker.hold(True)
        save(editor, PORT, wrong(editor.text(PORT)))
        for _ in range(200):
            if worker.kinds:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.6)
        assert "tiny" not in worker.kinds
        worker.hold(False)
        await until_lens(editor, DIFFERS)
        assert worker.kinds[0] == "state"
        assert worker.kinds[-1] == "tiny"


async def test_a_newer_save_replaces_the_trace_that_it_makes_wrong(
    traced: Path, worker: CannedTracer
) -> None:
    async with editor_at(traced, settings=trusted(worker, weights={"onSave": False})) as editor:
        editor.open(PORT)
        await editor.indexed()
        clean = editor.text(PORT)
        worker.hold(True)
        save(editor, PORT, wrong(clean))
        await until_lens(editor, "tracing …")
        save(editor, PORT, clean + "\n# more\n")
        for _ in range(200):
            if len(worker.requests) > 1:
                break
            await asyncio.sleep(0.05)
        worker.hold(False)
        await until_lens(editor, AGREES)
        assert worker.kinds == ["tiny", "tiny"]


async def test_the_same_contents_are_not_traced_again(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        clean = editor.text(PORT)
        save(editor, PORT, clean + "\n")
        await until_lens(editor, AGREES)
        save(editor, PORT, wrong(clean))
        await until_lens(editor, DIFFERS)
        save(editor, PORT, clean + "\n")
        await until_lens(editor, AGREES)
        assert worker.kinds.count("tiny") == 2
        await editor.command("ditproof.trace", {"port": KEY, "again": True})
        assert worker.kinds.count("tiny") == 3


async def test_a_saved_layer_makes_its_ports_be_traced_again(traced: Path, worker: CannedTracer) -> None:
    layer = "fastvideo/layers/linear.py"
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        save(editor, PORT, editor.text(PORT) + "\n")
        await until_lens(editor, AGREES)
        editor.saved_outside(layer, editor.text(layer) + "\n# another layer\n")
        for _ in range(200):
            if worker.kinds.count("tiny") == 2:
                break
            await asyncio.sleep(0.05)
        assert worker.kinds.count("tiny") == 2


async def test_what_does_not_parse_is_not_traced(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        clean = editor.text(PORT)
        save(editor, PORT, wrong(clean))
        await until_lens(editor, DIFFERS)
        save(editor, PORT, clean + "\ndef broken(:\n")
        await until_lens(editor, f"{DIFFERS} (before the edits)")
        await asyncio.sleep(0.6)
        assert worker.kinds.count("tiny") == 1


async def test_a_forward_that_raises_is_told_at_its_line(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        text = editor.text(PORT).replace("        return x + query", "        raise ValueError")
        save(editor, PORT, text)
        (found,) = await editor.diagnostics(PORT, lambda told: "DIT907" in codes(told))
        assert found.range.start.line == text.split("\n").index("        raise ValueError")
        assert "too late" in found.message
        await until_lens(editor, "not traced: the port raises ValueError: too late")


async def test_nothing_is_traced_where_it_is_turned_off_or_not_trusted(
    traced: Path, worker: CannedTracer
) -> None:
    async with editor_at(traced, settings=trusted(worker, trace={"onSave": False})) as editor:
        editor.open(PORT)
        await editor.indexed()
        await until_lens(editor, "not traced yet: tracing on save is off")
        save(editor, PORT, wrong(editor.text(PORT)))
        await asyncio.sleep(1.0)
        assert "tiny" not in worker.kinds
        editor.settings["trusted"] = False
        editor.client.protocol.notify("ditproof/trustChanged", {"trusted": False})
        await until_lens(editor, "not traced yet: the workspace is not trusted")
        with pytest.raises(JsonRpcException, match="trust the workspace"):
            await editor.command("ditproof.trace", {"uri": editor.uri(PORT), "line": None})
        assert "tiny" not in worker.kinds


async def test_a_run_is_cancelled(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker, weights={"onSave": False})) as editor:
        editor.open(PORT)
        await editor.indexed()
        worker.hold(True)
        save(editor, PORT, wrong(editor.text(PORT)))
        told = await editor.until(
            lambda: next((s for s in editor.status if s["message"] == "building the port"), None), "no stage"
        )
        assert told["run"]["title"] == "trace of SoundTransformer3DModel"
        assert await editor.command("ditproof.cancel", {"id": told["run"]["id"]}) == 1
        await until_lens(editor, "not traced: cancelled")


# ---------------------------------------------------------------------- asked for


async def test_the_command_and_the_request_carry_the_json_of_the_command_line(
    traced: Path, worker: CannedTracer
) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        (unknown,) = (await editor.request("ditproof/trace", {"uri": editor.uri(PORT)}))["traces"]
        assert (unknown["port"], unknown["trace"], unknown["stale"]) == (KEY, None, False)
        (editor.root / PORT).write_text(wrong(editor.text(PORT)))
        answer = await editor.command(
            "ditproof.trace", {"uri": editor.uri(PORT), "class": "SoundTransformer3DModel"}
        )
        (told,) = answer["traces"]
        assert answer["root"] == str(traced)
        trace = told["trace"]
        assert (trace["status"], trace["first"]["native"]["module"]) == ("failed", "blocks.0.to_q")
        assert trace["first"]["native"]["path"] == PORT
        place = next(row["place"] for row in trace["drift"] if row["module"] == "blocks.0.to_q")
        assert place == {"path": PORT, "line": trace["first"]["native"]["line"]}
        known = (await editor.request("ditproof/trace", {"port": KEY}))["traces"][0]["trace"]
        # The answer did not wait for the search for causes.
        assert {**known, "seconds": 0, "parts": {}} == {**trace, "seconds": 0, "parts": {}}


async def test_hovers_tell_the_numbers_and_the_verdict(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        save(editor, PORT, wrong(editor.text(PORT)))
        (found,) = await editor.diagnostics(PORT, lambda told: "DIT903" in codes(told))
        card = await hover(editor, PORT, found.range.start.line, 10)
        for words in (
            "`blocks.0.to_q` **computes something else than** `official:SoundTransformer`",
            f"[sound.py:{found.range.start.line + 1}]({editor.uri(PORT)}#L{found.range.start.line + 1})",
            "float32 [2, 4]",
            "Error 2.5e-01 of the official norm, rounding alone makes 1.0e-07: 2.5e+06 times as much.",
            "DIT903",
        ):
            assert words in card
        line = next(n for n, text in enumerate(editor.text(PORT).split("\n")) if "class SoundTrans" in text)
        card = await hover(editor, PORT, line, 8)
        assert "**Port** `SoundTransformer3DModel`" in card
        assert f"**Trace** {DIFFERS}." in card


# ---------------------------------------------------------------------- causes

CAUSE = "`1e-05` has to be `1e-6`"


def with_eps(text: str) -> str:
    seeded = text.replace("ReplicatedLinear(dim, dim)", "ReplicatedLinear(dim, dim, eps=1e-05)")
    assert seeded != text
    return seeded


async def test_a_cause_that_a_run_has_shown_is_offered_as_a_fix(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        uri = editor.open(PORT)
        await editor.indexed()
        clean = editor.text(PORT)
        wrong_text = with_eps(clean)
        worker.hold_trials(True)
        save(editor, PORT, wrong_text)
        (before,) = await editor.diagnostics(PORT, lambda told: "DIT903" in codes(told))
        assert CAUSE not in before.message, "the verdict does not wait for the cause"
        await until_lens(editor, DIFFERS)
        assert await quick_fixes(editor, before) == []
        worker.hold_trials(False)
        (found,) = await editor.diagnostics(PORT, lambda told: told and CAUSE in told[0].message)
        (fix,) = await quick_fixes(editor, found)
        assert fix.is_preferred is None, "nobody knows what else it changes"
        assert fix.title.startswith("Mend the eps, as tried:")
        assert [item.code for item in fix.diagnostics or ()] == ["DIT903"]
        resolved = await editor.client.code_action_resolve_async(fix)
        assert resolved.edit is not None
        (change,) = resolved.edit.document_changes or ()
        assert isinstance(change, types.TextDocumentEdit)
        (edit,) = change.edits
        assert change.text_document.uri == uri
        place, line = edit.range, wrong_text.split("\n")[edit.range.start.line]  # type: ignore[union-attr]
        mended = line[: place.start.character] + edit.new_text + line[place.end.character :]  # type: ignore[union-attr]
        assert (place.start.line, mended.strip()) == (
            found.range.start.line,
            "self.to_q = ReplicatedLinear(dim, dim, eps=1e-6)",
        )
        whole = types.Range(types.Position(0, 0), types.Position(len(wrong_text.split("\n")), 0))
        assert await editor.actions(PORT, whole, only=["source.fixAll.ditproof"]) == []
        assert worker.trials >= 1
        editor.change(PORT, f"# one more line\n{wrong_text}")
        (stale,) = await editor.diagnostics(PORT, lambda told: told and told[0].message.startswith("[stale"))
        (moved,) = await quick_fixes(editor, stale)
        assert moved.title == fix.title
        editor.change(PORT, wrong_text.replace("eps=1e-05", "eps=1e-04"))
        await editor.diagnostics(PORT, lambda told: not told)
        assert await quick_fixes(editor, found) == [], "the line that was tried is gone"


async def quick_fixes(editor: Editor, found: types.Diagnostic) -> list[types.CodeAction]:
    return [action for action in await editor.actions(PORT, found) if action.title.startswith("Mend the")]


async def test_whoever_asks_gets_the_verdict_without_waiting_for_causes(
    traced: Path, worker: CannedTracer
) -> None:
    async with editor_at(traced, settings=trusted(worker, weights={"onSave": False})) as editor:
        editor.open(PORT)
        await editor.indexed()
        (editor.root / PORT).write_text(with_eps(editor.text(PORT)))
        worker.hold_trials(True)
        (told,) = (await editor.command("ditproof.trace", {"port": KEY}))["traces"]
        assert (told["running"], told["trace"]["first"]["hypothesis"]) == (False, None)
        await editor.until(lambda: worker.trials, "no edit was tried")
        worker.hold_trials(False)
        for _ in range(200):
            (told,) = (await editor.request("ditproof/trace", {"port": KEY}))["traces"]
            if told["trace"]["first"]["hypothesis"] is not None:
                break
            await asyncio.sleep(0.05)
        assert told["trace"]["first"]["hypothesis"]["cause"] == "eps"


async def test_a_save_ends_the_search_for_causes(traced: Path, worker: CannedTracer) -> None:
    async with editor_at(traced, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        clean = editor.text(PORT)
        worker.hold_trials(True)
        save(editor, PORT, with_eps(clean))
        await until_lens(editor, DIFFERS)
        await editor.until(lambda: worker.trials, "no edit was tried")
        save(editor, PORT, clean)
        await until_lens(editor, AGREES)
        tried = worker.trials
        # The same contents as before: their verdict is known, its causes are not.
        save(editor, PORT, with_eps(clean))
        await until_lens(editor, DIFFERS)
        await editor.until(lambda: worker.trials > tried, "causes were not looked for again")
        worker.hold_trials(False)
        await editor.diagnostics(PORT, lambda told: told and CAUSE in told[0].message)


async def test_a_search_for_causes_is_cancelled_and_the_verdict_stands(
    traced: Path, worker: CannedTracer
) -> None:
    async with editor_at(traced, settings=trusted(worker, weights={"onSave": False})) as editor:
        editor.open(PORT)
        await editor.indexed()
        worker.hold_trials(True)
        save(editor, PORT, with_eps(editor.text(PORT)))
        told = await editor.until(
            lambda: next((s for s in editor.status if s["message"].startswith("trying eps")), None),
            "no trial",
        )
        assert await editor.command("ditproof.cancel", {"id": told["run"]["id"]}) == 1
        await editor.until(lambda: editor.status[-1]["run"] is None, "the run has not ended")
        assert (await until_lens(editor, DIFFERS)).title.startswith(DIFFERS)
        (known,) = (await editor.request("ditproof/trace", {"port": KEY}))["traces"]
        assert (known["running"], known["trouble"], known["stale"]) == (False, None, False)


# ---------------------------------------------------------------------- recipes


async def test_a_port_without_a_recipe_is_offered_one(sound: Path, worker: CannedTracer) -> None:
    (sound / "official_sound.py").write_text(
        "class SoundTransformer:\n"
        "    def __init__(self, in_channels: int = 4, text_dim: int = 8): ...\n"
        "    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, timestep: Tensor): ...\n"
    )
    (sound / "ditproof.toml").write_text(
        'select = ["DIT00"]\n[oracles]\nSoundTransformer3DModel = "official_sound.py::SoundTransformer"\n'
    )
    able = capabilities()
    assert able.workspace is not None
    able.workspace.apply_edit = True
    assert able.workspace.workspace_edit is not None
    able.workspace.workspace_edit.resource_operations = [types.ResourceOperationKind.Create]
    able.window = types.WindowClientCapabilities(
        work_done_progress=True, show_document=types.ShowDocumentClientCapabilities(support=True)
    )
    async with editor_at(sound, settings=trusted(worker), able=able) as editor:
        for answered in (types.WORKSPACE_APPLY_EDIT, types.WINDOW_SHOW_DOCUMENT):
            editor.client.protocol.fm.features.pop(answered, None)
        edits: list[types.ApplyWorkspaceEditParams] = []
        shown: list[str] = []

        @editor.client.feature(types.WORKSPACE_APPLY_EDIT)
        def apply(params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
            edits.append(params)
            return types.ApplyWorkspaceEditResult(applied=True)

        @editor.client.feature(types.WINDOW_SHOW_DOCUMENT)
        def show(params: types.ShowDocumentParams) -> types.ShowDocumentResult:
            shown.append(params.uri)
            return types.ShowDocumentResult(success=True)

        editor.open(PORT)
        await editor.indexed()
        lens = await until_lens(editor, "no recipe for a trace: write one")
        line = next(n for n, text in enumerate(editor.text(PORT).split("\n")) if "class SoundTrans" in text)
        place = types.Range(types.Position(line, 8), types.Position(line, 8))
        offered = {a.title: a for a in await editor.actions(PORT, place) if a.command is not None}
        assert set(offered) == {
            "Write a recipe for SoundTransformer3DModel",
            "Hand over SoundTransformer3DModel",
        }
        action = offered["Write a recipe for SoundTransformer3DModel"]
        assert action.command is not None
        assert (action.command.command, action.command.arguments) == (lens.command, lens.arguments)

        answer = await editor.command(lens.command, *(lens.arguments or ()))
        assert answer["path"] == RECIPE
        assert shown == [editor.uri(RECIPE)]
        create, insert = edits[0].edit.document_changes or ()
        assert isinstance(create, types.CreateFile)
        assert create.uri == editor.uri(RECIPE)
        assert isinstance(insert, types.TextDocumentEdit)
        assert 'PORT = "SoundTransformer3DModel"' in insert.edits[0].new_text  # type: ignore[union-attr]
        assert "def inputs(case):" in insert.edits[0].new_text  # type: ignore[union-attr]

        editor.saved_outside(RECIPE, insert.edits[0].new_text)  # type: ignore[union-attr]
        assert (await until_lens(editor, "")).command == "ditproof.trace"
        with pytest.raises(JsonRpcException, match="there is a recipe"):
            await editor.command("ditproof.writeRecipe", {"port": KEY})


async def test_a_client_that_creates_no_files_finds_it_on_the_disk(sound: Path, worker: CannedTracer) -> None:
    (sound / "official_sound.py").write_text(
        "class SoundTransformer:\n    def forward(self, timestep: Tensor): ...\n"
    )
    (sound / "ditproof.toml").write_text(
        'select = ["DIT00"]\n[oracles]\nSoundTransformer3DModel = "official_sound.py::SoundTransformer"\n'
    )
    async with editor_at(sound, settings=trusted(worker)) as editor:
        editor.open(PORT)
        await editor.indexed()
        answer = await editor.command("ditproof.writeRecipe", {"port": KEY})
        assert answer["path"] == RECIPE
        assert 'PORT = "SoundTransformer3DModel"' in editor.text(RECIPE)


# ---------------------------------------------------------------------- the real thing

WAN = "fastvideo/models/dits/wanvideo.py"


async def test_a_wrong_eps_of_the_real_wan_is_found_at_its_line(workspace: Path, project_python: str) -> None:
    settings = {"trusted": True, "python": project_python, "weights": {"onSave": False}}
    async with editor_at(workspace, settings=settings) as editor:
        editor.open(WAN)
        await editor.indexed()
        clean = editor.text(WAN)
        right = "self.norm_q = RMSNorm(dim, eps=eps)"
        line = next(n for n, text in enumerate(clean.split("\n")) if right in text)
        save(editor, WAN, clean.replace(right, "self.norm_q = RMSNorm(dim, eps=10 * eps)", 1))
        answer = await editor.command("ditproof.trace", {"uri": editor.uri(WAN), "line": None})
        assert answer["traces"][0]["trace"]["first"]["native"]["line"] == line + 1
        found = await editor.diagnostics(WAN, lambda told: "DIT903" in codes(told))
        assert [item.range.start.line for item in found if item.code == "DIT903"] == [line]
        save(editor, WAN, clean)
        await editor.diagnostics(WAN, lambda told: "DIT903" not in codes(told))
        shown = await until_lens(editor, "agrees with diffusers:WanTransformer3DModel in fp32", WAN)
        assert "taps, all exact)" in shown.title
