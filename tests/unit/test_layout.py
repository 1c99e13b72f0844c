"""Probes of the bytes: every layout is found in every dtype, and nothing beyond the bytes is said."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
from checkpoint_files import Values, cat, constant, proof_of, random_values, write_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.weights.files.checkpoints import read_checkpoint
from analyzers.weights.files.headers import Checkpoint, TensorPlace
from analyzers.weights.files.rows import TensorBytes
from analyzers.weights.layout.arrangements import AsIs, Heads, conceivable, form_of
from analyzers.weights.layout.casts import cast, through
from analyzers.weights.layout.probing import LayoutReport, LayoutVerdict, probe_layout

HEADS, WIDTH = 4, 48
ROWS = 64
HEAD = ROWS // HEADS
CONFIG = {"num_attention_heads": HEADS, "attention_head_dim": HEAD}


def probe(
    tmp_path: Path,
    official: Mapping[str, Values],
    converted: Mapping[str, Values],
    fillings: Mapping[str, Sequence[str]],
    *,
    config: Mapping[str, object] | None = None,
    budget: int | None = None,
) -> LayoutReport:
    return probe_layout(
        read_checkpoint(write_checkpoint(tmp_path / "official" / "model.safetensors", official, config)),
        read_checkpoint(write_checkpoint(tmp_path / "converted" / "model.safetensors", converted, config)),
        proof_of(fillings),
        budget=budget,
    )


def judge(
    tmp_path: Path,
    sources: Mapping[str, Values],
    found: Values,
    *,
    config: Mapping[str, object] | None = None,
    budget: int | None = None,
) -> LayoutVerdict:
    report = probe(
        tmp_path, sources, {"native": found}, {"native": tuple(sources)}, config=config, budget=budget
    )
    assert report.named == "native"
    (verdict,) = report.verdicts
    return verdict


def rotated(values: Values, *, to_halves: bool) -> Values:
    """`w.view(heads, d // 2, 2, -1).transpose(1, 2)`, as the conversion of Llama has it, and its inverse."""
    dims = (HEADS, HEAD // 2, 2, WIDTH) if to_halves else (HEADS, 2, HEAD // 2, WIDTH)
    return values.permuted(dims, (0, 2, 1, 3)).shaped(ROWS, WIDTH)


@cache
def layouts(dtype: str) -> dict[str, tuple[str, dict[str, Values], Values]]:
    """Name -> (kind, sources, what the converted checkpoint holds)."""
    q, k, v = (random_values(seed, dtype, ROWS, WIDTH) for seed in range(3))
    merged, fused = {"to_q": q, "to_k": k, "to_v": v}, cat([q, k, v])
    square = random_values(4, dtype, ROWS, ROWS)
    kernel = random_values(5, dtype, ROWS, 6, 1, 4, 4)
    bias = random_values(6, dtype, 6 * 32)
    sixths_table = bias.shaped(1, 6, 32)
    sixths, bias_sixths = fused.chunks(6), bias.chunks(6)
    wide, narrow = random_values(7, dtype, ROWS, WIDTH), random_values(8, dtype, HEAD * 2, WIDTH)
    half = WIDTH // 2
    exchanged = tuple(
        item
        for row in range(ROWS)
        for item in q.items[row * WIDTH + half : (row + 1) * WIDTH]
        + q.items[row * WIDTH : row * WIDTH + half]
    )
    upside_down = tuple(i for row in reversed(range(ROWS)) for i in q.items[row * WIDTH : (row + 1) * WIDTH])
    order = list(range(ROWS))
    random.Random(3).shuffle(order)
    shuffled = tuple(item for row in order for item in q.items[row * WIDTH : (row + 1) * WIDTH])
    return {
        "concatenated": ("concatenated", merged, fused),
        "another order": ("reordered", merged, cat([k, q, v])),
        "head by head": (
            "interleaved",
            merged,
            fused.permuted((3, HEADS, HEAD, WIDTH), (1, 0, 2, 3)).shaped(3 * ROWS, WIDTH),
        ),
        "row by row": (
            "interleaved",
            merged,
            fused.permuted((3, ROWS, WIDTH), (1, 0, 2)).shaped(3 * ROWS, WIDTH),
        ),
        "rotary, to halves": (
            "rope",
            merged,
            cat([rotated(q, to_halves=True), rotated(k, to_halves=True), v]),
        ),
        "rotary, to pairs": (
            "rope",
            merged,
            cat([rotated(q, to_halves=False), rotated(k, to_halves=False), v]),
        ),
        "rotary of one": ("rope", {"to_q": q}, rotated(q, to_halves=True)),
        "rotary of k alone": ("rope", merged, cat([q, rotated(k, to_halves=True), v])),
        "transposed as one": ("transposed", merged, fused.permuted((3 * ROWS, WIDTH), (1, 0))),
        "each transposed": (
            "transposed",
            merged,
            cat([each.permuted((ROWS, WIDTH), (1, 0)) for each in (q, k, v)]),
        ),
        "on dimension 1": (
            "stacked",
            merged,
            fused.permuted((3, ROWS, WIDTH), (1, 0, 2)).shaped(ROWS, 3 * WIDTH),
        ),
        "identical": ("identical", {"qkv": fused}, fused),
        "halves": ("swapped", {"gate_up": fused}, cat(fused.chunks(2)[::-1])),
        "halves of two": ("swapped", {"gate": q, "up": k}, cat([k, q])),
        "thirds": ("reordered", {"qkv": fused}, cat(fused.chunks(3)[::-1])),
        "sixths": ("reordered", {"modulation": fused}, cat([sixths[i] for i in (1, 0, 2, 4, 3, 5)])),
        "sixths of a bias": (
            "reordered",
            {"modulation": bias},
            cat([bias_sixths[i] for i in (2, 0, 5, 4, 1, 3)]),
        ),
        "halves of a bias": ("swapped", {"modulation": bias}, cat(bias.chunks(2)[::-1])),
        "official head by head": (
            "separated",
            {"qkv": fused},
            fused.permuted((HEADS, 3, HEAD, WIDTH), (1, 0, 2, 3)).shaped(3 * ROWS, WIDTH),
        ),
        "fewer heads of k and v": (
            "interleaved",
            {"to_q": wide, "to_kv": narrow},
            cat([part for pair in zip(wide.chunks(2), narrow.chunks(2), strict=True) for part in pair]),
        ),
        "upside down": ("reversed", {"w": q}, Values(dtype, q.shape, upside_down)),
        "rolled": ("rolled", {"w": q}, Values(dtype, q.shape, q.items[5 * WIDTH :] + q.items[: 5 * WIDTH])),
        "shuffled": ("permuted", {"w": q}, Values(dtype, q.shape, shuffled)),
        "columns": ("columns", {"w": q}, Values(dtype, q.shape, exchanged)),
        "kernel as it is": ("identical", {"patch": kernel}, kernel.shaped(ROWS, 96)),
        "kernel, channels last": (
            "axes",
            {"patch": kernel},
            kernel.permuted((ROWS, 6, 1, 4, 4), (0, 2, 3, 4, 1)).shaped(ROWS, 96),
        ),
        "kernel, transposed": (
            "axes",
            {"patch": kernel},
            kernel.permuted((ROWS, 6, 1, 4, 4), (1, 2, 3, 4, 0)).shaped(96, ROWS),
        ),
        "square, transposed": ("transposed", {"w": square}, square.permuted((ROWS, ROWS), (1, 0))),
        "reshaped": ("reshaped", {"w": q}, q.shaped(WIDTH, ROWS)),
        "table as a row": ("identical", {"table": sixths_table}, bias),
        "others": ("values", {"w": q}, k),
    }


CASES = sorted(layouts("U8"))


@pytest.mark.parametrize("dtype", ["BF16", "F32", "F16", "F8_E4M3"])
@pytest.mark.parametrize("case", CASES)
def test_every_layout_is_found(tmp_path: Path, case: str, dtype: str) -> None:
    kind, sources, found = layouts(dtype)[case]
    for config in ({}, CONFIG):
        verdict = judge(tmp_path, sources, found, config=config)
        assert (verdict.kind, verdict.ambiguous) == (kind, False)
        assert verdict.detail
        if kind != "values":
            assert verdict.agreeing == verdict.rows > 0
            assert kind == "reshaped" or verdict.runner_up < verdict.rows


@pytest.mark.parametrize("case", CASES)
def test_every_layout_is_found_on_samples(tmp_path: Path, case: str) -> None:
    """The budget forbids reading any of the larger tensors whole."""
    kind, sources, found = layouts("BF16")[case]
    verdict = judge(tmp_path, sources, found, budget=48_000 if kind in ("rolled", "permuted") else 24_000)
    assert (verdict.kind, verdict.ambiguous) == (kind, False)
    assert verdict.rows < len(found.items) / 20 or len(found.items) < 1000


def test_the_order_is_told(tmp_path: Path) -> None:
    def told(case: str) -> str:
        _, sources, found = layouts("BF16")[case]
        return judge(tmp_path, sources, found).detail

    assert "in the order to_k, to_q, to_v" in told("another order")
    assert "4 heads of 16 rows" in told("head by head")
    assert "row by row" in told("row by row")
    assert "rows moved by 5" in told("rolled")
    assert "part 2 of 6, part 1 of 6, part 3 of 6, part 5 of 6" in told("sixths")
    assert "interleaved pairs to halves; 4 heads" in told("rotary, to halves")
    assert "halves to interleaved pairs; 4 heads" in told("rotary, to pairs")


def converted_to(values: Values, dtype: str, via: str | None = None) -> Values:
    data = through(values.data, values.dtype, via, dtype)
    size = len(data) // len(values.items)
    return Values(dtype, values.shape, tuple(data[at : at + size] for at in range(0, len(data), size)))


@pytest.mark.parametrize(
    ("source", "target", "kind", "exact"),
    [
        ("F32", "BF16", "narrowed", False),
        ("F32", "F16", "narrowed", False),
        ("F64", "F32", "narrowed", False),
        ("F16", "BF16", "narrowed", False),
        ("BF16", "F16", "narrowed", True),
        ("BF16", "F32", "widened", True),
        ("F16", "F32", "widened", True),
    ],
)
def test_dtypes_and_layouts_are_told_apart(
    tmp_path: Path, source: str, target: str, kind: str, exact: bool
) -> None:
    """BF16 as F16: numbers around 1 keep their value."""
    for case in ("concatenated", "head by head", "square, transposed", "halves"):
        expected, sources, found = layouts(source)[case]
        verdict = judge(tmp_path, sources, converted_to(found, target))
        assert (verdict.kind, verdict.ambiguous, verdict.cast) == (expected, False, kind)
        assert (verdict.reference, verdict.dtype) == (source, target)
        if verdict.as_expected:
            assert verdict.exact is exact


def test_values_that_were_rounded_on_the_way(tmp_path: Path) -> None:
    for case in ("concatenated", "head by head"):
        kind, sources, found = layouts("F32")[case]
        verdict = judge(tmp_path, sources, converted_to(found, "F32", "BF16"))
        assert (verdict.kind, verdict.rounded, verdict.cast) == (kind, "BF16", "same")
        verdict = judge(tmp_path, sources, converted_to(found, "BF16", "F16"))
        assert (verdict.kind, verdict.rounded, verdict.cast) == (kind, "F16", "narrowed")


def test_a_rounding_that_is_not_to_nearest_is_other_values(tmp_path: Path) -> None:
    _, sources, found = layouts("F32")["identical"]
    cut = Values("BF16", found.shape, tuple(item[2:] for item in found.items))
    assert judge(tmp_path, sources, cut).kind == "values"


def test_rotary_rows_of_fewer_heads_in_k(tmp_path: Path) -> None:
    """Four heads of q, two of k and v, each of 16 rows."""
    q, k, v = (random_values(seed, "BF16", rows, WIDTH) for seed, rows in enumerate((64, 32, 32)))
    turned = [
        each.permuted((len(each.items) // HEAD // WIDTH, HEAD // 2, 2, WIDTH), (0, 2, 1, 3)).shaped(
            *each.shape
        )
        for each in (q, k)
    ]
    verdict = judge(tmp_path, {"to_q": q, "to_k": k, "to_v": v}, cat([*turned, v]))
    assert (verdict.kind, verdict.ambiguous) == ("rope", False)
    assert "of piece 1 and 2" in verdict.detail
    assert "4 heads of 16 rows" in verdict.detail


def test_rotary_rows_axis_by_axis(tmp_path: Path) -> None:
    """A head of 4, 6 and 6 rows for time, height and width, as the configuration says."""
    q, k, v = (random_values(seed, "BF16", ROWS, WIDTH) for seed in range(3))

    def turned(values: Values) -> Values:
        heads = []
        for head in values.chunks(HEADS):
            rows = head.chunks(HEAD)
            for start, count in ((0, 4), (4, 6), (10, 6)):
                heads += [*rows[start : start + count : 2], *rows[start + 1 : start + count : 2]]
        return cat(heads)

    config = {**CONFIG, "rope_axes_dim": [4, 6, 6]}
    for sources, found in (
        ({"to_q": q}, turned(q)),
        ({"to_q": q, "to_k": k, "to_v": v}, cat([turned(q), turned(k), v])),
    ):
        verdict = judge(tmp_path, sources, found, config=config)
        assert (verdict.kind, verdict.ambiguous) == ("rope", False)
        assert "in parts of 4, 6, 6" in verdict.detail
        assert judge(tmp_path, sources, found, config={}).kind in ("permuted", "values")


def test_a_fused_projection_with_fewer_heads_of_k_and_v(tmp_path: Path) -> None:
    """The official rows: for each of two groups two heads of q, one of k and one of v."""
    rows = random_values(1, "BF16", 2 * 4 * HEAD, WIDTH)
    groups = [group.chunks(4) for group in rows.chunks(2)]
    found = cat(
        [part for which in (slice(0, 2), slice(2, 3), slice(3, 4)) for g in groups for part in g[which]]
    )
    config = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": HEAD}
    verdict = judge(tmp_path, {"qkv": rows}, found, config=config)
    assert (verdict.kind, verdict.ambiguous) == ("separated", False)


def test_sources_of_two_dtypes(tmp_path: Path) -> None:
    """The merge of FastVideo's loader would widen it (`torch.cat`); a converted file may do either."""
    _, sources, found = layouts("F32")["head by head"]
    names = list(sources)
    mixed = {**sources, names[1]: converted_to(sources[names[1]], "BF16")}
    again = cat([converted_to(mixed[name], "F32") for name in names])
    verdict = judge(tmp_path, mixed, again)
    assert (verdict.kind, verdict.cast, verdict.reference) == ("concatenated", "widened", "F32 and BF16")
    verdict = judge(tmp_path, mixed, converted_to(found, "BF16"))
    assert (verdict.kind, verdict.cast) == ("interleaved", "narrowed")


