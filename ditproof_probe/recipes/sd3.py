"""Stable Diffusion 3.5: one block with a second attention and one without."""

OFFICIAL = "diffusers:SD3Transformer2DModel"
PORT = "SD3Transformer2DModel"


def config(tiny):
    return {
        **tiny,
        "sample_size": 16,
        "pos_embed_max_size": 24,
        "qk_norm": "rms_norm",
        "dual_attention_layers": [0],
        "caption_projection_dim": tiny["num_attention_heads"] * tiny["attention_head_dim"],
    }


def inputs(case):
    config, batch = case.config, case.batch
    return {
        "hidden_states": case.randn(batch, config["in_channels"], case.height, case.width),
        "encoder_hidden_states": case.randn(batch, case.text, config["joint_attention_dim"]),
        "pooled_projections": case.randn(batch, config["pooled_projection_dim"]),
        "timestep": case.uniform(1.0, 1000.0, batch),
    }
