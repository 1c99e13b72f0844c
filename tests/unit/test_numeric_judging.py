"""Verdicts from readings: one divergence a cause, of the right kind, at its place; none of a clean port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from numeric_samples import FLOOR, PORT, blocks, output, reading, readings

from analyzers.numeric.alignment import Alignment, align
from analyzers.numeric.floors import LEAST, TIMES, Floors
from analyzers.numeric.frontiers import Origin
from analyzers.numeric.judging import judge, merged, with_divergences
from analyzers.numeric.records import Built, Observation, OutputReading, Pair, Reading
from analyzers.numeric.verdicts import Divergence, Mismatch, NumericVerdict, Spot


class Toy:
    """The model of blocks with its alignment, and verdicts of readings made up for it."""

    def __init__(self) -> None:
        self.built, self.observation = blocks()
        self.alignment: Alignment = align(self.built, self.observation)

    def pair(self, native: str, end: str) -> Pair:
        return next(p for p in self.alignment.pairs if p.native.module == native and p.native.end == end)

    def verdict(
        self,
        *changed: tuple[str, str, dict[str, object]],
        outputs: Sequence[OutputReading] = (output(1e-3),),
        built: Built | None = None,
        observations: Sequence[Observation] | None = None,
        dtype_readings: Sequence[Reading] = (),
    ) -> NumericVerdict:
        """All equal to rounding, but for these changes of readings at a native module's end."""
        changes = {(module, end): what for module, end, what in changed}
        found = [
            replace(one, **changes.get(self._key(one.pair), {}))  # type: ignore[arg-type]
            for one in readings(self.alignment)
        ]
        seen = observations or [replace(self.observation, outputs=tuple(outputs))]
        return judge(
            built or self.built,
            seen,
            {one.case: found for one in seen},
            self.alignment,
            dtype_readings,
        )

    def _key(self, number: int) -> tuple[str, str]:
        native = self.alignment.number(number).native
        return native.module, native.end


@pytest.fixture
def toy() -> Toy:
    return Toy()


def places(verdict: NumericVerdict) -> list[tuple[str, str, str, int]]:
    return [(d.kind, d.pair.native.module, d.pair.native.end, d.calls) for d in verdict.divergences]


def test_a_clean_port_passes(toy: Toy) -> None:
    verdict = toy.verdict(outputs=(output(4e-7),))
    assert verdict.status == "passed"
    assert verdict.divergences == ()
    assert not verdict.reaches_outputs
    assert not verdict.unlocated
    assert verdict.drifting == ()
    assert verdict.aligned == len(toy.alignment.pairs)


def test_rounding_as_large_as_the_official_model_makes_is_no_difference(toy: Toy) -> None:
    """A sinusoid of large angles loses 5e-5 in float32, on both sides."""
    rounding = {"error": 1e-4, "floor": 5e-5}
    assert toy.verdict(("blocks.0.to_q", "in", rounding), outputs=(output(0.0),)).status == "passed"


def test_an_epsilon_stands_above_the_floor(toy: Toy) -> None:
    verdict = toy.verdict(("blocks.0.norm1", "out", {"error": 2e-6}))
    assert places(verdict) == [("inside", "blocks.0.norm1", "out", 1)]
    first = verdict.divergences[0]
    assert (first.native.path, first.native.line) == (PORT, 31)
    assert first.floor == FLOOR
    assert "eps 1e-05 against 1e-06" in first.message
    assert "relative error 2e-06, 20 times what rounding makes here (1e-07)" in first.message
    assert first.message.endswith("the outputs then differ by 0.001 (relative)")


def test_one_error_of_all_blocks_is_one(toy: Toy) -> None:
    verdict = toy.verdict(*((f"blocks.{n}.norm1", "out", {"error": 1e-3}) for n in (0, 1)))
    assert places(verdict) == [("inside", "blocks.0.norm1", "out", 2)]
    assert "; the same at 1 other place" in verdict.divergences[0].message


def test_one_wrong_value_with_two_readers_is_one(toy: Toy) -> None:
    wrong = {"error": 0.1}
    verdict = toy.verdict(*((f"blocks.0.{own}", "in", wrong) for own in ("to_q", "to_k")))
    assert places(verdict) == [("between", "blocks.0.to_q", "in", 2)]
    first = verdict.divergences[0]
    assert (first.native.path, first.native.line) == (PORT, 202)
    assert first.after == ("blocks.0.norm1",)
    assert "what 'blocks.0.to_q' and 'blocks.0.to_k' get as their input differs" in first.message


def test_other_values_are_other_errors(toy: Toy) -> None:
    verdict = toy.verdict(
        ("blocks.0.to_q", "in", {"error": 0.1}),
        ("blocks.0.to_out", "in", {"error": 0.2}),
        ("proj_out", "in", {"error": 0.3}),
    )
    assert [place[1] for place in places(verdict)] == ["blocks.0.to_q", "blocks.0.to_out", "proj_out"]
    assert {d.reaches_outputs for d in verdict.divergences} == {None}
    assert verdict.reaches_outputs


