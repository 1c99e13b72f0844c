"""Diagnostics as an editor sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsp_editor import capabilities, editor_at

pytestmark = pytest.mark.asyncio

SOUND = "fastvideo/models/dits/sound.py"
COPY = "fastvideo/models/dits/copy.py"
COPIED = "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"


def codes(found: object) -> list[str]:
    return [d.code for d in found]  # type: ignore[attr-defined]


async def test_a_sound_port_is_clean(tree: Path) -> None:
    async with editor_at(tree) as editor:
        editor.open(SOUND)
        await editor.indexed()
        assert await editor.diagnostics(SOUND) == []
