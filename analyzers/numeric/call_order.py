"""The calls of one run as a tree, and the moments of it: when each call was entered and left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analyzers.numeric.records import Address, Call, Tap


@dataclass(frozen=True)
class CallOrder:
    """All calls of one side in one run.

    `entered` and `left`: the moment of each call, by its number; moments of all calls are comparable, and a
    call is left after everything that it called.
    """

    calls: Mapping[int, Call]
    by_module: Mapping[str, tuple[Call, ...]]
    entered: Mapping[int, int]
    left: Mapping[int, int]

    @staticmethod
    def of(calls: Sequence[Call]) -> CallOrder:
        """From calls in any order. A parent that is not among them counts as none."""
        ordered = sorted(calls, key=lambda call: call.number)
        numbers = {call.number for call in ordered}
        by_module: defaultdict[str, list[Call]] = defaultdict(list)
        entered: dict[int, int] = {}
        left: dict[int, int] = {}
        pending: list[Call] = []
        moment = 0
        for call in ordered:
            by_module[call.module].append(call)
            while pending and pending[-1].number != (call.parent if call.parent in numbers else None):
                left[pending.pop().number] = moment
                moment += 1
            entered[call.number] = moment
            moment += 1
            pending.append(call)
        while pending:
            left[pending.pop().number] = moment
            moment += 1
        return CallOrder(
            {call.number: call for call in ordered},
            {name: tuple(sorted(found, key=lambda call: call.index)) for name, found in by_module.items()},
            entered,
            left,
        )

    def call(self, address: Address) -> Call | None:
        """The call that an address means, None where it did not happen."""
        return next(
            (call for call in self.by_module.get(address.module, ()) if call.index == address.index), None
        )

    def tap(self, address: Address) -> Tap | None:
        """The value at an address, None where there is none."""
        call = self.call(address)
        if call is None:
            return None
        taps = call.inputs if address.end == "in" else call.outputs
        return next((tap for tap in taps if tap.label == address.label), None)

    def moment(self, address: Address) -> int | None:
        """When the value at an address was there, None where it was not."""
        call = self.call(address)
        if call is None:
            return None
        return (self.entered if address.end == "in" else self.left)[call.number]

    def count(self, module: str) -> int:
        """How often a module was called."""
        return len(self.by_module.get(module, ()))
