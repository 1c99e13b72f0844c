"""Which functions of a file call which others by name: `helper(x)` and `self.step(x)`.

A call of a submodule (`self.block(x)`) is no call by name: which `forward` runs is not the file's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from analyzers.facts.model import ClassFacts, FileFacts, FunctionFacts

FunctionKey: TypeAlias = "tuple[str, str]"
"""(class, function); the class is empty for a function of the module."""


def key_of(cls: ClassFacts | None, function: FunctionFacts) -> FunctionKey:
    """The key of a function or method of a file."""
    return (cls.name if cls is not None else "", function.name)


def is_forward(name: str) -> bool:
    """Whether a method of that name runs when its module is called, or is a part of that."""
    return name.strip("_").startswith("forward") or name == "__call__"


def calls_by_name(file: FileFacts) -> dict[FunctionKey, frozenset[FunctionKey]]:
    """Each function of the file -> the functions of the file that it calls by name."""
    defined = {key_of(cls.fact if cls else None, f.fact) for cls, f in file.all_functions()}
    table: dict[FunctionKey, frozenset[FunctionKey]] = {}
    for cls, placed in file.all_functions():
        own = placed.fact.parameters[0].name if cls is not None and placed.fact.parameters else None
        called: set[FunctionKey] = set()
        for fact in placed.fact.calls:
            head, _, rest = (fact.call.callee or "").partition(".")
            if not rest and placed.fact.parameter(head) is None:
                called.add(("", head))
            elif cls is not None and head in (own, cls.fact.name):
                called.add((cls.fact.name, rest))
        key = key_of(cls.fact if cls else None, placed.fact)
        table[key] = table.get(key, frozenset()) | (called & defined)
    return table


def reversed_calls(
    calls: Mapping[FunctionKey, frozenset[FunctionKey]],
) -> dict[FunctionKey, set[FunctionKey]]:
    """Each function -> the functions of the file that call it by name."""
    table: dict[FunctionKey, set[FunctionKey]] = {}
    for caller, called in calls.items():
        for key in called:
            table.setdefault(key, set()).add(caller)
    return table


def reachable(
    start: Iterable[FunctionKey], steps: Mapping[FunctionKey, Iterable[FunctionKey]]
) -> frozenset[FunctionKey]:
    """Everything that can be reached from `start`, itself included."""
    seen: set[FunctionKey] = set()
    pending = list(start)
    while pending:
        key = pending.pop()
        if key not in seen:
            seen.add(key)
            pending.extend(steps.get(key, ()))
    return frozenset(seen)
