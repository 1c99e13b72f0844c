"""The weight-name rules of a port or a config: what `param_names_mapping` holds, rule by rule.

Rules are read through displays, `**` and `|` merges, constants, config instances, factories and
functions that build a dict. What cannot be read stands in the list as a rule without a pattern, so
that whoever asks knows where something unknown may be.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from analyzers.facts.built_mappings import BuiltItem, built_mapping
from analyzers.facts.model import (
    Call,
    CallFact,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FileFacts,
    FunctionFacts,
    Lambda,
    Mapping,
    Opaque,
    Placed,
    Reference,
)
from analyzers.findings import Location, Span
from analyzers.project.idioms import is_field
from analyzers.project.names import Names, Resolved
from analyzers.project.profile import Profile

_HOPS = 8
"""Longest chain of names and merges that is followed."""


@dataclass(frozen=True)
class MappingRule:
    """One rule of a mapping.

    `pattern` is None where the key, or what stands in its place (`**other`), cannot be read;
    `target` where the replacement cannot. `merge`: index and n of `(target, index, n)`. `key` and
    `value`: where the two stand. `container`: the statement that the display stands in, for edits
    (`Class.attribute`, a constant or a function), None where the rule is no item of a display.
    `conditional`: present on some paths only. `key_fact` (None for `**other`) and `value_fact`: the
    expressions; `place` turns a span of theirs into a location.
    """

    pattern: str | None
    target: str | None
    merge: tuple[int, int] | None
    key: Location
    value: Location
    container: str | None
    conditional: bool
    key_fact: Expr | None
    value_fact: Expr

    @property
    def path(self) -> str:
        """The file that the rule stands in."""
        return self.key.path

    def place(self, span: Span) -> Location:
        """The location of a span of the rule's own expressions."""
        return Location(self.path, span.shifted(self.value.span.line - self.value_fact.span.line))


@dataclass(frozen=True)
class MappingTable:
    """The rules of one mapping in the loader's order.

    A key given twice stands once, at its first place with its last value, as in Python; `repeated`
    holds the overwritten rule and the one that took its place, `written` every item as it is
    written. `name`: what the mapping is called. `location`: the display, or the function that builds
    it (`built`). `whole`: a class holds this mapping and not only as a part of another one.
    """

    name: str
    location: Location
    rules: tuple[MappingRule, ...]
    written: tuple[MappingRule, ...]
    repeated: tuple[tuple[MappingRule, MappingRule], ...]
    whole: bool
    built: bool

    @property
    def complete(self) -> bool:
        """Whether every rule could be read."""
        return all(rule.pattern is not None for rule in self.rules)

    def owns(self, rule: MappingRule) -> bool:
        """Whether a rule is written in this very display or function, not taken over from another."""
        return rule.path == self.location.path and self.location.span.contains(rule.key.span)


@dataclass(frozen=True)
class _Source:
    """An expression that serves as a mapping, under the name that says so; `held` by a class."""

    name: str
    owner: Placed[Any]
    value: Expr
    held: bool


_Item: TypeAlias = "tuple[Placed[Any], Expr | None, Expr, bool]"
"""Owner, key (None: everything in the value), value, conditional."""


def is_rule_mapping(profile: Profile, name: str) -> bool:
    """Whether a name is one of those whose dicts the loader reads as rules."""
    lowered = name.lower()
    return lowered.endswith(profile.mapping_suffix) and not lowered.endswith(profile.mappings_of_names)


