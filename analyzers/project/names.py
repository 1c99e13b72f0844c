"""What a name means: definitions across files, base classes, class attributes, config fields.

Every answer that is not certain is None (or `Unknown`), never a guess: rules stay quiet there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from analyzers.facts.model import (
    Assignment,
    Attribute,
    Call,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FileFacts,
    FunctionFacts,
    Lambda,
    Mapping,
    Placed,
    Reference,
    Subscript,
)
from analyzers.findings import Location
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

MAXIMUM_HOPS = 16
"""Longest chain of imports, bases or constants that is followed; cycles end here."""


@dataclass(frozen=True)
class Module:
    """A module of the tree."""

    path: str


@dataclass(frozen=True)
class External:
    """Something outside the tree, by its full dotted name (`torch.nn.Linear`)."""

    dotted: str


Definition: TypeAlias = "Module | External | Placed[ClassFacts] | Placed[FunctionFacts] | Placed[Assignment]"


@dataclass(frozen=True)
class Ancestry:
    """A class and its bases in resolution order.

    `complete`: every base could be followed, up to bases outside the tree (`external`, by full
    dotted name). A class that is `partial` anywhere in the chain makes it incomplete.
    """

    classes: tuple[Placed[ClassFacts], ...]
    external: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class Resolved:
    """The expression that a class attribute or config field comes down to.

    `value` stands at `location`. `via`: the places passed on the way, the first being where the
    attribute is assigned. `config`: the config class that it was copied from, if it was.
    """

    value: Expr
    location: Location
    via: tuple[Location, ...] = ()
    config: Placed[ClassFacts] | None = None


@dataclass(frozen=True)
class Missing:
    """Certain: no class of the chain defines it."""


@dataclass(frozen=True)
class Unknown:
    """It is defined, or may be, in a way that facts cannot follow."""

    location: Location | None = None


Outcome: TypeAlias = "Resolved | Missing | Unknown"


class Names:
    """Name resolution over one snapshot of the tree."""

    def __init__(self, sources: Sources, profile: Profile) -> None:
        self.sources = sources
        self.profile = profile
        self._resolved: dict[tuple[str, str], Definition | None] = {}
        self._ancestry: dict[tuple[str, str, int], Ancestry] = {}
        self._modules: dict[str, str | None] = {}

    # ------------------------------------------------------------------ modules

    def module_path(self, dotted: str) -> str | None:
        """The file of a module of the tree (`fastvideo.models.registry`), or None."""
        if dotted not in self._modules:
            base = dotted.replace(".", "/")
            candidates = (f"{base}.py", f"{base}/__init__.py")
            self._modules[dotted] = next((p for p in candidates if self.sources.exists(p)), None)
        return self._modules[dotted]

    def module_name(self, path: str) -> str:
        """The dotted name of a file of the tree."""
        stem = path[: -len(".py")] if path.endswith(".py") else path
        return stem.removesuffix("/__init__").replace("/", ".")

    def absolute(self, path: str, target: str) -> str | None:
        """An import target of a file without leading dots; None where it leads out of the tree."""
        level = len(target) - len(target.lstrip("."))
        if level == 0:
            return target
        parts = self.module_name(path).split(".")
        if not path.endswith("/__init__.py"):
            parts = parts[:-1]
        if level - 1 > len(parts):
            return None
        kept = parts[: len(parts) - (level - 1)]
        rest = target[level:]
        return ".".join([*kept, rest] if rest else kept)

    # ------------------------------------------------------------------ names

    def resolve(self, path: str, dotted: str) -> Definition | None:
        """What a (dotted) name means at module level of the file `path`.

        Follows imports, re-exports and plain aliases. None: it cannot be told.
        """
        key = (path, dotted)
        if key not in self._resolved:
            self._resolved[key] = None  # ends a cycle of imports
            self._resolved[key] = self._resolve(path, dotted, MAXIMUM_HOPS)
        return self._resolved[key]

    def qualified(self, path: str, dotted: str) -> str | None:
        """The full dotted name of what a name means, e.g. `nn.Linear` -> `torch.nn.Linear`."""
        found = self.resolve(path, dotted)
        if found is None:
            return None
        if isinstance(found, External):
            return found.dotted
        if isinstance(found, Module):
            return self.module_name(found.path)
        name = found.fact.names[0] if isinstance(found.fact, Assignment) else found.fact.name
        return f"{self.module_name(found.path)}.{name}"

    def class_of(self, path: str, dotted: str) -> Placed[ClassFacts] | None:
        """The class that a name means, or None where it is no class of the tree."""
        found = self.resolve(path, dotted)
        if isinstance(found, Placed) and isinstance(found.fact, ClassFacts):
            return found
        return None

    def qualified_class(self, cls: Placed[ClassFacts]) -> str:
        """The full dotted name of a class of the tree."""
        return f"{self.module_name(cls.path)}.{cls.fact.name}"

    def by_qualified(self, dotted: str) -> Definition | None:
        """The definition with that full dotted name."""
        module, _, name = dotted.rpartition(".")
        path = self.module_path(module)
        return self.resolve(path, name) if path is not None else None

    def _resolve(self, path: str, dotted: str, hops: int) -> Definition | None:
        if hops <= 0:
            return None
        facts = self.sources.facts(path)
        if facts is None or facts.unreadable is not None:
            return None
        head, _, rest = dotted.partition(".")
        found = self._head(facts, head, hops)
        while rest and found is not None:
            head, _, rest = rest.partition(".")
            if isinstance(found, External):
                found = External(f"{found.dotted}.{head}")
            elif isinstance(found, Module):
                submodule = self.module_path(f"{self.module_name(found.path)}.{head}")
                inner = self._resolve(found.path, head, hops - 1)
                found = inner if inner is not None else Module(submodule) if submodule else None
            else:
                return None
        return found

    def _head(self, facts: FileFacts, name: str, hops: int) -> Definition | None:
        cls = facts.class_named(name)
        function = facts.function_named(name)
        assigned = facts.assignment_of(name)
        target = facts.aliases.get(name)
        found = [f for f in (cls, function, assigned, target) if f is not None]
        if len(found) > 1:
            return None  # bound in several ways: the order of execution decides
        if cls is not None:
            return cls
        if function is not None:
            return function
        if assigned is not None:
            value = assigned.fact.value
            if isinstance(value, Reference) and value.dotted != name:
                through = self._resolve(facts.path, value.dotted, hops - 1)
                if through is not None:
                    return through
            return assigned
        if target is not None:
            absolute = self.absolute(facts.path, target)
            return self._absolute(absolute, hops - 1) if absolute else None
        for star in (i.fact for i in facts.imports if i.fact.bound == "*"):
            prefix = self.absolute(facts.path, "." * star.level + star.module)
            module = self.module_path(prefix) if prefix else None
            if module is None:
                return None  # an unknown module may export anything
            through = self._resolve(module, name, hops - 1)
            if through is not None:
                return through
        return None

    def _absolute(self, dotted: str, hops: int) -> Definition | None:
        """A full dotted name: the longest prefix that is a module of the tree, then names in it."""
        if dotted.partition(".")[0] != self.profile.package and not self.module_path(
            dotted.partition(".")[0]
        ):
            return External(dotted)
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            path = self.module_path(".".join(parts[:cut]))
            if path is not None:
                rest = ".".join(parts[cut:])
                return self._resolve(path, rest, hops) if rest else Module(path)
        return None

    # ------------------------------------------------------------------ classes

    def ancestry(self, cls: Placed[ClassFacts]) -> Ancestry:
        """The class and all its bases, nearest first (depth first, a shared base at its last place)."""
        key = (cls.path, cls.fact.name, cls.line)
        if key not in self._ancestry:
            order: list[Placed[ClassFacts]] = []
            external: list[str] = []
            complete = self._climb(cls, order, external, MAXIMUM_HOPS)
            seen: set[tuple[str, str]] = set()
            kept: list[Placed[ClassFacts]] = []
            for item in reversed(order):
                if (item.path, item.fact.name) not in seen:
                    seen.add((item.path, item.fact.name))
                    kept.append(item)
            self._ancestry[key] = Ancestry(tuple(reversed(kept)), tuple(dict.fromkeys(external)), complete)
        return self._ancestry[key]

    def derives_from(self, cls: Placed[ClassFacts], qualified: str) -> bool | None:
        """Whether a class is, or derives from, the one of that full name; None: it cannot be told."""
        ancestry = self.ancestry(cls)
        if qualified in ancestry.external:
            return True
        if any(self.qualified_class(c) == qualified for c in ancestry.classes):
            return True
        return False if ancestry.complete else None

    def _climb(
        self,
        cls: Placed[ClassFacts],
        order: list[Placed[ClassFacts]],
        external: list[str],
        hops: int,
    ) -> bool:
        order.append(cls)
        if hops <= 0:
            return False
        complete = not cls.fact.partial
        for base in cls.fact.bases:
            expr = base.base if isinstance(base, Subscript) else base
            if not isinstance(expr, Reference):
                complete = False
                continue
            found = self.resolve(cls.path, expr.dotted)
            if found is None:
                if expr.dotted in ("object", "Exception", "dict", "list", "tuple", "str", "int"):
                    external.append(expr.dotted)
                else:
                    complete = False
            elif isinstance(found, External):
                external.append(found.dotted)
            elif isinstance(found, Placed) and isinstance(found.fact, ClassFacts):
                if found.path == cls.path and found.fact.name == cls.fact.name:
                    complete = False  # a class that shadows its own base
                elif not self._climb(found, order, external, hops - 1):
                    complete = False
            else:
                complete = False
        return complete

    # ------------------------------------------------------------------ values

    def class_attribute(self, cls: Placed[ClassFacts], name: str) -> Outcome:
        """What a class attribute comes down to, through bases, config instances and constants."""
        ancestry = self.ancestry(cls)
        for owner in ancestry.classes:
            assignment = owner.fact.attribute(name)
            if assignment is None:
                if any(m.name == name for m in owner.fact.methods) or any(
                    k.name == name for k in owner.fact.classes
                ):
                    return Unknown(owner.at(owner.fact.name_span))
                if owner.fact.partial:
                    return Unknown()
                continue
            where = owner.at(assignment.span)
            if assignment.conditional or assignment.value is None:
                return Unknown(where)
            return self.value(owner.path, owner, assignment.value, (where,), MAXIMUM_HOPS)
        return Missing() if ancestry.complete else Unknown()

    def value(
        self,
        path: str,
        owner: Placed[Assignment] | Placed[ClassFacts],
        expr: Expr,
        via: tuple[Location, ...],
        hops: int = MAXIMUM_HOPS,
    ) -> Outcome:
        """Follows an expression found in `owner` to a display or constant.

        References go through module constants and class attributes; `Cfg().x` and `CONSTANT.x`
        through the config's fields.
        """
        where = owner.at(expr.span)
        if hops <= 0:
            return Unknown(where)
        if isinstance(expr, (Constant, Collection, Mapping)):
            return Resolved(expr, where, via)
        if isinstance(expr, Attribute):
            chain: list[str] = []
            node: Expr = expr
            while isinstance(node, Attribute):
                chain.append(node.name)
                node = node.base
            if isinstance(node, Call) and node.callee is not None:
                return self._instance_attribute(path, node, tuple(reversed(chain)), (*via, where), hops - 1)
            return Unknown(where)
        if isinstance(expr, Reference):
            return self._reference(path, owner, expr, via, hops)
        if isinstance(expr, Call) and expr.callee in ("list", "dict", "tuple"):
            if not expr.arguments and not expr.keywords:
                empty: Expr = (
                    Mapping((), expr.span)
                    if expr.callee == "dict"
                    else Collection(str(expr.callee), (), expr.span)
                )
                return Resolved(empty, where, via)
            if len(expr.arguments) == 1 and not expr.keywords:
                return self.value(path, owner, expr.arguments[0], via, hops - 1)
        return Unknown(where)

    def _reference(
        self,
        path: str,
        owner: Placed[Assignment] | Placed[ClassFacts],
        expr: Reference,
        via: tuple[Location, ...],
        hops: int,
    ) -> Outcome:
        where = owner.at(expr.span)
        head, _, rest = expr.dotted.partition(".")
        if isinstance(owner.fact, ClassFacts):
            sibling = owner.fact.attribute(head)
            if sibling is not None and sibling.value is not None and sibling.value != expr:
                if sibling.conditional:
                    return Unknown(where)
                if not rest:
                    return self.value(path, owner, sibling.value, (*via, where), hops - 1)
                return self._attribute_of(path, sibling.value, rest, (*via, where), hops - 1)
        found = self.resolve(path, head)
        if isinstance(found, Placed) and isinstance(found.fact, Assignment):
            value = found.fact.value
            if value is None or found.fact.conditional:
                return Unknown(where)
            if not rest:
                return self.value(found.path, found, value, (*via, where), hops - 1)
            return self._attribute_of(found.path, value, rest, (*via, where), hops - 1)
        if isinstance(found, Placed) and isinstance(found.fact, ClassFacts) and rest:
            if "." in rest:
                return Unknown(where)
            return self._continued(self.class_attribute(found, rest), (*via, where))
        return Unknown(where)

    def _attribute_of(
        self, path: str, value: Expr, rest: str, via: tuple[Location, ...], hops: int
    ) -> Outcome:
        if isinstance(value, Call) and value.callee is not None:
            return self._instance_attribute(path, value, tuple(rest.split(".")), via, hops)
        if isinstance(value, Attribute) and isinstance(value.base, Call):
            chain = (value.name, *rest.split("."))
            return self._instance_attribute(path, value.base, chain, via, hops)
        return Unknown(via[-1] if via else None)

    def _instance_attribute(
        self, path: str, call: Call, chain: tuple[str, ...], via: tuple[Location, ...], hops: int
    ) -> Outcome:
        cls = self.class_of(path, call.callee or "")
        if cls is None or hops <= 0:
            return Unknown(via[-1] if via else None)
        if call.arguments or call.keywords:
            given = call.keyword(chain[0]) if not call.arguments and not call.unpacks else None
            if given is not None or call.arguments or call.unpacks:
                return Unknown(via[-1] if via else None)
        outcome = self.config_field(cls, chain, hops)
        if isinstance(outcome, Resolved):
            return Resolved(outcome.value, outcome.location, (*via, *outcome.via), cls)
        return outcome

    def _continued(self, outcome: Outcome, via: tuple[Location, ...]) -> Outcome:
        if isinstance(outcome, Resolved):
            return Resolved(outcome.value, outcome.location, (*via, *outcome.via), outcome.config)
        return outcome

    # ------------------------------------------------------------------ configs

    def config_field(
        self, cls: Placed[ClassFacts], chain: tuple[str, ...], hops: int = MAXIMUM_HOPS
    ) -> Outcome:
        """The default of a field of a config class, as an instance made without arguments holds it.

        `ModelConfig.__getattr__` falls through to `arch_config`
        (`fastvideo/configs/models/base.py`), and `DiTArchConfig.__post_init__` copies
        `_fsdp_shard_conditions` into an empty `_compile_conditions`; both are followed.
        """
        name, rest = chain[0], chain[1:]
        if hops <= 0:
            return Unknown()
        if rest:
            inner = self.arch_config_class(cls) if name == "arch_config" else None
            return self.config_field(inner, rest, hops - 1) if inner is not None else Unknown()
        ancestry = self.ancestry(cls)
        for owner in ancestry.classes:
            assignment = owner.fact.attribute(name)
            if assignment is None:
                declared = any(name in a.names for a in owner.fact.attributes)
                if declared or owner.fact.partial or owner.fact.method(name) is not None:
                    return Unknown()
                continue
            if assignment.conditional or assignment.value is None:
                return Unknown(owner.at(assignment.span))
            found = self._default(owner, assignment.value, hops - 1)
            return self._after_init(cls, ancestry, name, found, hops)
        if not ancestry.complete:
            return Unknown()
        if name != "arch_config" and self.derives_from(cls, self.profile.model_config_base):
            inner = self.arch_config_class(cls)
            return self.config_field(inner, chain, hops - 1) if inner is not None else Unknown()
        return Missing()

    def arch_config_class(self, cls: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
        """The class of a config's default `arch_config`, or None where it cannot be told."""
        for owner in self.ancestry(cls).classes:
            assignment = owner.fact.attribute("arch_config")
            if assignment is None or assignment.value is None:
                continue
            made: Expr = assignment.value
            if isinstance(made, Call) and made.callee is not None and made.callee.endswith("field"):
                factory = made.keyword("default_factory")
                made = factory if factory is not None else made
                if isinstance(made, Lambda):
                    made = made.body
            if isinstance(made, Call):
                made = made.function
            if isinstance(made, Reference):
                return self.class_of(owner.path, made.dotted)
            return None
        return None

    def _default(self, owner: Placed[ClassFacts], value: Expr, hops: int) -> Outcome:
        where = owner.at(value.span)
        if isinstance(value, Call) and (value.callee or "").rpartition(".")[2] == "field":
            given = value.keyword("default")
            if given is not None:
                return self.value(owner.path, owner, given, (), hops)
            factory = value.keyword("default_factory")
            if isinstance(factory, Lambda):
                return self.value(owner.path, owner, factory.body, (), hops)
            if isinstance(factory, Reference):
                return self._factory(owner, factory, hops)
            return Unknown(where)
        return self.value(owner.path, owner, value, (), hops)

    def _factory(self, owner: Placed[ClassFacts], factory: Reference, hops: int) -> Outcome:
        where = owner.at(factory.span)
        if factory.dotted in ("list", "dict", "tuple"):
            empty: Expr = (
                Mapping((), factory.span)
                if factory.dotted == "dict"
                else Collection(factory.dotted, (), factory.span)
            )
            return Resolved(empty, where)
        found = self.resolve(owner.path, factory.dotted)
        if isinstance(found, Placed) and isinstance(found.fact, FunctionFacts):
            returns = found.fact.returns
            if len(returns) == 1 and not returns[0].conditional and returns[0].value is not None:
                value = returns[0].value
                if isinstance(value, (Constant, Collection, Mapping)):
                    return Resolved(value, found.at(value.span), (where,))
        return Unknown(where)

    def _after_init(
        self,
        cls: Placed[ClassFacts],
        ancestry: Ancestry,
        name: str,
        found: Outcome,
        hops: int,
    ) -> Outcome:
        """What `__post_init__` makes of a field's default."""
        base = self.profile.dit_arch_config_base
        for owner in ancestry.classes:
            method = owner.fact.method("__post_init__")
            if method is None:
                continue
            if not any(a.name == name for a in method.assignments):
                continue
            if name == "_compile_conditions" and self.qualified_class(owner) == base:
                if _is_empty(found) and self._calls_base_post_init(ancestry):
                    return self.config_field(cls, ("_fsdp_shard_conditions",), hops - 1)
                continue
            return Unknown(owner.at(method.name_span))
        return found

    def _calls_base_post_init(self, ancestry: Ancestry) -> bool:
        """Whether the chain of `super().__post_init__()` reaches `DiTArchConfig`."""
        for owner in ancestry.classes:
            method = owner.fact.method("__post_init__")
            if method is None:
                continue
            if self.qualified_class(owner) == self.profile.dit_arch_config_base:
                return True
            if not calls_parent(method):
                return False
        return False


def calls_parent(method: FunctionFacts) -> bool:
    """Whether a method calls its parent's of the same name, by `super()` or by the class's name."""
    for item in method.calls:
        function = item.call.function
        if isinstance(function, Attribute) and function.name == method.name:
            base = function.base
            if isinstance(base, Call) and base.callee == "super":
                return True
        if isinstance(function, Reference) and function.tail == method.name:
            head = function.dotted.rpartition(".")[0]
            if head and head != "self":
                return True
    return False


def _is_empty(outcome: Outcome) -> bool:
    return (
        isinstance(outcome, Resolved)
        and isinstance(outcome.value, (Collection, Mapping))
        and not outcome.value.items
    )
