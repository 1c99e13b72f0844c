"""What is left of a verdict where the test itself rounded buffers of the official model."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from analyzers.numeric.records import Address, Pair
from analyzers.numeric.verdicts import Divergence, NumericVerdict, Spot
from lsp_server.checks.held_models import HeldModels
from lsp_server.checks.trace_weights import _beyond_buffers

ADDRESS = Address("blocks.0", 0, "out", "out")
SPOT = Spot("blocks.0", None, None, None)
FOUND = Divergence(
    kind="inside",
    pair=Pair(0, ADDRESS, ADDRESS, None, "mapping"),
    native=SPOT,
    official=SPOT,
    error=1e-3,
    floor=1e-7,
    after=(),
    message="differs",
)


def models(*rounded: str) -> HeldModels:
    return cast("HeldModels", SimpleNamespace(built={"rounded": list(rounded), "dtype": "bfloat16"}))


@pytest.fixture
def verdict() -> NumericVerdict:
    return NumericVerdict(
        status="failed",
        reason="one place differs",
        outputs=(),
        divergences=(FOUND,),
        reaches_outputs=True,
        unlocated=False,
        layouts=(),
        unaligned=(),
        not_fired=(),
        taps=4,
        aligned=2,
        drift=(),
        drifting=("sample",),
    )


def test_where_all_is_explained_nothing_reaches_the_outputs(verdict: NumericVerdict) -> None:
    left, notes = _beyond_buffers(verdict, models("rope.freqs"))
    assert (left.status, left.divergences, left.reaches_outputs, left.drifting) == ("passed", (), False, ())
    assert "rope.freqs" in notes[0]
    assert "1 of that size is left out" in notes[0]


def test_what_is_larger_stays_and_reaches_them(verdict: NumericVerdict) -> None:
    large = replace(FOUND, error=0.5)
    left, _ = _beyond_buffers(replace(verdict, divergences=(FOUND, large)), models("rope.freqs"))
    assert (left.status, left.divergences, left.reaches_outputs) == ("failed", (large,), True)
    assert left.drifting == ("sample",)


def test_without_rounded_buffers_nothing_is_left_out(verdict: NumericVerdict) -> None:
    assert _beyond_buffers(verdict, models()) == (verdict, ())
