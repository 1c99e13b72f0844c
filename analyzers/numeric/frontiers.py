"""Where a wrong value began to be wrong: the operations that make one from values that agree."""

from __future__ import annotations

from typing import TypeAlias

from analyzers.numeric.records import CodeLine, Operations

Origin: TypeAlias = "tuple[str, str, tuple[CodeLine, ...]]"
"""An operation by its name, the module whose call it was made in, and the frames that led to it; the same in
every run and case. For a value that no operation made: its source, its name, and no frames."""


def origins(operations: Operations) -> frozenset[Origin]:
    """The first wrong operations on the ways to a goal. Values in another order are wrong, in another form
    they are not. Nothing where the goal itself holds what the official side has elsewhere."""
    native = operations.native
    right = {
        same.native
        for same in operations.same
        if not same.reorders and not (same.layout or "").startswith("negated")
    }
    right |= {
        number for number, value in native.values.items() if value.source in ("pair", "parameter", "input")
    }
    right.discard(native.goal)
    if any(same.native == native.goal and same.layout is None for same in operations.same):
        return frozenset()
    found: set[Origin] = set()
    waiting, met = [native.goal], {native.goal}
    while waiting:
        number = waiting.pop()
        maker = native.makers.get(number)
        if maker is None:
            value = native.values[number]
            found.add((value.source, value.name or str(number), ()))
            continue
        given = {operand.value for operand in maker.operands if operand.value is not None} - right
        if not given:
            found.add((maker.name, maker.module, maker.stack))
        waiting += given - met
        met |= given
    return frozenset(found)
