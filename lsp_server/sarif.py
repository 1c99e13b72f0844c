"""Findings as SARIF 2.1.0, for code scanning services.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0,
https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from analyzers.findings import Finding, Location, Severity
from analyzers.project.baseline import known_by
from analyzers.project.index import Project
from lsp_server.payloads import LinesOf, lines_of, place_json
from lsp_server.rule_pages import Page, all_pages, page_markdown
from lsp_server.version import installed_version

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFORMATION: "note"}
_ROOT = "SRCROOT"


def sarif_json(project: Project, findings: Sequence[Finding]) -> dict[str, Any]:
    """The log of one run. Columns count code points; paths are relative to the root."""
    reported = {finding.code for finding in findings}
    pages = [page for page in all_pages() if page.code in reported]
    index = {page.code: number for number, page in enumerate(pages)}
    lines = lines_of(project.sources)
    number = installed_version()
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ditproof",
                        **({"semanticVersion": number} if number is not None else {}),
                        "rules": [_rule(page) for page in pages],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {_ROOT: {"uri": project.root.as_uri() + "/"}},
                "results": [
                    _result(finding, index[finding.code], lines, print_)
                    for finding, print_ in zip(findings, _fingerprints(project, findings), strict=True)
                ],
            }
        ],
    }


def _rule(page: Page) -> dict[str, Any]:
    return {
        "id": page.code,
        "name": "".join(word.capitalize() for word in page.name.split("-")),
        "shortDescription": {"text": page.summary},
        "fullDescription": {"text": page.what.strip()},
        "help": {"text": page.how.strip(), "markdown": page_markdown(page)},
        "defaultConfiguration": {"level": _LEVELS[page.severity]},
        "properties": {"tags": [page.name, f"needs {page.tier}"]},
    }


def _result(finding: Finding, rule: int, lines: LinesOf, fingerprint: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [_location(finding.location, lines)],
        "partialFingerprints": {"ditproof/v1": fingerprint},
    }
    if finding.symbol is not None:
        result["locations"][0]["logicalLocations"] = [{"name": finding.symbol}]
    if finding.related:
        result["relatedLocations"] = [
            {"id": number, **_location(related.location, lines), "message": {"text": related.message}}
            for number, related in enumerate(finding.related, 1)
        ]
    if finding.port is not None:
        result["properties"] = {"port": finding.port}
    return result


def _location(location: Location, lines: LinesOf) -> dict[str, Any]:
    place = place_json(location, lines)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(os.fsencode(location.path)), "uriBaseId": _ROOT},
            "region": {
                "startLine": place["line"],
                "startColumn": place["column"],
                "endLine": place["end_line"],
                "endColumn": place["end_column"],
            },
        }
    }


def _fingerprints(project: Project, findings: Iterable[Finding]) -> list[str]:
    """What tells a service that a finding is the one of the run before: as in a baseline, numbered where
    several look alike."""
    seen: Counter[str] = Counter()
    prints = []
    for finding in findings:
        known = known_by(finding, project.line)
        plain = f"{known.code}:{known.path}:{known.symbol}:{known.line_hash}"
        seen[plain] += 1
        prints.append(f"{plain}:{seen[plain]}")
    return prints
