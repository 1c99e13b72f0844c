"""The proof of the weights on small state dicts: verdicts, and who is blamed for what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyzers.project.profile import FASTVIDEO
from analyzers.project.profiles.base import Loading
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.proof import prove, survey
from analyzers.weights.proving.proof_of_lora import prove_lora
from analyzers.weights.proving.proof_of_reverse import prove_reverse
from analyzers.weights.recent import Recent
from analyzers.weights.state import GatedNames, PortState, StateDict, Tensor
from analyzers.weights.verdicts import Fault, WeightProof

BLOCKS = 12
Rules = list[SymbolicRule]


def entries(*names: str, shape: tuple[int, ...] | None = (4, 4), dtype: str = "BF16") -> list[Tensor]:
    return [
        Tensor(name.replace("#", str(block)), shape, dtype)
        for name in names
        for block in (range(BLOCKS) if "#" in name else range(1))
    ]


def linear(*modules: str, shape: tuple[int, int] = (4, 4)) -> list[Tensor]:
    return [
        tensor
        for module in modules
        for tensor in (*entries(f"{module}.weight", shape=shape), *entries(f"{module}.bias", shape=shape[:1]))
    ]


def side(tensors: list[Tensor]) -> StateDict:
    return StateDict("a side", "class", tuple(tensors))


OFFICIAL = [
    *linear("blocks.#.attn1.to_q", "blocks.#.attn1.to_k", "blocks.#.attn1.to_v"),
    *linear("blocks.#.ffn.net.0.proj", shape=(8, 4)),
    *linear("blocks.#.ffn.net.2", shape=(4, 8)),
    *entries("blocks.#.norm1.weight", "blocks.#.norm10.weight", shape=(4,)),
    *linear("proj_out"),
]
NATIVE = [
    *linear("blocks.#.to_q", "blocks.#.to_k", "blocks.#.to_v"),
    *linear("blocks.#.ffn.fc_in", shape=(8, 4)),
    *linear("blocks.#.ffn.fc_out", shape=(4, 8)),
    *entries("blocks.#.norm_in.weight", "blocks.#.norm10.weight", shape=(4,)),
    *linear("proj_out"),
]
RULES: Rules = [
    SymbolicRule(r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$", r"blocks.\1.to_q.\2"),
    SymbolicRule(r"^blocks\.(\d+)\.attn1\.to_k\.(.*)$", r"blocks.\1.to_k.\2"),
    SymbolicRule(r"^blocks\.(\d+)\.attn1\.to_v\.(.*)$", r"blocks.\1.to_v.\2"),
    SymbolicRule(r"^blocks\.(\d+)\.ffn\.net\.0\.proj\.(.*)$", r"blocks.\1.ffn.fc_in.\2"),
    SymbolicRule(r"^blocks\.(\d+)\.ffn\.net\.2\.(.*)$", r"blocks.\1.ffn.fc_out.\2"),
    SymbolicRule(r"^blocks\.(\d+)\.norm1\.(.*)$", r"blocks.\1.norm_in.\2"),
]
FUSED = [*linear("blocks.#.qkv", shape=(12, 4)), *NATIVE[6 * BLOCKS :]]
MERGES: Rules = [
    *(SymbolicRule(RULES[i].pattern, r"blocks.\1.qkv.\2", (i, 3)) for i in range(3)),
    *RULES[3:],
]


def proof(
    rules: Rules,
    native: list[Tensor] | None = NATIVE,
    official: list[Tensor] | None = OFFICIAL,
    cls: str = "TinyTransformer3DModel",
    state: PortState | None = None,
    chained: bool = False,
) -> WeightProof:
    state = replace(
        state or PortState(),
        native=side(native) if native is not None else None,
        official=side(official) if official is not None else None,
    )
    return prove(
        state,
        rules,
        semantics="chained" if chained else "first-match",
        loading=Loading() if chained else FASTVIDEO.loading,
        cls=cls,
    )


def with_rule(rules: Rules, place: int, **changes: object) -> Rules:
    return [*rules[:place], replace(rules[place], **changes), *rules[place + 1 :]]  # type: ignore[arg-type]


def only_fault(found: WeightProof) -> Fault:
    assert found.verdict == "broken"
    assert len(found.faults) == 1, [(f.kind, f.rule, f.message) for f in found.faults]
    return found.faults[0]


# --------------------------------------------------------------------------- proven


def test_every_name_finds_its_place() -> None:
    found = proof(RULES)
    assert (found.verdict, found.by) == ("proven", "names and shapes")
    assert [use.state for use in found.rules] == ["live"] * len(RULES)
    assert len(found.placements) == len(OFFICIAL)
    assert len(found.fillings) == len(NATIVE)
    assert found.notes == ("14 official names are left as they are: no rule matches them",)


def test_groups_that_merge() -> None:
    found = proof(MERGES, FUSED)
    assert (found.verdict, found.merged) == ("proven", 2 * BLOCKS)
    filling = next(f for f in found.fillings if f.tensor.name == "blocks.3.qkv.bias")
    assert filling.sources == tuple(f"blocks.3.attn1.to_{x}.bias" for x in "qkv")


def test_chained_rules() -> None:
    steps = [SymbolicRule(r"^(.*)\.attn1\.(.*)$", r"\1.\2"), *RULES[3:]]
    found = proof(steps, chained=True)
    assert found.verdict == "proven"
    assert (
        proof([SymbolicRule("^blocks", "layers"), SymbolicRule("^layers", "blocks"), *steps]).verdict
        == "broken"
    )


def test_unknown_shapes_leave_names() -> None:
    found = proof(RULES, official=[replace(tensor, shape=None) for tensor in OFFICIAL])
    assert (found.verdict, found.by) == ("proven", "names")


def test_keeping_changes_no_answer() -> None:
    keep = Recent()
    state = PortState(native=side(NATIVE), official=side(OFFICIAL))
    for rules in (RULES, RULES[1:], with_rule(RULES, 2, target=r"blocks.\1.to_k.\2"), RULES):
        arguments = {"semantics": "first-match", "loading": FASTVIDEO.loading, "cls": "Tiny"}
        assert prove(state, rules, keep=keep, **arguments) == prove(state, rules, **arguments)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- one fault for each cause


def test_a_typo_in_a_target() -> None:
    fault = only_fault(proof(with_rule(RULES, 1, target=r"blocks.\1.too_k.\2")))
    assert (fault.kind, fault.rule, fault.suspected) == ("unexpected", 1, "rename")
    assert fault.official == tuple(
        t.name for t in OFFICIAL if "to_k" in t.name and "weight" in t.name
    ) + tuple(t.name for t in OFFICIAL if "to_k" in t.name and "bias" in t.name)
    assert set(fault.native) == {t.name for t in NATIVE if "to_k" in t.name}
    assert "24 official names (blocks.0.attn1.to_k.weight, blocks.1.attn1.to_k.weight, ...)" in fault.message
    assert "loading stops" in fault.message


def test_a_target_that_is_another_rules() -> None:
    fault = only_fault(proof(with_rule(RULES, 1, target=r"blocks.\1.to_q.\2")))
    assert (fault.kind, fault.rule, fault.other) == ("collision", 1, 0)
    assert {"blocks.0.to_q.weight", "blocks.0.to_k.weight"} <= set(fault.native)


def test_a_rule_that_is_deleted() -> None:
    fault = only_fault(proof(RULES[:3] + RULES[4:]))
    assert (fault.kind, fault.rule) == ("unexpected", None)
    assert set(fault.official) == {t.name for t in OFFICIAL if "net.0" in t.name}
    assert set(fault.native) == {t.name for t in NATIVE if "fc_in" in t.name}


def test_a_general_rule_before_a_specific_one() -> None:
    general = SymbolicRule(r"^blocks\.(\d+)\.ffn\.(.*)$", r"blocks.\1.ffn.\2")
    fault = only_fault(proof([*RULES[:3], general, *RULES[3:]]))
    assert (fault.kind, fault.rule) == ("unexpected", 3)
    assert fault.other in (4, 5)
    assert len(fault.official) == 4 * BLOCKS
    uses = proof([*RULES[:3], general, *RULES[3:]]).rules
    assert [(use.state, use.by) for use in uses[4:6]] == [("shadowed", (3,))] * 2


def test_a_pattern_without_its_end() -> None:
    wide = with_rule(RULES, 5, pattern=r"^blocks\.(\d+)\.norm1(.*)$", target=r"blocks.\1.norm_in\2")
    fault = only_fault(proof(wide))
    assert (fault.rule, fault.other) == (5, None)
    assert set(fault.official) == {f"blocks.{i}.norm10.weight" for i in range(BLOCKS)}
    assert "need no rule" in fault.message


def test_a_pattern_of_one_digit() -> None:
    fault = only_fault(proof(with_rule(RULES, 2, pattern=r"^blocks\.(\d)\.attn1\.to_v\.(.*)$")))
    assert (fault.kind, fault.rule) == ("unexpected", 2)
    assert len(fault.official) == 4


def test_a_typo_in_a_pattern() -> None:
    fault = only_fault(proof(with_rule(RULES, 0, pattern=r"^blocks\.(\d+)\.atn1\.to_q\.(.*)$")))
    assert (fault.kind, fault.rule) == ("unexpected", 0)
    assert "misses" in fault.message


@pytest.mark.parametrize(
    "target", [r"blocks.\2.to_q.\1", r"blocks.\1.to_q.\1", r"blocks.\2.to_q.\2", r"blocks.to_q.\2"]
)
def test_a_wrong_group(target: str) -> None:
    fault = only_fault(proof(with_rule(RULES, 0, target=target)))
    assert fault.rule == 0
    assert len(fault.official) == 2 * BLOCKS
    assert set(fault.native) >= {f"blocks.{i}.to_q.weight" for i in range(BLOCKS)}


def test_a_group_that_does_not_exist() -> None:
    found = proof(with_rule(RULES, 0, target=r"blocks.\1.to_q.\3"))
    fault = only_fault(found)
    assert fault.rule == 0
    assert "re.error" in fault.message
    assert found.rules[0].state == "unknown"
    assert {p.verdict for p in found.placements if "to_q" in p.tensor.name} == {"broken"}


def test_a_pattern_that_re_rejects() -> None:
    fault = only_fault(proof(with_rule(RULES, 3, pattern=r"^blocks\.(\d+\.ffn")))
    assert fault.rule == 3
    assert len(fault.official) == len(OFFICIAL) - 6 * BLOCKS


@pytest.mark.parametrize("merge", [(0, 3), (2, 3), (3, 3)])
def test_a_wrong_merge_index(merge: tuple[int, int]) -> None:
    fault = only_fault(proof(with_rule(MERGES, 1, merge=merge), FUSED))
    assert (fault.kind, fault.rule) == ("merge", 1)
    assert len(fault.native) == 2 * BLOCKS


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("count", [2, 4])
def test_a_wrong_merge_count(place: int, count: int) -> None:
    fault = only_fault(proof(with_rule(MERGES, place, merge=(place, count)), FUSED))
    assert (fault.kind, fault.rule, fault.suspected) == ("merge", place, "fuse")


def test_a_source_that_falls_out_of_its_group() -> None:
    fault = only_fault(proof(MERGES[:2] + MERGES[3:], FUSED))
    assert (fault.rule, len(fault.official), len(fault.native)) == (None, 2 * BLOCKS, 2 * BLOCKS)
    assert all("to_v" in name for name in fault.official)


def test_a_group_without_one_of_its_sources() -> None:
    official = [tensor for tensor in OFFICIAL if "to_v" not in tensor.name]
    fault = only_fault(proof(MERGES, FUSED, official))
    assert (fault.kind, fault.rule) == ("merge", 2)
    assert "nothing gives index 2 of 3" in fault.message


def test_a_shape_that_differs() -> None:
    native = [replace(t, shape=(2, 8)) if t.name == "proj_out.weight" else t for t in NATIVE]
    fault = only_fault(proof(RULES, native))
    assert (fault.kind, fault.rule, fault.suspected) == ("shape", None, "config")
    assert (fault.shapes[0].expected, fault.shapes[0].found) == ((2, 8), (4, 4))


def test_a_fused_tensor_in_a_port_that_splits() -> None:
    native = [replace(t, shape=(12, 4)) if "to_q.weight" in t.name else t for t in NATIVE]
    assert only_fault(proof(RULES, native)).suspected == "fuse"


def test_merged_shapes_that_do_not_concatenate() -> None:
    official = [replace(t, shape=(4, 5)) if "to_k.weight" in t.name else t for t in OFFICIAL]
    fault = only_fault(proof(MERGES, FUSED, official))
    assert fault.kind == "shape"
    assert fault.shapes[0].found is None


def test_integers_for_floating_numbers() -> None:
    official = [replace(t, dtype="I64") if t.name == "proj_out.weight" else t for t in OFFICIAL]
    assert only_fault(proof(RULES, official=official)).kind == "dtype"
    assert proof(RULES, official=[replace(t, dtype="F32") for t in OFFICIAL]).verdict == "proven"


def test_parameters_that_nothing_is_meant_for() -> None:
    fault = only_fault(proof(RULES, [*NATIVE, *entries("blocks.#.extra.weight", shape=(9,))]))
    assert (fault.kind, fault.rule, len(fault.native)) == ("missing", None, BLOCKS)


def test_a_buffer_and_a_tied_name_must_be_filled_too() -> None:
    native = [
        *NATIVE,
        Tensor("freqs", (3,), "F32", buffer=True),
        Tensor("head.weight", (4, 4), "BF16", tied="proj_out.weight"),
    ]
    found = proof(RULES, native)
    assert found.verdict == "broken"
    because = {f.tensor.name: f.because for f in found.fillings}
    assert "buffer" in because["freqs"]
    assert "proj_out.weight" in because["head.weight"]


# --------------------------------------------------------------------------- what the loader allows


def test_what_the_loader_leaves_out_and_leaves_empty() -> None:
    native = [*NATIVE, *entries("blocks.#.to_gate_compress.weight")]
    official = [*OFFICIAL, *entries("proj_out._extra_state")]
    found = proof(RULES, native, official)
    assert found.verdict == "proven"
    assert len(found.exclusions) == BLOCKS + 1


def test_names_that_the_official_class_says_a_checkpoint_may_hold() -> None:
    native = [*NATIVE, *entries("blocks.#.norm_added_q.weight")]
    assert proof(RULES, native).verdict == "broken"
    found = proof(RULES, native, state=PortState(ignored=("norm_added_q",)))
    assert found.verdict == "proven"
    assert len(found.exclusions) == BLOCKS


def test_a_lenient_load_passes_over_names_and_misses_parameters() -> None:
    extra = [*OFFICIAL, *entries("pos_embedder.range")]
    assert proof(RULES, official=extra).verdict == "broken"
    assert proof(RULES, official=extra, cls="Cosmos25Transformer3DModel").verdict == "proven"
    missing = proof(RULES, [*NATIVE, *entries("more.weight")], cls="Cosmos25Transformer3DModel")
    assert only_fault(missing).kind == "missing"


def test_dropped_fields_are_noted() -> None:
    found = proof(RULES, state=PortState(dropped=(("pos_embed", "'rope'"),)))
    assert any("pos_embed = 'rope'" in note for note in found.notes)


# --------------------------------------------------------------------------- rules without names


def test_gated_and_dead_rules() -> None:
    image = SymbolicRule(r"^image_embedder\.(.*)$", r"image.\1")
    gates = (GatedNames("image_dim", "1280", tuple(entries("image.weight"))),)
    found = proof([*RULES, image], state=PortState(gated=gates))
    assert found.rules[-1].state == "gated"
    assert "image_dim = 1280" in found.rules[-1].why
    assert proof([*RULES, image]).rules[-1].state == "dead"
    assert proof([*RULES, image]).verdict == "proven"


def test_a_gated_rule_has_something_to_do_that_it_has_not_now() -> None:
    published = SymbolicRule(r"^model\.diffusion_model\.(.*)$", r"\1")
    scale = SymbolicRule(r"^blocks\.(\d+)\.added\.(.*)$", r"blocks.\1.norm_in.\2")
    gates = (
        GatedNames(
            "adaln", "True", tuple(entries("blocks.#.extra")), tuple(entries("blocks.#.added.weight"))
        ),
    )
    found = proof([*RULES, published, scale], state=PortState(gated=gates))
    assert [use.state for use in found.rules[-2:]] == ["dead", "gated"]
    without = (replace(gates[0], official=None),)
    found = proof([*RULES, published, scale], state=PortState(gated=without))
    assert [use.state for use in found.rules[-2:]] == ["dead", "dead"]  # what they make is there already


def test_sources_that_a_merge_lacks_are_named() -> None:
    found = proof(MERGES[2:], FUSED)
    assert {fault.rule for fault in found.faults} == {None}
    lack = r"the merge into 'blocks.\1.qkv.\2' lacks indices 0 and 1 of 3"
    assert {lack for fault in found.faults for lack in fault.lacks} == {lack}
    assert all(lack in fault.message for fault in found.faults)
    assert {name for fault in found.faults for name in fault.official} == {
        tensor.name for tensor in linear("blocks.#.attn1.to_q", "blocks.#.attn1.to_k")
    }


def test_sources_that_fill_a_parameter_only_together_are_led_there() -> None:
    idle = SymbolicRule(r"^blocks\.(\d+)\.attn1\.to_qkv\.(.*)$", r"blocks.\1.qkv.\2")
    found = proof([*MERGES[3:], idle], FUSED)
    assert {fault.rule for fault in found.faults} == {None}  # alone no name fits what the idle rule makes
    assert {name for fault in found.faults for name in fault.native} == {
        tensor.name for tensor in linear("blocks.#.qkv")
    }
    assert {fault.kind for fault in found.faults} == {"unexpected"}


def test_a_member_that_the_port_has_not_is_one_fault() -> None:
    fewer = [tensor for tensor in NATIVE if not tensor.name.startswith(f"blocks.{BLOCKS - 1}.")]
    fault = only_fault(proof(RULES, fewer))
    assert (fault.kind, fault.rule, fault.suspected) == ("unexpected", None, "config")
    assert (
        f"belong to blocks.{BLOCKS - 1}, and the port has blocks.0 to blocks.{BLOCKS - 2} only"
        in fault.message
    )
    assert len(fault.official) == 12


def test_a_rule_that_counts_wrong_is_still_to_blame() -> None:
    """Were the port's list shorter, other rules would lead beyond it too."""
    fault = only_fault(proof(with_rule(RULES, 5, target=r"blocks.1\1.norm_in.\2")))
    assert fault.rule == 5


