"""What is recorded of numpy's comparisons and torch's predicates, and of a run's conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

Record = dict[str, Any]

SOURCE = """\
import random
import warnings

import numpy as np
import torch
from numpy.testing import assert_allclose

random.seed(7)
torch.manual_seed(42)
torch.manual_seed(42)
LEFT, RIGHT = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5])


def test_numpy():
    assert_allclose(LEFT.numpy(), LEFT.numpy(), atol=0.5)
    np.testing.assert_array_equal(LEFT.numpy(), LEFT.numpy())
    np.testing.assert_array_almost_equal(LEFT.numpy(), RIGHT.numpy(), decimal=0)


def test_numpy_fails():
    assert_allclose(LEFT.numpy(), desired=RIGHT.numpy(), rtol=0.0, atol=0.25)


def test_predicates():
    assert torch.allclose(LEFT, LEFT, rtol=0.125)
    assert not torch.allclose(LEFT, RIGHT, atol=0.25, rtol=0)
    assert torch.equal(LEFT, LEFT.clone())
    assert np.allclose(LEFT.numpy(), LEFT.numpy())
    assert np.array_equal(LEFT.numpy(), LEFT.numpy())


def test_wrong_calls_raise_as_ever():
    half = LEFT.numpy()
    for call in (lambda: torch.allclose(LEFT), lambda: torch.equal(1, 2), lambda: assert_allclose(half)):
        try:
            call()
        except TypeError:
            continue
        raise AssertionError("no TypeError")


def test_libraries_compare_among_themselves():
    library = {"torch": torch}
    exec(compile("def same(a, b): return torch.equal(a, b)", "/lib/x.py", "exec"), library)
    assert library["same"](LEFT, LEFT)


def test_warns():
    warnings.warn("slow attention", stacklevel=1)
    warnings.warn("slow attention", stacklevel=1)
"""


@pytest.fixture(scope="module")
def records(run_probe: Callable[..., list[Record]], tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    root = tmp_path_factory.mktemp("project")
    (root / "test_it.py").write_text(SOURCE)
    return run_probe(root, "test_it.py")


def compared(records: list[Record], test: str) -> list[Record]:
    return [r for r in records if r["kind"] == "comparison" and r["test"].endswith(f"::{test}")]


def outcomes(records: list[Record]) -> dict[str, str]:
    return {r["test"].rpartition("::")[2]: r["outcome"] for r in records if r["kind"] == "outcome"}


def test_no_outcome_is_another(records: list[Record]) -> None:
    assert outcomes(records) == {
        "test_numpy": "passed",
        "test_numpy_fails": "failed",
        "test_predicates": "passed",
        "test_wrong_calls_raise_as_ever": "passed",
        "test_libraries_compare_among_themselves": "passed",
        "test_warns": "passed",
    }


def test_numpys_assertions(records: list[Record]) -> None:
    close, exact, almost = compared(records, "test_numpy")
    assert (close["through"], close["rtol"], close["atol"]) == ("numpy.testing.assert_allclose", 1e-7, 0.5)
    assert (exact["through"], exact["rtol"], exact["atol"]) == ("numpy.testing.assert_array_equal", 0.0, 0.0)
    assert almost["through"] == "numpy.testing.assert_array_almost_equal"
    assert (almost["atol"], almost["max_abs"], almost["needed_tolerance"]) == (1.5, 0.5, 0.5)
    assert all(record["passed"] for record in (close, exact, almost))
    assert (close["name"], close["line"]) == ("LEFT.numpy()", 14)


def test_a_failure_has_its_numbers(records: list[Record]) -> None:
    (failed,) = compared(records, "test_numpy_fails")
    assert not failed["passed"]
    assert (failed["max_abs"], failed["needed_tolerance"], failed["atol"]) == (0.5, 0.5, 0.25)
    assert "Not equal to tolerance" in failed["message"]


def test_predicates_say_what_they_said(records: list[Record]) -> None:
    told = [(r["through"], r["passed"], r["rtol"], r["atol"]) for r in compared(records, "test_predicates")]
    assert told == [
        ("torch.allclose", True, 0.125, 1e-8),
        ("torch.allclose", False, 0.0, 0.25),
        ("torch.equal", True, 0.0, 0.0),
        ("numpy.allclose", True, 1e-5, 1e-8),
        ("numpy.array_equal", True, 0.0, 0.0),
    ]


def test_what_stands_outside_of_the_project_is_left_out(records: list[Record]) -> None:
    assert compared(records, "test_libraries_compare_among_themselves") == []
    assert compared(records, "test_wrong_calls_raise_as_ever") == []


def test_conditions(records: list[Record]) -> None:
    (told,) = [record for record in records if record["kind"] == "conditions"]
    assert told["seeds"] == [["random.seed", 7], ["torch.manual_seed", 42]]
    assert told["warnings"] == [["UserWarning", "slow attention", 2]]
    assert {"torch", "numpy"} <= set(told["packages"])
    assert "diffusers" not in told["packages"], "it was not imported"
    assert told["peak_memory"] > 50 << 20
    assert (told["deterministic"], told["matmul_precision"], told["devices"]) == (False, "highest", [])
    assert math.isfinite(told["threads"])
