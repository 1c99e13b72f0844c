"""Flux: packed latents with their positions."""

import torch

OFFICIAL = "diffusers:FluxTransformer2DModel"
PORT = "FluxTransformer2DModel"


def config(tiny):
    return {**tiny, "guidance_embeds": True}  # as FLUX.1-dev has it


def inputs(case):
    config, batch = case.config, case.batch
    rows, columns = case.height // 2, case.width // 2
    zero = torch.arange(1)
    return {
        "hidden_states": case.randn(batch, rows * columns, config["in_channels"]),
        "encoder_hidden_states": case.randn(batch, case.text, config["joint_attention_dim"]),
        "pooled_projections": case.randn(batch, config["pooled_projection_dim"]),
        "timestep": case.uniform(0.05, 1.0, batch),
        "img_ids": torch.cartesian_prod(zero, torch.arange(rows), torch.arange(columns)),
        "txt_ids": torch.zeros(case.text, 3, dtype=torch.int64),
        "guidance": case.uniform(1.0, 5.0, batch),
    }
