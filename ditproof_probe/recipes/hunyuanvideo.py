"""HunyuanVideo: the port takes the pooled text in a list with the embeddings."""

OFFICIAL = "diffusers:HunyuanVideoTransformer3DModel"
PORT = "HunyuanVideoTransformer3DModel"
LIMITS = {"batch": (1, "the norms of its blocks scale [B, S, D] by [B, D]")}


def inputs(case):
    config, batch = case.config, case.batch
    return {
        "hidden_states": case.randn(batch, config["in_channels"], case.frames, case.height, case.width),
        "timestep": case.randint(1, 1000, batch),
        "encoder_hidden_states": case.randn(batch, case.text, config["text_embed_dim"]),
        # The port takes no mask: every token of the text counts.
        "encoder_attention_mask": case.randint(1, 2, batch, case.text),
        "pooled_projections": case.randn(batch, config["pooled_projection_dim"]),
        "guidance": case.uniform(1000.0, 8000.0, batch),
    }


def port_inputs(inputs, case):
    return {
        "hidden_states": inputs["hidden_states"],
        "timestep": inputs["timestep"],
        "encoder_hidden_states": [inputs["encoder_hidden_states"], inputs["pooled_projections"]],
        "guidance": inputs["guidance"],
    }