class Mappings:
    """Reads mappings of one snapshot of the tree."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.profile = names.profile

    # ------------------ what is asked

    def of_port(self, cls: Placed[ClassFacts], name: str = "param_names_mapping") -> MappingTable | None:
        """The rules that the loader reads from a class; None where they cannot be found."""
        key = ("mapping", name, cls.path, cls.fact.name, cls.line)
        return self.names.memory.about(cls.path, cls.fact, key, lambda: self._of_port(cls, name))

    def _of_port(self, cls: Placed[ClassFacts], name: str) -> MappingTable | None:
        outcome = self.names.class_attribute(cls, name)
        if not isinstance(outcome, Resolved) or not isinstance(outcome.value, Mapping):
            return None
        owner = _placed(outcome)
        facts = self.names.sources.facts(owner.path)
        place = owner.at(outcome.value.span)
        for known in self.in_file(facts) if facts is not None else ():
            if known.location == place:
                return replace(known, name=name, whole=True)
        return self._table(name, owner, outcome.value, whole=True)

    def in_file(self, facts: FileFacts) -> tuple[MappingTable, ...]:
        """The mappings that a file writes down, each once, by place."""
        key = ("mappings", facts.path)
        return self.names.memory.about(facts.path, facts, key, lambda: self._in_file(facts))

    def _in_file(self, facts: FileFacts) -> tuple[MappingTable, ...]:
        found: dict[Span, MappingTable] = {}
        waiting = deque(self._sources(facts))
        while waiting:
            source = waiting.popleft()
            owner, value = self._down_to(source.owner, source.value, _HOPS)
            if owner is None or value is None or owner.path != facts.path:
                continue  # written down in another file, and looked at there
            if isinstance(value, Mapping) and owner.at(value.span).span not in found:
                merged = (item for key, item in value.items if key is None)
                parts = [item for item in merged if not isinstance(item, Mapping)]
                waiting.extend(_Source(source.name, owner, part, held=False) for part in parts)
            span = owner.at(value.span).span
            known = found.get(span)
            if known is None:
                found[span] = self._table(source.name, owner, value, whole=source.held)
            elif source.held and not known.whole:
                found[span] = replace(known, name=source.name, whole=True)
        return tuple(found[span] for span in sorted(found))

    def container_of(self, table: MappingTable) -> str | None:
        """The statement that a mapping's own display stands in (see `MappingRule.container`), also where
        it is empty; None where a function builds it, or it has no such statement."""
        facts = self.names.sources.facts(table.location.path)
        if facts is None or table.built:
            return None
        return self._container(facts, table.location.span)

    # ------------------ where mappings stand

    def _sources(self, facts: FileFacts) -> Iterator[_Source]:
        for assigned in facts.assignments:
            for name in assigned.fact.names:
                value = assigned.fact.value
                if value is not None and (is_rule_mapping(self.profile, name) or _looks_like_rules(value)):
                    yield _Source(name, assigned, value, held=False)
        for function in facts.functions:
            if is_rule_mapping(self.profile, function.fact.name):
                yield _Source(function.fact.name, function, _called(function), held=False)
        for cls in facts.classes:
            for attribute in cls.fact.attributes:
                for name in attribute.names:
                    if attribute.value is not None and is_rule_mapping(self.profile, name):
                        yield _Source(name, cls, attribute.value, held=True)
            for method in cls.fact.methods:
                for stored in method.assignments:
                    if stored.value is not None and is_rule_mapping(self.profile, stored.name):
                        yield _Source(stored.name, cls, stored.value, held=True)
        yield from self._updates(facts)

    def _updates(self, facts: FileFacts) -> Iterator[_Source]:
        """`self.param_names_mapping.update({...})` and the same on a constant."""
        calls: list[tuple[Placed[Any], CallFact]] = [(item, item.fact) for item in facts.calls]
        for cls in facts.classes:
            calls += [(Placed(m, cls.path, cls.line), c) for m in cls.fact.methods for c in m.calls]
        for owner, fact in calls:
            callee = fact.call.callee
            parts = callee.split(".") if callee is not None and callee.endswith(".update") else ()
            if parts and is_rule_mapping(self.profile, parts[-2]):
                for given in fact.call.arguments:
                    if isinstance(given, Mapping):
                        before = Opaque("what is there already", given.span)
                        whole = replace(given, items=((None, before), *given.items))
                        yield _Source(parts[-2], owner, whole, held=True)

    def _down_to(
        self, owner: Placed[Any], value: Expr, hops: int
    ) -> tuple[Placed[Any] | None, Mapping | Call | None]:
        """The display that a value is, or the call of the function that builds it."""
        if hops <= 0:
            return None, None
        if isinstance(value, Mapping):
            return owner, value
        if isinstance(value, Lambda):
            return self._down_to(_outside(owner), value.body, hops - 1)
        if isinstance(value, Call) and is_field(value):
            given = value.keyword("default_factory") or value.keyword("default")
            if isinstance(given, Reference):
                made = self._function(owner.path, given.dotted)
                if made is not None:
                    return made, _called(made)
            return self._down_to(owner, given, hops - 1) if given is not None else (None, None)
        if isinstance(value, Call) and value.callee is not None:
            made = self._function(owner.path, value.callee)
            if made is not None:
                return made, _called(made)
        outcome = self.names.value(owner.path, owner, value, ())
        if isinstance(outcome, Resolved):
            return self._down_to(_placed(outcome), outcome.value, hops - 1)
        found = self.names.resolve(owner.path, value.dotted) if isinstance(value, Reference) else None
        if isinstance(found, Placed) and not isinstance(found.fact, (ClassFacts, FunctionFacts)):
            # A constant that something changes later: its own display still stands.
            return self._down_to(found, found.fact.value, hops - 1) if found.fact.value else (None, None)
        return None, None

    def _function(self, path: str, dotted: str) -> Placed[FunctionFacts] | None:
        found = self.names.resolve(path, dotted)
        return found if isinstance(found, Placed) and isinstance(found.fact, FunctionFacts) else None

    # ------------------ rule by rule

    def _table(self, name: str, owner: Placed[Any], value: Mapping | Call, *, whole: bool) -> MappingTable:
        order: dict[str | int, MappingRule] = {}
        repeated: list[tuple[MappingRule, MappingRule]] = []
        written = _editable(self._rule(*item) for item in self._items(owner, value, _HOPS))
        for number, rule in enumerate(written):
            pattern = rule.pattern
            if pattern is None:
                order[number] = rule
                continue
            known = order.get(pattern)
            if known is not None:
                repeated.append((known, rule))
                if rule.conditional or known.conditional:
                    # Either value: only that there is a rule is certain.
                    both = known.conditional and rule.conditional
                    rule = replace(rule, target=None, merge=None, conditional=both)
            order[pattern] = rule
        built = isinstance(value, Call)
        around = owner.at(owner.fact.span if built else value.span)
        return MappingTable(name, around, tuple(order.values()), written, tuple(repeated), whole, built)

    def _items(self, owner: Placed[Any], value: Expr, hops: int) -> Iterator[_Item]:
        if hops <= 0:
            yield owner, None, value, False
        elif isinstance(value, Mapping):
            for key, item in value.items:
                if key is None:
                    yield from self._items(owner, item, hops - 1)
                else:
                    yield owner, key, item, False
        elif isinstance(value, Call) and isinstance(owner.fact, FunctionFacts) and value == _called(owner):
            yield from self._built(owner, hops)
        else:
            inner, display = self._down_to(owner, value, hops)
            outcome = self.names.value(owner.path, owner, value, ())
            if isinstance(display, Call) and inner is not None:
                yield from self._items(inner, display, hops - 1)
            elif isinstance(outcome, Resolved) and isinstance(outcome.value, Mapping):
                yield from self._items(_placed(outcome), outcome.value, hops - 1)
            else:
                yield owner, None, value, False

    def _built(self, function: Placed[FunctionFacts], hops: int) -> Iterator[_Item]:
        facts = self.names.sources.facts(function.path)
        if facts is None:
            return
        bodies = self.names.sources.bodies
        items: tuple[BuiltItem, ...] | None = bodies.derive("built mapping", facts, function, built_mapping)
        # The items' spans begin at the function's first line.
        inner = Placed(function.fact, function.path, bodies.start(function))
        for item in items or ():
            if item.repeated:
                yield inner, None, item.value, True
            elif item.key is None:
                for owner, key, value, conditional in self._items(inner, item.value, hops - 1):
                    yield owner, key, value, conditional or item.conditional
            else:
                yield inner, item.key, item.value, item.conditional
        if items is None:
            yield function, None, _called(function), False

    def _rule(self, owner: Placed[Any], key: Expr | None, value: Expr, conditional: bool) -> MappingRule:
        at = owner.at((key or value).span)
        where = owner.at(value.span)
        facts = self.names.sources.facts(owner.path)
        container = self._container(facts, at.span) if facts is not None else None
        text = key.value if isinstance(key, Constant) and isinstance(key.value, str) else None
        target, merge = _replacement(value)
        return MappingRule(text, target, merge, at, where, container, conditional, key, value)

    def _container(self, facts: FileFacts, span: Span) -> str | None:
        """The name of the statement that a place stands in (see `_statements`)."""
        memory = self.names.memory
        key = ("statements", facts.path)
        statements = memory.about(facts.path, facts, key, lambda: tuple(_statements(facts)))
        return next((name for around, name in statements if around.contains(span)), None)


def _editable(rules: Iterable[MappingRule]) -> tuple[MappingRule, ...]:
    """The rules, without a container where several stand in one place: items of a comprehension."""
    found = tuple(rules)
    places = Counter(rule.key for rule in found)
    return tuple(rule if places[rule.key] == 1 else replace(rule, container=None) for rule in found)


def _replacement(value: Expr) -> tuple[str | None, tuple[int, int] | None]:
    """Target and merge of a rule's value, as far as they are literals of the right kinds."""
    if isinstance(value, Constant):
        return (value.value if isinstance(value.value, str) else None), None
    if isinstance(value, Collection) and value.kind == "tuple" and len(value.items) == 3:
        first, index, count = (i.value if isinstance(i, Constant) else ... for i in value.items)
        target = first if isinstance(first, str) else None
        if index is None and count is None:
            return target, None
        if type(index) is int and type(count) is int:
            return target, (index, count)
    return None, None


