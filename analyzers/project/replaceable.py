"""Whether what an attribute holds could be FastVideo's linear instead of `nn.Linear`, by how it is built.

Only what the class itself writes: who calls the layer is for the fix to find out, when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.facts.model import Call, ClassFacts, Constant, Either, Expr, Placed
from analyzers.findings import Related, Span
from analyzers.project.layers import LINEAR, built_class
from analyzers.project.names import Names

_SEQUENTIAL = "torch.nn.Sequential"
_LISTS = frozenset({"torch.nn.ModuleList", "torch.nn.ModuleDict"})
_TAKEN = frozenset({"in_features", "out_features", "bias", "dtype"})


def obstacle(names: Names, cls: Placed[ClassFacts], attribute: str) -> Related | None:
    """The first thing in the class that keeps `self.<attribute>` from being replaced, or None."""
    for method in cls.fact.methods:
        for assignment in method.assignments:
            if assignment.name == attribute:
                for span, why in _obstacles(names, cls.path, assignment.value, assignment.span):
                    return Related(cls.at(span), f"no fix is offered: {why}")
    return None


def _obstacles(names: Names, path: str, value: Expr | None, span: Span) -> Iterator[tuple[Span, str]]:
    if value is None or (isinstance(value, Constant) and value.value is None):
        return
    if isinstance(value, Either):
        yield from _obstacles(names, path, value.body, span)
        yield from _obstacles(names, path, value.orelse, span)
        return
    made = built_class(names, path, value) if isinstance(value, Call) else None
    if made == LINEAR and isinstance(value, Call):
        if value.unpacks or len(value.arguments) > 3 or any(k.name not in _TAKEN for k in value.keywords):
            yield value.span, "these arguments cannot be handed over"
    elif made == _SEQUENTIAL and isinstance(value, Call):
        yield from _in_sequential(names, path, value)
    elif made not in _LISTS:
        yield value.span, "the attribute may hold this, whose result is no tuple"


def _in_sequential(names: Names, path: str, value: Call) -> Iterator[tuple[Span, str]]:
    for item in value.arguments[:-1]:
        if isinstance(item, Call) and built_class(names, path, item) == LINEAR:
            yield item.span, "nn.Sequential would hand the tuple (output, bias) on to its next layer"
    last = value.arguments[-1:]
    if value.unpacks or not (
        last and isinstance(last[0], Call) and built_class(names, path, last[0]) == LINEAR
    ):
        yield value.span, "nn.Sequential would hand the tuple (output, bias) on"
