"""Pairs of places: from the weights, from places, and only where values prove it."""

from __future__ import annotations

from dataclasses import replace

from numeric_samples import (
    OFFICIAL,
    PORT,
    Side,
    blocks,
    module,
    one_to_one,
    output,
    reading,
    readings,
    tap,
)

from analyzers.numeric.alignment import Alignment, align
from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.module_names import Stacks
from analyzers.numeric.records import Address, Built, Filling, Observation, Pair
from analyzers.numeric.settling import decided, doubts, settle


def modules(alignment: Alignment) -> set[tuple[str, str, str]]:
    return {(pair.official.module, pair.native.module, pair.why) for pair in alignment.pairs}


def labels(alignment: Alignment, native: str) -> list[tuple[str, str, str]]:
    return [
        (pair.native.end, pair.official.label, pair.native.label)
        for pair in alignment.pairs
        if pair.native.module == native
    ]


def pair_of(alignment: Alignment, native: str, end: str) -> Pair:
    return next(p for p in alignment.pairs if p.native.module == native and p.native.end == end)


def test_leaves_blocks_places_and_the_outputs() -> None:
    alignment = align(*blocks())
    assert modules(alignment) == {
        *(
            (f"blocks.{n}.attn.{own}", f"blocks.{n}.{own}", "weights")
            for n in (0, 1)
            for own in ("to_q", "to_k", "to_out")
        ),
        *((f"blocks.{n}", f"blocks.{n}", "block") for n in (0, 1)),
        *((f"blocks.{n}.norm1", f"blocks.{n}.norm1", "place") for n in (0, 1)),
        ("proj_out", "proj_out", "weights"),
        ("", "", "place"),
    }
    assert labels(alignment, "blocks.0.to_q") == [("in", "input", "input_"), ("out", "out", "out[0]")]
    assert labels(alignment, "blocks.0") == [("in", "x", "hidden_states"), ("out", "out", "out")]
    assert alignment.unaligned == ()
    assert alignment.not_fired == ()


def test_only_leaves_of_one_kind_and_the_outputs_are_certain() -> None:
    alignment = align(*blocks())
    certain = {alignment.number(number).native.module for number in alignment.certain}
    assert certain == {f"blocks.{n}.{own}" for n in (0, 1) for own in ("to_q", "to_k", "to_out")} | {
        "proj_out",
        "",
    }


def test_pairs_come_in_the_order_of_the_ports_calls() -> None:
    built, observation = blocks()
    order = CallOrder.of(observation.native)
    moments = [order.moment(pair.native) for pair in align(built, observation).pairs]
    assert moments == sorted(moment for moment in moments if moment is not None)
    assert [pair.number for pair in align(built, observation).pairs] == list(range(len(moments)))


def test_a_call_is_left_after_all_that_it_called() -> None:
    _, observation = blocks()
    order = CallOrder.of(observation.native)
    block = order.by_module["blocks.0"][0]
    last = order.by_module["blocks.0.to_out"][0]
    assert order.entered[block.number] < order.entered[last.number] < order.left[last.number]
    assert (
        order.left[last.number]
        < order.left[block.number]
        < order.entered[order.by_module["blocks.1"][0].number]
    )


def fused(widths: tuple[int, int, int] = (8, 8, 8)) -> tuple[Built, Observation]:
    sides = Side(OFFICIAL), Side(PORT)
    roots = sides[0].call("", [], []), sides[1].call("", [], [])
    for position, own in enumerate(("q", "k", "v")):
        sides[0].call(own, [tap("input", 1)], [tap("out", 2 + position, (2, widths[position]))], roots[0])
    sides[1].call("qkv", [tap("input_", 1)], [tap("out[0]", 5, (2, 24))], roots[1])
    linear = ("weight", "bias")
    built = Built(
        (module("", "Toy"), *(module(own, "Linear", linear) for own in ("q", "k", "v"))),
        (module("", "Toy"), module("qkv", "QKVParallelLinear", linear)),
        tuple(Filling(f"qkv.{own}", tuple(f"{one}.{own}" for one in ("q", "k", "v"))) for own in linear),
        (),
        (),
        ("plain",),
    )
    return built, Observation("plain", tuple(sides[0].calls), tuple(sides[1].calls), ())


