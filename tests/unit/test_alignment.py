"""What names and shapes propose, and what they must not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.weights.mapping.renaming import rename
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proposing.families import Numbering, families
from analyzers.weights.proposing.proposals import Proposal, propose, with_proposed
from analyzers.weights.proposing.vocabulary import contradict
from analyzers.weights.state import Tensor

W = 64


def blocks(count: int, modules: dict[str, tuple[int, ...]], prefix: str) -> list[Tensor]:
    """Tensors of `count` blocks; a module's shape is that of its weight, and it has a bias."""
    return [
        tensor
        for index in range(count)
        for name, shape in modules.items()
        for tensor in (
            Tensor(f"{prefix}.{index}.{name}.weight", shape),
            Tensor(f"{prefix}.{index}.{name}.bias", shape[:1]),
        )
    ]


def rule(pattern: str, target: str, merge: tuple[int, int] | None = None) -> SymbolicRule:
    return SymbolicRule(pattern, target, merge)


def texts(proposal: Proposal) -> list[tuple[str, str, tuple[int, int] | None]]:
    return [(r.pattern, r.target, r.merge) for r in proposal.rules]


SQUARE = (W, W)
OFFICIAL = {f"attn1.{name}": SQUARE for name in ("to_q", "to_k", "to_v", "to_out.0")}
NATIVE = dict.fromkeys(("to_q", "to_k", "to_v", "to_out"), SQUARE)


