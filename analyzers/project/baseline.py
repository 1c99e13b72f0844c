"""Findings that were there before: recorded once, then left out, wherever their lines move.

A finding is known by its code, its file, its symbol and the text of the line that it begins on, never
by a line number; equal ones are counted. So a baseline holds while code is inserted, moved or
re-indented around a finding, and lets it speak again once its own line is changed. Of the line only
a hash is kept: the file may be committed, and a line may hold what must not be written twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from analyzers.findings import Finding

VERSION = 1

LineText: TypeAlias = Callable[[str, int], str]
"""Path and line (from 0) -> the text of that line, empty where there is none."""


class MalformedBaseline(Exception):
    """A text that is no baseline; the message says why."""


@dataclass(frozen=True, order=True)
class Known:
    """What stays the same about a finding while lines move."""

    path: str
    code: str
    symbol: str
    line_hash: str


Judged: TypeAlias = Callable[[Known], bool]
"""Whether a run looked for that finding: its file was checked, its rule ran."""


@dataclass(frozen=True)
class Baseline:
    """How often each finding was there."""

    counts: Counter[Known] = field(default_factory=Counter)

    def split(self, findings: Sequence[Finding], line: LineText) -> tuple[list[Finding], list[Finding]]:
        """The new findings and the known ones, each in their order.

        Where more are there now than were recorded, the last ones count as new.
        """
        left = Counter(self.counts)
        new: list[Finding] = []
        known: list[Finding] = []
        for finding in findings:
            key = known_by(finding, line)
            if left[key] > 0 and is_recorded(finding):
                left[key] -= 1
                known.append(finding)
            else:
                new.append(finding)
        return new, known

    def outdated(self, findings: Iterable[Finding], judged: Judged, line: LineText) -> int:
        """How many recorded findings that were looked for are no longer there."""
        now = Counter(known_by(finding, line) for finding in findings)
        return sum(count for key, count in (self.counts - now).items() if judged(key))

    def updated(self, findings: Iterable[Finding], judged: Judged, line: LineText) -> Baseline:
        """The baseline with what was looked for recorded anew; the rest stays."""
        counts = Counter({key: count for key, count in self.counts.items() if not judged(key)})
        counts.update(known_by(finding, line) for finding in findings if is_recorded(finding))
        return Baseline(counts)

    @cached_property
    def paths(self) -> frozenset[str]:
        """The files that it says something of."""
        return frozenset(key.path for key in self.counts)

    @property
    def total(self) -> int:
        """How many findings are recorded."""
        return sum(self.counts.values())


def is_recorded(finding: Finding) -> bool:
    """A text that does not parse hides other findings: it is reported until it does."""
    return finding.code != "DIT001"


def known_by(finding: Finding, line: LineText) -> Known:
    """The identity of a finding in a baseline."""
    place = finding.location
    text = " ".join(line(place.path, place.span.line).split())
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Known(place.path, finding.code, finding.symbol or "", digest)


def parse_baseline(text: str) -> Baseline:
    """Reads what `baseline_text` wrote. Raises `MalformedBaseline`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedBaseline(f"it is not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("findings"), list):
        raise MalformedBaseline("it has no list of findings")
    if document.get("version") != VERSION:
        raise MalformedBaseline(f"its version is {document.get('version')!r}, not {VERSION}")
    counts: Counter[Known] = Counter()
    for number, item in enumerate(document["findings"], 1):
        fields = ("path", "code", "symbol", "line_hash")
        if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in fields):
            raise MalformedBaseline(f"its finding {number} lacks one of {', '.join(fields)}")
        count = item.get("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise MalformedBaseline(f"the count of its finding {number} is {count!r}")
        counts[Known(*(item[name] for name in fields))] += count
    return Baseline(counts)


def baseline_text(baseline: Baseline) -> str:
    """The baseline as JSON, one finding a line and sorted, so that a diff of it can be read."""
    rows = []
    for key, count in sorted(baseline.counts.items()):
        row: dict[str, object] = {
            "path": key.path,
            "code": key.code,
            "symbol": key.symbol,
            "line_hash": key.line_hash,
        }
        if count > 1:
            row["count"] = count
        text = json.dumps(row, ensure_ascii=False)
        # A file name need not be UTF-8; such a row is written with escapes.
        encodable = text.encode("utf-8", "ignore").decode("utf-8") == text
        rows.append("    " + (text if encodable else json.dumps(row)))
    body = "[\n" + ",\n".join(rows) + "\n  ]" if rows else "[]"
    return f'{{\n  "version": {VERSION},\n  "findings": {body}\n}}\n'