def test_a_fused_projection_has_one_input_and_its_slices() -> None:
    alignment = align(*fused())
    assert [(pair.official.module, pair.native.end, pair.part) for pair in alignment.pairs] == [
        ("q", "in", None),
        ("q", "out", (0, 3)),
        ("k", "out", (1, 3)),
        ("v", "out", (2, 3)),
    ]
    assert {pair.why for pair in alignment.pairs} == {"slice"}


def test_slices_of_other_sizes_are_left_out_and_named() -> None:
    alignment = align(*fused((8, 8, 16)))
    assert (2, 3) not in [pair.part for pair in alignment.pairs]
    assert alignment.notes == ("the parts of 'qkv' are not of one size, so its output was not compared",)


def wrapped() -> tuple[Built, Observation]:
    """The official `net.0` is a wrapper, GELU around `proj`; the port's `fc_in` is the projection alone. The
    port's `time` embeds the timestep before the `mlp`, the official `time` gets it embedded."""
    linear = ("weight", "bias")
    sides = Side(OFFICIAL), Side(PORT)
    roots = sides[0].call("", [], []), sides[1].call("", [], [])
    gelu = sides[0].call("net.0", [tap("x", 1)], [tap("out", 3)], roots[0])
    sides[0].call("net.0.proj", [tap("input", 1)], [tap("out", 2)], gelu)
    time = sides[0].call("time", [tap("sample", 11)], [tap("out", 14)], roots[0])
    sides[0].call("time.linear_1", [tap("input", 11)], [tap("out", 12)], time)
    sides[0].call("time.linear_2", [tap("input", 13)], [tap("out", 14)], time)
    sides[1].call("fc_in", [tap("input_", 1)], [tap("out[0]", 2)], roots[1])
    time = sides[1].call("time", [tap("t", 10)], [tap("out", 14)], roots[1])
    mlp = sides[1].call("time.mlp", [tap("x", 11)], [tap("out", 14)], time)
    sides[1].call("time.mlp.fc_in", [tap("input_", 11)], [tap("out[0]", 12)], mlp)
    sides[1].call("time.mlp.fc_out", [tap("input_", 13)], [tap("out[0]", 14)], mlp)
    official = [
        module("", "Toy"),
        module("net", "ModuleList"),
        module("net.0", "GELU"),
        module("time", "Time"),
    ]
    official += [module(name, "Linear", linear) for name in ("net.0.proj", "time.linear_1", "time.linear_2")]
    native = [module("", "Toy"), module("time", "Embedder"), module("time.mlp", "MLP")]
    native += [
        module(name, "ReplicatedLinear", linear) for name in ("fc_in", "time.mlp.fc_in", "time.mlp.fc_out")
    ]
    filled = {"fc_in": "net.0.proj", "time.mlp.fc_in": "time.linear_1", "time.mlp.fc_out": "time.linear_2"}
    built = Built(tuple(official), tuple(native), one_to_one(filled), (), (), ("plain",))
    return built, Observation("plain", tuple(sides[0].calls), tuple(sides[1].calls), ())


def test_a_wrapper_around_one_leaf_is_not_that_leaf() -> None:
    alignment = align(*wrapped())
    assert ("net.0.proj", "fc_in", "weights") in modules(alignment)
    assert "net.0" not in {pair.official.module for pair in alignment.pairs}


