"""The conversation with the worker: what is built and asked, and what is left when anybody ends.

The models and the instrument are toys (`toy_tiny`), put in the place of the real ones.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from meta_client import Worker, toy_tree
from test_meta_worker import gone, parent

TOY = Path(__file__).with_name("toy_tiny")
PORT = "fastvideo.models.dits.mini:Mini"
Start = Callable[..., Worker]

_MINI = """import torch


class Mini(torch.nn.Module):
    def forward(self, x):
        if x.sum() < 0:
            raise ValueError("negative")
        return x.sum()
"""


@pytest.fixture(scope="module")
def toy_bundle(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "bundle"
    shutil.copytree(bundle, folder)
    shutil.copyfile(TOY / "building.py", folder / "ditproof_probe/tiny/building.py")
    shutil.copyfile(TOY / "instrument.py", folder / "ditproof_probe/taps/instrument.py")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = toy_tree(tmp_path_factory.mktemp("tree"))
    (folder / "fastvideo/models/dits/mini.py").write_text(_MINI)
    return folder


@pytest.fixture(scope="module")
def start(
    project_python: str, toy_bundle: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    started: list[Worker] = []

    def start(**spec: object) -> Worker:
        run_dir = tmp_path_factory.mktemp("tiny") / "run"
        started.append(Worker(project_python, toy_bundle, root, run_dir, **spec))
        return started[-1]

    yield start
    for worker in started:
        if worker.process.poll() is None:
            assert worker.end() == 0


@pytest.fixture(scope="module")
def worker(start: Start) -> Worker:
    """Shared: what hurts one conversation must not hurt the next."""
    return start()


def opened(worker: Worker, **more: object) -> tuple[int, dict]:
    number = worker.begin(PORT, **more)
    built = worker.told(number)
    assert (built["kind"], built["n"]) == ("answer", 0)
    return number, built["value"]


def ended(worker: Worker, number: int) -> dict | None:
    last = worker.told(number)
    assert last["kind"] == "ended"
    assert last["seconds"] >= 0
    return last["problem"]


def closed(worker: Worker, number: int, n: int = 99) -> None:
    worker.put(number, n, "end")
    assert ended(worker, number) is None


def test_what_was_built_stays_for_every_ask(worker: Worker) -> None:
    number, built = opened(worker, seed=3)
    assert (built["seed"], built["class"]) == (3, "Mini")
    for n in (1, 2):
        worker.put(number, n, "forward", x=[1.0, 2.0])
        assert worker.told(number)["value"] == {"sum": 3.0, "number": n}
    closed(worker, number)
    other, again = opened(worker)
    assert again["pid"] != built["pid"]
    worker.put(other, 1, "forward", x=[1.0])
    assert worker.told(other)["value"] == {"sum": 1.0, "number": 1}
    closed(worker, other)
    assert worker.progress[-2:] == ["building the port", "running both models"]


def test_asks_that_are_written_ahead_wait_for_their_turn(worker: Worker) -> None:
    first, second = worker.begin(PORT), worker.begin(PORT)
    worker.put(second, 1, "forward", x=[5.0])
    worker.put(second, 2, "end")
    worker.put(first, 1, "length", text="x" * 1_000_000)  # more than any pipe holds
    worker.put(first, 2, "many", bytes=1_000_000)
    worker.put(first, 3, "end")
    told = [worker.told(first) for _ in range(4)]
    assert [message.get("n") for message in told] == [0, 1, 2, None]
    assert told[1]["value"] == {"length": 1_000_000}
    assert len(told[2]["value"]["text"]) == 1_000_000
    assert [worker.told(second).get("n") for _ in range(3)] == [0, 1, None]


def test_a_problem_is_an_answer_and_the_conversation_goes_on(worker: Worker, root: Path) -> None:
    number, _ = opened(worker)

    def problem(n: int, ask: str, **arguments: object) -> dict:
        worker.put(number, n, ask, **arguments)
        message = worker.told(number)
        assert (message["n"], "value" in message) == (n, False)
        return message["problem"]

    raised = problem(1, "forward", x=[-1.0])
    assert (raised["type"], raised["line"]) == ("ValueError", 6)
    assert raised["path"] == str(root / "fastvideo/models/dits/mini.py")
    assert problem(2, "dance")["type"] == "UnknownAsk"
    assert problem(3, "__init__", twin=None)["type"] == "UnknownAsk"
    assert problem(4, "twin")["type"] == "UnknownAsk"
    assert problem(5, "forward", y=1)["type"] == "BadRequest"
    for n, what in ((6, "nan"), (7, "tensor"), (8, "list")):
        assert problem(n, "wrong", what=what)["type"] == "BadAnswer"
    assert problem(9, "ends", how="system exit")["type"] == "SystemExit"
    known = problem(10, "stopped")
    assert (known["side"], known["stage"], known["message"]) == ("official", "forward", "no such case")
    worker.put(number, 11, "try")
    assert worker.told(number)["value"] == {"tried": True}
    closed(worker, number)


def test_what_cannot_be_built_ends_it(worker: Worker) -> None:
    problem = ended(worker, worker.begin(PORT, recipe="/nowhere/recipe.py"))
    assert problem is not None
    assert (problem["type"], problem["stage"], problem["next_step"]) == ("NoRecipe", "recipe", "Write one.")
    raised = ended(worker, worker.begin("fastvideo.models.dits.nowhere:Mini"))
    assert raised is not None
    assert (raised["type"], raised["side"]) == ("ModuleNotFoundError", "port")


@pytest.mark.parametrize(("how", "type"), [("crash", "Crash"), ("exit", "Exit")])
def test_a_child_that_ends_ends_alone(worker: Worker, how: str, type: str) -> None:
    number, built = opened(worker)
    levels = worker.processes() - {built["pid"]}
    worker.put(number, 1, "ends", how=how)
    problem = ended(worker, number)
    assert problem is not None
    assert problem["type"] == type
    assert "running both models" in problem["message"]
    worker.put(number, 2, "forward", x=[1.0])
    assert worker.told(number)["problem"]["type"] == "NoSession"
    number, _ = opened(worker)
    closed(worker, number)
    assert levels <= worker.processes()


def test_a_busy_conversation_is_cancelled_with_what_it_started(worker: Worker) -> None:
    number, built = opened(worker)
    loner = 200_000 + os.getpid()
    waiting = worker.begin(PORT)
    worker.put(number, 1, "sleep", seconds=600, loner=["sleep", str(loner)])
    deadline = time.monotonic() + 20
    while not sleeping(loner) and time.monotonic() < deadline:
        time.sleep(0.05)
    sleepers = sleeping(loner)
    assert sleepers
    worker.send({"kind": "cancel", "id": number})
    problem = ended(worker, number)
    assert problem is not None
    assert problem["type"] == "Cancelled"
    assert worker.told(waiting)["n"] == 0
    assert gone({built["pid"]} | sleepers)
    closed(worker, waiting)


def sleeping(seconds: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if command == f"sleep\x00{seconds}\x00":
                found.add(int(entry.name))
    return found


def test_one_that_waits_in_line_is_cancelled(worker: Worker) -> None:
    number, _ = opened(worker)
    waiting = worker.begin(PORT)
    worker.send({"kind": "cancel", "id": waiting})
    problem = ended(worker, waiting)
    assert problem is not None
    assert problem["type"] == "Cancelled"
    closed(worker, number)


def test_state_dicts_wait_until_the_conversation_is_over(worker: Worker) -> None:
    number, _ = opened(worker)
    state = worker.start("fastvideo.models.dits.nowhere:Mini")
    worker.put(number, 1, "forward", x=[1.0])
    assert worker.told(number)["value"]["sum"] == 1.0
    closed(worker, number)
    assert worker.answer(state)["problems"][0]["type"] == "ModuleNotFoundError"


def test_an_edit_is_seen_by_the_next_conversation_and_not_by_this_one(worker: Worker, root: Path) -> None:
    file = root / "fastvideo/models/dits/mini.py"
    common = root / "fastvideo/layers/linear.py"
    kept = common.read_text()
    number, _ = opened(worker)
    file.write_text(_MINI.replace("x.sum()\n", "x.sum() + 10\n"))
    common.write_text(kept + "\n")  # of those that are imported before the fork
    worker.put(number, 1, "forward", x=[1.0])
    assert worker.told(number)["value"]["sum"] == 1.0
    closed(worker, number)
    number, _ = opened(worker)
    worker.put(number, 1, "forward", x=[1.0])
    assert worker.told(number)["value"]["sum"] == 11.0
    closed(worker, number)
    file.write_text(_MINI)
    common.write_text(kept)


def test_only_who_asks_for_a_gpu_sees_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    worker = start()
    for device, visible in (("cpu", ""), ("cuda", "7"), ("cpu", "")):
        number, _ = opened(worker, device=device)
        worker.put(number, 1, "environment", name="CUDA_VISIBLE_DEVICES")
        assert worker.told(number)["value"] == {"value": visible, "threads": 1}
        closed(worker, number)


@pytest.mark.parametrize("level", ["client", "server", "base", "zygote"])
def test_whoever_is_killed_nothing_is_left(start: Start, level: str) -> None:
    worker = start()
    number, built = opened(worker)
    worker.put(number, 1, "sleep", seconds=600)
    everything = worker.processes()
    assert len(everything) == 4
    zygote = parent(built["pid"])
    if level == "client":
        assert worker.end() == 0
        assert gone(everything)
        assert not worker.run_dir.exists()
        return
    victim = {"server": worker.process.pid, "base": parent(zygote), "zygote": zygote}[level]
    os.kill(victim, signal.SIGKILL)
    if level == "server":
        worker.process.wait(10)
        assert gone(everything)
        return
    problem = ended(worker, number)
    assert problem is not None
    assert problem["type"] == "Crash"
    assert gone({built["pid"], zygote})
    number, _ = opened(worker)
    closed(worker, number)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "tiny", "port": None, "official": {"ref": "a:b"}}, "needs a port"),
        ({"kind": "tiny", "recipe": 1}, "recipe is a path"),
        ({"kind": "tiny", "device": None}, "device is a text"),
        ({"kind": "ask", "n": 0, "ask": "a"}, "an ask needs n"),
        ({"kind": "ask", "n": 1, "ask": "a", "arguments": []}, "arguments is an object"),
    ],
)
def test_what_is_no_request_is_refused(worker: Worker, fields: dict, reason: str) -> None:
    port = {"module": "a", "class": "b", "path": "c"}
    worker.send({"id": 77, "port": port, "recipe": None, "device": "cpu", "seed": 0, **fields})
    told = worker.told(77)
    assert told["kind"] == ("ended" if fields["kind"] == "tiny" else "answer")
    assert told["problem"]["type"] == "BadRequest"
    assert reason in told["problem"]["message"]


def test_silence_ends_a_conversation(worker: Worker) -> None:
    number, _ = opened(worker, seed=-1)
    problem = ended(worker, number)
    assert problem is not None
    assert problem["type"] == "Idle"


def test_without_a_fork(start: Start) -> None:
    worker = start(fork=False)
    number, built = opened(worker)
    worker.put(number, 1, "forward", x=[-1.0])
    assert worker.told(number)["problem"]["type"] == "ValueError"
    worker.put(number, 2, "many", bytes=1_000_000)
    assert len(worker.told(number)["value"]["text"]) == 1_000_000
    waiting = worker.begin(PORT)
    worker.put(number, 3, "ends", how="exit")
    problem = ended(worker, number)
    assert problem is not None
    assert problem["type"] == "Exit"
    built = worker.told(waiting)["value"]
    everything = worker.processes()
    assert built["pid"] in everything
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait(10)
    assert gone(everything)


_OTHER = """import inspect
import linecache
import torch


