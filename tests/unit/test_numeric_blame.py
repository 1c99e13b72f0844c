"""From the operations before a wrong value to the statement that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from analyzers.numeric.blame import blame
from analyzers.numeric.records import (
    Address,
    Built,
    CodeLine,
    Module,
    Operand,
    Operation,
    Operations,
    Pair,
    Repair,
    Same,
    Slice,
    Value,
)
from analyzers.numeric.verdicts import Divergence, DivergenceKind, Spot

PORT, OFFICIAL, LAYERS = "models/dits/port.py", "official/model.py", "layers/norm.py"


@dataclass
class Side:
    """Builds one side's list. A stack is text: `port.py:12 forward, ...` by a piece of the line's text."""

    texts: Mapping[str, str]
    values: dict[int, Value] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    def leaf(self, name: str | None = None, shape: tuple[int, ...] = (2, 8), dtype: str = "float32") -> int:
        number = len(self.values)
        source = "pair" if name is None else "parameter"
        self.values[number] = Value(number, source, None, name, shape, dtype, 1.0, 0)  # type: ignore[arg-type]
        return number

    def line(self, path: str, piece: str, function: str) -> CodeLine:
        lines = self.texts[path].splitlines()
        found = [number for number, line in enumerate(lines) if piece in line]
        assert len(found) == 1, (piece, found)
        return CodeLine(path, found[0], function)

    def op(
        self,
        name: str,
        *given: int | str | tuple[int, str],
        at: Sequence[tuple[str, str]],
        module: str = "",
        outputs: int = 1,
        dtype: str = "float32",
        shape: tuple[int, ...] = (2, 8),
        **keywords: str,
    ) -> int:
        """`given`: values, values with the variable that holds them, constants. `at`: (path, piece of the
        line), innermost first. The first of the results."""
        stack = tuple(self.line(path, piece, "forward") for path, piece in at)
        operands = []
        for each in given:
            if isinstance(each, str):
                operands.append(Operand(None, None, each))
            else:
                value, variable = each if isinstance(each, tuple) else (each, None)
                held = (*(None for _ in stack[1:]), variable)
                operands.append(Operand(value, variable, None, None, held))
        operands += [Operand(None, None, text, keyword) for keyword, text in keywords.items()]
        number = len(self.operations)
        made = []
        for _ in range(outputs):
            value = len(self.values)
            self.values[value] = Value(value, "op", number, None, shape, dtype, 1.0, 0)
            made.append(value)
        self.operations.append(
            Operation(number, f"aten.{name}.default", tuple(operands), tuple(made), module, stack)
        )
        return made[0]

    def slice(self, goal: int) -> Slice:
        return Slice(goal, tuple(self.operations), self.values)


PORT_TEXT = """\
class Block(nn.Module):
    def __init__(self, dim, eps=1e-6):
        self.norm = RMSNorm(
            dim,
            eps=1e-5,
        )
        self.norm_q = RMSNorm(dim, eps=eps)
        self.to_q = Linear(dim, dim)

    def forward(self, x, temb, text):
        shift, scale = temb.chunk(2)
        if text is None:
            gate = temb * 2
        else:
            gate = temb
        h = self.norm(x) * (1 + scale) + shift
        h = h * scale
        c = temb
        q = self.to_q(silu(c))
        x = x + h
        out = x - shift
        return q, out


class Gives(nn.Module):
    def forward(self, emb):
        shift, scale = emb.chunk(2)
        return scale, shift


class Rebinds(nn.Module):
    def forward(self, sample, embedded):
        first, second = embedded.chunk(2)
        first, second = first.tanh(), second
        return sample * second


class Model(nn.Module):
    def __init__(self):
        self.block = Block(8)

    def forward(self, x):
        return self.block(x, rope(x, theta=5000.0), None)
"""
OFFICIAL_TEXT = """\
class OBlock(nn.Module):
    def forward(self, x, temb, text):
        shift, scale = temb.chunk(2)
        h = self.norm(x) * (1 + scale) + shift
        h = h * (1 + scale) * 1
        c = temb + text
        q = self.to_q(silu(c))
        out = x + shift
        angles = theta(x)


