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
    local_test_roots: tuple[str, ...]
    """Folders whose tests all belong to ports; each port has a folder of its own below them."""
    shared_test_folders: frozenset[str]
    """Folders below `local_test_roots` that are named after components, not after ports."""
    pipeline_entries: frozenset[str]
    """What tests of whole pipelines start them with."""
    scope_constant: str
    """The module constant in which a component parity test says what it covers."""
    parity_scopes: tuple[str, ...]
    """What it may say."""
    state_file: str
    """The name of a port's state file, in its folder below `local_test_roots`."""
    oracle_constants: tuple[str, str]
    """The module constants in which a parity test names the official module and class."""
    template_marks: frozenset[str]
    """Placeholders of the code base's templates for tests and state files."""
    template_comments: frozenset[str]
    """Comments of these templates that ask for something to be filled in, without `#`."""
    document_roots: tuple[str, ...]
    """Folders in which a port's state files and the configurations of local checkpoints lie."""
    base_dit: str
    model_config_base: str
    dit_config_base: str
    dit_arch_config_base: str
    tuple_linears: frozenset[str]
    """Linear layers whose forward returns `(output, bias)`."""

    def is_checked(self, path: str) -> bool:
        """Whether rules look at a file: models, configs, the registry, parity tests and what serves
        them, documents."""
        if not path.endswith(".py"):
            return self.is_document(path)
        return (
            path.startswith((f"{self.dits}/", f"{self.dit_configs}/"))
            or path == self.registry
            or self.is_parity_test(path)
            or self.is_parity_helper(path)
        )

    def is_document(self, path: str) -> bool:
        """Whether rules look at a file that is no Python: a port's state file, a checkpoint's config."""
        name = path.rpartition("/")[2]
        return name in (self.state_file, "config.json", "model_index.json") and path.startswith(
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
            "parity" in path.rpartition("/")[2] or path.startswith(self._local_roots)
        )

    def claims_parity(self, path: str) -> bool:
        """Whether a test file says by its name that it compares numbers with the original."""
        return self.is_parity_test(path) and "parity" in path.rpartition("/")[2]

    def declares_scope(self, path: str) -> bool:
        """Whether a file is a component's parity test, which says what it covers."""
        return (
            self.claims_parity(path)
            and path.startswith(self._local_roots)
            and "pipeline" not in path.rpartition("/")[2]
        )

    def is_parity_helper(self, path: str) -> bool:
        """Whether a file that is no test serves parity tests: what lies beside them."""
        return path.endswith(".py") and path.startswith(self._local_roots) and not self.is_test(path)

    def port_folder(self, path: str) -> str | None:
        """The folder of one port's local tests that a file lies in, None for shared folders."""
        for root in self._local_roots:
            name, slash, _ = path[len(root) :].partition("/")
            if path.startswith(root) and slash and name not in self.shared_test_folders:
                return root + name
        return None

    @property
    def _local_roots(self) -> tuple[str, ...]:
        return tuple(root + "/" for root in self.local_test_roots)


# .agents/skills/add-model-01-prep, -02-parity and -09-pipeline, templates/
_TEMPLATE_MARKS = frozenset(
    {
        "<FAMILY>",
        "<FAMILY_UPPER>",
        "<family>",
        "<COMPONENT>",
        "<component>",
        "<official.module>",
        "<OfficialClass>",
        "<bucket>",
        "<module>",
        "<FastVideoConfig>",
        "<FastVideoModel>",
        "<ReferenceDir>",
        "<ReferenceDir or none>",
        "TODO_MODEL_FAMILY",
        "TODO_OFFICIAL_REF_PATH",
        "TODO_OFFICIAL_REF_DIR",
        "TODO_FASTVIDEO_MODEL_PATH",
        "TODO_COMPARISON_KEY",
        "TODO: stable parity prompt",
        "TODO: import the official pipeline/factory",
        "Fill every TODO before considering this test active",
        "TODO before treating it as an executable scaffold",
        "<Model Family>",
        "<model_family>",
        "<T2V/I2V/V2V/T2I/or compatibility shim with rationale>",
        "<url or import path>",
        "<HF repo id/url or local path>",
        "<official_weights/model_family or local path>",
        "<diffusers/raw_official/monolithic/separate_components/mixed/custom/unknown>",
        "<diffusers/separate_components/monolithic/mixed/custom/unknown>",
        "<YYYY-MM-DD>",
        "<none or list>",
        "<question>",
        "<short notes for the next agent>",
    }
)
_TEMPLATE_COMMENTS = frozenset(
    {
        "TODO: snake_case family name.",
        "TODO: transformer | vae | encoder | conditioner | ...",
        "TODO: production_loader | implementation_subcomponent | both",
        'TODO: e.g. "ltx_core.model.transformer".',
        "TODO: official class/factory name.",
        "TODO.",
        "TODO: adjust for the official repo layout. Common examples:",
        "TODO: import official class/factory and load real weights strictly.",
        "TODO: pass official config kwargs.",
        "TODO: load official state dict from LOCAL_WEIGHTS_DIR.",
        "TODO: replace with the bucket-specific FastVideo config/class/loader.",
        "TODO: load converted or directly mapped state dict.",
        "TODO: replace with component-specific tensors and metadata.",
        "TODO: adapt official call signature.",
        "TODO: adapt FastVideo call signature.",
        "TODO: pick tolerance by scope:",
    }
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
    local_test_roots=("tests/local_tests",),
    shared_test_folders=frozenset(
        {"encoders", "helpers", "models", "pipelines", "schedulers", "transformers", "upsamplers", "vaes"}
    ),
    pipeline_entries=frozenset({"VideoGenerator", "build_pipeline"}),
    scope_constant="PARITY_SCOPE",
    parity_scopes=("production_loader", "implementation_subcomponent", "both"),
    state_file="PORT_STATUS.md",
    oracle_constants=("OFFICIAL_MODULE", "OFFICIAL_CLASS"),
    template_marks=_TEMPLATE_MARKS,
    template_comments=_TEMPLATE_COMMENTS,
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
