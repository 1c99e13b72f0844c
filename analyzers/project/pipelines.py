"""Pipeline configs, and which DiT config each of them holds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from analyzers.facts.model import Call, ClassFacts, Lambda, Placed, Reference
from analyzers.project.idioms import is_field
from analyzers.project.names import Names
from analyzers.project.profile import Profile
from analyzers.project.readers import own_fields
from analyzers.project.sources import Sources


class Pipelines:
    """The pipeline configs of one snapshot of the tree."""

    def __init__(self, sources: Sources, profile: Profile, names: Names) -> None:
        self.sources = sources
        self.profile = profile
        self.names = names

    def holding(self, config: Placed[ClassFacts]) -> tuple[Placed[ClassFacts], ...]:
        """The pipeline configs whose own default `dit_config` is made by that config class."""
        qualified = self.names.qualified_class(config)
        return tuple(
            cls
            for folder in self.profile.pipeline_folders
            for path in self.sources.walk(folder)
            for cls, made in self.sources.memory.get(("dit configs held", path), partial(self._held, path))
            if made == qualified
        )

    def sampling_fields(self) -> frozenset[str]:
        """The fields of the tree's own sampling parameters."""
        return self.sources.memory.get(("sampling fields",), lambda: frozenset(self._sampling_fields()))

    def _sampling_fields(self) -> Iterator[str]:
        for qualified in self.profile.sampling_configs:
            cls = self.names.by_qualified(qualified)
            if isinstance(cls, Placed) and isinstance(cls.fact, ClassFacts):
                yield from own_fields(cls)

    def _held(self, path: str) -> tuple[tuple[Placed[ClassFacts], str], ...]:
        if "dit_config" not in self.sources.words(path):
            return ()
        facts = self.sources.facts(path)
        found: list[tuple[Placed[ClassFacts], str]] = []
        for cls in facts.classes if facts is not None else ():
            maker = self._maker(cls)
            if maker is not None:
                found.append((cls, self.names.qualified_class(maker)))
        return tuple(found)

    def _maker(self, cls: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
        """The class that makes the default `dit_config` of a class body."""
        held = cls.fact.attribute("dit_config")
        value = held.value if held is not None else None
        if value is not None and is_field(value):
            value = value.keyword("default_factory")
        if isinstance(value, Lambda):
            value = value.body
        if isinstance(value, Call):
            value = value.function
        return self.names.class_of(cls.path, value.dotted) if isinstance(value, Reference) else None
