"""Cosmos: frames a second other than any default, a condition mask, a padding mask, a text mask."""

OFFICIAL = "diffusers:CosmosTransformer3DModel"
PORT = "CosmosTransformer3DModel"
CASES = {
    "plain": {},
    "batch": {"batch": 2},
    "odd": {"frames": 5, "height": 6, "width": 10, "text": 7},
    "seed": {"seed": 1},
    "timestep a frame": {"per_frame": True},
}


def config(tiny):
    return {**tiny, "in_channels": tiny["out_channels"] + 1}  # the latents, and the condition mask


def inputs(case):
    config, batch, frames = case.config, case.batch, case.frames
    height, width = case.height, case.width
    times = (batch, 1, frames, 1, 1) if case.get("per_frame") else (batch,)
    return {
        "hidden_states": case.randn(batch, config["in_channels"] - 1, frames, height, width),
        "timestep": case.uniform(0.1, 4.0, *times),
        "encoder_hidden_states": case.randn(batch, case.text, config["text_embed_dim"]),
        "attention_mask": case.mask(batch, case.text).bool(),
        "fps": 30,
        "condition_mask": case.mask(batch, 1, frames, height, width).float(),
        "padding_mask": case.mask(1, 1, 8 * height, 8 * width).float(),
    }
