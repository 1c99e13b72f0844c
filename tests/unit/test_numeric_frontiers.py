"""The first wrong operations on the way to a wrong value."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.numeric.frontiers import origins
from analyzers.numeric.records import CodeLine, Operand, Operation, Operations, Same, Slice, Value

LINE = CodeLine("port.py", 3, "forward")


def way(goal: int, *made: tuple[str, Sequence[int], int]) -> Slice:
    """Operations by name, operands and output; what nobody made is an aligned value."""
    operations = tuple(
        Operation(n, name, tuple(Operand(v, None, None) for v in given), (out,), "block", (LINE,))
        for n, (name, given, out) in enumerate(made)
    )
    outputs = {out for _, _, out in made}
    numbers = outputs | {v for _, given, _ in made for v in given} | {goal}
    values = {
        n: Value(n, "op" if n in outputs else "pair", 0, None, (2,), "float32", 1.0, 0) for n in numbers
    }
    return Slice(goal, operations, values)


def began(native: Slice, *same: Same) -> set[str]:
    found = origins(Operations(0, way(99), native, tuple(same)))
    return {name for name, module, stack in found if (module, stack) == ("block", (LINE,))}


NATIVE = way(5, ("mul", [1, 2], 3), ("permute", [3], 4), ("add", [4, 1], 5))


def test_the_first_operation_that_gives_an_unknown_value() -> None:
    assert began(NATIVE) == {"mul"}
    assert began(NATIVE, Same(10, 3, None, 0.0)) == {"permute"}
    assert began(NATIVE, Same(10, 3, None, 0.0), Same(11, 4, "axes (1, 0)", 0.0)) == {"add"}


def test_another_order_or_sign_is_wrong_already() -> None:
    assert began(NATIVE, Same(10, 3, None, 0.0), Same(11, 4, "axis 0 reversed", 0.0, True)) == {"permute"}
    assert began(NATIVE, Same(10, 3, None, 0.0), Same(11, 4, "negated", 0.0)) == {"permute"}


def test_a_goal_that_is_known_elsewhere_began_nowhere() -> None:
    assert began(NATIVE, Same(12, 5, None, 0.0)) == set()


def test_a_table_that_nobody_made_is_its_own_beginning() -> None:
    table = Value(2, "buffer", None, "freqs", (2,), "float32", 1.0, 0)
    native = Slice(NATIVE.goal, NATIVE.operations, {**NATIVE.values, 2: table})
    assert origins(Operations(0, way(99), native, ())) == {("buffer", "freqs", ())}
