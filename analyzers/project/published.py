"""The configurations of checkpoints that lie in the tree (`config.json`), by the port that loads them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from analyzers.findings import Location, Span
from analyzers.project.ports import Port, Ports
from analyzers.project.sources import Sources


@dataclass(frozen=True)
class PublishedConfig:
    """A checkpoint's `config.json` as it lies in the tree: its `_class_name` and all its keys."""

    path: str
    class_name: str
    values: Mapping[str, object]


class Published:
    """The configurations of local checkpoints, by the port that loads them."""

    def __init__(self, sources: Sources, ports: Ports, documents: tuple[str, ...]) -> None:
        self.sources = sources
        self.ports = ports
        self.documents = tuple(d for d in documents if d.rpartition("/")[2] == "config.json")

    def of(self, port: Port) -> tuple[PublishedConfig, ...]:
        """The configs whose `_class_name` the registry resolves to the port."""
        names = self._names_of(port) if self.documents else frozenset()
        return tuple(
            config
            for path in self.documents
            if (config := self._config(path)) is not None and config.class_name in names
        )

    def place(self, config: PublishedConfig, key: str) -> Location:
        """Where a key stands in its file; the file's start where it is not found."""
        text = self.sources.text(config.path) or ""
        match = re.search(rf'"{re.escape(key)}"\s*:', text)
        offset = match.start() if match is not None else 0
        line = text.count("\n", 0, offset)
        column = len(text[text.rfind("\n", 0, offset) + 1 : offset].encode())
        width = len(key.encode()) + 2 if match is not None else 0
        return Location(config.path, Span(line, column, line, column + width))

    def _config(self, path: str) -> PublishedConfig | None:
        return self.sources.memory.get(("published config", path), partial(self._read, path))

    def _read(self, path: str) -> PublishedConfig | None:
        try:
            values = json.loads(self.sources.text(path) or "")
        except (ValueError, RecursionError):
            return None  # being written, or no JSON: another rule's matter
        name = values.get("_class_name") if isinstance(values, dict) else None
        return PublishedConfig(path, name, values) if isinstance(name, str) else None

    def _names_of(self, port: Port) -> frozenset[str]:
        """The names under which the registry reaches the port's class."""
        specs = self.ports.registry.models.items()
        return frozenset(
            name
            for name, spec in specs
            if spec[2] == port.name
            and (cls := self.ports.class_of_spec(spec)) is not None
            and (cls.path, cls.fact.name) == (port.cls.path, port.name)
        )
