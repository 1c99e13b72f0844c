"""Taking fixes: as many as can be verified, then written all at once or shown as a diff."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff

from analyzers.findings import Applicability, Finding, Fix
from analyzers.fixes.base import Refused
from analyzers.fixes.verify import edited_texts, verify_texts, with_texts
from analyzers.project.index import Project
from analyzers.rules.engine import check_files
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.entries import write_atomically

MOST_ROUNDS = 500
"""A round takes at most one fix a file, so this many fixes a file."""


@dataclass
class Fixed:
    """What came of it: new texts by path, the findings that they settle, and what was refused, why."""

    texts: dict[str, str] = field(default_factory=dict)
    settled: list[Finding] = field(default_factory=list)
    refused: list[tuple[Finding, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Edit:
    finding: Finding
    texts: Mapping[str, str]


def fix_all(project: Project, files: Sequence[str], allowed: Collection[Applicability]) -> Fixed:
    """Takes every allowed fix for findings in `files` that can be verified, until none is left.

    In each round the findings are computed afresh, and of the fixes that touch the same file only
    the first is taken: the others were made for a text that no longer stands. Every accepted round
    has fewer findings than the one before, so this ends.
    """
    outcome = Fixed()
    refused: set[tuple[str, str, str, str]] = set()
    current, looked_at = project, list(files)
    for _ in range(MOST_ROUNDS):
        candidates = [
            (finding, finding.fix)
            for finding in check_files(current, looked_at)
            if finding.fix is not None
            and finding.fix.applicability in allowed
            and _identity(finding, finding.fix) not in refused
        ]
        # Later rounds look again only where there was something to fix.
        looked_at = sorted({finding.location.path for finding, _ in candidates})
        edits = []
        for edit in _disjoint(current, candidates):
            if isinstance(edit, _Edit):
                edits.append(edit)
            else:
                outcome.refused.append(edit)
        accepted = _verified(current, edits, outcome.refused)
        refused = {_identity(f, f.fix) for f, _ in outcome.refused if f.fix is not None}
        if not accepted and not edits:
            break
        changed = {path: text for edit in accepted for path, text in edit.texts.items()}
        outcome.texts.update(changed)
        outcome.settled += [edit.finding for edit in accepted]
        current = with_texts(current, changed)
    before = {path: text for path, text in outcome.texts.items() if text != project.sources.text(path)}
    outcome.texts = before
    return outcome


def _disjoint(
    project: Project, candidates: Sequence[tuple[Finding, Fix]]
) -> Iterator[_Edit | tuple[Finding, str]]:
    """The edits of fixes that touch no file in common; a fix that is refused comes with the reason."""
    taken: set[str] = set()
    for finding, fix in candidates:
        if finding.location.path in taken:
            continue
        try:
            texts = edited_texts(project, fix)
        except Refused as error:
            yield finding, str(error)
            continue
        touched = {finding.location.path, *texts}
        if not touched & taken:
            taken |= touched
            yield _Edit(finding, texts)


def _verified(
    project: Project, edits: Sequence[_Edit], refused: list[tuple[Finding, str]]
) -> Sequence[_Edit]:
    """The edits that hold together; if all at once do not, one after the other."""
    if not edits:
        return ()
    together = {path: text for edit in edits for path, text in edit.texts.items()}
    try:
        verify_texts(project, together, [edit.finding for edit in edits])
    except Refused as error:
        if len(edits) == 1:
            refused.append((edits[0].finding, str(error)))
            return ()
    else:
        return edits
    accepted: list[_Edit] = []
    for edit in edits:
        try:
            verify_texts(project, edit.texts, [edit.finding])
        except Refused as error:
            refused.append((edit.finding, str(error)))
        else:
            accepted.append(edit)
            project = with_texts(project, edit.texts)
    return accepted


def _identity(finding: Finding, fix: Fix) -> tuple[str, str, str, str]:
    """What stays the same about a refused fix when lines move."""
    return (
        finding.code,
        finding.location.path,
        finding.message,
        json.dumps(dict(fix.arguments), sort_keys=True),
    )


# --------------------------------------------------------------------------- the disk


def write_texts(project: Project, texts: Mapping[str, str]) -> None:
    """Writes the new texts, each file at once, with the permissions it had.

    Raises `CommandError` where a file has changed since it was read, lies outside the tree, or
    cannot be written; then the files before it are written and it is not.
    """
    for path, text in sorted(texts.items()):
        # The file behind a link is written, not the link replaced.
        target = (project.root / path).resolve()
        if not target.is_relative_to(project.root):
            raise _not_written(path, "it is a link to a file outside the tree")
        old = project.sources.text(path)
        try:
            if old is None:
                if target.exists():
                    raise _not_written(path, "there is a file that could not be read")
                target.parent.mkdir(parents=True, exist_ok=True)
                mode = 0o644
            else:
                if target.read_bytes() != old.encode("utf-8"):
                    raise _not_written(path, "it changed while it was being checked")
                mode = target.stat().st_mode & 0o7777
            write_atomically(target, text.encode("utf-8"), mode)
        except OSError as error:
            raise _not_written(path, error.strerror or str(error)) from error


def _not_written(path: str, reason: str) -> CommandError:
    return CommandError(
        f"{path} was not written: {reason}.",
        "correct that and run `ditproof check --fix` again; files before it are complete.",
        ExitCode.NOT_RUN,
    )


def diff_of(project: Project, texts: Mapping[str, str]) -> str:
    """The changes as a unified diff that `git apply` and `patch -p1` take."""
    parts: list[str] = []
    for path, text in sorted(texts.items()):
        before = project.sources.text(path)
        lines = unified_diff(
            _lines(before or ""),
            _lines(text),
            f"a/{path}" if before is not None else "/dev/null",
            f"b/{path}",
        )
        parts += [
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        ]
    return "".join(parts)


def _lines(text: str) -> list[str]:
    """Lines with their ends, split at `\\n` alone, as diff and patch do."""
    lines = text.split("\n")
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
