"""The facts of a whole file, and again after an edit.

Where a chunk does not parse, `recovery` gives the facts of its intact members, and the last good
facts of the same definitions fill what is left.
"""

from __future__ import annotations

from analyzers.facts.chunks import Split, normalise_newlines, split
from analyzers.facts.extract import extract
from analyzers.facts.model import ChunkFacts, FileFacts, PlacedChunk
from analyzers.facts.recovery import recover


class FileAnalysis:
    """One file over the time of an editing session: facts for each state of its text.

    Keeps the last split and, per chunk text, its facts, so that a keystroke costs one chunk. Not
    shared between threads.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._split: Split | None = None
        self._known: dict[str, ChunkFacts] = {}
        self._good: dict[str, ChunkFacts] = {}

    def update(self, text: str) -> FileFacts:
        """The facts of `text`; never raises, whatever the text."""
        self._split = split(normalise_newlines(text), self._split)
        known: dict[str, ChunkFacts] = {}
        placed = []
        line = 0
        for chunk in self._split.chunks:
            facts = known.get(chunk.text) or self._known.get(chunk.text)
            if facts is None:
                facts = extract(chunk)
                if facts.problem is not None:
                    facts = recover(chunk, facts, self._good)
            known[chunk.text] = facts
            placed.append(PlacedChunk(line, chunk.text, facts))
            line += chunk.text.count("\n")
        self._known = known
        for facts in known.values():
            if facts.problem is None:
                for name in [c.name for c in facts.classes] + [f.name for f in facts.functions]:
                    self._good[name] = facts
        return FileFacts(self.path, tuple(placed))


def analyse(path: str, text: str) -> FileFacts:
    """The facts of one text, without a history."""
    return FileAnalysis(path).update(text)
