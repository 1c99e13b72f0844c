"""The edit worker ends with the server, whenever that is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from lsp_server.edit_client import EditClient, EditRefused


@pytest.mark.asyncio
async def test_a_worker_that_was_just_being_started_ends_too(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start = asyncio.create_subprocess_exec

    async def closing(*command: str, **how: object) -> asyncio.subprocess.Process:
        process = await start(*command, **how)  # type: ignore[arg-type]
        started.append(process)
        client.close()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", closing)
    client = EditClient()
    with pytest.raises(EditRefused, match="closing"):
        await client.warm_up(tree, {})
    (process,) = started
    assert process.returncode is not None
    assert client.pid is None


def test_the_end_is_quiet(tree: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from lsp_server.edit_client import EditClient\n"
        "async def main():\n"
        "    client = EditClient()\n"
        "    await client.warm_up(pathlib.Path(sys.argv[1]), {})\n"
        "    await client.end()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tree], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
