"""What a trace costs: a traced forward over a plain one, beside FastVideo's own trace and two debuggers.

    python benchmarks/trace_overhead.py [--rounds N] [--threads N] [--device cpu|cuda] [--json]

The model is the official class of Wan (diffusers), two blocks of two heads of 128 (--heads), float32, once
with so many tokens that a forward takes about 100 ms on a CPU core and once about 7 ms. All rivals run on it
in one process, a forward of each in turn, and each counts with its best round; so read the ratios. CPU time
on one thread, else wall time.

* ours: inputs and outputs of every module, sketch and statistics of each tensor, read back after the forward;
  once kept in memory, once written to a file.
* off: hooks put on and taken off again.
* FastVideo: `fastvideo/hooks/activation_trace.py` of the unpacked package, with its two default
  statistics and with six (outputs alone, written to a file).
* Hugging Face: `transformers.model_debugging_utils.model_addition_debugger_context`, as text and as tensors.
  transformers is no part of the set-up: it is installed without its dependencies into a temporary folder
  (--no-transformers leaves it out).
* torch: `torch.utils._debug_mode.DebugMode`, bare and with a hash of every output and input.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
TREE = Path(os.environ.get("DITPROOF_REAL_FASTVIDEO", REPOSITORY / ".real" / "fastvideo-0.2.1"))
PYTHON = os.environ.get("DITPROOF_PROJECT_PYTHON", str(REPOSITORY / ".project-venv/bin/python"))

CHILD = r"""
import contextlib, json, os, sys, tempfile, time, types
import torch

spec = json.loads(sys.argv[1])
torch.set_num_threads(spec["threads"])
device = torch.device(spec["device"])
from ditproof_probe.fastvideo_side import preload_packages
kept = preload_packages()
from diffusers import WanTransformer3DModel
from ditproof_probe.taps.trace_file import TraceWriter
from ditproof_probe.taps.tracing import Tracer

folder = tempfile.mkdtemp(dir=spec["folder"])
torch.manual_seed(0)
model = WanTransformer3DModel(
    num_attention_heads=spec["heads"], attention_head_dim=128, in_channels=16, out_channels=16, text_dim=256,
    freq_dim=64, ffn_dim=512 * spec["heads"], num_layers=2, cross_attn_norm=True,
    qk_norm="rms_norm_across_heads", rope_max_seq_len=1024,
).eval().to(device)

def inputs(side):
    torch.manual_seed(1)
    return dict(hidden_states=torch.randn(1, 16, 4, side, side).to(device),
                timestep=torch.tensor([500]).to(device),
                encoder_hidden_states=torch.randn(1, 64, 256).to(device), return_dict=False)

# On one CPU thread the time that others take is not counted; threads that wait for each other need a watch.
clock = time.process_time if device.type == "cpu" and spec["threads"] == 1 else time.perf_counter

def wait():
    if device.type == "cuda":
        torch.cuda.synchronize()

def seconds(given):
    wait()
    began = clock()
    with torch.no_grad():
        model(**given)
    wait()
    return clock() - began

@contextlib.contextmanager
def plain():
    yield

@contextlib.contextmanager
def off():
    tracer = Tracer(model, lambda rows: None)
    tracer.attach()
    tracer.detach()
    yield

@contextlib.contextmanager
def ours(write=False):
    if write:
        writer = TraceWriter(os.path.join(folder, "ours.jsonl"), "official", model)
    tracer = Tracer(model, writer.rows if write else lambda rows: None, sketcher=sketcher)
    tracer.attach()
    yield
    tracer.detach()
    if write:
        writer.close()

from ditproof_probe.taps.sketches import Sketcher
sketcher = Sketcher()

for name in ("fastvideo", "fastvideo.hooks"):  # without the package's own import, which takes 20 s
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(spec["tree"], *name.split("."))]
    sys.modules[name] = package
import logging
logging.disable(logging.INFO)
from fastvideo.hooks.activation_trace import attach_activation_trace, detach_activation_trace

@contextlib.contextmanager
def fastvideo(statistics):
    os.environ.update(FASTVIDEO_TRACE_ACTIVATIONS="1", FASTVIDEO_TRACE_STATS=statistics,
                      FASTVIDEO_TRACE_OUTPUT=os.path.join(folder, "fastvideo.jsonl"))
    manager = attach_activation_trace(model)
    yield
    detach_activation_trace(manager)

@contextlib.contextmanager
def hugging_face(use_repr):
    from transformers.model_debugging_utils import model_addition_debugger_context
    with tempfile.TemporaryDirectory(dir=folder) as dumps:
        given = dict(debug_path=dumps, do_prune_layers=False, use_repr=use_repr)
        with model_addition_debugger_context(model, **given):
            yield