# --------------------------------------------------------------------------- chains

STRIP = SymbolicRule(r"^model\.(.*)$", r"\1")
SPLIT = SymbolicRule(r"^(.*)\.attn\.(q|k|v)\.(.*)$", r"\1.to_\2.\3")
NESTED = linear(*(f"model.blocks.#.attn.{word}" for word in "qkv"))
FLAT = linear(*(f"blocks.#.to_{word}" for word in "qkv"))


@pytest.mark.parametrize(
    ("rules", "blamed"),
    [
        ([STRIP, replace(SPLIT, pattern=r"^(.*)\.atn\.(q|k|v)\.(.*)$")], 1),
        ([STRIP, replace(SPLIT, target=r"\1.tto_\2.\3")], 1),
        ([replace(STRIP, target=r"m\1"), SPLIT], 0),
        ([STRIP], None),
        ([SPLIT], None),
    ],
)
def test_of_a_chain_the_rule_that_wrote_what_is_wrong_is_to_blame(rules: Rules, blamed: int | None) -> None:
    assert proof([STRIP, SPLIT], FLAT, NESTED, chained=True).verdict == "proven"
    found = proof(rules, FLAT, NESTED, chained=True)
    assert found.verdict == "broken"
    assert {fault.rule for fault in found.faults} == {blamed}


