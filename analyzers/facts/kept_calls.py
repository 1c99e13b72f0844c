"""Which local names of a function hold the value of one call throughout."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.expressions import convert
from analyzers.facts.model import Expr
from analyzers.facts.name_uses import parameters


@dataclass(frozen=True)
class KeptCall:
    """`name = call(...)`, the only place that stores the name; `reads`: how many places read it."""

    name: str
    value: Expr
    reads: int


def kept_calls(body: Body) -> tuple[KeptCall, ...]:
    """The names that one plain assignment gives the value of a call, and nothing else stores."""
    names = [n for n in body.nodes if isinstance(n, ast.Name)]
    mentions = Counter(n.id for n in names)
    stores = Counter(n.id for n in names if not isinstance(n.ctx, ast.Load))
    given = parameters(body.tree)
    return tuple(
        KeptCall(target.id, convert(node.value), mentions[target.id] - 1)
        for node in body.nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        for target in node.targets
        if isinstance(target, ast.Name) and stores[target.id] == 1 and target.id not in given
    )
