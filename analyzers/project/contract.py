"""What BaseDiT asks of a port, as the workspace's own base says it, and what a constructor does.

Both are read from facts. Where the base cannot be read, or a constructor hands `self` to code that
is not followed, that is said (`None`, `certain`), so that rules about something *missing* can stay
quiet.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.bodies import Body
from analyzers.facts.model import (
    Attribute,
    Call,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FunctionFacts,
    Mapping,
    Placed,
    Reference,
    Starred,
)
from analyzers.project.idioms import is_field, self_name, set_by_name
from analyzers.project.names import Missing, Names
from analyzers.project.profile import Profile

_HARMLESS_WITH_SELF = frozenset(
    {"getattr", "hasattr", "id", "isinstance", "len", "object.__setattr__", "print", "repr", "setattr"}
    | {"str", "super", "type", "vars"}
)
"""Functions that set no attribute on what they are given (`set_by_name` looks at the setters)."""

_REGISTERING = frozenset({"add_module", "register_buffer", "register_module", "register_parameter"})
"""Methods of `nn.Module` that make the attribute named by their first argument."""

_PLAIN_BASES = frozenset({"object", "torch.nn.Module", "torch.nn.modules.module.Module"})
"""Classes whose `__init__` sets nothing that is asked for."""

POST_INIT = "__post_init__"
"""The method by which the base checks a built instance."""

_PLAIN_DECORATORS = frozenset(
    {"abstractmethod", "classmethod", "inference_mode", "no_grad", "override", "property", "staticmethod"}
)
"""Decorators, by the last part of their name, that set nothing on the instance."""


@dataclass(frozen=True)
class BaseContract:
    """What the base demands.

    `class_attributes`: demanded by `__init_subclass__` with `hasattr` and not bound by the base, so
    that a class without them fails at import. `instance_attributes`: demanded by `__post_init__`.
    """

    base: Placed[ClassFacts]
    class_attributes: tuple[str, ...]
    instance_attributes: tuple[str, ...]


def read_contract(names: Names, profile: Profile) -> BaseContract | None:
    """The contract of the workspace's base; None where the base is not there or does not parse."""
    module, _, name = profile.base_dit.rpartition(".")
    path = names.module_path(module)
    base = names.class_of(path, name) if path is not None else None
    if base is None or base.fact.partial:
        return None
    return BaseContract(
        base,
        tuple(
            wanted
            for wanted in _demanded(base.fact.method("__init_subclass__"))
            if isinstance(names.class_attribute(base, wanted), Missing)
        ),
        _demanded(base.fact.method(POST_INIT)),
    )


def _demanded(method: FunctionFacts | None) -> tuple[str, ...]:
    """The names that a method asks for with `hasattr(cls_or_self, ...)`."""
    if method is None:
        return ()
    wanted: list[str] = []
    for item in method.calls:
        arguments = item.call.arguments
        if item.call.callee != "hasattr" or len(arguments) != 2:
            continue
        if not isinstance(arguments[0], Reference) or arguments[0].dotted != self_name(method):
            continue
        name = arguments[1]
        if isinstance(name, Constant) and isinstance(name.value, str):
            wanted.append(name.value)
        else:
            # `for attr in required: if not hasattr(cls, attr)`: the names stand in a display.
            wanted.extend(method.listed)
    return tuple(dict.fromkeys(n for n in wanted if n.isidentifier()))


# --------------------------------------------------------------------------- constructors


@dataclass(frozen=True)
class Construction:
    """What `__init__` and all that it calls on `self` do.

    `owner`: the class that defines the `__init__` which runs first. `sets`: attributes set on some
    path; `always`: those set outside every branch. `late`: those that only the `__init__` itself sets,
    and only behind its call of `self.__post_init__()`. `calls`: methods called on `self` or above it.
    `certain`: everything that could set an attribute or call a method was followed.
    """

    owner: Placed[ClassFacts]
    init: Placed[FunctionFacts]
    sets: frozenset[str]
    always: frozenset[str]
    calls: frozenset[str]
    certain: bool
    late: frozenset[str]


def construction(names: Names, cls: Placed[ClassFacts]) -> Construction | None:
    """How a class is built; None where no class of the chain in the tree defines `__init__`."""
    walk = _Walk(names, cls)
    owner = next((c for c in walk.classes if c.fact.method("__init__") is not None), None)
    init = owner.fact.method("__init__") if owner is not None else None
    if owner is None or init is None:
        return None
    walk.visit(owner, init, conditional=False)
    return Construction(
        owner=owner,
        init=Placed(init, owner.path, owner.line),
        sets=frozenset(walk.sets),
        always=frozenset(walk.always),
        calls=frozenset(walk.calls),
        certain=walk.certain,
        late=_late(init, walk.elsewhere),
    )


