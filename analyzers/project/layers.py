"""What a submodule is: the class that `self.name` holds, as far as assignments prove it."""

from __future__ import annotations

from dataclasses import dataclass

from analyzers.facts.model import (
    Call,
    ClassFacts,
    Collection,
    Constant,
    Either,
    Expr,
    FunctionFacts,
    Opaque,
    Placed,
    Reference,
)
from analyzers.findings import Location
from analyzers.project.idioms import set_by_name
from analyzers.project.names import External, Names

LINEAR = "torch.nn.Linear"

IDENTITY = "torch.nn.Identity"

SEQUENTIAL = "torch.nn.Sequential"

MODULE_LIST = "torch.nn.ModuleList"

_TAKE_ANYTHING = frozenset({IDENTITY, SEQUENTIAL, "torch.nn.Module"})

_COUNTING = frozenset({"range", "len", "enumerate", "zip", "reversed"})
"""What stands beside the constructor in a comprehension."""


def canonical(dotted: str) -> str:
    """`torch.nn.modules.linear.Linear` and the like under the name that everyone writes."""
    if dotted.startswith("torch.nn.modules."):
        return f"torch.nn.{dotted.rpartition('.')[2]}"
    return dotted


def built_class(names: Names, path: str, call: Call) -> str | None:
    """The full dotted name of the class that a call builds (`torch.nn.Linear`), or None.

    A class of the tree and one from outside alike; functions give None where they are of the tree,
    since what they return is theirs to say.
    """
    if call.callee is None:
        return None
    found = names.resolve(path, call.callee)
    if isinstance(found, External):
        return canonical(found.dotted)
    if isinstance(found, Placed) and isinstance(found.fact, ClassFacts):
        return names.qualified_class(found)
    return None


@dataclass(frozen=True)
class Submodule:
    """The full names of the classes that an attribute may hold, and an assignment that says so."""

    classes: frozenset[str]
    location: Location

    @property
    def cls(self) -> str | None:
        """The only class that it can be, or None where there are several."""
        return next(iter(self.classes)) if len(self.classes) == 1 else None


def submodule(names: Names, cls: Placed[ClassFacts], chain: str) -> Submodule | None:
    """What `self.<chain>` (`to_q`, `attn.to_q`) holds, or None where it cannot be told.

    Every assignment to the attribute, in the class and all its bases, must be the construction of a
    known class, or a choice of such, and no `setattr` may set it; `None` beside it is no other class,
    since calling it would fail anyway.
    """
    name, _, rest = chain.partition(".")
    found = _attribute(names, cls, name)
    if found is None or not rest:
        return found
    inner = names.by_qualified(found.cls) if found.cls is not None else None
    if isinstance(inner, Placed) and isinstance(inner.fact, ClassFacts):
        return submodule(names, inner, rest)
    return None


def _attribute(names: Names, cls: Placed[ClassFacts], name: str) -> Submodule | None:
    ancestry = names.ancestry(cls)
    if not ancestry.complete:
        return None
    kinds: set[str | None] = set()
    location: Location | None = None
    for owner in ancestry.classes:
        if owner.fact.attribute(name) is not None or owner.fact.method(name) is not None:
            return None
        by_name = _set_by_name(names, owner)
        if by_name is None or name in by_name:
            return None
        for method in owner.fact.methods:
            for assignment in method.assignments:
                if assignment.name == name:
                    kinds |= _kinds(names, owner.path, method, assignment.value)
                    location = location or owner.at(assignment.span)
    known = frozenset(kind for kind in kinds if kind is not None)
    return Submodule(known, location) if location is not None and known and known == kinds else None


def _set_by_name(names: Names, cls: Placed[ClassFacts]) -> frozenset[str] | None:
    """Attributes that some method of the class sets by `setattr`; None where a name is computed.

    Remembered, since it is asked for every `self.x` of a file.
    """

    def ask() -> frozenset[str] | None:
        found: set[str] = set()
        for method in cls.fact.methods:
            by_name = set_by_name(method)
            if by_name is None:
                return None
            found |= by_name
        return frozenset(found)

    key = ("set by name", cls.path, cls.fact.name, cls.line)
    return names.memory.about(cls.path, cls.fact, key, ask)


