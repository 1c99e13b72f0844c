"""A handoff with all around it, as JSON and as Markdown; checked against its schema before it leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from typing import Any

from lsp_server.checks.handoff.gate import Gate
from lsp_server.checks.handoff.gathering import Found, Handed
from lsp_server.checks.handoff.model import Handoff, markdown
from lsp_server.checks.handoff.schema import problems
from lsp_server.checks.handoff.state_files import Updated


class InvalidHandoff(Exception):
    """A block of our own that does not fit its schema: a fault of ditproof."""


def valid_block(handoff: Handoff) -> dict[str, Any]:
    """The block as JSON. Raises `InvalidHandoff`."""
    block = handoff.to_json()
    wrong = problems(block)
    if wrong:
        raise InvalidHandoff("; ".join(wrong))
    return block


def document_json(
    found: Found,
    given: Handed,
    gate: Gate,
    files: Sequence[Updated],
    *,
    written: bool,
    against: str | None,
) -> dict[str, Any]:
    """One document. Lines count from 1."""
    return {
        "version": 1,
        "port": found.name,
        "path": found.path,
        "handoff": valid_block(given.handoff),
        "evidence": [
            {
                "id": one.run.id,
                "tier": one.run.tier,
                "subject": one.run.subject,
                "status": one.run.status,
                "counts": one.counts and one.run.status == "passed",
                "changed": list(one.changed),
                "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.run.ended)),
            }
            for one in given.kept
        ],
        "gate": {**gate.to_json(), "since": against},
        "state_files": [
            {
                "path": file.path,
                "changes": [
                    {"line": c.line + 1, "what": c.what, "before": c.before, "after": c.after}
                    for c in file.changes
                ],
                "left": list(file.left),
                "written": written and bool(file.changes),
            }
            for file in files
        ],
    }


def report_markdown(found: Found, given: Handed, gate: Gate, files: Sequence[Updated]) -> str:
    """What an editor shows."""
    valid_block(given.handoff)
    return markdown(given.handoff, f"Handoff of {found.name}", _after(given, gate, files))


def _after(given: Handed, gate: Gate, files: Sequence[Updated]) -> Iterator[str]:
    yield from ("", "## Evidence", "")
    if not given.kept:
        yield "No run of this port is kept."
    else:
        yield "| Tier | Compared with | Status | When |"
        yield "|---|---|---|---|"
        for one in given.kept:
            status = one.run.status if one.counts else f"{one.run.status}, stale"
            when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(one.run.ended))
            yield f"| {one.run.tier} | `{_cell(one.run.subject)}` | {status} | {when} UTC |"
    yield from ("", "## Cleanup", "")
    if gate.verdict == "clean":
        yield "Nothing was left behind."
    for item in gate.items:
        place = f"`{item.path}{f':{item.line}' if item.line is not None else ''}`: " if item.path else ""
        yield f"- {place}{item.what}. Next: {item.next_step}."
    yield from (f"- {note}." for note in gate.notes)
    changes = [(file.path, change) for file in files for change in file.changes]
    left = [line for file in files for line in file.left]
    if changes or left:
        yield from ("", "## State files", "")
    for path, change in changes:
        yield f"- `{path}:{change.line + 1}`: {change.what}: {change.before or 'nothing'} → {change.after}"
    yield from (f"- left: {line}" for line in left)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def diff_text(files: Sequence[Updated]) -> str:
    """What writing the files would change, as a unified diff."""
    parts: list[str] = []
    for file in files:
        lines = unified_diff(_lines(file.before), _lines(file.after), f"a/{file.path}", f"b/{file.path}")
        parts += [
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        ]
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """Lines with their ends, split at `\\n` alone, as diff and patch do."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def is_told(value: object) -> bool:
    """Whether a field says something."""
    return value not in (None, [], "")
