"""`# ditproof: ignore[DIT401, name] reason`, on the line or above the statement."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from analyzers.facts.chunks import logical_lines, normalise_newlines
from analyzers.facts.model import FileFacts
from analyzers.findings import Finding, Location, Severity, Span

_DIRECTIVE = re.compile(r"#\s*ditproof:\s*ignore(?:\[(?P<codes>[^\]]*)\])?(?P<reason>(?:(?!\s#\s).)*)")
_CODE_OR_NAME = re.compile(r"DIT\d{3}|[a-z][a-z0-9]*(?:-[a-z0-9]+)+|[a-z]{3,}")
_OF_RUNS = "DIT9"
"""How the codes begin of what a run finds: whoever runs it knows them."""


@dataclass(frozen=True)
class Suppression:
    """One directive; `lines` are the statement's lines (from 0) that it speaks for.

    `certain`: the statement parses, so that a finding that is not there is not there.
    """

    codes: tuple[str, ...]
    reason: str
    location: Location
    lines: range
    certain: bool

    def covers(self, finding: Finding) -> str | None:
        """The code or name by which it covers a finding that begins at its statement, else None."""
        if finding.location.span.line not in self.lines:
            return None
        return next((c for c in self.codes if c in (finding.code, finding.name)), None)


def find_suppressions(facts: FileFacts) -> tuple[Suppression, ...]:
    """The directives of a file.

    A comment after code speaks for the whole statement (of a compound statement: its head, with
    decorators), and so does one on a line of its own inside the statement; one above, for the
    statement that follows.
    """
    found: list[Suppression] = []
    for index, chunk in enumerate(facts.chunks):
        directives = [
            (comment, match)
            for comment in chunk.facts.comments
            if (match := _DIRECTIVE.search(comment.text)) is not None
        ]
        if not directives:
            continue
        # A comment at the end of a chunk stands above the statement that the next one begins with.
        statements = _statements(facts, index)
        if index + 1 < len(facts.chunks):
            statements += _statements(facts, index + 1)
        for comment, match in directives:
            span = comment.span.shifted(chunk.line)
            lines = next((s for s in statements if span.line in s), None)
            if lines is None:
                lines = next((s for s in statements if s.start > span.line), range(0))
            found.append(
                Suppression(
                    codes=tuple(_normal(c) for c in (match["codes"] or "").split(",") if c.strip()),
                    reason=match["reason"].strip(" :-\t"),
                    location=Location(facts.path, span),
                    lines=lines,
                    certain=not facts.broken,
                )
            )
    return tuple(found)


def _statements(facts: FileFacts, index: int) -> list[range]:
    """The lines of each statement of a chunk, counted from the file's beginning."""
    chunk = facts.chunks[index]
    found = logical_lines(chunk.text, damaged=chunk.facts.problem is not None)
    return [range(lines.start + chunk.line, lines.stop + chunk.line) for lines in found]


def _normal(code: str) -> str:
    code = code.strip()
    return code.upper() if code[:3].upper() == "DIT" else code.lower()


def apply_suppressions(
    findings: Iterable[Finding],
    suppressions: tuple[Suppression, ...],
    checked: frozenset[str],
    known: frozenset[str] | None = None,
) -> list[Finding]:
    """The findings that remain, and what is wrong with the suppressions themselves.

    `checked`: codes and names of the rules that ran; a suppression of a rule that did not run is
    not called unused, nor is one in a file that does not parse. `known`: the codes that there are, apart
    from those of runs; None where nobody asks.
    """
    kept: list[Finding] = []
    used: set[tuple[int, str]] = set()
    for finding in findings:
        covering = [(i, by) for i, s in enumerate(suppressions) if (by := s.covers(finding)) is not None]
        used.update(covering)
        if not covering:
            kept.append(finding)
    for index, suppression in enumerate(suppressions):
        unused = tuple(c for c in suppression.codes if c in checked and (index, c) not in used)
        kept.extend(_faults(suppression, unused if suppression.certain else (), known))
    return kept


def _faults(
    suppression: Suppression, unused: tuple[str, ...], known: frozenset[str] | None
) -> Iterable[Finding]:
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
    finding = replace(finding, code="DIT003", name="suppression-unused")
    for code in suppression.codes:
        if not _CODE_OR_NAME.fullmatch(code):
            yield replace(
                finding, message=f"'{code}' is neither the code nor the name of a rule: it suppresses nothing"
            )
        elif known is not None and code.startswith("DIT") and code not in known and code[:4] != _OF_RUNS:
            yield replace(finding, message=f"no rule has the code {code}: it suppresses nothing")
    if unused:
        rest = [c for c in suppression.codes if c not in unused]
        remedy = f"leave only {', '.join(rest)}" if rest else "remove the comment"
        yield replace(finding, message=f"nothing to suppress here for {', '.join(unused)}: {remedy}")


def directive_for(finding: Finding, facts: FileFacts, text: str, reason: str = "") -> tuple[Span, str]:
    """Where a directive that covers a finding goes, and what to write there (line ends are `\\n`).

    Without a reason the directive works, and is reported until somebody writes one.

    A directive that already stands at the statement takes the code in. Else it goes to the end of the
    line, or above the statement where that has several lines (its end may lie in a string) or a comment.
    """
    line = finding.location.span.line
    rows = normalise_newlines(text).split("\n")
    statements = (s for index in range(len(facts.chunks)) for s in _statements(facts, index))
    statement = next((s for s in statements if line in s), range(line, line + 1))
    for placed in facts.comments:
        match = _DIRECTIVE.search(placed.fact.text)
        span = placed.at(placed.fact.span).span
        above = placed.fact.own_line and span.line == statement.start - 1
        if match is not None and match["codes"] is not None and (above or span.line in statement):
            column = span.column + len(placed.fact.text[: match.end("codes")].encode())
            separator = ", " if match["codes"].strip() else ""
            return Span(span.line, column, span.line, column), separator + finding.code
    directive = f"# ditproof: ignore[{finding.code}] {reason}".rstrip()
    row = rows[line] if line < len(rows) else ""
    commented = any(p.at(p.fact.span).span.line == line for p in facts.comments)
    if len(statement) == 1 and not commented:
        column = len(row.rstrip().encode("utf-8", "surrogatepass"))
        return Span(line, column, line, column), f"  {directive}"
    first = rows[statement.start] if statement.start < len(rows) else ""
    indent = first[: len(first) - len(first.lstrip())]
    return Span(statement.start, 0, statement.start, 0), f"{indent}{directive}\n"
