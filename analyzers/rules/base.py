"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from analyzers.facts.model import FileFacts
from analyzers.findings import Applicability, Finding, Fix, Location, Related, Severity
from analyzers.project.index import Project
from analyzers.project.names import Names
from analyzers.project.profile import Profile
from analyzers.weights.state import PortState


class Tier(str, Enum):
    """What a rule needs to know: one file's text, the index of the repository, or more."""

    FILE = "file"
    PROJECT = "project"
    ORACLE = "oracle"
    WEIGHTS = "weights"
    RUN = "run"


@dataclass(frozen=True)
class Expected:
    """A finding that an invalid example must give; `line` counts from 1, `message` is a part of it."""

    path: str
    line: int
    message: str = ""
    severity: Severity | None = None


@dataclass(frozen=True)
class Example:
    """A small tree, laid over `analyzers.rules.examples.TREE`.

    `files`: path -> text (None removes the file from the tree). Invalid examples list every finding
    of their rule in `findings`; `fixed` holds the texts after the rule's fix has been taken for
    every finding, by path. `states`: what was measured of the weights' names (`Project.states`).
    `title` says what the example shows.
    """

    title: str
    files: Mapping[str, str | None]
    findings: tuple[Expected, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, PortState] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a rule is given: one file of one snapshot."""

    project: Project
    file: FileFacts
    rule: Rule

    @property
    def names(self) -> Names:
        """Name resolution."""
        return self.project.names

    @property
    def profile(self) -> Profile:
        """Layout and names of the code base."""
        return self.project.profile

    @property
    def text(self) -> str:
        """The file's text, empty where it cannot be read."""
        return self.project.sources.text(self.file.path) or ""

    def finding(
        self,
        location: Location,
        message: str,
        *,
        severity: Severity | None = None,
        symbol: str | None = None,
        port: str | None = None,
        related: tuple[Related, ...] = (),
        fix: Fix | None = None,
    ) -> Finding:
        """A finding of this rule; the severity is the rule's own unless given."""
        return Finding(
            code=self.rule.code,
            name=self.rule.name,
            severity=severity or self.rule.severity,
            location=location,
            message=message,
            symbol=symbol,
            port=port,
            related=related,
            fix=fix,
        )


Check = Callable[[Context], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule's metadata, prose (Markdown), examples and check.

    `check` is called once a file, with the whole project at hand, and reports findings located in
    that file only. `suffixes`: the files it is called for; files that are no Python have no facts,
    only `Context.text`. `reports_missing`: what it finds is that something is not there, so it is not
    asked about a file of which a part does not parse: the part may hold it. `fixable`: what its fixes
    are, None where it has none. `source`: where the convention is written down or the behaviour can be
    read, upstream. `exceptions`: what the rule knowingly leaves alone.
    """

    code: str
    name: str
    severity: Severity
    tier: Tier
    summary: str
    what: str
    why: str
    how: str
    check: Check
    exceptions: str = ""
    source: str = ""
    fixable: Applicability | None = None
    suffixes: tuple[str, ...] = (".py",)
    reports_missing: bool = False
    valid: tuple[Example, ...] = ()
    invalid: tuple[Example, ...] = ()
