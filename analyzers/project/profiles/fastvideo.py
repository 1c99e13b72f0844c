"""FastVideo (https://github.com/hao-ai-lab/FastVideo)."""

from __future__ import annotations

from typing import Final

from analyzers.project.profiles.base import Loader, Profile

FASTVIDEO: Final = Profile(
    name="fastvideo",
    title="FastVideo",
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
    loader=Loader("fastvideo.models.loader.component_loader", "TransformerLoader", "load"),
    parity_folders=("tests/local_tests",),
    status_folders=("tests/local_tests/{family}",),
    mappings_of_names=("reverse_param_names_mapping",),
)
