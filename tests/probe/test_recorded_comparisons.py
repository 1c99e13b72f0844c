"""What is recorded of `assert_close`: one run of one file, looked at from many sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

Record = dict[str, Any]

SOURCE = """\
import os
import warnings

import numpy
import pytest
import torch
from torch.testing import assert_close


def check(actual, expected, *, atol=0.1):
    assert_close(actual, expected, atol=atol, rtol=0.0)


class Base:
    def compare(self, mine, theirs):
        torch.testing.assert_close(mine, theirs)


def test_passing():
    ported = torch.tensor([1.0, 2.0])
    assert_close(ported, torch.tensor([1.0, 2.0]))


def test_drift():
    official = torch.tensor([1.0, 2.0, -4.0, 0.0])
    ported = official + torch.tensor([0.5, 0.0, -0.25, 0.0])
    torch.testing.assert_close(
        ported,
        official,
        rtol=0.125,
        atol=0.25,
    )


def test_keywords():
    assert_close(expected=torch.zeros(2), actual=torch.zeros(2).add(0.5), rtol=0.0, atol=1.0)


def test_through_helpers():
    hidden, text = torch.ones(2), torch.zeros(2)
    check(hidden, torch.ones(2))
    check(expected=torch.zeros(2), actual=text, atol=0.5)
    Base().compare(hidden * 2, torch.full((2,), 2.0))
    for name, value in {"sample": hidden, "guidance": text}.items():
        assert_close(value, value.clone())


def test_containers():
    left = {"a": [torch.ones(2), torch.zeros(3)], "b": 2.0}
    right = {"a": (torch.ones(2), torch.full((3,), 0.5)), "b": 2.0}
    assert_close(left, right)


def test_lengths():
    assert_close([torch.ones(1)], [torch.ones(1), torch.ones(1)])


def test_keys():
    assert_close({"a": torch.ones(1)}, {"b": torch.ones(1)})


def test_shapes():
    assert_close(torch.ones(2, 3), torch.ones(3, 2))


def test_dtypes():
    assert_close(torch.ones(2, dtype=torch.bfloat16), torch.ones(2))


def test_bf16_defaults():
    assert_close(torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16))


def test_numbers():
    assert_close(3, 3)
    assert_close(1.5, 1.5)
    assert_close(True, True)
    assert_close(numpy.ones(3), numpy.ones(3))


def test_integers():
    assert_close(torch.tensor([1, 5]), torch.tensor([1, 2]))


def test_complex():
    assert_close(torch.tensor([3 + 4j]), torch.tensor([0j]), atol=6.0, rtol=0.0)


def test_nan_equal():
    nan = float("nan")
    assert_close(torch.tensor([nan, 1.0]), torch.tensor([nan, 1.0]), equal_nan=True)


def test_nan():
    nan, inf = float("nan"), float("inf")
    assert_close(torch.tensor([nan, inf, -inf, 1.0]), torch.tensor([0.0, inf, inf, 1.5]))


def test_meta():
    # Passes on some versions of torch and raises on others: either way there is nothing to measure.
    try:
        assert_close(torch.ones(2, device="meta"), torch.ones(2, device="meta"))
    except (AssertionError, NotImplementedError, RuntimeError):
        pass


def test_empty():
    assert_close(torch.ones(0, 3), torch.ones(0, 3))


def test_misuse():
    with pytest.raises(ValueError):
        assert_close(torch.ones(1), torch.ones(1), rtol=0.1)
    with pytest.raises(TypeError):
        assert_close(torch.ones(1))


def test_caught():
    with pytest.raises(AssertionError, match="not close"):
        assert_close(torch.ones(1), torch.zeros(1))


def test_allclose_too():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_allclose(torch.ones(1), torch.ones(1))


def test_untouched():
    a = torch.ones(3, requires_grad=True)
    b = a * 2
    version = b._version
    assert_close(b, torch.full((3,), 2.0, requires_grad=True))
    assert b._version == version
    b.sum().backward()
    with torch.inference_mode():
        assert_close(torch.ones(2), torch.ones(2))


