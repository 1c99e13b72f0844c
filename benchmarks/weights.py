"""What the proof of the weights costs: headers, names through a mapping, a typed edit, the meta tier.

    python benchmarks/weights.py [--rounds N] [--no-meta] [--json]

The names are those of FastVideo's Wan and of its official class as the meta worker builds them, with more
blocks of their kind until there are 2,000; the checkpoint is ten shards of their sizes, with holes for data.

* headers: `read_checkpoint`, against `safetensors.safe_open` asked for the names, shapes and dtypes of the
  same shards.
* proof: `prove`, with nothing known of before, against FastVideo's own `get_param_names_mapping` and
  `hf_to_custom_state_dict` on tensors without data, which judge nothing.
* edit: a letter added to the target of each rule in turn (which breaks it), and taken back; from the text
  in the editor to the proof, as the server does it.
* meta tier: the worker from its start to the first answer, and asked again (wall time: it is others' work).

CPU time unless it says otherwise, each with its best round. The rivals run in the project's interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from keystroke import REPOSITORY, percentile

sys.path.insert(0, str(REPOSITORY))

from analyzers.project.ports import Port
from analyzers.weights.files.checkpoints import read_checkpoint
from analyzers.weights.files.headers import Checkpoint
from analyzers.weights.known import proof_of, rules_of, state_key
from analyzers.weights.proving.proof import prove
from analyzers.weights.state import PortState, StateDict, Tensor
from analyzers.weights.verdicts import WeightProof
from lsp_server.checks.meta import MetaWorker, PortName, StateAnswer, StateRequest
from lsp_server.session import Changes, Session

T = TypeVar("T")

TREE = Path(os.environ.get("DITPROOF_REAL_FASTVIDEO", REPOSITORY / ".real" / "fastvideo-0.2.1"))
PYTHON = os.environ.get("DITPROOF_PROJECT_PYTHON", str(REPOSITORY / ".project-venv/bin/python"))
CONFIG = "fastvideo/configs/models/dits/wanvideo.py"
MODEL = "WanTransformer3DModel"
PORT = PortName("fastvideo.models.dits.wanvideo", MODEL, "fastvideo/models/dits/wanvideo.py")
OFFICIAL = f"diffusers:{MODEL}"

TENSORS = 2000
SHARDS = 10
LARGE = 20 * 10**9
BUDGET = 0.2
"""Seconds: headers and mapping of 2,000 tensors."""
KEY_BUDGET = 0.015
SHARE = 0.001
"""Of a checkpoint's bytes, that may be read."""
COLD, WARM = 12.0, 2.0
"""Seconds of the meta tier."""

_BLOCK = re.compile(r"^blocks\.(\d+)\.")
_BITS = {"F32": 32, "BF16": 16, "F16": 16}

_OPENED = """
import json, sys, time
from pathlib import Path
from safetensors import safe_open
best = None
for _ in range(int(sys.argv[2])):
    begin = time.process_time()
    found = {}
    for shard in sorted(Path(sys.argv[1]).glob("*.safetensors")):
        with safe_open(str(shard), framework="pt") as opened:
            for name in opened.keys():
                part = opened.get_slice(name)
                found[name] = (part.get_shape(), part.get_dtype())
    spent = time.process_time() - begin
    best = spent if best is None else min(best, spent)
print(json.dumps([len(found), best]))
"""

_MAPPED = """
import importlib.util, json, sys, time
from types import ModuleType
import torch
package, logger = ModuleType("fastvideo"), ModuleType("fastvideo.logger")
package.__path__ = []
logger.init_logger = lambda name: None
sys.modules.update({"fastvideo": package, "fastvideo.logger": logger})
spec = importlib.util.spec_from_file_location("utils", sys.argv[1])
utils = importlib.util.module_from_spec(spec)
spec.loader.exec_module(utils)
asked = json.load(sys.stdin)
rules = {pattern: tuple(target) if isinstance(target, list) else target for pattern, target in asked["rules"]}
tensors = [(name, torch.empty(shape, device="meta")) for name, shape in asked["names"]]
best = None
for _ in range(int(sys.argv[2])):
    begin = time.process_time()
    mapped, _ = utils.hf_to_custom_state_dict(iter(tensors), utils.get_param_names_mapping(rules))
    spent = time.process_time() - begin
    best = spent if best is None else min(best, spent)
print(json.dumps([len(mapped), best]))
"""


