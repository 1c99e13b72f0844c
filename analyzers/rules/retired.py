"""Codes that no rule has any more. They are never given to another rule.

What people wrote in settings, suppressions and baselines stays understandable: the tombstone says what
became of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Retired:
    """A code that was withdrawn: `version` since when, `because` why, `instead` the code that took over
    what was right about it, None where none did."""

    code: str
    name: str
    version: str
    because: str
    instead: str | None = None

    @property
    def told(self) -> str:
        """One sentence for whoever still names it."""
        more = f"; {self.instead} reports what it reported" if self.instead else ""
        return f"{self.code} ({self.name}) was retired in {self.version}: {self.because}{more}"


RETIRED: tuple[Retired, ...] = ()
"""By code."""


def find_retired(selector: str, retired: tuple[Retired, ...] = RETIRED) -> Retired | None:
    """The tombstone of that code or name, or None."""
    return next((r for r in retired if selector.upper() == r.code or selector == r.name), None)
