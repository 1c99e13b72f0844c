"""One tree over the time of an editing session.

Invariants
----------
* Only the analysis thread touches a `Session`; it is not safe to share.
* What is carried over from an earlier look is an answer between two keys, never the last one: whoever
  asks for it (`at_once`) asks for `findings` when the typist rests. Fixes are made of `findings` alone.
* Only texts that an editor holds may differ between a look and what is carried over from it: when
  anything else has changed (a save, the disk, settings), everything is looked at anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.profile import FASTVIDEO, Profile, find_profile
from analyzers.project.settings import Settings, load_settings
from analyzers.project.sources import Sources
from analyzers.rules.base import Rule, Tier
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_file
from analyzers.weights.state import PortState
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.moving import Shift

SETTINGS_FILES = ("pyproject.toml", "ditproof.toml")

KEY_RULES = frozenset(("DIT102", "DIT501", "DIT802", "DIT806", "DIT809"))
"""The rules that are asked at every key: each reads one file only, and costs less than 0.2 ms of CPU on
the 3,044 lines of `ltx2.py` (the others together 38 ms)."""


@dataclass
class Changes:
    """What happened to a tree since its session was last asked.

    `texts`: path -> the text an editor holds now (None: it closed the file). `files`: what changed
    on disk. `everything`: nothing that was read before counts any more. `states`: `path::Class` -> what
    was measured of the names of that port (None: it counts no more).
    """

    texts: dict[str, str | None] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    everything: bool = False
    states: dict[str, PortState | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.texts or self.files or self.everything or self.states)

    def add(self, later: Changes) -> None:
        """Takes later changes in."""
        self.texts.update(later.texts)
        self.files |= later.files
        self.everything = self.everything or later.everything
        self.states.update(later.states)


class Session:
    """Facts, settings and findings of the tree at `root`."""

    def __init__(self, root: Path) -> None:
        self.cache = DiskFactsCache()
        self.sources = Sources(root, self.cache)
        self.root = self.sources.root
        self.settings = Settings()
        self.profile: Profile = FASTVIDEO
        self._parsed: dict[str, tuple[Sequence[str], list[Finding]]] = {}
        self._looked: dict[str, tuple[Sequence[str], list[Finding]]] = {}
        self._findings: dict[tuple[str, bool], list[Finding]] = {}
        self._states: dict[str, PortState] = {}
        self._ports: tuple[Port, ...] | None = None
        self._load_settings()
        self.project = self._snapshot()

    # ------------------------------------------------------------------ changes

    def apply(self, changes: Changes) -> None:
        """Brings the session up to date."""
        if not changes:
            return
        if changes.everything:
            self.sources.refresh()
        elif changes.files:
            self.sources.refresh(changes.files)
        if changes.everything or changes.files or changes.states:
            self._looked.clear()
        self._take_states(changes.states)
        if not self._keeps_ports(changes):
            self._ports = None
        if changes.everything or changes.files.intersection(SETTINGS_FILES):
            self._load_settings()
            self._parsed.clear()
        for path, text in changes.texts.items():
            if text is None:
                self.sources.close(path)
                self._parsed.pop(path, None)
                self._looked.pop(path, None)
            else:
                self.sources.open(path, text)
        self._findings.clear()
        self.project = self._snapshot()

    def _keeps_ports(self, changes: Changes) -> bool:
        """Whether only texts have changed in which no port's class can stand."""
        beside = all(
            text is not None and not path.startswith(f"{self.profile.dits}/")
            for path, text in changes.texts.items()
        )
        return beside and not (changes.files or changes.everything)

    def _take_states(self, states: Mapping[str, PortState | None]) -> None:
        kept = {**self._states, **states}
        self._states = {port: state for port, state in kept.items() if state is not None}

    def _snapshot(self) -> Project:
        return Project(self.sources, self.profile, self.settings, self._states)

    def _load_settings(self) -> None:
        self.settings = load_settings(self.root)
        wanted = self.settings.profile
        self.profile = find_profile(self.root, wanted) or find_profile(self.root) or FASTVIDEO

    # ------------------------------------------------------------------ questions

    def warm_up(self) -> Iterator[None]:
        """Reads what most rules need, a file a step, so that other questions get their turn."""
        for folder in (self.profile.dits, self.profile.dit_configs, self.profile.models):
            for path in self.sources.walk(folder):
                text = self.sources.text(path)
                if folder != self.profile.models or (text is not None and "EntryClass" in text):
                    with collector_paused():
                        self.project.file(path)
                    yield
        with collector_paused():
            _ = self.project.ports, self.project.blocks
        self.cache.prune()
        yield

    def findings(self, path: str, *, quick: bool = False) -> list[Finding]:
        """The findings of one file; `quick` asks only the rules that need no other file."""
        if not self.profile.is_checked(path):
            return []
        known = self._findings.get((path, quick))
        if known is None:
            known = check_file(self.project, path, _quick_rules() if quick else None)
            if not quick:
                known = self._with_those_of_before(path, known)
                if self.sources.is_open(path):
                    self._looked[path] = (self.lines(path).lines, known)
            self._findings[path, quick] = known
        return known

    def at_once(self, path: str) -> list[Finding]:
        """The findings of one file while someone types: those of the text itself and of `KEY_RULES`;
        of the others what the last look found, at its present lines. `findings` where there was none."""
        looked = self._looked.get(path)
        if (path, False) in self._findings or looked is None or not self.profile.is_checked(path):
            return self.findings(path)
        found = check_file(self.project, path, _key_rules())
        facts = self.project.file(path)
        broken = facts is not None and facts.broken
        before, earlier = looked
        # What does not parse hides what stands in it from every rule.
        settled = {"DIT001"} if broken else {"DIT001", *KEY_RULES}
        return self._joined(path, found, before, (f for f in earlier if f.code not in settled))

    def _with_those_of_before(self, path: str, found: list[Finding]) -> list[Finding]:
        """While an open file does not parse: also what was found when it last did, on lines that stand.

        Many rules rightly say nothing of a broken file; in an editor that would make their findings
        come and go at every other key.
        """
        if not self.sources.is_open(path):
            return found
        facts = self.project.file(path)
        if facts is None or facts.unreadable is not None:
            return found
        if not facts.broken:
            self._parsed[path] = (self.lines(path).lines, found)
            return found
        before, earlier = self._parsed.get(path, ((), []))
        return self._joined(path, found, before, earlier)

    def _joined(
        self, path: str, found: list[Finding], before: Sequence[str], earlier: Iterable[Finding]
    ) -> list[Finding]:
        """What is found, and what was found in the lines `before` and still stands."""
        shift = Shift(before, self.lines(path).lines)
        present = {(finding.code, finding.message) for finding in found}
        kept = (
            shift.finding(finding) for finding in earlier if (finding.code, finding.message) not in present
        )
        return sorted([*found, *(f for f in kept if f is not None)], key=lambda finding: finding.sort_key)

    def all_findings(self) -> Iterator[tuple[str, list[Finding]]]:
        """Every checked file with its findings, a file a step."""
        for path in self.project.checked_files:
            yield path, self.findings(path)

    def lines(self, path: str) -> LineIndex:
        """The lines of a file, empty where it cannot be read."""
        return LineIndex(self.sources.text(path) or "")

    def port_at(self, path: str, line: int | None) -> Port | None:
        """The port whose class holds a line (counted from 0), else the file's first port."""
        here = [port for port in self.project.ports if port.location.path == path]
        for port in here:
            span = port.cls.at(port.cls.fact.span).span
            if line is not None and span.line <= line <= span.end_line:
                return port
        return min(here, key=lambda port: port.location.span, default=None)

    @property
    def port_classes(self) -> tuple[Port, ...]:
        """The ports, while a file beside them is typed in those of before: their classes are the same, and
        what a port has in that file (its config) is not asked for anew at every key."""
        if self._ports is None:
            self._ports = self.project.ports
        return self._ports

    def port_of_test(self, path: str) -> Port | None:
        """The only port that a parity test names; None where there are none or several."""
        ports = [port for port in self.project.ports if path in port.parity_tests]
        return ports[0] if len(ports) == 1 else None


@cache
def _quick_rules() -> tuple[Rule, ...]:
    return tuple(rule for rule in all_rules() if rule.tier is Tier.FILE)


@cache
def _key_rules() -> tuple[Rule, ...]:
    return tuple(rule for rule in all_rules() if rule.code in KEY_RULES)
