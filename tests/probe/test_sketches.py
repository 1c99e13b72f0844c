"""Sketches and statistics against plain arithmetic: every dtype, stride and size, and what they must tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = r"""
import base64, json, math, sys, torch
from ditproof_probe.taps import sketches
from ditproof_probe.taps.sketches import BUCKETS, PERIOD, STANDARD_ERROR, Sketcher, estimated_error

device = sys.argv[1]
torch.manual_seed(0)
sketcher = Sketcher()

def take(*tensors):
    slots = [sketcher.add(t) for t in tensors]
    return sketcher.collect(slots)

def apart(a, b):
    return estimated_error(base64.b64decode(a.sketch), base64.b64decode(b.sketch))

def close(a, b, r=1e-6):
    assert a is not None and abs(a - b) <= r * max(abs(a), abs(b), 1e-30), (a, b)

# What is defined, written out one element at a time.
signs = sketches._table().tolist()
turns = sketches._Turns(torch.device("cpu"))
_, flips = turns.of(0, 8)
x = torch.randn(3 * PERIOD + 1000).to(device)
want = [0.0] * BUCKETS
for n, value in enumerate(x.tolist()):
    c = n // PERIOD
    want[(n + 97 * c) % BUCKETS] += value * signs[n % PERIOD] * flips[c].item()
(got,) = take(x)
found = torch.frombuffer(bytearray(base64.b64decode(got.sketch)), dtype=torch.float32)
torch.testing.assert_close(found, torch.tensor(want), rtol=0, atol=2e-3)

# Sizes around periods, buckets and blocks; small blocks so that they are met.
for block in (1 << 20, 2 * PERIOD):
    for d in sketcher._devices.values():
        d._block = block
    sizes = (1, 255, 256, 257, PERIOD - 1, PERIOD, PERIOD + 1, 2 * PERIOD, 2 * PERIOD + 3, 5 * PERIOD + 77)
    for size in sizes:
        x = torch.randn(size).to(device) + 0.25
        (m,) = take(x)
        d = x.double().cpu()
        close(m.norm, d.norm().item()); close(m.abs_mean, d.abs().mean().item(), 2e-6)
        assert abs(m.sum - d.sum().item()) <= 1e-6 * d.abs().sum().item()
        assert (m.minimum, m.maximum) == (d.min().item(), d.max().item())
        assert m.nonfinite == 0 and m.elements == size and m.shape == (size,)
        if size == 5 * PERIOD + 77:
            blocks = locals().setdefault("_by_block", {})
            torch.manual_seed(5)
            blocks[block] = take(torch.randn(size).to(device))[0]
a, b = _by_block.values()
assert apart(a, b) <= 1e-6 * a.norm  # however it is cut

# Linear, and an estimate with the error that is promised; also for rows that repeat.
ratios = []
for trial in range(120):
    n = (4096, 3 * PERIOD, 1000)[trial % 3]
    y = torch.randn(n); e = torch.randn(n)
    if trial % 2:
        y = y[:64].repeat(n // 64 + 1)[:n]; e = e[:64].repeat(n // 64 + 1)[:n]
    p, q = take(y.to(device), (y + 0.01 * e).to(device))
    ratios.append(apart(p, q) / ((y + 0.01 * e) - y).double().norm().item())
spread = (sum((r - 1) ** 2 for r in ratios) / len(ratios)) ** 0.5
assert 0.6 * STANDARD_ERROR < spread < 1.5 * STANDARD_ERROR, spread
ones = take(torch.ones(40 * PERIOD, device=device))[0]
assert abs(apart(ones, take(torch.zeros(40 * PERIOD, device=device))[0]) / ones.norm - 1) < 4 * STANDARD_ERROR

# The order is seen: tokens, heads, halves and pairs, whole periods; the statistics are the same.
t = torch.randn(2, 96, 8, 32).to(device)
orders = {
    "rolled tokens": t.roll(1, 1), "swapped batch": t.flip(0), "heads": t.transpose(1, 2),
    "pairs": t.unflatten(-1, (16, 2)).transpose(-1, -2), "two": t[:, :, [1, 0, *range(2, 8)]],
}
base = take(t)[0]
for name, other in orders.items():
    m = take(other)[0]
    close(m.norm, base.norm, 2e-7); assert (m.minimum, m.maximum) == (base.minimum, base.maximum)
    assert apart(m, base) / base.norm > 0.3, name
big = torch.randn(8, PERIOD).to(device)
for a, b in ((0, 1), (2, 7)):
    order = list(range(8)); order[a], order[b] = order[b], order[a]
    p, q = take(big, big[order])
    assert abs(apart(p, q) / (big - big[order]).norm().item() - 1) < 5 * STANDARD_ERROR
# The form is not: heads apart or together, strides, storage.
for other in (t.reshape(2, 96, 256), t.transpose(0, 1).contiguous().transpose(0, 1), t.flatten()):
    assert apart(take(other)[0], base) <= 1e-7 * base.norm

# Every kind of input.
kinds = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool]
kinds += [torch.float8_e4m3fn, torch.float8_e5m2]
for dtype in kinds:
    s = (torch.randn(7, 300) * 3).to(device)
    v = (s > 0) if dtype is torch.bool else (s.abs() if dtype is torch.uint8 else s).to(dtype)
    (m,) = take(v)
    plain = v.to(torch.float32).double()
    close(m.norm, plain.norm().item()); close(m.maximum, plain.max().item())
    assert m.dtype == str(dtype).removeprefix("torch.") and len(base64.b64decode(m.sketch)) == 4 * BUCKETS