# ---------------------------------------------------------------------- rows that tell nothing


@pytest.mark.parametrize("shape", [(96,), (96, 32), (1, 6, 32), (1,), (3,), ()])
@pytest.mark.parametrize("item", [b"\0\0", b"\x80\x3f"])
def test_equal_elements_prove_nothing(tmp_path: Path, shape: tuple[int, ...], item: bytes) -> None:
    values = constant("BF16", item, *shape)
    verdict = judge(tmp_path, {"w": values}, values)
    assert verdict.as_expected
    assert verdict.ambiguous
    assert not verdict.settled
    assert not verdict.contradicts


def test_equal_elements_against_others_are_other_values(tmp_path: Path) -> None:
    verdict = judge(tmp_path, {"w": constant("F32", b"\0\0\0\0", 96, 32)}, random_values(1, "F32", 96, 32))
    assert verdict.kind == "values"


def test_equal_halves_leave_their_order_open(tmp_path: Path) -> None:
    half = random_values(1, "BF16", 32, 24)
    verdict = judge(tmp_path, {"gate_up": cat([half, half])}, cat([half, half]))
    assert verdict.as_expected
    assert verdict.ambiguous
    assert any("in the order" in other for other in verdict.alternatives)


def test_equal_pieces_leave_their_order_open(tmp_path: Path) -> None:
    q, v = random_values(1, "BF16", 32, 24), random_values(2, "BF16", 32, 24)
    verdict = judge(tmp_path, {"to_q": q, "to_k": q, "to_v": v}, cat([v, q, q]))
    assert verdict.kind == "reordered"
    assert verdict.ambiguous
    assert verdict.contradicts


