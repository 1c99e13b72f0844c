"""Facts of unchanged texts, kept between runs.

An entry is found by the hash of its text and lies below the hash of the code that made it, so a
stale entry cannot be met. How entries are kept safe is told in `lsp_server.entries`.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path

import analyzers
from analyzers.facts import model
from analyzers.facts.chunks import normalise_newlines
from analyzers.facts.file import analyse
from analyzers.facts.model import ChunkFacts, FileFacts, PlacedChunk
from analyzers.findings import Span
from analyzers.project.sources import FactsCache
from lsp_server import entries
from lsp_server.entries import Entries, cache_folder, code_version, collector_paused, text_digest

FACT_CLASSES = tuple(
    cls
    for cls in vars(model).values()
    if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == model.__name__
)

Stored = tuple[tuple[int, ChunkFacts], ...]
"""Of each chunk: the length of its text, and its facts."""


class DiskFactsCache(FactsCache):
    """Facts by the hash of the text; not shared between threads."""

    def __init__(self, base: Path | None = None, maximum_bytes: int = entries.MAXIMUM_BYTES) -> None:
        """`base` defaults to the user's cache folder."""
        folder = (base or cache_folder()) / "facts"
        self.entries = Entries(folder, facts_version(), (Span, *FACT_CLASSES), maximum_bytes)
        self.hits = 0
        self.misses = 0

    @property
    def problem(self) -> str | None:
        """What keeps the cache from working, if anything does."""
        return self.entries.problem

    def facts(self, path: str, text: str) -> FileFacts:
        """The facts of a text: read back where the same text was seen before, else computed and kept."""
        key = text_digest(text)
        with collector_paused():
            stored: Stored | None = self.entries.read(key)
            found = _placed(path, text, stored) if stored is not None else None
            if found is not None:
                self.hits += 1
                return found
            self.misses += 1
            facts = analyse(path, text)
            # What is broken depends on more than the text: the recovering parser, the stack's depth.
            if not facts.broken:
                self.entries.write(key, tuple((len(chunk.text), chunk.facts) for chunk in facts.chunks))
        return facts

    def prune(self) -> None:
        """Keeps the cache within its bounds; call it once, at the end of a run."""
        self.entries.prune()


def facts_version() -> str:
    """The version of everything that an entry depends on besides the text."""
    package = Path(analyzers.__file__).parent
    return code_version(package / "facts", package / "findings.py", Path(__file__), Path(entries.__file__))


def _placed(path: str, text: str, stored: Stored) -> FileFacts | None:
    """The facts of the file, its chunks' texts cut from `text` again; None where they do not fit it."""
    normal = normalise_newlines(text)
    chunks = []
    line = position = 0
    for length, facts in stored:
        piece = normal[position : position + length]
        chunks.append(PlacedChunk(line, piece, facts))
        line += piece.count("\n")
        position += length
    return FileFacts(path, tuple(chunks)) if position == len(normal) else None
