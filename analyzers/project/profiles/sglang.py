"""SGLang's diffusion models (https://github.com/sgl-project/sglang, `python/sglang/multimodal_gen`)."""

from __future__ import annotations

from typing import Final

from analyzers.project.profiles.base import Discovery, Loader, Profile

_PACKAGE: Final = "sglang.multimodal_gen"
_FOLDER: Final = "sglang/multimodal_gen"
_LINEAR: Final = f"{_PACKAGE}.runtime.layers.linear"

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
    loader=Loader(
        f"{_PACKAGE}.runtime.loader.component_loaders.transformer_loader",
        "TransformerLoader",
        "load_customized",
    ),
    chained_mappings=True,
    transparent_configs=frozenset({f"{_PACKAGE}.configs.models.base.ArchConfig"}),
    rules_off=(
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
            "DIT501",
            "SGLang builds on the layers of diffusers and transformers by intent (`Timesteps`, "
            "`AdaLayerNormContinuous`); nothing in its guide forbids them.",
        ),
        (
            "DIT801",
            "SGLang judges accuracy by the outputs that its server produces for a list of cases, not by a "
            "parity test for each port.",
        ),
    ),
)