def test_equal_tensors_leave_the_source_open(tmp_path: Path) -> None:
    one = random_values(1, "BF16", 32, 24)
    report = probe(tmp_path, {"a": one, "b": one}, {"x": one, "y": one}, {"x": ["a"], "y": ["b"]})
    assert [(v.kind, v.ambiguous) for v in report.verdicts] == [("identical", True)] * 2
    assert "b holds the same" in report.verdicts[0].alternatives


def test_a_few_elements_do_not_name_an_order(tmp_path: Path) -> None:
    items = [bytes([0, 0])] * 30 + [bytes([1, 0])] * 2
    values = Values("BF16", (32,), tuple(items))
    verdict = judge(tmp_path, {"b": values}, Values("BF16", (32,), tuple(items[16:] + items[:16])))
    assert verdict.kind == "values" or verdict.ambiguous


# ---------------------------------------------------------------------- whose rows


def blocks(count: int) -> dict[str, Values]:
    return {
        f"blocks.{block}.{name}.weight": random_values(10 * block + index, "BF16", 40, 24)
        for block in range(count)
        for index, name in enumerate(("to_q", "to_k"))
    }


def test_rows_of_another_tensor(tmp_path: Path) -> None:
    official = blocks(4)
    fillings = {name.replace("blocks", "layers"): [name] for name in official}
    converted = {native: official[source] for native, (source,) in fillings.items()}
    swapped = ("layers.1.to_q.weight", "layers.1.to_k.weight")
    moved = ("layers.2.to_q.weight", "layers.3.to_q.weight")
    for one, other in (swapped, moved):
        converted[one], converted[other] = converted[other], converted[one]
    report = probe(tmp_path, official, converted, fillings)
    verdicts = {verdict.native: verdict for verdict in report.verdicts}
    for one, other in (swapped, moved):
        for native, source in ((one, other), (other, one)):
            assert verdicts[native].kind == "other tensor"
            assert verdicts[native].came_from == (source.replace("layers", "blocks"),)
            assert not verdicts[native].ambiguous
    right = [name for name in verdicts if name not in (*swapped, *moved)]
    assert all(verdicts[name].settled for name in right)
    assert len(right) == 4


