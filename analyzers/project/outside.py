"""What a name of a function may stand for outside the tree, where plain resolution gives up.

`definitions` answers only what is certain. Optional kernels are bound in several ways on purpose
(`try: from flash_attn_interface import f`, `except ImportError: f = None`, `f = torch.compile(f)`), and
every way that is not "absent" leads to the same kind of function.
"""

from __future__ import annotations

from analyzers.facts.model import (
    Call,
    ClassFacts,
    Constant,
    Either,
    Expr,
    FileFacts,
    FunctionFacts,
    Reference,
    imported_target,
)
from analyzers.project.definitions import MAXIMUM_HOPS, External
from analyzers.project.names import Names

_WRAPPING = frozenset({"allow_in_graph", "compile", "disable", "partial"})
"""Functions, by the last part of their name, whose result does what their first argument does."""


def outside_names(
    names: Names,
    file: FileFacts,
    dotted: str,
    function: FunctionFacts | None = None,
    cls: ClassFacts | None = None,
) -> frozenset[str]:
    """The full dotted names outside the tree that `dotted` may stand for; empty where it cannot be told.

    `function` (and its class) is where the name is used: its own imports and aliases count, and its
    parameters hide the module's names. `self.name` is followed to what the class's methods assign.
    """
    return _outside(names, file, dotted, function, cls, MAXIMUM_HOPS)


def _outside(
    names: Names,
    file: FileFacts,
    dotted: str,
    function: FunctionFacts | None,
    cls: ClassFacts | None,
    hops: int,
) -> frozenset[str]:
    if hops <= 0:
        return frozenset()
    head, _, rest = dotted.partition(".")
    if function is not None:
        if cls is not None and function.parameters and head == function.parameters[0].name:
            return _attribute(names, file, rest, cls, hops)
        if function.parameter(head) is not None:
            return frozenset()
        renamed = [value for name, value in function.renames if name == head]
        if renamed and not rest:
            return frozenset().union(*(_value(names, file, v, function, cls, hops - 1) for v in renamed))
        inner = _imported(
            names, file, head, rest, f"{cls.name}.{function.name}" if cls else function.name, hops
        )
        if inner:
            return inner
    found = names.resolve(file.path, dotted)
    if isinstance(found, External):
        return frozenset({found.dotted})
    return _in_module(names, file, head, rest, hops)


def _in_module(names: Names, file: FileFacts, head: str, rest: str, hops: int) -> frozenset[str]:
    """A name that a module binds in several ways, all of which are imports, wrappers or None."""
    if file.class_named(head) is not None or file.function_named(head) is not None:
        return frozenset()
    found = _imported(names, file, head, rest, None, hops)
    for assigned in file.assignments:
        value = assigned.fact.value
        if head not in assigned.fact.names or (isinstance(value, Constant) and value.value is None):
            continue
        if rest or value is None or assigned.fact.augmented:
            return frozenset()
        if isinstance(value, Call) and _wraps(value) and _is_name(value.arguments[0], head):
            continue  # `f = torch.compile(f)`
        through = _value(names, file, value, None, None, hops - 1)
        if not through:
            return frozenset()
        found |= through
    return found


def _attribute(names: Names, file: FileFacts, name: str, cls: ClassFacts, hops: int) -> frozenset[str]:
    """What every assignment to `self.<name>` in the class may stand for."""
    found: frozenset[str] = frozenset()
    for method in cls.methods:
        for assignment in method.assignments:
            if assignment.name == name:
                value = assignment.value
                through = _value(names, file, value, method, None, hops - 1) if value is not None else None
                if not through:
                    return frozenset()
                found |= through
    return found


def _value(
    names: Names,
    file: FileFacts,
    value: Expr,
    function: FunctionFacts | None,
    cls: ClassFacts | None,
    hops: int,
) -> frozenset[str]:
    if isinstance(value, Reference):
        return _outside(names, file, value.dotted, function, cls, hops)
    if isinstance(value, Either):
        return _value(names, file, value.body, function, cls, hops) | _value(
            names, file, value.orelse, function, cls, hops
        )
    if isinstance(value, Call) and _wraps(value):
        return _value(names, file, value.arguments[0], function, cls, hops)
    return frozenset()


def _imported(
    names: Names, file: FileFacts, head: str, rest: str, scope: str | None, hops: int
) -> frozenset[str]:
    """What imports of one scope (a dotted function name, None for the module) bind `head` to."""
    found: set[str] = set()
    for placed in file.imports:
        item = placed.fact
        if item.bound != head or item.type_checking:
            continue
        here = item.function
        if here != scope and not (scope is not None and here is not None and here.startswith(f"{scope}.")):
            continue
        absolute = names.absolute(file.path, imported_target(item))
        if absolute is None:
            continue
        full = f"{absolute}.{rest}" if rest else absolute
        if not names.profile.owns(full):
            found.add(full)
            continue
        module, _, name = full.rpartition(".")
        path = names.module_path(module)
        facts = names.sources.facts(path) if path is not None else None
        if facts is not None:
            found |= _outside(names, facts, name, None, None, hops - 1)
    return frozenset(found)


def _wraps(call: Call) -> bool:
    return (
        call.callee is not None
        and call.callee.rpartition(".")[2] in _WRAPPING
        and bool(call.arguments)
        and isinstance(call.arguments[0], (Reference, Call))
    )


def _is_name(value: Expr, name: str) -> bool:
    return isinstance(value, Reference) and value.dotted == name
