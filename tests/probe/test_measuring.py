"""The numbers themselves, against plain arithmetic, whatever the strides and however it is cut."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = """
import itertools, resource, torch
from ditproof_probe import compare

torch.manual_seed(0)
def plain(a, b, rtol):
    a, b = a.to(torch.float64), b.to(torch.float64)
    d = (a - b).abs()
    return (d.max().item(), d.mean().item(), ((a - b).norm() / b.norm()).item(),
            (d - rtol * b.abs()).max().clamp(min=0).item())

base = torch.randn(6, 10, 14)
views = {
    "contiguous": base, "transposed": base.transpose(0, 2), "strided": base[:, ::2, ::3],
    "expanded": base[:1].expand(6, 10, 14), "bf16": base.bfloat16(), "flipped": base.flip(0),
    "scalar": base[0, 0, 0], "row": base[0, 0],
}
for block, (name, view) in itertools.product((7, 100, 1 << 18), views.items()):
    compare.BLOCK = block
    other = (view.float() + 0.01 * torch.randn(view.shape)).to(view.dtype)
    before = view.clone()
    drift = compare.measure(view, other, rtol=1e-3, atol=1e-3, equal_nan=False)
    found = (drift.max_abs, drift.mean_abs, drift.rel_l2, drift.needed_tolerance)
    for x, y in zip(found, plain(view, other, 1e-3)):
        assert abs(x - y) <= 1e-12 * max(1, abs(y)), (block, name, found)
    assert torch.equal(view, before)

# The needed tolerance is the edge: it passes, a little less does not.
compare.BLOCK = 1 << 18
a, b = torch.randn(1000, dtype=torch.float64), torch.randn(1000, dtype=torch.float64)
need = compare.measure(a, b, rtol=0.1, atol=0.0, equal_nan=False).needed_tolerance
torch.testing.assert_close(a, b, rtol=0.1, atol=need * (1 + 1e-12))
try:
    torch.testing.assert_close(a, b, rtol=0.1, atol=need * (1 - 1e-9))
except AssertionError:
    pass
else:
    raise SystemExit("a smaller tolerance passed")

# 256 MiB in bf16 against a transposed view: blocks keep the peak far below a copy in fp64 (1 GiB).
big = torch.ones(8192, 16384, dtype=torch.bfloat16)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
drift = compare.measure(big, big.t().contiguous().t(), rtol=0.0, atol=0.0, equal_nan=False)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
assert drift.max_abs == 0.0 and drift.elements == big.numel()
assert grown < (256 + 128) * 1024, f"{grown} KiB"  # the transposed copy, and the blocks

sparse = torch.eye(3).to_sparse()
assert "sparse" in compare.measure(sparse, sparse, rtol=0, atol=0, equal_nan=False).problem
assert compare.measure("a", "a", rtol=0, atol=0, equal_nan=False).problem
huge = compare.measure(10**30, 10**30, rtol=0, atol=0, equal_nan=False)
assert huge.max_abs == 0.0
print("agreed")
"""


def test_measure_agrees_with_plain_arithmetic(project_python: str, bundle: Path) -> None:
    done = subprocess.run(
        [project_python, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(bundle), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "agreed", done.stderr