def test_one_piece_of_a_merge_of_another_tensor(tmp_path: Path) -> None:
    official = blocks(2)
    names = ("blocks.0.to_q.weight", "blocks.0.to_k.weight")
    found = cat([official["blocks.0.to_q.weight"], official["blocks.1.to_k.weight"]])
    verdict = probe(tmp_path, official, {"qk": found}, {"qk": names}).verdicts[0]
    assert verdict.kind == "other tensor"
    assert verdict.came_from == ("blocks.0.to_q.weight", "blocks.1.to_k.weight")
    assert "blocks.1.to_k.weight in place of blocks.0.to_k.weight" in verdict.detail


def test_rows_for_which_the_mapping_names_no_source(tmp_path: Path) -> None:
    qkv = random_values(1, "BF16", 96, 24)
    parts = qkv.chunks(3)
    report = probe(
        tmp_path, {"qkv": qkv}, {"to_q": parts[0], "to_k": parts[1], "new": random_values(2, "BF16", 32, 24)},
        {"to_q": [], "to_k": [], "new": []},
    )  # fmt: skip
    q, k, new = report.verdicts
    assert (q.kind, q.came_from) == ("located", ("part 1 of 3 of qkv",))
    assert (k.kind, k.came_from) == ("located", ("part 2 of 3 of qkv",))
    assert (new.kind, new.ambiguous) == ("values", True)