def _late(init: FunctionFacts, elsewhere: set[str]) -> frozenset[str]:
    """What `__init__` sets behind its first unconditional `self.__post_init__()`, and nothing sets before."""
    checked = [
        item.call.span.line
        for item in init.calls
        if item.call.callee == f"{self_name(init)}.{POST_INIT}" and not item.conditional
    ]
    if not checked:
        return frozenset()
    early = {a.name for a in init.assignments if a.span.line <= min(checked)} | elsewhere
    return frozenset(a.name for a in init.assignments if a.name not in early)


class _Walk:
    def __init__(self, names: Names, cls: Placed[ClassFacts]) -> None:
        ancestry = names.ancestry(cls)
        self.names = names
        self.classes = ancestry.classes
        self.sets: set[str] = set()
        self.always: set[str] = set()
        self.elsewhere: set[str] = set()
        """What something else than a plain assignment of the first method sets."""
        self._first: FunctionFacts | None = None
        self.calls: set[str] = set()
        self.certain = ancestry.self_contained and not any(
            c.fact.method("__getattr__") or c.fact.method("__setattr__") or c.fact.decorators
            for c in self.classes
        )
        self._seen: set[tuple[str, int, str, bool]] = set()

    def visit(self, owner: Placed[ClassFacts], method: FunctionFacts, *, conditional: bool) -> None:
        """Collects what a method of `owner` does to the instance."""
        key = (owner.path, owner.line + owner.fact.span.line, method.name, conditional)
        if key in self._seen:
            return
        self._seen.add(key)
        self._first = self._first or method
        if not _PLAIN_DECORATORS.issuperset(map(_decorator_name, method.decorators)):
            self.certain = False  # it may do anything before and after
        own = self_name(method)
        if own is None:
            return  # static: it cannot reach the instance
        for assignment in method.assignments:
            self._set(assignment.name, always=not (assignment.conditional or conditional))
            if method is not self._first:
                self.elsewhere.add(assignment.name)
        by_name = set_by_name(method)
        if by_name is None:
            self.certain = False
        for name in by_name or ():
            self._set(name, always=False)
            self.elsewhere.add(name)
        for item in method.calls:
            self._call(owner, method, own, item.call, conditional or item.conditional)

    def _set(self, name: str, *, always: bool) -> None:
        self.sets.add(name)
        if always:
            self.always.add(name)

    def _call(
        self, owner: Placed[ClassFacts], method: FunctionFacts, own: str, call: Call, conditional: bool
    ) -> None:
        function = call.function
        above = function.base if isinstance(function, Attribute) else None
        if isinstance(function, Attribute) and isinstance(above, Call) and above.callee == "super":
            self.calls.add(function.name)
            self._above(owner, function.name, conditional)
            return
        callee = call.callee
        head, _, rest = (callee or "").partition(".")
        if head == own and rest and "." not in rest:
            self.calls.add(rest)
            for argument in call.arguments[:1] if rest in _REGISTERING else ():
                if isinstance(argument, Constant) and isinstance(argument.value, str):
                    self._set(argument.value, always=not conditional)
                    self.elsewhere.add(argument.value)
            for cls in self.classes:
                called = cls.fact.method(rest)
                if called is not None:
                    self.visit(cls, called, conditional=conditional)
                    return
            return
        if not any(_is_name(value, own) for value in _given(call)):
            return
        base, _, name = (callee or "").rpartition(".")
        parent = self.names.class_of(owner.path, base) if base else None
        if parent is not None and _is_name(call.arguments[0] if call.arguments else None, own):
            self.calls.add(name)
            for cls in self.names.ancestry(parent).classes:
                called = cls.fact.method(name)
                if called is not None:
                    self.visit(cls, called, conditional=conditional)
                    return
        plain = name == "__init__" and self.names.qualified(owner.path, base) in _PLAIN_BASES
        if callee not in _HARMLESS_WITH_SELF and not plain:
            self.certain = False

    def _above(self, owner: Placed[ClassFacts], name: str, conditional: bool) -> None:
        """`super().name(...)` in a method of `owner`."""
        places = [(c.path, c.fact.name) for c in self.classes]
        place = (owner.path, owner.fact.name)
        if place not in places:
            self.certain = False
            return
        for cls in self.classes[places.index(place) + 1 :]:
            called = cls.fact.method(name)
            if called is not None:
                self.visit(cls, called, conditional=conditional)
                return


