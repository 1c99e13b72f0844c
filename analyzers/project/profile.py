"""What a code base calls its things and where it keeps them: data, found by looking at the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ConfigBucket:
    """A folder of model configs and the bases that its classes derive from, by full dotted name.

    The first base of each kind is the one to name in a message. `only`: a class there may not derive
    from the plain model config bases either, since what serves the folder asks for the bases' fields.
    """

    folder: str
    arch_bases: tuple[str, ...]
    config_bases: tuple[str, ...]
    only: bool = False

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.rpartition("/")[2]

    @property
    def bases(self) -> tuple[str, ...]:
        """The bases of both kinds."""
        return self.arch_bases + self.config_bases


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
    arch_config_base: str = ""
    config_buckets: tuple[ConfigBucket, ...] = ()
    pipeline_folders: tuple[str, ...] = ()
    """Where pipelines, their stages and their configs live."""
    sampling_configs: tuple[str, ...] = ()
    """Classes whose fields are sampling and run-time settings, by full dotted name."""

    def bucket_of(self, path: str) -> ConfigBucket | None:
        """The bucket of configs that a file lies in, or None."""
        return next((b for b in self.config_buckets if path.startswith(b.folder + "/")), None)

    def is_checked(self, path: str) -> bool:
        """Whether rules look at a file: models, configs, the registry, parity tests, documents."""
        if not path.endswith(".py"):
            return self.is_document(path)
        return (
            path.startswith((f"{self.dits}/", f"{self.dit_configs}/"))
            or path == self.registry
            or self.bucket_of(path) is not None
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
    arch_config_base="fastvideo.configs.models.base.ArchConfig",
    config_buckets=(
        ConfigBucket(
            "fastvideo/configs/models/dits",
            ("fastvideo.configs.models.dits.base.DiTArchConfig",),
            ("fastvideo.configs.models.dits.base.DiTConfig",),
            only=True,
        ),
        ConfigBucket(
            "fastvideo/configs/models/encoders",
            tuple(
                f"fastvideo.configs.models.encoders.base.{kind}ArchConfig"
                for kind in ("Encoder", "TextEncoder", "ImageEncoder")
            ),
            tuple(
                f"fastvideo.configs.models.encoders.base.{kind}Config"
                for kind in ("Encoder", "TextEncoder", "ImageEncoder")
            ),
        ),
        ConfigBucket(
            "fastvideo/configs/models/vaes",
            ("fastvideo.configs.models.vaes.base.VAEArchConfig",),
            ("fastvideo.configs.models.vaes.base.VAEConfig",),
        ),
        ConfigBucket(
            "fastvideo/configs/models/upsamplers",
            (),
            ("fastvideo.configs.models.upsamplers.base.UpsamplerConfig",),
        ),
    ),
    pipeline_folders=("fastvideo/pipelines", "fastvideo/configs/pipelines"),
    sampling_configs=(
        "fastvideo.api.sampling_param.SamplingParam",
        "fastvideo.configs.sample.base.SamplingParam",
    ),
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
