"""Every way in which a run can end: one status, a reason, a next step, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lsp_server.checks.errors import UntrustedWorkspaceError
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.queue import CheckQueue
from lsp_server.checks.requests import CheckEvent, CheckRequest, CheckResult
from lsp_server.checks.run import run_parity

Project = Callable[..., CheckRequest]
Check = Callable[..., CheckResult]

SPAWNS = """
import os, subprocess, sys, time
def test_spawns():
    sleep = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
    children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
    with open("pids.tmp", "w") as file:
        file.write(" ".join(str(child.pid) for child in children) + f" {os.getpid()} {os.getppid()}")
    os.rename("pids.tmp", "pids")
    time.sleep(600)
"""


def pids_of(request: CheckRequest, seconds: float = 20.0) -> list[int]:
    path = Path(request.root, "pids")
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, "the test did not start"
        time.sleep(0.02)
    return [int(pid) for pid in path.read_text().split()]


def alive(pids: list[int]) -> list[int]:
    """Those that still run; one that is dead and only not yet collected does not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_project_that_divides_its_tests_is_run_in_one_process(project: Project, check: Check) -> None:
    test = "import os\ndef test_a():\n    assert 'PYTEST_XDIST_WORKER' not in os.environ\n"
    request = project(test)
    Path(request.root, "pytest.ini").write_text("[pytest]\naddopts = -p xdist.plugin -n 2\n")
    result = check(request)
    assert (result.status, result.reason) == ("passed", "1 test passed; no comparison was recorded")


def test_passes_without_a_comparison(project: Project, check: Check) -> None:
    events: list[CheckEvent] = []
    result = check(project("def test_a():\n    print('seen live')\n"), events)
    assert (result.status, result.outputs) == ("passed", ())
    assert result.reason == "1 test passed; no comparison was recorded"
    assert result.notes == (
        "No comparison was recorded: the test passed without a call that compares values.",
    )
    kinds = [event.kind for event in events]
    assert kinds[-1] == "done"
    assert {"phase", "collected", "outcome", "output"} <= set(kinds)
    assert any("seen live" in event.message for event in events)
    assert list(Path(check_root := project("").root).rglob("__pycache__")) == [], check_root


def test_json_has_the_shape_of_the_contract(project: Project, check: Check) -> None:
    told = check(project("import pytest\ndef test_a(): pytest.skip('CUDA required')\n"), port="Wan").to_json()
    assert {key: told[key] for key in ("port", "status", "outputs", "first", "others", "taps")} == {
        "port": "Wan",
        "status": "skipped",
        "outputs": [],
        "first": None,
        "others": [],
        "taps": 0,
    }
    assert told["skips"] == [
        {"test": "tests/test_it.py::test_a", "class": "no-cuda", "reason": "CUDA required"}
    ]
    assert {"aligned", "unaligned", "not_fired", "evidence", "seconds", "tier", "reason"} <= set(told)
    assert {"test", "comparisons", "log_tail", "next_step"} <= set(told)


@pytest.mark.parametrize(
    ("source", "status", "reason", "step"),
    [
        (
            "import pytest\npytest.skip('weights not found', allow_module_level=True)\n",
            "skipped",
            "weights not found",
            "Make the weights available",
        ),
        (
            "import pytest\npytest.importorskip('no_such_thing')\n",
            "skipped",
            "could not import 'no_such_thing'",
            "Install the missing package",
        ),
        (
            "import pytest\n@pytest.mark.skip\ndef test_a(): ...\n",
            "skipped",
            "unconditional skip",
            "Remove the skip mark",
        ),
        (
            "import pytest\n@pytest.mark.xfail(reason='not yet')\ndef test_a(): assert 0\n",
            "skipped",
            "it is expected to fail: not yet",
            "Remove the xfail mark",
        ),
        (
            "import pytest\n@pytest.mark.parametrize('n', [0, 1])\ndef test_a(n): n or pytest.skip('x')\n",
            "passed",
            "1 test passed; no comparison was recorded; 1 test skipped",
            "",
        ),
        (
            "import pytest\n@pytest.mark.parametrize('n', [0, 1])\ndef test_a(n):\n    assert n\n",
            "failed",
            "test_a[0]: ",
            "",
        ),
        ("def test_a():\n    raise KeyError('blocks.0')\n", "failed", "KeyError: 'blocks.0'", ""),
        (
            "import pytest\n@pytest.fixture\ndef f(): 1 / 0\ndef test_a(f): ...\n",
            "error",
            "could not be set up or torn down: ZeroDivisionError",
            "fixture",
        ),
        (
            "import torch\ndef test_a(): ...\n",
            "error",
            "No module named 'torch'",
            "`torch` cannot be imported",
        ),
        ("def test_a(:\n", "error", "SyntaxError", "Correct the import or the test file"),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')\ndef test_a(): ...\n",
            "error",
            "torchvision::nms does not exist",
            "torchvision was built for another torch",
        ),
        (
            "raise OSError('libcudart.so.12: cannot open shared object file')\ndef test_a(): ...\n",
            "error",
            "libcudart",
            "run it on a machine with a CUDA device",
        ),
        ("x = 1\n", "error", "contains no test", "Name a file"),
        (
            "import os\ndef test_a():\n    os._exit(0)\n",
            "error",
            "ended with code 0 before pytest had finished while running tests/test_it.py::test_a",
            "log",
        ),
        (
            "import os, signal\ndef test_a():\n    os.kill(os.getpid(), signal.SIGSEGV)\n",
            "error",
            "was killed by SIGSEGV while running tests/test_it.py::test_a",
            "log",
        ),
        ("import pytest\ndef test_a(): pytest.exit('enough')\n", "error", "pytest could not run", "Check"),
    ],
)
def test_ends(project: Project, check: Check, source: str, status: str, reason: str, step: str) -> None:
    result = check(project(source))
    assert result.status == status, result
    assert reason in result.reason
    assert step in result.next_step
    if status == "error":
        assert result.place is not None
        assert result.next_step