def test_a_composite_whose_parts_are_right_goes_wrong_after_the_last(toy: Toy) -> None:
    verdict = toy.verdict(("blocks.0", "out", {"error": 0.5}))
    assert places(verdict) == [("between", "blocks.0", "out", 1)]
    assert verdict.divergences[0].after == ("blocks.0.to_out",)
    assert "it goes wrong after 'blocks.0.to_out'" in verdict.divergences[0].message


def test_what_does_not_reach_the_outputs_is_said(toy: Toy) -> None:
    verdict = toy.verdict(("blocks.0.to_out", "in", {"error": 0.1}), outputs=(output(0.0),))
    assert verdict.status == "failed"
    assert not verdict.reaches_outputs
    assert verdict.divergences[0].reaches_outputs is False
    assert verdict.divergences[0].message.endswith("it does not reach the outputs")


def test_a_single_error_carries_the_outputs_error(toy: Toy) -> None:
    verdict = toy.verdict(("proj_out", "out", {"error": 0.1}), outputs=(output(0.07),))
    assert verdict.divergences[0].reaches_outputs
    assert verdict.divergences[0].output_error == 0.07
    assert verdict.drifting == ("out",)


def test_outputs_that_differ_without_a_place_are_our_own_error(toy: Toy) -> None:
    verdict = toy.verdict(outputs=(output(0.01),))
    assert verdict.unlocated
    assert verdict.status == "failed"
    assert "shortcoming of the comparison" in verdict.reason


def test_values_in_another_form_are_only_told(toy: Toy) -> None:
    form = {"status": "layout", "layout": "heads flattened", "reorders": False, "plain_error": None}
    verdict = toy.verdict(*((f"blocks.{n}.to_out", "in", form) for n in (0, 1)), outputs=(output(0.0),))
    assert verdict.status == "passed"
    assert verdict.layouts == (
        "the input of 'blocks.0.to_out' holds the official values in another form: heads flattened",
    )


REORDERED = {"status": "layout", "layout": "tokens reversed", "reorders": True, "plain_error": 1.2}


def test_an_order_that_is_put_back_is_only_told(toy: Toy) -> None:
    verdict = toy.verdict(("blocks.0", "in", REORDERED), outputs=(output(0.0),))
    assert verdict.status == "passed"
    assert verdict.layouts == (
        "the values at the input 'hidden_states' of 'blocks.0' are in another order (tokens reversed), "
        "undone later",
    )


def test_an_order_that_is_not_put_back_is_an_error_of_layout(toy: Toy) -> None:
    verdict = toy.verdict(("blocks.0", "in", REORDERED), ("", "out", REORDERED))
    assert places(verdict)[0] == ("layout", "blocks.0", "in", 1)
    assert verdict.divergences[0].error == 1.2


def test_an_output_in_another_shape_is_an_error_of_layout(toy: Toy) -> None:
    other = {"status": "layout", "layout": "axes (1, 0)", "shapes": ((2, 8), (8, 2)), "plain_error": None}
    shapes = replace(output(None), shapes=((2, 8), (8, 2)))
    verdict = toy.verdict(("", "out", other), outputs=(shapes,))
    assert [(d.kind, d.pair.native.module) for d in verdict.divergences] == [("layout", "")]
    assert not verdict.unlocated


def test_the_first_value_that_is_not_finite(toy: Toy) -> None:
    verdict = toy.verdict(("blocks.0.to_q", "out", {"error": 0.0, "nonfinite": (0, 3)}))
    assert places(verdict) == [("nonfinite", "blocks.0.to_q", "out", 1)]
    assert "gives 3 values that are NaN or infinite, where the official model has none" in (
        verdict.divergences[0].message
    )


def test_infinities_of_both_sides_are_no_difference(toy: Toy) -> None:
    same = {"error": None, "nonfinite": (16, 16)}
    assert toy.verdict(("blocks.0.to_q", "in", same), outputs=(output(0.0),)).status == "passed"


def test_other_shapes_are_told_only_where_nothing_else_explains_the_outputs(toy: Toy) -> None:
    short = {"status": "incomparable", "error": None, "shapes": ((2, 8), (2, 7))}
    assert toy.verdict(("blocks.0.to_q", "in", short), outputs=(output(0.0),)).status == "passed"
    alone = toy.verdict(("blocks.0.to_q", "in", short))
    assert places(alone) == [("between", "blocks.0.to_q", "in", 1)]
    assert "has shape [2, 7], the official value [2, 8]" in alone.divergences[0].message
    both = toy.verdict(("blocks.0.to_q", "in", short), ("proj_out", "in", {"error": 0.1}))
    assert [place[1] for place in places(both)] == ["proj_out"]


