"""`ditproof parity`: what is run, with which interpreter, and what its result means to the caller.

Runs themselves are tested with a real interpreter in tests/server.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_testing import Cli, cli, tree_at
from test_cli_commands import TEST, fake_python

from lsp_server.checks.executor import Executor
from lsp_server.checks.requests import CheckEvent, CheckRequest, CheckResult, Output, Status
from lsp_server.checks.run import OnEvent
from lsp_server.commands import parity

__all__ = ["cli"]

SECOND = "tests/local_tests/sound/test_sound_second_parity.py"

CLOSE = Output("sample", 1e-6, 1e-7, 2e-7, 1e-4, 0.0, True)
FAR = Output("audio[left]", 0.25, 0.125, 0.0625, 1e-4, 0.26, False)


def result(request: CheckRequest, status: Status, *outputs: Output, **changes: object) -> CheckResult:
    values: dict[str, object] = {
        "port": request.port,
        "tier": request.tier,
        "status": status,
        "reason": f"why {status}",
        "next_step": "",
        "test": request.test,
        "outputs": outputs,
        "comparisons": (),
        "outcomes": (),
        "notes": (),
        "log_tail": "",
        "seconds": 1.25,
    }
    return CheckResult(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[CheckRequest]:
    """Takes the place of running: a test passes unless its name says otherwise."""
    requests: list[CheckRequest] = []

    async def run(request: CheckRequest, executor: Executor, on_event: OnEvent) -> CheckResult:
        requests.append(request)
        on_event(CheckEvent("phase", "collecting"))
        on_event(CheckEvent("output", "printed by the test"))
        name = request.test.partition("::")[2] or "passed"
        if name == "failed":
            return result(request, "failed", CLOSE, FAR, log_tail="E   the end", next_step="look there")
        if name in ("skipped", "error", "cancelled"):
            return result(request, name)  # type: ignore[arg-type]
        return result(request, "passed", CLOSE, notes=("a remark",))

    monkeypatch.setattr(parity, "run_parity", run)
    return requests


@pytest.fixture
def project(tmp_path: Path) -> list[str]:
    """The options that name a tree and its interpreter."""
    root = tree_at(tmp_path / "tree", {SECOND: "import SoundTransformer3DModel\n\n\ndef test_it(): ...\n"})
    return ["--root", str(root), "--python", str(fake_python(tmp_path))]


@pytest.mark.parametrize(
    ("name", "code"), [("passed", 0), ("failed", 1), ("error", 3), ("cancelled", 3), ("skipped", 4)]
)
def test_the_exit_code_follows_the_status(
    cli: Cli, runs: list[CheckRequest], project: list[str], name: str, code: int
) -> None:
    outcome = cli("parity", *project, f"{TEST}::{name}", "--format", "json")
    assert outcome.code == code
    assert outcome.json["status"] == name
    assert outcome.json["port"] == "SoundTransformer3DModel"
    assert "runs" not in outcome.json


def test_a_test_is_run_where_it_is(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    cli("parity", *project, f"{TEST}::passed", "--timeout", "5", "--memory-limit", "2")
    (request,) = runs
    assert request.test == f"{TEST}::passed"
    assert request.root == str(Path(project[1]).resolve())
    assert request.python == project[3]
    assert request.trusted
    assert (request.timeout, request.memory_limit) == (5.0, 2 << 30)
    assert request.port == "SoundTransformer3DModel"


def test_a_port_stands_for_its_parity_tests(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    outcome = cli("parity", *project, "SoundTransformer3DModel", "--format", "json")
    assert outcome.code == 0
    assert [request.test for request in runs] == [SECOND, TEST]
    document = outcome.json
    assert [run["test"] for run in document["runs"]] == [SECOND, TEST]
    assert document["status"] == "passed"
    assert len(document["outputs"]) == 2
    assert document["seconds"] == 2.5
    text = cli("parity", *project, "SoundTransformer3DModel")
    assert text.out.splitlines()[-1] == "2 tests of SoundTransformer3DModel: passed."


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["passed", "passed"], "passed"),
        (["passed", "failed"], "failed"),
        (["failed", "error"], "error"),
        (["skipped", "skipped"], "skipped"),
        (["skipped", "passed"], "passed"),
        (["skipped", "failed"], "failed"),
        (["passed", "cancelled"], "cancelled"),
    ],
)
def test_several_runs_have_one_status(statuses: list[Status], expected: str) -> None:
    request = CheckRequest(root="/", python="python", test="t.py", trusted=True)
    assert parity.overall([result(request, status) for status in statuses]) == expected


def test_the_table_of_outputs(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    outcome = cli("parity", *project, f"{TEST}::failed")
    lines = outcome.out.splitlines()
    assert lines[0] == f"{TEST}::failed: failed in 1.2 s"
    assert lines[1].split() == ["OUTPUT", *["MAX", "ABS", "MEAN", "ABS", "REL", "L2", "TOLERANCE", "NEEDED"]]
    assert lines[2].split() == ["sample", "1e-06", "1e-07", "2e-07", "0.0001", "0", "ok"]
    assert lines[3].split() == ["audio[left]", "0.25", "0.125", "0.0625", "0.0001", "0.26", "drifts"]
    assert lines[4:6] == ["why failed", "  next: look there"]
    assert lines[6:] == ["the end of the log:", "  E   the end"]


def test_progress_goes_to_standard_error(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    outcome = cli("parity", *project, TEST)
    assert "collecting" in outcome.err
    assert "printed by the test" not in outcome.err + outcome.out
    assert "collecting" not in outcome.out
    assert "note: a remark" in outcome.out
    assert cli("parity", *project, TEST, "--quiet").err == ""


def refused(cli: Cli, runs: list[CheckRequest], code: int, *arguments: str | Path) -> str:
    outcome = cli("parity", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert runs == []
    assert "next:" in outcome.err
    return outcome.err


def test_a_name_that_is_neither_file_nor_port(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    message = refused(cli, runs, 2, *project, "SilentTransformer3DModel")
    assert "neither a file nor a port" in message


def test_a_file_that_does_not_exist(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    assert "does not exist" in refused(cli, runs, 2, *project, "tests/nope.py::test_it")


def test_a_port_without_tests(cli: Cli, runs: list[CheckRequest], tmp_path: Path) -> None:
    root = tree_at(tmp_path / "tree", {TEST: None})
    message = refused(
        cli, runs, 3, "--root", root, "--python", fake_python(tmp_path), "SoundTransformer3DModel"
    )
    assert "no parity test names SoundTransformer3DModel" in message


def test_an_interpreter_that_does_not_exist(cli: Cli, runs: list[CheckRequest], project: list[str]) -> None:
    message = refused(cli, runs, 3, *project, TEST, "--python", "/nowhere/python")
    assert "/nowhere/python" in message
    assert "does not exist" in message


def test_an_interpreter_without_torch(cli: Cli, runs: list[CheckRequest], tmp_path: Path) -> None:
    root = tree_at(tmp_path / "tree")
    message = refused(cli, runs, 3, "--root", root, "--python", fake_python(tmp_path, torch=None), TEST)
    assert "torch is not installed" in message


def test_not_a_tree(
    cli: Cli, runs: list[CheckRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is not in a tree of FastVideo or SGLang" in refused(cli, runs, 2, "SoundTransformer3DModel")


def test_a_test_named_from_its_own_folder(
    cli: Cli, runs: list[CheckRequest], project: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(project[1]) / "tests/local_tests/sound")
    outcome = cli("parity", *project[2:], Path(TEST).name)
    assert outcome.code == 0
    assert [request.test for request in runs] == [TEST]
