"""Configurations made small. `shrinking` needs no torch, so this runs beside the unit tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditproof_probe.tiny.shrinking import head_dim, shrink

WAN = {
    "patch_size": [1, 2, 2],
    "num_attention_heads": 40,
    "attention_head_dim": 128,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 13824,
    "num_layers": 40,
    "eps": 1e-6,
    "image_dim": 1280,
    "added_kv_proj_dim": 5120,
    "rope_max_seq_len": 1024,
    "cross_attn_norm": True,
    "pos_embed_seq_len": None,
}


def test_two_blocks_and_two_heads_of_the_true_size() -> None:
    small = shrink(WAN)
    assert (small["num_layers"], small["num_attention_heads"], small["attention_head_dim"]) == (2, 2, 128)
    assert small["added_kv_proj_dim"] == 256  # it was the width, and is
    assert small["ffn_dim"] not in (256, 13824)
    assert len({small["text_dim"], small["image_dim"]}) == 2
    assert max(small["text_dim"], small["image_dim"]) < 100
    for kept in ("patch_size", "in_channels", "out_channels", "freq_dim", "eps", "rope_max_seq_len"):
        assert small[kept] == WAN[kept]
    assert small["cross_attn_norm"] is True
    assert small["pos_embed_seq_len"] is None


def test_a_width_without_a_head_size_follows_the_rotary_axes() -> None:
    small = shrink({"dim": 3840, "n_heads": 30, "n_kv_heads": 30, "n_layers": 30, "axes_dims": [32, 48, 48]})
    assert small == {"dim": 256, "n_heads": 2, "n_kv_heads": 2, "n_layers": 2, "axes_dims": [32, 48, 48]}
    small = shrink({"model_dim": 2048, "ff_dim": 5120, "num_visual_blocks": 32, "axes_dims": (16, 24, 24)})
    assert small["model_dim"] == 128
    assert small["num_visual_blocks"] == 2


def test_grouped_heads_keep_their_ratio_as_far_as_two_can() -> None:
    config = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "hidden_size": 2048}
    small = shrink(config)
    assert (small["num_attention_heads"], small["num_key_value_heads"]) == (2, 1)
    assert small["hidden_size"] == 128


def test_equal_sizes_stay_equal_and_others_differ() -> None:
    config = {"text_embed_dim": 1024, "crossattn_proj_in_channels": 1024, "pooled_projection_dim": 768}
    small = shrink({**config, "joint_attention_dim": 4096})
    assert small["text_embed_dim"] == small["crossattn_proj_in_channels"]


def test_numbers_of_layers_stay_within_the_layers() -> None:
    config = {"num_layers": 24, "dual_attention_layers": tuple(range(13))}
    assert shrink(config)["dual_attention_layers"] == (0,)
    assert shrink({"num_layers": 24, "dual_attention_layers": [20, 21]})["dual_attention_layers"] == [0]
    assert shrink({"num_layers": 24, "dual_attention_layers": []})["dual_attention_layers"] == []


def test_nested_configurations_are_shrunk_by_themselves() -> None:
    config = {"audio": {"num_layers": 12, "num_heads": 8, "hidden_size": 512}, "num_layers": 1}
    assert shrink(config) == {
        "audio": {"num_layers": 2, "num_heads": 2, "hidden_size": 128},
        "num_layers": 1,
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"attention_head_dim": 72, "hidden_size": 1152}, 72),
        ({"axes_dims_rope": (16, 56, 56)}, 128),
        ({"hidden_size": 1152, "num_heads": 16}, 72),
        ({"hidden_size": 1150, "num_heads": 16}, None),
        ({}, None),
    ],
)
def test_the_size_of_a_head(config: dict[str, object], expected: int | None) -> None:
    assert head_dim(config) == expected


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 20000) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(WAN)), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*sorted(WAN), "dim", "n_heads", "depth", "a_layers"]), _VALUES))
def test_any_configuration_keeps_its_keys_and_grows_nowhere(config: dict[str, object]) -> None:
    small = shrink(config)
    assert list(small) == list(config)
    for key, value in config.items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 96:
            assert isinstance(small[key], int)
            assert small[key] <= value
        elif not isinstance(value, (int, list, dict)):
            assert small[key] == value
