"""What becomes of verdicts about layouts: findings, and a proof that rests on rows as well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from checkpoint_files import Values, cat, constant, proof_of, random_values, write_checkpoint

from analyzers.findings import Severity
from analyzers.weights.files.checkpoints import read_checkpoint
from analyzers.weights.layout.casts import cast
from analyzers.weights.layout.findings import LayoutFinding, findings, settle
from analyzers.weights.layout.kept_dtypes import KeptModules, kept_by_official, kept_by_port
from analyzers.weights.layout.probing import LayoutReport, probe_layout
from analyzers.weights.state import Tensor
from analyzers.weights.verdicts import Interchangeable, KeyPlacement, WeightProof

NAMES = ("to_q", "to_k", "to_v")
BLOCKS = 3


def as_dtype(values: Values, dtype: str) -> Values:
    data = cast(values.data, values.dtype, dtype)
    size = len(data) // len(values.items)
    return Values(dtype, values.shape, tuple(data[at : at + size] for at in range(0, len(data), size)))


def model() -> dict[str, Values]:
    """Three blocks with q, k, v and a norm of ones."""
    tensors = {}
    for block in range(BLOCKS):
        for index, name in enumerate(NAMES):
            tensors[f"blocks.{block}.{name}.weight"] = random_values(10 * block + index, "F32", 32, 24)
        tensors[f"blocks.{block}.norm.weight"] = constant("F32", b"\0\0\x80\x3f", 32)
    return tensors


FUSED = {
    **{f"blocks.{n}.qkv.weight": [f"blocks.{n}.{name}.weight" for name in NAMES] for n in range(BLOCKS)},
    **{f"blocks.{n}.norm.weight": [f"blocks.{n}.norm.weight"] for n in range(BLOCKS)},
}
SPLIT = {f"layers.{n}.{name}.weight": [f"blocks.{n}.{name}.weight"] for n in range(BLOCKS) for name in NAMES}


def fused(official: dict[str, Values]) -> dict[str, Values]:
    return {native: cat([official[name] for name in names]) for native, names in FUSED.items()}


def probed(
    tmp_path: Path, official: dict[str, Values], converted: dict[str, Values], proof: WeightProof
) -> LayoutReport:
    return probe_layout(
        read_checkpoint(write_checkpoint(tmp_path / "official.safetensors", official)),
        read_checkpoint(write_checkpoint(tmp_path / "converted.safetensors", converted)),
        proof,
    )


def found(report: LayoutReport, **keeps: KeptModules) -> list[tuple[str, Severity, int]]:
    return [(f.code, f.severity, len(f.natives)) for f in findings(report, **keeps)]


def interleaved(values: Values) -> Values:
    return values.permuted((3, 4, 8, 24), (1, 0, 2, 3)).shaped(96, 24)


def test_a_faithful_conversion_has_no_findings(tmp_path: Path) -> None:
    official = model()
    report = probed(tmp_path, official, fused(official), proof_of(FUSED))
    assert len(report.verdicts) == len(FUSED)
    assert findings(report) == ()


def test_one_finding_for_all_blocks(tmp_path: Path) -> None:
    official, proof = model(), proof_of(FUSED)
    converted = fused(official)
    for block in range(BLOCKS):
        name = f"blocks.{block}.qkv.weight"
        converted[name] = interleaved(converted[name])
    (finding,) = findings(probed(tmp_path, official, converted, proof))
    assert (finding.code, finding.severity) == ("DIT705", Severity.ERROR)
    assert finding.natives == tuple(f"blocks.{block}.qkv.weight" for block in range(BLOCKS))
    assert "head by head" in finding.message
    assert "2 more like it, to blocks.2.qkv.weight" in finding.message


def test_a_single_source_may_be_laid_out_anew_on_purpose(tmp_path: Path) -> None:
    w = random_values(1, "BF16", 96, 24)
    halves = cat(w.chunks(2)[::-1])
    official_names = probed(tmp_path, {"a": w}, {"a": halves}, proof_of({"x": ["a"]}))
    native_names = probed(tmp_path, {"a": w}, {"x": halves}, proof_of({"x": ["a"]}))
    assert found(official_names) == [("DIT705", Severity.ERROR, 1)]
    assert found(native_names) == [("DIT705", Severity.WARNING, 1)]


def test_other_weights_are_one_finding(tmp_path: Path) -> None:
    official = {name: random_values(index, "BF16", 32, 24) for index, name in enumerate("abcdef")}
    others = {name: random_values(index + 50, "BF16", 32, 24) for index, name in enumerate("abcdef")}
    report = probed(tmp_path, official, others, proof_of({name: [name] for name in official}))
    (finding,) = findings(report)
    assert finding.severity is Severity.WARNING
    assert "6 of 6 tensors hold other numbers" in finding.message
    others = {**official, "c": others["c"]}
    report = probed(tmp_path, official, others, proof_of({name: [name] for name in official}))
    assert found(report) == [("DIT705", Severity.WARNING, 1)]


def test_what_is_not_compared_is_said(tmp_path: Path) -> None:
    w = random_values(1, "BF16", 32, 24)
    report = probed(tmp_path, {"a": w}, {"x": w}, proof_of({"x": ["a"], "y": ["a"]}))
    (finding,) = findings(report)
    assert (finding.severity, finding.natives) == (Severity.INFORMATION, ("y",))
    assert finding.message == "not compared: the converted checkpoint has no y"


# ---------------------------------------------------------------------- dtypes


def only_dtypes(report: LayoutReport, **keeps: KeptModules) -> list[LayoutFinding]:
    return [finding for finding in findings(report, **keeps) if finding.code == "DIT704"]


def test_what_stays_float32_must_not_be_narrowed(tmp_path: Path) -> None:
    official = {
        "blocks.0.norm1.weight": random_values(1, "F32", 32),
        "blocks.0.ffn.weight": random_values(2, "F32", 32, 24),
    }
    converted = {name: as_dtype(values, "BF16") for name, values in official.items()}
    report = probed(tmp_path, official, converted, proof_of({name: [name] for name in official}))
    (plain,) = only_dtypes(report)
    assert (plain.severity, len(plain.natives)) == (Severity.INFORMATION, 2)
    kept, other = only_dtypes(report, official_keeps=KeptModules(("norm1",)))
    assert (kept.severity, kept.natives) == (Severity.ERROR, ("blocks.0.norm1.weight",))
    assert "BF16 where the official checkpoint has F32, and the official model keeps it" in kept.message
    assert (other.severity, other.natives) == (Severity.INFORMATION, ("blocks.0.ffn.weight",))
    (both,) = only_dtypes(report, port_keeps=KeptModules(("blocks",), leading=True))
    assert (both.severity, len(both.natives)) == (Severity.ERROR, 2)
    assert "the port keeps them" in both.message


def test_a_cast_that_loses_nothing_is_no_error(tmp_path: Path) -> None:
    """A float32 file of a model that was bfloat16 before."""
    short = random_values(1, "BF16", 32, 24)
    report = probed(tmp_path, {"norm": as_dtype(short, "F32")}, {"norm": short}, proof_of({"norm": ["norm"]}))
    (finding,) = findings(report, official_keeps=KeptModules(("norm",)))
    assert finding.severity is Severity.INFORMATION
    assert "every value that was compared fits" in finding.message


def test_values_rounded_on_the_way(tmp_path: Path) -> None:
    w = random_values(1, "F32", 32, 24)
    report = probed(
        tmp_path, {"norm": w}, {"norm": as_dtype(as_dtype(w, "BF16"), "F32")}, proof_of({"norm": ["norm"]})
    )
    assert found(report) == [("DIT704", Severity.INFORMATION, 1)]
    assert found(report, port_keeps=KeptModules(("norm",))) == [("DIT704", Severity.WARNING, 1)]


def test_a_wider_dtype_is_nothing_to_report(tmp_path: Path) -> None:
    w = random_values(1, "BF16", 32, 24)
    report = probed(tmp_path, {"norm": w}, {"norm": as_dtype(w, "F32")}, proof_of({"norm": ["norm"]}))
    assert findings(report) == ()
    assert report.verdicts[0].cast == "widened"


# ---------------------------------------------------------------------- the proof


def split_proof() -> WeightProof:
    """A proof that names and shapes leave open between all nine projections."""
    proof = proof_of(SPLIT)
    return replace(
        proof,
        interchangeable=(Interchangeable(tuple(SPLIT), NAMES, True),),
        placements=tuple(
            KeyPlacement(Tensor(source), native, (NAMES.index(native.split(".")[2]),), None, "proven", "")
            for native, (source,) in SPLIT.items()
        ),
    )


def test_rows_settle_what_names_and_shapes_leave_open(tmp_path: Path) -> None:
    official, proof = model(), split_proof()
    converted = {native: official[source] for native, (source,) in SPLIT.items()}
    settled = settle(proof, probed(tmp_path, official, converted, proof))
    assert settled.verdict == "proven"
    assert settled.by == "names, shapes and rows"
    assert settled.interchangeable == ()
    assert settled.faults == ()
    assert settled.notes == ()


def test_rows_break_a_proof(tmp_path: Path) -> None:
    official, proof = model(), split_proof()
    converted = {native: official[source] for native, (source,) in SPLIT.items()}
    one, other = "layers.1.to_q.weight", "layers.1.to_k.weight"
    converted[one], converted[other] = converted[other], converted[one]
    settled = settle(proof, probed(tmp_path, official, converted, proof))
    assert settled.verdict == "broken"
    assert settled.because == "2 parameters of the converted checkpoint hold other rows than the mapping says"
    assert [(fault.kind, fault.rule, fault.native) for fault in settled.faults] == [
        ("layout", 0, (one,)),
        ("layout", 1, (other,)),
    ]
    assert settled.faults[0].official == ("blocks.1.to_q.weight",)
    assert settled.faults[0].suspected == "rename"
    assert settled.interchangeable[0].natives == (one, other)


def test_tensors_that_are_equal_stay_open(tmp_path: Path) -> None:
    official, proof = model(), split_proof()
    official["blocks.2.to_k.weight"] = official["blocks.2.to_q.weight"]
    converted = {native: official[source] for native, (source,) in SPLIT.items()}
    settled = settle(proof, probed(tmp_path, official, converted, proof))
    assert settled.verdict == "proven"
    assert settled.by == "names, shapes and rows"
    assert settled.interchangeable[0].natives == ("layers.2.to_q.weight", "layers.2.to_k.weight")
    assert settled.notes[0].startswith("2 parameters have the rows of their sources")


def test_groups_as_the_proof_names_them(tmp_path: Path) -> None:
    """Numbers as `*`; a group of one name is a numbered list."""
    words = Interchangeable(tuple(f"layers.*.{name}.weight" for name in NAMES), NAMES, True)
    blocks = Interchangeable(("layers.*",), ("0-2",), True)
    official = model()
    proof = replace(split_proof(), interchangeable=(words, blocks))
    converted = {native: official[source] for native, (source,) in SPLIT.items()}
    assert settle(proof, probed(tmp_path, official, converted, proof)).interchangeable == ()
    # In block 0 q and k are equal: they stay open, blocks do not.
    official["blocks.0.to_k.weight"] = converted["layers.0.to_k.weight"] = official["blocks.0.to_q.weight"]
    (left,) = settle(proof, probed(tmp_path, official, converted, proof)).interchangeable
    assert left.natives == ("layers.*.to_q.weight", "layers.*.to_k.weight")
    assert left.telling == ("to_q", "to_k")
    # The v of two blocks are equal, too: now blocks are open.
    official["blocks.1.to_v.weight"] = converted["layers.1.to_v.weight"] = official["blocks.0.to_v.weight"]
    _, left = settle(proof, probed(tmp_path, official, converted, proof)).interchangeable
    assert left == blocks


def test_what_was_not_compared_is_not_claimed(tmp_path: Path) -> None:
    official, proof = model(), split_proof()
    converted = {native: official[source] for native, (source,) in list(SPLIT.items())[:6]}
    settled = settle(proof, probed(tmp_path, official, converted, proof))
    assert settled.by == "names and shapes, and rows of 6 of 9 parameters"
    assert len(settled.interchangeable[0].natives) == 3
    assert settle(proof, LayoutReport((), 0, 0, "native")) == proof


# ---------------------------------------------------------------------- what stays float32

HELPER = """
KEPT = ("norm", "router")
def keep(name):
    return any(part in name.split(".") for part in KEPT)
