"""Findings as text: place and message, the source with the stretch underlined, related places, the fix."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from analyzers.findings import Applicability, Finding, Location, Severity
from lsp_server.commands.terminal import printable, styled, width
from lsp_server.payloads import LinesOf

MOST_COLUMNS = 110
"""Width of a source excerpt; of a longer line only the part around the finding is shown."""

_TAB = "    "
_INDENT = "    "


def finding_text(finding: Finding, lines: LinesOf, *, colour: bool, columns: int | None = None) -> str:
    """One finding, several lines, with a line end.

    `columns`: where to wrap the prose, for a terminal; without, each message stays on one line.
    """
    style = finding.severity.value

    def prose(parts: Sequence[tuple[str, str | None]], text: str) -> str:
        plain = "".join(part for part, _ in parts)
        head = "".join(styled(part, kind, on=colour) if kind else part for part, kind in parts)
        return head + wrapped(printable(text), len(plain), columns)

    place = _place(finding.location, lines)
    opening = [
        (place, "place"),
        (": ", None),
        (f"{style}[{finding.code}]", style),
        (f" {finding.name}: ", None),
    ]
    out = [prose(opening, finding.message), *_excerpt(finding.location, lines, style, colour=colour)]
    for related in finding.related:
        where = _place(related.location, lines)
        out.append(
            prose(
                [("  ", None), ("=", "gutter"), (" ", None), (where, "place"), (": ", None)], related.message
            )
        )
    if finding.fix is not None:
        option = "--fix" if finding.fix.applicability is Applicability.SAFE else "--fix --unsafe-fixes"
        out.append(prose([("  ", None), ("help:", "help"), (" ", None)], f"{finding.fix.title} ({option})"))
    return "\n".join(out) + "\n"


def wrapped(text: str, used: int, columns: int | None) -> str:
    """`text` for a line of which `used` columns are taken, wrapped between words."""
    if columns is None or used + width(text) <= columns:
        return text
    room = max(columns, 40)
    # A long place leaves no room beside it: then the message begins below.
    first = " " * used if used <= room * 2 // 3 else ""
    lines = textwrap.wrap(
        text, room, initial_indent=first or _INDENT, subsequent_indent=_INDENT, break_long_words=False
    )
    lines[0] = lines[0][len(first) :] if first else "\n" + lines[0]
    return "\n".join(lines)


def _place(location: Location, lines: LinesOf) -> str:
    column = lines(location.path).code_points(location.span.line, location.span.column)
    return f"{printable(location.path)}:{location.span.line + 1}:{column + 1}"


def _excerpt(location: Location, lines: LinesOf, style: str, *, colour: bool) -> Iterator[str]:
    """The line where the finding begins, underlined up to its end or the end of the line."""
    span, index = location.span, lines(location.path)
    source = index.line(span.line)
    if not source.strip():
        return
    begin = index.code_points(span.line, span.column)
    end = index.code_points(span.line, span.end_column) if span.end_line == span.line else len(source)
    end = max(end, begin + 1)
    # A stretch of several lines is underlined to the end of its first line's code.
    if span.end_line != span.line:
        end = max(len(source.rstrip()), begin + 1)
    first = _first_shown(source, begin, end)
    clipped = min(end, max(first + MOST_COLUMNS, begin + 1))
    before, marked, after = source[first:begin], source[begin:clipped], source[clipped:]
    before, marked, after = (printable(part.replace("\t", _TAB)) for part in (before, marked, after))
    if first:
        before = "…" + before
    room = MOST_COLUMNS - width(before) - width(marked)
    if len(after) > max(room, 0):
        after = after[: max(room - 1, 0)] + "…"
    number = str(span.line + 1)
    bar = styled("|", "gutter", on=colour)
    label = styled(number, "gutter", on=colour)
    more = " ..." if span.end_line > span.line else ""
    pointer = " " * width(before) + styled("^" * max(width(marked), 1) + more, style, on=colour)
    yield f"  {label} {bar} {before}{marked}{after}".rstrip()
    yield f"  {' ' * len(number)} {bar} {pointer}"


def _first_shown(source: str, begin: int, end: int) -> int:
    """Where the excerpt of a long line starts; indentation is never cut off a line that fits."""
    if len(source) <= MOST_COLUMNS or end <= MOST_COLUMNS:
        return 0
    return max(0, min(begin - 20, end - MOST_COLUMNS))


def summary_text(findings: Sequence[Finding], *, files: int, ports: int, unsafe: bool, fixed: int = 0) -> str:
    """The last line: how many of what, and what `--fix` would take."""
    about = f"in {count(files, 'file')} ({count(ports, 'port')} in the tree)"
    done = f"Fixed {count(fixed, 'finding')}. " if fixed else ""
    if not findings:
        return f"{done}No findings {about}."
    by_severity = Counter(finding.severity for finding in findings)
    errors, warnings = by_severity[Severity.ERROR], by_severity[Severity.WARNING]
    kinds = [count(errors, "error")] if errors else []
    kinds += [count(warnings, "warning")] if warnings else []
    if by_severity[Severity.INFORMATION]:
        kinds.append(f"{by_severity[Severity.INFORMATION]} information")
    text = f"{done}Found {count(len(findings), 'finding')} {about}: {', '.join(kinds)}."
    fixes = Counter(finding.fix.applicability for finding in findings if finding.fix is not None)
    safe, more = fixes[Applicability.SAFE], fixes[Applicability.UNSAFE]
    if unsafe and safe + more:
        return f"{text} {safe + more} fixable with --fix --unsafe-fixes."
    if safe:
        text += f" {safe} fixable with --fix"
        return text + (f", {more} more with --unsafe-fixes." if more else ".")
    return text + (f" {more} fixable with --fix --unsafe-fixes." if more else "")


def statistics_text(findings: Iterable[Finding], *, colour: bool) -> str:
    """How often each rule reports, most often first."""
    rules: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        rules.setdefault((finding.code, finding.name), []).append(finding)
    rows = sorted(rules.items(), key=lambda item: (-len(item[1]), item[0]))
    digits = max((len(str(len(found))) for _, found in rows), default=1)
    names = max((len(name) for (_, name), _ in rows), default=1)
    out = []
    for (code, name), found in rows:
        worst = max((f.severity for f in found), key=lambda severity: severity.rank)
        fixes = Counter(f.fix.applicability.value for f in found if f.fix is not None)
        fixable = ", ".join(f"{number} {kind}" for kind, number in sorted(fixes.items()))
        note = f"  fixable: {fixable}" if fixable else ""
        row = f"{len(found):>{digits}}  {styled(code, worst.value, on=colour)}  {name:<{names}}{note}"
        out.append(row.rstrip())
    return "".join(f"{line}\n" for line in out)


def diff_text(diff: str, *, colour: bool) -> str:
    """A unified diff, coloured line by line."""
    if not colour:
        return diff
    out = []
    for line in diff.splitlines(keepends=True):
        style = (
            "place"
            if line.startswith(("+++", "---"))
            else {"+": "added", "-": "removed", "@": "hunk"}.get(line[:1])
        )
        body = line.rstrip("\n")
        out.append((styled(body, style, on=True) if style else body) + line[len(body) :])
    return "".join(out)


def count(number: int, noun: str) -> str:
    """`1 port`, `2 ports`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