@dataclass(frozen=True)
class Elements:
    """The full names of the classes that a container is built from, in order. `repeated`: of the one class
    there are as many as a comprehension makes."""

    classes: tuple[str, ...]
    repeated: bool = False


def elements(names: Names, cls: Placed[ClassFacts], attribute: str) -> Elements | None:
    """What `self.<attribute> = nn.ModuleList(...)` or `nn.Sequential(...)` holds, None where it cannot be
    told: another class, several assignments, elements that are added later."""
    held = _attribute(names, cls, attribute)
    if held is None or held.cls not in (SEQUENTIAL, MODULE_LIST):
        return None
    found: list[Elements | None] = []
    for owner in names.ancestry(cls).classes:
        for method in owner.fact.methods:
            if any(f"{attribute}.{change}" in method.reads for change in ("append", "extend", "insert")):
                return None
            for assignment in method.assignments:
                if assignment.name == attribute and isinstance(assignment.value, Call):
                    found.append(_elements(names, owner.path, method, attribute, assignment.value, held.cls))
    return found[0] if len(found) == 1 else None


def _elements(
    names: Names, path: str, method: FunctionFacts, attribute: str, built: Call, container: str
) -> Elements | None:
    given = built.arguments
    if built.unpacks or built.keywords:
        return None
    if container == MODULE_LIST:
        if len(given) != 1:
            return None
        if isinstance(given[0], Opaque):
            made = {
                _kind(names, path, method, fact.call)
                for fact in method.calls
                if fact.target == attribute and len(fact.enclosing) == 1 and fact.call.callee not in _COUNTING
            }
            only = next(iter(made)) if len(made) == 1 else None
            return Elements((only,), repeated=True) if only is not None else None
        given = given[0].items if isinstance(given[0], Collection) else ()
    kinds = [_kind(names, path, method, item) if isinstance(item, Call) else None for item in given]
    known = tuple(kind for kind in kinds if kind is not None)
    return Elements(known) if known and len(known) == len(kinds) else None


def wants_tensor(names: Names, qualified: str, position: int | str = 0) -> bool:
    """Whether an argument of a module's forward is a tensor and nothing else, as it declares.

    True for the first of the modules of `torch.nn` (containers and `Identity` left out) and for classes of
    the tree whose `forward` (or the `forward_native` that a `CustomOp` dispatches to) annotates it so.
    """
    if qualified.startswith("torch.nn."):
        return position in (0, "input") and qualified not in _TAKE_ANYTHING
    found = names.by_qualified(qualified)
    if not isinstance(found, Placed) or not isinstance(found.fact, ClassFacts):
        return False
    for wanted in ("forward", "forward_native"):
        for owner in names.ancestry(found).classes:
            method = owner.fact.method(wanted)
            if method is None:
                continue
            given = method.parameters[1:]
            if given and given[0].kind == "variadic":
                break  # dispatches to forward_native
            if isinstance(position, str):
                taken = method.parameter(position)
            else:
                taken = given[position] if position < len(given) else None
            annotation = taken.annotation if taken is not None else None
            return (
                isinstance(annotation, Reference)
                and names.qualified(owner.path, annotation.dotted) == "torch.Tensor"
            )
    return False


def _kinds(names: Names, path: str, method: FunctionFacts, value: Expr | None) -> set[str | None]:
    """The classes that a value may be of; None stands for one that cannot be told."""
    if isinstance(value, Constant) and value.value is None:
        return set()
    if isinstance(value, Either):
        return _kinds(names, path, method, value.body) | _kinds(names, path, method, value.orelse)
    return {_kind(names, path, method, value) if isinstance(value, Call) else None}


def _kind(names: Names, path: str, method: FunctionFacts, call: Call) -> str | None:
    """The class that a call in a method builds, or None where it cannot be told."""
    if call.callee is None or method.parameter(call.callee.partition(".")[0]) is not None:
        return None  # a parameter hides what the module calls by that name
    return built_class(names, path, call)