def test_values_tell_which_composite_is_meant() -> None:
    """The input of the port's `time` is the bare timestep: never compared again, while `time.mlp` is."""
    built, observation = wrapped()
    alignment = align(built, observation)
    assert {("time", "time", "weights"), ("time", "time.mlp", "weights")} <= modules(alignment)
    first = [
        replace(one, error=0.9) if alignment.number(one.pair).native == Address("time", 0, "in", "t") else one
        for one in readings(alignment)
    ]
    settled = settle(built, [observation], alignment, {"plain": first})
    assert labels(settled, "time") == [("out", "out", "out")]
    assert [end for end, _, _ in labels(settled, "time.mlp")] == ["in", "out"]
    assert settled.certain == {pair.number for pair in settled.pairs}


def test_a_block_that_reaches_further_is_dropped_where_nothing_after_it_differs() -> None:
    built, observation = blocks()
    alignment = align(built, observation)
    wrong = {(f"blocks.{n}", "out"): 0.5 for n in (0, 1)}
    settled = settle(built, [observation], alignment, {"plain": readings(alignment, wrong)})
    assert labels(settled, "blocks.0") == [("in", "x", "hidden_states")]


def test_a_block_that_is_wrong_is_in_doubt_where_what_follows_is_wrong_too() -> None:
    built, observation = blocks()
    alignment = align(built, observation)
    wrong = {(f"blocks.{n}", "out"): 0.5 for n in (0, 1)} | {("proj_out", "in"): 0.4}
    settled = settle(built, [observation], alignment, {"plain": readings(alignment, wrong)})
    assert [end for end, _, _ in labels(settled, "blocks.0")] == ["in", "out"]
    out = {pair.number for pair in alignment.pairs if pair.native.end == "out" and not pair.native.module}
    blocks_out = {pair_of(settled, f"blocks.{n}", "out").number for n in (0, 1)}
    assert doubts(built, settled) == (frozenset(blocks_out),)
    assert out <= settled.certain
    assert decided(built, settled, blocks_out).pairs == settled.pairs
    assert labels(decided(built, settled, ()), "blocks.0") == [("in", "x", "hidden_states")]


def test_what_agrees_in_one_block_is_proven_in_all() -> None:
    built, observation = blocks()
    alignment = align(built, observation)
    wrong = {("blocks.1.norm1", "out"): 0.5}
    settled = settle(built, [observation], alignment, {"plain": readings(alignment, wrong)})
    assert pair_of(settled, "blocks.1.norm1", "out") in alignment.pairs


def test_zeros_prove_nothing() -> None:
    built, observation = blocks()
    alignment = align(built, observation)
    zeros = [
        reading(pair, 0.0, norm=0.0) if pair.native.module.endswith("norm1") else reading(pair, 0.0)
        for pair in alignment.pairs
    ]
    settled = settle(built, [observation], alignment, {"plain": zeros})
    assert not [pair for pair in settled.pairs if pair.native.module.endswith("norm1")]


def twice(native_norms: tuple[float, ...]) -> tuple[Built, Observation]:
    sides = Side(OFFICIAL), Side(PORT)
    for number, norm in enumerate((3.0, 5.0)):
        sides[0].call("proj", [tap("input", number, norm=norm)], [tap("out", 20 + number)])
    for number, norm in enumerate(native_norms):
        sides[1].call("proj", [tap("input", number, norm=norm)], [tap("out", 20 + number)])
    both = (module("", "Toy"), module("proj", "Linear", ("weight", "bias")))
    built = Built(both, both, one_to_one({"proj": "proj"}), (), (), ("plain",))
    return built, Observation("plain", tuple(sides[0].calls), tuple(sides[1].calls), ())


def indices(alignment: Alignment) -> set[tuple[int, int]]:
    return {(pair.official.index, pair.native.index) for pair in alignment.pairs}


def test_calls_of_one_module_go_by_their_order() -> None:
    alignment = align(*twice((3.0, 4.0)))
    assert indices(alignment) == {(0, 0), (1, 1)}
    assert len(alignment.certain) == 4


