"""Who reads an attribute of a config: the files, and the places in them.

A config travels under many names (`config`, `arch`, `self.config.arch_config`, `hf_config`), so a
read is told by the attribute's name alone, and every string of that name counts too (`getattr`,
`hf_config["name"]`). What follows from finding *no* read therefore holds wherever no code looks at a
whole config at once (`asdict`, `vars`, ...), which `hands_on_whole` tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from analyzers.facts.model import ClassFacts, Placed
from analyzers.findings import Location, Span
from analyzers.project.names import Module, Names
from analyzers.project.ports import Port
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

_CONFIG = r"(?:config|cfg|arch|(?:arch|dit|hf|model|transformer)_(?:config|cfg))"
_CONFIG_LIKE = re.compile(rf"(?:^|\.){_CONFIG}$")
_OTHER_OWNER = re.compile(
    r"(?:pipeline|vae|sampl\w*|train\w*|scheduler|encoder|lora|quant|method)\w*\.config$"
)
_WHOLE = re.compile(
    rf"\b(?:asdict|vars|astuple|fields)\s*\(\s*(?:\w+\.)*{_CONFIG}\s*\)"
    rf"|\b{_CONFIG}\.__dict__|\*\*\s*(?:\w+\.)*{_CONFIG}\b(?!\s*[.\[(])"
)


@dataclass(frozen=True)
class Read:
    """A place that reads an attribute: `base` is what it is read from (`self.config`), empty where the
    name is a string of its own."""

    location: Location
    base: str

    @property
    def of_model_config(self) -> bool:
        """Whether the object is called like a model's config, and like nobody else's."""
        return _CONFIG_LIKE.search(self.base) is not None and _OTHER_OWNER.search(self.base) is None


class Readers:
    """Finds readers in one snapshot of the tree."""

    def __init__(self, sources: Sources, profile: Profile, names: Names) -> None:
        self.sources = sources
        self.profile = profile
        self.names = names

    def reads_in(self, path: str, name: str) -> tuple[Read, ...]:
        """Where a file reads an attribute of that name; comments do not count, stores neither."""
        return self.sources.memory.get(("reads", path, name), lambda: self._reads_in(path, name))

    def reads_below(self, folder: str, name: str) -> tuple[Read, ...]:
        """The same for every file below a folder, tests left out."""
        return self.sources.memory.get(("reads below", folder, name), lambda: self._below(folder, name))

    def reads_in_all(self, paths: Iterable[str], name: str) -> tuple[Read, ...]:
        """The same for several files."""
        return tuple(read for path in paths for read in self.reads_in(path, name))

    def hands_on_whole(self, paths: Iterable[str]) -> bool:
        """Whether one of the files looks at a config as a whole, so that it may read every field."""
        memory = self.sources.memory
        return any(memory.get(("whole", path), partial(self._whole, path)) for path in paths)

    def model_files(self, port: Port) -> tuple[str, ...]:
        """The files of the models folder that build a port: its own, its bases', what these import."""
        return self.sources.memory.get(("model files", port.cls.path, port.name), lambda: self._files(port))

    # ------------------------------------------------------------------ reading

    def _below(self, folder: str, name: str) -> tuple[Read, ...]:
        return tuple(
            read
            for path in self.sources.walk(folder)
            if not self.profile.is_test(path) and "/tests/" not in path
            for read in self._reads_in(path, name)
        )

    def _reads_in(self, path: str, name: str) -> tuple[Read, ...]:
        text = self.sources.text(path)
        if text is None or name not in text:
            return ()
        pattern = re.compile(
            rf"([\w.]*[\w)\]])\s*\.[ \t]*{name}\b(?!\s*=(?!=))"
            rf"|(?:getattr\(\s*([\w.]+)\s*,\s*)?(?P<quote>['\"]){name}(?P=quote)"
        )
        found: list[Read] = []
        for match in pattern.finditer(text):
            start = text.rfind("\n", 0, match.start()) + 1
            line = text.count("\n", 0, match.start())
            column = len(text[start : match.start()].encode())
            if "#" in text[start : match.start()] and self._in_comment(path, line, column):
                continue
            end = text.count("\n", match.start(), match.end())
            tail = match.group(0).rpartition("\n")[2]
            span = Span(line, column, line + end, (0 if end else column) + len(tail.encode()))
            found.append(Read(Location(path, span), match.group(1) or match.group(2) or ""))
        return tuple(found)

    def _in_comment(self, path: str, line: int, column: int) -> bool:
        facts = self.sources.facts(path)
        return facts is not None and any(
            (where := c.at(c.fact.span).span).line == line and where.column <= column for c in facts.comments
        )

    def _whole(self, path: str) -> bool:
        return _WHOLE.search(self.sources.text(path) or "") is not None

    # ------------------------------------------------------------------ files

    def _files(self, port: Port) -> tuple[str, ...]:
        pending = [c.path for c in self.names.ancestry(port.cls).classes]
        seen: dict[str, None] = {}
        while pending:
            path = pending.pop()
            if path not in seen and self._is_model_file(path):
                seen[path] = None
                pending.extend(self._imported(path))
        return tuple(seen)

    def _is_model_file(self, path: str) -> bool:
        return (
            path.startswith(f"{self.profile.models}/")
            and path != self.profile.registry
            and not path.startswith(tuple(f"{folder}/" for folder in self.profile.loader_folders))
        )

    def _imported(self, path: str) -> tuple[str, ...]:
        """The files of the tree in which what a file imports is defined."""
        return self.sources.memory.get(("imported", path), lambda: self._imported_by(path))

    def _imported_by(self, path: str) -> tuple[str, ...]:
        facts = self.sources.facts(path)
        found: dict[str, None] = {}
        for item in (i.fact for i in facts.imports) if facts is not None else ():
            module = self.names.absolute(path, "." * item.level + item.module)
            if module is None or not self.profile.owns(module):
                continue
            home = self.names.module_path(module)
            if item.name not in (None, "*"):
                meant = self.names.by_qualified(f"{module}.{item.name}")
                home = meant.path if isinstance(meant, (Placed, Module)) else home
            if home is not None:
                found[home] = None
        return tuple(found)


def own_fields(cls: Placed[ClassFacts]) -> tuple[str, ...]:
    """The annotated names of a class body, in order."""
    return tuple(
        dict.fromkeys(
            name
            for a in cls.fact.attributes
            if a.annotation is not None and not a.augmented
            for name in a.names
        )
    )