# --------------------------------------------------------------------------- the main fact


@pytest.mark.parametrize(
    ("rules", "because"),
    [
        (
            with_rule(RULES, 0, target=r"blocks.\1.to_qq.\2"),
            "24 of 146 official names have no place and 24 of 146 parameters stay empty: by rule 1",
        ),
        (RULES[1:], "24 of 146 official names have no place and 24 of 146 parameters stay empty"),
        (
            with_rule(RULES, 0, target=r"blocks.\1.to_k.\2"),
            "24 of 146 parameters stay empty and 24 parameters get what several names are sent to: by rule 1",
        ),
        (
            with_rule(with_rule(RULES, 3, target=RULES[4].target), 4, target=RULES[3].target),
            "blocks.0.ffn.fc_out.weight is [4, 8] and gets [8, 4] (and 47 more): by rules 4 and 5",
        ),
        (
            with_rule(RULES, 2, pattern="^blocks(", target="x"),
            "the loader stops at rule 3: `re` rejects it (missing ), unterminated subpattern at position 7), "
            "and 98 official names come to it",
        ),
    ],
)
def test_the_main_fact_of_a_broken_proof(rules: Rules, because: str) -> None:
    found = proof(rules)
    assert (found.verdict, found.because) == ("broken", because)


# --------------------------------------------------------------------------- unknown


