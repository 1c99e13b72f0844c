"""Statements that give values out, call modules, or were come through: read from the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from analyzers.numeric.origins import House
from analyzers.numeric.outputs import given_out, names_of
from analyzers.numeric.records import (
    Address,
    Built,
    Call,
    CodeLine,
    Filling,
    Module,
    Operand,
    Operation,
    Slice,
    Value,
)
from analyzers.numeric.statements import Sources
from analyzers.numeric.uncalled import called_instead, place_of_call, uncalled
from analyzers.numeric.walks import executed

PORT, OFFICIAL = "models/dits/port.py", "official/model.py"
TEXT = """\
class Norm(nn.Module):
    def forward(self, x, emb):
        shift, scale, gate = emb.chunk(3)
        return x + shift, gate, scale


class Block(nn.Module):
    def __init__(self, dim):
        self.norm_q = RMSNorm(dim)
        self.norm_k = RMSNorm(dim)
        self.proj = Linear(dim)
        self.mlp = Linear(dim)

    def forward(self, x, context=None):
        if self.norm_q is not None:
            x = x
        if self.norm_k is not None:
            x = self.norm_k(x) if context is None else self.norm_k(context)
        x_proj = x_proj.to(x.dtype)
        if context is None:
            return Output(sample=x)
        return Output(hidden=context, sample=context)
