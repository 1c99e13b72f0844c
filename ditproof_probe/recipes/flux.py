"""Flux: packed latents with their positions."""

import torch

OFFICIAL = "diffusers:FluxTransformer2DModel"
PORT = "FluxTransformer2DModel"


def config(tiny):
    return {**tiny, "guidance_embeds": True}


def inputs(case):
    config, batch = case.config, case.batch
    rows, columns = case.height // 2, case.width // 2
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)[None]
    return {
        "hidden_states": case.randn(batch, rows * columns, config["in_channels"]),
        "encoder_hidden_states": case.randn(batch, case.text, config["joint_attention_dim"]),
        "pooled_projections": case.randn(batch, config["pooled_projection_dim"]),
        "timestep": case.uniform(0.05, 1.0, batch),
        "img_ids": ids.reshape(-1, 3),
        "txt_ids": torch.zeros(case.text, 3),
        "guidance": case.uniform(1.0, 5.0, batch),
    }
