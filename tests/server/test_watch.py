"""`ditproof watch`: what a save starts, what a newer one ends, and what is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lsp_server.checks.evidence.store import EvidenceStore
from lsp_server.commands.watch import Watch, saves_below
from lsp_server.session import Session

TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
SOUND = "fastvideo/models/dits/sound.py"
CONFIG = "fastvideo/configs/models/dits/sound.py"

pytestmark = pytest.mark.asyncio


class Saves:
    """Saves as a test makes them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[set[str] | None] = asyncio.Queue()

    def save(self, file: Path, text: str, path: str) -> None:
        file.write_text(text)
        self._queue.put_nowait({path})

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[set[str]]:
        while (paths := await self._queue.get()) is not None:
            yield paths


@pytest.fixture
def watched(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tree / TEST).write_text(
        "# SoundTransformer3DModel\n"
        "import time\n"
        "from fastvideo.configs.models.dits.sound import SoundArchConfig\n\n\n"
        "def test_sound():\n"
        f"    open({str(tree.parent / 'runs')!r}, 'a').write('x')\n"
        "    assert SoundArchConfig().hidden_size == 64\n"
    )
    return tree


def watch_over(tree: Path, *, tests: bool = True) -> Watch:
    return Watch(Session(tree), sys.executable, None, tests)


async def told(capture: pytest.CaptureFixture[str], text: str) -> str:
    """Waits until something is told; everything that was."""
    out = ""
    for _ in range(600):
        out += capture.readouterr().out
        if text in out:
            return out
        await asyncio.sleep(0.05)
    raise AssertionError(f"{text!r} is not told: {out}")


async def test_a_save_is_followed_to_its_verdict(watched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saves, config = Saves(), watched / CONFIG
    right = config.read_text()
    running = asyncio.ensure_future(watch_over(watched).run(saves.__aiter__()))
    saves.save(config, right + "\n", CONFIG)
    out = await told(capfd, "parity    passed")
    assert f"clean    0 findings in {CONFIG}" in out
    # The environment of these tests has no torch: that is told, and hides nothing else.
    assert "weights   error" in out
    saves.save(config, right.replace("= 64", "= 65"), CONFIG)
    assert "assert 65 == 64" in await told(capfd, "parity    failed")
    saves.save(config, right + "\n", CONFIG)
    assert "the same contents were run before" in await told(capfd, "parity    passed")
    assert (watched.parent / "runs").read_text() == "xx"
    saves.end()
    await running
    kept = EvidenceStore(watched).history(f"{SOUND}::SoundTransformer3DModel", "weights")
    assert [evidence.status for evidence in kept] == ["failed", "passed"]


async def test_what_does_not_parse_is_told_and_runs_nothing(
    watched: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    saves, config = Saves(), watched / CONFIG
    right = config.read_text()
    running = asyncio.ensure_future(watch_over(watched).run(saves.__aiter__()))
    saves.save(config, right + "\ndef half(\n", CONFIG)
    out = await told(capfd, f"1 finding in {CONFIG}")
    assert "DIT001" in out
    saves.save(config, right + "\n", CONFIG)
    out = await told(capfd, "parity    passed")
    assert f"0 findings in {CONFIG}, 1 gone" in out
    saves.end()
    await running


async def test_a_finding_that_stays_is_told_once(watched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saves, model = Saves(), watched / SOUND
    wrong = model.read_text() + '\n\nEntryClass = ["Nobody"]\n'
    running = asyncio.ensure_future(watch_over(watched, tests=False).run(saves.__aiter__()))
    saves.save(model, wrong, SOUND)
    assert "DIT103" in await told(capfd, f"finding in {SOUND}")
    saves.save(model, wrong + "\n", SOUND)
    assert "DIT103" not in await told(capfd, f"finding in {SOUND}")
    saves.end()
    await running


async def test_a_newer_save_ends_what_it_makes_wrong(
    watched: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = (watched / TEST).read_text().replace("    assert", "    time.sleep(30)\n    assert")
    (watched / TEST).write_text(slow)
    saves, config = Saves(), watched / CONFIG
    right = config.read_text()
    running = asyncio.ensure_future(watch_over(watched).run(saves.__aiter__()))
    saves.save(config, right + "\n", CONFIG)
    for _ in range(600):
        if (watched.parent / "runs").exists():
            break
        await asyncio.sleep(0.05)
    (watched / TEST).write_text(slow.replace("30", "0"))
    saves.save(config, right + "\n\n", CONFIG)
    await told(capfd, "parity    passed")
    assert (watched.parent / "runs").read_text() == "xx"
    saves.end()
    await running


async def test_without_a_wish_for_it_no_test_runs(watched: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saves, config = Saves(), watched / CONFIG
    running = asyncio.ensure_future(watch_over(watched, tests=False).run(saves.__aiter__()))
    saves.save(config, config.read_text() + "\n", CONFIG)
    await told(capfd, "weights   error")
    saves.end()
    await running
    assert not (watched.parent / "runs").exists()


async def test_saves_are_seen_as_they_are_written(tree: Path) -> None:
    seen = saves_below(tree)
    first = asyncio.ensure_future(seen.__anext__())
    await asyncio.sleep(0.5)
    (tree / ".ditproof").mkdir()
    (tree / ".ditproof" / "evidence.sqlite3").write_text("")
    (tree / "notes.bin").write_text("")
    (tree / SOUND).write_text((tree / SOUND).read_text() + "\n")
    assert await asyncio.wait_for(first, 20) == {SOUND}
    await seen.aclose()  # type: ignore[attr-defined]
