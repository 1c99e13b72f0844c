"""One fault has one code and one place, whether an editor or the command line tells it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.project.index import Project
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.examples import write_tree
from analyzers.rules.weight_examples import (
    CONFIG,
    HEAD,
    MODEL,
    OFFICIAL_NAMES,
    PORT,
    RULES,
    K,
    Q,
    config,
    measured,
)
from analyzers.weights.faults import placed_faults
from analyzers.weights.state import Origin
from lsp_server.checks.against import Against
from lsp_server.checks.meta import StateAnswer
from lsp_server.checks.weights import Measured, report_on
from lsp_server.checks.weights_json import NAMES, report_json

SLIPS = {
    "a typing error in a target": (RULES.replace(r"blocks.\1.to_v", r"block.\1.to_v"), OFFICIAL_NAMES),
    "a rule that is missing": (RULES.replace(K, ""), OFFICIAL_NAMES),
    "another shape": (RULES, {**OFFICIAL_NAMES, "head.weight": (32, 64)}),
    "two rules for one parameter": (RULES.replace(r"blocks.\1.to_k", r"blocks.\1.to_q"), OFFICIAL_NAMES),
    "a rule that takes another's names": (
        RULES.replace(Q, Q.replace(r"attn\.q\.(.*)", r"attn\.(.*)")),
        OFFICIAL_NAMES,
    ),
    "the general rule first": (RULES.replace(HEAD, "").replace(Q, HEAD + Q), OFFICIAL_NAMES),
}


@pytest.mark.parametrize("origin", ["class", "checkpoint", "dump"])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_fault_has_the_code_and_the_line_of_the_editor(tmp_path: Path, slip: str, origin: Origin) -> None:
    rules, official = SLIPS[slip]
    write_tree(tmp_path, {MODEL: PORT, CONFIG: config(rules)})
    ((key, state),) = measured(official=official).items()
    assert state.official is not None
    state = replace(state, official=replace(state.official, origin=origin))
    project = Project(Sources(tmp_path), FASTVIDEO, Settings(), {key: state})
    port = next(port for port in project.ports if port.name == "EchoTransformer3DModel")
    answer = StateAnswer(state, (), (), None, None, None, 0.0)
    against = Against("class", "diffusers:EchoModel", "it is named")
    told = report_json(report_on(project, Measured(port, against, state, "", answer), time.monotonic()))
    placed = [fault for fault in placed_faults(project) if fault.rule is not None]
    assert told["faults"]
    assert placed or slip == "a rule that is missing"
    # An editor tells a rule that takes the names of several at each of them, a report at the first.
    shown = {(p.code, p.location.path, p.location.span.line + 1) for p in placed}
    caused = [fault for fault in told["faults"] if fault["rule"] is not None]
    assert {(fault["code"], fault["path"], fault["line"]) for fault in caused} <= shown
    assert {p.code for p in placed_faults(project)} == {fault["code"] for fault in told["faults"]}


def test_the_rules_of_a_report_have_their_names() -> None:
    known = {rule.code: rule.name for rule in all_rules()}
    assert {code: name for code, name in NAMES.items() if code in known} == {
        code: known[code] for code in NAMES if code in known
    }
    assert set(NAMES) - set(known) == {"DIT704", "DIT705"}
