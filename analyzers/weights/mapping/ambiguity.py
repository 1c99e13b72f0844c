"""Whether a repetition can share out one text in exponentially many ways, as `(a+)+` does.

The repetition's automaton has a state for each set of characters in it (Glushkov). It is exponentially
ambiguous where two different ways lead from a state back to itself over the same text (Weber and Seidl
1991): where an edge within a cycle is there twice, or where two runs that part can meet again and begin
anew. A backtracking matcher then tries all of them before it gives a text up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

_MOST_STATES: Final = 48
"""States up to which the pairs of them are looked at."""


class TooManyStates(Exception):
    """The automaton is not built."""


@dataclass(frozen=True)
class Part:
    """A part of an expression: in how many ways it may be empty (two stand for more), and the states it may
    begin and end with, each for every way that leads there."""

    empty: int
    firsts: tuple[int, ...]
    lasts: tuple[int, ...]


@dataclass
class Automaton:
    """States are numbers; each stands for a set of characters (a mask). An edge counts for each way that
    gives it."""

    masks: list[int] = field(default_factory=list)
    edges: Counter[tuple[int, int]] = field(default_factory=Counter)

    def state(self, mask: int) -> Part:
        """A part of one character. Raises `TooManyStates`."""
        if len(self.masks) == _MOST_STATES:
            raise TooManyStates
        self.masks.append(mask)
        new = (len(self.masks) - 1,)
        return Part(0, new, new)

    def sequence(self, parts: Iterable[Part]) -> Part:
        """One part behind the other."""
        whole = Part(1, (), ())
        for part in parts:
            self.edges.update((last, first) for last in whole.lasts for first in part.firsts)
            firsts = whole.firsts + part.firsts * whole.empty
            lasts = whole.lasts * part.empty + part.lasts
            whole = Part(min(2, whole.empty * part.empty), firsts, lasts)
        return whole

    def either(self, parts: Sequence[Part]) -> Part:
        """One of the parts."""
        firsts = tuple(first for part in parts for first in part.firsts)
        lasts = tuple(last for part in parts for last in part.lasts)
        return Part(min(2, sum(part.empty for part in parts)), firsts, lasts)

    def repeated(self, part: Part, *, empty: bool) -> Part:
        """A part again and again."""
        self.edges.update((last, first) for last in part.lasts for first in part.firsts)
        return Part(int(empty or part.empty > 0), part.firsts, part.lasts)

    def is_exponential(self) -> bool:
        """Whether a state leads back to itself in two ways over one text."""
        successors: dict[int, list[int]] = {}
        for one, two in self.edges:
            if self.masks[one] and self.masks[two]:
                successors.setdefault(one, []).append(two)
        pairs: dict[tuple[int, int], list[tuple[int, int]]] = {}
        waiting = [(state, state) for state in range(len(self.masks))]
        while waiting:
            pair = waiting.pop()
            if pair in pairs:
                continue
            pairs[pair] = [
                (one, two)
                for one in successors.get(pair[0], ())
                for two in successors.get(pair[1], ())
                if self.masks[one] & self.masks[two]
            ]
            waiting += pairs[pair]
        for members in _components(pairs):
            if any(one == two for one, two in members):
                if any(one != two for one, two in members):
                    return True
                own = {one for one, _ in members}
                if any(times > 1 and set(edge) <= own for edge, times in self.edges.items()):
                    return True
        return False


def _components(graph: dict[Any, list[Any]]) -> list[set[Any]]:
    """The strongly connected components of a graph that have an edge inside (Kosaraju)."""
    order: list[Any] = []
    seen: set[Any] = set()
    for root in graph:
        stack: list[tuple[Any, Iterator[Any]]] = [(root, iter(graph[root]))] if root not in seen else []
        seen.add(root)
        while stack:
            node, others = stack[-1]
            following = next((other for other in others if other not in seen), None)
            if following is None:
                order.append(node)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(graph[following])))
    backwards: dict[Any, list[Any]] = {node: [] for node in graph}
    for node, targets in graph.items():
        for other in targets:
            backwards[other].append(node)
    found: list[set[Any]] = []
    placed: set[Any] = set()
    for root in reversed(order):
        if root in placed:
            continue
        members, left = {root}, [root]
        while left:
            for other in backwards[left.pop()]:
                if other not in placed and other not in members:
                    members.add(other)
                    left.append(other)
        placed |= members
        if len(members) > 1 or root in graph[root]:
            found.append(members)
    return found
