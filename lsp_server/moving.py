"""Findings of an earlier text, where their lines stand now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analyzers.findings import Finding, Location


def moved(finding: Finding, before: Sequence[str], now: Sequence[str]) -> Finding | None:
    """The finding of the lines `before`, placed in the lines `now`; None where its first line is gone.

    Of several equal lines the nearest counts.
    """
    span = finding.location.span
    if span.line >= len(before):
        return finding
    content = before[span.line]
    if span.line < len(now) and now[span.line] == content:
        return finding
    same = [number for number, line in enumerate(now) if line == content]
    if not same:
        return None
    nearest = min(same, key=lambda number: abs(number - span.line))
    return replace(finding, location=Location(finding.location.path, span.shifted(nearest - span.line)))