def test_a_converted_checkpoint_under_official_names(tmp_path: Path) -> None:
    official = blocks(2)
    fillings = {f"layers.{n}.qk": [f"blocks.{n}.to_q.weight", f"blocks.{n}.to_k.weight"] for n in range(2)}
    converted = dict(official)
    converted["blocks.1.to_k.weight"] = official["blocks.0.to_k.weight"]
    converted["more"] = official["blocks.0.to_k.weight"]
    report = probe(tmp_path, official, converted, fillings)
    assert report.named == "official"
    assert report.unplaced == ("more",)
    kinds = {verdict.converted: (verdict.kind, verdict.native) for verdict in report.verdicts}
    assert kinds["blocks.1.to_k.weight"] == ("other tensor", "layers.1.qk")
    assert kinds["blocks.1.to_q.weight"] == ("identical", "layers.1.qk")
    assert len(kinds) == 4


# ---------------------------------------------------------------------- what cannot be compared


def test_what_is_not_there(tmp_path: Path) -> None:
    w = random_values(1, "BF16", 32, 24)
    report = probe(tmp_path, {"a": w}, {"x": w}, {"x": ["a"], "y": ["a"], "z": ["b"]})
    kinds = {verdict.native: (verdict.kind, verdict.detail) for verdict in report.verdicts}
    assert kinds["x"][0] == "identical"
    assert kinds["y"] == ("absent", "the converted checkpoint has no y")
    assert kinds["z"][0] == "absent"