def _given(call: Call) -> Iterator[Expr]:
    """Everything that is handed to a call, also within displays."""
    pending: list[Expr] = [*call.arguments, *(k.value for k in call.keywords)]
    while pending:
        value = pending.pop()
        if isinstance(value, Starred):
            pending.append(value.value)
        elif isinstance(value, Collection):
            pending.extend(value.items)
        elif isinstance(value, Mapping):
            pending.extend(v for _, v in value.items)
        else:
            yield value


def _decorator_name(decorator: Expr) -> str:
    function = decorator.function if isinstance(decorator, Call) else decorator
    return function.tail if isinstance(function, Reference) else ""


def _is_name(value: Expr | None, name: str) -> bool:
    return isinstance(value, Reference) and value.dotted == name


# --------------------------------------------------------------------------- the loader


def loader_keywords(names: Names, profile: Profile) -> tuple[str, ...] | None:
    """The keywords that the loader always builds a DiT with.

    Read from the `init_params` of the profile's loader, given as a display or as a local name that
    is one (keys that are added under a condition do not count); where the workspace has no such
    file, the required parameters of the base's own `__init__`. None where neither can be read.
    """
    path = names.module_path(profile.loader.module)
    loader = names.class_of(path, profile.loader.cls) if path is not None else None
    load = loader.fact.method(profile.loader.method) if loader is not None else None
    if loader is not None and load is not None:
        for item in load.calls:
            given = item.call.keyword("init_params")
            if isinstance(given, Mapping):
                keys = [k.value for k, _ in given.items if isinstance(k, Constant)]
                if len(keys) == len(given.items):
                    return tuple(k for k in keys if isinstance(k, str))
            elif isinstance(given, Reference) and "." not in given.dotted:
                found = _local_keys(names, Placed(load, loader.path, loader.line), given.dotted)
                if found is not None:
                    return found
        return None
    contract = read_contract(names, profile)
    init = contract.base.fact.method("__init__") if contract is not None else None
    if init is None:
        return None
    return tuple(p.name for p in init.parameters[1:] if p.kind in ("any", "keyword") and p.default is None)


def _local_keys(names: Names, function: Placed[FunctionFacts], name: str) -> tuple[str, ...] | None:
    """The keys of the dict display that a local name is given, if that is the only one."""

    def answer(body: Body) -> tuple[str, ...] | None:
        given = [
            node.value
            for node in body.nodes
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and target.id == name
        ]
        display = given[0] if len(given) == 1 else None
        if not isinstance(display, ast.Dict):
            return None
        keys = [k.value for k in display.keys if isinstance(k, ast.Constant) and isinstance(k.value, str)]
        return tuple(keys) if len(keys) == len(display.keys) else None

    facts = names.sources.facts(function.path)
    if facts is None:
        return None
    return names.sources.bodies.derive(("keys of a local dict", name), facts, function, answer)


# --------------------------------------------------------------------------- configs


def default_constructible(names: Names, config: Placed[ClassFacts]) -> bool:
    """Whether every field of a config dataclass is known to have a default (`Config()` works)."""
    ancestry = names.ancestry(config)
    if not ancestry.self_contained:
        return False
    decided: set[str] = set()
    for cls in ancestry.classes:
        if cls.fact.partial or cls.fact.method("__init__") or cls.fact.method("__new__"):
            return False
        for attribute in reversed(cls.fact.attributes):
            for name in attribute.names:
                if name in decided or attribute.annotation is None:
                    continue
                if attribute.value is None or _is_required_field(attribute.value):
                    return False
                decided.add(name)
    arch = names.arch_config_class(config)
    return arch is None or default_constructible(names, arch)


def declares(names: Names, profile: Profile, config: Placed[ClassFacts], name: str) -> bool:
    """Whether a model's own config (or its arch config) holds a value of that name, as an instance.

    What only the shared bases declare does not count: their defaults say nothing about the model.
    """
    arch = names.arch_config_class(config)
    shared = {profile.model_config_base, profile.dit_config_base, profile.dit_arch_config_base}
    for cls in (config, arch) if arch is not None else (config,):
        for owner in names.ancestry(cls).classes:
            if names.qualified_class(owner) in shared:
                break
            after = owner.fact.method(POST_INIT)
            prop = owner.fact.method(name)
            if (
                any(name in a.names and a.annotation is not None for a in owner.fact.attributes)
                or (prop is not None and prop.decorated_with("property"))
                or (
                    after is not None and any(a.name == name and not a.conditional for a in after.assignments)
                )
            ):
                return True
    return False


def _is_required_field(value: Expr) -> bool:
    """`field(...)` without a default."""
    return is_field(value) and not any(k.name in ("default", "default_factory", None) for k in value.keywords)
