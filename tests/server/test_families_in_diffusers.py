"""Every family of FastVideo that diffusers defines too: what its weights prove, at full size."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from lsp_server.checks.meta import MetaWorker
from lsp_server.checks.weights import Question, WeightReport, measure, report_on

REPOSITORY = Path(__file__).resolve().parents[2]
TREE = REPOSITORY / ".real/fastvideo-0.2.1"

PROVEN = {
    "WanTransformer3DModel": (1095, 1095),
    "HunyuanVideoTransformer3DModel": (1264, 856),
    "HunyuanVideo15Transformer3DModel": (1801, 1361),
    "CosmosTransformer3DModel": (570, 570),
    "FluxTransformer2DModel": (1156, 1156),
    "Flux2Transformer2DModel": (331, 331),
    "SD3Transformer2DModel": (515, 515),
    "GlmImageTransformer2DModel": (443, 443),
    "ZImageTransformer2DModel": (521, 521),
    "Kandinsky5Transformer3DModel": (814, 814),
    "MiniMaxH3Transformer3DModel": (638, 638),
}
"""Names in diffusers' state dict of the default configuration, and in the port's."""

OTHER_NAMES = {
    "LTX2Transformer3DModel": ("diffusers:LTX2VideoTransformer3DModel", "unknown", "patch_size"),
    "StableAudioDiT": ("diffusers:StableAudioDiTModel", "broken", "model.model."),
}
"""Ports whose names are not those of diffusers: the verdict, and what its reason says."""

WAN_IMAGE_TO_VIDEO = {
    "image_dim": 1280,
    "added_kv_proj_dim": 5120,
    "in_channels": 36,
    "num_layers": 4,
}
"""What the published configuration of Wan 2.1 I2V changes (transformer/config.json), four blocks of it."""


@pytest.fixture(scope="module")
def project() -> Project:
    if not TREE.is_dir():
        pytest.fail(f"{TREE} is missing: run `make setup` (scripts/project_env.sh)")
    return Project(Sources(TREE), FASTVIDEO, Settings())


@pytest.fixture(scope="module")
def reports(project: Project) -> dict[str, WeightReport]:
    """The reports of all families, by one worker."""
    return asyncio.run(_all_reports(project))


async def _all_reports(project: Project) -> dict[str, WeightReport]:
    python = os.environ.get("DITPROOF_PROJECT_PYTHON") or str(REPOSITORY / ".project-venv/bin/python")
    ports = {port.name: port for port in project.ports}
    worker = MetaWorker()
    found: dict[str, WeightReport] = {}

    async def prove(label: str, name: str, question: Question) -> None:
        began = time.monotonic()
        measured = await measure(project, ports[name], question, worker)
        found[label] = report_on(project, measured, began)

    try:
        for name in PROVEN:
            question = Question(python, TREE, trusted=True, official=f"diffusers:{name}", gates=False)
            await prove(name, name, question)
        for name, (official, _, _) in OTHER_NAMES.items():
            question = Question(python, TREE, trusted=True, official=official, gates=False)
            await prove(name, name, question)
        wan = "WanTransformer3DModel"
        image = Question(
            python,
            TREE,
            trusted=True,
            official=f"diffusers:{wan}",
            config=WAN_IMAGE_TO_VIDEO,
            gates=False,
        )
        await prove("Wan I2V", wan, image)
    finally:
        await worker.end()
    return found


@pytest.mark.parametrize("name", PROVEN)
def test_the_weights_are_proven(reports: dict[str, WeightReport], name: str) -> None:
    report = reports[name]
    state = report.measured.state
    assert report.verdict == "proven", report.because
    assert report.proof.by == "names and shapes"
    assert report.proof.faults == ()
    assert state.official is not None
    assert state.native is not None
    assert (len(state.official.tensors), len(state.native.tensors)) == PROVEN[name]
    assert report.proof.exclusions == ()


def test_what_a_checkpoint_may_hold_beside_the_class_is_named(reports: dict[str, WeightReport]) -> None:
    report = reports["Wan I2V"]
    assert report.verdict == "proven", report.because
    assert {name.split(".", 2)[2] for name, _ in report.proof.exclusions} == {"attn2.norm_added_q.weight"}
    assert len(report.proof.exclusions) == WAN_IMAGE_TO_VIDEO["num_layers"]


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_are_not_proven_and_the_reason_is_said(
    reports: dict[str, WeightReport], name: str
) -> None:
    _, verdict, reason = OTHER_NAMES[name]
    assert reports[name].verdict == verdict
    assert reason in " ".join((reports[name].because, *reports[name].proof.notes))
