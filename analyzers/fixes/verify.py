"""A fix is offered only if its result parses, its finding is gone and no new one appeared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TypeAlias

from analyzers.findings import Finding, Fix
from analyzers.fixes.base import Refused, run_operation
from analyzers.project.index import Project
from analyzers.project.sources import Sources
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import find_all

_LINE = re.compile(r"\blines? \d+(-\d+)?\b")
"""A line that a message names moves with the edit."""


@dataclass(frozen=True)
class FixResult:
    """The new text of every file that a fix changes, by path."""

    texts: Mapping[str, str]


def apply_fix(project: Project, finding: Finding, fix: Fix) -> FixResult:
    """The verified result of a fix on the project's present texts.

    Raises `Refused` where the operation refuses, the result does not parse, the finding stays or
    another one appears.
    """
    changed = edited_texts(project, fix)
    verify_texts(project, changed, (finding,))
    return FixResult(changed)


def edited_texts(project: Project, fix: Fix) -> dict[str, str]:
    """What a fix's operation makes of the project's present texts, unverified.

    Raises `Refused` where the operation refuses or changes nothing.
    """
    sources = project.sources
    texts = run_operation(fix.operation, fix.arguments, project)
    changed = {path: text for path, text in texts.items() if text != sources.text(path)}
    if not changed:
        raise Refused("the edit changes nothing")
    return changed


def verify_texts(project: Project, changed: Mapping[str, str], settled: Sequence[Finding]) -> None:
    """Raises `Refused` unless these texts parse, settle the findings and cause no other one.

    What a run has found, and no rule, only a run can tell settled: such a fix was tried in one before it was
    offered, and is bound to the lines that it was tried on.
    """
    after = with_texts(project, changed)
    for path in changed:
        facts = after.file(path)
        before = project.file(path)
        if facts is None or (facts.broken and not (before is not None and before.broken)):
            raise Refused(f"the edited {path} would not parse")
    looked_at = sorted({*(finding.location.path for finding in settled), *changed})
    # Without the baseline: an edit of its line would make a known finding look like a new one.
    old = Counter(_identity(f) for path in looked_at for f in find_all(project, path))
    new = Counter(_identity(f) for path in looked_at for f in find_all(after, path))
    of_rules = {rule.code for rule in all_rules()}
    for identity, number in Counter(_identity(f) for f in settled if f.code in of_rules).items():
        # What a run has measured in a rule's name, no rule finds in the texts before.
        if new[identity] > old[identity] - min(number, old[identity]):
            raise Refused("the edit would not settle the finding")
    appeared = new - old
    if appeared and (caused := _caused(project, after, settled, appeared)) is not None:
        code, path, message = caused
        raise Refused(f"the edit would cause {code} in {path}: {message}")


def _caused(
    before: Project, after: Project, settled: Sequence[Finding], appeared: Counter[_Identity]
) -> _Identity | None:
    """The first finding that was not there before in any wording.

    A message quotes what stands in the code, so an edit of that place gives a known finding another
    message. It is the same one where its rule spoke of that very line before, not counting what the
    edit settles, and says no more of it now. Nor does an edit cause what is said of a class that it
    made a port: nobody had asked.
    """
    made = {port.name for port in after.ports} - {port.name for port in before.ports}
    for path in sorted({path for _, path, _ in appeared}):
        lines = _same_lines(before.sources.text(path) or "", after.sources.text(path) or "")
        known = Counter((f.code, f.location.span.line) for f in find_all(before, path))
        known.subtract((f.code, f.location.span.line) for f in settled if f.location.path == path)
        for finding in find_all(after, path):
            place = (finding.code, lines.get(finding.location.span.line, -1))
            known[place] -= 1
            about = finding.port or (finding.symbol or "").partition(".")[0]
            if _identity(finding) in appeared and known[place] < 0 and about not in made:
                return _identity(finding)
    return None


def _same_lines(before: str, after: str) -> dict[int, int]:
    """Line after an edit -> the line before it that it was, changed ones included where they pair up."""
    matcher = SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
    return {
        new: old
        for kind, first, last, begin, end in matcher.get_opcodes()
        if kind == "equal" or (kind == "replace" and last - first == end - begin)
        for old, new in zip(range(first, last), range(begin, end), strict=True)
    }


def with_texts(project: Project, changed: Mapping[str, str]) -> Project:
    """The project as it would be with these texts."""
    overlaid = Sources.overlaid(project.sources, changed)
    return Project(overlaid, project.profile, project.settings, project.states)


_Identity: TypeAlias = "tuple[str, str, str]"


def _identity(finding: Finding) -> _Identity:
    """What stays the same about a finding when lines move."""
    return (finding.code, finding.location.path, _LINE.sub("line", finding.message))
