"""Traces of two small models under other names, written in the child and compared here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from analyzers.numeric.trace_diff import TraceDiff, diff
from analyzers.numeric.trace_files import TraceFile, TraceFileError, parse_trace, read_trace
from analyzers.numeric.trace_names import by_equal_names, by_mapping
from analyzers.weights.mapping.renaming import Renamed, rename
from analyzers.weights.mapping.symbolic import SymbolicRule

REPOSITORY = Path(__file__).resolve().parents[2]

SCRIPT = r"""
import os, sys, types, torch
from torch import nn
from ditproof_probe.taps.trace_file import TraceWriter, write_fastvideo
from ditproof_probe.taps.tracing import Tracer

out, real = sys.argv[1:]

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(64, 64) for _ in range(4))
    def forward(self, x, *more, scale=1.0):
        q, k, v = self.q(x), self.k(x), self.v(x)
        return self.o(nn.functional.scaled_dot_product_attention(q, k, v, scale=scale))

class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm, self.attn, self.up, self.act, self.down = (
            nn.LayerNorm(64), attention, nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64))
    def forward(self, x, shift=None):
        x = x + self.attn(self.norm(x), scale=0.3)
        return x + self.down(self.act(self.up(x)))

class Official(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block(Attention()) for _ in range(2))
        self.head = nn.Linear(64, 16)
    def forward(self, hidden):
        for block in self.blocks:
            hidden = block(hidden)
        return {"sample": self.head(hidden), "list": [hidden]}

class Tupled(nn.Linear):
    def forward(self, x):
        return super().forward(x), None

class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.to_out = Tupled(64, 192), Tupled(64, 64)
    def forward(self, x, *more, scale=1.0):
        q, k, v = self.qkv(x)[0].chunk(3, -1)
        return self.to_out(nn.functional.scaled_dot_product_attention(q, k, v, scale=scale))[0]

class Port(Official):
    def __init__(self, break_=None):
        nn.Module.__init__(self)
        self.layers = nn.ModuleList(Block(Fused()) for _ in range(2))
        self.head = nn.Linear(64, 16)
        self.break_ = break_
    def forward(self, hidden):
        for n, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if n == 0 and self.break_ == "roll":
                hidden = hidden.roll(1, 1)
            if n == 0 and self.break_ == "nan":
                hidden = hidden.clone(); hidden[0, 0, 0] = float("nan")
        return self.head(hidden)

torch.manual_seed(0)
official = Official().eval()
def fill(port):
    theirs, state = official.state_dict(), {}
    for n in range(2):
        for kind in ("weight", "bias"):
            old, new = f"blocks.{n}.", f"layers.{n}."
            state[f"{new}attn.qkv.{kind}"] = torch.cat([theirs[f"{old}attn.{c}.{kind}"] for c in "qkv"])
            state[f"{new}attn.to_out.{kind}"] = theirs[f"{old}attn.o.{kind}"]
            for part in ("norm", "up", "down"):
                state[f"{new}{part}.{kind}"] = theirs[f"{old}{part}.{kind}"]
    for kind in ("weight", "bias"):
        state[f"head.{kind}"] = theirs[f"head.{kind}"]
    port.load_state_dict(state)
    return port.eval()

def trace(model, name, side, parts=None, dtype=torch.float32, forwards=2, fastvideo=False):
    writer = TraceWriter(f"{out}/{name}.jsonl", side, model, test="t")
    kept = []
    tracer = Tracer(model, lambda rows: (writer.rows(rows), kept.extend(rows)), parts=parts)
    tracer.attach()
    results = []
    with torch.no_grad():
        for n in range(forwards):
            torch.manual_seed(7 + n)
            results.append(model(torch.randn(2, 12, 64, dtype=dtype)))
    tracer.detach()
    writer.close()
    if fastvideo:
        write_fastvideo(f"{out}/{name}.fv.jsonl", kept)
        write_fastvideo(f"{out}/{name}.two.jsonl", kept, ("abs_mean", "sum"))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with torch.no_grad():
        torch.manual_seed(7)
        plain = model(torch.randn(2, 12, 64, dtype=dtype))
    value = lambda r: r["sample"] if isinstance(r, dict) else r
    if not torch.isnan(value(plain)).any():
        assert torch.equal(value(plain), value(results[0]))
    return kept