def test_collection_error_says_where(project: Project, check: Check) -> None:
    result = check(project("\n\nimport no_such_package.models\ndef test_a(): ...\n"))
    assert result.place is not None
    assert (result.place.path, result.place.span.line) == ("tests/test_it.py", 2)
    assert "`no_such_package` cannot be imported" in result.next_step


def test_a_conftest_that_cannot_be_imported(project: Project, check: Check) -> None:
    request = project("def test_a(): ...\n")
    Path(request.root, "tests/conftest.py").write_text("import no_such_package.models\n")
    result = check(request)
    assert result.status == "error"
    assert "No module named 'no_such_package'" in result.reason
    assert "`no_such_package` cannot be imported" in result.next_step
    assert result.place is not None
    assert result.place.path == "tests/conftest.py"


def test_a_name_that_is_not_there(project: Project, check: Check) -> None:
    request = project("def test_a(): ...\n")
    result = check(request, test="tests/test_it.py::test_b")
    assert result.status == "error"
    assert "not found" in result.reason
    result = check(request, test="tests/test_gone.py")
    assert result.status == "error"
    assert "There is no file tests/test_gone.py" in result.reason


def test_deselected_by_the_project(project: Project, check: Check) -> None:
    request = project("def test_a(): ...\n")
    Path(request.root, "pytest.ini").write_text("[pytest]\naddopts = -k nothing_like_it\n")
    result = check(request)
    assert result.status == "error"
    assert "(1) are deselected" in result.reason


def test_spaces_and_umlauts(project: Project, check: Check, tmp_path: Path) -> None:
    request = project("def test_größe():\n    print('größe ✓')\n", "prüf fälle/test_öl.py")
    result = check(request)
    assert result.status == "passed"
    assert "größe ✓" in result.log_tail
    assert result.outcomes[0].definition is not None
    assert result.outcomes[0].definition.path == "prüf fälle/test_öl.py"


def test_untrusted(project: Project) -> None:
    request = replace(project("open('ran', 'w')\ndef test_a(): ...\n"), trusted=False)
    for attempt in (
        run_parity(request, LocalExecutor()),
        LocalExecutor().submit(request),
        CheckQueue(LocalExecutor()).submit(request),
    ):
        with pytest.raises(UntrustedWorkspaceError, match="not trusted"):
            asyncio.run(attempt)
    assert not Path(request.root, "ran").exists()


def test_interpreters_that_do_not_work(project: Project, check: Check, tmp_path: Path) -> None:
    request = project("def test_a(): ...\n")
    plain, script = tmp_path / "plain", tmp_path / "script"
    plain.write_text("")
    script.write_text("#!/bin/sh\necho I am no Python\nexit 3\n")
    script.chmod(0o755)
    for python, reason in (
        (tmp_path / "absent", "does not exist"),
        (plain, "is not executable"),
        (script, "did not start the check: I am no Python"),
    ):
        result = check(request, python=str(python))
        assert (result.status, reason in result.reason) == ("error", True), result.reason
        assert result.next_step


