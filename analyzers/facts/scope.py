"""What a function collects while it is walked, and where the values go that its local names keep."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

from analyzers.facts.model import CallFact, Either, Reference, Return, SelfAssignment, Use

OTHER = Use("other")

Branch: TypeAlias = tuple[tuple[int, int], ...]
"""The branches around a place, outermost first: (statement, arm), numbered within the scope."""


def _excludes(branch: Branch, other: Branch) -> bool:
    """Whether the two stand in different arms of one statement, so that one run sees only one."""
    for (statement, arm), (other_statement, other_arm) in zip(branch, other, strict=False):
        if statement != other_statement:
            return False
        if arm != other_arm:
            return True
    return False


@dataclass(slots=True)
class Scope:
    """What a function (or the module) collects while it is walked.

    `events`: stores (no use) and uses of local names in the order of the text. `pending`: calls
    whose value a local name keeps, with that name, the event to look on from, and their branch.
    """

    name: str | None = None
    self_name: str | None = None
    calls: list[CallFact] = field(default_factory=list)
    assignments: list[SelfAssignment] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)
    listed: list[str] = field(default_factory=list)
    renames: list[tuple[str, Reference | Either]] = field(default_factory=list)
    events: list[tuple[str, Use | None, Branch]] = field(default_factory=list)
    pending: list[tuple[int, str, int, Branch]] = field(default_factory=list)
    unstored: list[int] = field(default_factory=list)
    branch: Branch = ()
    forks: int = 0
    nested: int = 0

    def inner_name(self, name: str) -> str:
        """The dotted name of a definition inside this scope."""
        return f"{self.name}.{name}" if self.name else name

    def event(self, name: str, use: Use | None) -> None:
        """Notes that a name is used, or (no use) stored."""
        self.events.append((name, use, self.branch))

    def stored(self, name: str) -> None:
        """The values of the calls noted in `unstored` have just been stored under a local name."""
        self.pending.extend((index, name, len(self.events), self.branch) for index in self.unstored)
        self.unstored.clear()

    def calls_of_module(self) -> tuple[CallFact, ...]:
        """The calls; where a stored value goes is not followed, since later chunks may use the name."""
        for index, name, _, _ in self.pending:
            self.calls[index] = replace(self.calls[index], use=Use("name", name, OTHER))
        return tuple(self.calls)

    def finished_calls(self) -> tuple[CallFact, ...]:
        """The calls, each value stored under a local name completed with that name's next use."""
        if not self.pending:
            return tuple(self.calls)
        wanted = {name for _, name, _, _ in self.pending}
        events: dict[str, list[tuple[int, Use | None, Branch]]] = {name: [] for name in wanted}
        for position, (name, use, branch) in enumerate(self.events):
            if name in wanted:
                events[name].append((position, use, branch))
        for index, name, since, branch in self.pending:
            following = events[name]
            first = bisect_left(following, since, key=lambda event: event[0])
            then = next(
                (use for _, use, b in islice(following, first, None) if not _excludes(branch, b)), None
            )
            self.calls[index] = replace(self.calls[index], use=Use("name", name, then))
        return tuple(self.calls)
