"""Evidence: what makes two runs the same question, what is kept, and when it counts no more."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lsp_server.checks.contents import contents_of
from lsp_server.checks.evidence import standing
from lsp_server.checks.evidence.making import evidence_of_parity, parity_asked
from lsp_server.checks.evidence.model import Evidence, Revision, WeightsFile, evidence_from
from lsp_server.checks.evidence.standing import changes_since, environment_of, fitting, weights_file
from lsp_server.checks.evidence.store import VERSION, EvidenceError, EvidenceStore
from lsp_server.checks.evidence.trends import series_of, sparkline, trend
from lsp_server.checks.executor import RawRun
from lsp_server.checks.requests import CheckRequest, Output
from lsp_server.checks.results import build_result

PORT = "fastvideo/models/dits/wan.py::Wan"


def output(drift: float = 1e-3, tolerance: float = 1e-2, name: str = "out") -> Output:
    return Output(name, drift, drift / 2, drift, tolerance, drift, drift <= tolerance)


def run(number: int = 1, **changes: Any) -> Evidence:
    made = Evidence(
        id=f"run{number}",
        port=PORT,
        tier="weights",
        subject="tests/test_wan_parity.py",
        status="passed",
        reason="1 test passed",
        ended=time.time() - 1000 + number,
        seconds=2.0,
        question={"python": "/venv/bin/python"},
        sources={"wan.py": "abc"},
        revision=Revision("0" * 40, "dirty"),
        weights=(WeightsFile("/w/a.safetensors", 10, "beef"),),
        outputs=(output(),),
        document={"status": "passed"},
    )
    return replace(made, **changes)


# ---------------------------------------------------------------------- the model


def test_a_record_comes_back_as_it_was() -> None:
    before = run()
    assert evidence_from(json.loads(json.dumps(before.to_json()))) == before


@pytest.mark.parametrize("name", ["id", "port", "tier", "status", "ended"])
def test_a_record_without_what_it_is_about_is_refused(name: str) -> None:
    plain = run().to_json()
    del plain[name]
    with pytest.raises(ValueError, match=name):
        evidence_from(plain)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match="cancelled"):
        evidence_from({**run().to_json(), "status": "cancelled"})


@pytest.mark.parametrize(
    "change",
    [
        {"sources": {"wan.py": "abd"}},
        {"weights": ()},
        {"environments": {"/venv": "x"}},
        {"question": {"python": "/other"}},
        {"subject": "tests/test_other_parity.py"},
    ],
)
def test_the_key_hangs_on_every_input(change: dict[str, Any]) -> None:
    assert run(**change).key != run().key


def test_the_key_does_not_hang_on_the_outcome() -> None:
    assert run(2, status="failed", outputs=(), seconds=9.0).key == run().key


def test_the_worst_output_is_the_one_furthest_beyond_its_tolerance() -> None:
    outputs = (output(0.5, 1.0, "near"), output(1e-3, 1e-2, "far"), output(3e-3, 2e-3, "red"))
    found = run(outputs=outputs).worst
    assert found is not None
    assert found.name == "red"


# ---------------------------------------------------------------------- the store


def test_runs_are_kept_and_found(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    assert store.latest() == []
    assert not store.folder.exists(), "reading writes nothing"
    for number in (1, 2, 3):
        store.add(run(number, status="failed" if number == 2 else "passed"))
    store.add(run(4, tier="tiny", subject="diffusers:Wan"))
    store.add(run(5, port="x.py::Other"))
    assert [e.id for e in store.latest(PORT)] == ["run4", "run3"]
    assert [e.id for e in store.history(PORT, "weights")] == ["run3", "run2", "run1"]
    assert [e.id for e in store.same_question(run().asked)] == ["run3", "run2", "run1"]
    assert [e.id for e in store.passes("x.py::Other")] == ["run5"]
    assert {e.id for e in store.latest()} == {"run3", "run4", "run5"}
    assert "*" in (tmp_path / ".ditproof" / ".gitignore").read_text().split()


def test_the_last_pass_is_not_the_last_run(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.add(run(1))
    store.add(run(2, status="skipped"))
    assert [e.status for e in store.latest()] == ["skipped"]
    assert [e.id for e in store.passes()] == ["run1"]


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.add(run(1))
    store.add(run(2, port="x.py::Other"))
    assert store.clear(PORT) == 1
    assert [e.id for e in store.latest()] == ["run2"]
    assert store.clear() == 1
    assert EvidenceStore(tmp_path / "nothing").clear() == 0


def test_old_runs_go_but_for_the_newest_pass(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path, maximum_age=500.0)
    now = time.time()
    ages = [(900, "passed"), (800, "passed"), (700, "failed"), (1, "failed")]
    for number, (age, status) in enumerate(ages):
        store.add(run(number, ended=now - age, status=status))
    assert [e.id for e in store.history(PORT)] == ["run3", "run1"]


def test_many_runs_stay_within_the_bound(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path, maximum_bytes=20_000)
    for number in range(40):
        noise = os.urandom(1000).hex()
        store.add(run(number, status="failed" if number else "passed", document={"log_tail": noise}))
    kept = store.history(PORT)
    assert 5 < len(kept) < 40
    assert kept[0].id == "run39"
    assert kept[-1].id == "run0", "the only pass"


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    problems: list[Exception] = []

    def write(first: int) -> None:
        store = EvidenceStore(tmp_path)
        try:
            for number in range(first, first + 20):
                store.add(run(number))
        except Exception as problem:  # noqa: BLE001 - handed to the test
            problems.append(problem)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(EvidenceStore(tmp_path).history(PORT)) == 60


def test_a_killed_writer_leaves_whole_runs(tmp_path: Path) -> None:
    """A process that is ended while it writes leaves what was there, or what it had finished."""
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from test_evidence import run, EvidenceStore\n"
        "store, number = EvidenceStore(Path(sys.argv[1])), 0\n"
        "print('begun', flush=True)\n"
        "while True:\n"
        "    number += 1\n"
        "    store.add(run(number, document={'log': 'x' * 200000}))\n"
    )
    here = Path(__file__).resolve()
    paths = [str(here.parent), str(here.parent.parent.parent)]
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), *paths], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        time.sleep(0.15)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        store = EvidenceStore(tmp_path)
        found = store.history(PORT)
        assert found
        assert all(len(e.document["log"]) == 200000 for e in found)
        store.add(run(9999, document={"log": "x" * 200000}))
        assert store.moved_aside is None


def test_a_torn_store_is_moved_aside(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.add(run(1))
    store.file.write_bytes(b"no database at all" * 100)
    store.add(run(2))
    assert [e.id for e in store.history(PORT)] == ["run2"]
    assert store.moved_aside is not None
    assert store.moved_aside.read_bytes().startswith(b"no database")


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.add(run(1))
    with sqlite3.connect(store.file) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = store.file.read_bytes()
    with pytest.raises(EvidenceError, match="another version"):
        store.add(run(2))
    with pytest.raises(EvidenceError, match="another version"):
        store.latest()
    assert store.file.read_bytes() == before


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.add(run(1))
    full = _FullStore(tmp_path)
    with pytest.raises(EvidenceError, match="full") as told:
        full.add(run(2, document={"log": os.urandom(200_000).hex()}))
    assert "Make room" in told.value.next_step
    assert [e.id for e in store.history(PORT)] == ["run1"]


class _FullStore(EvidenceStore):
    """A store whose file may not grow, as on a disk without room."""

    def _prepared(self) -> sqlite3.Connection:
        connection = super()._prepared()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".ditproof").write_text("a file where the folder should be")
    with pytest.raises(EvidenceError, match="cannot be kept"):
        EvidenceStore(tmp_path).add(run())


def test_one_broken_record_hides_no_other(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.add(run(1))
    store.add(run(2))
    with sqlite3.connect(store.file) as connection:
        connection.execute("UPDATE runs SET record = x'00' WHERE id = 'run2'")
    assert [e.id for e in store.history(PORT)] == ["run1"]


# ---------------------------------------------------------------------- whether it still counts


@pytest.fixture
def seen(tmp_path: Path) -> Evidence:
    """A pass that hung on a source, a checkpoint and an environment that are there."""
    (tmp_path / "wan.py").write_text("EPS = 1e-6\n")
    weights = tmp_path / "w.safetensors"
    write_weights(weights, "F32")
    packages = tmp_path / "site-packages"
    (packages / "torch-2.0.dist-info").mkdir(parents=True)
    (packages / "torch-2.0.dist-info" / "RECORD").write_text("")
    identity = weights_file(weights)
    assert identity is not None
    return run(
        sources=contents_of(tmp_path, ["wan.py"]),
        weights=(identity,),
        environments={str(packages): environment_of(packages)},
    )


def write_weights(path: Path, dtype: str) -> None:
    header = json.dumps({"w": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


def test_what_has_not_changed_counts(tmp_path: Path, seen: Evidence) -> None:
    assert changes_since(tmp_path, seen) == ()
    assert fitting(tmp_path, [seen]) == seen


def test_another_text_makes_it_stale_and_the_old_one_good_again(tmp_path: Path, seen: Evidence) -> None:
    source = tmp_path / "wan.py"
    source.write_text("EPS = 1e-5\n")
    assert [str(c) for c in changes_since(tmp_path, seen)] == ["wan.py has changed"]
    assert fitting(tmp_path, [seen]) is None
    source.write_text("EPS = 1e-6\n")
    assert fitting(tmp_path, [seen]) == seen
    source.unlink()
    assert [str(c) for c in changes_since(tmp_path, seen)] == ["wan.py is gone"]


def test_other_weights_make_it_stale(tmp_path: Path, seen: Evidence) -> None:
    file = tmp_path / "w.safetensors"
    write_weights(file, "I32")
    assert [c.kind for c in changes_since(tmp_path, seen)] == ["weights"]
    file.unlink()
    assert [c.kind for c in changes_since(tmp_path, seen)] == ["no-weights"]


def test_other_packages_make_it_stale(tmp_path: Path, seen: Evidence) -> None:
    packages = tmp_path / "site-packages"
    (packages / "torch-2.0.dist-info").rename(packages / "torch-2.1.dist-info")
    assert [c.kind for c in changes_since(tmp_path, seen)] == ["environment"]


@pytest.mark.parametrize("change", [{"status": "skipped"}, {"status": "error"}, {"sources": {}}])
def test_what_hung_on_the_machine_is_asked_again(
    tmp_path: Path, seen: Evidence, change: dict[str, Any]
) -> None:
    assert fitting(tmp_path, [replace(seen, **change)]) is None


def test_a_header_that_is_cut_off_is_no_identity(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes((1000).to_bytes(8, "little") + b"{}")
    assert weights_file(file) is None
    file.write_bytes((standing.HEADER_LIMIT + 1).to_bytes(8, "little") + b"{}")
    assert weights_file(file) is None


# ---------------------------------------------------------------------- trends


def test_series_run_from_the_oldest_to_the_newest() -> None:
    history = [run(n, outputs=(output(10.0**-n), output(1.0, name="b"))) for n in (3, 1, 2)]
    first, second = series_of(history)
    assert (first.name, second.name) == ("out", "b")
    assert first.drifts == (1e-1, 1e-2, 1e-3)
    assert [p.run for p in first.points] == ["run1", "run2", "run3"]


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([1e-3, 1e-2, 1e-1], "▁▅█"),
        ([1e-3, 1e-3], "▁▁"),
        ([0.0, 1e-3, None, 1.0], "▁▁·█"),
        ([float("inf"), 1.0], "█▁"),
        ([], ""),
    ],
)
def test_sparklines(values: list[float | None], bars: str) -> None:
    assert sparkline(values) == bars


@pytest.mark.parametrize(
    ("drifts", "text"),
    [
        ([1e-3, 2e-3], "2 times the 0.001 of before"),
        ([1e-3, 1e-4], "down from 0.001"),
        ([1e-3, 1.01e-3], None),
        ([0.0, 1e-3], "0 before"),
        ([1e-3], None),
    ],
)
def test_trends(drifts: list[float], text: str | None) -> None:
    (series,) = series_of([run(n, outputs=(output(d),)) for n, d in enumerate(drifts)])
    assert trend(series) == text


# ---------------------------------------------------------------------- from a result


def test_a_parity_run_is_kept_with_what_it_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    os.utime(tmp_path / "a.py", (1, 1))
    request = CheckRequest(str(tmp_path), sys.executable, "test_a.py", trusted=True, port="Wan")
    records = (
        {"kind": "started", "root": str(tmp_path)},
        {"kind": "loaded", "files": [str(tmp_path / "a.py"), "/clone/b.py"], "packages": [], "weights": []},
        {"kind": "outcome", "test": "test_a.py::test", "outcome": "passed", "seconds": 1.0},
        {"kind": "session", "exit_code": 0},
    )
    result = build_result(request, RawRun("exited", "", records, "", 1.0))
    kept = evidence_of_parity(PORT, request, result, began=time.time())
    assert kept is not None
    assert kept.status == "passed"
    assert dict(kept.sources) == contents_of(tmp_path, ["a.py", "/clone/b.py"])
    assert kept.asked == parity_asked(PORT, request)
    assert parity_asked(PORT, replace(request, device="cuda")) != kept.asked


def test_a_run_during_which_a_file_changed_speaks_of_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    request = CheckRequest(str(tmp_path), sys.executable, "test_a.py", trusted=True)
    records = (
        {"kind": "started", "root": str(tmp_path)},
        {"kind": "loaded", "files": [str(tmp_path / "a.py")], "packages": [], "weights": []},
        {"kind": "outcome", "test": "test_a.py::test", "outcome": "passed", "seconds": 1.0},
        {"kind": "session", "exit_code": 0},
    )
    result = build_result(request, RawRun("exited", "", records, "", 1.0))
    kept = evidence_of_parity(PORT, request, result, began=time.time() - 60)
    assert kept is not None
    assert kept.sources == {}


def test_a_cancelled_run_is_not_kept(tmp_path: Path) -> None:
    request = CheckRequest(str(tmp_path), sys.executable, "test_a.py", trusted=True)
    result = build_result(request, RawRun("cancelled", "", (), "", 1.0))
    assert evidence_of_parity(PORT, request, result, began=0.0) is None


def test_a_variable_that_a_test_may_read_makes_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CheckRequest(str(tmp_path), sys.executable, "test_a.py", trusted=True)
    before = parity_asked(PORT, request)
    monkeypatch.setenv("TERM", "other")
    assert parity_asked(PORT, request) == before
    monkeypatch.setenv("WAN_MODEL_DIR", "/weights")
    assert parity_asked(PORT, request) != before
