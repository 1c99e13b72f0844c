"""The one currency between the rooms of the house: what was found, where, and what would mend it.

Invariants
----------
* A `Span` counts lines from 0 and columns in UTF-8 bytes from 0, end exclusive: what `ast` and
  tree-sitter speak. Conversion to code points (command line) or UTF-16 (editors) happens once, at
  the edge, in `analyzers.facts.positions`.
* A `Location` names a file by its path relative to the project's root, with forward slashes.
* A `Fix` is a *request*: the name of an operation and its JSON arguments. The edit worker computes
  the edits; nothing that reads findings needs libcst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Union

JsonValue = Union[None, bool, int, float, str, "list[JsonValue]", "dict[str, JsonValue]"]


class Severity(str, Enum):
    """How bad a finding is: `error` breaks at import or load, or computes something else."""

    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"

    @property
    def rank(self) -> int:
        """0 for information, 1 for warning, 2 for error: comparable, unlike the names."""
        return {"information": 0, "warning": 1, "error": 2}[self.value]


class Applicability(str, Enum):
    """`safe` fixes are part of fix-all; `unsafe` ones are offered alone and never preferred."""

    SAFE = "safe"
    UNSAFE = "unsafe"


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of text: 0-based lines, columns in UTF-8 bytes, end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int

    def shifted(self, lines: int) -> Span:
        """The same stretch `lines` further down."""
        return Span(self.line + lines, self.column, self.end_line + lines, self.end_column)

    def contains(self, other: Span) -> bool:
        """Whether `other` lies within this stretch (touching ends count)."""
        return (self.line, self.column) <= (other.line, other.column) and (
            other.end_line,
            other.end_column,
        ) <= (self.end_line, self.end_column)


START_OF_FILE = Span(0, 0, 0, 0)


@dataclass(frozen=True, order=True)
class Location:
    """A stretch of one file; `path` is relative to the project's root, with `/`."""

    path: str
    span: Span


@dataclass(frozen=True)
class Related:
    """A second place that the message speaks of."""

    location: Location
    message: str


@dataclass(frozen=True)
class Fix:
    """A request for an edit: `operation` is a key of the edit worker's table of operations."""

    title: str
    operation: str
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)
    applicability: Applicability = Applicability.SAFE


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, at one place.

    `symbol` is the class, function or key concerned; `port` the class name of the port it belongs
    to. Both are None where there is none.
    """

    code: str
    name: str
    severity: Severity
    location: Location
    message: str
    symbol: str | None = None
    port: str | None = None
    related: tuple[Related, ...] = ()
    fix: Fix | None = None

    @property
    def has_safe_fix(self) -> bool:
        """Whether its fix is part of fix-all."""
        return self.fix is not None and self.fix.applicability is Applicability.SAFE

    @property
    def sort_key(self) -> tuple[str, Span, str, str]:
        """Order of a report: by file, place, code, message."""
        return (self.location.path, self.location.span, self.code, self.message)
