"""A server that is killed in the middle of a run leaves no process and no file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from lsp_editor import editor_at

pytestmark = pytest.mark.asyncio

TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
TRUSTED = {"trusted": True, "python": sys.executable}
KILLS = int(os.environ.get("DITPROOF_KILLS", "8"))
"""How often; the moment is another each time."""

BODY = """\
# SoundTransformer3DModel
import os, subprocess, sys, time

def test_sound():
    wait = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
    children = [subprocess.Popen(wait), subprocess.Popen(wait, start_new_session=True)]
    with open({mark!r} + ".part", "w") as file:
        file.write(" ".join(str(child.pid) for child in children) + f" {{os.getpid()}} {{os.getppid()}}")
    os.rename({mark!r} + ".part", {mark!r})
    time.sleep(600)
"""


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":
                found.append(pid)
    return found


async def until(met: object, what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def test_nothing_is_left(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tree.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    mark = tree.parent / "pids"
    (tree / TEST).write_text(BODY.format(mark=str(mark)))
    before = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    for number in range(KILLS):
        mark.unlink(missing_ok=True)
        with contextlib.suppress(Exception):  # the client's own end: its server is gone
            async with editor_at(tree, settings=TRUSTED) as editor:
                editor.open(TEST)
                server = (await editor.request("ditproof/state"))["server"]
                run = asyncio.ensure_future(editor.command("ditproof.parity", {"test": TEST}))
                # Now and then before the test has begun, else while it runs.
                early = number % 4 == 3
                if early:
                    await until(lambda: list(temporary.iterdir()), "no run was started")
                    await asyncio.sleep(0.02 * number)
                else:
                    await until(mark.exists, "the test did not begin")
                os.kill(server, signal.SIGKILL)
                run.cancel()
                await until(lambda: not list(temporary.iterdir()), f"{list(temporary.rglob('*'))} is left")
        pids = [int(pid) for pid in mark.read_text().split()] if mark.exists() else []
        assert early or len(pids) == 4
        await until(lambda pids=pids: not alive(pids), f"{alive(pids)} still run")
        assert list(temporary.iterdir()) == []
    assert sorted(path.relative_to(tree) for path in tree.rglob("*")) == before
