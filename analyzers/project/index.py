"""A snapshot of the project: the one object that rules, lenses and commands ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from analyzers.facts.bodies import Body, PlacedBody
from analyzers.facts.model import ClassFacts, FileFacts, FunctionFacts, Placed
from analyzers.facts.positions import LineIndex
from analyzers.project.baseline import Baseline, MalformedBaseline, parse_baseline
from analyzers.project.blocks import Block, find_blocks
from analyzers.project.contract import BaseContract, Construction, construction, read_contract
from analyzers.project.mappings import Mappings
from analyzers.project.mirrored import Mirrors
from analyzers.project.names import Names
from analyzers.project.official import Official
from analyzers.project.pipeline_registry import PipelineRegistry, pipeline_classes, read_pipeline_registry
from analyzers.project.pipelines import Pipelines
from analyzers.project.ports import Port, Ports
from analyzers.project.profile import Profile
from analyzers.project.published import Published
from analyzers.project.readers import Readers
from analyzers.project.registry import Registry, simulate
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.project.tests import TestReach
from analyzers.weights.state import PortState

T = TypeVar("T")


class Project:
    """Everything derived from the facts of one state of the tree, computed on demand, once.

    Make a new one after a change; facts of unchanged files live in `Sources`.
    """

    def __init__(
        self,
        sources: Sources,
        profile: Profile,
        settings: Settings,
        states: Mapping[str, PortState] | None = None,
    ) -> None:
        """`states`: what was measured of the weights' names, by `path::Class` of the port."""
        self.sources = sources
        self.states = states or {}
        self.profile = profile
        self.settings = settings
        sources.hold_for((profile, settings))
        self.names = Names(sources, profile)
        self._lines: dict[str, LineIndex] = {}

    @property
    def root(self) -> Path:
        """The folder that all paths are relative to."""
        return self.sources.root

    def file(self, path: str) -> FileFacts | None:
        """The facts of a file, or None where there is none."""
        return self.sources.facts(path)

    @cached_property
    def baseline(self) -> Baseline:
        """What the settings' baseline has recorded; nothing where there is none.

        Raises `MalformedBaseline` where the file is missing or is no baseline.
        """
        named = self.settings.baseline
        if named is None:
            return Baseline()
        place = Path(os.path.normpath(self.root / named))
        # Changes are told by relative path.
        path = place.relative_to(self.root).as_posix() if place.is_relative_to(self.root) else str(place)
        return self.sources.memory.get(("baseline", path), partial(_read_baseline, self.sources, path))

    @cached_property
    def recorded(self) -> Baseline:
        """The same, and nothing where it cannot be read: then every finding is reported."""
        try:
            return self.baseline
        except MalformedBaseline:
            return Baseline()

    def line(self, path: str, number: int) -> str:
        """A line (from 0) of a file, empty where there is none."""
        if path not in self._lines:
            self._lines[path] = LineIndex(self.sources.text(path) or "")
        return self._lines[path].line(number)

    @cached_property
    def registry(self) -> Registry:
        """The model registry as the code base would build it."""
        return simulate(self.sources, self.profile)

    @cached_property
    def tests(self) -> TestReach:
        """What tests run, through helpers and fixtures."""
        return TestReach(self.sources, self.names, self.profile)

    @cached_property
    def pipeline_registry(self) -> PipelineRegistry | None:
        """The pipeline registry as its module says; None where there is none or it does not parse."""
        where = self.profile.registrations
        return read_pipeline_registry(self.sources, where) if where is not None else None

    @cached_property
    def pipeline_classes(self) -> tuple[str, ...]:
        """The pipeline classes that a checkpoint can name."""
        where = self.profile.registrations
        return self.pipelines_below(where.folder) if where is not None else ()

    def pipelines_below(self, folder: str) -> tuple[str, ...]:
        """Those of one folder."""
        return pipeline_classes(self.sources, self.names, folder)

    @cached_property
    def port_index(self) -> Ports:
        """Ports and what they are made from."""
        return Ports(self.sources, self.profile, self.names, self.registry, self.settings)

    @property
    def ports(self) -> tuple[Port, ...]:
        """Every port of the tree."""
        return self.port_index.all

    @cached_property
    def mappings(self) -> Mappings:
        """The weight-name rules of ports and configs."""
        return Mappings(self.names)

    @cached_property
    def blocks(self) -> dict[str, Block]:
        """Full class name -> the repeated block of a port that it is part of."""
        return find_blocks(self.names, self.ports)

    @cached_property
    def subclassed(self) -> frozenset[str]:
        """Full names of the DiT classes that another DiT class derives from."""
        return frozenset(
            self.names.qualified_class(base)
            for cls in self.port_index.dit_classes
            for base in self.names.ancestry(cls).classes[1:]
        )

    @cached_property
    def readers(self) -> Readers:
        """Who reads the attributes of configs."""
        return Readers(self.sources, self.profile, self.names)

    @cached_property
    def official(self) -> Official:
        """Official sources."""
        return Official(self.sources, self.settings)

    @cached_property
    def mirrors(self) -> Mirrors:
        """What configures the official side of a port."""
        return Mirrors(self.published, self.official)

    @cached_property
    def pipelines(self) -> Pipelines:
        """Pipeline configs and what they hold."""
        return Pipelines(self.sources, self.profile, self.names)

    @cached_property
    def published(self) -> Published:
        """What local checkpoints configure."""
        return Published(self.sources, self.port_index, self.documents)

    def ports_of(self, arch: Placed[ClassFacts]) -> tuple[Port, ...]:
        """The ports whose arch config is that class, or derives from it."""
        qualified = self.names.qualified_class(arch)
        return tuple(
            port
            for port in self.ports
            if port.arch_config is not None
            and any(
                self.names.qualified_class(c) == qualified
                for c in self.names.ancestry(port.arch_config).classes
            )
        )

    @cached_property
    def contract(self) -> BaseContract | None:
        """What the workspace's DiT base demands; None where it cannot be read."""
        memory = self.sources.memory
        return memory.get(("contract",), lambda: read_contract(self.names, self.profile))

    def construction(self, cls: Placed[ClassFacts]) -> Construction | None:
        """What building an instance of a class does; None where no `__init__` is in the tree."""
        key = ("construction", cls.path, cls.line + cls.fact.span.line, cls.fact.name)
        return self.sources.memory.about(cls.path, cls.fact, key, lambda: construction(self.names, cls))

    def is_helper_base(self, port: Port) -> bool:
        """Whether a class serves others as a base and no checkpoint can reach it."""
        return port.reachable == "unreachable" and self.names.qualified_class(port.cls) in self.subclassed

    @cached_property
    def dit_configs(self) -> tuple[Placed[ClassFacts], ...]:
        """Classes below the DiT config folder that derive from the DiT config base (itself left out)."""
        return self._configs(self.profile.dit_config_base)

    @cached_property
    def dit_arch_configs(self) -> tuple[Placed[ClassFacts], ...]:
        """Classes below the DiT config folder that derive from the DiT arch config base."""
        return self._configs(self.profile.dit_arch_config_base)

    def _configs(self, base: str) -> tuple[Placed[ClassFacts], ...]:
        memory = self.sources.memory
        return tuple(
            cls
            for path in self.sources.walk(self.profile.dit_configs)
            for cls in memory.get(("configs", base, path), partial(self._configs_in, base, path))
        )

    def _configs_in(self, base: str, path: str) -> tuple[Placed[ClassFacts], ...]:
        facts = self.file(path)
        return tuple(
            cls
            for cls in (facts.classes if facts is not None else ())
            if self.names.qualified_class(cls) != base and self.names.derives_from(cls, base)
        )

    @cached_property
    def checked_files(self) -> tuple[str, ...]:
        """The files that rules look at: models, configs, the registry, the tests and their helpers."""
        paths: list[str] = []
        buckets = (b.folder for b in self.profile.config_buckets)
        for folder in dict.fromkeys((self.profile.dits, self.profile.dit_configs, *buckets)):
            paths += self.sources.walk(folder)
        if self.sources.exists(self.profile.registry):
            paths.append(self.profile.registry)
        paths += self.pipeline_files
        for root in self.profile.test_roots:
            paths += [
                p
                for p in self.sources.walk(root)
                if self.profile.is_parity_test(p) or self.profile.is_parity_helper(p)
            ]
        return tuple(sorted({*paths, *self.documents}))

    @cached_property
    def pipeline_files(self) -> tuple[str, ...]:
        """The pipeline registry and the files with pipeline configs and presets."""
        where = self.profile.registrations
        if where is None:
            return ()
        found = [
            path
            for folder in (where.configs, where.folder)
            for path in self.sources.walk(folder)
            if where.holds(path)
        ]
        if self.sources.exists(where.registry):
            found.append(where.registry)
        return tuple(found)

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """The files that are no Python and that rules look at: state files, local checkpoints' configs."""
        return tuple(
            path
            for root in self.profile.document_roots
            for path in self.sources.documents(root)
            if self.profile.is_document(path)
        )

    def body(self, function: Placed[FunctionFacts]) -> PlacedBody | None:
        """The syntax tree of a function or method, for questions about the flow through it; None
        where its text does not parse or is too deep."""
        facts = self.sources.facts(function.path)
        return self.sources.bodies.of(facts, function) if facts is not None else None

    def derived(
        self, question: Hashable, function: Placed[FunctionFacts], answer: Callable[[Body], T]
    ) -> T | None:
        """What `answer` makes of a function's tree, kept until the function's own text changes (see
        `Bodies.derive`); None where that text does not parse or is too deep."""
        facts = self.sources.facts(function.path)
        return self.sources.bodies.derive(question, facts, function, answer) if facts is not None else None


def _read_baseline(sources: Sources, path: str) -> Baseline:
    text = sources.text(path)
    if text is None:
        raise MalformedBaseline(sources.problem(path) or "cannot be read")
    return parse_baseline(text)