def test_a_costly_pattern_is_not_run() -> None:
    costly = SymbolicRule(r"^(proj(_\w+)*)+(\w+)*\.bias$", r"out.\1")
    found = proof([*RULES, costly])
    assert found.verdict == "unknown"
    assert found.rules[-1].state == "unknown"
    assert not found.faults
    unknown = {p.tensor.name for p in found.placements if p.verdict == "unknown"}
    assert "proj_out.bias" in unknown
    assert all(name.startswith("proj_out") for name in unknown)


def test_a_rule_that_cannot_be_read() -> None:
    found = proof([*RULES[:3], SymbolicRule(None, None), *RULES[3:]])
    assert found.verdict == "unknown"
    assert not found.faults
    assert {p.verdict for p in found.placements if "to_q" in p.tensor.name} == {"proven"}


def test_a_group_that_an_unread_rule_may_complete() -> None:
    found = proof([*MERGES[:2], SymbolicRule(None, None), *MERGES[3:]], FUSED)
    assert (found.verdict, found.faults) == ("unknown", ())
    assert {p.verdict for p in found.placements if "to_q" in p.tensor.name} == {"unknown"}
    assert {f.verdict for f in found.fillings if "qkv" in f.tensor.name} == {"unknown"}


def test_a_group_that_may_stay_empty_still_loses_its_sources() -> None:
    rules = [replace(rule, target=r"blocks.\1.gate_compress.\2") for rule in MERGES[:2]] + RULES[2:]
    native = [*NATIVE, *linear("blocks.#.gate_compress", shape=(12, 4))]
    assert any(fault.kind == "merge" for fault in proof(rules, native).faults)


