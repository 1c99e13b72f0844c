"""The facts of a whole file, and again after an edit.

Where a chunk does not parse, `recovery` gives the facts of its intact members, and the last good
facts of the same definitions fill what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from analyzers.facts.chunks import Chunk, Split, normalise_newlines, read_damaged, resplit, split
from analyzers.facts.extract import Methods, extract
from analyzers.facts.memo import Memo
from analyzers.facts.model import ChunkFacts, FileFacts, PlacedChunk
from analyzers.facts.recovery import LastGood, Members, Recovery, heading

Parts: TypeAlias = "tuple[tuple[str, ChunkFacts], ...]"
"""The pieces of a chunk with their facts: one, unless the chunk is broken and was cut again."""


class FileAnalysis:
    """One file over the time of an editing session: facts for each state of its text.

    Keeps the last split and, per chunk text, its facts, so that a keystroke costs one chunk. Not
    shared between threads.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._split: Split | None = None
        self._known: dict[str, Parts] = {}
        self._methods: Methods = Memo()
        self._members: Members = Memo()
        self._good: dict[str, LastGood] = {}

    def update(self, text: str) -> FileFacts:
        """The facts of `text`; never raises, whatever the text."""
        self._split = split(normalise_newlines(text), self._split)
        self._methods.next_turn()
        self._members.next_turn()
        recovery = Recovery(self._good, self._members)
        known: dict[str, Parts] = {}
        placed = []
        line = 0
        for chunk in self._split.chunks:
            parts = known.get(chunk.text) or self._known.get(chunk.text) or self._read(chunk, recovery)
            known[chunk.text] = parts
            for piece, facts in parts:
                placed.append(PlacedChunk(line, piece, facts))
                line += piece.count("\n")
        self._remember(known)
        self._known = known
        return FileFacts(self.path, tuple(placed))

    def _read(self, chunk: Chunk, recovery: Recovery) -> Parts:
        facts = extract(chunk, self._methods)
        if facts.problem is None:
            return ((chunk.text, facts),)
        pieces = resplit(chunk.text)
        if len(pieces) > 1:
            read = [read_damaged(piece) for piece in pieces]
            anew = [(piece, extract(piece, self._methods)) for piece in read]
        else:
            anew = [(chunk, facts)]
        return tuple(
            (piece.text, recovery.recover(piece, found) if found.problem is not None else found)
            for piece, found in anew
        )

    def _remember(self, known: Mapping[str, Parts]) -> None:
        """Takes note of what parses now; what did so before is kept, as something may break again."""
        seen: Mapping[str, Parts] = self._known
        if len(self._good) > 2 * len(known) + 16 and not any(f.problem for p in known.values() for _, f in p):
            # Names come and go while they are typed: begin anew from what is there.
            self._good.clear()
            seen = {}
        for text, parts in known.items():
            for piece, facts in parts if text not in seen else ():
                head = heading(piece) if facts.problem is None else None
                if head is not None:
                    self._good[head.key] = LastGood(head, facts)


def analyse(path: str, text: str) -> FileFacts:
    """The facts of one text, without a history."""
    return FileAnalysis(path).update(text)
