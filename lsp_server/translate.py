"""Findings as the protocol's diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lsprotocol import types

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding, Severity
from lsp_server.positions import Encoding, to_range

SOURCE = "ditproof"
SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFORMATION: types.DiagnosticSeverity.Information,
}


def to_diagnostics(
    findings: Iterable[Finding],
    *,
    lines: Callable[[str], LineIndex],
    uri: Callable[[str], str],
    page: Callable[[str], str | None],
    encoding: Encoding,
) -> list[types.Diagnostic]:
    """The findings of one file. `lines` and `uri` speak of any file of the tree, `page` of any rule."""
    known: dict[str, LineIndex] = {}

    def lines_of(path: str) -> LineIndex:
        if path not in known:
            known[path] = lines(path)
        return known[path]

    return [
        types.Diagnostic(
            range=to_range(finding.location.span, lines_of(finding.location.path), encoding),
            message=finding.message,
            severity=SEVERITIES[finding.severity],
            code=finding.code,
            code_description=_description(page(finding.code)),
            source=SOURCE,
            related_information=[
                types.DiagnosticRelatedInformation(
                    types.Location(
                        uri(related.location.path),
                        to_range(related.location.span, lines_of(related.location.path), encoding),
                    ),
                    related.message,
                )
                for related in finding.related
            ]
            or None,
            data=_data(finding),
        )
        for finding in findings
    ]


def _description(page: str | None) -> types.CodeDescription | None:
    return types.CodeDescription(page) if page is not None else None


def _data(finding: Finding) -> dict[str, Any]:
    """What a client may want to know beyond the protocol's fields."""
    fix = finding.fix
    return {
        "name": finding.name,
        "symbol": finding.symbol,
        "port": finding.port,
        "fix": None if fix is None else {"title": fix.title, "applicability": fix.applicability.value},
    }