def test_a_parameter_with_a_loader_of_its_own() -> None:
    native = [replace(t, shape=(2, 4), reshapes=True) if t.name == "proj_out.weight" else t for t in NATIVE]
    found = proof(RULES, native)
    assert (found.verdict, found.faults) == ("unknown", ())


def test_one_side_alone() -> None:
    without_port = proof(MERGES, None)
    assert (without_port.verdict, without_port.faults) == ("unknown", ())
    assert [use.state for use in without_port.rules] == ["live"] * len(MERGES)
    broken = proof(with_rule(MERGES, 1, merge=(0, 3)), None)
    assert {fault.kind for fault in broken.faults} == {"merge"}
    without_official = proof(RULES, official=None)
    assert (without_official.verdict, len(without_official.fillings)) == ("unknown", len(NATIVE))
    assert proof(RULES, None, None).verdict == "unknown"


def test_exchanged_names_fit_and_are_not_proven() -> None:
    swapped = with_rule(with_rule(RULES, 0, target=r"blocks.\1.to_k.\2"), 1, target=r"blocks.\1.to_q.\2")
    found = proof(swapped)
    assert (found.verdict, found.faults) == ("unknown", ())
    assert "rule 1" in found.because
    assert any(not group.agree and "to_q" in group.telling for group in found.interchangeable)
    assert {p.verdict for p in found.placements if "to_v" in p.tensor.name} == {"proven"}
    assert {p.verdict for p in found.placements if "to_q" in p.tensor.name} == {"unknown"}