def test_what_the_load_refuses_is_told_with_the_numbers_of_its_module(toy: Toy) -> None:
    lacking = ("blocks.0.to_q.bias", "blocks.1.to_q.bias")
    verdict = toy.verdict(
        *((f"blocks.{n}.to_q", "out", {"error": 0.3}) for n in (0, 1)),
        built=replace(toy.built, unexpected=lacking),
    )
    assert places(verdict) == [("inside", "blocks.0.to_q", "out", 2)]
    first = verdict.divergences[0]
    assert (first.error, first.native.line) == (0.3, 41)
    assert first.message.startswith(
        "'blocks.0.to_q' has no 'bias', which the official weights hold: the strict load refuses them; "
        "the same in 2 blocks"
    )


def test_a_load_fault_that_no_number_shows_is_told_too(toy: Toy) -> None:
    verdict = toy.verdict(built=replace(toy.built, missing=("proj_out.scale",)), outputs=(output(0.0),))
    assert places(verdict) == [("inside", "proj_out", "out", 1)]
    assert verdict.divergences[0].error is None
    assert "has 'scale', which no official weight fills" in verdict.divergences[0].message


def test_other_cases_count_and_their_outputs_are_shown_where_they_differ(toy: Toy) -> None:
    plain = replace(toy.observation, outputs=(output(0.0),))
    long = replace(plain, case="long", outputs=(output(0.2),))
    seed = replace(plain, case="seed")
    verdict = judge(
        toy.built,
        [plain, long, seed],
        {
            "plain": readings(toy.alignment),
            "long": readings(toy.alignment, {("blocks.1.to_out", "in"): 0.2}),
            "seed": readings(toy.alignment),
        },
        toy.alignment,
    )
    assert places(verdict) == [("between", "blocks.1.to_out", "in", 1)]
    assert [one.rel_l2 for one in verdict.outputs] == [0.0, 0.2]
    assert verdict.notes == ("in the case 'long' these outputs differ: out",)


def test_the_drift_is_free_and_lockstep_side_by_side(toy: Toy) -> None:
    free = readings(toy.alignment, {("proj_out", "in"): 0.4})
    verdict = judge(
        toy.built, [toy.observation], {"plain": readings(toy.alignment)}, toy.alignment, (), {"plain": free}
    )
    assert [one.pair for one, _ in verdict.drift] == [pair.number for pair in toy.alignment.pairs]
    assert max(one.error or 0.0 for one, _ in verdict.drift) == 0.4
    assert max(one.error or 0.0 for _, one in verdict.drift) == 5e-8


def low(toy: Toy, native: str, error: float, floor: float, dtypes: tuple[str, str]) -> list[Reading]:
    wrong = toy.pair(native, "out").number
    clean = [
        replace(one, error=2e-3, floor=2e-3, dtypes=("bfloat16", "bfloat16"))
        for one in readings(toy.alignment)
    ]
    return [
        replace(one, error=error, floor=floor, dtypes=dtypes) if one.pair == wrong else one for one in clean
    ]


def test_a_lower_dtype_that_costs_accuracy(toy: Toy) -> None:
    measured = low(toy, "blocks.0.norm1", 3e-2, 1e-7, ("float32", "bfloat16"))
    verdict = toy.verdict(outputs=(output(0.0),), dtype_readings=measured)
    assert places(verdict) == [("dtype", "blocks.0.norm1", "out", 1)]
    assert "computed in bfloat16 where the official model has float32" in verdict.divergences[0].message
    assert verdict.status == "failed"


def test_one_rounding_more_is_a_note(toy: Toy) -> None:
    """As FastVideo's Wan does where diffusers keeps its time embedding in float32."""
    measured = low(toy, "blocks.0.norm1", 3e-3, 0.0, ("float32", "bfloat16"))
    verdict = toy.verdict(outputs=(output(0.0),), dtype_readings=measured)
    assert verdict.status == "passed"
    assert verdict.notes == (
        "in a lower dtype the port rounds where the official model keeps more bits, by no more than one "
        "rounding each: 'blocks.0.norm1'",
    )


def test_a_higher_dtype_and_the_official_models_own_loss_are_no_error(toy: Toy) -> None:
    higher = low(toy, "blocks.0.norm1", 3e-2, 1e-7, ("bfloat16", "float32"))
    assert toy.verdict(outputs=(output(0.0),), dtype_readings=higher).status == "passed"
    alike = low(toy, "blocks.0.norm1", 6e-3, 3e-3, ("bfloat16", "bfloat16"))
    assert toy.verdict(outputs=(output(0.0),), dtype_readings=alike).status == "passed"


