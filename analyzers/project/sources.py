"""Files and their facts: the disk, with the editor's unsaved texts laid over it.

Everything that can go wrong with a file (gone, a folder, not UTF-8, no permission) becomes the
file's `unreadable` fact: one bad file never stops the rest.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from analyzers.facts.bodies import Bodies
from analyzers.facts.file import FileAnalysis, analyse
from analyzers.facts.model import FileFacts
from analyzers.project.memory import Memory

DOCUMENTS = (".md", ".json")
"""What else than Python files rules may look at."""

READABLE = (".py", *DOCUMENTS)

_WORD = re.compile(r"[^\W\d]\w*")
_BETWEEN = bytes(byte if chr(byte).isalnum() or byte == ord("_") else ord(" ") for byte in range(128))
_BETWEEN += b" " * 128


class Sources:
    """The files below `root`, addressed by their path relative to it, with `/`.

    Disk contents are read once and kept until `refresh` names the file (or everything): a language
    server hears of changes from its client, a command line run sees one state.
    """

    def __init__(self, root: Path, cache: FactsCache | None = None) -> None:
        self.root = root.resolve()
        self.generation = 0
        self._cache = cache
        self._overlays: dict[str, str] = {}
        self._analyses: dict[str, FileAnalysis] = {}
        self._texts: dict[str, str | None] = {}
        self._problems: dict[str, str] = {}
        self._facts: dict[str, FileFacts] = {}
        self._words: dict[str, frozenset[str]] = {}
        self._listing: dict[str, tuple[str, ...]] = {}
        self._documents: dict[str, tuple[str, ...]] = {}
        self.memory = Memory()
        self.bodies = Bodies()
        self._circumstances: object = None

    # ------------------------------------------------------------------ reading

    def text(self, path: str) -> str | None:
        """The text of a file, None where it cannot be read (see `problem`)."""
        self.memory.read(path)
        overlay = self._overlays.get(path)
        if overlay is not None:
            return overlay
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def words(self, path: str) -> frozenset[str]:
        """The names and words in a file's text, comments and strings included."""
        self.memory.read(path)
        known = self._words.get(path)
        if known is None:
            known = self._words[path] = words_of(self.text(path) or "")
        return known

    def problem(self, path: str) -> str | None:
        """Why `text` gave None; None where it did not."""
        return self._problems.get(path) if self.text(path) is None else None

    def is_open(self, path: str) -> bool:
        """Whether an editor's text lies over the file."""
        return path in self._overlays

    def exists(self, path: str) -> bool:
        """Whether there is such a file, on disk or open in the editor."""
        return path in self._overlays or os.path.isfile(self.root / path)  # noqa: PTH113 - never raises

    def is_installed(self) -> bool:
        """Whether the root is a folder that packages were installed into: they come without documents."""
        try:
            names = sorted(os.listdir(self.root))  # noqa: PTH208 - names are all that is needed
        except OSError:
            return False
        return any(self.exists(f"{name}/METADATA") for name in names if name.endswith(".dist-info"))

    def facts(self, path: str) -> FileFacts | None:
        """The facts of a file; None where there is nothing of that name, not even a dangling link."""
        self.memory.read(path)
        known = self._facts.get(path)
        if known is not None:
            return known
        text = self.text(path)
        if text is None:
            if not self._is_there(path):
                return None
            facts = FileFacts(path, (), unreadable=self._problems[path])
        elif path in self._analyses:
            facts = self._analyses[path].update(text)
        elif self._cache is not None:
            facts = self._cache.facts(path, text)
        else:
            facts = analyse(path, text)
        self._facts[path] = facts
        return facts

    def walk(self, folder: str) -> tuple[str, ...]:
        """Every `.py` file below `folder` in the order of `os.walk`, hidden folders left out.

        The order is the disk's own, as FastVideo's discovery sees it; symbolic links to folders are
        not followed, so a loop of links ends nowhere.
        """
        if folder not in self._listing:
            self._listing[folder] = tuple(self._list(folder, (".py",)))
        return self._listing[folder]

    def documents(self, folder: str) -> tuple[str, ...]:
        """Every Markdown and JSON file below `folder`, sorted, hidden folders left out."""
        if folder not in self._documents:
            self._documents[folder] = tuple(sorted(self._list(folder, DOCUMENTS)))
        return self._documents[folder]

    # ------------------------------------------------------------------ changes

    def open(self, path: str, text: str) -> None:
        """Lays a text over the file (an editor opened or changed it)."""
        if path not in self._analyses and path.endswith(".py"):
            self._analyses[path] = FileAnalysis(path)
            if path in self._texts and self._texts[path] is not None:
                self._analyses[path].update(self._texts[path] or "")
        if self._overlays.get(path) != text:
            if path in self._overlays or self.exists(path):
                self.memory.forget(path)
            else:
                self.memory.clear()  # a file that was not there
            self._overlays[path] = text
            self._facts.pop(path, None)
            self._words.pop(path, None)
            self.generation += 1

    def close(self, path: str) -> None:
        """Removes the overlay: the disk counts again."""
        self._analyses.pop(path, None)
        if self._overlays.pop(path, None) is not None:
            self.refresh([path])

    def refresh(self, paths: Iterable[str] | None = None) -> None:
        """Forgets what was read of these files (None: of all), and every listing."""
        self.generation += 1
        self.memory.clear()
        self._listing.clear()
        self._documents.clear()
        if paths is None:
            paths = [*self._texts, *self._facts, *self._words]
        for path in list(paths):
            self._texts.pop(path, None)
            self._words.pop(path, None)
            self._problems.pop(path, None)
            self._facts.pop(path, None)

    def hold_for(self, circumstances: object) -> None:
        """Forgets remembered results unless they were computed under equal circumstances (settings, ...)."""
        if self._circumstances != circumstances:
            self._circumstances = circumstances
            self.memory.clear()

    @classmethod
    def overlaid(cls, base: Sources, texts: Mapping[str, str]) -> Sources:
        """The same files with other texts for some; facts of the others are shared, `base` stays."""
        copy = cls(base.root, base._cache)
        copy.__dict__.update(
            {
                name: dict(getattr(base, name))
                for name in ("_overlays", "_texts", "_problems", "_facts", "_words", "_listing", "_documents")
            }
        )
        copy.memory = base.memory.copy()
        copy.bodies = base.bodies
        copy._circumstances = base._circumstances
        for path, text in texts.items():
            if base.exists(path):
                copy.memory.forget(path)
            else:
                copy.memory.clear()
            copy._overlays[path] = text
            copy._facts.pop(path, None)
            copy._words.pop(path, None)
        return copy

    def saved(self) -> Sources:
        """The same files as they are on disk: these sources where no editor's text differs."""
        on_disk = {path: self._read(path) for path in self._overlays}
        other = {p: text for p, text in on_disk.items() if text is not None and text != self._overlays[p]}
        return Sources.overlaid(self, other) if other else self

    # ------------------------------------------------------------------ the disk

    def _read(self, path: str) -> str | None:
        target = self.root / path
        try:
            # Reading a pipe or a device would wait for ever.
            if not stat.S_ISREG(target.stat().st_mode):
                self._problems[path] = "cannot be read: not a regular file"
                return None
            content = target.read_bytes()
        except (OSError, ValueError) as error:
            self._problems[path] = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            return None
        return self._decoded(path, content)

    def _decoded(self, path: str, content: bytes) -> str | None:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            self._problems[path] = f"not UTF-8 (byte {error.start}): save it as UTF-8"
            return None

    def _is_there(self, path: str) -> bool:
        """Whether there is anything of that name, if only a dangling link."""
        return os.path.lexists(self.root / path)

    def _list(self, folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
        base = self.root / folder
        for root, folders, files in os.walk(base):
            folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
            relative = Path(root).relative_to(self.root).as_posix()
            for name in files:
                if name.endswith(suffixes):
                    yield f"{relative}/{name}" if relative != "." else name


def words_of(text: str) -> frozenset[str]:
    """The matches of `[^\\W\\d]\\w*`; asked at every key, so lines of ASCII go a quicker way than that."""
    rare: list[str] = []
    if not text.isascii():
        rare = [line for line in text.split("\n") if not line.isascii()]
        text = "\n".join(line for line in text.split("\n") if line.isascii())
    tokens = set(text.encode("ascii").translate(_BETWEEN).split())
    found = {token.decode("ascii").lstrip("0123456789") for token in tokens} - {""}
    for line in rare:
        found.update(_WORD.findall(line))
    return frozenset(found)


class FactsCache:
    """Where facts of unchanged texts may be kept between runs; the base keeps nothing."""

    def facts(self, path: str, text: str) -> FileFacts:
        """The facts of a text, from the cache or computed."""
        return analyse(path, text)
