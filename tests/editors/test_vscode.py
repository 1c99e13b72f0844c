"""The extension in a real VS Code: one test for each part of the porter's way.

If all went well, DITPROOF_REFRESH_IMAGES=1 copies what the documentation shows to docs/images.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from editor_setup import HERE, ROOT, Setup

pytestmark = pytest.mark.editor

EDITORS = ROOT / ".editors"
CODE_SERVER = EDITORS / "code-server" / "node_modules" / "code-server" / "out" / "node" / "entry.js"
VSIX = Path(os.environ.get("DITPROOF_VSIX", EDITORS / "ditproof.vsix"))
PLAYWRIGHT = HERE / "vscode" / "node_modules" / "playwright-core"
PARITY_TIMEOUT = 180
"""Seconds for one parity run: on a cold machine the import of torch takes most of them."""

WEIGHTS_TIMEOUT = 180
"""Seconds until the names of a port are measured: nearly all of them are the import of torch."""

TRACE_TIMEOUT = 180
"""Seconds for the first trace: on a cold machine the import of torch takes most of them."""

IMAGES = {
    "quick-fix.png": "vscode-quickfix.png",
    "parity-passed.png": "vscode-parity.png",
    "parity-failed-line.png": "vscode-parity-failed.png",
    "weights-proven.png": "vscode-weights.png",
    "weights-broken.png": "vscode-weights-broken.png",
    "weights-hover.png": "vscode-weights-hover.png",
    "trace-differs.png": "vscode-trace.png",
    "trace-hover.png": "vscode-trace-hover.png",
    "trace-report.png": "vscode-trace-report.png",
    "trace-report-light.png": "vscode-trace-report-light.png",
    "saves-failed.png": "vscode-saves-failed.png",
}
"""Which screenshots the documentation shows, and under which names."""

# DITPROOF_EDITOR_PARTS: the beginning of the names of those parts to run (`trace`), while one works on them.
Parts = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def parts(setup: Setup) -> Parts:
    setup.need(
        CODE_SERVER, VSIX, PLAYWRIGHT, setup.server, setup.fastvideo, setup.project_python, setup.parity_test
    )
    node = shutil.which("node")
    assert node is not None, "node is not on PATH"
    out = setup.out / "vscode"
    shutil.rmtree(out, ignore_errors=True)
    options = {
        "codeServer": str(CODE_SERVER),
        "vsix": str(VSIX),
        "server": str(setup.server),
        "fastvideo": str(setup.fastvideo),
        "projectPython": str(setup.project_python),
        "parityTest": str(setup.parity_test),
        "parityTimeoutMs": PARITY_TIMEOUT * 1000,
        "weightsTimeoutMs": WEIGHTS_TIMEOUT * 1000,
        "traceTimeoutMs": TRACE_TIMEOUT * 1000,
        "only": os.environ.get("DITPROOF_EDITOR_PARTS", ""),
        "out": str(out),
    }
    script = HERE / "vscode" / "e2e.mjs"
    done = subprocess.run(
        [node, str(script), json.dumps(options)], capture_output=True, text=True, timeout=840, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: Parts = json.loads(done.stdout.splitlines()[-1])
    if os.environ.get("DITPROOF_REFRESH_IMAGES") == "1" and all(part["ok"] for part in results.values()):
        images = ROOT / "docs" / "images"
        images.mkdir(parents=True, exist_ok=True)
        for screenshot, image in IMAGES.items():
            shutil.copy(out / screenshot, images / image)
    return results


def _must_be_well(parts: Parts, name: str) -> None:
    if name not in parts:
        started = parts.get("start", {"error": f"DITPROOF_EDITOR_PARTS leaves {name} out"})
        pytest.fail(f"VS Code did not start: {started['error']}", pytrace=False)
    part = parts[name]
    if not part["ok"]:
        pytest.fail(f"{part['error']}\n(a screenshot is in tests/editors/out/vscode)", pytrace=False)


def test_a_finding_is_shown_and_its_quick_fix_saved(parts: Parts) -> None:
    _must_be_well(parts, "finding-and-fix")


def test_a_passing_parity_run_is_shown_in_the_status_bar(parts: Parts) -> None:
    _must_be_well(parts, "parity-passes")


def test_a_wrong_constant_turns_the_comparison_red(parts: Parts) -> None:
    _must_be_well(parts, "parity-fails")


def test_an_opened_config_is_proven_rule_by_rule(parts: Parts) -> None:
    _must_be_well(parts, "weights-proven")


def test_a_typo_in_a_mapping_is_told_while_it_is_typed(parts: Parts) -> None:
    _must_be_well(parts, "weights-follow-typing")


def test_a_rule_hovers_with_its_keys(parts: Parts) -> None:
    _must_be_well(parts, "weights-hover")


def test_a_missing_rule_is_written_by_its_quick_fix(parts: Parts) -> None:
    _must_be_well(parts, "weights-quick-fix")


def test_the_report_of_the_weights_is_a_document(parts: Parts) -> None:
    _must_be_well(parts, "weights-report")


def test_a_wrong_constant_is_underlined_after_a_save(parts: Parts) -> None:
    _must_be_well(parts, "trace-underlines")


def test_the_line_that_differs_hovers_with_the_numbers(parts: Parts) -> None:
    _must_be_well(parts, "trace-hover")


def test_the_report_of_a_trace_leads_to_the_line(parts: Parts) -> None:
    _must_be_well(parts, "trace-report")


def test_the_constant_taken_back_and_saved_agrees(parts: Parts) -> None:
    _must_be_well(parts, "trace-agrees")


def test_a_recipe_is_written_by_its_quick_fix(parts: Parts) -> None:
    _must_be_well(parts, "trace-recipe")


def test_a_saved_port_is_run_against_its_weights(parts: Parts) -> None:
    _must_be_well(parts, "saves-pass")


def test_what_was_run_is_handed_over(parts: Parts) -> None:
    _must_be_well(parts, "saves-handed-over")


def test_a_wrong_constant_turns_the_right_test_red_after_a_save(parts: Parts) -> None:
    _must_be_well(parts, "saves-fail")


def test_the_constant_taken_back_is_green_without_a_run(parts: Parts) -> None:
    _must_be_well(parts, "saves-undone")


def test_without_weights_there_is_no_evidence(parts: Parts) -> None:
    _must_be_well(parts, "saves-without-weights")


def test_an_untrusted_workspace_gets_findings_and_no_runs(parts: Parts) -> None:
    _must_be_well(parts, "untrusted")


def test_an_untrusted_workspace_is_told_why_its_weights_are_not_proven(parts: Parts) -> None:
    _must_be_well(parts, "untrusted-weights")
