"""Findings as they are kept with a run, so that a verdict that is used again is shown as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analyzers.findings import Applicability, Finding, Fix, Location, Related, Severity, Span


def findings_to_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Lines from 0 and columns in bytes, as findings have them."""
    return [
        {
            "code": finding.code,
            "name": finding.name,
            "severity": finding.severity.value,
            "location": _place(finding.location),
            "message": finding.message,
            "symbol": finding.symbol,
            "port": finding.port,
            "related": [[_place(related.location), related.message] for related in finding.related],
            "fix": None
            if finding.fix is None
            else [
                finding.fix.title,
                finding.fix.operation,
                dict(finding.fix.arguments),
                finding.fix.applicability.value,
            ],
        }
        for finding in findings
    ]


def findings_from_json(kept: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """What `findings_to_json` wrote. Raises ValueError where it is something else."""
    try:
        return [
            Finding(
                code=item["code"],
                name=item["name"],
                severity=Severity(item["severity"]),
                location=_location(item["location"]),
                message=item["message"],
                symbol=item["symbol"],
                port=item["port"],
                related=tuple(Related(_location(place), message) for place, message in item["related"]),
                fix=_fix(item["fix"]),
            )
            for item in kept
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no kept finding: {error}") from error


def _place(location: Location) -> list[Any]:
    span = location.span
    return [location.path, span.line, span.column, span.end_line, span.end_column]


def _location(kept: Any) -> Location:
    path, *span = kept
    return Location(path, Span(*span))


def _fix(kept: Any) -> Fix | None:
    if kept is None:
        return None
    title, operation, arguments, applicability = kept
    return Fix(title, operation, arguments, Applicability(applicability))
