"""What the loader makes of the sources of one target: overwriting and merging, in key order.

FastVideo's `hf_to_custom_state_dict` (`fastvideo/models/loader/utils.py`): a source without a merge is
the target, whatever was there before. A source with `(index, n)` waits; when as many different indices
wait as *its own* n says, those from 0 to n - 1 are concatenated on dimension 0 (KeyError where one of
them is another number), and the waiting begins anew. Who still waits at the end is dropped silently.
SGLang's function of the same name does the same, but for quantised duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Source(NamedTuple):
    """One source of a target: its position in the checkpoint, and the merge that its rules ask for."""

    place: int
    merge: tuple[int, int] | None


@dataclass(frozen=True)
class Assembly:
    """What the loader makes of the sources of one target.

    `used`: the positions of the tensors that the target ends up with, in merge order; empty where
    nothing is left. `lost`: those that it read and then overwrote. `waiting`: those that wait for ever.
    `lacking`: indices that the last unfinished group has not. `repeated`: pairs of positions with one
    index in one group. `counts`: the different n, smallest first. `raises`: the index at which the
    loader stops with a KeyError.
    """

    used: tuple[int, ...]
    lost: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()
    lacking: tuple[int, ...] = ()
    repeated: tuple[tuple[int, int], ...] = ()
    counts: tuple[int, ...] = ()
    raises: int | None = None

    @property
    def is_clean(self) -> bool:
        """Whether every source has its part in the target, whatever order the keys come in."""
        clean = not (self.lost or self.waiting or self.repeated) and self.raises is None
        return clean and len(self.counts) <= 1 and bool(self.used)

    @property
    def only_waits(self) -> bool:
        """Whether nothing is wrong but that more sources are needed."""
        return bool(self.waiting) and not self.lost and self.raises is None and len(self.counts) == 1


def assemble(sources: Sequence[Source]) -> Assembly:
    """The loader's way with the sources of one target, which stand in key order."""
    counts = tuple(sorted({source.merge[1] for source in sources if source.merge is not None}))
    used: tuple[int, ...] = ()
    lost: list[int] = []
    repeated: list[tuple[int, int]] = []
    waiting: dict[int, int] = {}
    for place, merge in sources:
        made: tuple[int, ...] = (place,)
        if merge is not None:
            index, count = merge
            if index in waiting:
                repeated.append((waiting[index], place))
                lost.append(waiting[index])
            waiting[index] = place
            if len(waiting) != count:
                continue
            absent = next((i for i in range(count) if i not in waiting), None)
            if absent is not None:
                return Assembly(
                    (), tuple(lost), tuple(waiting.values()), (absent,), tuple(repeated), counts, absent
                )
            made = tuple(waiting[i] for i in range(count))
            waiting = {}
        lost.extend(used)
        used = made
    return Assembly(
        used, tuple(lost), tuple(waiting.values()), _lacking(sources, waiting), tuple(repeated), counts
    )


def _lacking(sources: Sequence[Source], waiting: dict[int, int]) -> tuple[int, ...]:
    """The indices that an unfinished group has not, by the n that most of its sources name."""
    votes = Counter(s.merge[1] for s in sources if s.merge is not None and s.place in waiting.values())
    if not votes:
        return ()
    count = max(votes, key=lambda n: (votes[n], n))
    return tuple(index for index in range(min(count, _MOST_LACKING)) if index not in waiting)


_MOST_LACKING = 64
"""A count that is a slip (`300`) is not spelled out."""


def concatenated(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of tensors concatenated on dimension 0; None where `torch.cat` refuses."""
    first = shapes[0]
    if len(shapes) == 1:
        return first
    if not first or any(shape[1:] != first[1:] or len(shape) != len(first) for shape in shapes):
        return None
    return (sum(shape[0] for shape in shapes), *first[1:])