class ORebinds(nn.Module):
    def forward(self, sample, embedded):
        first, second = embedded.chunk(2)
        first, second = first.tanh(), second.tanh()
        return sample * second

    def used(self, sample, second):
        return sample * (second.tanh() + 0)


class OModel(nn.Module):
    def forward(self, x):
        return self.oblock(x * self.scale)
"""
LAYERS_TEXT = """\
class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        self.variance_epsilon = eps

    def forward(self, x):
        return x * rsqrt(x.pow(2) + self.variance_epsilon)


def rope(x, theta=10000.0):
    return angles(theta)


def angles(base):
    return base**0.5
"""
TEXTS = {PORT: PORT_TEXT, OFFICIAL: OFFICIAL_TEXT, LAYERS: LAYERS_TEXT}


def _line(path: str, piece: str) -> int:
    return Side(TEXTS).line(path, piece, "").line


def _module(name: str, cls: str, path: str, line: int, built: Sequence[str] = (), **settings: str) -> Module:
    frames = tuple(Side(TEXTS).line(PORT, piece, "__init__") for piece in built)
    return Module(name, cls, path, line, frames, (), settings)


BUILT = Built(
    (
        _module("", "OBlock", OFFICIAL, 1),
        _module("norm", "ONorm", OFFICIAL, 1),
        _module("to_q", "L", "torch.py", 0),
    ),
    (
        _module("", "Model", PORT, _line(PORT, "def forward(self, x):")),
        _module("block", "Block", PORT, _line(PORT, "def forward(self, x, temb, text)"), ["self.block = "]),
        _module(
            "block.norm", "RMSNorm", LAYERS, 4, ["self.norm = ", "self.block = "], variance_epsilon="1e-05"
        ),
        _module(
            "block.norm_q", "RMSNorm", LAYERS, 4, ["self.norm_q", "self.block = "], variance_epsilon="1e-06"
        ),
        _module("block.gives", "Gives", PORT, _line(PORT, "def forward(self, emb)")),
        _module("block.to_q", "Linear", "torch/linear.py", 3, ["self.to_q = ", "self.block = "]),
    ),
    (),
    (),
    (),
    ("plain",),
)


def _blamed(
    native: Slice,
    official: Slice,
    same: Sequence[tuple[int, int]],
    kind: DivergenceKind = "inside",
    at: tuple[str, str] = ("block", "out"),
    official_at: str = "",
    repairs: Sequence[tuple[int, int]] = (),
    label: str = "x",
) -> Divergence:
    """`same`: (native, official)."""
    pair = Pair(
        0,
        Address(official_at, 0, at[1], label),  # type: ignore[arg-type]
        Address(at[0], 0, at[1], label),  # type: ignore[arg-type]
        None,
        "weights",
    )
    nowhere = Spot(at[0], None, None, None)
    divergence = Divergence(kind, pair, nowhere, nowhere, 0.1, None, (), "differs")
    equal = tuple(Same(other, one, None, 0.0) for one, other in same)
    mended = tuple(Repair((each,), None, 0.0) for each in repairs)
    return blame(divergence, Operations(0, official, native, equal, mended), BUILT, TEXTS.get)


def _text(spot: Spot) -> str:
    assert spot.path is not None
    assert spot.line is not None
    assert spot.end_line is not None
    return "\n".join(line.strip() for line in TEXTS[spot.path].splitlines()[spot.line : spot.end_line + 1])


IN_NORM = [(LAYERS, "rsqrt("), (PORT, "h = self.norm(x)")]
USE = [(PORT, "h = self.norm(x)")]
OFFICIAL_USE = [(OFFICIAL, "h = self.norm(x)")]


def _sides() -> tuple[Side, Side]:
    return Side(TEXTS), Side(TEXTS)


def test_a_constant_from_a_library_leads_to_the_construction() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    wrong = ours.op("add", x, "1e-05", at=IN_NORM, module="block.norm")
    right = theirs.op("add", y, "1e-06", at=OFFICIAL_USE, module="norm")
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert _text(got.native) == "self.norm = RMSNorm(\ndim,\neps=1e-5,\n)"
    assert _text(got.official).startswith("h = self.norm(x)")
    assert got.mismatch is not None
    assert got.mismatch.what == "constant"
    assert got.message == "adds 1e-05 where the official model adds 1e-06"


def test_a_default_is_followed_to_the_signature_that_holds_it() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    wrong = ours.op("add", x, "1e-06", at=IN_NORM, module="block.norm_q")
    right = theirs.op("add", y, "1e-03", at=OFFICIAL_USE, module="norm")
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert _text(got.native) == "def __init__(self, dim, eps=1e-6):"


def test_rounding_may_swallow_a_constant_of_the_official_side() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    wrong = ours.op("add", x, "1e-05", at=IN_NORM, module="block.norm")
    right = theirs.op("add", y, "1e-06", at=OFFICIAL_USE, module="norm")
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (x, right)])
    assert got.mismatch is not None
    assert got.mismatch.what == "constant"


def test_a_constant_given_to_a_helper_is_found_at_its_call() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    stack = [(LAYERS, "return base**0.5"), (LAYERS, "return angles(theta)"), (PORT, "theta=5000.0")]
    wrong = ours.op("pow", "5000.0", x, at=stack)
    right = theirs.op("pow", "10000.0", y, at=[(OFFICIAL, "angles = ")])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert _text(got.native) == "return self.block(x, rope(x, theta=5000.0), None)"


def test_attention_without_a_scale_has_the_root_of_the_width() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(shape=(1, 2, 4, 16)), theirs.leaf(shape=(1, 2, 4, 16))
    wrong = ours.op("scaled_dot_product_attention", x, x, x, at=USE, scale="0.5")
    right = theirs.op("scaled_dot_product_attention", y, y, y, at=OFFICIAL_USE, dropout_p="0.0")
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert got.message == "scale of scaled_dot_product_attention is 0.5 where the official model has 0.25"


def test_what_is_lacking_in_an_expression_is_lacking_in_the_statement_that_uses_it() -> None:
    ours, theirs = _sides()
    x, scale, y, theirs_scale = ours.leaf(), ours.leaf(), theirs.leaf(), theirs.leaf()
    wrong = ours.op("mul", (x, "h"), (scale, "scale"), at=[(PORT, "h = h * scale")])
    one = theirs.op("add", (theirs_scale, "scale"), "1", at=[(OFFICIAL, "h = h * (1")])
    right = theirs.op("mul", (y, "h"), one, at=[(OFFICIAL, "h = h * (1")])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (scale, theirs_scale)])
    assert got.mismatch is not None
    assert got.mismatch.what == "lacking"
    assert _text(got.native) == "h = h * scale"
    assert "add(scale, 1)" in got.message


@pytest.mark.parametrize(
    ("lacking", "use", "told"),
    [
        ("first.tanh(), second.tanh()", "return sample * second", "first, second = first.tanh(), second"),
        ("(second.tanh() + 0)", "(second.tanh() + 0)", "return sample * second"),
    ],
)
def test_what_is_lacking_where_a_name_is_bound_again_lies_there(lacking: str, use: str, told: str) -> None:
    """The official statements decide: one that binds the name again, or the one that uses it."""
    ours, theirs = _sides()
    x, y, second, official_second = ours.leaf(), theirs.leaf(), ours.leaf(), theirs.leaf()
    wrong = ours.op("mul", (x, "sample"), (second, "second"), at=[(PORT, "return sample * second")])
    tanh = theirs.op("tanh", (official_second, "second"), at=[(OFFICIAL, lacking)])
    right = theirs.op("mul", (y, "sample"), (tanh, "second"), at=[(OFFICIAL, use)])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (second, official_second)])
    assert got.mismatch is not None
    assert got.mismatch.what == "lacking"
    assert _text(got.native) == told


def test_what_is_lacking_in_what_a_call_gives_is_lacking_at_the_call() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    call, official_call = (PORT, "return self.block(x, rope"), (OFFICIAL, "return self.oblock(x")
    wrong = ours.op("silu", (x, "x"), at=[(PORT, "h = self.norm(x)"), call])
    scaled = theirs.op("mul", (y, "x"), "1000.0", at=[official_call])
    right = theirs.op("silu", (scaled, "x"), at=[(OFFICIAL, "h = self.norm(x)"), official_call])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert got.message == "lacks the official model's mul(x, 1000.0)"
    assert _text(got.native) == "return self.block(x, rope(x, theta=5000.0), None)"


def test_a_selection_at_another_place_hides_no_operation() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    part = ours.op("getitem", (x, "x"), "index=0", at=USE)
    wrong = ours.op("silu", (part, "x"), at=USE)
    scaled = theirs.op("mul", (y, "x"), "1000.0", at=OFFICIAL_USE)
    chosen = theirs.op("getitem", scaled, "index=0", at=OFFICIAL_USE)
    right = theirs.op("silu", chosen, at=OFFICIAL_USE)
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert got.message == "lacks the official model's mul(x, 1000.0)"


def _modulated(
    side: Side, x: int, shift: tuple[int, str], scale: tuple[int, str], at: list[tuple[str, str]]
) -> int:
    one = side.op("add", scale, "1", at=at)
    scaled = side.op("mul", x, one, at=at)
    return side.op("add", scaled, shift, at=at)


def test_values_exchanged_under_the_right_names_were_bound_wrongly() -> None:
    ours, theirs = _sides()
    x, a, b = ours.leaf(), ours.leaf(), ours.leaf()
    y, shift, scale = theirs.leaf(), theirs.leaf(), theirs.leaf()
    wrong = _modulated(ours, x, (b, "shift"), (a, "scale"), USE)
    right = _modulated(theirs, y, (shift, "shift"), (scale, "scale"), OFFICIAL_USE)
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (a, shift), (b, scale)])
    assert _text(got.native) == "shift, scale = temb.chunk(2)"


def test_values_exchanged_under_exchanged_names_are_used_wrongly() -> None:
    ours, theirs = _sides()
    x, a, b = ours.leaf(), ours.leaf(), ours.leaf()
    y, shift, scale = theirs.leaf(), theirs.leaf(), theirs.leaf()
    wrong = _modulated(ours, x, (b, "scale"), (a, "shift"), USE)
    right = _modulated(theirs, y, (shift, "shift"), (scale, "scale"), OFFICIAL_USE)
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (a, shift), (b, scale)])
    assert _text(got.native) == "h = self.norm(x) * (1 + scale) + shift"


def test_a_dropped_term_lies_where_its_variable_was_only_renamed() -> None:
    ours, theirs = _sides()
    temb, official_temb, text = ours.leaf(), theirs.leaf(), theirs.leaf()
    wrong = ours.op("silu", (temb, "c"), at=[(PORT, "q = self.to_q")])
    added = theirs.op("add", (official_temb, "temb"), (text, "text"), at=[(OFFICIAL, "c = temb + text")])
    right = theirs.op("silu", (added, "c"), at=[(OFFICIAL, "q = self.to_q")])
    got = _blamed(
        ours.slice(wrong),
        theirs.slice(right),
        [(temb, official_temb)],
        "between",
        ("block.to_q", "in"),
        "to_q",
    )
    assert _text(got.native) == "c = temb"
    assert _text(got.official) == "c = temb + text"
    assert "lacks" in got.message


def test_another_operation_is_named_with_both_sides() -> None:
    ours, theirs = _sides()
    x, shift, y, other = ours.leaf(), ours.leaf(), theirs.leaf(), theirs.leaf()
    wrong = ours.op("sub", (x, "x"), (shift, "shift"), at=[(PORT, "out = x - shift")])
    right = theirs.op("add", (y, "x"), (other, "shift"), at=[(OFFICIAL, "out = x + shift")])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (shift, other)])
    assert got.message == "computes sub(x, shift) where the official model computes add(x, shift)"
    assert _text(got.native) == "out = x - shift"


def test_another_style_with_the_same_results_is_not_blamed() -> None:
    """The port fuses what the official model computes in two steps; only the sign behind it is wrong."""
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    fused = ours.op("addcmul", x, x, x, at=USE)
    wrong = ours.op("sub", (fused, "h"), (x, "x"), at=[(PORT, "out = x - shift")])
    product = theirs.op("mul", y, y, at=OFFICIAL_USE)
    total = theirs.op("add", y, product, at=OFFICIAL_USE)
    right = theirs.op("add", (total, "h"), (y, "x"), at=[(OFFICIAL, "out = x + shift")])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (fused, total)])
    assert _text(got.native) == "out = x - shift"


def test_a_narrower_dtype_is_blamed_where_it_begins() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(dtype="float32"), theirs.leaf(dtype="float32")
    narrow = ours.op("mul", (x, "h"), "2", at=[(PORT, "h = h * scale")], dtype="bfloat16")
    wrong = ours.op("sub", narrow, "1", at=[(PORT, "out = x - shift")], dtype="bfloat16")
    wide = theirs.op("mul", (y, "h"), "2", at=[(OFFICIAL, "h = h * (1")])
    right = theirs.op("sub", wide, "1", at=[(OFFICIAL, "out = x + shift")])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (narrow, wide), (wrong, right)], "dtype")
    assert _text(got.native) == "h = h * scale"
    assert got.mismatch is not None
    assert got.mismatch.what == "dtype"
    assert "bfloat16" in got.message


def test_where_nothing_is_certain_the_statements_between_are_given() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    value = x
    for turn in range(40):
        value = ours.op("cumsum", value, str(turn), at=USE)
        value = ours.op(f"own_{turn}", value, x, at=[(PORT, "h = h * scale")])
    other = y
    for turn in range(40):
        other = theirs.op("sort", other, theirs.leaf(), theirs.leaf(), str(turn), at=OFFICIAL_USE)
    got = _blamed(ours.slice(value), theirs.slice(other), [(x, y)])
    assert got.mismatch is None
    assert got.message == "differs"
    assert _text(got.native) == "h = self.norm(x) * (1 + scale) + shift\nh = h * scale"


def test_what_only_one_side_computes_from_nothing_is_blamed_where_it_was_made() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    call = [(LAYERS, "return base**0.5"), (PORT, "theta=5000.0")]
    angles = ours.op("cos", ours.op("outer", ours.op("arange", "8", at=call), at=call), at=call)
    wrong = ours.op("mul", x, angles, at=USE)
    table = theirs.leaf("rope.table")
    chosen = theirs.op(
        "repeat_interleave",
        theirs.op("index_select", table, theirs.leaf(), at=OFFICIAL_USE),
        "2",
        at=OFFICIAL_USE,
    )
    right = theirs.op("mul", y, chosen, at=OFFICIAL_USE)
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)])
    assert _text(got.native) == "return self.block(x, rope(x, theta=5000.0), None)"


def test_without_operations_the_divergence_stays_as_it_is() -> None:
    ours, theirs = _sides()
    got = _blamed(ours.slice(ours.leaf()), theirs.slice(theirs.leaf()), [], at=("", "out"))
    assert got.native == Spot("", None, None, None)


def test_of_a_far_fetched_account_the_first_value_that_mends_the_goal_is_told() -> None:
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    wrong = ours.op("sub", x, ours.op("relu", x, at=USE), at=[(PORT, "h = h * scale")])
    native = ours.op("sum", ours.op("joined", wrong, wrong, x, at=USE), x, at=USE)
    right = theirs.op("add", y, theirs.op("relu", y, at=OFFICIAL_USE), at=OFFICIAL_USE)
    official = theirs.op("spread", theirs.op("other", right, at=OFFICIAL_USE), y, "3", at=OFFICIAL_USE)
    relu = (wrong - 1, right - 1)
    got = _blamed(ours.slice(native), theirs.slice(official), [(x, y), relu], repairs=[(wrong, right)])
    assert _text(got.native) == "h = h * scale"
    assert got.mismatch is not None
    assert got.mismatch.what == "operation"


def test_values_unpacked_under_each_others_names_are_told_where_they_are_unpacked() -> None:
    ours, theirs = _sides()
    (x, temb), (y, conditioning) = (ours.leaf(), ours.leaf()), (theirs.leaf(), theirs.leaf())
    unpack = [(PORT, "shift, scale = temb.chunk(2)")]
    one = ours.op("chunk", temb, "2", at=unpack, outputs=2)
    first = theirs.op("chunk", conditioning, "2", at=[(OFFICIAL, "shift, scale = temb.chunk")], outputs=2)
    theirs.op("neg", (first + 1, "shift"), at=OFFICIAL_USE)
    wrong = ours.op("mul", x, (one + 1, "scale"), at=[(PORT, "h = h * scale")])
    right = theirs.op("mul", y, (first, "scale"), at=[(OFFICIAL, "h = h * (1 + scale) * 1")])
    same = [(x, y), (temb, conditioning), (one, first), (one + 1, first + 1)]
    got = _blamed(ours.slice(wrong), theirs.slice(right), same, repairs=[(one + 1, first)])
    assert _text(got.native) == "shift, scale = temb.chunk(2)"
    assert "`shift` instead of `scale`" in got.message


def test_a_constant_that_rounding_hides_in_every_result_is_found_between_two_like_ways() -> None:
    """Of an epsilon only the end of the way shows: `same` holds the sums with and without it."""
    ours, theirs = _sides()
    (x, weight), (y, other) = (ours.leaf(), ours.leaf("norm.weight")), (theirs.leaf(), theirs.leaf("w"))
    mean, mean_ = ours.op("mean", x, at=IN_NORM), theirs.op("mean", y, at=OFFICIAL_USE)
    added = ours.op("add", mean, "1e-05", at=IN_NORM, module="block.norm")
    added_ = theirs.op("add", mean_, "1e-06", at=OFFICIAL_USE)
    root, root_ = ours.op("rsqrt", added, at=IN_NORM), theirs.op("rsqrt", added_, at=OFFICIAL_USE)
    wrong = ours.op("mul", ours.op("mul", x, root, at=IN_NORM), weight, at=IN_NORM, module="block.norm")
    right = theirs.op("mul", theirs.op("mul", y, root_, at=OFFICIAL_USE), other, at=OFFICIAL_USE)
    hidden = [(x, y), (weight, other), (mean, mean_), (mean, added_), (added, mean_), (added, added_)]
    got = _blamed(
        ours.slice(wrong),
        theirs.slice(right),
        [*hidden, (root, root_), (wrong - 1, right - 1)],
        at=("block.norm", "out"),
        official_at="norm",
    )
    assert got.message == "adds 1e-05 where the official model adds 1e-06"
    assert _text(got.native) == "self.norm = RMSNorm(\ndim,\neps=1e-5,\n)"


def _written_out(epsilon: str) -> tuple[Side, int, int]:
    """The port's norm in five operations."""
    ours = Side(TEXTS)
    x, weight = ours.leaf(), ours.leaf("norm.weight")
    mean = ours.op("mean", ours.op("pow", x, "2", at=IN_NORM), "[-1]", "True", at=IN_NORM)
    root = ours.op("rsqrt", ours.op("add", mean, epsilon, at=IN_NORM, module="block.norm"), at=IN_NORM)
    normed = ours.op("mul", x, root, at=IN_NORM)
    return ours, x, ours.op("mul", normed, weight, at=IN_NORM, module="block.norm")