def test_another_number_of_elements(tmp_path: Path) -> None:
    verdict = judge(tmp_path, {"w": random_values(1, "BF16", 32, 24)}, random_values(1, "BF16", 32, 25))
    assert verdict.kind == "shape"
    assert "800 elements [32, 25] where the sources have 768" in verdict.detail


@pytest.mark.parametrize(("source", "target"), [("F8_E4M3", "BF16"), ("I64", "F32")])
def test_dtypes_that_are_not_converted(tmp_path: Path, source: str, target: str) -> None:
    verdict = judge(tmp_path, {"w": random_values(1, source, 32, 24)}, random_values(1, target, 32, 24))
    assert (verdict.kind, verdict.cast) == ("unread", "changed")
    assert f"{source} is not compared with {target}" in verdict.detail


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    values = {"a": random_values(1, "F32", 64, 24), "b": random_values(2, "F32", 64, 24)}
    official = write_checkpoint(tmp_path / "official.safetensors", values)
    converted = write_checkpoint(tmp_path / "converted.safetensors", values)
    with converted.open("r+b") as file:
        file.truncate(converted.stat().st_size - 64 * 24 * 2)
    report = probe_layout(
        read_checkpoint(official), read_checkpoint(converted), proof_of({"a": ["a"], "b": ["b"]})
    )
    assert [verdict.kind for verdict in report.verdicts] == ["identical", "unread"]
    assert "ends before" in report.verdicts[1].detail


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    w = random_values(1, "F32", 64, 24)
    official = read_checkpoint(write_checkpoint(tmp_path / "official.safetensors", {"w": w}))
    path = write_checkpoint(tmp_path / "converted.safetensors", {"w": w})
    converted = read_checkpoint(path)
    path.unlink()
    (verdict,) = probe_layout(official, converted, proof_of({"w": ["w"]})).verdicts
    assert verdict.kind == "unread"
    assert "converted.safetensors cannot be read: No such file" in verdict.detail


def test_a_budget_that_ends(tmp_path: Path) -> None:
    _, sources, found = layouts("F32")["each transposed"]
    nothing = judge(tmp_path, sources, found, budget=100)
    assert nothing.kind == "unread"
    little = judge(tmp_path, sources, found, budget=6_000)
    assert (little.kind, little.ambiguous) == ("values", True)
    assert "ended before its layout was found" in little.detail


# ---------------------------------------------------------------------- never more than the bytes say