def test_without_pytest(project: Project, check: Check, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    result = check(project("def test_a(): ...\n"), python=str(tmp_path / "bare/bin/python"))
    assert result.status == "error"
    assert "pytest is not installed" in result.reason
    assert "-m pip install pytest" in result.next_step


def test_time_limit_ends_everything(project: Project, check: Check) -> None:
    request = project(SPAWNS)
    result = check(request, timeout=2.0)
    assert result.status == "error"
    assert result.reason == ("Ended after 2 s, the time limit, while running tests/test_it.py::test_spawns.")
    assert "time limit" in result.next_step
    assert alive(pids_of(request)) == []


def test_memory_limit(project: Project, check: Check) -> None:
    source = "import time\ndef test_a():\n    hold = b'x' * (300 << 20)\n    time.sleep(60)\n"
    result = check(project(source), memory_limit=200 << 20)
    assert result.status == "error"
    assert "of memory, more than the limit" in result.reason


def test_children_left_by_a_passing_test(project: Project, check: Check) -> None:
    request = project(SPAWNS.replace("    time.sleep(600)\n\n", "").rpartition("    time.sleep(600)")[0])
    assert check(request).status == "passed"
    assert alive(pids_of(request)) == []


def test_output_by_the_megabyte(project: Project, check: Check) -> None:
    source = """
        import sys
        def test_a():
            for n in range(40000):
                print(f"line {n} " + "x" * 200)
            sys.stdout.write("y" * 5_000_000)
            sys.stdout.write("\\nthe end\\n")
    """
    result = check(project(textwrap.dedent(source)))
    assert result.status == "passed"
    assert len(result.log_tail) < 80_000
    assert "the end" in result.log_tail


def test_secrets_reach_neither_log_nor_child(
    project: Project, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hf_" + "Ab3" * 8
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setenv("MY_SERVICE", secret)
    monkeypatch.setenv("FASTVIDEO_API_KEY", secret)
    monkeypatch.setenv("FASTVIDEO_STAGE", "kept")
    source = f"""
        import os
        def test_a():
            assert os.environ["FASTVIDEO_STAGE"] == "kept"
            assert "{secret}" not in os.environ.values()
            print("Authorization: Bearer abcdefgh12345678")
            raise ValueError("could not load with {secret}")
    """
    events: list[CheckEvent] = []
    result = check(project(textwrap.dedent(source)), events)
    assert result.status == "failed"
    assert "could not load with [redacted]" in result.reason
    everything = repr(result) + repr(events) + repr(result.to_json())
    assert secret not in everything
    assert "abcdefgh12345678" not in everything


def test_cancel_ends_everything(project: Project) -> None:
    request = project(SPAWNS)

    async def scenario() -> list[int]:
        task = asyncio.create_task(run_parity(request, LocalExecutor()))
        pids = await asyncio.to_thread(pids_of, request)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pids

    assert alive(asyncio.run(scenario())) == []


def test_nothing_outlives_a_killed_parent(project: Project, private_temporary_folder: Path) -> None:
    request = project(SPAWNS)
    script = f"""
        import asyncio, tempfile
        from lsp_server.checks.local import LocalExecutor
        from lsp_server.checks.requests import CheckRequest
        from lsp_server.checks.run import run_parity
        tempfile.tempdir = {str(private_temporary_folder)!r}
        asyncio.run(run_parity({request!r}, LocalExecutor()))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    pids = pids_of(request)
    assert len(alive(pids)) == 4
    parent.kill()
    parent.wait()
    assert gone(pids, seconds=5.0)
    deadline = time.monotonic() + 2.0
    while list(private_temporary_folder.iterdir()):
        assert time.monotonic() < deadline, "the run's folder is still there"
        time.sleep(0.02)


def test_nothing_outlives_a_killed_supervisor(project: Project) -> None:
    request = project(SPAWNS)

    async def scenario() -> CheckResult:
        task = asyncio.create_task(run_parity(request, LocalExecutor()))
        pids = await asyncio.to_thread(pids_of, request)
        os.kill(pids[-1], signal.SIGKILL)
        return await task

    result = asyncio.run(scenario())
    assert result.status == "error"
    assert "killed together with its supervisor" in result.reason
    assert gone(pids_of(request), seconds=5.0)


def test_the_newest_run_supersedes(project: Project) -> None:
    slow = project("import time\ndef test_a(): time.sleep(600)\n", "test_slow.py")
    quick = replace(project("def test_a(): ...\n", "test_quick.py"), port="Other")
    other = project("def test_a(): ...\n", "test_other.py")

    async def scenario() -> list[CheckResult]:
        queue = CheckQueue(LocalExecutor())
        events: list[CheckEvent] = []
        first = asyncio.create_task(queue.submit(replace(slow, port="Wan"), events.append))
        while not any(event.kind == "phase" for event in events):
            await asyncio.sleep(0.02)
        waiting = asyncio.create_task(queue.submit(quick))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        newest = asyncio.create_task(queue.submit(replace(quick, port="Wan")))
        results = list(await asyncio.gather(first, waiting, newest))
        results.append(await queue.submit(other))
        running = asyncio.create_task(queue.submit(replace(slow, port="Wan")))
        await asyncio.sleep(0.3)
        assert await queue.cancel("Wan") == 1
        results.append(await running)
        return results

    first, waiting, newest, other_result, cancelled = asyncio.run(scenario())
    assert (first.status, first.reason) == ("cancelled", "A newer run of the same test replaced it.")
    assert (waiting.status, waiting.reason) == ("cancelled", "A newer request took its place.")
    assert (newest.status, other_result.status) == ("passed", "passed")
    assert cancelled.status == "cancelled"
