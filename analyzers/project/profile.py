"""What a code base calls its things and where it keeps them: data, found by looking at the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    registry_fallback: str | None = None
    """The architecture that the model registry takes where it does not know a name."""
    registry_components: frozenset[str] = frozenset()
    """Components whose `_class_name` the model registry resolves, where the loaders cannot be read."""
    component_loader: str = ""
    """Full name of the class whose `for_module_type` gives each component its loader."""
    original_weights: tuple[str, ...] = ()
    """Those of the document roots that hold checkpoints as published, before any conversion."""
    pipelines: str = ""
    """The folder with a folder a pipeline family; empty where there is no pipeline registry."""
    pipeline_registry: str = ""
    pipeline_register: str = ""
    """The function by which the pipeline registry files a pipeline config."""
    pipeline_config_base: str = ""
    pipeline_configs: str = ""
    pipeline_files: frozenset[str] = frozenset()
    """Names of the files below `pipelines` that hold pipeline configs and presets."""
    preset_class: str = ""
    preset_group: str = ""
    """The name under which a preset file lists its presets for the pipeline registry."""

    def is_checked(self, path: str) -> bool:
        """Whether rules look at a file: models, configs, the registry, parity tests, documents."""
        if not path.endswith(".py"):
            return self.is_document(path)
        return (
            path.startswith((f"{self.dits}/", f"{self.dit_configs}/"))
            or path == self.registry
            or self.is_pipeline_file(path)
            or self.is_parity_test(path)
        )

    def is_pipeline_file(self, path: str) -> bool:
        """Whether a file is the pipeline registry or holds pipeline configs or presets."""
        if not self.pipelines:
            return False
        return (
            path == self.pipeline_registry
            or (path.startswith(f"{self.pipeline_configs}/") and path.endswith(".py"))
            or (path.startswith(f"{self.pipelines}/") and path.rpartition("/")[2] in self.pipeline_files)
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
    registry_fallback="TransformersModel",
    registry_components=frozenset(
        {"transformer", "transformer_2", "transformer_3", "sr_transformer", "vae", "scheduler"}
    ),
    component_loader="fastvideo.models.loader.component_loader.ComponentLoader",
    original_weights=("official_weights",),
    pipelines="fastvideo/pipelines/basic",
    pipeline_registry="fastvideo/registry.py",
    pipeline_register="register_configs",
    pipeline_config_base="fastvideo.configs.pipelines.base.PipelineConfig",
    pipeline_configs="fastvideo/configs/pipelines",
    pipeline_files=frozenset({"pipeline_config.py", "pipeline_configs.py", "presets.py"}),
    preset_class="fastvideo.api.presets.InferencePreset",
    preset_group="ALL_PRESETS",
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