class Port:
    def _get_parameter_dtype(self, name, default):
        return torch.float32 if keep(name) else default
class Child(Port):
    pass
"""
LEADING = """
class Port:
    kept = frozenset({"proj_in", "rope"})
    def _get_parameter_dtype(self, name, default):
        if self.uniform:
            return default
        return torch.float32 if name.split(".", 1)[0] in self.kept else default
"""


def test_a_port_that_asks_a_helper() -> None:
    for cls in ("Port", "Child"):
        kept = kept_by_port(HELPER, cls)
        assert (kept.parts, kept.leading, kept.readable) == (("norm", "router"), False, True)
        assert kept.keeps("blocks.0.norm.weight")
        assert not kept.keeps("blocks.0.norm1.weight")


def test_a_port_that_looks_at_the_first_component() -> None:
    kept = kept_by_port(LEADING, "Port")
    assert kept.keeps("rope.freqs")
    assert not kept.keeps("blocks.0.rope.freqs")


@pytest.mark.parametrize(
    "body",
    [
        "return torch.float32 if self.special(name) else default",
        "return torch.float32 if 'norm' in name else default",
        "return self.table[name]",
    ],
)
def test_a_port_that_decides_otherwise_is_not_guessed(body: str) -> None:
    kept = kept_by_port(
        f"class Port:\n    def _get_parameter_dtype(self, name, default):\n        {body}\n", "Port"
    )
    assert not kept.readable
    assert not kept.keeps("norm.weight")


def test_a_list_that_the_loader_of_fastvideo_ignores() -> None:
    text = "class Model:\n    _keep_in_fp32_modules = ['norm']\n"
    text += "class Bare(Model):\n    _keep_in_fp32_modules = None\n"
    assert kept_by_port(text, "Model") == KeptModules()
    assert kept_by_official(text, "Model") == KeptModules(("norm",))
    assert kept_by_official(text, "Bare") == KeptModules()
    assert kept_by_official("class Other:\n    pass\n", "Model") == KeptModules()
