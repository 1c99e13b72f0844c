"""What published checkpoints are known to configure, where their `config.json` is not at hand.

An arch config mirrors the published `config.json` (`fastvideo/configs/models/base.py`), and diffusers
writes every argument of a model's constructor into that file. A field of one of these names may
therefore be carried for the checkpoint's sake, although the port reads it nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from analyzers.findings import Location, Span
from analyzers.project.ports import Port, Ports
from analyzers.project.sources import Sources


@dataclass(frozen=True)
class PublishedConfig:
    """A checkpoint's `config.json` as it lies in the tree: its `_class_name` and all its keys."""

    path: str
    class_name: str
    values: Mapping[str, object]


class Published:
    """The configurations of local checkpoints, by the port that loads them."""

    def __init__(self, sources: Sources, ports: Ports, documents: tuple[str, ...]) -> None:
        self.sources = sources
        self.ports = ports
        self.documents = tuple(d for d in documents if d.rpartition("/")[2] == "config.json")

    def of(self, port: Port) -> tuple[PublishedConfig, ...]:
        """The configs whose `_class_name` the registry resolves to the port."""
        names = self._names_of(port) if self.documents else frozenset()
        return tuple(
            config
            for path in self.documents
            if (config := self._config(path)) is not None and config.class_name in names
        )

    def place(self, config: PublishedConfig, key: str) -> Location:
        """Where a key stands in its file; the file's start where it is not found."""
        text = self.sources.text(config.path) or ""
        match = re.search(rf'"{re.escape(key)}"\s*:', text)
        offset = match.start() if match is not None else 0
        line = text.count("\n", 0, offset)
        column = len(text[text.rfind("\n", 0, offset) + 1 : offset].encode())
        width = len(key.encode()) + 2 if match is not None else 0
        return Location(config.path, Span(line, column, line, column + width))

    def _config(self, path: str) -> PublishedConfig | None:
        return self.sources.memory.get(("published config", path), partial(self._read, path))

    def _read(self, path: str) -> PublishedConfig | None:
        try:
            values = json.loads(self.sources.text(path) or "")
        except (ValueError, RecursionError):
            return None  # being written, or no JSON: another rule's matter
        name = values.get("_class_name") if isinstance(values, dict) else None
        return PublishedConfig(path, name, values) if isinstance(name, str) else None

    def _names_of(self, port: Port) -> frozenset[str]:
        """The names under which the registry reaches the port's class."""
        specs = self.ports.registry.models.items()
        return frozenset(
            name
            for name, spec in specs
            if spec[2] == port.name
            and (cls := self.ports.class_of_spec(spec)) is not None
            and (cls.path, cls.fact.name) == (port.cls.path, port.name)
        )


