"""Which classes make up the repeated blocks of the ports: what a port's constructor builds in a loop.

Only what constructors provably do counts: `__init__` of a port (and of the bases that it calls), the
methods and functions of the tree that it calls on the way, and the classes that these build by name.
A class is in a block once it is built inside a loop, a comprehension or an `nn.ModuleList`, or by a
class that is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from analyzers.facts.model import CallFact, ClassFacts, Either, FunctionFacts, Placed, Reference
from analyzers.findings import Location
from analyzers.project.idioms import calls_parent
from analyzers.project.layers import canonical
from analyzers.project.names import External, Names
from analyzers.project.ports import Port

_LIST = "torch.nn.ModuleList"


@dataclass(frozen=True)
class Block:
    """A class that is part of a repeated block.

    `port`: a port that builds it so, of the class's own file where there is one, else the first by
    family and name; `home`: that port's file. `chain`: class names from the port down to the class.
    `repeated_at`: the construction that is repeated. `constructors`: the methods that run when the
    class is built, as (full name of the owning class, method).
    """

    cls: Placed[ClassFacts]
    port: str
    home: str
    chain: tuple[str, ...]
    repeated_at: Location
    constructors: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class _Build:
    """A class to look into; `repeated_at` is None outside of blocks."""

    cls: Placed[ClassFacts]
    chain: tuple[str, ...]
    repeated_at: Location | None


@dataclass(frozen=True)
class _Step:
    """A function on the way; `repeated_at` where the call of it is repeated already."""

    path: str
    owner: str
    function: Placed[FunctionFacts]
    repeated_at: Location | None


@dataclass(frozen=True)
class _Recipe:
    """What building a class runs and builds; each class with the place where it is repeated, if so."""

    constructors: frozenset[tuple[str, str]]
    parts: tuple[tuple[Placed[ClassFacts], Location | None], ...]


def find_blocks(names: Names, ports: tuple[Port, ...]) -> dict[str, Block]:
    """Full class name -> the block that it is part of."""
    blocks: dict[str, Block] = {}
    for port in ports:
        key = ("blocks", port.cls.path, port.name, port.cls.line)
        found = names.memory.about(port.cls.path, port.cls.fact, key, partial(_blocks_of, names, port.cls))
        for name, block in found:
            known = blocks.get(name)
            if known is None or (known.cls.path == port.cls.path and known.home != port.cls.path):
                blocks[name] = block
    return blocks


def _blocks_of(names: Names, port: Placed[ClassFacts]) -> tuple[tuple[str, Block], ...]:
    """(full class name, block) for each class that a port builds repeatedly."""
    found: list[tuple[str, Block]] = []
    seen: set[tuple[str, bool]] = set()
    pending = deque([_Build(port, (port.fact.name,), None)])
    while pending:
        build = pending.popleft()
        name = names.qualified_class(build.cls)
        if (name, build.repeated_at is not None) in seen:
            continue
        seen.add((name, build.repeated_at is not None))
        recipe = _recipe_of(names, build.cls)
        if build.repeated_at is not None:
            block = Block(
                build.cls, port.fact.name, port.path, build.chain, build.repeated_at, recipe.constructors
            )
            found.append((name, block))
        for made, repeated_at in recipe.parts:
            at = build.repeated_at or repeated_at
            pending.append(_Build(made, (*build.chain, made.fact.name), at))
    return tuple(found)


def _recipe_of(names: Names, cls: Placed[ClassFacts]) -> _Recipe:
    key = ("recipe", cls.path, cls.fact.name, cls.line)
    return names.memory.about(cls.path, cls.fact, key, partial(_recipe, names, cls))


def _recipe(names: Names, cls: Placed[ClassFacts]) -> _Recipe:
    steps = list(_steps(names, cls))
    parts = (
        (made, _repeated_at(names, step, fact))
        for step in steps
        for fact in step.function.fact.calls
        for made in _classes_built(names, step, fact)
        if not is_embedder(made.fact.name) and not is_head(made.fact.name)
    )
    constructors = frozenset((s.owner, s.function.fact.name) for s in steps if s.owner)
    return _Recipe(constructors, tuple(parts))


def is_embedder(name: str) -> bool:
    """Whether a class or attribute says of itself that it embeds an input."""
    lowered = name.lower()
    return "embed" in lowered or "patchify" in lowered


def is_head(name: str) -> bool:
    """Whether a class says of itself that it makes the model's output."""
    return name.endswith("Head") or "final" in name.lower()


def _steps(names: Names, cls: Placed[ClassFacts]) -> Iterator[_Step]:
    """The functions that run when the class is built, outermost first."""
    pending: deque[_Step] = deque()
    for owner in names.ancestry(cls).classes:
        init = owner.fact.method("__init__")
        if init is None:
            continue
        placed = Placed(init, owner.path, owner.line)
        pending.append(_Step(owner.path, names.qualified_class(owner), placed, None))
        if not calls_parent(init):
            break
    seen: set[tuple[str, str, str, bool]] = set()
    while pending:
        step = pending.popleft()
        key = (step.path, step.owner, step.function.fact.name, step.repeated_at is not None)
        if key in seen:
            continue
        seen.add(key)
        yield step
        for fact in step.function.fact.calls:
            called = _function_called(names, cls, step, fact)
            if called is not None:
                at = _repeated_at(names, step, fact)
                pending.append(_Step(called.path, called.owner, called.function, at))


def _function_called(names: Names, cls: Placed[ClassFacts], step: _Step, fact: CallFact) -> _Step | None:
    callee = fact.call.callee
    if callee is None:
        return None
    head, _, rest = callee.partition(".")
    parameters = step.function.fact.parameters
    if step.owner and parameters and head == parameters[0].name:
        for owner in names.ancestry(cls).classes:
            method = owner.fact.method(rest)
            if method is not None:
                placed = Placed(method, owner.path, owner.line)
                return _Step(owner.path, names.qualified_class(owner), placed, None)
        return None
    found = None if step.function.fact.parameter(head) else names.resolve(step.path, callee)
    if isinstance(found, Placed) and isinstance(found.fact, FunctionFacts):
        return _Step(found.path, "", Placed(found.fact, found.path, found.line), None)
    return None


def _classes_built(names: Names, step: _Step, fact: CallFact) -> Iterator[Placed[ClassFacts]]:
    """The class that a call builds, or the candidates where a local name stands for one of several."""
    callee = fact.call.callee
    if callee is None:
        return
    function = step.function.fact
    meanings = [value for name, value in function.renames if name == callee]
    while meanings:
        value = meanings.pop()
        if isinstance(value, Either):
            meanings += [v for v in (value.body, value.orelse) if isinstance(v, (Reference, Either))]
        elif (made := names.class_of(step.path, value.dotted)) is not None:
            yield made
    if function.parameter(callee.partition(".")[0]) is None:
        made = names.class_of(step.path, callee)
        if made is not None:
            yield made


def _repeated_at(names: Names, step: _Step, fact: CallFact) -> Location | None:
    """Where the call stands, if it is repeated: by itself, in a module list, or with its function."""
    in_list = any(
        "ModuleList" in name
        and isinstance(found := names.resolve(step.path, name), External)
        and canonical(found.dotted) == _LIST
        for name in fact.enclosing
    )
    return step.function.at(fact.call.span) if fact.repeated or in_list else step.repeated_at
