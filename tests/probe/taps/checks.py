"""What the instrument must measure, run under the project's torch: one line of JSON a check."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from toys import ToyTwin, dit, pairs

from ditproof_probe.problems import Stopped
from ditproof_probe.taps import layouts
from ditproof_probe.taps.hooks import Recorder, watching
from ditproof_probe.taps.instrument import Instrument

CLEAN = 2e-6


def measured(errors: dict[int, str] | None = None) -> tuple[ToyTwin, Instrument, list[dict[str, Any]]]:
    twin = dit(errors)
    instrument = Instrument(twin)
    return twin, instrument, pairs(twin, instrument.observe("plain"))


def wrong(instrument: Instrument, asked: list[dict[str, Any]], **more: Any) -> list[list[Any]]:
    answer = instrument.lockstep("plain", asked, **more)
    assert answer["error"] is None, answer["error"]
    return [
        asked[reading["pair"]]["native"][::2]
        for reading in answer["readings"]
        if reading["error"] is None or reading["error"] > CLEAN or reading["reorders"]
    ]


def other(of: str, module: torch.nn.Module, kwargs: dict[str, Any]) -> Recorder:
    recorder = Recorder()
    with watching(module, recorder), torch.no_grad():
        module(**kwargs)
    return recorder


# ------------------------------------------------------------------------- observe


def check_calls_are_told_with_labels_parents_indices_and_lines() -> None:
    twin = dit()
    answer = Instrument(twin).observe("plain")
    official = {(call["module"], call["index"]): call for call in answer["official"]["calls"]}
    native = {(call["module"], call["index"]): call for call in answer["native"]["calls"]}
    assert [tap["label"] for tap in official["blocks.0", 0]["inputs"]] == ["x", "temb", "rope[0]", "rope[1]"]
    assert [tap["label"] for tap in native["layers.0", 0]["inputs"]] == ["hidden", "vec", "cos", "sin"]
    assert [tap["label"] for tap in native["layers.0.qkv", 0]["outputs"]] == ["out[0]"]
    assert [tap["label"] for tap in official["", 0]["outputs"]] == ["out.sample"]
    assert ("act", 1) in official
    assert ("act", 2) not in official
    numbers = {call["number"]: call for call in answer["official"]["calls"]}
    attention = official["blocks.1.attn", 0]
    assert numbers[attention["parent"]]["module"] == "blocks.1"
    assert numbers[official["", 0]["number"]]["parent"] is None
    path, line, function = attention["site"]
    assert path.endswith("toys.py")
    assert function == "forward"
    assert "self.attn(" in open(path).read().splitlines()[line]  # noqa: PTH123, SIM115
    first, second = official["blocks.0", 0], official["blocks.1", 0]
    assert first["outputs"][0]["value"] == second["inputs"][0]["value"]
    assert first["inputs"][1]["value"] == second["inputs"][1]["value"]
    assert ("final", 0) not in native  # called around its hooks
    output = answer["outputs"][0]
    assert (output["official"], output["native"]) == ("out.sample", "out[0]")
    assert output["rel_l2"] < CLEAN


def check_a_value_is_kept_as_it_was_before_a_later_write() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Identity(), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.first(x)
            x[:, 0].mul_(0.0)
            return self.second(x)

    recorder = other("native", Writes(), {"x": torch.ones(2, 3)})
    taps = {(a.module, a.end): tensor for a, tensor in recorder.taps().items()}
    assert taps["first", "in"].sum() == 6
    assert taps["second", "in"].sum() == 4
    numbers = {r.call.module: r.inputs[0].value for r in recorder.calls}
    assert numbers[""] == numbers["first"] != numbers["second"]


def check_no_hook_is_left_behind_and_an_exception_is_told_at_its_line() -> None:
    twin = dit({-1: "raises"})
    answer = Instrument(twin).observe("plain")
    error = answer["native"]["error"]
    assert error["stage"] == "forward"
    assert error["type"] == "RuntimeError"
    assert "raise RuntimeError" in open(error["path"]).read().splitlines()[error["line"]]  # noqa: PTH123, SIM115
    assert [call["module"] for call in answer["native"]["calls"]] == [""]
    assert answer["outputs"] == []
    for module in (*twin.port.modules(), *twin.official.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def check_unread_values_make_valid_json() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x > 0, x, torch.tensor(float("nan")))

    def inputs(case: str, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
        x = torch.linspace(-1, 1, 12).to(dtype)
        return {"x": x}, {"x": x.clone()}

    instrument = Instrument(ToyTwin(Broken(), Broken(), inputs))
    answer = instrument.observe("plain")
    tap = answer["native"]["calls"][0]["outputs"][0]
    assert tap["nonfinite"] == 6
    assert 0 < tap["minimum"] < tap["maximum"] == 1
    json.dumps(answer, allow_nan=False)
    asked = [{"number": 0, "official": ["", 0, "out", "out"], "native": ["", 0, "out", "out"], "part": None}]
    reading = instrument.lockstep("plain", asked)["readings"][0]
    assert reading["nonfinite"] == [6, 6]
    assert reading["error"] == 0.0


# ------------------------------------------------------------------------- lockstep


def check_a_clean_port_agrees_everywhere_and_layouts_are_told() -> None:
    _, instrument, asked = measured()
    answer = instrument.lockstep("plain", asked, floors=True)
    assert answer["error"] is None
    assert answer["floors_error"] is None
    by_native: dict[str, list[Any]] = {}
    for reading in answer["readings"]:
        assert reading["error"] < CLEAN, (asked[reading["pair"]], reading)
        assert reading["replaced"]
        assert not reading["reorders"]
        assert reading["floor"] is not None
        assert reading["floor"] < 1e-6
        by_native.setdefault(asked[reading["pair"]]["native"][0], []).append(reading)
    assert {reading["layout"] for reading in by_native["layers.0.norm_q"]} == {"axes (0, 2, 1, 3)"}
    assert {reading["layout"] for reading in by_native["layers.0.qkv"]} == {None}
    parts = [tuple(p["part"]) for p in asked if p["native"][0] == "layers.1.qkv" and p["part"]]
    assert parts == [(0, 3), (1, 3), (2, 3)]
    assert any(reading["floor"] > 0 for reading in answer["readings"])
    json.dumps(answer, allow_nan=False)


def check_each_error_is_found_once_and_alone() -> None:
    for error, block, expected in (
        ("eps", 0, [["layers.0.norm1", "out"]]),
        ("gelu", 1, [["layers.1.fc2", "in"]]),
        ("softmax scale", 1, [["layers.1.proj", "in"]]),
        ("rope sign", 0, [["layers.0.proj", "in"]]),
        ("no gate", 0, [["layers.0.norm2", "in"]]),
        ("swapped chunks", 1, [["layers.1.qkv", "in"]] * 3),
    ):
        _, instrument, asked = measured({block: error})
        found = wrong(instrument, asked)
        assert found == expected or error == "no gate", (error, found)
        assert found[0] == expected[0], (error, found)
        _, instrument, asked = measured({block: error})
        assert len(wrong(instrument, asked, replace=False)) >= len(expected)


def check_two_errors_at_once_are_told_apart() -> None:
    _, instrument, asked = measured({0: "eps", 1: "gelu"})
    assert wrong(instrument, asked) == [["layers.0.norm1", "out"], ["layers.1.fc2", "in"]]


def check_a_wrong_residual_is_put_right_for_its_other_use_too() -> None:
    _, instrument, asked = measured({0: "no gate"})
    assert wrong(instrument, asked) == [["layers.0.norm2", "in"]]


def check_what_was_written_into_a_port_is_taken_back() -> None:
    twin = dit({-1: "theta"})
    instrument = Instrument(twin)
    instrument.observe("plain")
    before = [tensor.clone() for tensor in twin.port.cache[6]]
    asked = [
        {
            "number": place,
            "official": [f"blocks.{place // 2}", 0, "in", f"rope[{place % 2}]"],
            "native": [f"layers.{place // 2}", 0, "in", ("cos", "sin")[place % 2]],
            "part": None,
        }
        for place in range(4)
    ]
    first = instrument.lockstep("plain", asked)["readings"]
    again = instrument.lockstep("plain", asked)["readings"]
    assert first == again
    assert first[0]["error"] > 0.01
    for kept, tensor in zip(before, twin.port.cache[6], strict=True):
        assert torch.equal(kept, tensor)


def check_only_the_chosen_pairs_are_replaced() -> None:
    _, instrument, asked = measured({0: "eps"})
    chosen = [pair["number"] for pair in asked if pair["native"][0].startswith("layers.1")]
    answer = instrument.lockstep("plain", asked, replace=chosen)
    for reading in answer["readings"]:
        assert reading["replaced"] == (reading["pair"] in chosen)
    assert answer["readings"][-1]["error"] < CLEAN


def check_writes_of_a_call_reach_the_caller_although_its_input_was_replaced() -> None:
    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            x.mul_(2.0)

    class Model(nn.Module):
        def __init__(self, offset: float) -> None:
            super().__init__()
            self.offset, self.twice, self.end = offset, InPlace(), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            whole = torch.cat([x, x + self.offset])
            self.twice(whole[: len(x)])
            return self.end(whole)

    def inputs(case: str, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3)).to(dtype)
        return {"x": x}, {"x": x + 0.1}

    instrument = Instrument(ToyTwin(Model(1.0), Model(1.0), inputs))
    asked = [
        {"number": 0, "official": ["twice", 0, "in", "x"], "native": ["twice", 0, "in", "x"], "part": None},
        {
            "number": 1,
            "official": ["end", 0, "in", "input"],
            "native": ["end", 0, "in", "input"],
            "part": None,
        },
    ]
    answer = instrument.lockstep("plain", asked)
    native = answer["readings"][1]
    assert answer["readings"][0]["error"] > 0.01
    assert (
        abs(native["max_abs"] - 0.1) < 1e-6
    )  # the half that was not replaced; the other is doubled and right


def check_code_that_caches_by_identity_sees_one_object_for_one() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen.append(id(x))
            return x * 1.0

    class Model(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor, self.inner = factor, Caching()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = (x * self.factor)[1:]
            return self.inner(y) + self.inner(y)

    def inputs(case: str, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3)).to(dtype)
        return {"x": x}, {"x": x.clone()}

    twin = ToyTwin(Model(1.0), Model(1.5), inputs)
    asked = [
        {"number": n, "official": ["inner", n, "in", "x"], "native": ["inner", n, "in", "x"], "part": None}
        for n in range(2)
    ]
    answer = Instrument(twin).lockstep("plain", asked)
    assert [round(reading["error"], 3) for reading in answer["readings"]] == [0.5, 0.5]
    assert len(set(twin.port.inner.seen)) == 1
    assert answer["outputs"][0]["rel_l2"] == 0.0


def check_half_precision_is_judged_against_the_official_float32_run() -> None:
    _, instrument, asked = measured()
    answer = instrument.lockstep("plain", asked, dtype="bfloat16")
    assert answer["error"] is None
    assert answer["floors_error"] is None
    for reading in answer["readings"]:
        assert reading["dtypes"] == ["bfloat16", "bfloat16"]
        assert reading["error"] < 3 * reading["floor"] + 1e-2
    assert max(reading["error"] for reading in answer["readings"]) > 1e-3


def check_a_place_that_is_never_reached_is_absent() -> None:
    _, instrument, _ = measured()
    address = ["layers.0.norm1", 7, "out", "out"]
    asked = [{"number": 5, "official": ["blocks.0.norm1", 0, "out", "out"], "native": address, "part": None}]
    reading = instrument.lockstep("plain", asked)["readings"][0]
    assert reading["status"] == "absent"
    assert reading["pair"] == 5


def check_bad_questions_are_refused() -> None:
    _, instrument, asked = measured()
    for question in (
        lambda: instrument.observe("nothing"),
        lambda: instrument.lockstep("plain", [{"number": 1}]),
        lambda: instrument.lockstep("plain", asked, dtype="int8"),
        lambda: instrument.lockstep("plain", asked, replace=[999]),
        lambda: instrument.lockstep("plain", [asked[0], asked[0]]),
        lambda: instrument.operations("plain", asked, 999),
    ):
        refused = None
        try:
            question()
        except Stopped as error:
            refused = error.problem["type"]
        assert refused == "BadRequest"


# ------------------------------------------------------------------------- layouts


def _values(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def check_orders_are_found_on_values_and_undone() -> None:
    x = _values(2, 6, 4, 8)
    image = _values(2, 3, 4, 6, 8)
    for native, official, reorders in (
        (x.transpose(1, 2), x, False),
        (x.flatten(2), x, False),
        (x.permute(0, 2, 1, 3).flatten(2), x, False),
        (x[0], x[:1], False),
        (x.flip(1), x, True),
        (x.roll(2, 1), x, True),
        (x[:, torch.tensor([3, 1, 0, 5, 4, 2])], x, True),
        (x.unflatten(3, (2, 4)).transpose(3, 4).flatten(3), x, True),
        (x.unflatten(3, (4, 2)).transpose(3, 4).flatten(3), x, True),
        (x.transpose(2, 3).flatten(2), x, True),
        (x.reshape(2, 4, 6, 8), x, True),
        (image.flatten(2).transpose(1, 2), image, False),
        (image.unfold(3, 2, 2).unfold(4, 2, 2).permute(0, 2, 3, 4, 1, 5, 6).reshape(2, 48, 12), image, False),
        (image.permute(0, 3, 4, 2, 1).reshape(2, 192, 3), image, True),
    ):
        native = native.contiguous() * (1 + 1e-7 * torch.randn(native.shape))
        layout = layouts.find(official, native)
        assert layout is not None, (official.shape, native.shape)
        assert layout.reorders == reorders, layout
        assert torch.allclose(layout.to_official(native), official, atol=1e-5), layout
        assert torch.allclose(layout.to_native(official), native, atol=1e-5), layout


def check_a_form_is_found_although_the_values_are_wrong_too() -> None:
    x = _values(2, 6, 4, 8)
    native = x.transpose(1, 2).contiguous()
    native = native + 0.5 * torch.randn(native.shape, generator=torch.Generator().manual_seed(6))
    layout = layouts.find(x, native)
    assert layout is not None
    assert layout.words == "axes (0, 2, 1, 3)"
    two_ways = _values(4, 4, 6)
    noise = torch.randn(4, 6, 4, generator=torch.Generator().manual_seed(6))
    layout = layouts.find(two_ways, two_ways.permute(1, 2, 0) + 0.5 * noise)
    assert layout is not None
    assert layout.words == "axes (1, 2, 0)"
    assert layouts.find(two_ways, noise) is None


def check_no_order_is_claimed_on_values_that_do_not_tell() -> None:
    x = _values(4, 16)
    symmetric = torch.cat([x, -x.flip(0)])
    for official, native in (
        (x, x),
        (x, x * (1 + 1e-5)),
        (x, x + 0.01 * _values(16)),
        (x, -x),
        (x, _values(4, 16).exp()),
        (symmetric, -symmetric),
        (torch.ones(4, 16), 2 * torch.ones(4, 16)),
        (torch.eye(8), torch.eye(8).flip(0)),
        ((x > 0).float(), (x > 0).float().flip(0)),
        (x[:1].expand(4, 16), x[:1].flip(1).expand(4, 16)),
        (torch.zeros(4, 4, 2), torch.zeros(4, 2, 4)),
        (torch.full((6,), float("nan")), torch.zeros(6)),
    ):
        found = layouts.find(official, native)
        assert found is None or not found.reorders, (official, found)


def check_rolled_tokens_are_a_layout_and_the_port_keeps_its_order() -> None:
    _, instrument, _ = measured({-1: "rolled tokens"})
    asked = [
        {
            "number": 0,
            "official": ["blocks.0", 0, "in", "x"],
            "native": ["layers.0", 0, "in", "hidden"],
            "part": None,
        },
        {
            "number": 1,
            "official": ["blocks.0.norm1", 0, "out", "out"],
            "native": ["layers.0.norm1", 0, "out", "out"],
            "part": None,
        },
    ]
    readings = instrument.lockstep("plain", asked)["readings"]
    for reading in readings:
        assert reading["status"] == "layout"
        assert reading["reorders"]
        assert reading["layout"] == "axis 1 rolled by 2"
        assert reading["error"] < CLEAN < 0.1 < reading["plain_error"]


def check_values_that_are_put_in_order_are_right_from_there_on() -> None:
    _, instrument, asked = measured({-1: "rolled tokens"})
    assert len(wrong(instrument, asked)) > 2
    everything = [pair["number"] for pair in asked]
    assert wrong(instrument, asked, in_order=everything) == [["layers.0.norm1", "in"]]


def check_an_owned_entry_is_right_for_its_caller_too() -> None:
    _, instrument, asked = measured({-1: "skipped block"})
    asked = [pair for pair in asked if not pair["native"][0].startswith("layers.0")]
    first = next(pair for pair in asked if pair["native"][::2] == ["layers.1.norm1", "in"])
    residual = [["layers.1.norm1", "in"], ["layers.1.norm2", "in"]]
    assert wrong(instrument, asked) == residual
    assert wrong(instrument, asked, owned=[first["number"]]) == residual[:1]
    assert wrong(instrument, asked) == residual


def check_the_way_ends_at_what_an_owned_entry_put_right() -> None:
    _, instrument, asked = measured({-1: "skipped block"})
    asked = [pair for pair in asked if not pair["native"][0].startswith("layers.0")]
    numbers = {tuple(pair["native"][::2]): pair["number"] for pair in asked}
    first, goal = numbers["layers.1.norm1", "in"], numbers["layers.1.norm2", "in"]
    answer = instrument.operations("plain", asked, goal, owned=[first])
    for side in ("official", "native"):
        sources = {value["source"]: value["maker"] for value in answer[side]["values"]}
        assert "pair" in sources
        assert first in {value["maker"] for value in answer[side]["values"] if value["source"] == "pair"}
    assert {same["error"] for same in answer["same"] if same["official"] == answer["official"]["goal"]}


# ------------------------------------------------------------------------- operations


def _operations(error: str, native: list[Any]) -> dict[str, Any]:
    _, instrument, asked = measured({0: error})
    goal = next(pair["number"] for pair in asked if pair["native"][::2] == native)
    answer = instrument.operations("plain", asked, goal)
    json.dumps(answer, allow_nan=False)
    for side in ("official", "native"):
        numbers = {value["number"] for value in answer[side]["values"]}
        for operation in answer[side]["operations"]:
            assert set(operation["outputs"]) <= numbers
            for operand in operation["operands"]:
                assert operand["value"] is None or operand["value"] in numbers
                assert operand["value"] is None or len(operand["held"]) == len(operation["stack"])
        assert answer[side]["goal"] in numbers
    return answer


def _constants(operation: dict[str, Any]) -> dict[str, str]:
    return {o["keyword"]: o["constant"] for o in operation["operands"] if o["constant"] is not None}


def _only(answer: dict[str, Any], side: str, name: str) -> dict[str, Any]:
    found = [o for o in answer[side]["operations"] if o["name"].startswith(f"aten.{name}.")]
    assert len(found) == 1, [o["name"] for o in answer[side]["operations"]]
    return found[0]


def check_constants_are_told_with_their_defaults() -> None:
    answer = _operations("eps", ["layers.0.norm1", "out"])
    assert _constants(_only(answer, "official", "layer_norm"))["eps"] == "1e-06"
    assert _constants(_only(answer, "native", "layer_norm"))["eps"] == "0.0001"
    answer = _operations("softmax scale", ["layers.0.proj", "in"])
    scales = [
        float(_constants(_only(answer, side, "scaled_dot_product_attention"))["scale"])
        for side in ("official", "native")
    ]
    assert scales == [0.25, 0.3]


def check_a_way_ends_at_aligned_values_and_names_its_operands() -> None:
    answer = _operations("gelu", ["layers.0.fc2", "in"])
    for side, function in (("official", "forward"), ("native", "forward")):
        gelu = _only(answer, side, "gelu")
        (value,) = [v for v in answer[side]["values"] if v["number"] == gelu["operands"][0]["value"]]
        assert value["source"] == "pair"
        assert gelu["stack"][0][2] == function
        assert "gelu" in open(gelu["stack"][0][0]).read().splitlines()[gelu["stack"][0][1]]  # noqa: PTH123, SIM115
        assert len(answer[side]["operations"]) == 1
    assert _constants(_only(answer, "native", "gelu"))["approximate"] == "'none'"


def check_variables_and_views_tell_swapped_chunks() -> None:
    answer = _operations("swapped chunks", ["layers.0.qkv", "in"])
    native = answer["native"]
    chunk = _only(answer, "native", "chunk")
    assert len(chunk["outputs"]) == 3
    added = _only(answer, "native", "add_")
    shift = added["operands"][1]
    assert shift["variable"] == "shift"
    assert shift["value"] == chunk["outputs"][1]
    assert _only(answer, "native", "mul_")["outputs"] == [added["operands"][0]["value"]]
    assert native["goal"] in added["outputs"]
    official = _only(answer, "official", "chunk")
    same = {(s["official"], s["native"]) for s in answer["same"] if s["layout"] is None}
    assert set(zip(official["outputs"], chunk["outputs"], strict=True)) <= same
    assert (answer["official"]["goal"], native["goal"]) not in same


def check_an_exchange_that_mends_the_goal_is_found() -> None:
    answer = _operations("gelu", ["layers.0.fc2", "in"])
    goals = answer["native"]["goal"], answer["official"]["goal"]
    assert [list(goals)] not in [each["exchanged"] for each in answer["repairs"]]
    answer = _operations("swapped chunks", ["layers.0.qkv", "in"])
    same = {s["native"]: s["official"] for s in answer["same"] if s["layout"] is None}
    shift, scale = _only(answer, "native", "chunk")["outputs"][:2]
    exchanged = [{tuple(each) for each in found["exchanged"]} for found in answer["repairs"]]
    assert {(shift, same[scale]), (scale, same[shift])} in exchanged
    assert all(found["error"] < 1e-4 for found in answer["repairs"])


def check_equal_values_are_told_with_sign_and_layout() -> None:
    answer = _operations("rope sign", ["layers.0.proj", "in"])
    found = {s["layout"] for s in answer["same"]}
    assert any(layout is not None and layout.startswith("negated") for layout in found)
    assert "axes (0, 2, 1, 3)" in found
    assert None in found
    sources = {v["source"] for v in answer["native"]["values"]}
    assert sources <= {"op", "pair", "outside", "input"}


def check_writes_through_views_and_compiled_code_are_followed() -> None:
    @torch.jit.script
    def scripted(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) * 2.0

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.end = nn.Identity(), nn.Identity()
            self.table = nn.Parameter(torch.ones(5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.start(x)
            out = torch.empty_like(x)
            half = out[:2]
            half.copy_(scripted(x[:2]))
            out[2:] = x[2:] * self.table
            return self.end(out)

    def inputs(case: str, dtype: torch.dtype) -> tuple[dict[str, Any], dict[str, Any]]:
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(3)).to(dtype)
        return {"x": x}, {"x": x.clone()}

    model = Model()
    instrument = Instrument(ToyTwin(model, model, inputs))
    addresses = [["start", 0, "out", "out"], ["end", 0, "in", "input"]]
    asked = [{"number": n, "official": a, "native": a, "part": None} for n, a in enumerate(addresses)]
    answer = instrument.operations("plain", asked, 1)["native"]
    names = [operation["name"] for operation in answer["operations"]]
    assert "Tensor.setitem" in names
    assert "aten.copy_.Tensor" in names
    assert "aten.sin.default" in names
    sources = {(v["source"], v["name"]) for v in answer["values"]}
    assert ("parameter", "table") in sources
    assert ("pair", None) in sources
    assert not any(source == "outside" for source, _ in sources)


def check_the_way_leads_through_a_goal_that_is_aligned_elsewhere_too() -> None:
    _, instrument, asked = measured({0: "swapped chunks"})
    asked.append(
        {
            "number": len(asked),
            "official": ["blocks.0.attn", 0, "in", "x"],
            "native": ["layers.0.qkv", 0, "in", "x"],
            "part": None,
        }
    )
    for goal in (p["number"] for p in asked if p["native"] == ["layers.0.qkv", 0, "in", "x"]):
        answer = instrument.operations("plain", asked, goal)
        for side in ("official", "native"):
            assert any(o["name"] == "aten.chunk.default" for o in answer[side]["operations"])


def check_the_ways_of_a_residual_are_told_apart_within_and_without() -> None:
    answer = _operations("no gate", ["layers.0.norm2", "in"])
    names = {side: [o["name"] for o in answer[side]["operations"]] for side in ("official", "native")}
    assert names["official"].count("aten.mul.Tensor") == 1
    assert "aten.mul.Tensor" not in names["native"]
    assert "aten.layer_norm.default" not in names["native"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    checks: dict[str, Callable[[], None]] = {
        name: value for name, value in dict(globals()).items() if name.startswith("check_")
    }
    for name, check in checks.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        try:
            check()
            print(json.dumps([name, None]))
        except Exception:  # noqa: BLE001 - told to the test
            print(json.dumps([name, traceback.format_exc()]))
