"""Z-Image: lists of latents and captions of different lengths."""

OFFICIAL = "diffusers:ZImageTransformer2DModel"
PORT = "ZImageTransformer2DModel"


def inputs(case):
    config, items = case.config, range(case.batch)
    return {
        "x": [case.randn(config["in_channels"], 1, case.height + 2 * n, case.width) for n in items],
        "t": case.uniform(0.05, 0.95, case.batch),
        "cap_feats": [case.randn(case.text + 3 * n, config["cap_feat_dim"]) for n in items],
    }


def port_inputs(inputs, case):
    return {
        "hidden_states": inputs["x"],
        "encoder_hidden_states": inputs["cap_feats"],
        "timestep": inputs["t"],
    }
