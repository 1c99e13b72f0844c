"""The comments that speak about a statement."""

from __future__ import annotations

from analyzers.facts.model import FileFacts
from analyzers.findings import Location, Span


def comments_about(facts: FileFacts, span: Span) -> tuple[str, ...]:
    """The comments on the lines of `span` (of the file) and in the block directly above it."""
    on_line: dict[int, str] = {}
    whole_lines: dict[int, str] = {}
    for placed in facts.comments:
        line = placed.at(placed.fact.span).span.line
        (whole_lines if placed.fact.own_line else on_line)[line] = placed.fact.text
    found = [
        text
        for line in range(span.line, span.end_line + 1)
        if (text := on_line.get(line) or whole_lines.get(line)) is not None
    ]
    above = span.line - 1
    while above in whole_lines:
        found.append(whole_lines[above])
        above -= 1
    return tuple(found)


def statement_around(facts: FileFacts, location: Location) -> Span:
    """The module-level or class-level assignment that holds a place; the place itself if none does."""
    holders = [a.at(a.fact.span).span for a in facts.assignments] + [
        cls.at(a.span).span for cls in facts.classes for a in cls.fact.attributes
    ]
    return next((span for span in holders if span.contains(location.span)), location.span)
