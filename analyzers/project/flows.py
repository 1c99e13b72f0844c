"""The flow through methods, with what is known of the methods and functions that they call."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from analyzers.facts.flow import Dropped, Flow, flow_of
from analyzers.facts.flow_names import Given, Known
from analyzers.facts.model import Call, ClassFacts, FunctionFacts, Placed, Reference
from analyzers.project.families import overridden
from analyzers.project.idioms import self_name
from analyzers.project.index import Project
from analyzers.project.layers import submodule

_MAXIMUM_DEPTH = 3
"""How far calls of helpers are followed."""

_NO_TREE = frozenset({"F", "einops", "math", "nn", "np", "torch"})
"""What no code base calls a function or module of its own."""

HARMLESS_DECORATORS = frozenset(
    {
        "disable",
        "enable_grad",
        "inference_mode",
        "no_grad",
        "override",
        "staticmethod",
        "compile",
        "typechecked",
    }
)
"""Decorators, by the last part of their name, that read no argument by themselves."""


def flow_through(
    project: Project,
    cls: Placed[ClassFacts] | None,
    method: Placed[FunctionFacts],
    depth: int = _MAXIMUM_DEPTH,
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
    known = _known(project, cls, method, depth)
    return project.derived(("flow", known), method, partial(flow_of, known=known))


def dropped_values(
    project: Project, cls: Placed[ClassFacts], method: Placed[FunctionFacts]
) -> tuple[Dropped, ...]:
    """The values of calls in a method that no path reads; bringing a value into shape is no reading."""
    known = _known(project, cls, method, _MAXIMUM_DEPTH)
    shapes = re.compile(project.profile.output_shapers)
    callees = (fact.call.callee for fact in method.fact.calls)
    shapers = frozenset(c for c in callees if c is not None and shapes.search(c.rpartition(".")[2]))
    known = replace(known, quiet=known.quiet | shapers)
    flow = project.derived(("flow", known), method, partial(flow_of, known=known))
    return flow.dropped if flow is not None else ()


def is_module_call(project: Project, cls: Placed[ClassFacts], callee: str, own: str) -> bool:
    """Whether a call of `self.x` runs a module that is known, and no method or other object."""
    head, _, chain = callee.partition(".")
    held = submodule(project.names, cls, chain) if head == own else None
    if held is None:
        return False
    for kind in held.classes:
        made = project.names.by_qualified(kind)
        in_tree = isinstance(made, Placed) and isinstance(made.fact, ClassFacts)
        bases = project.names.ancestry(made).external if in_tree else (kind,)  # type: ignore[arg-type]
        if not any(base.startswith("torch.nn.") for base in bases):
            return False
    return True


def may_act(project: Project, cls: Placed[ClassFacts], callee: str, own: str) -> bool:
    """Whether `self.x(...)` is a method of the class, which may be called for what it does."""
    head, _, rest = callee.partition(".")
    methods = (m.name for owner in project.names.ancestry(cls).classes for m in owner.fact.methods)
    return head == own and "." not in rest and rest in methods


def reached_methods(cls: ClassFacts) -> frozenset[str]:
    """The methods of the class itself that its `forward` calls, directly or through others."""
    found: set[str] = set()
    pending = ["forward"]
    while pending:
        name = pending.pop()
        method = cls.method(name)
        if name in found or method is None:
            continue
        found.add(name)
        own = self_name(method)
        pending += [read for read in method.reads if own is not None and "." not in read]
    return frozenset(found)


def _known(
    project: Project, cls: Placed[ClassFacts] | None, method: Placed[FunctionFacts], depth: int
) -> Known:
    own = self_name(method.fact) if cls is not None else None
    quiet = modules_called(project, cls, own) if cls is not None and own is not None else frozenset()
    return _followed(project, cls, method, own, depth, quiet) if depth else Known(quiet)


def is_plain(function: FunctionFacts) -> bool:
    """Whether nothing but the body reads the arguments of a function."""
    for decorator in function.decorators:
        expr = decorator.function if isinstance(decorator, Call) else decorator
        if not isinstance(expr, Reference) or expr.tail not in HARMLESS_DECORATORS:
            return False
    return True


def modules_called(project: Project, cls: Placed[ClassFacts], own: str) -> frozenset[str]:
    """The dotted callees (`self.head`) that are objects built by the class, not methods of it."""
    key = ("modules called", cls.path, cls.fact.name, cls.line, own)
    return project.sources.memory.about(cls.path, cls.fact, key, partial(_modules_called, project, cls, own))


def _modules_called(project: Project, cls: Placed[ClassFacts], own: str) -> frozenset[str]:
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
            if head == own and "forward" in rest and rest not in found and cls.method(rest) is not None:
                found.add(rest)
                pending.append(rest)
    return frozenset(found)


def _followed(
    project: Project,
    cls: Placed[ClassFacts] | None,
    method: Placed[FunctionFacts],
    own: str | None,
    depth: int,
    quiet: frozenset[str],
) -> Known:
    """What the methods and functions that a method calls do not do: act, and read their arguments."""
    silent: set[str] = set(quiet)
    ignored: set[Given] = set()
    for fact in method.fact.calls:
        callee = fact.call.callee
        if callee is None or callee in quiet:
            continue
        kept = fact.use.kind not in ("return", "expression", "raise")
        if not kept and not _hands_on(method.fact, fact.call):
            continue  # neither what it does nor what it reads can matter
        called = _called(project, cls, method, own, callee)
        if called is None or called[1].fact is method.fact:
            continue
        owner, target = called
        flow = flow_through(project, owner, target, depth - 1)
        if flow is None or not (flow.silent or flow.dead):
            continue
        if owner is not None and overridden(project.names, owner, target.fact.name):
            continue
        if flow.silent:
            silent.add(callee)
        dead = {d.name for d in flow.dead}
        takes_instance = owner is not None and not target.fact.decorated_with("staticmethod")
        for position, parameter in enumerate(target.fact.parameters[1 if takes_instance else 0 :]):
            if parameter.name in dead:
                ignored.add(Given(callee, parameter.name))
                if parameter.kind in ("any", "positional"):
                    ignored.add(Given(callee, position))
    return Known(frozenset(silent), frozenset(ignored))


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
    callee: str,
) -> tuple[Placed[ClassFacts] | None, Placed[FunctionFacts]] | None:
    """The method of the class's own, or the function of the tree, that a call runs; with the class of
    the instance."""
    head, _, rest = callee.partition(".")
    if cls is not None and head == own:
        if not rest or "." in rest or rest in delegates(cls.fact):
            return None
        ancestry = project.names.ancestry(cls)
        for owner in ancestry.classes if ancestry.complete else ():
            found = owner.fact.method(rest)
            if found is not None:
                return cls, Placed(found, owner.path, owner.line)
        return None
    facts = project.file(method.path)
    if facts is None or method.fact.parameter(head) is not None or head in _NO_TREE:
        return None
    if head not in facts.aliases and facts.function_named(head) is None:
        return None
    meant = project.names.resolve(method.path, callee)
    if isinstance(meant, Placed) and isinstance(meant.fact, FunctionFacts):
        return None, Placed(meant.fact, meant.path, meant.line)
    return None
