"""What recording costs a parity test: the same test with and without our plugins, in one run.

    python benchmarks/recorder_overhead.py [--python PATH] [--rounds N]

The test builds a small transformer block twice, runs both, and compares 48 tensors of 2 MiB (fp32) with
`assert_close`. Both sides run in fresh processes under the project's interpreter, in turn, and the median of
each is told. Budget: 2 % of the test's time and 50 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lsp_server.checks.bundle import write_bundle  # noqa: E402

SHARE, FIXED = 0.02, 0.05

TEST = """\
import time
import torch
from torch import nn
from torch.testing import assert_close

def block():
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True).eval()

def test_parity():
    began = time.perf_counter()
    with torch.no_grad():
        mine, theirs = block(), block()
        x = torch.randn(4, 256, 512)
        for _ in range(48):
            assert_close(mine(x), theirs(x), atol=1e-5, rtol=1e-5)
    print("SECONDS", time.perf_counter() - began)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=str(ROOT / ".project-venv/bin/python"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ditproof-bench-") as folder:
        place = Path(folder)
        (place / "project").mkdir()
        (place / "project" / "test_parity.py").write_text(TEST)
        bundle = write_bundle(place / "bundle")
        plain: list[float] = []
        recorded: list[float] = []
        inside: dict[str, list[float]] = {"plain": [], "recorded": []}
        for _ in range(options.rounds):
            for times, kind in ((plain, "plain"), (recorded, "recorded")):
                whole, test = _run(options.python, place, bundle, recorded=kind == "recorded")
                times.append(whole)
                inside[kind].append(test)
    told = _told(plain, recorded, inside)
    print(json.dumps(told, indent=2) if options.json else _text(told))
    return 0


def _run(python: str, place: Path, bundle: Path, *, recorded: bool) -> tuple[float, float]:
    """Seconds of the process, and of the test itself."""
    arguments = [python, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_parity.py"]
    if recorded:
        specification = place / "spec.json"
        records = place / f"records-{time.monotonic_ns()}.jsonl"
        specification.write_text(
            json.dumps(
                {
                    "records": str(records),
                    "run_dir": str(place / "run"),
                    "bundle": str(bundle),
                    "target": "test_parity.py",
                    "line": None,
                    "grace": 1.0,
                }
            )
        )
        (place / "run").mkdir(exist_ok=True)
        arguments = [python, str(bundle), str(specification)]
    began = time.monotonic()
    done = subprocess.Popen(
        arguments,
        cwd=place / "project",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert done.stdout is not None
    out = done.stdout.read()
    done.wait()
    seconds = time.monotonic() - began
    test = next((line.split()[-1] for line in out.splitlines() if "SECONDS" in line), None)
    if test is None:
        raise SystemExit(f"the test did not pass:\n{out}")
    return seconds, float(test)


def _told(plain: list[float], recorded: list[float], inside: dict[str, list[float]]) -> dict[str, Any]:
    test, with_records = (statistics.median(inside[kind]) for kind in ("plain", "recorded"))
    whole, whole_recorded = statistics.median(plain), statistics.median(recorded)
    return {
        "test_seconds": round(test, 4),
        "test_seconds_recorded": round(with_records, 4),
        "process_seconds": round(whole, 4),
        "process_seconds_recorded": round(whole_recorded, 4),
        "overhead_of_the_test": round(with_records / test - 1, 4),
        "overhead_of_the_process_ms": round((whole_recorded - whole) * 1000, 1),
        "budget_ms": round((SHARE * whole + FIXED) * 1000, 1),
    }


def _text(told: dict[str, Any]) -> str:
    return (
        f"the test itself   {told['test_seconds']:.3f} s, recorded {told['test_seconds_recorded']:.3f} s "
        f"({told['overhead_of_the_test']:+.1%})\n"
        f"the whole process {told['process_seconds']:.3f} s, recorded "
        f"{told['process_seconds_recorded']:.3f} s ({told['overhead_of_the_process_ms']:+.0f} ms; "
        f"budget {told['budget_ms']:.0f} ms)"
    )


if __name__ == "__main__":
    sys.exit(main())
