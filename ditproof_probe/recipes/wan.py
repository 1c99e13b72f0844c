"""Wan: text to video."""

OFFICIAL = "diffusers:WanTransformer3DModel"
PORT = "WanTransformer3DModel"
CASES = {
    "plain": {},
    "batch": {"batch": 2},
    "odd": {"frames": 5, "height": 6, "width": 10, "text": 7},
    "seed": {"seed": 1},
    "timestep a token": {"per_token": True},  # as Wan 2.2 TI2V has it
}


def inputs(case):
    config, batch = case.config, case.batch
    frames, rows, columns = config["patch_size"]
    tokens = (case.frames // frames) * (case.height // rows) * (case.width // columns)
    return {
        "hidden_states": case.randn(batch, config["in_channels"], case.frames, case.height, case.width),
        "encoder_hidden_states": case.randn(batch, case.text, config["text_dim"]),
        "timestep": case.randint(1, 1000, *((batch, tokens) if case.get("per_token") else (batch,))),
    }
