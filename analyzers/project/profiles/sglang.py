"""SGLang's diffusion models (https://github.com/sgl-project/sglang, `python/sglang/multimodal_gen`)."""

from __future__ import annotations

from typing import Final

from analyzers.project.profiles.base import (
    ConfigBucket,
    Discovery,
    Loader,
    Loading,
    Profile,
)

_PACKAGE: Final = "sglang.multimodal_gen"
_FOLDER: Final = "sglang/multimodal_gen"
_LINEAR: Final = f"{_PACKAGE}.runtime.layers.linear"

_CONFIGS: Final = f"{_PACKAGE}.configs.models"

SGLANG: Final = Profile(
    name="sglang",
    title="SGLang",
    package=_PACKAGE,
    roots=("", "python"),
    models=f"{_FOLDER}/runtime/models",
    dits=f"{_FOLDER}/runtime/models/dits",
    dit_configs=f"{_FOLDER}/configs/models/dits",
    registry=f"{_FOLDER}/runtime/models/registry.py",
    legacy_table="_IMAGE_ENCODER_MODELS",
    discovery=Discovery(nested=False, skips_dunder_folders=True, tables_first=True, aliases="_aliases"),
    test_roots=(f"{_FOLDER}/test",),
    base_dit=f"{_PACKAGE}.runtime.models.dits.base.BaseDiT",
    model_config_base=f"{_PACKAGE}.configs.models.base.ModelConfig",
    dit_config_base=f"{_PACKAGE}.configs.models.dits.base.DiTConfig",
    dit_arch_config_base=f"{_PACKAGE}.configs.models.dits.base.DiTArchConfig",
    tuple_linears=frozenset(
        f"{_LINEAR}.{name}"
        for name in (
            "ReplicatedLinear",
            "MergedReplicatedLinear",
            "ColumnParallelLinear",
            "MergedColumnParallelLinear",
            "QKVParallelLinear",
            "RowParallelLinear",
        )
    ),
    replicated_linear=f"{_LINEAR}.ReplicatedLinear",
    logger_factory="sglang.multimodal_gen.runtime.utils.logging_utils.init_logger",
    stacking_attentions=frozenset(
        f"{_PACKAGE}.runtime.layers.attention.layer.{name}"
        for name in ("UlyssesAttention", "UlyssesAttention_VSA")
    ),
    loader=Loader(
        f"{_PACKAGE}.runtime.loader.component_loaders.transformer_loader",
        "TransformerLoader",
        "load_customized",
    ),
    mapping_semantics="chained",
    loading=Loading(by_index=True),  # runtime/loader/utils.py, _list_safetensors_files
    lora_reads_config=True,
    metadata_in_arch=True,
    transparent_configs=frozenset({f"{_PACKAGE}.configs.models.base.ArchConfig"}),
    arch_config_base=f"{_CONFIGS}.base.ArchConfig",
    config_buckets=(
        ConfigBucket(
            f"{_FOLDER}/configs/models/dits",
            (f"{_CONFIGS}.dits.base.DiTArchConfig",),
            (f"{_CONFIGS}.dits.base.DiTConfig",),
            only=True,
        ),
        ConfigBucket(
            f"{_FOLDER}/configs/models/encoders",
            tuple(f"{_CONFIGS}.encoders.base.{kind}EncoderArchConfig" for kind in ("", "Text", "Image")),
            tuple(f"{_CONFIGS}.encoders.base.{kind}EncoderConfig" for kind in ("", "Text", "Image")),
        ),
        ConfigBucket(
            f"{_FOLDER}/configs/models/vaes",
            (f"{_CONFIGS}.vaes.base.VAEArchConfig",),
            (f"{_CONFIGS}.vaes.base.VAEConfig",),
        ),
        ConfigBucket(
            f"{_FOLDER}/configs/models/vocoder",
            (f"{_CONFIGS}.vocoder.base.VocoderArchConfig",),
            (f"{_CONFIGS}.vocoder.base.VocoderConfig",),
        ),
        ConfigBucket(
            f"{_FOLDER}/configs/models/adapter",
            (f"{_CONFIGS}.adapter.base.AdapterArchConfig",),
            (f"{_CONFIGS}.adapter.base.AdapterConfig",),
        ),
    ),
    pipeline_folders=(
        f"{_FOLDER}/runtime/pipelines",
        f"{_FOLDER}/runtime/pipelines_core",
        f"{_FOLDER}/configs/pipeline_configs",
    ),
    loader_folders=(f"{_FOLDER}/runtime/loader",),
    sampling_configs=(f"{_PACKAGE}.configs.sample.sampling_params.SamplingParams",),
    rules_off=(
        (
            "DIT108",
            "SGLang has no list of pipelines: each module of pipeline configs registers itself when it is "
            "discovered (`register()`).",
        ),
        (
            "DIT109",
            "SGLang's detectors stand in the modules of the pipeline configs and are asked in an order "
            "that is made when these are discovered.",
        ),
        (
            "DIT110",
            "SGLang imports a config from its own module; more than half of them are not in the "
            "`__init__` of their folder.",
        ),
        (
            "DIT201",
            "SGLang's guide writes a DiT as a plain `nn.Module`, and parts that are no DiT (query "
            "formers, UNets) are registered from the DiT folder too.",
        ),
        (
            "DIT203",
            "Without shard conditions SGLang shards the numbered blocks, and compile conditions count "
            "with `--regional-compile` alone, which fails with a clear error where there are none.",
        ),
        (
            "DIT204",
            "SGLang's stages read the attributes from the arch config; only the causal ones read "
            "`num_attention_heads` from the model.",
        ),
        (
            "DIT205",
            "`BaseDiT.__post_init__` only asks for attributes that most of SGLang's stages never read, "
            "and half of its ports leave it out.",
        ),
        (
            "DIT206",
            "SGLang's stages look at the signature of `forward` and pass what it takes, guidance included.",
        ),
        (
            "DIT303",
            "SGLang drops no key of a config.json: what the arch config does not declare is kept in its "
            "`extra_attrs`.",
        ),
        (
            "DIT401",
            "SGLang's LoRA wraps `nn.Linear` as well (`wrap_with_lora_layer`).",
        ),
        (
            "DIT403",
            "SGLang's guide recommends `USPAttention` where a model is to run sequence-parallel and leaves "
            "cross-attention out of it; it does not ask that a kernel called directly is documented.",
        ),
        (
            "DIT404",
            "SGLang's models run collectives of their own on its groups (ring attention, all-to-all of "
            "packed rows); nothing in its guide forbids `torch.distributed`.",
        ),
        (
            "DIT501",
            "SGLang builds on the layers of diffusers and transformers by intent (`Timesteps`, "
            "`AdaLayerNormContinuous`); nothing in its guide forbids them.",
        ),
        (
            "DIT502",
            "SGLang has no rule against comments that say where code came from.",
        ),
        (
            "DIT801",
            "SGLang judges accuracy by the outputs that its server produces for a list of cases, not by a "
            "parity test for each port.",
        ),
    ),
)
