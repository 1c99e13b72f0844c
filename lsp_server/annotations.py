"""Findings as GitHub's workflow commands: each becomes an annotation in the pull request.

Source: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from analyzers.findings import Finding, Severity
from lsp_server.payloads import LinesOf, place_json

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFORMATION: "notice"}


def annotations_text(findings: Iterable[Finding], lines: LinesOf, root: Path) -> str:
    """One command a finding, each with a line end. Paths count from GITHUB_WORKSPACE where the root lies
    below it, as GitHub looks them up there."""
    prefix = _prefix(root)
    return "".join(_annotation(finding, lines, prefix) for finding in findings)


def _annotation(finding: Finding, lines: LinesOf, prefix: str) -> str:
    place = place_json(finding.location, lines)
    one_line = place["line"] == place["end_line"]
    properties = {
        "file": prefix + place["path"],
        "line": place["line"],
        "endLine": place["end_line"],
        # GitHub refuses columns of a stretch over several lines.
        **({"col": place["column"], "endColumn": place["end_column"]} if one_line else {}),
        "title": f"{finding.code} {finding.name}",
    }
    told = ",".join(f"{key}={_escaped_property(str(value))}" for key, value in properties.items())
    return f"::{_LEVELS[finding.severity]} {told}::{_escaped(finding.message)}\n"


def _prefix(root: Path) -> str:
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not workspace:
        return ""
    top = Path(workspace).resolve()
    if not root.is_relative_to(top) or root == top:
        return ""
    return root.relative_to(top).as_posix() + "/"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
