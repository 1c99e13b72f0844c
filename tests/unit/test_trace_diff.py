"""`ditproof trace-diff` and the judgements behind it, on lines written by hand."""

from __future__ import annotations

import array
import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from cli_testing import Cli, cli

from analyzers.numeric.trace_diff import TraceDiff, diff
from analyzers.numeric.trace_files import TraceFile, parse_trace
from analyzers.numeric.trace_names import by_equal_names, by_mapping
from analyzers.weights.mapping.renaming import rename
from analyzers.weights.mapping.symbolic import SymbolicRule

__all__ = ["cli"]

BUCKETS = 256
Line = dict[str, Any]


def sketch(seed: int, error: float = 0.0, other: int = 0) -> list[float]:
    """A sketch of norm 16, and another one's share in it."""
    made = random.Random(seed), random.Random(other)
    return [made[0].gauss(0, 1) + error * made[1].gauss(0, 1) for _ in range(BUCKETS)]


def tap(module: str, values: list[float] | None, **more: Any) -> Line:
    data = base64.b64encode(array.array("f", values).tobytes()).decode() if values is not None else None
    line = {
        "module": module,
        "call": 0,
        "end": "out",
        "tensor": "out",
        "step": 0,
        "number": 0,
        "parent": None,
    }
    line |= {"shape": [4, 64], "dtype": "float32", "norm": 16.0, "sum": 3.0, "abs_mean": 0.8}
    return {**line, "min": -2.5, "max": 2.75, "nonfinite": 0, "sketch": data, **more}


def ours(
    *lines: Line,
    modules: tuple[tuple[str, tuple[str, ...]], ...] = (),
    side: str = "official",
    end: bool = True,
) -> str:
    kind = {"kind": "sign-fold-1", "buckets": BUCKETS, "period": 65536, "seed": 20}
    head = {"ditproof_trace": 1, "side": side, "model": "M", "path": None, "sketch": kind}
    head |= {"modules": [[name, "C", list(own)] for name, own in modules], "versions": {}}
    foot = [{"end": True, "taps": len(lines), "forwards": 1}] if end else []
    return "".join(json.dumps(line) + "\n" for line in (head, *lines, *foot))


def fastvideo(*rows: tuple[str, int | None, dict[str, Any]]) -> str:
    return "".join(
        json.dumps({"module": m, "tensor": "out", "step": s, **told}) + "\n" for m, s, told in rows
    )


def read(text: str) -> TraceFile:
    return parse_trace(text, "file")


def by_names(one: str, other: str, tolerance: float | None = None) -> TraceDiff:
    left, right = read(one), read(other)
    return diff(left, right, by_equal_names(left, right), tolerance)


@pytest.mark.parametrize(
    ("error", "more", "status"),
    [
        (0.0, {}, "equal"),
        (5e-7, {}, "equal"),
        (1e-5, {}, "differs"),
        (1e-5, {"dtype": "bfloat16"}, "equal"),
        (0.2, {"dtype": "bfloat16", "max": 2.9}, "differs"),
        (1.4, {"max": 2.76}, "differs"),
        (1.4, {"sum": 3.01}, "differs"),
        (1.4, {"norm": 16.001}, "differs"),
        (1.4, {}, "layout"),
        (0.0, {"nonfinite": 1, "sketch": None, "norm": None}, "nonfinite"),
        (0.0, {"shape": [4, 63]}, "incomparable"),
        (0.0, {"shape": [4, 2, 32]}, "equal"),
        (0.0, {"sketch": None, "norm": None, "problem": "a meta tensor has no values"}, "incomparable"),
    ],
)
def test_one_row(error: float, more: dict[str, Any], status: str) -> None:
    changed = {**tap("a", sketch(1, error, 2)), **more}
    if "dtype" not in more and error:
        changed["sketch"] = tap("a", sketch(1, error, 2))["sketch"]
    (row,) = by_names(ours(tap("a", sketch(1))), ours(changed)).rows
    assert row.status == status
    if status in ("equal", "differs", "layout"):
        assert row.error is not None
        assert abs(row.error - error) <= 0.15 * error + 1e-7


