"""Runs rules over files: findings of one file, of many, with settings and suppressions applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analyzers.facts.model import FileFacts
from analyzers.findings import Finding, Severity
from analyzers.project.index import Project
from analyzers.rules.base import Context, Rule
from analyzers.rules.catalogue import all_rules
from analyzers.rules.retired import RETIRED
from analyzers.rules.suppressions import apply_suppressions, find_suppressions

_OWN = frozenset({"DIT001", "DIT002", "DIT003"})
"""What the engine reports by itself."""


def check_file(project: Project, path: str, rules: Sequence[Rule] | None = None) -> list[Finding]:
    """The findings of one file that the baseline does not hold, in order of place; empty where there is
    no such file."""
    found = find_all(project, path, rules)
    if path not in project.recorded.paths:
        return found
    return project.recorded.split(found, project.line)[0]


def find_all(project: Project, path: str, rules: Sequence[Rule] | None = None) -> list[Finding]:
    """The findings of one file, also those that the baseline holds."""
    facts = _facts(project, path)
    if facts is None:
        return []
    chosen = [rule for rule in (all_rules() if rules is None else rules) if path.endswith(rule.suffixes)]
    settings = project.settings
    if facts.unreadable is not None:
        return [Finding("DIT001", "syntax-error", Severity.ERROR, facts.top, facts.unreadable)]
    found: list[Finding] = [
        Finding("DIT001", "syntax-error", Severity.ERROR, p.at(p.fact.span), p.fact.message)
        for p in facts.problems
    ]
    ran = {word for retired in RETIRED for word in (retired.code, retired.name)}
    for rule in chosen:
        if rule.reports_missing and facts.broken:
            continue
        if project.profile.off(rule.code) is None and settings.enabled(rule.code, rule.name, path):
            ran |= {rule.code, rule.name}
            found.extend(rule.check(Context(project, facts, rule)))
    suppressions = find_suppressions(facts)
    if suppressions:
        codes = _OWN | {rule.code for rule in all_rules()} | {retired.code for retired in RETIRED}
        found = apply_suppressions(found, suppressions, frozenset(ran), codes)
    return sorted(
        (f for f in found if f.code == "DIT001" or settings.enabled(f.code, f.name, path)),
        key=lambda f: f.sort_key,
    )


def _facts(project: Project, path: str) -> FileFacts | None:
    """The facts of a Python file; those of any other file that rules look at are empty."""
    if path.endswith(".py"):
        return project.file(path)
    if not project.profile.is_document(path) or not project.sources.exists(path):
        return None
    unreadable = project.sources.problem(path)
    return FileFacts(path, (), unreadable=unreadable)


def check_files(project: Project, paths: Iterable[str], rules: Sequence[Rule] | None = None) -> list[Finding]:
    """The findings of several files, in order."""
    return sorted((f for path in paths for f in check_file(project, path, rules)), key=lambda f: f.sort_key)
