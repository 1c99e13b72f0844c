"""What a code base calls its things and where it keeps them: data, found by looking at the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

MappingSemantics: TypeAlias = Literal["first-match", "chained"]
"""`first-match`: the first rule whose pattern matches a name rewrites it, once. `chained`: the rules
are asked again with every new name; each is used once, and one that changes nothing is passed over."""


@dataclass(frozen=True)
class Profile:
    """The layout and the names of one code base. All paths are relative to the root, with `/`."""

    name: str
    package: str
    models: str
    dits: str
    dit_configs: str
    registry: str
    legacy_table: str
    test_roots: tuple[str, ...]
    document_roots: tuple[str, ...]
    """Folders in which a port's state files and the configurations of local checkpoints lie."""
    base_dit: str
    model_config_base: str
    dit_config_base: str
    dit_arch_config_base: str
    tuple_linears: frozenset[str]
    """Linear layers whose forward returns `(output, bias)`."""
    mapping_semantics: MappingSemantics
    """How the loader applies the rules of a mapping."""
    mapping_suffix: str = "param_names_mapping"
    """How the names of mappings end, in lower case."""
    mappings_of_names: tuple[str, ...] = ()
    """Mappings of that kind that hold names and no patterns: nothing compiles what stands there."""

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
            "parity" in path.rpartition("/")[2] or path.startswith("tests/local_tests/")
        )


FASTVIDEO = Profile(
    name="fastvideo",
    package="fastvideo",
    models="fastvideo/models",
    dits="fastvideo/models/dits",
    dit_configs="fastvideo/configs/models/dits",
    registry="fastvideo/models/registry.py",
    legacy_table="_LEGACY_FAST_VIDEO_MODELS",
    test_roots=("tests", "fastvideo/tests"),
    document_roots=("tests/local_tests", "converted_weights", "official_weights"),
    base_dit="fastvideo.models.dits.base.BaseDiT",
    model_config_base="fastvideo.configs.models.base.ModelConfig",
    dit_config_base="fastvideo.configs.models.dits.base.DiTConfig",
    dit_arch_config_base="fastvideo.configs.models.dits.base.DiTArchConfig",
    tuple_linears=frozenset(
        f"fastvideo.layers.linear.{name}"
        for name in (
            "ReplicatedLinear",
            "ColumnParallelLinear",
            "MergedColumnParallelLinear",
            "QKVParallelLinear",
            "RowParallelLinear",
        )
    ),
    mapping_semantics="first-match",
    mappings_of_names=("reverse_param_names_mapping",),
)

PROFILES = (FASTVIDEO,)


def find_profile(root: Path, name: str | None = None) -> Profile | None:
    """The profile of the tree at `root`: the one named, else the first whose folders are there."""
    if name is not None:
        return next((p for p in PROFILES if p.name == name), None)
    return next((p for p in PROFILES if (root / p.dits).is_dir()), None)


def find_root(start: Path) -> Path | None:
    """The nearest folder at or above `start` that some profile recognises, or None."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if find_profile(folder) is not None:
            return folder
    return None
