"""The facts of a whole file, and again after an edit.

Where a chunk does not parse, `recovery` gives the facts of its intact members, and the last good
facts of the same definitions fill what is left.
"""

from __future__ import annotations

from analyzers.facts.chunks import Split, normalise_newlines, split
from analyzers.facts.extract import Methods, extract
from analyzers.facts.memo import Memo
from analyzers.facts.model import ChunkFacts, FileFacts, PlacedChunk
from analyzers.facts.recovery import LastGood, Members, Recovery, heading


class FileAnalysis:
    """One file over the time of an editing session: facts for each state of its text.

    Keeps the last split and, per chunk text, its facts, so that a keystroke costs one chunk. Not
    shared between threads.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._split: Split | None = None
        self._known: dict[str, ChunkFacts] = {}
        self._methods: Methods = Memo()
        self._members: Members = Memo()
        self._good: dict[str, LastGood] = {}

    def update(self, text: str) -> FileFacts:
        """The facts of `text`; never raises, whatever the text."""
        self._split = split(normalise_newlines(text), self._split)
        self._methods.next_turn()
        self._members.next_turn()
        known: dict[str, ChunkFacts] = {}
        recovery = Recovery(self._good, self._members)
        placed = []
        line = 0
        for chunk in self._split.chunks:
            facts = known.get(chunk.text) or self._known.get(chunk.text)
            if facts is None:
                facts = extract(chunk, self._methods)
                if facts.problem is not None:
                    facts = recovery.recover(chunk, facts)
            known[chunk.text] = facts
            placed.append(PlacedChunk(line, chunk.text, facts))
            line += chunk.text.count("\n")
        self._remember(known)
        self._known = known
        return FileFacts(self.path, tuple(placed))

    def _remember(self, known: dict[str, ChunkFacts]) -> None:
        """Takes note of what parses now; what did so before is kept, as something may break again."""
        seen = self._known
        if len(self._good) > 2 * len(known) + 16 and not any(f.problem for f in known.values()):
            # Names come and go while they are typed: begin anew from what is there.
            self._good.clear()
            seen = {}
        for text, facts in known.items():
            if facts.problem is None and text not in seen:
                head = heading(text)
                if head is not None:
                    self._good[head.key] = LastGood(head, facts)


def analyse(path: str, text: str) -> FileFacts:
    """The facts of one text, without a history."""
    return FileAnalysis(path).update(text)