c = torch.randn(5, 40, dtype=torch.complex64).to(device)
(m, conjugate, real) = take(c, c.conj(), torch.view_as_real(c).flatten())
close(m.norm, c.abs().double().norm().item()); assert m.elements == 200 and apart(m, real) == 0.0
assert apart(m, conjugate) > 0.3 * m.norm
grown = torch.randn(4, requires_grad=True); take(grown * 2)
with torch.inference_mode():
    made = take(torch.randn(300).to(device))[0]
take(torch.randn(300).to(device))
before = t.clone(); take(t); assert torch.equal(before, t)
slot = sketcher.add(t); t.zero_()  # what is written afterwards does not count
close(sketcher.collect([slot])[0].norm, base.norm)

# What has no values says so; NaN and infinities are counted and never written.
v = torch.randn(1000).to(device); v[3] = math.nan; v[5:8] = math.inf
(m,) = take(v)
assert m.nonfinite == 4 and m.sketch is None and m.norm is None and m.abs_mean is None
(m, n, o) = take(torch.empty(0, 4), torch.empty(3, device="meta"), torch.eye(3).to_sparse())
assert m.norm == 0.0 and m.sketch is None and m.problem is None and m.minimum is None
assert "meta" in n.problem and "sparse" in o.problem
many = take(*[torch.full((2,), float(i), device=device) for i in range(2500)])  # several buffers
assert [m.maximum for m in many] == [float(i) for i in range(2500)]
try:
    estimated_error(b"x", b"y")
except ValueError as error:
    assert "1024 bytes" in str(error)
else:
    raise SystemExit("no sketch, and no error")
json.dumps(many[0].__dict__, allow_nan=False)
print("all held")
"""


def run(python: str, bundle: Path, *arguments: str) -> str:
    """The script's output; its failure is the test's."""
    done = subprocess.run(
        [python, "-c", SCRIPT, *arguments],
        env={**os.environ, "PYTHONPATH": str(bundle), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_sketches_on_the_cpu(project_python: str, bundle: Path) -> None:
    assert run(project_python, bundle, "cpu").strip() == "all held"


@pytest.mark.gpu
def test_sketches_on_cuda(project_python: str, bundle: Path) -> None:
    probe = "import json, torch; print(json.dumps(torch.cuda.is_available()))"
    found = subprocess.run([project_python, "-c", probe], capture_output=True, text=True, check=True)
    if not json.loads(found.stdout):
        pytest.skip(f"{project_python} sees no CUDA device")
    assert run(project_python, bundle, "cuda").strip() == "all held"


@pytest.mark.gpu
def test_a_trace_on_cuda_costs_a_tenth_at_most(project_python: str) -> None:
    """The budget for a forward of 100 ms on a GPU: `--side` makes it that long there."""
    probe = "import json, torch; print(json.dumps(torch.cuda.is_available()))"
    found = subprocess.run([project_python, "-c", probe], capture_output=True, text=True, check=True)
    if not json.loads(found.stdout):
        pytest.skip(f"{project_python} sees no CUDA device")
    script = Path(__file__).resolve().parents[2] / "benchmarks/trace_overhead.py"
    done = subprocess.run(
        [sys.executable, str(script), "--device", "cuda", "--side", "224", "--no-transformers", "--json"],
        env={**os.environ, "DITPROOF_PROJECT_PYTHON": project_python},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    long = json.loads(done.stdout)["forwards"]["100 ms"]
    assert long["off"]["ratio"] < 1.02
    assert long["ours"]["ratio"] <= 1.10, long
