"""Known causes, seeded into real ports, named by a run: what is found is the edit that takes them back.

The errors are texts in the place of files: nothing is written, and one warm worker answers all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from analyzers.fixes.replace_lines import edit as replace_lines
from analyzers.numeric.verdicts import Hypothesis
from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from lsp_server.checks.meta import MetaWorker
from lsp_server.checks.trace import trace
from lsp_server.checks.trace_question import question_about
from lsp_server.checks.trace_result import TraceResult

DITS = "fastvideo/models/dits"


class Seed(NamedTuple):
    """`old` is right; `new`, in its first place, is the error (None: the port is taken as it is)."""

    file: str
    cls: str
    old: str
    new: str | None
    cause: str


_WAN = ("wanvideo.py", "WanTransformer3DModel")
_FLUX = ("flux.py", "FluxTransformer2DModel")
_HUNYUAN = ("hunyuanvideo.py", "HunyuanVideoTransformer3DModel")
_SD3 = ("sd3.py", "SD3Transformer2DModel")
SEEDS: Mapping[str, Seed] = {
    "fps": Seed(
        "cosmos.py", "CosmosTransformer3DModel", "        fps = 16\n", None, "overridden-argument"
    ),
    "wan gelu": Seed(*_WAN, 'self.ffn = MLP(dim, ffn_dim, act_type="gelu_pytorch_tanh"',
                     'self.ffn = MLP(dim, ffn_dim, act_type="gelu"', "gelu-approximate"),
    "wan theta": Seed(*_WAN, "rope_theta=10000)", "rope_theta=256)", "theta"),
    "wan scale": Seed(*_WAN, "* (1 + scale_msa) + shift_msa", "* scale_msa + shift_msa", "one-plus-scale"),
    "wan softmax": Seed(*_WAN, "head_size=dim // num_heads,\n",
                        "head_size=dim // num_heads, softmax_scale=0.5,\n", "softmax-scale"),
    "wan chunks": Seed(*_WAN, "shift, scale = (self.scale_shift_table + temb.unsqueeze(1))",
                       "scale, shift = (self.scale_shift_table + temb.unsqueeze(1))", "chunk-order"),
    "flux eps": Seed(*_FLUX, "self.norm_q = nn.RMSNorm(attention_head_dim, eps=1e-6)",
                     "self.norm_q = nn.RMSNorm(attention_head_dim, eps=1e-5)", "eps"),
    "flux gate": Seed(*_FLUX, "gate_mlp.unsqueeze(1) * ff_output", "gate_msa.unsqueeze(1) * ff_output",
                      "wrong-variable"),
    "flux streams": Seed(*_FLUX, "torch.cat([enc_q, q], dim=1)", "torch.cat([q, enc_q], dim=1)",
                         "swapped-operands"),
    "hunyuan eps": Seed(*_HUNYUAN, "self.img_attn_q_norm = HunyuanRMSNorm(head_dim, eps=1e-6",
                        "self.img_attn_q_norm = HunyuanRMSNorm(head_dim, eps=1e-4", "eps"),
    "sd3 chunks": Seed(*_SD3, "scale, shift = torch.chunk(emb, 2, dim=1)",
                       "shift, scale = torch.chunk(emb, 2, dim=1)", "chunk-order"),
    "sd3 sign": Seed(*_SD3, "hidden_states = norm_hidden_states * (1 + scale_msa[:, None]) + shift_msa",
                     "hidden_states = norm_hidden_states * (1 + scale_msa[:, None]) - shift_msa", "sign"),
}  # fmt: skip


@pytest.fixture(scope="module")
def results(project_python: str, fastvideo: Path) -> Mapping[str, TraceResult]:
    """What became of each error."""
    root = fastvideo.resolve()
    project = Project(Sources(root), FASTVIDEO, Settings())

    async def all_of_them() -> dict[str, TraceResult]:
        worker = MetaWorker()
        found = {}
        try:
            for name, seed in SEEDS.items():
                path = f"{DITS}/{seed.file}"
                (port,) = (p for p in project.ports if p.name == seed.cls and p.cls.path == path)
                question = question_about(project, port, python=project_python, trusted=True, here=root)
                question = replace(question, dtype=None, hypotheses=True, overlay=overlay_of(root, seed))
                found[name] = await trace(question, worker)
        finally:
            await worker.end()
        return found

    return asyncio.run(all_of_them())


def overlay_of(root: Path, seed: Seed) -> Mapping[str, str] | None:
    text = (root / DITS / seed.file).read_text()
    assert seed.old in text
    return None if seed.new is None else {str(root / DITS / seed.file): text.replace(seed.old, seed.new, 1)}


def named(result: TraceResult) -> Hypothesis:
    assert result.status == "failed", result.reason
    found = next((d.hypothesis for d in result.divergences if d.hypothesis is not None), None)
    assert found is not None, [d.message for d in result.divergences]
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_the_cause_is_named(results: Mapping[str, TraceResult], name: str) -> None:
    hypothesis = named(results[name])
    assert hypothesis.cause == SEEDS[name].cause
    assert hypothesis.error < 1e-5


@pytest.mark.parametrize("name", [name for name in SEEDS if name != "fps"])
def test_the_edit_takes_the_error_back(
    results: Mapping[str, TraceResult], fastvideo: Path, name: str
) -> None:
    seed, hypothesis = SEEDS[name], named(results[name])
    assert hypothesis.edit is not None
    operation, arguments = hypothesis.edit
    (text,) = (overlay_of(fastvideo.resolve(), seed) or {}).values()
    assert operation == "replace-lines"
    right = (fastvideo / DITS / seed.file).read_text()
    assert replace_lines(arguments, {f"{DITS}/{seed.file}": text}.get) == {f"{DITS}/{seed.file}": right}


def test_what_overrides_the_caller_goes(results: Mapping[str, TraceResult], fastvideo: Path) -> None:
    hypothesis = named(results["fps"])
    assert hypothesis.edit is not None
    path = f"{DITS}/{SEEDS['fps'].file}"
    text = (fastvideo / path).read_text()
    expected = text.replace(SEEDS["fps"].old, "", 1)
    assert replace_lines(hypothesis.edit[1], {path: text}.get) == {path: expected}
    assert "caller's `fps`" in hypothesis.message


def test_files_are_left_as_they_are(results: Mapping[str, TraceResult], fastvideo: Path) -> None:
    assert results
    for seed in SEEDS.values():
        assert seed.old in (fastvideo / DITS / seed.file).read_text()