def test_calls_in_another_order_go_by_their_inputs() -> None:
    alignment = align(*twice((5.0, 3.0)))
    assert indices(alignment) == {(0, 1), (1, 0)}
    assert not alignment.certain


def test_other_numbers_of_calls_are_told_and_only_clear_ones_paired() -> None:
    alignment = align(*twice((5.0,)))
    assert indices(alignment) == {(1, 0)}
    assert alignment.notes[0].startswith("'proj' is called once, the official 'proj' 2 times: 1 of these")
    assert indices(align(*twice((4.0,)))) == set()


def test_what_was_not_called_and_what_has_no_counterpart_is_told() -> None:
    built, observation = blocks()
    silent = replace(observation, native=tuple(c for c in observation.native if c.module != "blocks.1.to_k"))
    extra = module("adapter", "Linear", ("weight",))
    alignment = align(replace(built, native=(*built.native, extra)), silent)
    assert alignment.not_fired == ("blocks.1.to_k",)
    assert alignment.unaligned == (("native", "adapter"),)


def test_several_outputs_go_by_label_and_several_inputs_by_name_then_by_norm() -> None:
    sides = Side(OFFICIAL), Side(PORT)
    sides[0].call("mix", [tap("x", 1), tap("temb", 2), tap("mask", 7)], [tap("out[0]", 3), tap("out[1]", 4)])
    sides[1].call(
        "mix",
        [tap("temb", 2), tap("hidden_states", 1), tap("freqs", 8)],
        [tap("out[0]", 3), tap("out[1]", 4)],
    )
    sides[0].call("mix.a", [tap("input", 1)], [tap("out", 3)], 0)
    sides[1].call("mix.a", [tap("input", 1)], [tap("out", 3)], 0)
    both = (module("", "Toy"), module("mix", "Mix"), module("mix.a", "Linear", ("weight", "bias")))
    built = Built(both, both, one_to_one({"mix.a": "mix.a"}), (), (), ("plain",))
    alignment = align(built, Observation("plain", tuple(sides[0].calls), tuple(sides[1].calls), ()))
    assert labels(alignment, "mix") == [
        ("in", "temb", "temb"),
        ("in", "x", "hidden_states"),
        ("in", "mask", "freqs"),
        ("out", "out[0]", "out[0]"),
        ("out", "out[1]", "out[1]"),
    ]
    by_norm = next(p.number for p in alignment.pairs if p.native.label == "hidden_states")
    by_name = next(p.number for p in alignment.pairs if p.native.label == "temb")
    assert by_norm in alignment.weak
    assert by_name not in alignment.weak


def test_other_cases_add_what_only_they_call() -> None:
    built, observation = blocks()
    plain = replace(observation, native=tuple(c for c in observation.native if c.module != "proj_out"))
    alignment = align(built, plain, [replace(observation, case="long", outputs=(output(0.0),))])
    assert [end for end, _, _ in labels(alignment, "proj_out")] == ["in", "out"]


def test_numbers_of_blocks_are_told_from_those_of_parts() -> None:
    found = Stacks.of(
        [
            module("blocks", "ModuleList"),
            *(module(f"blocks.{n}", "Block") for n in (0, 1)),
            module("blocks.0.net.0", "GELU"),
            module("blocks.0.net.2", "Linear"),
        ]
    )
    assert found.generic("blocks.0.net.2") == "blocks.*.net.2"
    assert found.number("blocks.1") == 1
    assert found.number("norm_out") is None


def test_results_in_doubt_of_one_module_are_tried_together_before_each_by_itself() -> None:
    built, observation = blocks()
    alignment = align(built, observation)
    one = pair_of(alignment, "blocks.0", "out")
    other = replace(one, number=1000, native=replace(one.native, label="out[1]"))
    doubtful = replace(alignment, pairs=(one, other), certain=frozenset(), weak=frozenset(), notes=())
    assert doubts(built, doubtful) == (
        frozenset({one.number, 1000}),
        frozenset({one.number}),
        frozenset({1000}),
    )