SMALL = [(6,), (12,), (24,), (6, 4), (12, 2), (8, 8), (12, 16), (4, 3, 2), (24, 5)]
LARGE = [(600,), (6, 300), (48, 32), (24, 8, 2, 4), (30, 48)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.sampled_from(SMALL + LARGE),
    budget=st.sampled_from([None, 4_000, 9_000]),
    pieces=st.integers(1, 3),
    variety=st.sampled_from([1, 2, 3, 5, 250]),
    choice=st.integers(0, 10_000),
    free=st.booleans(),
)
def test_definite_verdicts_reproduce_the_bytes(
    tmp_path: Path,
    shape: tuple[int, ...],
    budget: int | None,
    pieces: int,
    variety: int,
    choice: int,
    free: bool,
) -> None:
    """Whatever was done to the elements: a definite verdict names a layout that gives exactly what was found,
    and the expected one is never claimed of other bytes."""
    generator = random.Random(choice)
    alphabet = [bytes([number]) for number in generator.sample(range(256), variety)]
    sources = {
        f"s{index}": Values("U8", shape, tuple(generator.choices(alphabet, k=_size(shape))))
        for index in range(pieces)
    }
    whole = b"".join(values.data for values in sources.values())
    form = form_of([shape] * pieces, (shape[0] * pieces, *shape[1:]))
    known = list(conceivable(form, Heads(), thorough=True))
    if free:
        order = list(range(len(whole)))
        generator.shuffle(order)
        data = bytes(whole[at] for at in order)
    else:
        arrangement = generator.choice([*(hypothesis.map for hypothesis in known), AsIs(len(whole))])
        data = bytes(whole[arrangement.at(at)] for at in range(len(whole)))
    found = Values("U8", (shape[0] * pieces, *shape[1:]), tuple(bytes([byte]) for byte in data))
    verdict = judge(tmp_path, sources, found, budget=budget)
    if verdict.as_expected:
        assert data == whole or (verdict.ambiguous and budget is not None)
    elif verdict.kind != "unread":
        assert data != whole
    if verdict.contradicts and not verdict.ambiguous and verdict.kind not in ("permuted", "rolled"):
        assert any(
            bytes(whole[h.map.at(at)] for at in range(len(whole))) == data
            for h in known
            if h.kind == verdict.kind
        ) or verdict.kind in ("reordered", "other tensor")
    if (
        budget is None
        and not free
        and variety == 250
        and data != whole
        and len(set(whole)) == len(whole) >= 12
    ):
        assert verdict.contradicts


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32), st.sampled_from(["BF16", "F16"]))
def test_rounding_is_to_the_nearest_and_to_even(number: float, target: str) -> None:
    """Checked against every neighbour: no other value of the dtype is nearer, and of two the even one won."""
    data = cast(struct.pack("<f", number), "F32", target)
    (bits,) = struct.unpack("<H", data)
    if number != number:
        assert data == {"BF16": b"\xc0\x7f", "F16": b"\x00\x7e"}[target]
        return
    largest = {"BF16": 0x7F7F, "F16": 0x7BFF}[target]
    assert bits >> 15 == struct.unpack("<I", struct.pack("<f", number))[0] >> 31
    magnitude, wanted = bits & 0x7FFF, abs(number)
    if magnitude > largest:
        step = _value(largest, target) - _value(largest - 1, target)
        assert wanted >= _value(largest, target) + step / 2
        return
    for neighbour in (magnitude - 1, magnitude + 1):
        if 0 <= neighbour <= largest:
            mine, other = abs(wanted - _value(magnitude, target)), abs(wanted - _value(neighbour, target))
            assert mine < other or (mine == other and magnitude % 2 == 0)


def _value(bits: int, dtype: str) -> float:
    data = struct.pack("<H", bits)
    return float(struct.unpack("<e", data)[0] if dtype == "F16" else struct.unpack("<f", b"\0\0" + data)[0])


# ---------------------------------------------------------------------- what it costs


