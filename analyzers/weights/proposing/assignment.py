"""The best one-to-one assignment of a small table of scores, and how sure each pair of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Assigned:
    """Row and column belong together. `margin`: how much the whole assignment would lose without this
    pair. `rivals`: the columns that the row would take instead."""

    row: int
    column: int
    margin: float
    rival: int | None


def assign(scores: Sequence[Sequence[float]]) -> tuple[Assigned, ...]:
    """The assignment with the greatest sum; every row and column at most once.

    A row or column may stay without a partner: that scores 0, so pairs with a score of 0 or less are left
    out. All rows have the same length.
    """
    rows, columns = len(scores), len(scores[0]) if scores else 0
    if not rows or not columns:
        return ()
    best = _hungarian(scores)
    total = sum(scores[row][column] for row, column in best.items() if scores[row][column] > 0)
    found: list[Assigned] = []
    for row, column in sorted(best.items()):
        if scores[row][column] <= 0:
            continue
        without = [list(line) for line in scores]
        without[row][column] = 0.0
        other = _hungarian(without)
        second = sum(max(0.0, without[r][c]) for r, c in other.items())
        rival = other.get(row)
        if rival is not None and (rival == column or scores[row][rival] <= 0):
            rival = None
        found.append(Assigned(row, column, total - second, rival))
    return tuple(found)


def _hungarian(scores: Sequence[Sequence[float]]) -> dict[int, int]:
    """Row -> column of an assignment with the greatest sum, of a table filled up to a square with 0.

    The method of potentials (Kuhn, Munkres; O(n³)).
    """
    size = max(len(scores), len(scores[0]))
    cost = [
        [
            -max(0.0, scores[row][column]) if row < len(scores) and column < len(scores[0]) else 0.0
            for column in range(size)
        ]
        for row in range(size)
    ]
    of_row, of_column = [0.0] * (size + 1), [0.0] * (size + 1)
    row_at = [0] * (size + 1)
    for row in range(1, size + 1):
        row_at[0] = row
        column, way = 0, [0] * (size + 1)
        least, used = [float("inf")] * (size + 1), [False] * (size + 1)
        while True:
            used[column] = True
            current, step, following = row_at[column], float("inf"), 0
            for candidate in range(1, size + 1):
                if used[candidate]:
                    continue
                reduced = cost[current - 1][candidate - 1] - of_row[current] - of_column[candidate]
                if reduced < least[candidate]:
                    least[candidate], way[candidate] = reduced, column
                if least[candidate] < step:
                    step, following = least[candidate], candidate
            for candidate in range(size + 1):
                if used[candidate]:
                    of_row[row_at[candidate]] += step
                    of_column[candidate] -= step
                else:
                    least[candidate] -= step
            column = following
            if row_at[column] == 0:
                break
        while column:
            row_at[column] = row_at[way[column]]
            column = way[column]
    return {
        row_at[column] - 1: column - 1
        for column in range(1, size + 1)
        if row_at[column] - 1 < len(scores) and column - 1 < len(scores[0])
    }
