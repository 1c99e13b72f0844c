"""How code writes what is asked about, told from facts alone.

Copies of a list or dict, dataclass fields, and what a method does to its instance.
"""

from __future__ import annotations

from typing import Final, TypeGuard

from analyzers.facts.model import (
    Attribute,
    Call,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FunctionFacts,
    Mapping,
    Reference,
    Subscript,
)
from analyzers.findings import Span

_READING: Final = frozenset({"copy", "count", "get", "index", "items", "keys", "values"})
"""Methods of lists and dicts that leave them as they are."""


# --------------------------------------------------------------------------- copies


def copied_by(call: Call) -> Expr | None:
    """What a call copies: `list(x)`, `dict(x)`, `x.copy()`, `deepcopy(x)`; a display for `list()`."""
    if call.keywords or call.unpacks:
        return None
    function = call.function
    if not call.arguments:
        if isinstance(function, Attribute) and function.name == "copy":
            return function.base
        if isinstance(function, Reference) and function.dotted.endswith(".copy"):
            span = function.span
            shortened = Span(span.line, span.column, span.end_line, span.end_column - len(".copy"))
            return Reference(function.dotted[: -len(".copy")], shortened)
        return made_empty(call.callee, call)
    if len(call.arguments) == 1 and call.callee in (
        "list",
        "dict",
        "tuple",
        "deepcopy",
        "copy",
        "copy.copy",
        "copy.deepcopy",
    ):
        return call.arguments[0]
    return None


def made_empty(constructor: str | None, at: Expr) -> Expr | None:
    """What `list()`, `dict()` or `tuple()` gives."""
    if constructor == "dict":
        return Mapping((), at.span)
    return Collection(constructor, (), at.span) if constructor in ("list", "tuple") else None


# --------------------------------------------------------------------------- dataclasses


def is_dataclass(cls: ClassFacts) -> bool:
    """Whether a class is decorated as a dataclass."""
    plain = (d.function if isinstance(d, Call) else d for d in cls.decorators)
    return any(isinstance(d, Reference) and d.tail == "dataclass" for d in plain)


def is_field(value: Expr) -> TypeGuard[Call]:
    return isinstance(value, Call) and (value.callee or "").rpartition(".")[2] == "field"


def is_field_annotation(annotation: Expr | None) -> bool:
    """Whether an annotation makes a dataclass field: any but `ClassVar`."""
    if isinstance(annotation, Subscript):
        annotation = annotation.base
    if isinstance(annotation, Constant) and isinstance(annotation.value, str):
        return "ClassVar" not in annotation.value
    if annotation is None:
        return False
    return not (isinstance(annotation, Reference) and annotation.tail == "ClassVar")


# --------------------------------------------------------------------------- methods


def self_name(method: FunctionFacts) -> str | None:
    """What a method calls its instance, or None where it takes none by position."""
    first = method.parameters[0] if method.parameters else None
    return first.name if first is not None and first.kind in ("any", "positional") else None


def calls_parent(method: FunctionFacts, name: str | None = None) -> bool:
    """Whether a method calls its parent's `name` (of its own name by default), by `super()` or by class."""
    own = self_name(method)
    wanted = name or method.name
    for item in method.calls:
        function = item.call.function
        if isinstance(function, Attribute) and function.name == wanted:
            base = function.base
            if isinstance(base, Call) and base.callee == "super":
                return True
        if (
            isinstance(function, Reference)
            and function.tail == wanted
            and function.head not in (own, function.tail)
        ):
            return True
    return False


def set_by_name(method: FunctionFacts) -> frozenset[str] | None:
    """Attributes of `self` that `setattr(self, "name", ...)` sets; None where a name is computed."""
    own = self_name(method)
    names: set[str] = set()
    if "__dict__" in {read.partition(".")[0] for read in method.reads}:
        return None
    for item in method.calls:
        call = item.call
        first = call.arguments[0] if call.arguments else None
        on_self = isinstance(first, Reference) and first.dotted == own
        if call.callee == "vars" and on_self:
            return None
        if call.callee in ("setattr", "object.__setattr__") and (on_self or call.unpacks):
            second = call.arguments[1] if len(call.arguments) > 1 else None
            if not isinstance(second, Constant) or not isinstance(second.value, str):
                return None
            names.add(second.value)
    return frozenset(names)


def touches(method: FunctionFacts, name: str) -> bool:
    """Whether a method may change the list or dict `self.name`: reads of single values do not."""
    if any(a.name == name for a in method.assignments):
        return True
    for read in method.reads:
        head, _, rest = read.partition(".")
        if head == name and rest.partition(".")[0] not in _READING:
            return True
    return False


def copied_when_empty(method: FunctionFacts, name: str) -> str | None:
    """`other` for a method that does `if not self.name: self.name = self.other.copy()`, else None."""
    stored = [a for a in method.assignments if a.name == name]
    if len(stored) != 1 or not stored[0].conditional or name not in method.reads:
        return None
    value = stored[0].value
    copied = copied_by(value) if isinstance(value, Call) else value
    if not isinstance(copied, Reference):
        return None
    head, _, other = copied.dotted.partition(".")
    return other if head == self_name(method) and other and "." not in other else None
