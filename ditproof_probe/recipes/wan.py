"""Wan: text to video."""

OFFICIAL = "diffusers:WanTransformer3DModel"
PORT = "WanTransformer3DModel"


def inputs(case):
    config, batch = case.config, case.batch
    return {
        "hidden_states": case.randn(batch, config["in_channels"], case.frames, case.height, case.width),
        "encoder_hidden_states": case.randn(batch, case.text, config["text_dim"]),
        "timestep": case.randint(1, 1000, batch),
    }
