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
    rf"|\b{_CONFIG}\.(?:__dict__|(?:items|keys|to_dict|values)\s*\()|\bfrom_(?:config|dict)\s*\("
    rf"|\*\*\s*(?:\w+\.)*{_CONFIG}\b(?!\s*[.\[(])"
)


_NEAR = 160
"""Characters around a name that are looked at."""
_BASE = re.compile(r"([\w.]*[\w)\]])\s*\.[ \t]*$")
_ASKED = re.compile(r"\bgetattr\(\s*([\w.]+)\s*,\s*['\"]$")
_GOES_ON = re.compile(r"\w")
_STORED = re.compile(r"\s*=(?!=)")


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


def _read_from(text: str, begin: int, end: int) -> str | None:
    """What the name at `begin` is read from, empty for a string of its own; None where it is no read."""
    before = text[max(0, begin - _NEAR) : begin]
    after = text[end : end + _NEAR]
    if before[-1:] in ("'", '"') and after[:1] == before[-1:]:
        asked = _ASKED.search(before)
        return asked.group(1) if asked is not None else ""
    base = _BASE.search(before)
    if base is None or _GOES_ON.match(after) is not None or _STORED.match(after) is not None:
        return None
    return base.group(1)


class Readers:
    """Finds readers in one snapshot of the tree."""

    def __init__(self, sources: Sources, profile: Profile, names: Names) -> None:
        self.sources = sources
        self.profile = profile
        self.names = names

    def reads_in(self, path: str, name: str) -> tuple[Read, ...]:
        """Where a file reads an attribute of that name; comments do not count, stores neither."""
        return self.sources.memory.get(("reads", path, name), lambda: self._reads_in(path, name))

    def reads_outside(self, name: str) -> tuple[Read, ...]:
        """The same for the whole package, without the models, their configs and tests."""
        return self.sources.memory.get(("reads outside", name), lambda: self._outside(name))

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

    def imported(self, path: str) -> tuple[str, ...]:
        """The files of the tree in which what a file imports is defined."""
        return self.sources.memory.get(("imported", path), lambda: self._imported_by(path))

    # ------------------------------------------------------------------ reading

    def _outside(self, name: str) -> tuple[Read, ...]:
        left_out = (f"{self.profile.models}/", f"{self.profile.dit_configs.rpartition('/')[0]}/")
        loaders = tuple(f"{folder}/" for folder in self.profile.loader_folders)
        return tuple(
            read
            for path in self.sources.walk(self.profile.folder)
            if (not path.startswith(left_out) or path.startswith(loaders))
            and "/tests/" not in path
            and not self.profile.is_test(path)
            for read in self._reads_in(path, name)
        )

    def _reads_in(self, path: str, name: str) -> tuple[Read, ...]:
        text = self.sources.text(path)
        if text is None or name not in text:
            return ()
        found: list[Read] = []
        begin = text.find(name)
        while begin >= 0:
            end = begin + len(name)
            base = _read_from(text, begin, end)
            if base is not None:
                start = text.rfind("\n", 0, begin) + 1
                line = text.count("\n", 0, begin)
                column = len(text[start:begin].encode())
                if "#" not in text[start:begin] or not self._in_comment(path, line, column):
                    span = Span(line, column, line, column + len(name))
                    found.append(Read(Location(path, span), base))
            begin = text.find(name, end)
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
                pending.extend(self.imported(path))
        return tuple(seen)

    def _is_model_file(self, path: str) -> bool:
        return (
            path.startswith(f"{self.profile.models}/")
            and path != self.profile.registry
            and not path.startswith(tuple(f"{folder}/" for folder in self.profile.loader_folders))
        )

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
                submodule = self.names.module_path(f"{module}.{item.name}")
                home = meant.path if isinstance(meant, (Placed, Module)) else submodule or home
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