def test_no_comparison():
    assert "ditproof_probe" not in os.environ.get("PYTHONPATH", "")


def test_many():
    x = torch.ones(1)
    for _ in range(520):
        assert_close(x, x)


@pytest.mark.skip(reason="CUDA, one day")
def test_bare_skip(): ...


@pytest.mark.skipif("True", reason="weights not found")
def test_conditional_skip(): ...


def test_skip_inside():
    pytest.skip("Official reference missing")


@pytest.mark.xfail(reason="gate order")
def test_expected_failure():
    assert_close(torch.ones(1), torch.zeros(1))


@pytest.mark.xfail(reason="was broken")
def test_unexpected_pass():
    assert_close(torch.ones(1), torch.ones(1))


@pytest.fixture
def broken():
    raise RuntimeError("no such fixture data")


def test_broken_fixture(broken): ...


def test_exception():
    torch.ones(2, 3) @ torch.ones(2, 3)
"""


@pytest.fixture(scope="module")
def records(run_probe: Callable[..., list[Record]], tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    root = tmp_path_factory.mktemp("project")
    (root / "test_many_sides.py").write_text(SOURCE)
    return run_probe(root, "test_many_sides.py")


@pytest.fixture(scope="module")
def comparisons(records: list[Record]) -> Callable[[str], list[Record]]:
    def of(test: str) -> list[Record]:
        return [
            r for r in records if r["kind"] == "comparison" and r["test"] == f"test_many_sides.py::{test}"
        ]

    return of


@pytest.fixture(scope="module")
def outcome(records: list[Record]) -> Callable[[str], Record]:
    def of(test: str) -> Record:
        return next(
            r for r in records if r["kind"] == "outcome" and r["test"] == f"test_many_sides.py::{test}"
        )

    return of


def test_early_bound_and_passing(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_passing")
    assert record["passed"]
    assert (record["actual"], record["expected"]) == ("ported", "torch.tensor([1.0, 2.0])")
    assert (record["max_abs"], record["mean_abs"], record["rel_l2"]) == (0.0, 0.0, 0.0)
    assert (record["rtol"], record["atol"]) == (1.3e-6, 1e-5)


def test_drift_is_exact(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_drift")
    assert not record["passed"]
    assert record["max_abs"] == 0.5
    assert record["mean_abs"] == 0.1875
    assert record["rel_l2"] == pytest.approx(math.sqrt(0.3125 / 21), rel=1e-12)
    # 0.5 - 0.125 * 1 at the first element; the third needs nothing, its own size allows 0.5.
    assert record["needed_tolerance"] == 0.375
    assert (record["elements"], record["mismatched"]) == (4, 1)
    assert "Greatest absolute difference: 0.5" in record["message"]


def test_place_of_the_call(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_drift")
    lines = SOURCE.splitlines()
    assert lines[record["line"]].strip() == "torch.testing.assert_close("
    assert (record["column"], record["end_line"] - record["line"], record["end_column"]) == (4, 5, 5)
    assert record["path"].endswith("test_many_sides.py")


def test_keywords(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_keywords")
    assert (record["actual"], record["expected"]) == ("torch.zeros(2).add(0.5)", "torch.zeros(2)")
    assert record["max_abs"] == record["needed_tolerance"] == 0.5
    assert record["rel_l2"] is None  # nothing to be relative to


def test_names_through_helpers(comparisons: Callable[[str], list[Record]]) -> None:
    names = [record["name"] for record in comparisons("test_through_helpers")]
    assert names == ["hidden", "text", "hidden * 2", "value (sample)", "value (guidance)"]


def test_containers(comparisons: Callable[[str], list[Record]]) -> None:
    records = comparisons("test_containers")
    assert [r["name"] for r in records] == ["left['a'][0]", "left['a'][1]", "left['b']"]
    assert [r["passed"] for r in records] == [True, False, True]
    assert [r["max_abs"] for r in records] == [0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ("test_lengths", "1 items against 2"),
        ("test_keys", "keys differ: missing 'b', unexpected 'a'"),
        ("test_shapes", "shape [2, 3] against [3, 2]"),
        ("test_meta", "a meta tensor has no values"),
    ],
)
def test_nothing_to_measure(comparisons: Callable[[str], list[Record]], test: str, problem: str) -> None:
    (record,) = comparisons(test)
    assert record["problem"] == problem
    assert test == "test_meta" or not record["passed"]
    assert record["max_abs"] is record["needed_tolerance"] is None


def test_dtypes(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_dtypes")
    assert not record["passed"]
    assert (record["dtype_actual"], record["dtype_expected"]) == ("bfloat16", "float32")
    assert record["max_abs"] == 0.0
    (record,) = comparisons("test_bf16_defaults")
    assert (record["rtol"], record["atol"]) == (0.016, 1e-5)


def test_numbers_and_arrays(comparisons: Callable[[str], list[Record]]) -> None:
    records = comparisons("test_numbers")
    assert [r["dtype_actual"] for r in records] == ["int64", "float64", "bool", "float64"]
    assert all(r["passed"] and r["max_abs"] == 0.0 for r in records)
    (record,) = comparisons("test_integers")
    assert (record["max_abs"], record["rtol"], record["atol"], record["passed"]) == (3.0, 0.0, 0.0, False)
    (record,) = comparisons("test_complex")
    assert (record["max_abs"], record["passed"]) == (5.0, True)


def test_what_is_not_finite(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_nan_equal")
    assert (record["passed"], record["nonfinite_mismatched"], record["nonfinite_actual"]) == (True, 0, 1)
    (record,) = comparisons("test_nan")
    assert (record["nonfinite_actual"], record["nonfinite_expected"]) == (3, 2)
    assert record["nonfinite_mismatched"] == 2  # NaN against 0, -inf against inf; inf equals inf
    assert record["needed_tolerance"] is None
    assert record["max_abs"] == 0.5


def test_empty(comparisons: Callable[[str], list[Record]]) -> None:
    (record,) = comparisons("test_empty")
    assert (record["passed"], record["max_abs"], record["elements"]) == (True, 0.0, 0)


@pytest.mark.parametrize(
    "test", ["test_misuse", "test_caught", "test_allclose_too", "test_untouched", "test_no_comparison"]
)
def test_behaviour_is_unchanged(outcome: Callable[[str], Record], test: str) -> None:
    assert outcome(test)["outcome"] == "passed", outcome(test)["reason"]


def test_comparisons_are_bounded(records: list[Record], comparisons: Callable[[str], list[Record]]) -> None:
    assert len(comparisons("test_many")) == 500
    assert [r["limit"] for r in records if r["kind"] == "overflow"] == [500]


@pytest.mark.parametrize(
    ("test", "expected", "skip_class"),
    [
        ("test_bare_skip", "skipped", "unconditional"),
        ("test_conditional_skip", "skipped", "no-weights"),
        ("test_skip_inside", "skipped", "no-official-clone"),
        ("test_expected_failure", "xfailed", "expected-failure"),
        ("test_unexpected_pass", "xpassed", None),
        ("test_broken_fixture", "error", None),
        ("test_exception", "failed", None),
    ],
)
def test_outcomes(outcome: Callable[[str], Record], test: str, expected: str, skip_class: str | None) -> None:
    record = outcome(test)
    assert (record["outcome"], record["skip_class"]) == (expected, skip_class)
    definition = record["definition"]
    line = SOURCE.splitlines()[definition["line"]]
    assert line[definition["column"] : definition["end_column"]] == test


def test_where_an_exception_passed(outcome: Callable[[str], Record]) -> None:
    record = outcome("test_exception")
    assert record["exception"] == "RuntimeError"
    assert "torch.ones(2, 3) @" in SOURCE.splitlines()[record["failure"]["line"]]
