"""A handoff asked for in an editor: the command, the action on the class, the edits of the state file."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from lsp_editor import Editor, editor_at
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from test_actions import applied

from lsp_server.checks.contents import contents_of
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.store import EvidenceStore

pytestmark = pytest.mark.asyncio

PORT = "fastvideo/models/dits/sound.py"
KEY = f"{PORT}::SoundTransformer3DModel"
TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
STATUS = "tests/local_tests/sound/PORT_STATUS.md"
STATUS_TEXT = (
    "# Sound\r\n\r\n| Component | FastVideo Target | Parity |\r\n|---|---|---|\r\n"
    f"| transformer | `{PORT}` | `not_run` |\r\n"
)


@pytest.fixture
def ported(tree: Path) -> Path:
    """The tree, with a parity test that has passed and a state file that does not know it yet."""
    (tree / STATUS).parent.mkdir(parents=True, exist_ok=True)
    (tree / STATUS).write_bytes(STATUS_TEXT.encode())
    (tree / TEST).write_text("from fastvideo.models.dits.sound import SoundTransformer3DModel\n")
    EvidenceStore(tree).add(
        Evidence(
            id="run",
            port=KEY,
            tier="weights",
            subject=TEST,
            status="passed",
            reason="1 test passed",
            ended=time.time(),
            seconds=1.0,
            sources=contents_of(tree, [PORT, TEST]),
            document={"outcomes": [{"test": f"{TEST}::test_sound", "outcome": "passed"}]},
        )
    )
    return tree


def class_line(editor: Editor) -> int:
    return next(
        n
        for n, line in enumerate(editor.text(PORT).split("\n"))
        if line.startswith("class SoundTransformer3DModel")
    )


async def test_the_command_tells_the_block_and_the_edits(ported: Path) -> None:
    async with editor_at(ported, settings={"trusted": True}) as editor:
        editor.open(PORT)
        await editor.indexed()
        answer = await editor.command(
            "ditproof.handoff", {"uri": editor.uri(PORT), "line": class_line(editor)}
        )
        block = answer["json"]["handoff"]
        assert block["parity_status"] == "non_skip_pass"
        assert block["port_state_file"] == STATUS
        assert "parity_status: non_skip_pass" in answer["markdown"]
        (uri,) = answer["edits"]
        assert uri == editor.uri(STATUS)
        edits = [
            types.TextEdit(
                types.Range(types.Position(**e["range"]["start"]), types.Position(**e["range"]["end"])),
                e["newText"],
            )
            for e in answer["edits"][uri]
        ]
        assert applied(STATUS_TEXT, edits) == STATUS_TEXT.replace("`not_run`", "`non_skip_pass`")
        assert (ported / STATUS).read_bytes() == STATUS_TEXT.encode(), "the server writes nothing"


async def test_git_is_not_asked_where_the_workspace_is_not_trusted(ported: Path) -> None:
    subprocess.run(["git", "init", "-q", str(ported)], check=True)
    marker = ported / "asked"
    for setting, program in (
        ("core.fsmonitor", f"touch {marker}"),
        ("filter.x.clean", f"touch {marker}; cat"),
    ):
        subprocess.run(["git", "-C", str(ported), "config", setting, program], check=True)
    (ported / ".gitattributes").write_text("* filter=x\n")
    async with editor_at(ported) as editor:
        editor.open(PORT)
        await editor.indexed()
        answer = await editor.command("ditproof.handoff", {"port": KEY})
        assert answer["json"]["gate"]["verdict"] == "unknown"
        assert "not trusted" in answer["json"]["gate"]["notes"][0]
        assert answer["json"]["handoff"]["readme_updated"] is None
    assert not marker.exists()


async def test_the_class_offers_its_handoff(ported: Path) -> None:
    async with editor_at(ported) as editor:
        uri = editor.open(PORT)
        await editor.indexed()
        line = class_line(editor)

        async def titles(at: int, kind: types.CodeActionTriggerKind) -> list[str]:
            place = types.Range(types.Position(at, 8), types.Position(at, 8))
            found = await editor.client.text_document_code_action_async(
                types.CodeActionParams(
                    types.TextDocumentIdentifier(uri),
                    place,
                    types.CodeActionContext(diagnostics=[], trigger_kind=kind),
                )
            )
            return [action.title for action in found or ()]

        invoked = types.CodeActionTriggerKind.Invoked
        assert "Hand over SoundTransformer3DModel" in await titles(line, invoked)
        assert "Hand over SoundTransformer3DModel" not in await titles(0, invoked)
        by_itself = await titles(line, types.CodeActionTriggerKind.Automatic)
        assert "Hand over SoundTransformer3DModel" not in by_itself


async def test_an_argument_without_a_port_is_refused(ported: Path) -> None:
    async with editor_at(ported) as editor:
        await editor.indexed()
        with pytest.raises(JsonRpcException, match="no port belongs to"):
            await editor.command("ditproof.handoff", {"port": f"{PORT}::Missing"})
