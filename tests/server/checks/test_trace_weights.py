"""Traces of a parity test's own models: FastVideo's Wan, tiny, as it is and with errors written into it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_real_port import PORT, TEST, edit, port_file, request_, wan_rules, workspace

from analyzers.findings import Location, Span
from analyzers.weights.mapping.renaming import rename
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.meta import PortName
from lsp_server.checks.requests import CheckRequest, TraceOption
from lsp_server.checks.trace_json import trace_json
from lsp_server.checks.trace_result import TraceResult
from lsp_server.checks.trace_weights import WeightsQuestion, trace_weights

__all__ = ["port_file", "request_", "workspace"]

FIRST = f"{TEST}::test_wan_transformer_parity[1-3-8-8]"
LOW = TEST.replace("test_wan_tiny_parity", "test_wan_low_parity")
Trace = Callable[..., TraceResult]


@pytest.fixture
def trace(request_: CheckRequest, tmp_path: Path) -> Trace:
    """Traces a test; further arguments are fields of the option."""

    def run(test: str = FIRST, **option: Any) -> TraceResult:
        rules = wan_rules(Path(request_.root))
        option = {"folder": str(tmp_path / "traces"), "hold": True, **option}
        question = WeightsQuestion(
            request=replace(
                request_,
                test=test,
                trace=TraceOption(
                    port_class="WanTransformer3DModel",
                    port_path=PORT.as_posix(),
                    official=("WanTransformer3DModel",),
                    **option,
                ),
            ),
            code_base="fastvideo",
            port=PortName("fastvideo.models.dits.wanvideo", "WanTransformer3DModel", PORT.as_posix()),
            place=Location(PORT.as_posix(), Span(584, 6, 584, 27)),
            rename=lambda name: rename(name, rules, "first-match"),
            semantics="first-match",
            official="diffusers:WanTransformer3DModel",
            official_because="the test says so",
        )
        return asyncio.run(trace_weights(question, LocalExecutor()))

    return run


def line_of(path: Path, text: str, after: str = "") -> int:
    lines = path.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if after in line)
    return next(n for n, line in enumerate(lines) if n >= start and text in line)


def test_a_clean_port_passes(trace: Trace) -> None:
    result = trace(TEST)
    assert (result.status, result.tier, result.notes) == ("passed", "weights", ())
    assert result.verdict is not None
    assert result.verdict.divergences == ()
    assert result.verdict.aligned > 100
    assert result.compared is not None
    assert len(result.compared.cases) == 2
    document = trace_json(result)
    assert (document["first"], document["others"], document["test_status"]) == (None, [], "passed")
    assert [output["tolerance"] for output in document["outputs"]] == [1e-6, 1e-6]
    assert document["taps"] > 100


def test_an_error_in_a_layer_is_placed_where_the_port_makes_it(trace: Trace, port_file: Path) -> None:
    edit(port_file, "self.norm_q = RMSNorm(dim, eps=eps)\n", "self.norm_q = RMSNorm(dim, eps=1e-5)\n")
    result = trace()
    assert result.status == "failed"
    first = result.divergences[0]
    assert (first.kind, first.native.module, first.official.module) == (
        "inside",
        "blocks.0.norm_q",
        "blocks.0.attn1.norm_q",
    )
    assert first.native.path == PORT.as_posix()
    assert first.native.line == line_of(port_file, "RMSNorm(dim, eps=1e-5)", "class WanTransformerBlock")
    assert first.error is not None
    assert first.floor is not None
    assert 0 < 10 * first.floor < first.error < 1e-4


def test_one_module_is_looked_into_where_memory_is_short(trace: Trace, port_file: Path) -> None:
    edit(
        port_file,
        "(self.norm1(hidden_states.float()) * (1 + scale_msa) + shift_msa)",
        "(self.norm1(hidden_states.float()) * (1.01 + scale_msa) + shift_msa)",
    )
    result = trace(hold_bytes=2_000_000)
    assert result.status == "failed"
    assert any("only blocks.0" in note for note in result.notes), result.notes
    first = result.divergences[0]
    assert first.native.module.startswith("blocks.0.")
    assert first.official.module.startswith("blocks.0.")
    assert first.pair.native.module.startswith("blocks.0.")
    assert first.native.line == line_of(port_file, "(1.01 + scale_msa)", "class WanTransformerBlock")
    assert first.floor is not None


def test_where_nothing_may_be_held_the_sketches_explain_a_failure(trace: Trace, port_file: Path) -> None:
    edit(port_file, "self.norm_q = RMSNorm(dim, eps=eps)\n", "self.norm_q = RMSNorm(dim, eps=1e-2)\n")
    result = trace(hold_bytes=0)
    assert result.status == "failed"
    (first,) = result.divergences
    assert (first.kind, first.native.module, first.floor) == ("inside", "blocks.0.norm_q", None)
    assert first.native.path == "fastvideo/layers/custom_op.py"  # where the class has its `forward`
    assert any("was not measured" in note for note in result.notes)


def test_in_a_low_dtype_both_models_are_compared_in_float32(trace: Trace, port_file: Path) -> None:
    """The test's tolerance is far too wide to see it, and the models are given up in its body."""
    clean = trace(f"{LOW}::test_wan_in_bfloat16")
    assert (clean.status, clean.divergences) == ("passed", ()), clean
    assert clean.compared is not None
    assert clean.compared.dtype == "bfloat16"
    assert any("rope.freqs_cos" in note for note in clean.notes)  # the test's own `.to` rounded it
    edit(port_file, "* (1 + scale_msa) + shift_msa)", "* (1.03 + scale_msa) + shift_msa)")
    result = trace(f"{LOW}::test_wan_in_bfloat16")
    assert result.check is not None
    assert (result.check.status, result.status) == ("passed", "failed")
    assert result.reason.startswith("the test passes, and ")
    assert result.divergences[0].native.line == line_of(
        port_file, "(1.03 + scale_msa)", "class WanTransformerBlock"
    )


def test_weights_that_the_test_does_not_load_are_told(trace: Trace, workspace: Path) -> None:
    path = workspace / TEST
    text = path.read_text()
    try:
        path.write_text(
            text.replace(
                "    return official, port\n",
                "    with torch.no_grad():\n        port.blocks[1].to_out.bias.zero_()\n"
                "    return official, port\n",
            )
        )
        result = trace()
    finally:
        path.write_text(text)
    assert result.status == "failed"
    (note,) = [note for note in result.notes if "official weights" in note]
    assert "blocks.1.to_out.bias" in note


def test_what_was_not_compared_is_said(trace: Trace) -> None:
    skipped = trace(f"{LOW}::test_wan_with_weights")
    assert (skipped.status, skipped.verdict) == ("skipped", None)
    alone = trace(f"{LOW}::test_wan_alone")
    assert (alone.status, alone.verdict) == ("passed", None)
    assert any("does not run the official model as a whole" in note for note in alone.notes)


def test_the_command(workspace: Path, project_python: str) -> None:
    def run(*arguments: str) -> tuple[int, Mapping[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "lsp_server", "trace", *arguments, "--format", "json", "--quiet"],
            cwd=workspace,
            env={**os.environ, "DITPROOF_PYTHON": project_python},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {}

    options = ("--root", str(workspace), "--python", project_python)
    code, document = run(f"{LOW}::test_wan_with_weights", *options)
    assert (code, document["status"], document["skips"][0]["class"]) == (4, "skipped", "no-weights")
    code, document = run(FIRST, *options)
    assert (code, document["tier"], document["aligned"] > 100) == (0, "weights", True)
    assert run(FIRST, *options, "--recipe", "wan")[0] == 2