"""


def _line(piece: str) -> int:
    found = [number for number, line in enumerate(TEXT.splitlines()) if piece in line]
    assert len(found) == 1, (piece, found)
    return found[0]


def _module(name: str, cls: str, path: str, piece: str) -> Module:
    return Module(name, cls, path, _line(piece) if piece else 0, (), (), {})


MODULES = (
    _module("", "Block", PORT, "def forward(self, x, context=None)"),
    _module("norm", "Norm", PORT, "def forward(self, x, emb)"),
    _module("norm_q", "RMSNorm", "layers/norm.py", ""),
    _module("norm_k", "RMSNorm", "layers/norm.py", ""),
    _module("proj", "Linear", "layers/linear.py", ""),
    _module("mlp", "Linear", "layers/linear.py", ""),
)
HOUSE = House.of(MODULES, Sources({PORT: TEXT, OFFICIAL: TEXT}.get))


@pytest.mark.parametrize(
    ("module", "label", "name"),
    [("norm", "out[1]", "gate"), ("norm", "out[2]", "scale"), ("norm", "out[0]", None)],
)
def test_a_result_is_known_by_the_name_that_is_returned(module: str, label: str, name: str | None) -> None:
    given = given_out(HOUSE, Address(module, 0, "out", label), {})
    assert given is not None
    assert given.place.line == _line("return x + shift")
    assert given.name == name


@pytest.mark.parametrize(
    ("module", "label"),
    [
        ("norm", "out[3]"),
        ("norm", "out[0].x"),
        ("proj", "out"),  # a library's
        ("lacking", "out"),
    ],
)
def test_a_result_that_no_one_statement_gives_has_no_name(module: str, label: str) -> None:
    assert given_out(HOUSE, Address(module, 0, "out", label), {}) is None


@pytest.mark.parametrize(
    ("label", "executed_at", "piece"),
    [
        ("out.hidden", None, "return Output(hidden"),  # the other one has no such field
        ("out.sample", None, "return Output(hidden"),
        ("out.sample", "return Output(sample=x)", "return Output(sample=x)"),
    ],
)
def test_of_several_returns_the_one_that_ran_counts_and_else_the_last(
    label: str, executed_at: str | None, piece: str
) -> None:
    lines = {PORT: [_line(executed_at)] if executed_at is not None else []}
    given = given_out(HOUSE, Address("", 0, "out", label), lines)
    assert given is not None
    assert given.place.line == _line(piece)


def _operation(
    number: int, name: str, operands: Sequence[int], outputs: Sequence[int], piece: str, module: str = ""
) -> Operation:
    stack = (CodeLine(PORT, _line(piece), "forward"),)
    given = tuple(Operand(value, None, None) for value in operands)
    return Operation(number, f"aten.{name}.default", given, tuple(outputs), module, stack)


def _slice(operations: Sequence[Operation], parameters: Mapping[int, str]) -> Slice:
    values = {n: Value(n, "parameter", None, name, (8,), "float32", 1.0, 0) for n, name in parameters.items()}
    return Slice(0, tuple(operations), values)


def test_parts_are_called_as_they_are_unpacked() -> None:
    side = _slice([_operation(0, "chunk", [1], [2, 3, 4], "emb.chunk(3)")], {})
    assert names_of(HOUSE, side, [3]) == {"scale"}
    assert names_of(HOUSE, side, [2, 4]) == {"shift", "gate"}
    assert names_of(HOUSE, side, [1]) == frozenset()


def _call(number: int, module: str, parent: int | None, piece: str) -> Call:
    return Call(number, module, 0, parent, (), (), CodeLine(PORT, _line(piece), "forward"))


FILLINGS = tuple(Filling(f"{name}.weight", (f"attn.{name}.weight",)) for name in ("norm_q", "norm_k", "proj"))
BUILT = Built((), MODULES, FILLINGS, (), (), ("plain",))


def test_a_module_whose_official_weights_are_used_and_that_is_never_called_is_found() -> None:
    used = [
        _operation(0, "rms_norm", [1, 10], [2], "self.norm_k(x) if"),
        _operation(1, "rms_norm", [3, 11], [4], "self.norm_k(x) if"),
    ]
    official = _slice(used, {10: "attn.norm_k.weight", 11: "attn.norm_q.weight"})
    calls = [_call(0, "", None, "class Block"), _call(1, "norm_k", 0, "self.norm_k(x) if")]
    (found,) = uncalled(BUILT, calls, official, used)
    assert (found.native, found.official, found.operation.number) == ("norm_q", "attn.norm_q", 1)
    assert list(uncalled(BUILT, (), official, used)) == [], "without calls nothing is known"


def test_the_call_belongs_where_the_module_is_asked_for() -> None:
    place = place_of_call(HOUSE, "norm_q")
    assert place is not None
    assert place.line == _line("            x = x")
    place = place_of_call(HOUSE, "norm_k")
    assert place is not None
    assert place.line == _line("self.norm_k(x) if"), (
        "what calls it was not come through, what asks for it was"
    )
    place = place_of_call(HOUSE, "proj")
    assert place is not None
    assert place.line == _line("x_proj = x_proj.to"), (
        "no statement speaks of it, one does nothing in its place"
    )
    assert place_of_call(HOUSE, "mlp") is None, "no statement speaks of it, and none is called like it"


def test_a_module_that_is_called_instead_stands_where_the_other_should() -> None:
    """`norm_k` has the class and the owner of `norm_q`; `proj` has another class."""
    call = _operation(0, "rms_norm", [1, 10], [2], "self.norm_k(x) if", "norm_k")
    other = _operation(1, "linear", [2, 11], [3], "self.norm_k(x) if", "proj")
    side = _slice([call, other], {10: "norm_k.weight", 11: "proj.weight"})
    found = called_instead(HOUSE, side, "norm_q")
    assert found is not None
    assert (found[0].line, found[1]) == (_line("self.norm_k(x) if"), "norm_k")
    assert called_instead(HOUSE, side, "proj") is None
    assert called_instead(HOUSE, _slice([other], {11: "proj.weight"}), "norm_q") is None
    again = _operation(2, "rms_norm", [3, 10], [4], "            x = x", "norm_k")
    assert called_instead(HOUSE, _slice([call, again], {10: "norm_k.weight"}), "norm_q") is None, "several"


def test_calls_tell_which_branch_was_taken_in_this_block_and_not_in_another() -> None:
    calls = [
        _call(0, "blocks.0", None, "class Block"),
        _call(1, "blocks.0.norm", 0, "if self.norm_k is not None"),
        _call(2, "blocks.1", None, "class Block"),
        _call(3, "blocks.1.norm", 2, "return Output(sample=x)"),
    ]
    used = [_operation(0, "add", [1], [2], "return x + shift", "blocks.1.norm")]
    assert executed(used, calls, ["blocks.1"])[PORT] == {
        _line("return Output(sample=x)"),
        _line("return x + shift"),
    }