@contextlib.contextmanager
def debug_mode(hashes):
    from torch.utils._debug_mode import DebugMode
    with DebugMode(record_nn_module=True):
        if hashes:
            with DebugMode.log_tensor_hashes(hash_inputs=True):
                yield
        else:
            yield

ways = {
    "plain": plain, "off": off, "ours": ours, "ours, written to a file": lambda: ours(True),
    "FastVideo, 2 statistics": lambda: fastvideo("abs_mean,sum"),
    "FastVideo, 6 statistics": lambda: fastvideo("abs_mean,sum,min,max,mean,std"),
    "torch DebugMode": lambda: debug_mode(False), "torch DebugMode, hashes": lambda: debug_mode(True),
}
slow = {"torch DebugMode, hashes"}
missing = None
sys.path.append(spec["peers"])  # not before: diffusers would look for its own version of it
try:
    import transformers.model_debugging_utils
except ImportError as error:
    missing = str(error)
else:
    ways["Hugging Face, tensors"] = lambda: hugging_face(False)
    ways["Hugging Face, text"] = lambda: hugging_face(True)
    slow |= {"Hugging Face, tensors", "Hugging Face, text"}

taps = []
tracer = Tracer(model, taps.extend)
found = {"taps": 0, "forwards": {}, "transformers": missing}
found.update(torch=torch.__version__, device=str(device))
for label, side in spec["sides"].items():
    given = inputs(side)
    taps.clear(); tracer.attach(); seconds(given); tracer.detach()
    found["taps"] = len(taps)
    times = {name: [] for name in ways}
    for turn in range(spec["rounds"]):
        for name, way in ways.items():
            if name in slow and turn >= max(2, spec["rounds"] // 10):
                continue
            with way():
                times[name].append(seconds(given))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    found["forwards"][label] = {name: sorted(value) for name, value in times.items()}
os.write(3, json.dumps(found).encode())
"""

SIDES = {"100 ms": 40, "7 ms": 10}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--side", type=int, help="latent height and width of the long forward")
    parser.add_argument("--heads", type=int, default=2, help="of 128 each; a trace costs by the tap")
    parser.add_argument("--no-transformers", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sides = dict(SIDES)
    if arguments.side is not None:
        sides["100 ms"] = arguments.side
    with tempfile.TemporaryDirectory(prefix="ditproof-bench-") as folder:
        peers = Path(folder) / "transformers"
        refused = "left out" if arguments.no_transformers else _transformers(peers)
        spec = {
            "threads": arguments.threads,
            "device": arguments.device,
            "rounds": arguments.rounds,
            "heads": arguments.heads,
            "sides": sides,
            "tree": str(TREE),
            "folder": folder,
            "peers": str(peers),
        }
        found = _measured(spec, folder)
    found["transformers"] = refused or found["transformers"]
    if arguments.json:
        print(json.dumps(summary(found), indent=1))
    else:
        tell(found, arguments.threads)
    return 0


def _transformers(folder: Path) -> str | None:
    """Install transformers for this run; why it could not be, or None."""
    done = subprocess.run(
        [PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "transformers"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        return f"pip could not install it: {said[-1]}"
    return None


def _measured(spec: dict[str, Any], folder: str) -> dict[str, Any]:
    """What the child found; what the rivals print goes to a file that is thrown away."""
    answer = Path(folder) / "answer.json"
    with answer.open("wb") as pipe, (Path(folder) / "log").open("wb") as log:
        done = subprocess.run(
            ["bash", "-c", 'exec "$0" -c "$1" "$2" 3>&1 1>&2', PYTHON, CHILD, json.dumps(spec)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(spec["threads"])},
            stdout=pipe,
            stderr=log,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit((Path(folder) / "log").read_text()[-3000:])
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Best times in milliseconds and their ratio to the plain forward."""
    forwards = {}
    for label, times in found["forwards"].items():
        plain = times["plain"][0]
        forwards[label] = {
            name: {
                "ms": round(1000 * values[0], 2),
                "ratio": round(values[0] / plain, 3),
                "rounds": len(values),
            }
            for name, values in times.items()
        }
    return {**{key: value for key, value in found.items() if key != "forwards"}, "forwards": forwards}


def tell(found: dict[str, Any], threads: int) -> None:
    """A table a forward."""
    print(f"{found['taps']} taps a forward, {found['device']}, torch {found['torch']}, {threads} thread(s)")
    for label, rows in summary(found)["forwards"].items():
        print(f"\nforward of about {label}")
        for name, row in rows.items():
            print(f"  {name:<28} {row['ms']:>10.2f} ms  {row['ratio']:>8.3f}")
    if found["transformers"]:
        print(f"\nHugging Face's debugger was not measured: {found['transformers']}")


if __name__ == "__main__":
    sys.exit(main())
