"""A trace as JSON and as text: the contract's fields, lines from 1, and what a person has to see."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import trace_samples as samples
from trace_samples import FAILED, OFFICIAL_FILE, OFFICIAL_TEXT, PORT_FILE, PORT_TEXT, failed, passed

from analyzers.facts.positions import LineIndex
from analyzers.findings import Location, Span
from lsp_server.checks.trace_json import trace_json
from lsp_server.checks.trace_result import TraceResult
from lsp_server.commands.trace_text import trace_text

CONTRACT = (
    *("port", "tier", "status", "reason", "outputs", "first", "others", "taps", "aligned", "unaligned"),
    *("not_fired", "evidence", "seconds"),
)
TEXTS = {PORT_FILE: PORT_TEXT, OFFICIAL_FILE: OFFICIAL_TEXT}


def text_of(result: TraceResult, *, columns: int | None = 100, verbose: bool = False, **more: bool) -> str:
    def lines(path: str) -> LineIndex:
        return LineIndex(TEXTS.get(path, ""))

    return trace_text(result, lines, colour=False, columns=columns, verbose=verbose, **more)


def block(text: str, opening: str) -> str:
    """The paragraph that begins with a text."""
    return next(part for part in text.split("\n\n") if part.startswith(opening))


# --------------------------------------------------------------------------- JSON


def test_the_contract_comes_first_and_lines_count_from_1() -> None:
    document = trace_json(failed())
    assert tuple(document)[: len(CONTRACT)] == CONTRACT
    assert document["evidence"] is None
    first = document["first"]
    assert first["kind"] == "inside"
    assert first["native"] == {"module": "blocks.0.norm", "path": PORT_FILE, "line": 3, "end_line": 3}
    assert first["official"]["path"] == OFFICIAL_FILE
    assert (first["error"], first["floor"], first["after"]) == (2.2e-6, 2e-7, ["embed"])
    assert first["operation"]["what"] == "constant"
    assert first["operation"]["native"].endswith("eps=1e-05)")
    assert first["operation"]["official_place"]["line"] == 3
    assert first["also"][0]["module"] == "blocks.1.norm"
    assert [other["native"]["module"] for other in document["others"]] == ["proj"]
    assert document["unaligned"] == [
        {"side": "official", "module": "pos_embed"},
        {"side": "native", "module": "rotary"},
    ]
    assert document["not_fired"] == ["blocks.0.mlp"]
    assert document["missing"] == ["proj.bias"]
    assert (document["taps"], document["aligned"], document["seconds"]) == (40, 3, 1.234)
    assert document["compared"]["official_place"] == {"path": OFFICIAL_FILE, "line": 1}


def test_what_is_no_number_of_json_is_null() -> None:
    document = trace_json(failed())
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["others"][0]["error"] is None
    assert [row["error"] for row in again["drift"]] == [0.0, 2.2e-6, None]
    assert [row["free"] for row in again["drift"]] == [0.0, 2.2e-6, 3.1e-3]


def test_an_output_passes_where_it_agrees() -> None:
    assert [output["passed"] for output in trace_json(failed())["outputs"]] == [False]
    assert [output["passed"] for output in trace_json(passed())["outputs"]] == [True]
    within = replace(failed(), verdict=replace(FAILED, drifting=()))
    (output,) = trace_json(within)["outputs"]
    assert output["passed"]
    assert (output["tolerance"], output["needed_tolerance"]) == (None, 0.012)


def test_without_a_verdict_the_fields_are_there_and_empty() -> None:
    result = TraceResult(
        "SoundTransformer3DModel",
        "error",
        "the port raised",
        "mend it",
        0.1,
        place=Location(PORT_FILE, Span(2, 0, 2, 0)),
    )
    document = trace_json(result)
    assert {document[name] is None for name in ("first", "evidence", "compared")} == {True}
    assert [document[name] for name in ("outputs", "others", "unaligned", "not_fired", "drift")] == [[]] * 5
    assert document["place"] == {"path": PORT_FILE, "line": 3}
    assert document["next_step"] == "mend it"


# --------------------------------------------------------------------------- text


def test_the_first_divergence_has_both_lines_and_what_differs() -> None:
    text = text_of(failed())
    assert "  verdict   failed: 2 places compute something else, and the outputs differ.\n" in text
    assert "  output    out: differs, relative error 0.0031 (at most 0.012)\n" in text
    first = block(text, f"{PORT_FILE}:3: differs inside blocks.0.norm\n")
    assert "  3 |     self.norm = LayerNorm(dim, eps=1e-5)\n    |     " + "^" * 36 + "\n" in first
    assert f"  = official: {OFFICIAL_FILE}:3\n" in first
    assert "  3 |     self.norm1 = nn.LayerNorm(dim, eps=1e-6)\n" in first
    assert re.search(r"constant  port      .*eps=1e-05\)\n +official  .*eps=1e-06\)\n", first)
    assert "2.2e-06 (relative L2 norm), 11 times what rounding does here (2e-07)" in first
    assert "  after     embed, which agrees\n" in first
    assert "  also      at 2 aligned places; in blocks.1.norm" in first


def test_the_others_are_short_unless_asked_for() -> None:
    short, full = (
        block(text_of(failed(), verbose=verbose), f"{PORT_FILE}:4: differs before proj")
        for verbose in (False, True)
    )
    assert "  4 |     self.proj = ReplicatedLinear(\n  5 |         dim,\n" in short
    assert "relative L2 norm" not in short
    assert "inf (relative L2 norm); what rounding alone does here was not measured" in full


def test_drift_is_shown_on_demand() -> None:
    assert "drift" not in text_of(passed())
    text = text_of(failed(), verbose=True)
    assert "  drift     ·▃▆  free run\n            ·▃!  each by itself\n" in text
    assert re.search(r"^  blocks\.0\.norm +2\.2e-06 +2\.2e-06 +2\.0e-07$", text, re.MULTILINE)


@pytest.mark.parametrize("blocks", [1, 72, 73, 1000])
def test_a_deep_models_sparkline_keeps_its_largest_error(blocks: int) -> None:
    pairs = tuple(samples.pair(number, f"blocks.{number}") for number in range(blocks))
    errors = [0.0] * blocks
    errors[blocks // 2] = 0.5
    drift = tuple((samples.reading(n, error), samples.reading(n, 0.0)) for n, error in enumerate(errors))
    result = replace(failed(), pairs=pairs, verdict=replace(FAILED, drift=drift))
    (line,) = (line for line in text_of(result, verbose=True).splitlines() if line.endswith("  free run"))
    bars = line.removeprefix("  drift     ").removesuffix("  free run")
    assert len(bars) <= 72
    assert (bars.count("█") or bars.count("▇"), bars.count("·")) == (1, len(bars) - 1)


def test_what_was_not_compared_is_said() -> None:
    text = text_of(failed())
    for line in (
        "  unaligned the port's rotary",
        "  unaligned official pos_embed",
        "  not fired blocks.0.mlp: called around the hooks (`.forward` directly)",
        "  dropped   qk_norm (no field of the arch config)",
        "  layout    attn has its heads flattened",
        "  note      case batch was compared too",
    ):
        assert f"{line}\n" in text
    assert "no official tensor fills proj.bias" in text


def test_quiet_leaves_only_the_verdict_and_the_places() -> None:
    text = text_of(failed(), quiet=True)
    assert "differs inside blocks.0.norm" in text
    for left_out in ("  note ", "  against ", "  inputs ", "  took ", "  traced "):
        assert left_out not in text


def test_a_port_that_raised_is_shown_at_its_line() -> None:
    result = TraceResult(
        "SoundTransformer3DModel",
        "error",
        "the port raised RuntimeError: no",
        "Mend it there.",
        0.1,
        place=Location(PORT_FILE, Span(2, 0, 2, 0)),
    )
    text = text_of(result)
    assert "  verdict   error: the port raised RuntimeError: no\n" in text
    assert f"{PORT_FILE}:3\n    |\n  3 |     self.norm = LayerNorm(dim, eps=1e-5)\n" in text
    assert "  next      Mend it there.\n" in text


def test_a_terminals_width_is_kept() -> None:
    text = text_of(failed(), columns=60)
    prose = [
        line for line in text.splitlines() if "|" not in line and not line.startswith(("fastvideo", "  ="))
    ]
    assert max(map(len, prose)) <= 60


def test_what_a_file_says_does_not_steer_the_terminal() -> None:
    divergence = replace(samples.EPS, message="a\x1b[31m", native=replace(samples.EPS.native, module="b\x1b"))
    text = text_of(replace(failed(), verdict=replace(FAILED, divergences=(divergence,))))
    assert "\x1b" not in text
    assert "a\\x1b[31m" in text