def _fused(epsilon: str) -> tuple[Side, int, int]:
    theirs = Side(TEXTS)
    y, other = theirs.leaf(), theirs.leaf("w")
    right = theirs.op("rms_norm", y, "[8]", other, at=OFFICIAL_USE, module="norm", eps=epsilon)
    return theirs, y, right


def test_an_epsilon_is_told_where_only_the_official_side_fuses_the_norm() -> None:
    (ours, x, wrong), (theirs, y, right) = _written_out("1e-05"), _fused("1e-06")
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (1, 1)], at=("block.norm", "out"))
    assert got.message == "norms with eps 1e-05 where the official model has 1e-06"
    assert got.mismatch is not None
    assert got.mismatch.what == "constant"
    assert _text(got.native) == "self.norm = RMSNorm(\ndim,\neps=1e-5,\n)"


@pytest.mark.parametrize(("ours_has", "theirs_has"), [("1e-06", "1e-6"), ("1e-05", "None")])
def test_of_epsilons_that_agree_or_are_left_to_torch_nothing_is_told(ours_has: str, theirs_has: str) -> None:
    (ours, x, wrong), (theirs, y, right) = _written_out(ours_has), _fused(theirs_has)
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (1, 1)], at=("block.norm", "out"))
    assert "eps" not in got.message.split("(")[0]


