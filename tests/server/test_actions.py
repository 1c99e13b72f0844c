"""Quick fixes, suppressions and fix-all, taken as an editor takes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from lsp_editor import Editor, capabilities, editor_at
from lsprotocol import types
from pygls.exceptions import JsonRpcException

pytestmark = pytest.mark.asyncio

COPY = "fastvideo/models/dits/copy.py"
EXPORTS = "fastvideo/configs/models/dits/__init__.py"
UNKNOWN = "class Block:\n    pass\n\n\nEntryClass = Blok\n"
FIX_ALL = "source.fixAll.ditproof"


def has(code: str) -> object:
    return lambda found: code in [d.code for d in found]


def applied(text: str, edits: Sequence[types.TextEdit]) -> str:
    """What an editor with UTF-16 columns makes of edits."""
    lines = text.replace("\r\n", "\n").split("\n")
    newline = "\r\n" if "\r\n" in text else "\n"

    def offset(position: types.Position) -> int:
        start = sum(len(line) + len(newline) for line in lines[: position.line])
        head = lines[position.line].encode("utf-16-le")[: 2 * position.character].decode("utf-16-le")
        return start + len(head)

    for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
        text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
    return text


def edits_of(action: types.CodeAction, uri: str) -> list[types.TextEdit]:
    assert action.edit is not None
    for change in action.edit.document_changes or ():
        assert isinstance(change, types.TextDocumentEdit)
        if change.text_document.uri == uri:
            return [edit for edit in change.edits if isinstance(edit, types.TextEdit)]
    return []


async def resolved(editor: Editor, action: types.CodeAction) -> types.CodeAction:
    return await editor.client.code_action_resolve_async(action)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(UNKNOWN, id="plain"),
        pytest.param(UNKNOWN.replace("\n", "\r\n"), id="carriage returns"),
        pytest.param(UNKNOWN.replace("Blok", "Blok  # \U0001f600é"), id="wide characters"),
    ],
)
async def test_a_quick_fix_is_resolved_and_applied(tree: Path, text: str) -> None:
    async with editor_at(tree) as editor:
        uri = editor.open(COPY, text)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        actions = await editor.actions(COPY, found)
        assert [a.is_preferred for a in actions] == [True, None, None]
        assert [a.kind for a in actions] == ["quickfix", FIX_ALL, "quickfix"]
        assert actions[-1].title == "Suppress DIT103 with a comment"
        assert actions[0].edit is None, "the edit comes with resolve"
        assert [d.code for d in actions[0].diagnostics or ()] == ["DIT103"]
        fix = await resolved(editor, actions[0])
        assert fix.edit is not None
        (change,) = fix.edit.document_changes or ()
        assert isinstance(change, types.TextDocumentEdit)
        assert change.text_document.version == 1
        edits = edits_of(fix, uri)
        assert sum(len(edit.new_text) for edit in edits) <= len("Block"), "the edit is minimal"
        after = applied(text, edits)
        assert after == text.replace("Blok", "Block")
        editor.change(COPY, after)
        await editor.diagnostics(COPY, lambda found: not found)


async def test_a_client_that_cannot_resolve_gets_the_edit_at_once(tree: Path) -> None:
    able = capabilities()
    assert able.text_document is not None
    assert able.workspace is not None
    able.text_document.code_action = types.CodeActionClientCapabilities()
    able.workspace.workspace_edit = None
    async with editor_at(tree, able=able) as editor:
        uri = editor.open(COPY, UNKNOWN)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        fix = (await editor.actions(COPY, found))[0]
        assert fix.edit is not None
        assert fix.edit.changes is not None
        assert applied(UNKNOWN, fix.edit.changes[uri]) == UNKNOWN.replace("Blok", "Block")


async def test_an_action_of_an_older_text_is_refused(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(COPY, UNKNOWN)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        action = (await editor.actions(COPY, found))[0]
        editor.change(COPY, "\n" + UNKNOWN)
        with pytest.raises(JsonRpcException, match="has changed"):
            await resolved(editor, action)


async def test_a_fix_may_reach_into_a_file_that_is_not_open(tree: Path) -> None:
    sound = (tree / "fastvideo/configs/models/dits/sound.py").read_text()
    config = "fastvideo/configs/models/dits/sound.py"
    (tree / EXPORTS).write_text("__all__: list[str] = []\n")
    async with editor_at(tree) as editor:
        editor.open(config, sound)
        found = await editor.diagnostics(config, has("DIT110"))
        (finding,) = [d for d in found if d.code == "DIT110"]
        actions = [a for a in await editor.actions(config, finding) if a.is_preferred]
        fix = await resolved(editor, actions[0])
        assert "SoundConfig" in applied((tree / EXPORTS).read_text(), edits_of(fix, editor.uri(EXPORTS)))


async def test_fix_all_applies_the_safe_fixes_of_the_file(tree: Path) -> None:
    async with editor_at(tree) as editor:
        uri = editor.open(COPY, UNKNOWN)
        await editor.diagnostics(COPY, has("DIT103"))
        whole = types.Range(types.Position(0, 0), types.Position(5, 0))
        for only in ([FIX_ALL], ["source.fixAll"], ["source"]):
            (action,) = await editor.actions(COPY, whole, only=only)
            assert action.kind == FIX_ALL
        fix = await resolved(editor, action)
        assert applied(UNKNOWN, edits_of(fix, uri)) == UNKNOWN.replace("Blok", "Block")
        assert await editor.actions(COPY, whole, only=["source.organizeImports"]) == []
        editor.change(COPY, UNKNOWN.replace("Blok", "Block"))
        await editor.diagnostics(COPY, lambda found: not found)
        assert await editor.actions(COPY, whole, only=[FIX_ALL]) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(UNKNOWN, id="a line of its own"),
        pytest.param(UNKNOWN.replace("Blok\n", "Blok  # the block\n"), id="a comment on the line"),
        pytest.param(UNKNOWN.replace("Blok", "[\n    Blok,\n]"), id="several lines"),
        pytest.param(
            UNKNOWN.replace("Blok\n", "Blok  # ditproof: ignore[DIT106] two of them\n"), id="a directive"
        ),
        pytest.param(UNKNOWN.replace("\n", "\r\n"), id="carriage returns"),
    ],
)
async def test_a_suppression_suppresses_and_asks_for_its_reason(tree: Path, text: str) -> None:
    async with editor_at(tree) as editor:
        uri = editor.open(COPY, text)
        found = await editor.diagnostics(COPY, has("DIT103"))
        (finding,) = [d for d in found if d.code == "DIT103"]
        action = (await editor.actions(COPY, finding))[-1]
        assert action.title == "Suppress DIT103 with a comment"
        after = applied(text, edits_of(action, uri))
        assert after.count("\n") - after.count("\r\n") in (0, after.count("\n"))
        editor.change(COPY, after)
        left = await editor.diagnostics(COPY, lambda found: not has("DIT103")(found))  # type: ignore[operator]
        # A new directive has no reason yet; one that stood there has its own, and a code that is unused.
        assert [d.code for d in left] == (["DIT003"] if "two of them" in text else ["DIT002"])


async def test_a_crashed_edit_worker_is_replaced(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(COPY, UNKNOWN)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        action = (await editor.actions(COPY, found))[0]
        before = await editor.request("ditproof/state")
        os.kill(before["editWorker"], signal.SIGKILL)
        editor.change(COPY, UNKNOWN.replace("pass", "..."))
        (found,) = (await editor.pull(COPY)).items
        action = (await editor.actions(COPY, found))[0]
        assert (await resolved(editor, action)).edit is not None
        after = await editor.request("ditproof/state")
        assert after["editWorker"] not in (None, before["editWorker"])


async def test_a_hung_edit_worker_does_not_hold_up_an_answer(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(COPY, UNKNOWN)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        await editor.actions(COPY, found)
        state = await editor.request("ditproof/state")
        os.kill(state["editWorker"], signal.SIGSTOP)
        try:
            editor.change(COPY, UNKNOWN.replace("pass", "..."))
            (found,) = (await editor.pull(COPY)).items
            titles = [a.title for a in await editor.actions(COPY, found, only=["quickfix"])]
            assert titles == ["Suppress DIT103 with a comment"], "what is not verified is not offered"
        finally:
            os.kill(state["editWorker"], signal.SIGCONT)


async def test_the_edit_worker_dies_with_the_server(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(COPY, UNKNOWN)
        (found,) = await editor.diagnostics(COPY, has("DIT103"))
        await editor.actions(COPY, found)
        state = await editor.request("ditproof/state")
        assert Path(f"/proc/{state['editWorker']}").exists()
        os.kill(state["server"], signal.SIGKILL)
        await editor.until_gone(state["editWorker"])
