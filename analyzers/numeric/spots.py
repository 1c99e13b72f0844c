"""Where in the code a place is, as far as calls and constructions tell it; operations tell it better."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.numeric.call_order import CallOrder
from analyzers.numeric.records import Address, CodeLine, Module
from analyzers.numeric.verdicts import Spot


def spot_of_value(modules: Sequence[Module], order: CallOrder, address: Address, own: bool) -> Spot:
    """An input: the line that called the module with it. An output: where the module was built, for one
    without parts (its settings stand there); where its `forward` is for a composite.

    `own`: the module is to blame itself. Lines of layers that others share say little, so the model's own
    file comes first.
    """
    call = order.call(address)
    if address.end == "in" and call is not None and call.site is not None:
        return Spot(address.module, call.site.path, call.site.line, call.site.line)
    module = next((one for one in modules if one.name == address.module), None)
    if own and module is not None:
        return built_at(modules, module)
    return forward_of(address.module, module)


def built_at(modules: Sequence[Module], module: Module) -> Spot:
    """The line of the model's own file that built a module, else the innermost one, else its `forward`."""
    files = [one.path for one in modules if not one.name]
    lines: list[CodeLine] = [line for line in module.built_at if line.path in files]
    line = next(iter(lines or module.built_at), None)
    if line is None or not module.name:
        return forward_of(module.name, module)
    return Spot(module.name, line.path, line.line, line.line)


def forward_of(name: str, module: Module | None) -> Spot:
    """Where a module computes."""
    if module is None or module.line is None:
        return Spot(name, None if module is None else module.path, None, None)
    return Spot(name, module.path, module.line, module.line)