def test_the_statement_that_gave_values_another_shape_is_told_and_not_the_next_one() -> None:
    """The same `permute` of what was reshaped to (2, 1, 8) instead of (1, 2, 8)."""
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    shaped = ours.op("view", x, "[2, 1, 8]", at=[(PORT, "h = h * scale")], shape=(2, 1, 8))
    wrong = ours.op("permute", shaped, "[0, 2, 1]", at=[(PORT, "out = x - shift")], shape=(2, 8, 1))
    shaped_ = theirs.op("view", y, "[1, 2, 8]", at=[(OFFICIAL, "h = h * (1")], shape=(1, 2, 8))
    right = theirs.op("permute", shaped_, "[0, 2, 1]", at=[(OFFICIAL, "out = x + shift")], shape=(1, 8, 2))
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)], repairs=[(wrong, right)])
    assert _text(got.native) == "h = h * scale"
    assert "[2, 1, 8]" in got.message
    assert "[1, 2, 8]" in got.message


def test_a_variable_of_the_official_name_with_another_value_is_told_where_it_was_bound() -> None:
    """Both are aligned elsewhere, so that nothing is seen of how they were made."""
    ours, theirs = _sides()
    (x, one), (y, right_one) = (ours.leaf(), ours.leaf()), (theirs.leaf(), theirs.leaf())
    wrong = ours.op("mul", x, (one, "scale"), at=[(PORT, "h = h * scale")])
    right = theirs.op("mul", y, (right_one, "scale"), at=[(OFFICIAL, "h = h * (1 + scale) * 1")])
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y)], repairs=[(one, right_one)])
    assert _text(got.native) == "shift, scale = temb.chunk(2)"
    assert "`scale` holds another value than the official model's `scale`" in got.message


