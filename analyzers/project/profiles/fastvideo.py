"""FastVideo (https://github.com/hao-ai-lab/FastVideo)."""

from __future__ import annotations

from typing import Final

from analyzers.project.profiles.base import (
    ConfigBucket,
    DistributedWrapper,
    Loader,
    Loading,
    ParityConventions,
    Profile,
    Registrations,
    Serving,
)

_CONFIGS: Final = "fastvideo.configs.models"

# .agents/skills/add-model-01-prep, -02-parity and -09-pipeline, templates/
_TEMPLATE_MARKS: Final = frozenset(
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
_TEMPLATE_COMMENTS: Final = frozenset(
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
    replicated_linear="fastvideo.layers.linear.ReplicatedLinear",
    logger_factory="fastvideo.logger.init_logger",
    distributed="fastvideo.distributed",
    distributed_wrappers=(
        DistributedWrapper("get_rank", None, "get_world_rank"),
        DistributedWrapper("get_world_size", None, "get_world_size"),
        DistributedWrapper("get_rank", "get_sp_group", "get_sp_parallel_rank"),
        DistributedWrapper("get_world_size", "get_sp_group", "get_sp_world_size"),
        DistributedWrapper("get_rank", "get_tp_group", "get_tp_rank"),
        DistributedWrapper("get_world_size", "get_tp_group", "get_tp_world_size"),
        DistributedWrapper("get_rank", "get_dp_group", "get_dp_rank"),
        DistributedWrapper("get_world_size", "get_dp_group", "get_dp_world_size"),
    ),
    stacking_attentions=frozenset(
        f"fastvideo.attention.layer.{name}" for name in ("DistributedAttention", "DistributedAttention_VSA")
    ),
    loader=Loader("fastvideo.models.loader.component_loader", "TransformerLoader", "load"),
    # `load_model_from_full_model_state_dict`, and `strict_load` of the loader above
    loading=Loading(
        skipped=("_extra_state",), may_be_absent=("gate_compress", "proj_l"), lenient=("Cosmos25",)
    ),
    parity_folders=("tests/local_tests",),
    parity=ParityConventions(
        shared_folders=frozenset(
            {"encoders", "helpers", "models", "pipelines", "schedulers", "transformers", "upsamplers", "vaes"}
        ),
        pipeline_entries=frozenset({"VideoGenerator", "build_pipeline"}),
        scope_constant="PARITY_SCOPE",
        scopes=("production_loader", "implementation_subcomponent", "both"),
        template_marks=_TEMPLATE_MARKS,
        template_comments=_TEMPLATE_COMMENTS,
    ),
    status_folders=("tests/local_tests/{family}",),
    registry_fallback="TransformersModel",
    component_loaders=Loader(
        "fastvideo.models.loader.component_loader", "ComponentLoader", "for_module_type"
    ),
    registry_components=frozenset(
        {"transformer", "transformer_2", "transformer_3", "sr_transformer", "vae", "scheduler"}
    ),
    original_weights=("official_weights",),
    # `.agents/skills/add-model/contracts/component_context.md`, prototype_key_dumps
    key_dumps="converted_weights/{family}/_mapping/{component}_{side}_keys.json",
    registrations=Registrations(
        folder="fastvideo/pipelines/basic",
        registry="fastvideo/registry.py",
        register="register_configs",
        configs="fastvideo/configs/pipelines",
        config_base="fastvideo.configs.pipelines.base.PipelineConfig",
        files=frozenset(
            {"config.py", "configs.py", "pipeline_config.py", "pipeline_configs.py", "presets.py"}
        ),
        preset_class="fastvideo.api.presets.InferencePreset",
        preset_group="ALL_PRESETS",
    ),
    mappings_of_names=("reverse_param_names_mapping",),
    arch_config_base=f"{_CONFIGS}.base.ArchConfig",
    config_buckets=(
        ConfigBucket(
            "fastvideo/configs/models/dits",
            (f"{_CONFIGS}.dits.base.DiTArchConfig",),
            (f"{_CONFIGS}.dits.base.DiTConfig",),
            only=True,
        ),
        ConfigBucket(
            "fastvideo/configs/models/encoders",
            tuple(f"{_CONFIGS}.encoders.base.{kind}EncoderArchConfig" for kind in ("", "Text", "Image")),
            tuple(f"{_CONFIGS}.encoders.base.{kind}EncoderConfig" for kind in ("", "Text", "Image")),
        ),
        ConfigBucket(
            "fastvideo/configs/models/vaes",
            (f"{_CONFIGS}.vaes.base.VAEArchConfig",),
            (f"{_CONFIGS}.vaes.base.VAEConfig",),
        ),
        ConfigBucket(
            "fastvideo/configs/models/upsamplers", (), (f"{_CONFIGS}.upsamplers.base.UpsamplerConfig",)
        ),
    ),
    pipeline_folders=("fastvideo/pipelines", "fastvideo/configs/pipelines"),
    loader_folders=("fastvideo/models/loader",),
    sampling_configs=(
        "fastvideo.api.sampling_param.SamplingParam",
        "fastvideo.configs.sample.base.SamplingParam",
    ),
    serving=Serving(
        pipelines="fastvideo/pipelines/basic",
        configs="fastvideo/configs/pipelines",
        config_field="dit_config",
        config_attribute="pipeline_config_cls",
        argument="transformer",
    ),
)
