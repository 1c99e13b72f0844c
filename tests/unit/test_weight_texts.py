"""What lenses, hints and hovers say of a proof."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from analyzers.weights.state import GatedNames, PortState, StateDict, Tensor
from analyzers.weights.verdicts import Fault, KeyPlacement, RuleUse, ShapeFault, WeightProof
from lsp_server.weight_texts import card_of_use, label, summary

KEYS = tuple(Tensor(f"blocks.{n}.attn.to_q.weight", (8, 8)) for n in range(4))
OWN = tuple(Tensor(f"blocks.{n}.to_q.weight", (8, 8)) for n in range(4))
STATE = PortState(
    native=StateDict("SoundTransformer3DModel", "class", OWN),
    official=StateDict("diffusers:SoundModel", "class", KEYS),
    gated=(GatedNames("image_dim", "8", (Tensor("image.proj.weight"),)),),
)
LIVE = RuleUse(0, tuple(key.name for key in KEYS), 4, "live")


def placed(key: Tensor, own: Tensor, **changes: Any) -> KeyPlacement:
    found = KeyPlacement(key, own.name, (0,), None, "proven", "its place is free")
    return found._replace(**changes)


PROVEN = WeightProof(
    verdict="proven",
    because="all is well",
    by="names and shapes",
    placements=tuple(placed(key, own) for key, own in zip(KEYS, OWN, strict=True)),
    fillings=(),
    rules=(LIVE,),
    faults=(),
    interchangeable=(),
    exclusions=(),
    merged=0,
)
LOST = Fault(
    "unexpected", 0, (KEYS[3].name,), (OWN[3].name,), "'blocks.3.to_k.weight' is no parameter of the port"
)
BROKEN = replace(
    PROVEN,
    verdict="broken",
    placements=(
        *PROVEN.placements[:3],
        placed(KEYS[3], OWN[3], target="blocks.3.to_k.weight", verdict="broken"),
    ),
    faults=(LOST,),
)


def line_of(rule: int) -> str:
    return f"line {40 + rule}"


def hint(use: RuleUse, proof: WeightProof = PROVEN) -> str:
    wrong = {p.tensor.name for p in proof.placements if p.verdict == "broken"}
    return label(use, wrong, STATE, line_of)


def test_a_proven_mapping_counts_its_keys() -> None:
    assert summary(PROVEN, STATE) == "4 of 4 keys proven against diffusers:SoundModel"


def test_what_the_loader_leaves_out_is_not_counted_as_proven() -> None:
    proof = replace(PROVEN, placements=(*PROVEN.placements[:3], placed(KEYS[3], OWN[3], excluded=True)))
    assert summary(proof, STATE) == (
        "3 of 4 keys proven against diffusers:SoundModel, 1 left out by the loader"
    )


def test_a_broken_mapping_says_what_is_lost_on_both_sides() -> None:
    assert summary(BROKEN, STATE) == (
        "weights broken: 1 key has no place, 1 parameter stays empty (against diffusers:SoundModel)"
    )


def test_every_kind_of_fault_is_counted_once_a_tensor() -> None:
    shape = ShapeFault(OWN[0].name, (KEYS[0].name,), (8, 8), (4, 8))
    faults = (
        Fault("missing", None, (), (OWN[0].name, OWN[1].name), "m"),
        Fault("missing", None, (), (OWN[1].name,), "m"),
        Fault("shape", 0, (KEYS[0].name,), (OWN[0].name,), "m", shapes=(shape,)),
        Fault("collision", 0, (KEYS[0].name,), (OWN[2].name,), "m", other=1),
    )
    assert summary(replace(PROVEN, verdict="broken", faults=faults), STATE).startswith(
        "weights broken: 2 parameters stay empty, 1 parameter gets another shape, "
        "1 parameter is filled twice ("
    )


def test_unknown_says_why() -> None:
    proof = replace(PROVEN, verdict="unknown", because="a rule cannot be read")
    assert summary(proof, STATE) == "weights unknown: a rule cannot be read"


def test_the_hint_of_each_state() -> None:
    assert hint(LIVE) == "→ 4 keys"
    assert hint(replace(LIVE, matches=LIVE.matches[:1])) == "→ 1 key"
    assert hint(LIVE, BROKEN) == "→ 4 keys, 1 wrong"
    assert hint(RuleUse(0, (), 0, "dead")) == "dead"
    assert hint(RuleUse(1, (), 4, "shadowed", by=(0,))) == "shadowed by line 40"
    assert hint(RuleUse(0, (), 0, "unknown", why="too costly")) == "not tried"


def test_a_gated_rule_names_its_setting_only_where_it_is_known() -> None:
    assert hint(RuleUse(0, (), 0, "gated", why="'image_dim' = 8 builds its target")) == "gated by image_dim"
    assert hint(RuleUse(0, (), 0, "gated", why="'image_dimension' builds its target")) == "gated"


def test_where_all_keys_are_wrong_it_says_all() -> None:
    broken = tuple(p._replace(verdict="broken") for p in PROVEN.placements)
    assert hint(LIVE, replace(PROVEN, placements=broken)) == "→ 4 keys, all wrong"


def test_a_hover_gathers_the_blocks_and_shows_shapes() -> None:
    card = card_of_use(PROVEN, STATE, LIVE, line_of)
    assert card.startswith("**4 of 4 keys** of `diffusers:SoundModel`")
    assert "blocks.{0..3}.attn.to_q.weight  [8, 8]  ×4\n  → blocks.{0..3}.to_q.weight  [8, 8]" in card


def test_a_hover_marks_what_has_no_place_and_says_why() -> None:
    card = card_of_use(BROKEN, STATE, LIVE, line_of)
    assert "blocks.{0..2}.attn.to_q.weight" in card
    assert "  → blocks.3.to_k.weight  ⚠ no such parameter" in card
    assert "⚠ 'blocks.3.to_k.weight' is no parameter of the port." in card


def test_a_hover_shows_the_part_of_a_merge() -> None:
    proof = replace(PROVEN, placements=tuple(p._replace(merge=(1, 3)) for p in PROVEN.placements))
    assert "(part 2 of 3)" in card_of_use(proof, STATE, LIVE, line_of)


def test_a_long_list_says_how_many_more() -> None:
    keys = tuple(Tensor(f"{chr(97 + n)}.weight", (2,)) for n in range(11))
    proof = replace(PROVEN, placements=tuple(placed(key, key) for key in keys))
    card = card_of_use(proof, STATE, RuleUse(0, tuple(k.name for k in keys), 11, "live"), line_of)
    assert "… and 3 more keys" in card


def test_a_shadowed_rule_says_who_comes_first() -> None:
    card = card_of_use(PROVEN, STATE, RuleUse(1, (), 4, "shadowed", by=(0,)), line_of)
    assert "4 keys would match, and line 40 takes them first." in card
