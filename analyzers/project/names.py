"""What a name means: definitions across files, base classes, class attributes, config fields.

Every answer that is not certain is None (or `Unknown`), never a guess: rules stay quiet there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

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
    imported_target,
    literal,
)
from analyzers.findings import Location, Span
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

MAXIMUM_HOPS = 16
"""Longest chain of bases or constants that is followed; cycles end here."""

BARE_BASES: Final = frozenset(
    {
        "object",
        "abc.ABC",
        "typing.Generic",
        "typing.Protocol",
        "torch.nn.Module",
        "torch.nn.modules.module.Module",
    }
)
"""Bases outside the tree that are known to bring no attribute that a rule asks for."""

_BUILTIN_BASES: Final = ("object", "Exception", "dict", "list", "tuple", "str", "int")
_READING: Final = frozenset({"copy", "count", "get", "index", "items", "keys", "values"})
"""Methods of lists and dicts that leave them as they are."""


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
class _Absent:
    """Certain: the module does not bind the name."""


_ABSENT: Final = _Absent()
_Found: TypeAlias = "Definition | _Absent | None"


@dataclass(frozen=True)
class Ancestry:
    """A class and its bases in Python's resolution order.

    `complete`: every base could be followed, up to bases outside the tree (`external`, by full
    dotted name). A class that is `partial` anywhere in the chain makes it incomplete.
    """

    classes: tuple[Placed[ClassFacts], ...]
    external: tuple[str, ...]
    complete: bool

    @property
    def self_contained(self) -> bool:
        """Whether `classes` hold every definition: no base is unknown or may add attributes."""
        return self.complete and BARE_BASES.issuperset(self.external)


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
        self.memory = sources.memory
        self._climbing: set[tuple[str, str, int]] = set()

    # ------------------------------------------------------------------ modules

    def module_path(self, dotted: str) -> str | None:
        """The file of a module of the tree (`fastvideo.models.registry`), or None."""
        return self.memory.get(("module", dotted), lambda: self._module_path(dotted))

    def _module_path(self, dotted: str) -> str | None:
        base = dotted.replace(".", "/")
        # A package wins over a module of the same name, as it does in Python.
        candidates = (f"{base}/__init__.py", f"{base}.py")
        return next((p for p in candidates if self.sources.exists(p)), None)

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
        if level > len(parts):
            return None  # beyond the top-level package
        kept = parts[: len(parts) - (level - 1)]
        rest = target[level:]
        return ".".join([*kept, rest] if rest else kept)

    # ------------------------------------------------------------------ names

    def resolve(self, path: str, dotted: str) -> Definition | None:
        """What a (dotted) name means at module level of the file `path`.

        Follows imports, re-exports and plain aliases. None: it cannot be told.
        """
        return self.memory.get(("name", path, dotted), lambda: self._definition(path, dotted))

    def _definition(self, path: str, dotted: str) -> Definition | None:
        found = self._resolve(path, dotted, {})
        return None if isinstance(found, _Absent) else found

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

    def _resolve(self, path: str, dotted: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        head, _, rest = dotted.partition(".")
        found = self._head(path, head, visited)
        while rest and found is not None and not isinstance(found, _Absent):
            head, _, rest = rest.partition(".")
            if isinstance(found, External):
                found = External(f"{found.dotted}.{head}")
            elif isinstance(found, Module):
                found = self._member(found, head, visited)
            else:
                return None
        return found

    def _member(self, module: Module, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """`module.name`: what the module binds, else its submodule of that name."""
        inner = self._head(module.path, name, visited)
        submodule = self.module_path(f"{self.module_name(module.path)}.{name}")
        if submodule is None:
            return inner
        if isinstance(inner, _Absent):
            return Module(submodule)
        facts = self.sources.facts(module.path)
        if inner is None and facts is not None and not self._binds(facts, name):
            return Module(submodule)
        return inner

    def _head(self, path: str, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """A plain name at module level; `visited` ends cycles and keeps star imports linear."""
        key = (path, name)
        if key not in visited:
            visited[key] = None
            facts = self.sources.facts(path)
            if facts is not None and facts.unreadable is None:
                visited[key] = self._bound(facts, name, visited)
        return visited[key]

    def _bound(self, facts: FileFacts, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        classes = [c for c in facts.classes if c.fact.name == name]
        functions = [f for f in facts.functions if f.fact.name == name]
        assigned = facts.assignment_of(name)
        targets = self._targets(facts).get(name, frozenset())
        ways = bool(classes) + bool(functions) + (assigned is not None) + len(targets)
        if ways > 1:
            return None  # bound in several ways: the order of execution decides
        if classes:
            return _only_certain(classes)
        if functions:
            return _only_certain(functions)
        if assigned is not None:
            return self._through_alias(facts, name, assigned, visited)
        for target in targets:
            absolute = self.absolute(facts.path, target)
            return self._absolute(absolute, visited) if absolute else None
        if self._binds(facts, name):
            return None  # only augmented, declared or changed here: where it comes from is unknown
        return self._starred(facts, name, visited)

    def _through_alias(
        self,
        facts: FileFacts,
        name: str,
        assigned: Placed[Assignment],
        visited: dict[tuple[str, str], _Found],
    ) -> _Found:
        """`Name = Other` means `Other`, where that is the only assignment of `Name`."""
        value = assigned.fact.value
        if (
            isinstance(value, Reference)
            and value.head != name
            and not assigned.fact.conditional
            and sum(name in a.fact.names for a in facts.assignments) == 1
        ):
            through = self._resolve(facts.path, value.dotted, visited)
            if through is not None and not isinstance(through, _Absent):
                return through
        return assigned

    def _starred(self, facts: FileFacts, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """What the file's star imports bind `name` to."""
        found: list[Definition] = []
        for star in (i.fact for i in facts.imports if i.fact.bound == "*"):
            prefix = self.absolute(facts.path, "." * star.level + star.module)
            module = self.module_path(prefix) if prefix else None
            if module is None:
                return None  # an unknown module may export anything
            exported = self._exports(module, name)
            if exported is None:
                return None
            through = self._head(module, name, visited) if exported else _ABSENT
            if through is None:
                return None
            if not isinstance(through, _Absent) and through not in found:
                found.append(through)
        if len(found) > 1 or (not found and facts.broken):
            return None
        return found[0] if found else _ABSENT

    def _exports(self, path: str, name: str) -> bool | None:
        """Whether `from module import *` may bind `name`; None where `__all__` is computed."""
        facts = self.sources.facts(path)
        if facts is None:
            return None
        if not self._binds(facts, "__all__"):
            return not name.startswith("_")
        try:
            listed = literal(
                assignment.fact.value if (assignment := facts.assignment_of("__all__")) else None
            )
        except ValueError:
            return None
        if sum("__all__" in a.fact.names for a in facts.assignments) > 1:
            return None
        return name in listed if isinstance(listed, (list, tuple, set)) else None

    def _targets(self, facts: FileFacts) -> dict[str, frozenset[str]]:
        """Imported name -> what its module-level imports stand for (several where they disagree)."""
        return self.memory.about(facts.path, facts, ("imports", facts.path), lambda: _import_targets(facts))

    def _binds(self, facts: FileFacts, name: str) -> bool:
        """Whether any statement at module level gives (or may give) `name` a meaning."""
        return (
            facts.class_named(name) is not None
            or facts.function_named(name) is not None
            or name in self._targets(facts)
            or any(name in a.fact.names for a in facts.assignments)
        )

    def _absolute(self, dotted: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """A full dotted name: the longest prefix that is a module of the tree, then names in it."""
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            path = self.module_path(".".join(parts[:cut]))
            if path is not None:
                found: _Found = Module(path)
                for index, name in enumerate(parts[cut:], cut):
                    if isinstance(found, Module):
                        found = self._member(found, name, visited)
                    elif isinstance(found, External):
                        return External(".".join([found.dotted, *parts[index:]]))
                    else:
                        return None
                return found
        return None if parts[0] == self.profile.package else External(dotted)

    # ------------------------------------------------------------------ classes

    def ancestry(self, cls: Placed[ClassFacts]) -> Ancestry:
        """The class and all its bases in Python's resolution order (C3), nearest first."""
        key = (cls.path, cls.fact.name, cls.line)
        if key in self._climbing:
            return Ancestry((cls,), (), False)  # a cycle of bases, which Python would reject
        return self.memory.about(cls.path, cls.fact, ("ancestry", *key), lambda: self._climb_once(cls, key))

    def _climb_once(self, cls: Placed[ClassFacts], key: tuple[str, str, int]) -> Ancestry:
        self._climbing.add(key)
        try:
            return self._climb(cls)
        finally:
            self._climbing.discard(key)

    def bases(self, cls: Placed[ClassFacts]) -> tuple[Placed[ClassFacts] | External | None, ...]:
        """What each base of a class is, in order; None where it cannot be told."""
        found: list[Placed[ClassFacts] | External | None] = []
        for base in cls.fact.bases:
            expr = base.base if isinstance(base, Subscript) else base
            meant = self.resolve(cls.path, expr.dotted) if isinstance(expr, Reference) else None
            if meant is None and isinstance(expr, Reference) and expr.dotted in _BUILTIN_BASES:
                found.append(External(expr.dotted))
            elif isinstance(meant, External):
                found.append(meant)
            else:
                parent = _as_class(meant)
                # A class that shadows its own base resolves to itself: not to be followed.
                same = parent is not None and (parent.path, parent.fact.name) == (cls.path, cls.fact.name)
                found.append(None if same else parent)
        return tuple(found)

    def derives_from(self, cls: Placed[ClassFacts], qualified: str) -> bool | None:
        """Whether a class is, or derives from, the one of that full name; None: it cannot be told."""
        ancestry = self.ancestry(cls)
        if qualified in ancestry.external:
            return True
        if any(self.qualified_class(c) == qualified for c in ancestry.classes):
            return True
        return False if ancestry.complete else None

    def _climb(self, cls: Placed[ClassFacts]) -> Ancestry:
        complete = not cls.fact.partial
        external: list[str] = []
        parents: list[Placed[ClassFacts]] = []
        lines: list[list[Placed[ClassFacts]]] = []
        for base in self.bases(cls):
            if base is None:
                complete = False
            elif isinstance(base, External):
                external.append(base.dotted)
            else:
                above = self.ancestry(base)
                complete = complete and above.complete
                external.extend(above.external)
                parents.append(base)
                lines.append(list(above.classes))
        merged = _merge([*lines, parents])
        if merged is None:
            complete = False  # Python would raise: no consistent order
            merged = list({_key(c): c for line in lines for c in line}.values())
        return Ancestry((cls, *merged), tuple(dict.fromkeys(external)), complete)

    # ------------------------------------------------------------------ values

    def class_attribute(self, cls: Placed[ClassFacts], name: str) -> Outcome:
        """What a class attribute comes down to, through bases, config instances and constants.

        The value at import: what a function stores on the class later is not followed.
        """
        ancestry = self.ancestry(cls)
        for index, owner in enumerate(ancestry.classes):
            if _defines_otherwise(owner.fact, name):
                return Unknown(owner.at(owner.fact.name_span))
            stored = _stored(owner.fact.attributes, name)
            if not stored:
                if owner.fact.partial:
                    return Unknown()
                if self._changed_afterwards(owner):
                    return Unknown(owner.at(owner.fact.name_span))
                continue
            where = owner.at(stored[-1].span)
            value = stored[-1].value
            if index and not ancestry.self_contained:
                return Unknown(where)  # a base that cannot be seen may come first
            if value is None or stored[-1].conditional or any(a.augmented for a in stored):
                return Unknown(where)
            if self._changed_afterwards(owner):
                return Unknown(where)
            return self.value(owner.path, owner, value, (where,), MAXIMUM_HOPS)
        return Missing() if ancestry.self_contained else Unknown()

    def _changed_afterwards(self, cls: Placed[ClassFacts]) -> bool:
        """Whether the module stores attributes on the class after its body (`Class.x = ...`)."""
        facts = self.sources.facts(cls.path)
        return facts is not None and any(cls.fact.name in a.fact.names for a in facts.assignments)

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
            copied = _copied(expr)
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
        cls = _as_class(found)
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
        if _is_field(made):
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
            if _touches(method.fact, "arch_config"):
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
            if is_dataclass(fact) and any(_is_field_annotation(a.annotation) for a in found):
                # Declared without a default: the caller decides.
                return (owner, value) if value is not None else Unknown(where)
            if plain is None:
                plain = (owner, value) if value is not None and not _is_field(value) else Unknown(where)
        if not ancestry.self_contained:
            return Unknown()
        return plain if plain is not None else Missing()

    def _default(self, owner: Placed[ClassFacts], value: Expr, hops: int) -> Outcome:
        where = owner.at(value.span)
        if not _is_field(value):
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
        empty = _empty(factory.dotted, factory)
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

    # ------------------------------------------------------------------ __post_init__

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
                source = _copied_when_empty(method.fact, name)
                if source is None or not isinstance(found, Resolved):
                    return where
                if _is_empty(found):
                    found = self.config_field(cls, (source,), hops - 1)
            elif mutable and own is not None and _touches(method.fact, name):
                return where
        return found


def is_dataclass(cls: ClassFacts) -> bool:
    """Whether a class is decorated as a dataclass."""
    plain = (d.function if isinstance(d, Call) else d for d in cls.decorators)
    return any(isinstance(d, Reference) and d.tail == "dataclass" for d in plain)


def calls_parent(method: FunctionFacts) -> bool:
    """Whether a method calls its parent's of the same name, by `super()` or by the class's name."""
    own = self_name(method)
    for item in method.calls:
        function = item.call.function
        if isinstance(function, Attribute) and function.name == method.name:
            base = function.base
            if isinstance(base, Call) and base.callee == "super":
                return True
        if (
            isinstance(function, Reference)
            and function.tail == method.name
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


# ---------------------------------------------------------------------- small questions


def _key(cls: Placed[ClassFacts]) -> tuple[str, str]:
    return (cls.path, cls.fact.name)


def _merge(lines: list[list[Placed[ClassFacts]]]) -> list[Placed[ClassFacts]] | None:
    """The merge of C3; None where Python finds no order."""
    merged: list[Placed[ClassFacts]] = []
    lines = [line for line in lines if line]
    while lines:
        tails = {_key(c) for line in lines for c in line[1:]}
        head = next((line[0] for line in lines if _key(line[0]) not in tails), None)
        if head is None:
            return None
        merged.append(head)
        lines = [rest for line in lines if (rest := line[1:] if _key(line[0]) == _key(head) else line)]
    return merged


def _as_class(found: Definition | None) -> Placed[ClassFacts] | None:
    return found if isinstance(found, Placed) and isinstance(found.fact, ClassFacts) else None


def _only_certain(found: Sequence[Placed[Any]]) -> Definition | None:
    """The last of several definitions, unless one stands under `if` or `try`."""
    if len(found) > 1 and any(f.fact.span.column for f in found):
        return None
    last: Definition = found[-1]
    return last


def _stored(attributes: Sequence[Assignment], name: str) -> list[Assignment]:
    """The statements that give a name a value or change it."""
    return [a for a in attributes if name in a.names and (a.value is not None or a.augmented)]


def _defines_otherwise(cls: ClassFacts, name: str) -> bool:
    """Whether a method, property or nested class has that name."""
    return cls.method(name) is not None or any(k.name == name for k in cls.classes)


def _is_field(value: Expr) -> TypeGuard[Call]:
    return isinstance(value, Call) and (value.callee or "").rpartition(".")[2] == "field"


def _is_field_annotation(annotation: Expr | None) -> bool:
    """Whether an annotation makes a dataclass field: any but `ClassVar`."""
    if isinstance(annotation, Subscript):
        annotation = annotation.base
    if isinstance(annotation, Constant) and isinstance(annotation.value, str):
        return "ClassVar" not in annotation.value
    if annotation is None:
        return False
    return not (isinstance(annotation, Reference) and annotation.tail == "ClassVar")


def _empty(constructor: str | None, at: Expr) -> Expr | None:
    """What `list()`, `dict()` or `tuple()` gives."""
    if constructor == "dict":
        return Mapping((), at.span)
    return Collection(constructor, (), at.span) if constructor in ("list", "tuple") else None


def _copied(call: Call) -> Expr | None:
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
        return _empty(call.callee, call)
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


def _is_empty(outcome: Outcome) -> bool:
    return (
        isinstance(outcome, Resolved)
        and isinstance(outcome.value, (Collection, Mapping))
        and not outcome.value.items
    )


def self_name(method: FunctionFacts) -> str | None:
    """What a method calls its instance, or None where it takes none by position."""
    first = method.parameters[0] if method.parameters else None
    return first.name if first is not None and first.kind in ("any", "positional") else None


def _touches(method: FunctionFacts, name: str) -> bool:
    """Whether a method may change the list or dict `self.name`: reads of single values do not."""
    if any(a.name == name for a in method.assignments):
        return True
    for read in method.reads:
        head, _, rest = read.partition(".")
        if head == name and rest.partition(".")[0] not in _READING:
            return True
    return False


def _copied_when_empty(method: FunctionFacts, name: str) -> str | None:
    """`other` for a method that does `if not self.name: self.name = self.other.copy()`, else None."""
    stored = [a for a in method.assignments if a.name == name]
    if len(stored) != 1 or not stored[0].conditional or name not in method.reads:
        return None
    value = stored[0].value
    copied = _copied(value) if isinstance(value, Call) else value
    if not isinstance(copied, Reference):
        return None
    head, _, other = copied.dotted.partition(".")
    return other if head == self_name(method) and other and "." not in other else None


def _import_targets(facts: FileFacts) -> dict[str, frozenset[str]]:
    running: dict[str, set[str]] = {}
    checking: dict[str, set[str]] = {}
    for item in (i.fact for i in facts.imports):
        if item.function is None and item.bound != "*":
            table = checking if item.type_checking else running
            table.setdefault(item.bound, set()).add(imported_target(item))
    merged = {**checking, **running}
    return {name: frozenset(found) for name, found in merged.items()}
