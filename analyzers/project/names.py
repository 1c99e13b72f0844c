"""Everything that can be asked about names, in one object.

Each layer rests on the one below: `definitions` (modules, imports, what a name means), `ancestry`
(the bases of a class), `values` (what class attributes and config fields hold).
"""

from __future__ import annotations

from analyzers.project.ancestry import Ancestry
from analyzers.project.definitions import MAXIMUM_HOPS, Definition, External, Module
from analyzers.project.values import Missing, Outcome, Resolved, Unknown, Values

__all__ = (
    "MAXIMUM_HOPS",
    "Ancestry",
    "Definition",
    "External",
    "Missing",
    "Module",
    "Names",
    "Outcome",
    "Resolved",
    "Unknown",
)


class Names(Values):
    """Name resolution over one snapshot of the tree."""
