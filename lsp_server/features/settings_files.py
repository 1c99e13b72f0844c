"""What is wrong with the project's settings, at the line that says it."""

from __future__ import annotations

import re

from lsprotocol import types

from analyzers.facts.positions import LineIndex
from analyzers.findings import Span
from analyzers.project.baseline import MalformedBaseline
from analyzers.project.settings import SettingsProblem
from lsp_server.positions import Encoding, to_range
from lsp_server.session import SETTINGS_FILES, Session
from lsp_server.translate import SOURCE

_KEY = re.compile(r"'([^']+)'")
_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")
_TABLE = re.compile(r"^\s*\[tool\.ditproof[\].]", re.MULTILINE)


def settings_diagnostics(session: Session, encoding: Encoding) -> dict[str, list[types.Diagnostic]]:
    """The diagnostics of each settings file, by its path; a file without problems is not listed."""
    found: dict[str, list[types.Diagnostic]] = {}
    for problem in (*session.settings.problems, *_baseline_problem(session)):
        lines = session.lines(problem.path)
        found.setdefault(problem.path, []).append(
            types.Diagnostic(
                range=to_range(_place(problem.message, lines), lines, encoding),
                message=problem.message,
                severity=types.DiagnosticSeverity.Warning,
                code="settings",
                source=SOURCE,
            )
        )
    return found


def _baseline_problem(session: Session) -> tuple[SettingsProblem, ...]:
    settings = session.settings
    try:
        _ = session.project.baseline
    except MalformedBaseline as error:
        message = f"'baseline': {settings.baseline} cannot be used: {error}"
        return (SettingsProblem(settings.source or SETTINGS_FILES[0], message),)
    return ()


def _place(message: str, lines: LineIndex) -> Span:
    """The key that a problem names, the position that the parser names, or the first line of the table."""
    position = _LINE.search(message)
    if position is not None:
        line = int(position[1]) - 1
        return Span(line, 0, line, len(lines.line(line).encode()))
    table = _TABLE.search(lines.text)
    first = lines.text.count("\n", 0, table.start()) if table is not None else 0
    key = _KEY.search(message)
    if key is not None:
        pattern = re.compile(rf"^\s*(?:\[(?:tool\.ditproof\.)?)?[\"']?({re.escape(key[1])})[\"']?\s*[=\].]")
        for number in range(first, len(lines.lines)):
            match = pattern.match(lines.line(number))
            if match is not None:
                begin = len(lines.line(number)[: match.start(1)].encode())
                return Span(number, begin, number, begin + len(match[1].encode()))
    return Span(first, 0, first, len(lines.line(first).encode()))