def _called(function: Placed[FunctionFacts]) -> Call:
    """A call of a function, standing where the function's name stands."""
    span = function.fact.name_span
    return Call(Reference(function.fact.name, span), (), (), span)


def _outside(owner: Placed[Any]) -> Placed[Any]:
    """The same place, without the names of the class body around it: a lambda does not see them."""
    return Placed(None, owner.path, owner.line) if isinstance(owner.fact, ClassFacts) else owner


def _placed(outcome: Resolved) -> Placed[Any]:
    """An owner for what stands inside a resolved display: names mean there what the module says."""
    line = outcome.location.span.line - outcome.value.span.line
    return Placed(outcome.value, outcome.location.path, line)


def _looks_like_rules(value: Expr) -> bool:
    """Whether a constant can be nothing but rules: a display of anchored patterns."""
    return (
        isinstance(value, Mapping)
        and bool(value.items)
        and all(
            isinstance(key, Constant) and isinstance(key.value, str) and key.value.startswith("^")
            for key, _ in value.items
        )
    )


def _statements(facts: FileFacts) -> Iterator[tuple[Span, str]]:
    """Where statements with a name stand: `Class.attribute`, `Class.method`, a constant, a function."""
    for cls in facts.classes:
        for method in cls.fact.methods:
            yield cls.at(method.span).span, f"{cls.fact.name}.{method.name}"
        for attribute in cls.fact.attributes:
            if len(attribute.names) == 1:
                yield cls.at(attribute.span).span, f"{cls.fact.name}.{attribute.names[0]}"
    for function in facts.functions:
        yield function.at(function.fact.span).span, function.fact.name
    for assigned in facts.assignments:
        if len(assigned.fact.names) == 1:
            yield assigned.at(assigned.fact.span).span, assigned.fact.names[0]
