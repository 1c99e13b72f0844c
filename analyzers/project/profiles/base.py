"""What a code base calls its things and where it keeps them: data, and a handful of predicates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MappingSemantics: TypeAlias = Literal["first-match", "chained"]
"""`first-match`: the first rule whose pattern matches a name rewrites it, once. `chained`: the rules
are asked again with every new name; each is used once, and one that changes nothing is passed over."""


@dataclass(frozen=True)
class Discovery:
    """How the model registry finds its classes in the folders below the models folder.

    Every registry reads the last plain `EntryClass = ...` of a file that defines a class.
    """

    nested: bool = True
    """Whether it looks below the component's own folder, and so names a package by its folder."""

    skips_dunder_folders: bool = False
    """Whether a component's folder may not begin with `__`."""

    tables_first: bool = False
    """Whether the legacy tables are there before discovery (and so keep their place) or after it."""

    aliases: str | None = None
    """The class attribute whose strings are further names of a registered class."""


@dataclass(frozen=True)
class Loader:
    """The method that builds a port from a checkpoint's folder, with `init_params`."""

    module: str
    cls: str
    method: str


@dataclass(frozen=True)
class Profile:
    """The layout and the names of one code base. All paths are relative to the root, with `/`."""

    name: str
    title: str
    """What people call it, for messages."""
    package: str
    """The dotted name of the package that every other name lies in."""
    models: str
    dits: str
    dit_configs: str
    registry: str
    legacy_table: str
    test_roots: tuple[str, ...]
    base_dit: str
    model_config_base: str
    dit_config_base: str
    dit_arch_config_base: str
    tuple_linears: frozenset[str]
    """Linear layers whose forward returns `(output, bias)`."""
    loader: Loader
    discovery: Discovery = field(default_factory=Discovery)
    roots: tuple[str, ...] = ("",)
    """Where the root lies, counted from the folder that people call the checkout; the first one wins."""
    document_roots: tuple[str, ...] = ()
    """Folders in which a port's state files and the configurations of local checkpoints lie."""
    parity_folders: tuple[str, ...] = ()
    """Folders all of whose tests compare a port with its original."""
    status_folders: tuple[str, ...] = ()
    """Folders of a port's state files, with `{family}` in the place of its name."""
    transparent_configs: frozenset[str] = frozenset()
    """Config bases whose `__setattr__` sets fields as if it were not there."""
    mapping_semantics: MappingSemantics = "first-match"
    """How `get_param_names_mapping` applies the rules of a mapping."""
    mapping_suffix: str = "param_names_mapping"
    """How the names of mappings end, in lower case."""
    mappings_of_names: tuple[str, ...] = ()
    """Mappings of that kind that hold names and no patterns: nothing compiles what stands there."""
    rules_off: tuple[tuple[str, str], ...] = ()
    """Rules that make no sense in this code base, each with the reason why."""

    @property
    def folder(self) -> str:
        """The folder of the package."""
        return self.package.replace(".", "/")

    def owns(self, dotted: str) -> bool:
        """Whether a dotted name lies in the package: only there does absence mean anything."""
        return dotted == self.package or dotted.startswith(self.package + ".")

    def off(self, code: str) -> str | None:
        """Why a rule is switched off here; None where it is not."""
        return dict(self.rules_off).get(code)

    def is_checked(self, path: str) -> bool:
        """Whether rules look at a file: models, configs, the registry, parity tests, documents."""
        if not path.endswith(".py"):
            return self.is_document(path)
        return (
            path.startswith((f"{self.dits}/", f"{self.dit_configs}/"))
            or path == self.registry
            or self.is_parity_test(path)
        )

    def is_document(self, path: str) -> bool:
        """Whether rules look at a file that is no Python: a port's state file, a checkpoint's config."""
        name = path.rpartition("/")[2]
        return name in ("PORT_STATUS.md", "config.json", "model_index.json") and path.startswith(
            tuple(root + "/" for root in self.document_roots)
        )

    def is_test(self, path: str) -> bool:
        """Whether pytest would collect the file, below one of the test roots."""
        name = path.rpartition("/")[2]
        return (
            path.startswith(tuple(root + "/" for root in self.test_roots))
            and name.endswith(".py")
            and (name.startswith("test_") or name.endswith("_test.py"))
        )

    def is_parity_test(self, path: str) -> bool:
        """Whether a test file claims, by its name or place, to compare a port with its original."""
        return self.is_test(path) and (
            "parity" in path.rpartition("/")[2]
            or path.startswith(tuple(folder + "/" for folder in self.parity_folders))
        )