class Mini(torch.nn.Module):
    def forward(self, x):
        if x.sum() < 0:
            raise ValueError(inspect.getsource(Mini.forward) + linecache.getline(__file__, 6))
        return 100 * x.sum()
"""


def test_a_module_is_read_from_a_given_text(worker: Worker, root: Path) -> None:
    path = root / "fastvideo/models/dits/mini.py"
    before = path.stat(), sorted((worker.run_dir / "bytecode").rglob("*mini*"))
    number, _ = opened(worker, overlay={str(path): _OTHER})
    worker.put(number, 1, "forward", x=[1.0, 2.0])
    assert worker.told(number)["value"]["sum"] == 300.0
    worker.put(number, 2, "forward", x=[-1.0])
    raised = worker.told(number)["problem"]
    assert raised["line"] == 8
    assert "return 100 * x.sum()" in raised["message"]
    assert raised["message"].endswith("class Mini(torch.nn.Module):\n")
    closed(worker, number)
    assert (path.stat(), sorted((worker.run_dir / "bytecode").rglob("*mini*"))) == before
    other, _ = opened(worker)
    worker.put(other, 1, "forward", x=[1.0, 2.0])
    assert worker.told(other)["value"]["sum"] == 3.0
    closed(worker, other)


def test_a_text_that_cannot_be_used_is_told(worker: Worker, root: Path) -> None:
    def why(path: Path, text: str) -> dict:
        number = worker.begin(PORT, overlay={str(path): text})
        problem = ended(worker, number)
        assert problem is not None
        return problem

    assert why(root / "fastvideo/models/dits/nobody.py", "")["type"] == "OverlayUnused"
    assert why(root / "fastvideo/platforms/__init__.py", "")["type"] == "ImportedAlready"
    wrong = why(root / "fastvideo/models/dits/mini.py", "def f(:\n")
    assert (wrong["type"], wrong["line"]) == ("SyntaxError", 0)