# --------------------------------------------------------------------------- what is measured upon


async def built(worker: MetaWorker) -> tuple[StateAnswer, float]:
    """The names of the port and of its official class, and the seconds that they took (wall)."""
    request = StateRequest(str(TREE.resolve()), PYTHON, True, "fastvideo", PORT, OFFICIAL)
    begin = time.perf_counter()
    answer = await worker.state(request)
    if answer.state.native is None or answer.state.official is None:
        raise SystemExit(f"{MODEL} was not built: {answer.problems}")
    return answer, time.perf_counter() - begin


async def meta_tier(rounds: int) -> tuple[PortState, float, float]:
    """Both sides, seconds of the first answer of a new worker, and of the best of later ones."""
    worker = MetaWorker()
    try:
        answer, cold = await built(worker)
        warm = [(await built(worker))[1] for _ in range(rounds)]
    finally:
        await worker.end()
    return answer.state, cold, min(warm)


def longer(state: PortState) -> PortState:
    """The same with more blocks on both sides, and `TENSORS` official names or a block more."""
    assert state.native is not None
    assert state.official is not None
    a_block = [t for t in state.official.tensors if _BLOCK.match(t.name) and _number(t.name) == 0]
    more = -(-(TENSORS - len(state.official.tensors)) // len(a_block))
    return replace(state, native=_with(state.native, more), official=_with(state.official, more))


def _with(side: StateDict, more: int) -> StateDict:
    blocks = [t for t in side.tensors if _BLOCK.match(t.name)]
    first = 1 + max(_number(t.name) for t in blocks)
    added = [
        replace(t, name=_BLOCK.sub(f"blocks.{number}.", t.name))
        for number in range(first, first + more)
        for t in blocks
        if _number(t.name) == 0
    ]
    return StateDict(side.source, side.origin, (*side.tensors, *added))


def _number(name: str) -> int:
    match = _BLOCK.match(name)
    assert match is not None
    return int(match.group(1))


def write_shards(folder: Path, tensors: Sequence[Tensor], count: int) -> None:
    """A checkpoint of so many shards with an index; the data are holes."""
    folder.mkdir()
    names: dict[str, str] = {}
    each = -(-len(tensors) // count)
    for number in range(count):
        part = tensors[number * each : (number + 1) * each]
        file = folder / f"diffusion_pytorch_model-{number + 1:05}-of-{count:05}.safetensors"
        write_sparse(file, part)
        names.update(dict.fromkeys((t.name for t in part), file.name))
    index = {"metadata": {}, "weight_map": names}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def write_sparse(file: Path, tensors: Sequence[Tensor]) -> int:
    """A safetensors file whose data are a hole; its length."""
    header, at = {}, 0
    for tensor in tensors:
        size = size_of(tensor)
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(file, 8 + len(text) + at)
    return 8 + len(text) + at


def size_of(tensor: Tensor) -> int:
    """Bytes."""
    size = _BITS[tensor.dtype or "F32"] // 8
    for dimension in tensor.shape or ():
        size *= dimension
    return size


# --------------------------------------------------------------------------- measuring


def best(rounds: int, run: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the seconds of CPU of the best round."""
    spent = []
    for _ in range(rounds):
        begin = time.process_time()
        found = run()
        spent.append(time.process_time() - begin)
    return found, min(spent)


def read_by_kernel(run: Callable[[], T]) -> tuple[T, int]:
    """What it gives, and the bytes that this process read meanwhile (Linux; 0 elsewhere)."""
    before = _read_so_far()
    found = run()
    return found, _read_so_far() - before


def _read_so_far() -> int:
    try:
        counters = Path("/proc/self/io").read_text()
    except OSError:
        return 0
    return int(re.findall(r"^rchar: (\d+)", counters, re.MULTILINE)[0])


def rival(script: str, *arguments: str | int | Path, asked: object = None) -> tuple[int, float]:
    """What a script of the project's interpreter tells: a count and seconds of CPU."""
    done = subprocess.run(
        [PYTHON, "-c", script, *map(str, arguments)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the rival failed:\n{done.stderr[-2000:]}")
    count, seconds = json.loads(done.stdout)
    return int(count), float(seconds)


@dataclass
class Edits:
    """Seconds of CPU from a text in the editor to the proof of it."""

    broken: list[float]
    mended: list[float]


def edited(session: Session, text: str) -> Iterator[tuple[str, str]]:
    """The text with a letter more in the target of each rule, one after the other; and what was edited."""
    port = port_of(session)
    rules, found = rules_of(session.project, port)[1], proof_of(session.project, port)
    assert found is not None
    for rule in (rules[use.rule] for use in found.rules if use.state == "live"):
        quoted = f'r"{rule.target}"'
        if rule.target is not None and text.count(quoted) == 1:
            yield rule.target, text.replace(quoted, f'r"x{rule.target}"')


def port_of(session: Session) -> Port:
    return next(port for port in session.project.ports if port.name == MODEL)


def measure_edits(state: PortState) -> Edits:
    """What each edit costs; every one must be found, and gone when it is taken back."""
    session = Session(TREE)
    key = state_key(port_of(session))
    text = (TREE / CONFIG).read_text(encoding="utf-8")
    session.apply(Changes(texts={CONFIG: text}, states={key: state}))
    port = port_of(session)

    def proof() -> WeightProof:
        found = proof_of(session.project, port)
        assert found is not None
        return found

    assert proof().verdict == "proven", proof().because
    edits = Edits([], [])
    for target, broken in edited(session, text):
        for wanted, state_of_text, spent in (
            ("broken", broken, edits.broken),
            ("proven", text, edits.mended),
        ):
            begin = time.process_time()
            session.apply(Changes(texts={CONFIG: state_of_text}))
            found = proof()
            spent.append(time.process_time() - begin)
            assert found.verdict == wanted, (target, found.verdict, found.because)
    return edits


# --------------------------------------------------------------------------- the run


def run(rounds: int) -> dict[str, float]:
    """Every figure by name: seconds, counts and shares."""
    state, cold, warm = asyncio.run(meta_tier(rounds))
    state = longer(state)
    native, official = state.native, state.official
    assert native is not None
    assert official is not None
    session = Session(TREE)
    rules = rules_of(session.project, port_of(session))[1]
    profile = session.profile
    figures: dict[str, float] = {"meta_cold": cold, "meta_warm": warm, "tensors": len(official.tensors)}
    with tempfile.TemporaryDirectory(prefix="ditproof-benchmark-") as scratch:
        folder = Path(scratch) / "transformer"
        write_shards(folder, official.tensors, SHARDS)
        checkpoint, figures["headers"] = best(rounds, lambda: read_checkpoint(folder))
        assert not checkpoint.problems, checkpoint.problems
        figures["headers_share"] = checkpoint.bytes_read / checkpoint.total_bytes
        opened, figures["safe_open"] = rival(_OPENED, folder, rounds)
        assert opened == len(checkpoint.tensors)

        def proof(against: Checkpoint) -> WeightProof:
            known = PortState(native=native, official=against.state_dict())
            return prove(
                known,
                rules,
                semantics=profile.mapping_semantics,
                loading=profile.loading,
                cls=MODEL,
            )

        found, figures["prove"] = best(rounds, lambda: proof(checkpoint))
        assert found.verdict == "proven", found.because
        found, figures["headers_and_proof"] = best(rounds, lambda: proof(read_checkpoint(folder)))
        asked = {
            "names": [[t.name, t.shape] for t in official.tensors],
            "rules": [[r.pattern, [r.target, *r.merge] if r.merge else r.target] for r in rules],
        }
        mapper = TREE / "fastvideo/models/loader/utils.py"
        mapped, figures["hf_to_custom_state_dict"] = rival(_MAPPED, mapper, rounds, asked=asked)
        assert mapped == len(native.tensors)

        few, size = [], 0
        for tensor in official.tensors:
            few.append(tensor)
            size += size_of(tensor)
            if size >= LARGE:
                break
        large = Path(scratch) / "large.safetensors"
        figures["large_bytes"] = write_sparse(large, few)
        one, figures["large_read"] = read_by_kernel(lambda: read_checkpoint(large))
        _, figures["large"] = best(rounds, lambda: read_checkpoint(large))
        assert len(one.tensors) == len(few)
        figures["large_read"] = max(figures["large_read"], one.bytes_read)
    edits = measure_edits(state)
    for name, times in (("broken", edits.broken), ("mended", edits.mended)):
        figures[f"edit_{name}_median"] = percentile(times, 0.5)
        figures[f"edit_{name}_p95"] = percentile(times, 0.95)
    figures["edits"] = len(edits.broken)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="What the proof of the weights costs.")
    parser.add_argument("--rounds", type=int, default=5, help="each figure is the best of so many")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    options = parser.parse_args()
    if not (TREE / CONFIG).is_file() or not Path(PYTHON).is_file():
        raise SystemExit(f"{TREE} or {PYTHON} is missing: run `make setup` first")
    figures = run(options.rounds)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    told(figures)


def told(figures: dict[str, float]) -> None:
    """The figures for a person."""

    def ms(name: str) -> str:
        return f"{figures[name] * 1000:8.1f} ms"

    def verdict(value: float, budget: float) -> str:
        return f"budget {budget:g} {'kept' if value <= budget else 'MISSED'}"

    print(f"{figures['tensors']:.0f} names of {MODEL} in {SHARDS} shards, CPU")
    against = figures["headers"] / figures["safe_open"]
    print(
        f"  headers              {ms('headers')}  ({against:.1f} times safe_open's {ms('safe_open').strip()})"
    )
    against = figures["prove"] / figures["hf_to_custom_state_dict"]
    mapped = ms("hf_to_custom_state_dict").strip()
    print(f"  proof, nothing kept  {ms('prove')}  ({against:.1f} times hf_to_custom_state_dict's {mapped})")
    kept = verdict(figures["headers_and_proof"], BUDGET)
    print(f"  headers and proof    {ms('headers_and_proof')}  ({kept} s)")
    for name, what in (("broken", "a rule broken"), ("mended", "taken back")):
        kept = verdict(figures[f"edit_{name}_p95"], KEY_BUDGET)
        print(
            f"  {what:20} {ms(f'edit_{name}_median')} median, {ms(f'edit_{name}_p95').strip()} at the 95th "
            f"percentile of {figures['edits']:.0f} ({kept} s)"
        )
    share = figures["large_read"] / figures["large_bytes"]
    print(
        f"  one file of {figures['large_bytes'] / 1e9:.0f} GB   {ms('large')}, "
        f"{figures['large_read']:.0f} bytes read: {share:.5%} of it ({verdict(share, SHARE)}); "
        f"of the shards {figures['headers_share']:.5%}"
    )
    cold, warm = figures["meta_cold"], figures["meta_warm"]
    print(
        f"  meta tier            {cold:.1f} s cold ({verdict(cold, COLD)}), {warm:.2f} s warm "
        f"({verdict(warm, WARM)}), wall"
    )


if __name__ == "__main__":
    main()
