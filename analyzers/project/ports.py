"""The central noun: a port, one DiT class with everything that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from analyzers.facts.model import ClassFacts, Mapping, Placed, Reference
from analyzers.findings import Location
from analyzers.project.bindings import listed
from analyzers.project.names import Names, Resolved
from analyzers.project.oracles import Oracle, OracleSearch
from analyzers.project.profile import Profile
from analyzers.project.registry import Registry, Spec
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources


@dataclass(frozen=True)
class ParameterMapping:
    """`param_names_mapping` of a port: where the display stands and how many rules it has."""

    location: Location
    rules: int


@dataclass(frozen=True)
class Port:
    """One DiT class and what belongs to it.

    `reachable` is `discovered`, `legacy` or `unreachable`: how the model registry gets to the class.
    `config` is None where no config class could be told. `oracle` is None where no official counterpart
    is known; where the best source names several, it is the first of these, and all are in `oracles`.
    """

    family: str
    cls: Placed[ClassFacts]
    config: Placed[ClassFacts] | None
    arch_config: Placed[ClassFacts] | None
    exported: bool | None
    reachable: str
    mapping: ParameterMapping | None
    oracle: Oracle | None
    parity_tests: tuple[str, ...]
    status_file: str | None
    oracles: tuple[Oracle, ...] = ()

    @property
    def name(self) -> str:
        """The class name."""
        return self.cls.fact.name

    @property
    def location(self) -> Location:
        """The class name in its file."""
        return self.cls.at(self.cls.fact.name_span)


class Ports:
    """Finds the ports of one snapshot of the tree."""

    def __init__(
        self,
        sources: Sources,
        profile: Profile,
        names: Names,
        registry: Registry,
        settings: Settings,
    ) -> None:
        self.sources = sources
        self.profile = profile
        self.names = names
        self.registry = registry
        self.settings = settings

    @cached_property
    def dit_classes(self) -> tuple[Placed[ClassFacts], ...]:
        """Every class below the DiT folder that is known to derive from the DiT base."""
        memory = self.sources.memory
        return tuple(
            cls
            for path in self.sources.walk(self.profile.dits)
            for cls in memory.get(("DiT classes", path), partial(self._dit_classes_in, path))
        )

    def _dit_classes_in(self, path: str) -> tuple[Placed[ClassFacts], ...]:
        facts = self.sources.facts(path)
        return tuple(
            cls
            for cls in (facts.classes if facts is not None else ())
            if cls.fact.bases
            and self.names.qualified_class(cls) != self.profile.base_dit
            and self.names.derives_from(cls, self.profile.base_dit)
        )

    @cached_property
    def all(self) -> tuple[Port, ...]:
        """The ports, by family and class name."""
        found = [self._remembered(cls) for cls in self.dit_classes]
        return tuple(sorted((p for p in found if p is not None), key=lambda p: (p.family, p.name)))

    def _remembered(self, cls: Placed[ClassFacts]) -> Port | None:
        # How the registry gets there hangs on every model file: asked apart, and part of the question.
        reachable = self.reachable(cls)
        key = ("port", cls.path, cls.fact.name, cls.line, reachable)
        return self.sources.memory.about(
            cls.path, cls.fact, key, lambda: self._port(cls, reachable) if self._is_concrete(cls) else None
        )

    def _is_concrete(self, cls: Placed[ClassFacts]) -> bool:
        """Whether the class can be built: some class of the chain below the base defines `forward`."""
        if cls.fact.name.startswith("_"):
            return False
        for owner in self.names.ancestry(cls).classes:
            if self.names.qualified_class(owner) == self.profile.base_dit:
                break
            forward = owner.fact.method("forward")
            if forward is not None:
                return not forward.decorated_with("abstractmethod")
            if owner.fact.partial:
                return True
        return False

    def _port(self, cls: Placed[ClassFacts], reachable: str) -> Port:
        config = self.config_of(cls)
        if config is not None and self._is_arch_config(config):
            arch: Placed[ClassFacts] | None = config
            config = self._config_around(config)
        else:
            arch = self.names.arch_config_class(config) if config is not None else None
        family = self._family(cls)
        tests = self._tests_of(cls)
        status = self._status_file(family, tests)
        search = OracleSearch(self.sources, self.names, self.profile, self.settings)
        oracles = search.of(cls, family, tests, status)
        return Port(
            family=family,
            cls=cls,
            config=config,
            arch_config=arch,
            exported=self.is_exported(config) if config is not None else None,
            reachable=reachable,
            mapping=self._mapping(cls),
            oracle=oracles[0] if oracles else None,
            parity_tests=tests,
            status_file=status,
            oracles=oracles,
        )

    def _family(self, cls: Placed[ClassFacts]) -> str:
        inside = cls.path[len(self.profile.dits) + 1 :].split("/")
        return inside[0].removesuffix(".py")

    # ------------------------------------------------------------------ registry

    def reachable(self, cls: Placed[ClassFacts]) -> str:
        """How the registry gets to a class: `discovered`, `legacy` or `unreachable`."""
        return self._reached.get(self.names.qualified_class(cls), "unreachable")

    @cached_property
    def _reached(self) -> dict[str, str]:
        """Full class name -> how the registry gets to it; an alias counts for the class it names."""
        reached: dict[str, str] = {}
        for name, spec in self.registry.models.items():
            if f"{self.profile.models}/{spec[0]}" != self.profile.dits:
                continue  # no port lives there, and looking costs reading those files
            cls = self.class_of_spec(spec)
            if cls is not None:
                how = "discovered" if name in self.registry.discovered else "legacy"
                if reached.get(self.names.qualified_class(cls)) != "discovered":
                    reached[self.names.qualified_class(cls)] = how
        return reached

    def module_of_spec(self, spec: Spec) -> str:
        """The dotted name of the module that the registry imports for an entry."""
        component, module, _ = spec
        dotted = f"{self.names.module_name(self.profile.models)}.{component}"
        return f"{dotted}.{module}" if module else dotted

    def class_of_spec(self, spec: Spec) -> Placed[ClassFacts] | None:
        """The class that the registry would load for an entry, or None where it cannot be told."""
        path = self.names.module_path(self.module_of_spec(spec))
        return self.names.class_of(path, spec[2]) if path is not None else None

    # ------------------------------------------------------------------ config

    def config_of(self, cls: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
        """The config class of a port (its arch config where the class copies from that directly).

        In this order: the config that its `param_names_mapping` (or another class attribute) is
        copied from, the annotation of `config` in `__init__`, the only DiT config that the class's
        module imports, the only one in the config module of the same name; else that of a base port.
        """
        for owner in self.names.ancestry(cls).classes:
            if self.names.qualified_class(owner) == self.profile.base_dit:
                continue
            found = self._own_config(owner)
            if found is not None:
                return found
        return None

    def _own_config(self, cls: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
        assigned = [name for attribute in cls.fact.attributes for name in attribute.names]
        for name in sorted(assigned, key=lambda name: name != "param_names_mapping"):
            outcome = self.names.class_attribute(cls, name)
            copied = outcome.config if isinstance(outcome, Resolved) else None
            if copied is not None and self._is_own(copied):
                return copied
        init = cls.fact.method("__init__")
        parameter = init.parameter("config") if init is not None else None
        if parameter is not None and isinstance(parameter.annotation, Reference):
            found = self.names.class_of(cls.path, parameter.annotation.dotted)
            if found is not None and self._is_dit_config(found):
                return found
        facts = self.sources.facts(cls.path)
        imported = [
            found
            for name in (facts.aliases if facts is not None else {})
            if (found := self.names.class_of(cls.path, name)) is not None and self._is_dit_config(found)
        ]
        if len(imported) == 1:
            return imported[0]
        family = self._family(cls)
        beside = self.sources.facts(f"{self.profile.dit_configs}/{family}.py")
        own = [c for c in (beside.classes if beside else ()) if self._is_dit_config(c)]
        return own[0] if len(own) == 1 else None

    def _is_own(self, config: Placed[ClassFacts]) -> bool:
        """Whether a config is more than the base of them all, which a shared base class may copy from."""
        bases = (self.profile.dit_config_base, self.profile.dit_arch_config_base)
        return self.names.qualified_class(config) not in bases

    def _is_dit_config(self, cls: Placed[ClassFacts]) -> bool:
        base = self.profile.dit_config_base
        return self.names.qualified_class(cls) != base and bool(self.names.derives_from(cls, base))

    def _is_arch_config(self, cls: Placed[ClassFacts]) -> bool:
        return bool(self.names.derives_from(cls, self.profile.dit_arch_config_base))

    def _config_around(self, arch: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
        """The only config of the arch config's module that holds it by default."""
        facts = self.sources.facts(arch.path)
        holders = []
        for cls in facts.classes if facts is not None else ():
            if self._is_dit_config(cls):
                held = self.names.arch_config_class(cls)
                if held is not None and held.fact.name == arch.fact.name:
                    holders.append(cls)
        return holders[0] if len(holders) == 1 else None

    def is_exported(self, config: Placed[ClassFacts]) -> bool | None:
        """Whether the bucket's `__init__` imports a config and lists it in `__all__`.

        None where the `__init__` cannot be followed (a star import, an `__all__` that is computed).
        """
        facts = self.sources.facts(f"{self.profile.dit_configs}/__init__.py")
        if facts is None or facts.broken:
            return None
        exports = listed(facts)
        if exports is None or any(i.fact.bound == "*" for i in facts.imports):
            return None
        found = self.names.class_of(facts.path, config.fact.name)
        same = found is not None and self.names.qualified_class(found) == self.names.qualified_class(config)
        return same and any(name == config.fact.name for name, _ in exports)

    # ------------------------------------------------------------------ the rest

    def _mapping(self, cls: Placed[ClassFacts]) -> ParameterMapping | None:
        outcome = self.names.class_attribute(cls, "param_names_mapping")
        if isinstance(outcome, Resolved) and isinstance(outcome.value, Mapping):
            return ParameterMapping(outcome.location, len(outcome.value.items))
        return None

    @cached_property
    def _parity_tests(self) -> tuple[str, ...]:
        return self.sources.memory.get(("parity tests",), self._listed_parity_tests)

    def _listed_parity_tests(self) -> tuple[str, ...]:
        return tuple(
            path
            for root in self.profile.test_roots
            for path in self.sources.walk(root)
            if self.profile.is_parity_test(path)
        )

    def _tests_of(self, cls: Placed[ClassFacts]) -> tuple[str, ...]:
        """Parity tests whose text names the class."""
        name = cls.fact.name
        return tuple(sorted(path for path in self._parity_tests if name in self.sources.words(path)))

    def _status_file(self, family: str, tests: tuple[str, ...]) -> str | None:
        own = [folder.format(family=family) for folder in self.profile.status_folders]
        for folder in [*own, *sorted({path.rpartition("/")[0] for path in tests})]:
            candidate = f"{folder}/{self.profile.parity.state_file}"
            if self.sources.exists(candidate):
                return candidate
        return None
