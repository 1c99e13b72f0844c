"""Epsilons of norms, in both ways of writing them: an argument of a fused norm, or a constant added before a
root."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from analyzers.numeric import operands
from analyzers.numeric.operands import Constant
from analyzers.numeric.records import Operation, Operations, Slice

_FUSED: Final = frozenset({"rms_norm", "layer_norm", "group_norm"})

_ROOTS: Final = frozenset({"rsqrt", "sqrt"})


class Epsilon(NamedTuple):
    """An epsilon, and the operation that it is an argument of."""

    operation: Operation
    constant: Constant

    @property
    def fused(self) -> bool:
        """Whether the norm is one operation."""
        return operands.canonical(self.operation) in _FUSED


def unlike_epsilons(found: Operations) -> tuple[Epsilon, Epsilon] | None:
    """The epsilons (native, official) of the one norm on both ways that only one of the sides fuses, where
    they differ.

    Where both sides write the norm alike, their operations can be compared one by one instead.
    """
    ours, theirs = list(_epsilons(found.native)), list(_epsilons(found.official))
    if len(ours) != 1 or len(theirs) != 1 or ours[0].fused == theirs[0].fused:
        return None
    if operands.equal_constants(ours[0].constant.text, theirs[0].constant.text):
        return None
    return ours[0], theirs[0]


def _epsilons(side: Slice) -> Iterator[Epsilon]:
    for operation in side.operations:
        name = operands.canonical(operation)
        if name in _FUSED:
            given = next((each for each in operands.constants(operation) if each.place == "eps"), None)
            # Without one, it is the smallest step of the input's dtype.
            if given is not None and given.text != "None":
                yield Epsilon(operation, given)
        elif name in _ROOTS:
            added = _added(side, operation)
            if added is not None:
                yield added


def _added(side: Slice, root: Operation) -> Epsilon | None:
    """The constant in `sqrt(value + constant)`."""
    under = [side.makers.get(operand.value) for operand in root.operands if operand.value is not None]
    if len(under) != 1 or under[0] is None or operands.canonical(under[0]) != "add":
        return None
    given = [each for each in operands.constants(under[0]) if each.place != "alpha"]
    if len(operands.tensors(under[0])) != 1 or len(given) != 1:
        return None
    return Epsilon(under[0], given[0])