def test_equal_shapes_are_told_apart_by_their_names() -> None:
    found = propose(
        blocks(12, OFFICIAL, "blocks"),
        blocks(12, dict(reversed(NATIVE.items())), "blocks"),
        (),
        "first-match",
    )
    assert texts(found) == [
        (r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$", r"blocks.\1.to_q.\2", None),
        (r"^blocks\.(\d+)\.attn1\.to_k\.(.*)$", r"blocks.\1.to_k.\2", None),
        (r"^blocks\.(\d+)\.attn1\.to_v\.(.*)$", r"blocks.\1.to_v.\2", None),
        (r"^blocks\.(\d+)\.attn1\.to_out\.0\.(.*)$", r"blocks.\1.to_out.\2", None),
    ]


def test_a_fused_parameter_gets_its_sources_in_order() -> None:
    official = blocks(4, {f"attn.to_{r}": SQUARE for r in "vkq"}, "transformer_blocks")
    native = blocks(4, {"img_attn_qkv": (3 * W, W)}, "double_blocks")
    found = propose(official, native, (), "first-match")
    by_source = {r.pattern.split("to_")[1][0]: r.merge for r in found.rules}
    assert by_source == {"q": (0, 3), "k": (1, 3), "v": (2, 3)}


def test_the_missing_part_of_a_merge_gets_its_index() -> None:
    official = blocks(4, {f"attn.to_{r}": SQUARE for r in "qkv"}, "blocks")
    native = blocks(4, {"attn.qkv": (3 * W, W)}, "blocks")
    rules = [
        rule(r"^blocks\.(\d+)\.attn\.to_q\.(.*)$", r"blocks.\1.attn.qkv.\2", (0, 3)),
        rule(r"^blocks\.(\d+)\.attn\.to_v\.(.*)$", r"blocks.\1.attn.qkv.\2", (2, 3)),
    ]
    assert texts(propose(official, native, rules, "first-match")) == [
        (r"^blocks\.(\d+)\.attn\.to_k\.(.*)$", r"blocks.\1.attn.qkv.\2", (1, 3))
    ]


def test_a_source_that_a_merge_has_lost_to_a_typo_is_sent_back() -> None:
    official = blocks(4, {f"attn.to_{r}": SQUARE for r in "qkv"}, "blocks")
    native = blocks(4, {"attn.qkv": (3 * W, W)}, "blocks")
    rules = [
        rule(rf"^blocks\.(\d+)\.attn\.to_{r}\.(.*)$", r"blocks.\1.attn.qkv.\2", (i, 3))
        for i, r in enumerate("qkv")
    ]
    rules[1] = rule(rules[1].pattern or "", r"blocks.\1.attn.qvk.\2", (1, 3))
    (found,) = propose(official, native, rules, "first-match").rules
    assert found.replaces
    assert (found.target, found.merge) == (r"blocks.\1.attn.qkv.\2", (1, 3))


def test_fused_attention_and_mlp() -> None:
    official = blocks(
        4, {**{f"attn.to_{r}": SQUARE for r in "qkv"}, "proj_mlp": (4 * W, W)}, "single_transformer_blocks"
    )
    native = blocks(4, {"linear1": (7 * W, W)}, "single_blocks")
    merges = [r.merge for r in propose(official, native, (), "first-match").rules]
    assert merges == [(0, 4), (1, 4), (2, 4), (3, 4)]


@pytest.mark.parametrize(
    ("official", "native"),
    [
        ("norm1", "norm2"),
        ("attn.to_q", "attn.to_k"),
        ("scale_layer", "shift_layer"),
        ("mlp.fc_in", "mlp.fc_out"),
        ("self_attn.o", "cross_attn.o"),
        ("norm_added_q", "img_attn_q_norm"),
        ("time_embedder", "guidance_embedder"),
    ],
)
def test_names_that_contradict_each_other_are_no_certain_proposal(official: str, native: str) -> None:
    found = propose(
        blocks(4, {official: SQUARE}, "blocks"), blocks(4, {native: SQUARE}, "blocks"), (), "first-match"
    )
    assert found.rules == ()
    assert [r.certain for r in found.doubtful] == [False]
    assert contradict(("blocks", "#", *official.split(".")), ("blocks", "#", *native.split(".")))


def test_what_fits_two_places_equally_is_doubtful_and_names_the_rival() -> None:
    found = propose(
        blocks(4, {"alpha": SQUARE, "beta": SQUARE}, "blocks"),
        blocks(4, {"gamma_x": SQUARE, "delta": SQUARE}, "blocks"),
        (),
        "first-match",
    )
    assert found.rules == ()
    assert any(r.rivals for r in found.doubtful)


def test_two_lists_of_equal_length_keep_apart() -> None:
    modules = {"attn.to_q": SQUARE, "ff.net.0.proj": (4 * W, W), "ff.net.2": (W, 4 * W)}
    native = {"attn.q": SQUARE, "mlp.fc_in": (4 * W, W), "mlp.fc_out": (W, 4 * W)}
    official = blocks(4, modules, "text_blocks") + blocks(4, modules, "visual_blocks")
    port = blocks(4, native, "img_layers") + blocks(4, native, "txt_layers")
    found = propose(official, port, (), "first-match")
    assert len(found.rules) == 6
    assert not found.doubtful
    assert all(("text" in r.pattern) == ("txt" in r.target) for r in found.rules)


def test_one_rule_where_all_below_a_module_moves() -> None:
    official = [*blocks(4, {"q": SQUARE, "mlp": (2 * W, W)}, "net.blocks"), Tensor("net.head.weight", (7, W))]
    port = [*blocks(4, {"q": SQUARE, "mlp": (2 * W, W)}, "blocks"), Tensor("head.weight", (7, W))]
    found = propose(official, port, (), "first-match")
    assert texts(found)[0] == (r"^net\.blocks\.(.*)$", r"blocks.\1", None)
    assert len(found.rules) == 2


def test_a_rule_goes_in_front_of_the_one_that_takes_its_names() -> None:
    official = blocks(4, {"norm9": SQUARE, "lin": (9, W)}, "net")
    port = blocks(4, {"norm": SQUARE, "lin": (9, W)}, "out")
    rules = [rule(r"^net\.(.*)$", r"out.\1")]
    found = propose(official, port, rules, "first-match")
    assert [(r.before, r.pattern) for r in found.rules] == [
        (r"^net\.(.*)$", r"^net\.(\d+)\.norm9\.(.*)$"),
    ]
    whole = with_proposed(rules, found.rules)
    assert rename("net.3.norm9.weight", whole, "first-match").target == "out.3.norm.weight"
    assert rename("net.3.lin.bias", whole, "first-match").target == "out.3.lin.bias"


def test_a_rule_whose_target_is_wrong_is_replaced() -> None:
    official = blocks(4, {"ff.net.2": SQUARE}, "blocks")
    port = blocks(4, {"ff.fc_out": SQUARE}, "blocks")
    rules = [rule(r"^blocks\.(\d+)\.ff\.net\.2\.(.*)$", r"blocks.\1.ff.fc_uot.\2")]
    (found,) = propose(official, port, rules, "first-match").rules
    assert found.replaces
    assert found.target == r"blocks.\1.ff.fc_out.\2"


def test_a_split_is_a_note_and_no_rule() -> None:
    official = blocks(4, {"attn.qkv": (3 * W, W)}, "blocks")
    port = blocks(4, {f"attn.to_{r}": SQUARE for r in "qkv"}, "blocks")
    found = propose(official, port, (), "first-match")
    assert found.rules == ()
    assert len(found.notes) == 1
    assert "split" in found.notes[0]
    assert "to_k" in found.notes[0]


def test_nothing_is_proposed_beside_a_rule_that_cannot_be_read() -> None:
    official, port = blocks(4, OFFICIAL, "blocks"), blocks(4, NATIVE, "blocks")
    found = propose(official, port, [SymbolicRule(None, None)], "first-match")
    assert found.rules == ()
    assert found.notes


def test_without_shapes_nothing_is_proposed() -> None:
    found = propose([Tensor("a.to_q.weight")], [Tensor("b.to_q.weight")], (), "first-match")
    assert found.rules == ()
    assert found.doubtful == ()


def test_what_is_left_out_by_design_needs_no_place() -> None:
    official, port = blocks(4, {"norm9": SQUARE}, "a"), blocks(4, {"norm": SQUARE}, "b")
    left = {tensor.name for tensor in official}
    assert propose(official, port, (), "first-match", left) == Proposal((), (), ())


def test_numbers_are_indices_only_where_entries_are_alike() -> None:
    names = [f"blocks.{i}.net.{j}.w" for i in range(12) for j in (0, 2)]
    names += [f"layers.layer{i}.norm1.weight" for i in range(5)] + ["to_out.0.weight"]
    numbering = Numbering(names)
    assert numbering.path("blocks.11.net.2.w") == (("blocks", "#", "net", "2", "w"), (11,))
    assert numbering.path("layers.layer4.norm1.weight") == (("layers", "layer#", "norm1", "weight"), (4,))
    assert numbering.path("to_out.0.weight") == (("to_out", "0", "weight"), ())
    assert len(families([Tensor(name, (1,)) for name in names], numbering)) == 4


@pytest.mark.parametrize("modules", [OFFICIAL, {"attn1.to_q": SQUARE}])
@pytest.mark.parametrize("prefix", ["blocks", "net.layers"])
def test_two_blocks_are_a_list_already(modules: dict[str, tuple[int, ...]], prefix: str) -> None:
    native = {name.split(".")[1]: shape for name, shape in modules.items()}
    found = propose(blocks(2, modules, prefix), blocks(2, native, "blocks"), (), "first-match")
    assert len(found.rules) == len(modules)
    assert all(r"(\d+)" in r.pattern and r"\1" in r.target for r in found.rules)


def test_the_layers_of_a_small_network_are_no_list() -> None:
    names = [f"embed.{i}.{leaf}" for i in range(2) for leaf in ("weight", "bias")]
    assert len(families([Tensor(name, (1,)) for name in names], Numbering(names))) == 2


def in_module(modules: dict[str, tuple[int, ...]]) -> list[Tensor]:
    return [Tensor(f"{name}.weight", shape) for name, shape in modules.items()]


ELSEWHERE = Tensor("norm_final.weight", (3,))
"""What has the same name on both sides."""


@pytest.mark.parametrize(
    ("official", "native", "rules"),
    [
        (
            {"context_embedder.proj_in": SQUARE, "context_embedder.text.linear_2": SQUARE},
            {"txt_in.c_embedder.fc_in": SQUARE, "txt_in.c_embedder.fc_out": SQUARE},
            [rule(r"^context_embedder\.text\.linear_2\.(.*)$", r"txt_in.c_embedder.fc_out.\1")],
        ),
        (
            {"glyph_projector.net.0.proj": SQUARE, "prior_projector.net.2": SQUARE},
            {
                "glyph_projector.fc_in": SQUARE,
                "glyph_projector.fc_out": SQUARE,
                "prior_projector.fc_in": (7, 7),
            },
            [rule(r"^glyph_projector\.net\.0\.proj\.(.*)$", r"glyph_projector.fc_in.\1")],
        ),
        (
            {f"attn2.{name}": SQUARE for name in ("to_q", "to_k", "to_v", "to_out.0")},
            {**{f"attn2.{name}": SQUARE for name in ("q", "k", "v")}, "to_out": SQUARE},
            [rule(rf"^attn2\.to_{r}\.(.*)$", rf"attn2.{r}.\1") for r in "qkv"],
        ),
        ({"cam_injector_layer1": SQUARE}, {"to_q": SQUARE}, []),
    ],
    ids=["another embedder", "another projector", "another attention", "nothing in common"],
)
def test_what_only_elimination_speaks_for_is_doubtful(
    official: dict[str, tuple[int, ...]], native: dict[str, tuple[int, ...]], rules: list[SymbolicRule]
) -> None:
    """The counterpart of one module on each side is not there, and the two have equal shapes."""
    found = propose([*in_module(official), ELSEWHERE], [*in_module(native), ELSEWHERE], rules, "first-match")
    assert found.rules == ()
    assert len(found.doubtful) == 1


@pytest.mark.parametrize(
    ("sources", "target"),
    [("to_%s", "txt_attn_qkv"), ("add_%s_proj", "img_attn_qkv")],
    ids=["a stream that only one side speaks of", "another stream"],
)
def test_a_fused_parameter_of_another_stream_is_doubtful(sources: str, target: str) -> None:
    official = blocks(4, {f"attn.{sources % r}": SQUARE for r in "qkv"}, "transformer_blocks")
    found = propose(official, blocks(4, {target: (3 * W, W)}, "double_blocks"), (), "first-match")
    assert found.rules == ()
    assert len(found.doubtful) == 3


# --------------------------------------------------------------------------- properties

_WORDS = st.sampled_from(
    ["to_q", "to_k", "attn.q", "attn.k", "norm1", "norm2", "fc_in", "net.0.proj", "x", "gate"]
)
_SHAPES = st.sampled_from([(8, 8), (24, 8), (8,), (16, 8), (4, 8)])


@st.composite
def _sides(draw: st.DrawFn) -> tuple[list[Tensor], list[Tensor]]:
    sides: list[list[Tensor]] = []
    for prefix in ("blocks", draw(st.sampled_from(["blocks", "layers"]))):
        modules = draw(st.dictionaries(_WORDS, _SHAPES, min_size=1, max_size=6))
        count = draw(st.integers(4, 5))
        sides.append(
            [
                Tensor(f"{prefix}.{i}.{name}.weight", shape)
                for i in range(count)
                for name, shape in modules.items()
            ]
        )
    return sides[0], sides[1]


@settings(max_examples=150, deadline=None)
@given(_sides())
def test_proposals_keep_shapes_and_never_collide(sides: tuple[list[Tensor], list[Tensor]]) -> None:
    official, native = sides
    shapes = {tensor.name: tensor.shape for tensor in official}
    wanted = {tensor.name: tensor.shape for tensor in native}
    before = {tensor.name: rename(tensor.name, (), "first-match") for tensor in official}
    found = propose(official, native, (), "first-match")
    rules = with_proposed((), found.rules)
    pairs = {name: target for r in found.rules for name, target in r.pairs}
    plain: Counter[str] = Counter()
    parts: dict[str, dict[int, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        made = rename(name, rules, "first-match")
        target, merge = made.target, made.merge
        assert shape is not None
        if name not in pairs:
            assert (target, merge) == (before[name].target, before[name].merge)
            plain[target] += target in wanted and wanted[target] == shape
            continue
        assert target == pairs[name]
        if merge is None:
            assert shape == wanted[target]
            plain[target] += 1
        else:
            assert merge[0] not in parts.setdefault(target, {})
            parts[target][merge[0]] = shape
    assert all(count <= 1 for count in plain.values())
    for target, found_parts in parts.items():
        assert sorted(found_parts) == list(range(len(found_parts)))
        assert not plain[target]
        expected = wanted[target]
        assert expected is not None
        assert sum(shape[0] for shape in found_parts.values()) == expected[0]