def test_a_layout_needs_values_that_differ_much() -> None:
    """An error of one per cent can leave all invariants alone; it is an error, not another order."""
    (row,) = by_names(ours(tap("a", sketch(1))), ours(tap("a", sketch(1, 0.01, 2)))).rows
    assert row.status == "differs"


def test_sketches_of_another_kind_are_not_compared() -> None:
    other = ours(tap("a", sketch(3))).replace('"seed": 20', '"seed": 21')
    found = by_names(ours(tap("a", sketch(1))), other)
    assert (found.status, found.blind) == ("passed", 1)
    assert "made in another way" in " ".join(found.notes)


def test_the_first_in_the_ports_order_and_what_agreed_before_it() -> None:
    one = ours(*(tap(name, sketch(n)) for n, name in enumerate("abcd")))
    other = ours(
        tap("b", sketch(1)), tap("a", sketch(0)), tap("d", sketch(3, 0.1, 9)), tap("c", sketch(2, 0.1, 9))
    )
    found = by_names(one, other)
    assert found.first is not None
    assert found.after is not None
    assert (found.first.native.module, found.after.native.module) == ("d", "a")
    assert [row.native.module for row in found.divergent] == ["d", "c"]
    assert "1 later row may" in found.reason


def test_a_module_that_is_only_placed_may_hold_other_work() -> None:
    """`norm` corresponds by place alone, and the projection after it agrees: no error, another extent."""
    rules = (SymbolicRule(r"^x\.(.*)$", r"y.\1"),)
    official = ours(
        tap("x.norm", sketch(1)),
        tap("x.proj", sketch(2)),
        modules=(("x", ("w",)), ("x.norm", ()), ("x.proj", ("w",))),
    )
    native = ours(
        tap("y.norm", sketch(1, 0.5, 3)),
        tap("y.proj", sketch(2)),
        modules=(("y", ("w",)), ("y.norm", ()), ("y.proj", ("w",))),
        side="native",
    )
    left, right = read(official), read(native)
    found = diff(left, right, by_mapping(left, right, lambda name: rename(name, rules, "first-match")))
    assert (found.status, [row.native.module for row in found.extents]) == ("passed", ["y.norm"])
    worse = read(native.replace(*(tap("y.proj", sketch(2, e, 4))["sketch"] for e in (0.0, 0.5))))
    found = diff(left, worse, by_mapping(left, worse, lambda name: rename(name, rules, "first-match")))
    assert found.first is not None
    assert (found.first.native.module, found.extents) == ("y.norm", ())


