"""Flux 2: packed latents with positions on four axes."""

import torch

OFFICIAL = "diffusers:Flux2Transformer2DModel"
PORT = "Flux2Transformer2DModel"


def inputs(case):
    config, batch = case.config, case.batch
    rows, columns = case.height // 2, case.width // 2
    zero = torch.arange(1)
    return {
        "hidden_states": case.randn(batch, rows * columns, config["in_channels"]),
        "encoder_hidden_states": case.randn(batch, case.text, config["joint_attention_dim"]),
        "timestep": case.uniform(0.05, 1.0, batch),
        "img_ids": torch.cartesian_prod(zero, torch.arange(rows), torch.arange(columns), zero),
        "txt_ids": torch.cartesian_prod(zero, zero, zero, torch.arange(case.text)),
        "guidance": case.uniform(1.0, 5.0, batch),
    }