_DIFFUSERS: Final = """
LFE_depth LFE_dim_head LFE_ff_mult LFE_id_dim LFE_num_heads LFE_num_id_token LFE_num_querie
LFE_num_scale LFE_output_dim LFE_vit_dim act_fn action_dim action_gen activation_fn adaln_dim
adaln_lora_dim adaln_type adaln_use_text_cond add_control_noise_refiner add_noise_in_inpaint_model
add_norm_text_encoder added_emb_type added_kv_proj_dim addition_embed_type
addition_embed_type_num_heads addition_time_embed_dim additional_embeddings after_norm
all_f_patch_size all_patch_size approximator_hidden_dim approximator_layers
approximator_num_channels attention_P attention_add_sta attention_bias attention_causal
attention_dropout attention_glob attention_head_dim attention_local attention_method
attention_out_bias attention_type attention_wH attention_wT attention_wW attention_window
audio_acoustic_hidden_dim audio_attention_head_dim audio_cross_attention_dim audio_cross_attn_mod
audio_ff_bias audio_freqs_scaling audio_gated_attn audio_hop_length audio_in_channels
audio_num_attention_heads audio_out_channels audio_patch_size audio_patch_size_t
audio_pos_embed_max_pos audio_sampling_rate audio_scale_factor audio_vocab_size axes_dim
axes_dim_rope axes_dims axes_dims_a axes_dims_rope axes_lens base_block_out_channels base_fps
base_height base_width bias block_out_channels bottleneck_size ca_rope cam_attn_compress
cap_feat_dim capacity_factors caption_channels caption_projection_dim cath_emb_dim causal_condition
causal_offset chunk_partition chunk_plucker_channels chunk_plucker_post_attn_blocks class_embed_type
clip_embed_dim compressed_patch_size concat_conditioning_mask concat_padding_mask cond_in_channels
cond_token_dim condition_dim conditioning_channel_order conditioning_channels
conditioning_embedding_channels conditioning_embedding_out_channels context_in_dim control_in_dim
control_layers_places control_refiner_layers_places controlnet_block_every_n
controlnet_conditioning_channel_order conv_kernel_size cross_attention_dim cross_attention_dim_t5
cross_attention_head_dim cross_attention_input_dim cross_attn cross_attn_dim_head
cross_attn_interval cross_attn_mod cross_attn_norm cross_attn_num_heads
cross_attn_timestep_scale_multiplier cross_gates cross_norm crossattn_proj_in_channels
ctrl_block_out_channels ctrl_conditioning_channel_order ctrl_conditioning_channels
ctrl_conditioning_embedding_out_channels ctrl_learn_time_embedding ctrl_max_norm_num_groups
ctrl_num_attention_heads d_ff d_kv d_model deltatime_type dense_moe_strategy depth dim dim_cond
dit_depth dit_dim dit_heads dit_text_dim double_self_attention down_block_types downsample_padding
downscale_freq_shift dropout dropout_rate dtype dual_attention_layers embed_dim embedding_dim
embedding_proj_dim embedding_proj_norm_type enable_fps_modulation enable_text_attention_mask
enable_text_cross_attention_dual enable_text_cross_attention_single encoder_hid_dim
encoder_hid_dim_type encoder_hid_proj_type encoder_hidden_size encoder_hidden_states_channels eps
extra_condition_channels extra_conditioning_channels extra_pos_embed_type face_encoder_hidden_dim
face_encoder_num_heads feats_cond_seq feats_pair_cond feats_pair_repr feats_seq ff_bias ff_dim
ff_dim_a ff_inner_dim ff_mult ffn_dim ffn_dim_multiplier ffn_hidden_size ffn_type final_norm_eps
fix_modulation flip_sin_to_cos flow_map force_inference_output force_zeros_for_pooled_projection
fourier_embedding_dim fp32_attention freq_dim freq_shift full_chunk_limit gate_value gated_attn
gist_max_text_len gist_min_text_len gist_step global_cond_dim global_pool_conditions
global_states_input_dim guidance_cross_attn guidance_embeds guidance_embeds_scale
has_clean_x_embedder has_image_proj has_multi_term_memory_patch head_dim hidden_act hidden_size
history_scale_mode image_condition_type image_dim image_embed_dim image_proj_dim image_size
img_context_dim_in img_context_dim_out img_context_num_tokens in_audio_dim in_channels in_dim
in_text_dim in_text_dim2 in_visual_dim init_cam_from_base inject_face_latents_blocks
inject_sample_info injection_layer_ids input_dims intermediate_size interpolation_scale
interpolation_scale_h interpolation_scale_t interpolation_scale_w io_channels is_amplify_history
is_kps is_train_face is_turbo joint_attention_dim k_conv_only latent_channel latent_channels
latent_dim latent_patch_size layer_types layers_per_block learn_sigma learn_time_embedding
linear_head_dim llama_layers llm_features_dim local_add_cond_dim local_face_scale long_skip
max_decoder_noise_time max_norm_num_groups max_num_gist_tokens max_position_embeddings
max_resolution max_sequence_length max_size max_text_seq_length mid_block_scale_factor
mid_block_type min_num_gist_tokens mixed_precision mlp_acts mlp_ratio mlp_width_ratio mmdit_layers
model_channels model_dim model_dim_a model_version moe_enabled moe_intermediate_dim motion_dim
motion_encoder_batch_size motion_encoder_channel_sizes motion_encoder_dim motion_encoder_size
motion_max_seq_length motion_num_attention_heads motion_style_dim mrope_section multiple_of
n_controlnet_blocks n_heads n_kv_heads n_layers n_refiner_layers nabla_threshold nabla_window nheads
nlayers norm_elementwise_affine norm_eps norm_in_type norm_num_groups norm_type
num_activated_experts num_attention_heads num_class_embeds num_codebooks num_control_type
num_cross_attention_heads num_decoder_layers num_embeddings num_embeds_ada_norm
num_embodiment_domains num_experts num_frame_per_block num_heads num_hidden_layers
num_key_value_attention_heads num_key_value_heads num_kv_heads num_layers num_layerwise_text_blocks
num_memory_tokens num_mmdit_layers num_mode num_positional_embeddings num_proj_channel
num_refiner_layers num_refiner_text_blocks num_routed_experts num_sequence_classes
num_single_dit_layers num_single_layers num_text_blocks num_text_layers num_token_types
num_trans_channel num_trans_head num_trans_layer num_vector_embeds num_visual_blocks ofs_embed_dim
only_cross_attention original_max_position_embeddings out_audio_dim out_channels out_dim
out_visual_dim pad_token_id pair_repr_dim patch_bias patch_latent_dim patch_size patch_size_t
perceiver_num_layers perturbed_attn pooled_projection_dim pos_embed_max_pos pos_embed_max_size
pos_embed_seq_len pos_embed_type positional_embeddings pred_sigma prior_vq_quantizer_codebook_size
projection_class_embeddings_input_dim qk_layernorm qk_norm qk_norm_eps qk_norm_for_text
recycle_conditioning_dim refer_offset_h refer_offset_t refer_offset_w refer_stride
resize_inpaint_mask_directly resnet_time_scale_shift resolution_embeds rms_norm_eps rope_axes_dim
rope_base rope_dim rope_dim_list rope_double_precision rope_freq_dim rope_max_seq_len rope_scale
rope_scaling rope_temporal_skip_len rope_theta rope_type rotary_dim route_scale sample_frames
sample_height sample_size sample_width scale_factor scaling_factor seq_sep_dim siglip_feat_dim
sliding_window softmax_every_n sound_dim sound_gen sound_latent_fps spatial_interpolation_scale
t_emb_dim t_kernel_size t_scale target_size targets_length task_type temporal_compression_ratio
temporal_interpolation_scale temporal_transformer_layers_per_block text_conv text_dim text_emb_dim
text_embed_2_dim text_embed_dim text_embed_dim_t5 text_encoder_dim text_hidden_dim text_in_dim
text_intermediate_size text_len text_len_t5 text_num_attention_heads text_num_key_value_heads
text_token_padding theta tile_sizes time_cond_proj_dim time_dim time_dim_a time_embed_act_fn
time_embed_dim time_embed_hidden_dim time_embedding_mix time_factor time_max_period
time_position_encoding_type time_proj_dim time_step_dim time_theta timestep_activation_fn
timestep_channels timestep_embed_dim timestep_features_dim timestep_guidance_channels timestep_scale
timestep_scale_multiplier token_dim token_type_emb_dim transformer_layers_per_block
transformer_layers_per_mid_block transformer_num_layers tri_mult_c
unified_3d_mrope_reset_spatial_ids unified_3d_mrope_temporal_modality_margin up_block_types
upcast_attention update_pair_repr_every_n use_additional_conditions use_additional_t_cond
use_chunk_plucker_post_attn use_crossattn_projection use_differential_attention use_grouped_mm
use_img_emb use_keyframes_abs_pos_embedding use_latent_condition use_layer3d_rope
use_learned_positional_embeddings use_linear_projection use_meanflow use_pe use_pos_embed
use_prompt_adaln_single use_prompt_embeddings use_rotary_positional_embeddings use_self_attention
use_sigmoid use_simplified_condition_embedding use_style_cond_and_image_meta_size
use_und_k_norm_for_gen vace_in_channels vace_layers vae_scale_factors video_length visual_cond
visual_token_type_num_embeddings vocab_size xt_pair_dist_dim xt_pair_dist_max xt_pair_dist_min
y_norm zero_cond_t zero_history_timestep
"""
"""Arguments of the registered constructors below `diffusers/models/transformers` and `controlnets`
(diffusers 0.42.1)."""

_OFFICIAL: Final = """
action_config activation_fn adaptive_norm add_control_adapter attn_type caption_channels
causal_temporal_positioning class_dropout_prob depth double_precision_rope drop_path ffn_type
fuse_vae_embedding_in_latents has_image_input has_image_pos_emb has_ref_conv in_dim
in_dim_control_adapter input_size is_action_model linear_head_dim mlp_acts model_max_length
model_type out_dim patch_embed_kernel pe_interpolation pred_sigma require_clip_embedding
require_vae_embedding seperated_timestep sigma_theta standardization_norm text_len use_memory
use_middle_indices_grid use_pe use_text_crossattn use_tpu_flash_attention window_size y_norm
y_norm_scale_factor
"""
"""Arguments of the official Wan, DiffSynth, Matrix-Game, LTX and Sana transformers, which their own
`config.json` files have."""

PUBLISHED_NAMES: Final = frozenset((_DIFFUSERS + _OFFICIAL).split())
"""Names that published configurations are known to have. Only ever a reason to stay quiet, so that an
older or newer list does no harm."""
