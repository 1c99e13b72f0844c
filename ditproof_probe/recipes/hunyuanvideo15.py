"""HunyuanVideo 1.5: two texts and an image; without an image its embeddings are zero."""

import torch

OFFICIAL = "diffusers:HunyuanVideo15Transformer3DModel"
PORT = "HunyuanVideo15Transformer3DModel"
LIMITS = {"batch": (1, "the norms of its blocks scale [B, S, D] by [B, D]")}
CASES = {
    "plain": {},
    "batch": {"batch": 2},
    "odd": {"frames": 5, "height": 3, "width": 5, "text": 7},
    "seed": {"seed": 1},
    "no image": {"image": False},
}


def inputs(case):
    config, batch = case.config, case.batch
    image = case.randn(batch, 6, config["image_embed_dim"])
    return {
        "hidden_states": case.randn(batch, config["in_channels"], case.frames, case.height, case.width),
        "timestep": case.uniform(1.0, 1000.0, batch),
        "encoder_hidden_states": case.randn(batch, case.text, config["text_embed_dim"]),
        "encoder_hidden_states_2": case.randn(batch, case.text + 2, config["text_embed_2_dim"]),
        # The port takes no masks: every token of the texts counts.
        "encoder_attention_mask": case.randint(1, 2, batch, case.text),
        "encoder_attention_mask_2": case.randint(1, 2, batch, case.text + 2),
        "image_embeds": image if case.get("image", True) else torch.zeros_like(image),
    }


def port_inputs(inputs, case):
    return {
        "hidden_states": inputs["hidden_states"],
        "timestep": inputs["timestep"],
        "encoder_hidden_states": [inputs["encoder_hidden_states"], inputs["encoder_hidden_states_2"]],
        "encoder_hidden_states_image": [inputs["image_embeds"]],
    }
