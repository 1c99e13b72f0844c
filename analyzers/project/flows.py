"""The flow through methods, with what is known of the methods and functions that they call."""

from __future__ import annotations

from functools import partial

from analyzers.facts.flow import Flow, flow_of
from analyzers.facts.flow_names import Given, Known
from analyzers.facts.model import Call, CallFact, ClassFacts, FunctionFacts, Placed, Reference
from analyzers.project.families import overridden
from analyzers.project.idioms import self_name
from analyzers.project.index import Project

_MAXIMUM_DEPTH = 3
"""How far calls of helpers are followed."""

HARMLESS_DECORATORS = frozenset(
    {"disable", "enable_grad", "inference_mode", "no_grad", "override", "staticmethod", "compile", "typechecked"}
)
"""Decorators, by the last part of their name, that read no argument by themselves."""


def flow_through(
    project: Project, cls: Placed[ClassFacts] | None, method: Placed[FunctionFacts], depth: int = _MAXIMUM_DEPTH
) -> Flow | None:
    """What becomes of the inputs and values of a method (or, without a class, of a function).

    Followed are calls of methods of the class and its bases, and of functions of the tree. None where
    the method's text does not parse, or a decorator may read its arguments.
    """
    if not is_plain(method.fact):
        return None
    place = (cls.fact.name if cls is not None else None, method.path, method.line + method.fact.span.line)
    return project.sources.memory.about(
        method.path,
        method.fact,
        ("flow", *place, method.fact.name, depth),
        lambda: _flow_through(project, cls, method, depth),
    )


def _flow_through(
    project: Project, cls: Placed[ClassFacts] | None, method: Placed[FunctionFacts], depth: int
) -> Flow | None:
    own = self_name(method.fact) if cls is not None else None
    quiet = modules_called(project, cls, own) if cls is not None and own is not None else frozenset()
    known = Known(quiet, _ignored(project, cls, method, own, depth) if depth else frozenset())
    return project.derived(("flow", known), method, partial(flow_of, known=known))


def is_plain(function: FunctionFacts) -> bool:
    """Whether nothing but the body reads the arguments of a function."""
    for decorator in function.decorators:
        expr = decorator.function if isinstance(decorator, Call) else decorator
        if not isinstance(expr, Reference) or expr.tail not in HARMLESS_DECORATORS:
            return False
    return True


def modules_called(project: Project, cls: Placed[ClassFacts], own: str) -> frozenset[str]:
    """The dotted callees (`self.head`) that are objects built by the class, not methods of it."""
    ancestry = project.names.ancestry(cls)
    methods = {m.name for owner in ancestry.classes for m in owner.fact.methods}
    built = {
        a.name
        for owner in ancestry.classes
        for m in owner.fact.methods
        for a in m.assignments
        if isinstance(a.value, Call) and a.name not in methods
    }
    return frozenset(f"{own}.{name}" for name in built)


def delegates(cls: ClassFacts) -> frozenset[str]:
    """`forward` and the methods of the class that a `forward` returns the value of: its other halves."""
    found = {"forward"}
    pending = ["forward"]
    while pending:
        method = cls.method(pending.pop())
        for given in method.returns if method is not None else ():
            callee = given.value.callee if isinstance(given.value, Call) else None
            own = self_name(method) if method is not None else None
            head, _, rest = (callee or "").partition(".")
            if own is not None and head == own and "forward" in rest and cls.method(rest) is not None:
                if rest not in found:
                    found.add(rest)
                    pending.append(rest)
    return frozenset(found)


def _ignored(
    project: Project,
    cls: Placed[ClassFacts] | None,
    method: Placed[FunctionFacts],
    own: str | None,
    depth: int,
) -> frozenset[Given]:
    """Arguments of the calls in a method that what is called never reads."""
    found: set[Given] = set()
    for fact in method.fact.calls:
        callee = fact.call.callee
        if callee is None or not _hands_on(method.fact, fact.call):
            continue
        called = _called(project, cls, method, own, fact)
        if called is None or called[1].fact is method.fact:
            continue
        owner, target = called
        flow = flow_through(project, owner, target, depth - 1)
        dead = {d.name for d in flow.dead} if flow is not None else set()
        if not dead or (owner is not None and overridden(project.names, owner, target.fact.name)):
            continue
        takes_instance = owner is not None and not target.fact.decorated_with("staticmethod")
        for position, parameter in enumerate(target.fact.parameters[1 if takes_instance else 0 :]):
            if parameter.name in dead:
                found.add(Given(callee, parameter.name))
                if parameter.kind in ("any", "positional"):
                    found.add(Given(callee, position))
    return frozenset(found)


def _hands_on(function: FunctionFacts, call: Call) -> bool:
    """Whether a plain parameter is among the arguments of a call."""
    given = (*call.arguments, *(k.value for k in call.keywords))
    names = {p.name for p in function.parameters}
    return any(isinstance(value, Reference) and value.dotted in names for value in given)


def _called(
    project: Project,
    cls: Placed[ClassFacts] | None,
    method: Placed[FunctionFacts],
    own: str | None,
    fact: CallFact,
) -> tuple[Placed[ClassFacts] | None, Placed[FunctionFacts]] | None:
    """The method of the class's own, or the function of the tree, that a call runs; with the class of
    the instance."""
    head, _, rest = (fact.call.callee or "").partition(".")
    if cls is not None and head == own:
        if not rest or "." in rest or rest in delegates(cls.fact):
            return None
        ancestry = project.names.ancestry(cls)
        for owner in ancestry.classes if ancestry.complete else ():
            found = owner.fact.method(rest)
            if found is not None:
                return cls, Placed(found, owner.path, owner.line)
        return None
    if method.fact.parameter(head) is not None:
        return None
    meant = project.names.resolve(method.path, fact.call.callee or "")
    if isinstance(meant, Placed) and isinstance(meant.fact, FunctionFacts):
        return None, Placed(meant.fact, meant.path, meant.line)
    return None
