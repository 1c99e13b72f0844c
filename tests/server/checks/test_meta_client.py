"""The server's side of the meta worker, against a small stand-in that speaks the protocol."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from test_run_ends import alive, gone

from lsp_server.checks import meta_process
from lsp_server.checks.errors import CheckError, InterpreterError, UntrustedWorkspaceError
from lsp_server.checks.meta import MetaWorker, PortName, StateAnswer, StateRequest, SupersededError
from lsp_server.checks.state_records import read_answer

T = TypeVar("T")

FAKE = Path(__file__).with_name("fake_meta_worker.py")
REPOSITORY = Path(__file__).resolve().parents[3]


def fake_bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "__main__.py").write_text(FAKE.read_text())
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(meta_process, "write_bundle", fake_bundle)
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def asked(root: Path, cls: str = "Port", **changes: object) -> StateRequest:
    request = StateRequest(
        root=str(root),
        python=sys.executable,
        trusted=True,
        code_base="fastvideo",
        port=PortName("pkg.port", cls, "pkg/port.py"),
        official="diffusers:Port",
        timeout=30.0,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


def run(work: Callable[[MetaWorker], Awaitable[T]]) -> T:
    async def session() -> T:
        worker = MetaWorker()
        try:
            return await work(worker)
        finally:
            pids = worker.pids
            await worker.end()
            assert gone(list(pids), 5.0)

    return asyncio.run(session())


async def until(path: Path, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        await asyncio.sleep(0.02)
    return path.read_text()


def test_an_answer_becomes_a_state(root: Path) -> None:
    stages: list[str] = []
    answer = run(lambda worker: worker.state(asked(root), stages.append))
    native = answer.state.native
    assert native is not None
    assert native.names == ("a.weight", "a.inv_freq", "b.weight")
    assert [(t.shape, t.dtype, t.buffer, t.tied, t.reshapes) for t in native.tensors] == [
        ((4, 2), "F32", False, None, False),
        ((2,), "F32", True, None, False),
        ((4, 2), "F32", False, "a.weight", True),
    ]
    assert (native.source, native.origin) == ("Port of the tree", "class")
    assert answer.state.official is not None
    assert answer.state.official.source == "diffusers:Port"
    assert answer.state.mapping == (("^x$", "a", None), ("^q$", "qkv", (0, 3)))
    assert (answer.state.reverse, answer.state.lora) == (None, ())
    assert answer.state.dropped == (("theta", "10000.0"),)
    assert answer.state.ignored == ("extra",)
    assert [(g.field, g.value, g.tensors[0].name) for g in answer.state.gated] == [
        ("image", "True", "i.weight")
    ]
    assert answer.files == ("pkg/port.py",)
    assert answer.official_place is not None
    assert (answer.official_place.path, answer.official_place.span.line) == ("pkg/port.py", 3)
    assert (answer.config, answer.torch, answer.seconds) == ({"dim": 4}, "2.0", 0.25)
    (problem,) = answer.problems
    assert problem.place is not None
    assert (problem.place.path, problem.place.span.line) == ("/elsewhere/official.py", 7)
    assert problem.message == "password=[redacted] is wrong"
    assert stages == [f"starting {sys.executable}", "building the port"]


def test_the_worker_is_told_where_and_what_and_gets_no_secret(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SOMETHING_ELSE", "1")
    run(lambda worker: worker.state(asked(root)))
    environment = json.loads((root / "environment").read_text())
    assert not {"HF_TOKEN", "SOMETHING_ELSE"} & set(environment)
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    spec = json.loads((root / "spec").read_text())
    assert (spec["serve"], spec["code_base"]) == ("meta", "fastvideo")
    assert not Path(spec["run_dir"]).exists()


def test_one_process_answers_many_requests(root: Path) -> None:
    async def work(worker: MetaWorker) -> tuple[tuple[int, ...], tuple[int, ...]]:
        await worker.state(asked(root))
        before = worker.pids
        await asyncio.gather(*(worker.state(asked(root, f"Port{i}")) for i in range(3)))
        return before, worker.pids

    before, after = run(work)
    assert before == after
    assert len(after) == 1


def test_a_crash_is_tried_once_more(root: Path) -> None:
    answer = run(lambda worker: worker.state(asked(root, "CrashOnce")))
    assert answer.state.native is not None
    assert (root / "calls").read_text() == "2"


def test_two_crashes_are_an_error_with_the_end_of_the_log(root: Path) -> None:
    async def work(worker: MetaWorker) -> str:
        with pytest.raises(CheckError) as raised:
            await worker.state(asked(root, "Crash"))
        assert (await worker.state(asked(root))).state.native is not None, "the next request starts another"
        return str(raised.value)

    told = run(work)
    assert "crashed twice" in told
    assert "signal 9 (SIGKILL)" in told
    assert "the last words, token=[redacted]" in told
    assert "ditproof doctor" in told


def test_a_worker_killed_from_outside_is_replaced(root: Path) -> None:
    async def work(worker: MetaWorker) -> StateAnswer:
        asking = asyncio.create_task(worker.state(asked(root, "SlowOnce")))
        pid = int(await until(root / "working"))
        os.kill(pid, signal.SIGKILL)
        return await asking

    assert run(work).state.native is not None


def test_what_is_no_answer_is_said(root: Path) -> None:
    async def work(worker: MetaWorker) -> tuple[str, str]:
        with pytest.raises(CheckError) as printed:
            await worker.state(asked(root, "Prints"))
        with pytest.raises(CheckError) as malformed:
            await worker.state(asked(root, "Malformed"))
        return str(printed.value), str(malformed.value)

    printed, malformed = run(work)
    assert "it wrote a line that is no answer" in printed
    assert "cannot be read: files is no list" in malformed


def test_a_limit_of_time_ends_the_worker(root: Path) -> None:
    async def work(worker: MetaWorker) -> str:
        with pytest.raises(CheckError) as raised:
            await worker.state(asked(root, "Slow", timeout=3.0))
        assert gone([int((root / "working").read_text())], 5.0)
        return str(raised.value)

    assert "The answer about Slow has not come after 3 s, while building the port." in run(work)


def test_whoever_waits_for_another_check_waits_no_longer_than_its_limit(root: Path) -> None:
    async def work(worker: MetaWorker) -> str:
        first = asyncio.create_task(worker.state(asked(root, "Slow")))
        await until(root / "working")
        with pytest.raises(CheckError) as raised:
            await worker.state(asked(root, "Port", timeout=0.5))
        assert not first.done()
        first.cancel()
        await asyncio.wait([first])
        return str(raised.value)

    assert "still waits for other checks after 0.5 s" in run(work)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is watched on Linux")
def test_a_limit_of_memory_ends_the_worker(root: Path) -> None:
    async def work(worker: MetaWorker) -> str:
        with pytest.raises(CheckError) as raised:
            await worker.state(asked(root, "Greedy", memory_limit=40 << 20))
        return str(raised.value)

    assert "takes more than 0.0391 GiB of memory" in run(work)


def test_a_newer_request_for_the_same_port_takes_the_place_of_the_older(root: Path) -> None:
    async def work(worker: MetaWorker) -> tuple[BaseException | StateAnswer, StateAnswer, bool]:
        first = asyncio.create_task(worker.state(asked(root, "SlowOnce")))
        pid = int(await until(root / "working"))
        second = await worker.state(asked(root, "SlowOnce"))
        (result,) = await asyncio.gather(first, return_exceptions=True)
        return result, second, worker.pids == (pid,)

    first, second, same = run(work)
    assert isinstance(first, SupersededError)
    assert "A newer check of SlowOnce replaced this one." in str(first)
    assert second.state.native is not None
    assert same, "the worker stays warm"
    assert (root / "cancelled").exists()


def test_a_caller_that_gives_up_ends_the_work_and_not_the_worker(root: Path) -> None:
    async def work(worker: MetaWorker) -> bool:
        asking = asyncio.create_task(worker.state(asked(root, "Slow")))
        pid = int(await until(root / "working"))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(root / "cancelled")
        await worker.state(asked(root))
        return worker.pids == (pid,)

    assert run(work)


def test_closing_ends_what_is_under_way(root: Path) -> None:
    async def session() -> None:
        worker = MetaWorker()
        asking = asyncio.create_task(worker.state(asked(root, "Slow")))
        waiting = asyncio.create_task(worker.state(asked(root, "Port")))
        pid = int(await until(root / "working"))
        await worker.end()
        assert alive([pid]) == []
        for task in (asking, waiting):
            with pytest.raises(CheckError, match="closing"):
                await task
        with pytest.raises(CheckError, match="closing"):
            await worker.state(asked(root))

    asyncio.run(session())


def test_what_may_not_or_cannot_start(root: Path, tmp_path: Path) -> None:
    no_python = tmp_path / "python"
    no_python.write_text("no program")
    no_python.chmod(0o755)

    async def work(worker: MetaWorker) -> None:
        with pytest.raises(UntrustedWorkspaceError, match="is not trusted"):
            await worker.state(asked(root, trusted=False))
        with pytest.raises(CheckError, match="is not a folder"):
            await worker.state(asked(root / "nowhere"))
        with pytest.raises(InterpreterError, match="does not exist"):
            await worker.state(asked(root, python=str(tmp_path / "no-python")))
        with pytest.raises(InterpreterError, match="does not start"):
            await worker.state(asked(root, python=str(no_python)))
        assert worker.pids == ()
        gc.collect()  # asyncio closes the pipes of what did not start only when it is collected

    run(work)
    assert list(root.iterdir()) == []


def test_a_client_that_is_killed_leaves_no_worker(root: Path, tmp_path: Path) -> None:
    """Nobody is left to end it: the worker's own standard input tells it."""
    script = tmp_path / "client.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, shutil, subprocess, sys
            from pathlib import Path
            from lsp_server.checks import meta, meta_process

            def fake_bundle(folder):
                folder.mkdir(parents=True)
                shutil.copyfile({str(FAKE)!r}, folder / "__main__.py")
                return folder

            meta_process.write_bundle = fake_bundle

            async def work():
                other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
                request = meta.StateRequest(
                    {str(root)!r}, sys.executable, True, "fastvideo",
                    meta.PortName("m", "Slow", "m.py"), None,
                )
                print(other.pid, flush=True)
                await meta.MetaWorker().state(request)

            asyncio.run(work())
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path)}
    client = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert client.stdout is not None
    other = int(client.stdout.readline())
    try:
        pid = int(asyncio.run(until(root / "working")))
        assert alive([pid]) == [pid]
        client.kill()
        client.wait()
        assert gone([pid], 5.0)
    finally:
        os.kill(other, signal.SIGKILL)
        client.kill()
        client.stdout.close()


def test_half_a_surrogate_pair_can_be_printed() -> None:
    """An exception's text may hold one; a terminal and the protocol refuse it."""
    problem = {"side": "port", "stage": "build", "type": "ValueError", "message": "\ud800 é"}
    told = {"v": 1, "gated": [], "dropped": [], "files": [], "problems": [problem], "seconds": 0.1}
    (read,) = read_answer(told, "/root", None).problems
    assert read.message.encode().decode() == "\N{REPLACEMENT CHARACTER} é"