def test_what_is_wrong_in_float32_is_no_question_of_dtypes(toy: Toy) -> None:
    measured = low(toy, "blocks.0.norm1", 0.5, 2e-3, ("bfloat16", "bfloat16"))
    verdict = toy.verdict(("blocks.0.norm1", "out", {"error": 0.5}), dtype_readings=measured)
    assert [d.kind for d in verdict.divergences] == ["inside"]


def test_the_limit_follows_the_measured_floor_and_never_goes_below_float32(toy: Toy) -> None:
    pair = toy.pair("proj_out", "in")
    floors = Floors.of([reading(pair, floor=1e-6), reading(pair, floor=3e-6), reading(pair, floor=2e-6)])
    assert floors.limit(reading(pair, floor=1e-8)) == LEAST
    assert floors.limit(reading(pair, floor=1e-5)) == TIMES * 1e-5
    assert floors.limit(reading(pair, floor=None)) == TIMES * 2e-6
    absent = reading(pair, None, status="absent")
    assert not floors.agrees(absent)
    assert not floors.differs(absent)


def blamed(module: str, line: int | None, kind: str = "between") -> Divergence:
    toy = Toy()
    mismatch = Mismatch("operand", "aten.mul(x, gate)", "aten.mul(x, scale)", None, None)
    spot = Spot(module, PORT, line, line)
    pair = toy.pair("proj_out", "in")
    return Divergence(kind, pair, spot, spot, 0.1, FLOOR, (), module, mismatch)  # type: ignore[arg-type]


def test_what_blame_leads_to_one_statement_is_one() -> None:
    one, other = blamed("to_q", 7), blamed("norm", 7)
    found = merged([one, other, blamed("to_q", 9), blamed("to_q", 7, "dtype"), replace(other, mismatch=None)])
    assert [(d.native.module, d.native.line, d.calls) for d in found] == [
        ("to_q", 7, 3),
        ("to_q", 9, 1),
        ("norm", 7, 1),
    ]


def test_what_began_at_one_operation_is_one() -> None:
    one, other = blamed("to_q", 7), blamed("norm", 9)
    other = replace(other, pair=replace(other.pair, number=other.pair.number + 1))
    here, there = ("aten.mul.Tensor", "blocks.0", ()), ("aten.add.Tensor", "blocks.0", ())

    def count(first: set[Origin], second: set[Origin]) -> int:
        begun = {one.pair.number: frozenset(first), other.pair.number: frozenset(second)}
        return len(merged([one, other], begun))

    assert count({here}, {here}) == 1
    assert count({here, there}, {here}) == 1
    assert count({here}, {here, there}) == 2
    assert count({here}, {there}) == 2
    assert count(set(), set()) == 2


def test_what_began_inside_of_the_module_that_a_wrong_value_went_into_is_one_with_that() -> None:
    one, other = blamed("to_q", 7), blamed("norm", 9)
    other = replace(other, pair=replace(other.pair, number=other.pair.number + 1))
    inside, beside = ("aten.pow.Tensor", "proj_out.norm", ()), ("aten.pow.Tensor", "proj_out2", ())
    first = frozenset({("aten.mul.Tensor", "blocks.0", ())})

    def count(end: str, *second: Origin) -> int:
        place = replace(one.pair.native, end=end)  # type: ignore[arg-type]
        begun = {one.pair.number: first, other.pair.number: frozenset(second)}
        return len(merged([replace(one, pair=replace(one.pair, native=place)), other], begun))

    assert count("in", inside) == 1
    assert count("in", inside, *first) == 1
    assert count("in", inside, beside) == 2
    assert count("out", inside) == 2


def test_what_is_one_with_any_place_of_a_cause_is_one_with_that_cause() -> None:
    """Two modules of one class at one line: what begins inside of the second one is no cause of its own."""
    first, second, third = blamed("to_q", 7), blamed("to_q", 7), blamed("norm", 9)
    second = replace(second, pair=replace(second.pair, number=second.pair.number + 1))
    third = replace(third, pair=replace(third.pair, number=second.pair.number + 1))
    begun = {
        second.pair.number: frozenset({("aten.mul.Tensor", "blocks.0", ())}),
        third.pair.number: frozenset({("aten.mul.Tensor", "blocks.0", ())}),
    }
    assert [d.calls for d in merged([first, second, third], begun)] == [3]


def test_sentences_count_what_is_left_after_merging(toy: Toy) -> None:
    wrong = [("blocks.0.to_q", "out", {"error": 0.1}), ("blocks.0.to_out", "in", {"error": 0.2})]
    verdict = toy.verdict(*wrong, outputs=(output(0.3),))
    assert verdict.reason == "2 places of the port compute something else; the outputs differ"
    left = with_divergences(verdict, verdict.divergences[:1])
    assert left.reason == "one place of the port computes something else; the outputs differ"
    assert (left.divergences[0].reaches_outputs, left.divergences[0].output_error) == (True, 0.3)
