"""What a class attribute or a config's field comes down to: a display or a constant, and where it stands.

The two need each other: attributes are copied from config instances (`Config().x`), and the defaults
of fields are expressions like any other. Where the answer is not certain it is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from analyzers.facts.model import (
    Assignment,
    Attribute,
    Call,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FunctionFacts,
    Lambda,
    Mapping,
    Placed,
    Reference,
)
from analyzers.findings import Location
from analyzers.project.ancestry import Hierarchy
from analyzers.project.definitions import MAXIMUM_HOPS, External, Module, as_class
from analyzers.project.idioms import (
    calls_parent,
    copied_by,
    copied_when_empty,
    is_dataclass,
    is_field,
    is_field_annotation,
    made_empty,
    self_name,
    set_by_name,
    touches,
)


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


class Values(Hierarchy):
    """Definitions and bases, and what attributes and fields hold."""

    # ------------------ class attributes

    def class_attribute(self, cls: Placed[ClassFacts], name: str) -> Outcome:
        """What a class attribute comes down to, through bases, config instances and constants.

        The value at import: what a function stores on the class later is not followed.
        """
        ancestry = self.ancestry(cls)
        for index, owner in enumerate(ancestry.classes):
            if _defines_otherwise(owner.fact, name) or self._imports_in_body(owner, name):
                return Unknown(owner.at(owner.fact.name_span))
            stored = _stored(owner.fact.attributes, name)
            if not stored:
                if owner.fact.partial:
                    return Unknown()
                if self._changed_afterwards(owner, name):
                    return Unknown(owner.at(owner.fact.name_span))
                continue
            where = owner.at(stored[-1].span)
            value = stored[-1].value
            if index and not ancestry.self_contained:
                return Unknown(where)  # a base that cannot be seen may come first
            if value is None or stored[-1].conditional or any(a.augmented for a in stored):
                return Unknown(where)
            if self._changed_afterwards(owner, name):
                return Unknown(where)
            return self.value(owner.path, owner, value, (where,), MAXIMUM_HOPS)
        return Missing() if ancestry.self_contained else Unknown()

    def _imports_in_body(self, cls: Placed[ClassFacts], name: str) -> bool:
        """Whether an import in the class body makes the attribute."""
        facts = self.sources.facts(cls.path)
        return facts is not None and any(
            i.fact.bound in (name, "*") and i.fact.function == cls.fact.name for i in facts.imports
        )

    def _changed_afterwards(self, cls: Placed[ClassFacts], name: str) -> bool:
        """Whether a decorator, or a line of the module, may change the attribute after the class body."""
        facts = self.sources.facts(cls.path)
        if cls.fact.decorators and not is_dataclass(cls.fact):
            return True
        if facts is None:
            return False
        changed = f"{cls.fact.name}.{name}."
        return any(cls.fact.name in a.fact.names for a in facts.assignments) or any(
            (c.fact.call.callee or "").startswith(changed) for c in facts.calls
        )

    def value(
        self,
        path: str,
        owner: Placed[Any],
        expr: Expr,
        via: tuple[Location, ...],
        hops: int = MAXIMUM_HOPS,
    ) -> Outcome:
        """Follows an expression found in `owner` to a display or constant.

        References go through module constants and class attributes; `Cfg().x` and `CONSTANT.x`
        through the config's fields. Names are looked up in the class body first where `owner` is a
        class.
        """
        where = owner.at(expr.span)
        if hops <= 0:
            return Unknown(where)
        if isinstance(expr, (Constant, Collection, Mapping)):
            return Resolved(expr, where, via)
        if isinstance(expr, Reference):
            return self._reference(path, owner, expr, via, hops)
        if isinstance(expr, Attribute):
            return self._attribute_of(path, expr, (), (*via, where), hops - 1)
        if isinstance(expr, Call):
            copied = copied_by(expr)
            if isinstance(copied, (Collection, Mapping)):
                return Resolved(copied, where, via)
            if copied is not None:
                return self.value(path, owner, copied, via, hops - 1)
        return Unknown(where)

    def _reference(
        self, path: str, owner: Placed[Any], expr: Reference, via: tuple[Location, ...], hops: int
    ) -> Outcome:
        where = owner.at(expr.span)
        via = (*via, where)
        head, _, rest = expr.dotted.partition(".")
        if isinstance(owner.fact, ClassFacts):
            if _defines_otherwise(owner.fact, head):
                return Unknown(where)
            # What the class body binds before this expression; a name read in its own assignment
            # (`mapping = mapping`) means the module's.
            siblings = [a for a in _stored(owner.fact.attributes, head) if a.span < expr.span]
            siblings = [a for a in siblings if not a.span.contains(expr.span)]
            if siblings:
                value = siblings[-1].value
                if len(siblings) > 1 or siblings[0].conditional or value is None:
                    return Unknown(where)
                return self._followed(path, owner, value, rest, via, hops)
        found = self.resolve(path, head)
        while isinstance(found, Module) and rest:
            step, _, rest = rest.partition(".")
            found = self.resolve(found.path, step)
        if isinstance(found, Placed) and isinstance(found.fact, Assignment):
            value = self._constant(found)
            if value is None:
                return Unknown(where)
            return self._followed(found.path, found, value, rest, via, hops)
        cls = as_class(found)
        if cls is not None and rest and "." not in rest:
            return self._continued(self.class_attribute(cls, rest), via)
        return Unknown(where)

    def _constant(self, assignment: Placed[Assignment]) -> Expr | None:
        """The value of a module constant; None where it is not assigned once and left alone."""
        facts = self.sources.facts(assignment.path)
        names = set(assignment.fact.names)
        if facts is None or assignment.fact.conditional or assignment.fact.augmented:
            return None
        touching = [a for a in facts.assignments if names & set(a.fact.names) and a.fact.value is not None]
        return assignment.fact.value if len(touching) == 1 else None

    def _followed(
        self, path: str, owner: Placed[Any], value: Expr, rest: str, via: tuple[Location, ...], hops: int
    ) -> Outcome:
        """`value`, or the attribute `rest` of it."""
        if not rest:
            return self.value(path, owner, value, via, hops - 1)
        return self._attribute_of(path, value, tuple(rest.split(".")), via, hops - 1)

    def _attribute_of(
        self, path: str, value: Expr, chain: tuple[str, ...], via: tuple[Location, ...], hops: int
    ) -> Outcome:
        """`value.chain`, where `value` comes down to a config made without arguments."""
        while isinstance(value, Attribute):
            chain = (value.name, *chain)
            value = value.base
        unknown = Unknown(via[-1] if via else None)
        if hops <= 0 or not chain:
            return unknown
        if isinstance(value, Reference):
            # `_CFG = _DEFAULT` and `_ARCH = _CFG.arch_config`
            head, _, rest = value.dotted.partition(".")
            found = self.resolve(path, head)
            if not isinstance(found, Placed) or not isinstance(found.fact, Assignment):
                return unknown
            constant = self._constant(found)
            if constant is None:
                return unknown
            chain = (*(rest.split(".") if rest else ()), *chain)
            return self._attribute_of(found.path, constant, chain, via, hops - 1)
        if not isinstance(value, Call) or value.callee is None:
            return unknown
        cls = self.class_of(path, value.callee)
        # With arguments the instance holds other values, and `__post_init__` may derive more.
        if cls is None or value.arguments or value.keywords:
            return unknown
        outcome = self.config_field(cls, chain, hops - 1)
        if isinstance(outcome, Resolved):
            return Resolved(outcome.value, outcome.location, (*via, *outcome.via), cls)
        return outcome

    def _continued(self, outcome: Outcome, via: tuple[Location, ...]) -> Outcome:
        if isinstance(outcome, Resolved):
            return Resolved(outcome.value, outcome.location, (*via, *outcome.via), outcome.config)
        return outcome

    # ------------------ config fields

    def config_field(
        self, cls: Placed[ClassFacts], chain: tuple[str, ...], hops: int = MAXIMUM_HOPS
    ) -> Outcome:
        """The default of a field of a config class, as an instance made without arguments holds it.

        `ModelConfig.__getattr__` falls through to `arch_config`
        (`fastvideo/configs/models/base.py`), and `DiTArchConfig.__post_init__` copies
        `_fsdp_shard_conditions` into an empty `_compile_conditions`; both are followed.
        """
        name, rest = chain[0], chain[1:]
        if hops <= 0 or not self._made_by_dataclass(cls):
            return Unknown()
        if rest:
            return self._through_arch_config(cls, rest, hops) if name == "arch_config" else Unknown()
        found = self._field(cls, name)
        if isinstance(found, Unknown):
            return found
        if isinstance(found, Missing):
            if name != "arch_config" and self.derives_from(cls, self.profile.model_config_base):
                return self._through_arch_config(cls, chain, hops)
            return found
        owner, value = found
        return self._after_init(cls, name, self._default(owner, value, hops - 1), hops)

    def arch_config_class(self, cls: Placed[ClassFacts]) -> Placed[ClassFacts] | None:
        """The class of a config's default `arch_config`, or None where it cannot be told."""
        found = self._arch_config(cls)
        return found[0] if found is not None else None

    def _arch_config(self, cls: Placed[ClassFacts]) -> tuple[Placed[ClassFacts], bool] | None:
        """The class of the default `arch_config`, and whether it is made without arguments."""
        found = self._field(cls, "arch_config")
        if isinstance(found, (Missing, Unknown)):
            return None
        owner, made = found
        if is_field(made):
            made = made.keyword("default_factory") or made.keyword("default") or made
            if isinstance(made, Reference):
                arch = self.class_of(owner.path, made.dotted)
                return (arch, True) if arch is not None else None
            if isinstance(made, Lambda):
                made = made.body
        if isinstance(made, Call) and made.callee is not None:
            arch = self.class_of(owner.path, made.callee)
            pristine = not made.arguments and not made.keywords
            return (arch, pristine) if arch is not None else None
        return None

    def _through_arch_config(self, cls: Placed[ClassFacts], chain: tuple[str, ...], hops: int) -> Outcome:
        found = self._arch_config(cls)
        if found is None or not found[1]:
            return Unknown()
        for method in self._run_after_init(cls):
            if touches(method.fact, "arch_config"):
                return Unknown(method.at(method.fact.name_span))
        return self.config_field(found[0], chain, hops - 1)

    def _made_by_dataclass(self, cls: Placed[ClassFacts]) -> bool:
        """Whether an instance holds the fields' defaults: no constructor of its own, one line of bases.

        With several bases that are dataclasses, the fields of a base that did not change them hide
        another base's changes; that is left alone.
        """
        ancestry = self.ancestry(cls)
        classes = ancestry.classes
        return (
            ancestry.self_contained
            and not any(
                c.fact.method(name) is not None
                for c in classes
                for name in ("__init__", "__new__", "__getattribute__", "__setattr__")
                if name != "__setattr__" or self.qualified_class(c) not in self.profile.transparent_configs
            )
            and all(sum(not isinstance(b, External) for b in self.bases(c)) <= 1 for c in classes)
        )

    def _field(
        self, cls: Placed[ClassFacts], name: str
    ) -> tuple[Placed[ClassFacts], Expr] | Missing | Unknown:
        """Where the default of a field stands, and the expression.

        Only annotated names of classes decorated as dataclasses are fields; where a name is a field,
        an assignment without annotation (or in a subclass that is not decorated) has no effect on
        instances.
        """
        ancestry = self.ancestry(cls)
        plain: tuple[Placed[ClassFacts], Expr] | Unknown | None = None
        for owner in ancestry.classes:
            fact = owner.fact
            if fact.partial or _defines_otherwise(fact, name):
                return Unknown(owner.at(fact.name_span))
            found = [a for a in fact.attributes if name in a.names]
            if not found:
                continue
            where = owner.at(found[-1].span)
            value = found[-1].value
            if any(a.augmented or a.conditional for a in found):
                return Unknown(where)
            if is_dataclass(fact) and any(is_field_annotation(a.annotation) for a in found):
                # Declared without a default: the caller decides.
                return (owner, value) if value is not None else Unknown(where)
            if plain is None:
                plain = (owner, value) if value is not None and not is_field(value) else Unknown(where)
        if not ancestry.self_contained:
            return Unknown()
        return plain if plain is not None else Missing()

    def _default(self, owner: Placed[ClassFacts], value: Expr, hops: int) -> Outcome:
        where = owner.at(value.span)
        if not is_field(value):
            return self.value(owner.path, owner, value, (), hops)
        given = value.keyword("default")
        if given is not None:
            return self.value(owner.path, owner, given, (), hops)
        factory = value.keyword("default_factory")
        if isinstance(factory, Lambda):
            # A lambda's body does not see the names of the class body around it.
            outside = Placed(factory, owner.path, owner.line)
            return self.value(owner.path, outside, factory.body, (), hops)
        if isinstance(factory, Reference):
            return self._factory(owner, factory, hops)
        return Unknown(where)

    def _factory(self, owner: Placed[ClassFacts], factory: Reference, hops: int) -> Outcome:
        where = owner.at(factory.span)
        empty = made_empty(factory.dotted, factory)
        if empty is not None:
            return Resolved(empty, where)
        found = self.resolve(owner.path, factory.dotted)
        if isinstance(found, Placed) and isinstance(found.fact, FunctionFacts):
            returns = found.fact.returns
            if len(returns) == 1 and not returns[0].conditional and not found.fact.decorators:
                value = returns[0].value
                if isinstance(value, (Constant, Collection, Mapping)):
                    return Resolved(value, found.at(value.span), (where,))
        if isinstance(found, Placed) and isinstance(found.fact, Assignment):
            value = self._constant(found)
            if isinstance(value, Lambda):
                outside = Placed(value, found.path, found.line)
                return self.value(found.path, outside, value.body, (where,), hops - 1)
        return Unknown(where)

    # ------------------ __post_init__

    def _run_after_init(self, cls: Placed[ClassFacts]) -> Iterator[Placed[FunctionFacts]]:
        """Every `__post_init__` that an instance runs, and the methods of its own that these call."""
        classes = self.ancestry(cls).classes
        pending: list[Placed[FunctionFacts]] = []
        for owner in classes:
            method = owner.fact.method("__post_init__")
            if method is not None:
                pending.append(Placed(method, owner.path, owner.line))
                if not calls_parent(method):
                    break
        seen: set[tuple[str, int, str]] = set()
        while pending:
            running = pending.pop(0)
            key = (running.path, running.line, running.fact.name)
            if key in seen:
                continue
            seen.add(key)
            yield running
            for item in running.fact.calls:
                head, _, called = (item.call.callee or "").partition(".")
                if called and "." not in called and head == self_name(running.fact):
                    pending += [
                        Placed(m, c.path, c.line)
                        for c in classes
                        if (m := c.fact.method(called)) is not None and called != "__post_init__"
                    ]

    def _after_init(self, cls: Placed[ClassFacts], name: str, found: Outcome, hops: int) -> Outcome:
        """What `__post_init__` makes of a field's default."""
        mutable = isinstance(found, Resolved) and isinstance(found.value, (Collection, Mapping))
        for method in self._run_after_init(cls):
            own = self_name(method.fact)
            where = Unknown(method.at(method.fact.name_span))
            stored = [a for a in method.fact.assignments if a.name == name]
            by_name = set_by_name(method.fact)
            if by_name is None or name in by_name:
                return where
            if stored:
                source = copied_when_empty(method.fact, name)
                if source is None or not isinstance(found, Resolved):
                    return where
                if _is_empty(found):
                    found = self.config_field(cls, (source,), hops - 1)
            elif mutable and own is not None and touches(method.fact, name):
                return where
        return found


def _stored(attributes: Sequence[Assignment], name: str) -> list[Assignment]:
    """The statements that give a name a value or change it."""
    return [a for a in attributes if name in a.names and (a.value is not None or a.augmented)]


def _defines_otherwise(cls: ClassFacts, name: str) -> bool:
    """Whether a method, property or nested class has that name."""
    return cls.method(name) is not None or any(k.name == name for k in cls.classes)


def _is_empty(outcome: Outcome) -> bool:
    return (
        isinstance(outcome, Resolved)
        and isinstance(outcome.value, (Collection, Mapping))
        and not outcome.value.items
    )
