"""Which parts of names tell siblings apart, and where a source and its target disagree in them."""

from __future__ import annotations

import pytest

from analyzers.weights.mapping.crossings import crossed_merges, crossed_rules
from analyzers.weights.mapping.opposed import Crossing, crossing, expected_order, turned
from analyzers.weights.mapping.symbolic import SymbolicRule

CROSSED = [
    ("b.0.to_q.weight", "b.0.to_k.weight", ("to_q", "to_k")),
    ("b.0.attn.query.weight", "b.0.to_v.weight", ("query", "to_v")),
    ("b.0.attn.to_q.weight", "b.0.attn.to_out.weight", ("to_q", "to_out")),
    ("m.gate_proj.weight", "m.up.weight", ("gate_proj", "up")),
    ("n.scale_msa.weight", "n.shift_msa.weight", ("scale_msa", "shift_msa")),
    ("blocks.0.x", "blocks.1.x", ("blocks.0", "blocks.1")),
    ("blocks.0.self_attn.q.w", "blocks.0.attn2.q.w", ("self_attn", "attn2")),
    ("a.norm.gamma", "a.norm.bias", ("gamma", "bias")),
    ("a.lora_down.weight", "a.lora_B.weight", ("lora_down", "lora_B")),
    ("audio_to_video_attn.q", "video_to_audio_attn.q", ("audio_to_video_attn", "video_to_audio_attn")),
    ("image_in.w", "txt_in.w", ("image_in", "txt_in")),
    ("proj_in.w", "proj_out.w", ("proj_in", "proj_out")),
]

NOT_CROSSED = [
    ("blocks.0.norm2.weight", "blocks.0.norm3.weight"),
    ("linear_1.weight", "fc_in.weight"),
    ("linear_1.weight", "fc_out.weight"),
    ("blocks.0.self_attn.q.w", "blocks.0.attn1.to_q.w"),
    ("layers.0.self_attn.add_q_proj.w", "gen_layers.0.cross_attention.to_qkv.w"),
    ("blocks.3.x", "single_blocks.0.x"),
    ("mlp.layers.2.weight", "mlp.layers.1.weight"),
    ("a.lora_down.weight", "a.lora_A.weight"),
    ("mlp.up.lora_down.weight", "mlp.up.lora_A.weight"),
    ("txt_in.w", "context_embedder.w"),
    ("attn.to_out.0.weight", "attn.out.weight"),
    ("norm_q.weight", "q_norm.weight"),
    ("add_q_proj.weight", "txt_attn_q.weight"),
    ("layer_scale", "layer_gate"),
    ("scale_shift_table", "shift_scale_table"),
    ("cross_attn_norm.weight", "self_attn_residual_norm.weight"),
    ("post_attention_layernorm.weight", "pre_mlp_norm.weight"),
]


@pytest.mark.parametrize(("source", "target", "words"), CROSSED)
def test_siblings_are_told_apart(source: str, target: str, words: tuple[str, str]) -> None:
    assert crossing(source, target) == Crossing(*words)
    assert crossing(target, source) == Crossing(*reversed(words))
    assert crossing(source, source) is None
    assert crossing(target, target) is None


@pytest.mark.parametrize(("source", "target"), NOT_CROSSED)
def test_renamings_say_nothing(source: str, target: str) -> None:
    assert crossing(source, target) is None
    assert crossing(target, source) is None


def test_first_and_second_layer() -> None:
    sources = ("t.linear_1.weight", "t.linear_2.weight")
    assert turned(sources, ("t.fc_in.weight", "t.fc_out.weight")) is None
    assert turned(sources, ("t.fc_out.weight", "t.fc_in.weight")) == (
        Crossing("linear_1", "fc_out"),
        Crossing("linear_2", "fc_in"),
    )
    assert turned(("net.0.proj.weight", "net.2.weight"), ("fc_in.weight", "fc_out.weight")) is None


@pytest.mark.parametrize(
    ("target", "words", "order"),
    [
        ("x.to_qkv.weight", ("v", "q", "k"), ("q", "k", "v")),
        ("x.kqv.weight", ("q", "k", "v"), ("k", "q", "v")),
        ("x.in_proj.weight", ("k", "q", "v"), ("q", "k", "v")),
        ("x.key_query.weight", ("q", "k"), ("k", "q")),
        ("x.gate_up_proj.weight", ("up", "gate"), ("gate", "up")),
        ("x.w13.weight", ("up", "gate"), None),
        ("x.qkv.weight", ("q", "q"), None),
    ],
)
def test_the_order_that_a_target_spells(
    target: str, words: tuple[str, ...], order: tuple[str, ...] | None
) -> None:
    assert expected_order(target, words) == order


def merge(source: str, index: int, count: int = 3, target: str = r"\1.qkv.\2") -> SymbolicRule:
    return SymbolicRule(rf"^(blocks\.\d+)\.{source}\.(.*)$", target, (index, count))


def test_merges_that_are_incomplete_have_no_order() -> None:
    assert crossed_merges([merge("to_q", 1), merge("to_k", 0)]) == ()
    assert crossed_merges([merge("to_q", 1), merge("to_k", 0), merge("to_v", 1)]) == ()
    (found,) = crossed_merges([merge("to_q", 1), merge("to_k", 0), merge("to_v", 2)])
    assert (found.given, found.expected) == (("k", "q", "v"), ("q", "k", "v"))
    assert found.rules == (1, 0, 2)
    assert found.misplaced == (1, 0)


def test_several_origins_give_one_index() -> None:
    rules = [merge("to_q", 0), merge("q_proj", 0), merge("to_k", 1), merge("k_proj", 1), merge("to_v", 2)]
    assert crossed_merges(rules) == ()


def test_costly_and_broken_rules_are_passed_over() -> None:
    rules = [
        SymbolicRule(r"^(a+)+b\.to_q$", r"to_k"),
        SymbolicRule(r"^(to_q$", r"to_k"),
        SymbolicRule(r"^to_q\.(.*)$", r"to_k.\7"),
        SymbolicRule(None, None),
        SymbolicRule(r"^to_q\._extra_state$", "to_k._extra_state"),
    ]
    assert crossed_rules(rules) == ()