parts = {"layers.0.attn.qkv": 3, "layers.1.attn.qkv": 3}
trace(official, "official", "official", fastvideo=True)
trace(fill(Port()), "port", "native", parts, fastvideo=True)
trace(fill(Port()), "whole", "native")
trace(fill(Port("roll")), "rolled", "native", parts, fastvideo=True)
trace(fill(Port("nan")), "nan", "native", parts, fastvideo=True)
wrong = fill(Port()); wrong.layers[1].norm.eps = 1e-3
trace(wrong, "eps", "native", parts)
gelu = fill(Port()); gelu.layers[0].act = nn.GELU(approximate="tanh")
trace(gelu, "gelu", "native", parts, fastvideo=True)
crossed = fill(Port())
with torch.no_grad():
    w = crossed.layers[0].attn.qkv
    for p in (w.weight, w.bias):
        a, b, c = p.clone().chunk(3); p.copy_(torch.cat([a, c, b]))
trace(crossed, "crossed", "native", parts)
trace(fill(Port()).bfloat16(), "half", "native", parts, dtype=torch.bfloat16)

# An exception in the middle, caught outside: nothing is delivered, and the next forward is whole.
rows = []
broken = fill(Port()); tracer = Tracer(broken, rows.append, limit=1); tracer.attach()
act = broken.layers[1].act; broken.layers[1].act = nn.Linear(3, 3)
try:
    broken(torch.randn(1, 4, 64))
except RuntimeError:
    pass
assert not rows
broken.layers[1].act = act
broken(torch.randn(1, 4, 64)); broken(torch.randn(1, 4, 64))
assert len(rows) == 1 and rows[0][0].number == 0 and rows[0][-1].module == "" and rows[0][-1].label == "out"
tracer.detach()

# What FastVideo itself writes of the same forwards.
for name in ("fastvideo", "fastvideo.hooks"):
    package = types.ModuleType(name); package.__path__ = [os.path.join(real, *name.split("."))]
    sys.modules[name] = package
os.environ.update(FASTVIDEO_TRACE_ACTIVATIONS="1", FASTVIDEO_TRACE_OUTPUT=f"{out}/theirs.jsonl",
                  FASTVIDEO_TRACE_STATS="abs_mean,sum,min,max,mean,std,shape,dtype")
from fastvideo.hooks.activation_trace import attach_activation_trace, detach_activation_trace, trace_step
manager = attach_activation_trace(official)
with torch.no_grad():
    for n in range(2):
        torch.manual_seed(7 + n)
        x = torch.randn(2, 12, 64)
        with trace_step(n):
            official(x)