class _Noise:
    """A file of bytes that depend on their place alone: 16 bytes of a hash, over and over."""

    def __init__(self, path: Path) -> None:
        self.bytes_read = 0
        self.size = 1 << 40

    def read(self, start: int, count: int) -> bytes:
        self.bytes_read += count
        first, last = start // 16, (start + count - 1) // 16
        data = b"".join(
            hashlib.blake2b(struct.pack("<Q", block), digest_size=16).digest()
            for block in range(first, last + 1)
        )
        return data[start % 16 : start % 16 + count]

    def close(self) -> None:
        """Nothing to give back."""


def _large(path: Path, blocks: int) -> Checkpoint:
    """Blocks of the size of Wan 14B's, F8 so that every byte is a number."""
    places = []
    at = 0
    for block in range(blocks):
        for name, shape in (
            *((f"attn.to_{x}.weight", (5120, 5120)) for x in ("q", "k", "v", "out")),
            *((f"attn.to_{x}.bias", (5120,)) for x in ("q", "k", "v", "out")),
            ("ffn.weight", (13824, 5120)),
            ("table", (1, 6, 5120)),
        ):
            size = _size(shape)
            places.append(TensorPlace(f"blocks.{block}.{name}", path, "F8_E4M3", shape, at, at + size))
            at += size
    return Checkpoint(path, tuple(places), (), 100_000, at, {"num_attention_heads": 40}, (path,))


def test_a_thousandth_of_twenty_gigabytes(tmp_path: Path) -> None:
    """Numbers everywhere, half of the tensors as they should be and half of them another block's."""
    official = _large(tmp_path / "official", 57)
    assert official.total_bytes > 9_950_000_000
    converted = _large(tmp_path / "converted", 57)
    names = [place.name for place in official.tensors]
    places = list(converted.tensors)
    for first in range(0, len(places) - 20, 40):  # blocks 0 and 1 change places, 4 and 5, and so on
        for index in range(first, first + 10):
            one, other = places[index], places[index + 10]
            places[index] = TensorPlace(one.name, one.file, one.dtype, one.shape, other.start, other.end)
            places[index + 10] = TensorPlace(other.name, one.file, one.dtype, one.shape, one.start, one.end)
    converted = Checkpoint(
        converted.path, tuple(places), (), 100_000, converted.total_bytes, None, converted.files
    )
    report = probe_layout(
        official, converted, proof_of({name: [name] for name in names}), source=TensorBytes(_Noise)
    )
    assert report.total_bytes > 19_900_000_000
    assert report.bytes_read < 0.001 * report.total_bytes
    kinds = [verdict.kind for verdict in report.verdicts]
    assert kinds.count("other tensor") == 14 * 20
    assert kinds.count("identical") == len(names) - 14 * 20
    assert not any(verdict.ambiguous for verdict in report.verdicts)


def test_sparse_files_of_twenty_gigabytes(tmp_path: Path) -> None:
    """Real files: holes, and at their ends two tensors that have changed places in the converted one."""
    gigabyte, holes = 1 << 30, 20
    small = random_values(1, "F32", 256, 64), random_values(2, "F32", 256, 64)
    sizes = {**{f"hole{index}": gigabyte for index in range(holes)}, "a": 1 << 16, "b": 1 << 16}
    header, at = {}, 0
    for name, size in sizes.items():
        shape = [256, 64] if size < gigabyte else [16384, 16384]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    paths = []
    for name, filled in (("official", small), ("converted", small[::-1])):
        path = tmp_path / f"{name}.safetensors"
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.seek(holes * gigabyte, 1)
            for values in filled:
                file.write(values.data)
        assert path.stat().st_size > 20 * gigabyte
        paths.append(path)
    official, converted = (read_checkpoint(path) for path in paths)
    report = probe_layout(official, converted, proof_of({name: [name] for name in header}))
    assert report.total_bytes > 40 * gigabyte
    assert report.bytes_read < 0.001 * report.total_bytes
    verdicts = {verdict.native: verdict for verdict in report.verdicts}
    assert verdicts["a"].came_from == ("b",)
    assert verdicts["b"].came_from == ("a",)
    assert all(verdicts[name].ambiguous for name in header if name.startswith("hole"))