def test_what_is_lacking_in_a_result_is_lacking_between_its_binding_and_its_return() -> None:
    ours, theirs = _sides()
    x, y, shift = ours.leaf(), theirs.leaf(), theirs.leaf()
    right = theirs.op("add", (y, "x"), (shift, "shift"), at=[(OFFICIAL, "out = x + shift")])
    got = _blamed(ours.slice(x), theirs.slice(right), [(x, y)], at=("block", "out"), label="out[1]")
    assert got.mismatch is not None
    assert got.mismatch.what == "lacking"
    assert _text(got.native) == "out = x - shift\nreturn q, out"


def test_parts_that_are_returned_for_each_other_are_told_at_the_return() -> None:
    ours, theirs = _sides()
    temb, conditioning = ours.leaf(), theirs.leaf()
    unpack = [(PORT, "shift, scale = emb.chunk(2)")]
    one = ours.op("chunk", temb, "2", at=unpack, outputs=2)
    first = theirs.op("chunk", conditioning, "2", at=[(OFFICIAL, "shift, scale = temb.chunk")], outputs=2)
    same = [(temb, conditioning), (one, first), (one + 1, first + 1)]
    got = _blamed(ours.slice(one), theirs.slice(first + 1), same, at=("block.gives", "out"), label="out[1]")
    assert _text(got.native) == "return scale, shift"
    assert "gives out as `out[1]` the official model's `shift` instead of `scale`" in got.message


def test_a_layer_that_is_called_once_too_often_is_told_at_the_call() -> None:
    """`to_q` stands for any layer of a library: how it is built is right, for its other call is."""
    ours, theirs = _sides()
    x, y = ours.leaf(), theirs.leaf()
    at = [(PORT, "q = self.to_q")]
    once = ours.op("silu", x, at=at, module="block.to_q")
    wrong = ours.op("silu", once, at=at, module="block.to_q")
    right = theirs.op("silu", y, at=[(OFFICIAL, "q = self.to_q")], module="to_q")
    got = _blamed(ours.slice(wrong), theirs.slice(right), [(x, y), (once, right)])
    assert got.mismatch is not None
    assert got.mismatch.what == "extra"
    assert _text(got.native) == "q = self.to_q(silu(c))"
