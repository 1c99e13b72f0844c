"""Where something is lacking: sums of several terms, statements that only rename, calls of modules."""

from __future__ import annotations

from collections.abc import Mapping

from analyzers.numeric import gaps, sums
from analyzers.numeric.origins import House
from analyzers.numeric.records import CodeLine, Module, Operand, Operation, Slice, Value
from analyzers.numeric.roles import Names
from analyzers.numeric.statements import Range, Sources
from analyzers.numeric.uses import Uses

PORT = "dits/port.py"
TEXT = """\
class Block(nn.Module):
    def forward(self, x, vec):
        x = self.mod(vec) + x
        return x


class Port(nn.Module):
    def forward(self, x, t, text, guidance=None):
        scaled = t.to(x.dtype)
        vec = self.time_in(scaled)
        vec = self.vector_in(text)
        if guidance is not None:
            vec = vec
        given = [x, vec]
        for block in self.blocks:
            x = block(*given)
        if guidance is None:
            out = self.last(x)
        else:
            out = self.last(guidance)
        return out
"""
MODULES = (
    Module("", "Port", PORT, 7, (), (), {}),
    Module("blocks", "ModuleList", "torch/container.py", 3, (), (), {}),
    Module("blocks.0", "Block", PORT, 1, (), (), {}),
    Module("blocks.0.mod", "Linear", "torch/linear.py", 3, (), (), {}),
    Module("last", "Linear", "torch/linear.py", 3, (), (), {}),
)
HOUSE = House.of(MODULES, Sources({PORT: TEXT}.get))
NAMES = Names(HOUSE, {})


def _line(piece: str) -> int:
    (found,) = (number for number, line in enumerate(TEXT.splitlines()) if piece in line)
    return found


def _at(piece: str) -> Range:
    return Range(PORT, _line(piece), _line(piece))


def _frame(piece: str) -> CodeLine:
    return CodeLine(PORT, _line(piece), "forward")


def test_a_module_of_a_list_is_called_by_the_variable_of_its_loop() -> None:
    way = Uses(HOUSE).way_in("blocks.0.mod", "input")
    assert [line.line for line in way] == [_line("self.mod(vec)"), _line("block(*given)")]


def test_of_several_calls_the_one_at_the_site_is_meant() -> None:
    uses = Uses(HOUSE)
    assert uses.of("last", "input") is None
    use = uses.of("last", "input", _at("self.last(guidance)"))
    assert use is not None
    assert use.variable == "guidance"


def test_a_statement_that_only_renames_lost_something() -> None:
    way = Uses(HOUSE).way_in("blocks.0.mod", "input")
    assert gaps.idle(NAMES, way, "vec") == _at("    vec = vec")


def test_the_only_statement_that_gives_a_new_name_lost_something() -> None:
    assert gaps.idle(NAMES, [_frame("self.time_in(scaled)")], "scaled") == _at("scaled = t.to")


def test_a_value_overwritten_unread_was_lost() -> None:
    place = _at("vec = self.vector_in(text)")
    node = gaps.unread(HOUSE.sources, place, "vec")
    assert node is not None
    assert node.lineno - 1 == place.line
    assert gaps.unread(HOUSE.sources, place, "x") is None


def _sum(*steps: tuple[str, int, int], leaves: int, **keywords: str) -> Slice:
    """`steps`: additions (name, operands); their results are numbered on from the leaves."""
    values: dict[int, Value] = {
        n: Value(n, "pair", None, None, (2,), "float32", 1.0, 0) for n in range(leaves + len(steps))
    }
    operations = tuple(
        Operation(
            n,
            f"aten.{name}.Tensor",
            (
                Operand(one, None, None),
                Operand(two, None, None),
                *(Operand(None, None, text, keyword) for keyword, text in keywords.items()),
            ),
            (leaves + n,),
            "",
            (),
        )
        for n, (name, one, two) in enumerate(steps)
    )
    return Slice(leaves + len(steps) - 1, operations, values)


def _made(side: Slice) -> frozenset[int]:
    return frozenset(side.makers)


def _matched(ours: Slice, theirs: Slice, equal: Mapping[int, int]) -> sums.Matched | None:
    return sums.matched(
        sums.terms(ours, ours.goal, _made(ours)),
        sums.terms(theirs, theirs.goal, _made(theirs)),
        lambda one, other: equal.get(one) == other,
    )


ALL = {0: 0, 1: 1, 2: 2}


def test_the_order_of_a_sum_does_not_matter() -> None:
    ours = _sum(("add", 0, 1), ("add", 3, 2), leaves=3)
    theirs = _sum(("add", 0, 2), ("add", 1, 3), leaves=3)
    assert _matched(ours, theirs, ALL) == sums.Matched((), (), ())


def test_a_term_with_the_wrong_sign_is_found() -> None:
    ours = _sum(("add", 0, 1), ("sub", 3, 2), leaves=3)
    theirs = _sum(("add", 0, 2), ("add", 3, 1), leaves=3)
    found = _matched(ours, theirs, ALL)
    assert found is not None
    assert [(mine.value, mine.operation.number) for mine, _ in found.signs] == [(2, 1)]


def test_a_lacking_term_is_found() -> None:
    ours = _sum(("add", 0, 1), leaves=3)
    theirs = _sum(("add", 0, 2), ("add", 3, 1), leaves=3)
    found = _matched(ours, theirs, ALL)
    assert found is not None
    assert [term.value for term in found.theirs] == [2]
    assert not found.ours


def test_two_sums_of_two_need_no_rearranging() -> None:
    one = _sum(("add", 0, 1), leaves=3)
    assert _matched(one, one, ALL) is None


def test_a_sum_with_a_factor_is_no_plain_one() -> None:
    scaled = _sum(("add", 0, 1), leaves=3, alpha="2")
    assert sums.terms(scaled, scaled.goal, _made(scaled)) == ()