def test_exchanged_blocks_fit_and_are_not_proven() -> None:
    exchange = [
        SymbolicRule(r"^blocks\.0\.norm10\.(.*)$", r"blocks.1.norm10.\1"),
        SymbolicRule(r"^blocks\.1\.norm10\.(.*)$", r"blocks.0.norm10.\1"),
    ]
    assert proof([*exchange, *RULES]).verdict == "unknown"


def test_merges_in_another_order_are_not_proven() -> None:
    turned = with_rule(with_rule(MERGES, 0, merge=(1, 3)), 1, merge=(0, 3))
    found = proof(turned, FUSED)
    assert (found.verdict, found.faults) == ("unknown", ())


def test_other_names_are_no_disagreement() -> None:
    official = entries("b.#.norm2.weight", "b.#.norm3.weight", "b.#.lin.weight", shape=(4,))
    native = entries("b.#.norm3.weight", "b.#.cross.norm.weight", "b.#.linear.weight", shape=(4,))
    rules = [
        SymbolicRule(r"^b\.(\d+)\.norm2\.", r"b.\1.norm3."),
        SymbolicRule(r"^b\.(\d+)\.norm3\.", r"b.\1.cross.norm."),
        SymbolicRule(r"^b\.(\d+)\.lin\.", r"b.\1.linear."),
    ]
    assert proof(rules, native, official).verdict == "proven"