def test_steps_and_calls_of_fastvideos_lines() -> None:
    """Conditional and unconditional pass in each step; one side was not run inside `trace_step`."""
    told = [
        {"abs_mean": float(n + 1), "sum": float(n), "shape": [10], "dtype": "torch.float32"} for n in range(4)
    ]
    steps = fastvideo(*(("a", n // 2, told[n]) for n in range(4)))
    flat = fastvideo(*(("a", None, told[n]) for n in range(4)))
    assert by_names(steps, steps).status == "passed"
    found = by_names(steps, flat)
    assert (found.status, len(found.rows)) == ("passed", 4)
    assert "count their steps differently" in " ".join(found.notes)
    swapped = fastvideo(*(("a", n // 2, told[n]) for n in (1, 0, 2, 3)))
    found = by_names(steps, swapped)
    assert found.first is not None
    assert (found.first.native.step, found.first.native.call) == (0, 0)


@pytest.mark.parametrize(
    ("one", "two", "status"),
    [
        ({"sum": 0.0, "shape": [1000], "abs_mean": 1.0}, {"sum": 1e-4}, "equal"),  # sums cancel
        ({"sum": 0.0, "shape": [1000], "abs_mean": 1.0}, {"sum": 50.0}, "differs"),
        ({"sum": 0.0, "abs_mean": 1.0}, {"sum": 5.0}, "equal"),  # no shape: nothing to hold it against
        ({"sum": 5.0}, {"sum": 6.0}, "incomparable"),
        ({"std": 1.0}, {"std": 1.1}, "differs"),
        ({"mean": 0.0, "std": 1.0}, {"mean": 0.1}, "differs"),
        ({"min": -1.0, "max": 2.0}, {"max": 2.1}, "differs"),
        ({"abs_mean": 1.0}, {"abs_mean": float("nan")}, "nonfinite"),
        ({"shape": [2, 3]}, {}, "incomparable"),
        ({"abs_mean": 1.0, "shape": [2]}, {"shape": [3]}, "incomparable"),
        ({"abs_mean": 0.0}, {"abs_mean": 1e-9}, "differs"),
    ],
)
def test_statistics_count_by_the_size_of_the_values(
    one: dict[str, Any], two: dict[str, Any], status: str
) -> None:
    one = {**one, "dtype": "torch.float32"}
    (row,) = by_names(fastvideo(("a", 0, one)), fastvideo(("a", 0, {**one, **two}))).rows
    assert row.status == status


def test_merged_projections_by_their_sums() -> None:
    rules = tuple(
        SymbolicRule(rf"^({name})\.(.*)$", r"qkv.\2", (place, 3)) for place, name in enumerate("qkv")
    )
    told = [{"abs_mean": 1.0 + n, "sum": 2.0, "min": -1.0 - n, "max": 4.0, "shape": [2, 8]} for n in range(3)]
    left = read(fastvideo(*((name, 0, told[n]) for n, name in enumerate("qkv"))))
    whole = {"abs_mean": 2.0, "sum": 6.0, "min": -3.0, "max": 4.0, "shape": [2, 24]}

    def compare(**more: Any) -> TraceDiff:
        right = read(fastvideo(("qkv", 0, {**whole, **more})))
        return diff(left, right, by_mapping(left, right, lambda name: rename(name, rules, "first-match")))

    assert compare().status == "passed"
    assert len(compare().rows[0].official) == 3
    assert compare(abs_mean=2.2).status == "failed"


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    one, two, three = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "c.jsonl"
    one.write_text(
        ours(tap("x.a", sketch(1)), tap("x.b", sketch(2)), modules=(("x.a", ("w",)), ("x.b", ("w",))))
    )
    two.write_text(
        ours(
            tap("y.a", sketch(1)),
            tap("y.b", sketch(2, 0.02, 7)),
            side="native",
            modules=(("y.a", ("w",)), ("y.b", ("w",))),
        )
    )
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({r"^x\.(.*)$": r"y.\1"}))
    found = cli("trace-diff", str(one), str(two), "--mapping", str(mapping))
    assert found.code == 1
    assert "y.b (out): relative error 0.0" in found.out
    found = cli("trace-diff", str(one), str(two), "--mapping", str(mapping), "--format", "json")
    document = json.loads(found.out)
    assert (document["status"], document["tier"], document["aligned"]) == ("failed", "trace-files", 2)
    assert document["first"]["native"]["module"] == "y.b"
    assert document["first"]["after"] == ["y.a"]
    assert document["first"]["b"] == 3
    assert cli("trace-diff", str(one), str(one)).code == 0
    found = cli("trace-diff", str(one), str(two))
    assert found.code == 3
    assert "--mapping" in found.out
    assert cli("trace-diff", str(two), str(one)).code == 2
    three.write_text(one.read_text()[:-30])
    found = cli("trace-diff", str(one), str(three))
    assert found.code == 3
    assert "ended early" in found.out


@pytest.mark.parametrize("text", ["nope", "[1]", '{"a(": "b"}', '{"a": 1}', '{"a": ["b", 0]}'])
def test_a_mapping_that_cannot_be_read(cli: Cli, tmp_path: Path, text: str) -> None:
    trace, mapping = tmp_path / "a.jsonl", tmp_path / "mapping.json"
    trace.write_text(ours(tap("a", sketch(1))))
    mapping.write_text(text)
    found = cli("trace-diff", str(trace), str(trace), "--mapping", str(mapping))
    assert found.code == 2
    assert "--mapping" in found.err


def test_files_that_are_no_traces(cli: Cli, tmp_path: Path) -> None:
    found = cli("trace-diff", str(tmp_path / "none"), str(tmp_path / "none"))
    assert found.code == 2
    assert "cannot be read" in found.err
