"""Parity runs from the editor: verdicts, refusal, progress, cancellation, staleness."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from lsp_editor import Editor, editor_at
from lsprotocol import types
from pygls.exceptions import JsonRpcException

pytestmark = pytest.mark.asyncio

TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
SOUND = "fastvideo/models/dits/sound.py"
TRUSTED = {"trusted": True, "python": sys.executable}
NAMED = "# SoundTransformer3DModel\n"


def write_test(tree: Path, body: str) -> str:
    (tree / TEST).write_text(NAMED + body)
    return NAMED + body


async def parity(editor: Editor, **target: Any) -> Any:
    return await editor.command("ditproof.parity", target)


def of(found: list[types.Diagnostic], code: str) -> list[types.Diagnostic]:
    return [d for d in found if d.code == code]


async def test_an_untrusted_workspace_is_refused(tree: Path) -> None:
    write_test(tree, "def test_sound():\n    open('ran', 'w').close()\n")
    async with editor_at(tree) as editor:
        editor.open(TEST)
        with pytest.raises(JsonRpcException, match="trust the workspace"):
            await parity(editor, uri=editor.uri(TEST), line=1)
        assert not (tree / "ran").exists()
        editor.settings.update(TRUSTED)
        editor.client.protocol.notify("ditproof/trustChanged", {"trusted": True})
        editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=None))
        answer = await parity(editor, uri=editor.uri(TEST), line=1)
        assert answer["status"] == "passed"
        assert (tree / "ran").exists()


async def test_an_answer_of_before_takes_no_trust_away(tree: Path) -> None:
    write_test(tree, "def test_sound():\n    pass\n")
    async with editor_at(tree) as editor:
        editor.open(TEST)
        await editor.indexed()
        held = editor.settings_held = asyncio.Event()
        asked = editor.settings_asked
        editor.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings=None))
        await editor.until(lambda: editor.settings_asked > asked, "the settings are not asked for")
        editor.settings.update(TRUSTED)
        editor.client.protocol.notify("ditproof/trustChanged", {"trusted": True})
        held.set()
        await editor.until(lambda: editor.settings_asked > asked + 1, "the settings are not asked for again")
        answer = await parity(editor, uri=editor.uri(TEST), line=1)
        assert answer["status"] == "passed"


async def test_a_skip_is_told_and_shown(tree: Path) -> None:
    write_test(tree, "import pytest\n\ndef test_sound():\n    pytest.skip('needs CUDA')\n")
    async with editor_at(tree, settings=TRUSTED) as editor:
        editor.open(TEST)
        answer = await parity(editor, uri=editor.uri(TEST), line=4)
        assert (answer["status"], answer["port"]) == ("skipped", "SoundTransformer3DModel")
        assert answer["test"] == f"{TEST}::test_sound"
        assert "needs CUDA" in answer["reason"]
        assert answer["outputs"] == []
        found = await editor.diagnostics(TEST, lambda found: of(found, "DIT902"))
        assert of(found, "DIT902")[0].severity is types.DiagnosticSeverity.Warning
        await editor.until(lambda: editor.verdicts, "no verdict")
        assert editor.verdicts[-1]["uri"] == editor.uri(TEST)
        assert editor.verdicts[-1]["status"] == "skipped"


async def test_a_failure_marks_the_test_and_the_port_until_the_next_run(tree: Path) -> None:
    body = "def test_sound():\n    assert 1 == 2\n"
    write_test(tree, body)
    async with editor_at(tree, settings=TRUSTED) as editor:
        editor.open(SOUND)
        text = editor.open(TEST) and editor.text(TEST)
        answer = await parity(editor, test=f"{TEST}::test_sound")
        assert answer["status"] == "failed"
        found = await editor.diagnostics(TEST, lambda found: of(found, "DIT901"))
        assert of(found, "DIT901")[0].range.start.line == 2
        (on_port,) = of(await editor.diagnostics(SOUND, lambda found: of(found, "DIT901")), "DIT901")
        assert (
            editor.text(SOUND).splitlines()[on_port.range.start.line].startswith("class SoundTransformer3D")
        )
        # An edit above moves the finding with its line, and makes it stale in both files.
        editor.change(TEST, "\n\n" + text)
        found = await editor.diagnostics(
            TEST, lambda found: of(found, "DIT901") and "stale" in found[-1].message
        )
        assert of(found, "DIT901")[0].range.start.line == 4
        await editor.diagnostics(SOUND, lambda found: "stale" in of(found, "DIT901")[0].message)
        # The next run speaks for itself.
        write_test(tree, body.replace("1 == 2", "1 == 1"))
        editor.change(TEST, editor.text(TEST))
        assert (await parity(editor, uri=editor.uri(TEST), line=1))["status"] == "passed"
        await editor.diagnostics(TEST, lambda found: not of(found, "DIT901"))
        await editor.diagnostics(SOUND, lambda found: not of(found, "DIT901"))


async def test_a_check_that_cannot_run_says_why(tree: Path) -> None:
    write_test(tree, "import no_such_module_at_all\n\ndef test_sound():\n    pass\n")
    async with editor_at(tree, settings=TRUSTED) as editor:
        await editor.indexed()
        answer = await parity(editor, test=TEST)
        assert answer["status"] == "error"
        assert "no_such_module_at_all" in answer["reason"]
        # Nobody has the test open; it is marked all the same, and cleaned when it is opened and run again.
        found = await editor.diagnostics(TEST, lambda found: of(found, "DIT907"))
        assert of(found, "DIT907")[0].range.start.line == 1


async def test_from_the_port_the_ports_own_test_runs(tree: Path) -> None:
    write_test(tree, "def test_sound():\n    pass\n")
    async with editor_at(tree, settings=TRUSTED) as editor:
        editor.open(SOUND)
        answer = await parity(editor, uri=editor.uri(SOUND), line=22)
        assert (answer["status"], answer["test"]) == ("passed", TEST)


async def test_a_missing_interpreter_is_named(tree: Path) -> None:
    write_test(tree, "def test_sound():\n    pass\n")
    async with editor_at(tree, settings={"trusted": True, "python": "/no/such/python"}) as editor:
        editor.open(TEST)
        answer = await parity(editor, uri=editor.uri(TEST), line=1)
        assert answer["status"] == "error"
        assert "/no/such/python" in answer["reason"]


@pytest.mark.parametrize("how", ["command", "progress"])
async def test_a_run_is_cancelled_with_all_its_processes(tree: Path, how: str) -> None:
    write_test(
        tree,
        "import os, pathlib, subprocess, time\n\ndef test_sound():\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        "    pathlib.Path('pids').write_text(f'{os.getpid()} {child.pid}')\n    time.sleep(600)\n",
    )
    async with editor_at(tree, settings=TRUSTED) as editor:
        editor.open(TEST)
        running = asyncio.ensure_future(parity(editor, uri=editor.uri(TEST), line=4))
        await editor.until(lambda: any(s["state"] == "running" for s in editor.status), "not running")
        for _ in range(600):
            if (tree / "pids").exists() and (tree / "pids").read_text():
                break
            await asyncio.sleep(0.05)
        run = next(s["run"]["id"] for s in editor.status if s["state"] == "running")
        if how == "command":
            assert await editor.command("ditproof.cancel") == 1
        else:
            editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(run))
        answer = await asyncio.wait_for(running, 30)
        assert answer["status"] == "cancelled"
        for process in (tree / "pids").read_text().split():
            await editor.until_gone(int(process))
        await editor.until(lambda: editor.status[-1]["run"] is None, "still shown as running")
        reports = editor.client.progress_reports[run]
        assert isinstance(reports[0], types.WorkDoneProgressBegin)
        assert reports[0].cancellable
        assert isinstance(reports[-1], types.WorkDoneProgressEnd)


async def test_nothing_to_run_is_said(tree: Path) -> None:
    async with editor_at(tree, settings=TRUSTED) as editor:
        await editor.indexed()
        with pytest.raises(JsonRpcException, match="there is no file"):
            await parity(editor, test="tests/test_none.py")
        with pytest.raises(JsonRpcException, match="no parity test"):
            await parity(editor, uri=editor.uri("fastvideo/layers/linear.py"))
        with pytest.raises(JsonRpcException, match="expected"):
            await editor.command("ditproof.parity")