def test_groups_that_nothing_but_names_tells_apart() -> None:
    groups = {group.natives: group for group in proof(RULES).interchangeable}
    found = groups["blocks.*.to_q.weight", "blocks.*.to_k.weight", "blocks.*.to_v.weight"]
    assert (found.telling, found.agree) == (("to_q", "to_k", "to_v"), True)
    assert groups["blocks.*",].telling == ("0-11",)
    assert len(groups) < 8


# --------------------------------------------------------------------------- back, and adapters


def test_saving_gives_the_official_names_back() -> None:
    state = PortState(native=side(NATIVE), official=side(OFFICIAL))
    found = prove_reverse(state, proof(RULES))
    assert (found.verdict, found.restored) == ("proven", len(OFFICIAL))


def test_saving_keeps_one_source_of_a_merge() -> None:
    state = PortState(native=side(FUSED), official=side(OFFICIAL))
    found = prove_reverse(state, proof(MERGES, FUSED))
    assert found.verdict == "broken"
    assert len(found.lost) == 4 * BLOCKS
    assert all(".to_q." in name or ".to_k." in name for name in found.lost)


def test_reverse_patterns_of_the_class() -> None:
    state = PortState(native=side(NATIVE), official=side(OFFICIAL))
    back = [SymbolicRule(r"^blocks\.(\d+)\.to_(q|k)\.(.*)$", r"blocks.\1.attn1.to_\2.\3")]
    wrong = prove_reverse(state, proof(RULES), back).patterns
    assert {pattern.rule for pattern in wrong} == {None}
    assert not any("to_q" in pattern.native for pattern in wrong)
    assert any("to_v" in pattern.native for pattern in wrong)


