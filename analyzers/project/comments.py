"""The comments that speak about a statement."""

from __future__ import annotations

import re
from typing import Final

from analyzers.facts.model import FileFacts
from analyzers.findings import Location, Span

_UNUSED: Final = re.compile(
    r"\bun-?used\b|\bnot?\s+(?:\w+\s+)?(?:used|read|needed|supported|consumed|implemented|required)\b"
    r"|\bnever\s+(?:used|read)\b|\bignor(?:e[sd]?|ing)\b|\bcompat|\binterface\b|\bsignature\b|\bcontract\b"
    r"|\bplaceholder\b|\breserved\b|\bdiscard|\bno-?op\b|\blegacy\b|\bdeprecated\b|\bunsupported\b|\bdummy\b"
    r"|\b(?:does\s*n[o']t|doesn't|do\s+not|don't|has\s+no|have\s+no|without)\b|\bnoqa\b|\bpylint:|\bparity\s+with\b"
    r"|\bvestigial\b|\buniform(?:ity)?\b|\bcheckpoint",
    re.IGNORECASE,
)
"""Words that say of something that it is there without being used."""


def says_unused(text: str) -> bool:
    """Whether a comment or a line of a docstring tells that something is kept without being used."""
    return _UNUSED.search(text) is not None


def comments_about(facts: FileFacts, span: Span) -> tuple[str, ...]:
    """The comments on the lines of `span` (of the file) and in the block directly above it."""
    on_line: dict[int, str] = {}
    whole_lines: dict[int, str] = {}
    for placed in facts.comments:
        line = placed.line + placed.fact.span.line
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


def documented_as_unused(
    facts: FileFacts,
    name: str,
    parameter: Span,
    around: Span,
    docstrings: tuple[str | None, ...],
    *,
    alone: bool,
) -> bool:
    """Whether the text says that a parameter is there without being used.

    A comment that says so on the parameter's line or directly above it (with `alone`, which tells that
    no other parameter stands on that line); a comment anywhere in the function (`around`, of the
    file), or a passage of a docstring, that says so and names it.
    """
    if alone and any(says_unused(text) for text in comments_about(facts, parameter)):
        return True
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    blocks: list[str] = []
    last = -2
    for placed in facts.comments:
        line = placed.line + placed.fact.span.line
        if not around.line <= line <= around.end_line:
            continue
        if line == last + 1:
            blocks[-1] += " " + placed.fact.text
        else:
            blocks.append(placed.fact.text)
        last = line
    passages = blocks + [p for text in docstrings if text is not None for p in _passages(text)]
    return any(word.search(passage) and says_unused(passage) for passage in passages)


def _passages(docstring: str) -> list[str]:
    """The entries of a docstring: a line with the deeper lines below it; running text by paragraphs."""
    passages: list[str] = []
    depth = 0
    for line in docstring.split("\n"):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            passages.append("")
        elif (
            passages and passages[-1] and (indent > depth or not re.match(r"\s*[\w*, ]+(\(.*\))?\s*:", line))
        ):
            passages[-1] += " " + line.strip()
            continue
        else:
            passages.append(line.strip())
        depth = indent
    return [p for p in passages if p]
