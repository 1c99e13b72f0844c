"""Which lines of the port a run came through, as far as its calls and operations tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from analyzers.numeric.records import Call, Operation


def executed(
    operations: Iterable[Operation], calls: Sequence[Call], modules: Collection[str]
) -> Mapping[str, frozenset[int]]:
    """The lines by path: those of operations, and those that called something inside of some modules.

    `modules`: those whose way through their code is asked for, and every module around one counts as well.
    Not all calls do: two blocks of one class may take different branches of it.
    """
    lines: defaultdict[str, set[int]] = defaultdict(set)
    wanted = {outer for name in modules for outer in _around(name)}
    for operation in operations:
        wanted.update(_around(operation.module))
        for frame in operation.stack:
            lines[frame.path].add(frame.line)
    names = {call.number: call.module for call in calls}
    for call in calls:
        inside = names.get(call.parent) if call.parent is not None else None
        if call.site is not None and inside in wanted:
            lines[call.site.path].add(call.site.line)
    return {path: frozenset(found) for path, found in lines.items()}


def _around(name: str) -> Iterable[str]:
    """The name, and the names of all modules around it."""
    parts = name.split(".") if name else []
    return [".".join(parts[:end]) for end in range(len(parts) + 1)]