def test_adapters_reach_layers_and_lose_their_alpha() -> None:
    state = PortState(native=side(NATIVE), official=side(OFFICIAL))
    lora = [
        SymbolicRule(r"^blocks\.(\d+)\.self_attn\.q\.(.*)$", r"blocks.\1.attn1.to_q.\2"),
        SymbolicRule(r"^blocks\.(\d+)\.self_attn\.k\.(.*)$", r"blocks.\1.attn1.tok.\2"),
    ]
    found = prove_lora(state, RULES, lora)
    assert (found.layers, found.reached, found.lost) == (5 * BLOCKS + 1, 5 * BLOCKS + 1, ())
    assert len(found.alphas) == 5 * BLOCKS  # `(.*)$` behind a dot does not match the layer alone
    assert [use.state for use in found.rules] == ["live", "dead"]
    fused = prove_lora(PortState(native=side(FUSED), official=side(OFFICIAL)), MERGES, ())
    assert len(fused.colliding) == BLOCKS


def test_adapters_of_layers_whose_rules_name_the_leaf() -> None:
    state = PortState(native=side(NATIVE), official=side(OFFICIAL))
    narrow = with_rule(RULES, 0, pattern=r"^blocks\.(\d+)\.attn1\.to_q\.(weight|bias)$")
    assert proof(narrow).verdict == "proven"
    found = prove_lora(state, narrow, ())
    assert len(found.lost) == BLOCKS


# --------------------------------------------------------------------------- what a key asks

EDITS: list[tuple[str, dict[str, object]]] = [
    ("as it is", {}),
    ("a target that is not there", {"target": r"blocks.\1.nowhere.\2"}),
    ("a target of another", {"target": r"blocks.\1.to_k.\2"}),
    ("one target for all", {"target": "proj_out.weight"}),
    ("a target that is left out", {"target": r"blocks.\1._extra_state"}),
    ("renamed to nothing", {"target": ""}),
    ("another shape", {"target": r"blocks.\1.ffn.fc_in.\2"}),
    ("a merge that lacks one", {"merge": (0, 2)}),
    ("a merge without its first", {"merge": (1, 1)}),
    ("takes everything", {"pattern": "^(b)(.*)$"}),
    ("`re` rejects it", {"pattern": "^blocks("}),
    ("too costly", {"pattern": r"^(b|bl|blo|b.*)*(\d+.*)*(.*)*$"}),
    ("cannot be read", {"target": None}),
]


@pytest.mark.parametrize("chained", [False, True], ids=["first-match", "chained"])
@pytest.mark.parametrize("cls", ["TinyTransformer3DModel", "Cosmos25Tiny"])
@pytest.mark.parametrize("native", [NATIVE, FUSED, None], ids=["split", "fused", "not built"])
@pytest.mark.parametrize("changes", [c for _, c in EDITS], ids=[what for what, _ in EDITS])
def test_what_is_wrong_is_known_before_the_faults(
    changes: dict[str, object], native: list[Tensor] | None, cls: str, chained: bool
) -> None:
    rules = with_rule(MERGES if native is FUSED else RULES, 0, **changes)
    state = PortState(native=side(native) if native is not None else None, official=side(OFFICIAL))
    assert state.official is not None
    semantics, loading = ("chained", Loading()) if chained else ("first-match", FASTVIDEO.loading)
    found = survey(
        state,
        state.official,
        rules,
        semantics=semantics,  # type: ignore[arg-type]
        loading=loading,
        cls=cls,
    )
    assert found.wrong == {p.tensor.name for p in found.proof.placements if p.verdict == "broken"}
    assert found.rules == found.proof.rules
