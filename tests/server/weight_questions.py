"""What the tests of weights ask an editor's server."""

from __future__ import annotations

import asyncio

from lsp_editor import Editor
from lsprotocol import types


async def lenses(editor: Editor, path: str) -> list[str]:
    """The lenses that tell of weights."""
    found = await editor.client.text_document_code_lens_async(
        types.CodeLensParams(types.TextDocumentIdentifier(editor.uri(path)))
    )
    commands = [lens.command for lens in found or () if lens.command is not None]
    return [command.title for command in commands if command.command == "ditproof.weights"]


async def until_lens(editor: Editor, path: str, text: str, *, within: float = 30.0) -> str:
    """Waits until a lens of a file shows a text; all of that lens."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        shown = await lenses(editor, path)
        for title in shown:
            if text in title:
                return title
        assert asyncio.get_running_loop().time() < deadline, f"no lens '{text}', but {shown}"
        await asyncio.sleep(0.05)


async def hints(editor: Editor, path: str) -> list[types.InlayHint]:
    """The hints of a whole file."""
    found = await editor.client.text_document_inlay_hint_async(
        types.InlayHintParams(
            types.TextDocumentIdentifier(editor.uri(path)),
            types.Range(types.Position(0, 0), types.Position(500, 0)),
        )
    )
    return list(found or ())


async def labels(editor: Editor, path: str) -> list[str]:
    """What the hints say."""
    return [str(hint.label) for hint in await hints(editor, path)]


async def until_label(editor: Editor, path: str, text: str) -> None:
    """Waits until a hint says that."""
    deadline = asyncio.get_running_loop().time() + 30
    while text not in (shown := await labels(editor, path)):
        assert asyncio.get_running_loop().time() < deadline, f"no hint '{text}', but {shown}"
        await asyncio.sleep(0.05)
