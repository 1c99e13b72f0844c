"""`# ditproof: ignore[DIT401, name] reason`, on the line or above the statement."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from analyzers.facts.chunks import normalise_newlines
from analyzers.facts.model import FileFacts
from analyzers.findings import Finding, Location, Severity, Span

_DIRECTIVE = re.compile(r"#\s*ditproof:\s*ignore(?:\[(?P<codes>[^\]]*)\])?(?P<reason>[^#]*)")
_OPEN = re.compile(
    r"\#[^\n]*|\"\"\"(?:[^\\\"]|\\.|\"(?!\"\"))*\"\"\"|'''(?:[^\\']|\\.|'(?!''))*'''"
    r"|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|[()\[\]{}]|\\\n|\n",
    re.DOTALL,
)


@dataclass(frozen=True)
class Suppression:
    """One directive; `lines` are the statement's lines (from 0) that it speaks for."""

    codes: tuple[str, ...]
    reason: str
    location: Location
    lines: range

    def covers(self, finding: Finding) -> bool:
        """Whether it names the finding's rule and stands at the finding's statement."""
        named = any(c in (finding.code, finding.name) for c in self.codes)
        return named and finding.location.span.line in self.lines


def find_suppressions(facts: FileFacts, text: str) -> tuple[Suppression, ...]:
    """The directives of a file."""
    directives = [
        (placed, match)
        for placed in facts.comments
        if (match := _DIRECTIVE.match(placed.fact.text)) is not None
    ]
    if not directives:
        return ()
    statements = _logical_lines(normalise_newlines(text))
    found = []
    for placed, match in directives:
        location = placed.at(placed.fact.span)
        line = location.span.line
        codes = tuple(c.strip() for c in (match["codes"] or "").split(",") if c.strip())
        if placed.fact.own_line:
            lines = next((s for s in statements if s.start > line), range(0))
        else:
            lines = next((s for s in statements if line in s), range(line, line + 1))
        found.append(Suppression(codes, match["reason"].strip(" :-\t"), location, lines))
    return tuple(found)


def apply_suppressions(
    findings: Iterable[Finding], suppressions: tuple[Suppression, ...], checked: frozenset[str]
) -> list[Finding]:
    """The findings that remain, and what is wrong with the suppressions themselves.

    `checked`: codes and names of the rules that ran; a suppression of a rule that did not run is
    not called unused.
    """
    kept: list[Finding] = []
    used: set[int] = set()
    for finding in findings:
        covering = [i for i, s in enumerate(suppressions) if s.covers(finding)]
        used.update(covering)
        if not covering:
            kept.append(finding)
    for index, suppression in enumerate(suppressions):
        kept.extend(_faults(suppression, index in used, checked))
    return kept


def _faults(suppression: Suppression, used: bool, checked: frozenset[str]) -> Iterable[Finding]:
    finding = Finding(
        code="DIT002",
        name="suppression-without-reason",
        severity=Severity.WARNING,
        location=suppression.location,
        message="",
    )
    if not suppression.codes:
        yield replace(
            finding,
            message="this suppression names no rule and has no effect: "
            "write `# ditproof: ignore[CODE] reason`",
        )
        return
    if not suppression.reason:
        yield replace(
            finding,
            message="this suppression gives no reason: write it after the bracket, "
            f"`# ditproof: ignore[{', '.join(suppression.codes)}] reason`",
        )
    if not used and checked.issuperset(suppression.codes):
        yield replace(
            finding,
            code="DIT003",
            name="suppression-unused",
            message=f"nothing to suppress here for {', '.join(suppression.codes)}: remove the comment",
        )


def directive_for(finding: Finding, facts: FileFacts, text: str, reason: str) -> tuple[Span, str]:
    """Where a directive that covers a finding goes, and what to write there (line ends are `\\n`).

    A directive that already stands at the statement takes the code in. Else it goes to the end of the
    line, or above the statement where that has several lines (its end may lie in a string) or a comment.
    """
    line = finding.location.span.line
    rows = normalise_newlines(text).split("\n")
    statement = next(
        (s for s in _logical_lines(normalise_newlines(text)) if line in s), range(line, line + 1)
    )
    for placed in facts.comments:
        match = _DIRECTIVE.match(placed.fact.text)
        span = placed.at(placed.fact.span).span
        above = placed.fact.own_line and span.line == statement.start - 1
        if match is not None and match["codes"] is not None and (above or span.line in statement):
            column = span.column + len(placed.fact.text[: match.end("codes")].encode())
            separator = ", " if match["codes"].strip() else ""
            return Span(span.line, column, span.line, column), separator + finding.code
    directive = f"# ditproof: ignore[{finding.code}] {reason}"
    row = rows[line] if line < len(rows) else ""
    commented = any(p.at(p.fact.span).span.line == line for p in facts.comments)
    if len(statement) == 1 and not commented:
        column = len(row.rstrip().encode("utf-8", "surrogatepass"))
        return Span(line, column, line, column), f"  {directive}"
    first = rows[statement.start] if statement.start < len(rows) else ""
    indent = first[: len(first) - len(first.lstrip())]
    return Span(statement.start, 0, statement.start, 0), f"{indent}{directive}\n"


def _logical_lines(text: str) -> list[range]:
    """The lines of each logical line that holds code; decorators count to what they decorate."""
    found: list[range] = []
    depth = start = line = position = 0
    decorated = False
    for match in _OPEN.finditer(text):
        token = match.group()
        if token in "([{":
            depth += 1
        elif token in ")]}":
            depth = max(0, depth - 1)
        elif token == "\n" and depth == 0:
            content = text[position : match.start()].strip()
            if content and not content.startswith("#"):
                decorated = content.startswith("@")
                if not decorated:
                    found.append(range(start, line + 1))
            line += 1
            position = match.end()
            if not decorated:
                start = line
            continue
        line += token.count("\n")
    if text[position:].strip():
        found.append(range(start, line + 1))
    return found