detach_activation_trace(manager)
print("written")
"""

RULES = (
    SymbolicRule(r"^blocks\.(\d+)\.attn\.q\.(.*)$", r"layers.\1.attn.qkv.\2", (0, 3)),
    SymbolicRule(r"^blocks\.(\d+)\.attn\.k\.(.*)$", r"layers.\1.attn.qkv.\2", (1, 3)),
    SymbolicRule(r"^blocks\.(\d+)\.attn\.v\.(.*)$", r"layers.\1.attn.qkv.\2", (2, 3)),
    SymbolicRule(r"^blocks\.(\d+)\.attn\.o\.(.*)$", r"layers.\1.attn.to_out.\2"),
    SymbolicRule(r"^blocks\.(\d+)\.(.*)$", r"layers.\1.\2"),
)


def renamed(name: str) -> Renamed:
    return rename(name, RULES, "first-match")


@pytest.fixture(scope="module")
def traces(project_python: str, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    real = REPOSITORY / ".real/fastvideo-0.2.1"
    done = subprocess.run(
        [project_python, "-c", SCRIPT, str(folder), str(real)],
        env={**os.environ, "PYTHONPATH": str(bundle), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def compared(folder: Path, one: str, other: str, tolerance: float | None = None) -> TraceDiff:
    left, right = read_trace(folder / f"{one}.jsonl"), read_trace(folder / f"{other}.jsonl")
    return diff(left, right, by_mapping(left, right, renamed), tolerance)


def rows_of(trace: TraceFile, module: str) -> list[tuple[int | None, str, str]]:
    return [(tap.step, tap.end, tap.label) for tap in trace.taps if tap.module == module]


def test_what_is_recorded(traces: Path) -> None:
    trace = read_trace(traces / "official.jsonl")
    assert (trace.format, trace.side, trace.model, trace.complete) == (
        "ditproof",
        "official",
        "Official",
        True,
    )
    assert rows_of(trace, "") == [
        (step, end, label)
        for step in (0, 1)
        for end, label in (("in", "hidden"), ("out", "out.sample"), ("out", "out.list[0]"))
    ]
    assert rows_of(trace, "blocks.1.attn") == [
        (s, e, n) for s in (0, 1) for e, n in (("in", "x"), ("out", "out"))
    ]
    assert {m.name: m.parameters for m in trace.modules}["blocks.0.norm"] == ("weight", "bias")
    # The tap with its statistics and its sketch stays within 2 KB, as a line.
    assert max(len(line) for line in (traces / "official.jsonl").read_text().splitlines()[1:]) <= 2048
    port = read_trace(traces / "port.jsonl")
    assert ("out", "out[0]") in {row[1:] for row in rows_of(port, "layers.0.attn.qkv")}
    assert {t.part for t in port.taps if t.module == "layers.0.attn.qkv"} == {None, (0, 3), (1, 3), (2, 3)}


def test_a_clean_port_agrees_through_its_mapping(traces: Path) -> None:
    found = compared(traces, "official", "port")
    assert (found.status, found.blind, found.divergent) == ("passed", 0, ())
    assert {row.native.module for row in found.rows} >= {
        *(
            "",
            "head",
            "layers.0",
            "layers.1.attn",
            "layers.1.attn.qkv",
            "layers.0.act",
            "layers.0.attn.to_out",
        )
    }
    slices = [row for row in found.rows if row.native.part is not None]
    assert {row.official[0].module for row in slices if row.native.part == (2, 3)} == {
        "blocks.0.attn.v",
        "blocks.1.attn.v",
    }
    assert found.unaligned == ()
    # A port whose slices were not measured: what was merged is compared by sums.
    whole = compared(traces, "official", "whole")
    assert whole.status == "passed"
    assert whole.blind == 4
    assert "cannot see" in " ".join(whole.notes)


@pytest.mark.parametrize(
    ("name", "module", "end", "status", "after"),
    [
        ("eps", "layers.1.norm", "out", "differs", "layers.1.norm"),
        ("gelu", "layers.0.act", "out", "differs", "layers.0.act"),
        ("rolled", "layers.1", "in", "layout", "layers.0"),
        ("nan", "layers.1", "in", "nonfinite", "layers.0"),
        ("crossed", "layers.0.attn.qkv", "out", "differs", "layers.0.attn.qkv"),
    ],
)
def test_the_first_difference_is_found(
    traces: Path, name: str, module: str, end: str, status: str, after: str
) -> None:
    found = compared(traces, "official", name)
    assert found.status == "failed"
    assert found.first is not None
    assert found.after is not None
    first = found.first
    assert (first.native.module, first.native.end, first.status) == (module, end, status)
    assert found.after.native.module == after


def test_half_precision_is_not_a_difference(traces: Path) -> None:
    assert compared(traces, "official", "half").status == "passed"
    assert compared(traces, "official", "half", 1e-5).status == "failed"


def test_names_alone_do_not_align_other_names(traces: Path) -> None:
    left, right = read_trace(traces / "official.jsonl"), read_trace(traces / "port.jsonl")
    found = diff(left, right, by_equal_names(left, right))
    assert {row.native.module for row in found.rows} == {"", "head"}
    assert ("native", "layers.0.attn.qkv") in found.unaligned


def test_fastvideos_lines_are_written_as_fastvideo_writes_them(traces: Path) -> None:
    theirs = [json.loads(line) for line in (traces / "theirs.jsonl").read_text().splitlines()]
    ours = [json.loads(line) for line in (traces / "official.fv.jsonl").read_text().splitlines()]
    assert len(theirs) == len(ours) > 20
    for one, other in zip(theirs, ours, strict=True):
        assert list(one) == list(other)
        for name, value in one.items():
            if isinstance(value, float):
                scale = max(abs(value), one["abs_mean"] * (24 * 64 if name == "sum" else 1))
                assert abs(value - other[name]) <= 3e-6 * scale, (one["module"], name)
            else:
                assert value == other[name]


def test_fastvideos_lines_are_compared_by_what_they_have(traces: Path) -> None:
    clean = compared(traces, "theirs", "port.fv")
    assert (clean.status, clean.blind) == ("passed", len(clean.rows))
    assert "as far as statistics can tell" in clean.reason
    assert len(clean.rows) > 20
    gelu = compared(traces, "theirs", "gelu.fv")
    assert gelu.first is not None
    assert (gelu.first.native.module, gelu.first.status) == ("layers.0.act", "differs")
    nan = compared(traces, "theirs", "nan.fv")
    assert nan.first is not None
    assert nan.first.status == "nonfinite"
    # Outputs alone, and statistics alone: the first place that shows a rolled token axis is one whose values
    # depend on where a token stands. Here none does, and so the verdict names its limit.
    rolled = compared(traces, "theirs", "rolled.fv")
    assert rolled.status == "passed"
    assert "cannot see values in another order" in " ".join(rolled.notes)
    # Without shapes a sum has no scale of its own; abs_mean still counts. Without dtypes, bfloat16.
    assert "do not tell dtypes" in " ".join(compared(traces, "official.two", "gelu.two").notes)
    two = compared(traces, "official.two", "gelu.two", 1e-5)
    assert two.first is not None
    # The wrong GELU itself moves no mean by that much: two statistics see it one module later.
    assert (two.first.native.module, two.first.by) == ("layers.0.down", "abs_mean")
    # One of each: calls are matched in order.
    mixed = compared(traces, "theirs", "gelu")
    assert mixed.first is not None
    assert mixed.first.native.module == "layers.0.act"


def test_damaged_files_are_named(traces: Path) -> None:
    text = (traces / "port.jsonl").read_text()
    lines = text.splitlines()
    torn = parse_trace(text[: len(text) * 2 // 3], "torn")
    assert not torn.complete
    assert 0 < len(torn.taps) < len(lines) - 2
    assert "cut off in the middle of a line" in torn.notes[0]
    left = read_trace(traces / "official.jsonl")
    found = diff(left, torn, by_mapping(left, torn, renamed))
    assert found.status == "error"
    assert "ended early" in found.reason
    half = (traces / "theirs.jsonl").read_text()[:-20]
    assert not parse_trace(half, "half").complete
    bad = {
        "empty": "",
        "only torn": lines[0][:50],
        "other JSON": '{"a": 1}\n',
        "no JSON": "hello\nworld\n",
        "a list": "[1]\n",
        "damage in the middle": "\n".join([*lines[:4], lines[4][:20], *lines[5:]]) + "\n",
        "lines lost": "\n".join([*lines[:4], *lines[6:]]) + "\n",
        "another version": lines[0].replace('"ditproof_trace": 1', '"ditproof_trace": 9') + "\n",
        "another sketch": "\n".join([lines[0], lines[1].replace('"sketch": "', '"sketch": "AAAA')]) + "\n",
    }
    for name, content in bad.items():
        with pytest.raises(TraceFileError) as caught:
            parse_trace(content, name)
        assert name in caught.value.reason
        assert caught.value.next_step
    with pytest.raises(TraceFileError, match="cannot be read"):
        read_trace(traces / "nowhere.jsonl")
