"""`ditproof trace` on the real thing: FastVideo's Wan beside the one in diffusers, through the real worker.

One warm worker answers every question; each is about the same checkout, edited and mended.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import find_profile
from analyzers.project.settings import load_settings
from analyzers.project.sources import Sources
from lsp_server.checks.meta import MetaWorker
from lsp_server.checks.trace import trace
from lsp_server.checks.trace_question import question_about
from lsp_server.checks.trace_result import TraceResult

REPOSITORY = Path(__file__).resolve().parents[2]
FASTVIDEO = REPOSITORY / ".real/fastvideo-0.2.1"
WAN = "WanTransformer3DModel"
WAN_FILE = "fastvideo/models/dits/wanvideo.py"
FFN = 'self.ffn = MLP(dim, ffn_dim, act_type="gelu_pytorch_tanh"'
CALL = "        ff_output = self.ffn(norm_hidden_states)\n"
EDITS: Mapping[str, tuple[str, str]] = {
    "clean": (FFN, FFN),
    "gelu": (FFN, FFN.replace("gelu_pytorch_tanh", "gelu")),
    "raises": (CALL, f'        raise ValueError("not today")\n{CALL}'),
    "mended": (FFN, FFN),
}
"""What is changed in Wan's file before a trace: the first place of it, in the text as it was."""


@pytest.fixture(scope="module")
def results(workspace: Path, project_python: str) -> Mapping[str, TraceResult]:
    """What became of each edit, one after the other in one worker."""
    text = (workspace / WAN_FILE).read_text()
    profile = find_profile(workspace, None)
    assert profile is not None
    project = Project(Sources(workspace), profile, load_settings(workspace))
    port = next(port for port in project.ports if port.name == WAN)
    question = replace(
        question_about(project, port, python=project_python, trusted=True, here=workspace), dtype=None
    )

    async def all_of_them() -> dict[str, TraceResult]:
        worker = MetaWorker()
        found = {}
        try:
            for name, (old, new) in EDITS.items():
                assert old in text
                (workspace / WAN_FILE).write_text(text.replace(old, new, 1))
                found[name] = await trace(question, worker)
        finally:
            await worker.end()
        return found

    return asyncio.run(all_of_them())


def line_of(workspace: Path, text: str) -> int:
    """The line of a text in Wan's file as it is when all is over, from 0."""
    return (workspace / WAN_FILE).read_text().partition(text)[0].count("\n")


def test_the_real_wan_agrees_with_diffusers_in_every_bit(results: Mapping[str, TraceResult]) -> None:
    for name in ("clean", "mended"):
        result = results[name]
        assert (result.status, result.problems) == ("passed", ()), result.reason
        assert result.verdict is not None
        assert [output.max_abs for output in result.verdict.outputs] == [0.0]
        assert result.verdict.unaligned == ()
        assert result.verdict.aligned > 100
        assert WAN_FILE in result.files
        assert result.compared is not None
        assert len(result.compared.cases) > 2


def test_another_gelu_is_found_at_its_line(results: Mapping[str, TraceResult], workspace: Path) -> None:
    result = results["gelu"]
    assert result.status == "failed", result.reason
    (found,) = result.divergences
    # In diffusers the activation holds the projection before it: it lies between two aligned layers.
    assert found.kind in ("inside", "between")
    assert (found.native.path, found.native.line) == (WAN_FILE, line_of(workspace, FFN))
    assert found.mismatch is not None
    assert found.mismatch.what == "constant"
    assert "none" in str(found.mismatch.native)
    assert "tanh" in str(found.mismatch.official)
    assert found.official.path is not None
    assert found.official.path.endswith("transformer_wan.py")
    assert found.calls > 1, "both blocks have it"
    assert found.error is not None
    assert found.floor is not None
    assert found.error > 10 * found.floor


def test_a_port_that_raises_is_told_at_its_line(results: Mapping[str, TraceResult], workspace: Path) -> None:
    result = results["raises"]
    assert (result.status, result.verdict) == ("error", None)
    assert "ValueError: not today" in result.reason
    assert result.place is not None
    assert (result.place.path, result.place.span.line) == (WAN_FILE, line_of(workspace, CALL))


def test_the_command_tells_the_line_and_the_exit_code(
    results: Mapping[str, TraceResult], workspace: Path, project_python: str, tmp_path: Path
) -> None:
    """The whole way, with the eps of one norm another one."""
    text = (workspace / WAN_FILE).read_text()
    old = "self.norm_q = RMSNorm(dim, eps=eps)\n"
    (workspace / WAN_FILE).write_text(text.replace(old, old.replace("eps=eps", "eps=1e-5"), 3))
    try:
        run = subprocess.run(
            [
                *(sys.executable, "-m", "lsp_server", "trace", WAN, "--root", str(workspace)),
                *("--python", project_python, "--dtype", "float32", "--format", "json"),
            ],
            cwd=REPOSITORY,
            env={**os.environ, "DITPROOF_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        (workspace / WAN_FILE).write_text(text)
    assert run.returncode == 1, run.stderr
    document = json.loads(run.stdout)
    first = document["first"]
    assert (document["status"], document["others"]) == ("failed", [])
    assert first["native"]["path"] == WAN_FILE
    assert (
        "eps=1e-5"
        in text.replace(old, old.replace("eps=eps", "eps=1e-5"), 3).splitlines()[first["native"]["line"] - 1]
    )
    assert first["operation"] is not None
    assert first["error"] > first["floor"]
    assert document["drift"]
