"""`--baseline` and `--write-baseline`: which file, and what is recorded in it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from analyzers.project.baseline import Baseline, Judged, Known, MalformedBaseline, baseline_text
from analyzers.project.index import Project
from analyzers.project.settings import Settings
from analyzers.rules.engine import find_all
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.report import count
from lsp_server.entries import write_atomically
from lsp_server.rule_pages import find_page

DEFAULT_BASELINE = "ditproof-baseline.json"


def with_baseline(root: Path, settings: Settings, option: str | None) -> Settings:
    """The settings with the file of `--baseline`, which counts from the current folder."""
    if option is None:
        return settings
    place = Path(os.path.abspath(option))  # noqa: PTH100 - Path.resolve would follow links
    inside = place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)
    return replace(settings, baseline=inside)


def require_baseline(project: Project) -> None:
    """Raises `CommandError` where the baseline is missing or is none: every old finding would be new."""
    try:
        _ = project.baseline
    except MalformedBaseline as error:
        raise CommandError(
            f"the baseline {project.settings.baseline} cannot be used: {error}.",
            "name another with --baseline, or record the present findings with --write-baseline.",
        ) from None


def baseline_to_write(project: Project) -> Baseline:
    """What is recorded in the file that `record_baseline` writes; nothing where there is no such file.

    Raises `CommandError` where it holds something else than a baseline.
    """
    path = project.settings.baseline or DEFAULT_BASELINE
    if not os.path.lexists(project.root / path):
        return Baseline()
    named = Project(project.sources, project.profile, replace(project.settings, baseline=path))
    require_baseline(named)
    return named.baseline


def record_baseline(project: Project, files: tuple[str, ...], *, everything: bool) -> str:
    """Records the findings of the files, in place of what was recorded of them; a sentence on what was done.

    `everything`: the files are all that rules look at, so what is recorded of others is out of date.
    Raises `CommandError` where the file cannot be written, or holds something else than a baseline.
    """
    path = project.settings.baseline or DEFAULT_BASELINE
    old = baseline_to_write(project)
    found = [finding for file in files for finding in find_all(project, file)]
    new = old.updated(found, judged_by(project, None if everything else files), project.line)
    try:
        # The file behind a link is written, not the link replaced.
        target = (project.root / path).resolve()
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644
        write_atomically(target, baseline_text(new).encode("utf-8"), mode)
    except OSError as error:
        raise CommandError(
            f"{path} was not written: {error.strerror or error}.",
            "see that its folder is there, can be written to and has room, or name another with --baseline.",
            ExitCode.NOT_RUN,
        ) from error
    return f"Recorded {count(new.total, 'finding')} in {path}."


def judged_by(project: Project, files: tuple[str, ...] | None) -> Judged:
    """Whether a run over these files (None: over all) looked for a finding: a rule that was not selected
    says nothing of what is recorded of it."""
    looked_at = frozenset(files) if files is not None else None

    def judged(known: Known) -> bool:
        if looked_at is not None and known.path not in looked_at:
            return False
        page = find_page(known.code)
        return page is None or project.settings.enabled(known.code, page.name, known.path)

    return judged
