"""Wan: image to video, with the image's embeddings beside the text."""

OFFICIAL = "diffusers:WanTransformer3DModel"
PORT = "WanTransformer3DModel"


def config(tiny):
    width = tiny["num_attention_heads"] * tiny["attention_head_dim"]
    return {
        **tiny,
        "in_channels": 2 * tiny["out_channels"] + 4,  # noise, the image's latents, and their mask
        "image_dim": tiny["image_dim"] or 40,
        "added_kv_proj_dim": width,
    }


def inputs(case):
    config, batch = case.config, case.batch
    return {
        "hidden_states": case.randn(batch, config["in_channels"], case.frames, case.height, case.width),
        # Both sides split image and text at these lengths, which are literals there.
        "encoder_hidden_states": case.randn(batch, 512, config["text_dim"]),
        "encoder_hidden_states_image": case.randn(batch, 257, config["image_dim"]),
        "timestep": case.randint(1, 1000, batch),
    }
