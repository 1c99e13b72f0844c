"""The command line as a process: what a shell, a pipe and another program see of it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzers.rules.examples import write_tree

COPY = "fastvideo/models/dits/copy.py"
DUPLICATE = "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"
REPOSITORY = Path(__file__).resolve().parents[2]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV")}
    return {**kept, "DITPROOF_CACHE_DIR": str(tmp_path / "cache")}


@pytest.fixture
def ditproof(environment: dict[str, str]) -> Run:
    """Runs the command line in a process of its own."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lsp_server", *map(str, arguments)]
        values: dict[str, object] = {"capture_output": True, "text": True, "env": environment, "timeout": 120}
        return subprocess.run(command, **{**values, **options})  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    # One rule: what is tested here must not change with every rule that is added.
    write_tree(folder, {COPY: DUPLICATE, "ditproof.toml": 'select = ["DIT106"]\n'})
    return folder


def test_findings_exit_with_1_and_json_is_alone_on_standard_output(ditproof: Run, root: Path) -> None:
    done = ditproof("check", "--root", root, "--format", "json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["summary"]["by_rule"] == {"DIT106": 2}


def test_remarks_stay_off_standard_output(ditproof: Run, root: Path) -> None:
    (root / "ditproof.toml").write_text("selct = []\n")
    done = ditproof("check", "--root", root, "--format", "json")
    assert done.returncode == 2
    assert "unknown key 'selct'" in done.stderr
    json.loads(done.stdout)


def test_a_pipe_gets_no_colours(ditproof: Run, root: Path) -> None:
    assert "\x1b" not in ditproof("check", "--root", root).stdout


def test_forced_colours(ditproof: Run, root: Path, environment: dict[str, str]) -> None:
    done = ditproof("check", "--root", root, env={**environment, "FORCE_COLOR": "1"})
    assert "\x1b[" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes end otherwise there")
@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "--format", "json"], ["rule"], ["ports"], ["--help"]]
)
def test_a_reader_that_leaves_changes_nothing(
    root: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    for number in range(200):  # more than a pipe holds
        (root / f"fastvideo/models/dits/copy{number}.py").write_text(DUPLICATE)
    options = [] if arguments in (["rule"], ["--help"]) else ["--root", str(root)]
    process = subprocess.Popen(
        [sys.executable, "-m", "lsp_server", *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(timeout=60) == (1 if arguments[0] == "check" else 0)
    assert error == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_written_is_no_result(root: Path, environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lsp_server", "check", "--root", root],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            check=False,
        )
    assert done.returncode == 3
    assert "the result cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_of_the_terminal_will_do(
    ditproof: Run, root: Path, environment: dict[str, str], encoding: str
) -> None:
    (root / COPY).write_text(DUPLICATE.replace("EntryClass", "x = '日本é'; EntryClass"), encoding="utf-8")
    done = ditproof("check", "--root", root, env={**environment, "PYTHONIOENCODING": encoding}, text=False)
    assert done.returncode == 1
    assert b"DIT106" in done.stdout
    shown = "日本é" if encoding == "utf-8" else "\\u65e5\\u672c"
    assert shown.encode() in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
def test_a_file_name_that_is_no_text(ditproof: Run, root: Path) -> None:
    name = os.fsencode(root / "fastvideo/models/dits") + b"/caf\xe9.py"
    with open(name, "w") as file:  # noqa: PTH123 - a name in bytes
        file.write("def f(:\n")
    done = ditproof("check", "--root", root)
    assert done.returncode == 1
    assert "DIT001" in done.stdout
    assert "Traceback" not in done.stderr
    document = ditproof("check", "--root", root, "--format", "json")
    assert len(json.loads(document.stdout)["findings"]) == 3


def test_a_file_of_30000_lines(ditproof: Run, root: Path) -> None:
    method = "    def step_{0}(self, x):\n        y = self.layer_{0}(x)\n        return y + {0}\n\n"
    body = "".join(method.format(number) for number in range(7500))
    (root / COPY).write_text(
        "class SoundTransformer3DModel:\n" + body + "\nEntryClass = SoundTransformer3DModel\n"
    )
    assert (root / COPY).read_text().count("\n") > 30_000
    done = ditproof("check", "--root", root, "--format", "json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    assert {f["code"] for f in findings} == {"DIT106"}
    assert max(f["line"] for f in findings) > 30_000


def _cpu(action: Callable[[], object]) -> float:
    """CPU seconds of the child processes of an action."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    action()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_stays_within_its_budget(ditproof: Run) -> None:
    ditproof("--help")  # compiles
    assert min(_cpu(lambda: ditproof("--help")) for _ in range(3)) < 0.2


def test_a_second_check_of_the_real_package_costs_a_fraction(ditproof: Run, fastvideo: Path) -> None:
    answers = []

    def check() -> None:
        answers.append(ditproof("check", "--root", fastvideo, "--format", "json"))

    cold = _cpu(check)
    cached = min(_cpu(check) for _ in range(3))
    documents = [json.loads(done.stdout) for done in answers[:2]]
    for document in documents:
        del document["summary"]["seconds"]
    assert documents[0] == documents[1]
    assert documents[0]["summary"]["ports"] > 20
    assert cached < cold / 8


def test_runs_at_once_share_one_cache(environment: dict[str, str], root: Path) -> None:
    command = [sys.executable, "-m", "lsp_server", "check", "--root", str(root), "--format", "json"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [1] * 4
    assert {error for _, error in outputs} == {""}
    assert len({json.dumps(json.loads(out)["findings"]) for out, _ in outputs}) == 1


# --------------------------------------------------------------------------- parity, for real


@pytest.fixture(scope="session")
def project_python() -> str:
    """The stand-in for a user's environment. Its absence is a failure: nothing was tested then."""
    path = os.environ.get("DITPROOF_PROJECT_PYTHON") or str(REPOSITORY / ".project-venv/bin/python")
    if not Path(path).is_file():
        pytest.fail(f"{path} is missing: run `make setup` (scripts/project_env.sh)")
    return path


TESTS = """\
import time

import pytest
import torch
from torch.testing import assert_close


def test_close():
    assert_close(torch.ones(4) + 1e-6, torch.ones(4), atol=1e-4, rtol=0)


def test_far():
    hidden = torch.ones(4)
    hidden[2] += 0.5
    assert_close(hidden, torch.ones(4), atol=1e-4, rtol=0)


def test_skips():
    pytest.skip("needs CUDA")


def test_breaks():
    raise RuntimeError("no such file")


def test_hangs():
    print("hanging", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parity_tree(root: Path) -> Path:
    (root / "tests/local_tests/sound/test_real_parity.py").write_text(TESTS)
    return root


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [("test_close", 0, "passed"), ("test_far", 1, "failed"), ("test_skips", 4, "skipped")],
)
def test_parity_runs(
    ditproof: Run, parity_tree: Path, project_python: str, name: str, code: int, status: str
) -> None:
    test = f"tests/local_tests/sound/test_real_parity.py::{name}"
    done = ditproof("parity", "--root", parity_tree, "--python", project_python, test, "--format", "json")
    assert done.returncode == code, done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == status
    assert "collecting" in done.stderr
    if status == "failed":
        (output,) = document["outputs"]
        assert output["max_abs"] == pytest.approx(0.5)
        assert output["needed_tolerance"] == pytest.approx(0.5)
        assert not output["passed"]


def test_parity_with_an_interpreter_without_torch(ditproof: Run, parity_tree: Path) -> None:
    # The interpreter of these tests is ditproof's own: it has no torch.
    done = ditproof(
        *("parity", "--root", parity_tree, "--python", sys.executable),
        "tests/local_tests/sound/test_real_parity.py::test_close",
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "torch is not installed" in done.stderr
    assert "next:" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupted_parity_run_leaves_nothing(
    parity_tree: Path, project_python: str, environment: dict[str, str], tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "lsp_server", "parity", "--root", str(parity_tree)),
            *("--python", project_python, "tests/local_tests/sound/test_real_parity.py::test_hangs"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(temporary)},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "running tests" in line and "::test_hangs" in line and line.startswith("  "):
            break
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert out == ""
    assert "interrupted" in error
    assert time.monotonic() - began < 30
    assert list(temporary.iterdir()) == []
