"""The faults that proofs find, each at the one place that a person would mend, under one code.

A rule that caused a fault is its place. Where no rule speaks of the names: the line that builds the
module which stays empty, else the mapping, else the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from typing import Final, TypeAlias

from analyzers.findings import START_OF_FILE, Location, Related, Span
from analyzers.project.index import Project
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.project.module_lines import module_line
from analyzers.project.ports import Port
from analyzers.weights.known import proof_of, rules_of, state_of
from analyzers.weights.mapping.tables import symbolic_rules
from analyzers.weights.proving.fault_texts import has_not, in_words
from analyzers.weights.proving.rule_uses import made_pattern
from analyzers.weights.state import PortState
from analyzers.weights.verdicts import Fault, RuleUse, ShapeFault, WeightProof

_OF_CHECKPOINTS: Final = {"missing": "DIT701", "unexpected": "DIT702", "shape": "DIT703", "dtype": "DIT703"}
_OF_RULES: Final = {"collision": "DIT309", "merge": "DIT310"}
_OF_CLASSES: Final = "DIT609"
SHADOWED: Final = "DIT307"

_LACKS: Final = ("missing", "unexpected")

STOPS: Final = "loading stops with an error"
"""What follows from a name without a place and from a parameter that stays empty."""


@dataclass(frozen=True)
class KnownProof:
    """A proof with what it is about. `table` is None where the rules' places are not known."""

    port: Port
    state: PortState
    table: MappingTable | None
    proof: WeightProof

    @property
    def official(self) -> str:
        """What the port is held against, as a user would write it."""
        return self.state.official.source if self.state.official is not None else "?"

    def rule(self, index: int | None) -> MappingRule | None:
        """The rule of an index, where its place is known."""
        return self.table.rules[index] if self.table is not None and index is not None else None


@dataclass(frozen=True)
class PlacedFault:
    """A fault at its place, under the code that reports it.

    `rule`: the rule at whose line it stands: the one that caused it, or the one that is kept from its
    names. `also`: further ports in which the same rule does the same.
    """

    code: str
    known: KnownProof
    fault: Fault
    location: Location
    rule: MappingRule | None
    also: tuple[Port, ...] = ()

    @property
    def rules(self) -> tuple[MappingRule, ...]:
        """All rules that take part, whose places are known."""
        involved = (self.rule, self.known.rule(self.fault.rule), self.known.rule(self.fault.other))
        return tuple(dict.fromkeys(rule for rule in involved if rule is not None))

    @property
    def related(self) -> tuple[Related, ...]:
        """The other rule that takes part, and where the official side is written down."""
        found: list[Related] = []
        found += [Related(rule.key, "takes part in it") for rule in self.rules if rule is not self.rule]
        found += [Related(port.location, "loads by this mapping too") for port in self.also]
        official = self.known.state.official
        if official is not None and official.origin == "dump":
            found.append(Related(Location(official.source, START_OF_FILE), "the official names"))
        return tuple(found)


def known_proofs(project: Project) -> tuple[KnownProof, ...]:
    """The proofs of all ports whose names are known."""
    return tuple(known for port in project.ports if (known := known_proof(project, port)) is not None)


def known_proof(project: Project, port: Port) -> KnownProof | None:
    """The proof of one port, with what it is about."""
    proof = proof_of(project, port)
    state = state_of(project, port)
    if proof is None or state is None:
        return None
    return KnownProof(port, state, rules_of(project, port)[0], proof)


def placed_faults(project: Project) -> tuple[PlacedFault, ...]:
    """Every fault of every port, once, in the order of the ports."""
    states = tuple(sorted((port, state.digest) for port, state in project.states.items()))
    return project.sources.memory.get(("weight faults", states), partial(_all_faults, project))


def _all_faults(project: Project) -> tuple[PlacedFault, ...]:
    found: dict[object, PlacedFault] = {}
    for known in known_proofs(project):
        if not _is_readable(project, known):
            continue
        for placed in _joined(p for fault in _told(known) for p in _placed(project, known, fault)):
            port = known.port
            place = (
                placed.rule.key if placed.rule is not None else (port.cls.path, port.name, placed.location)
            )
            first = found.setdefault((placed.code, placed.fault.kind, place), placed)
            if first is not placed and port not in (first.known.port, *first.also):
                found[placed.code, placed.fault.kind, place] = replace(first, also=(*first.also, port))
    return tuple(found.values())


def _told(known: KnownProof) -> tuple[Fault, ...]:
    """The faults of a proof; where rules lack for most of the names, that in place of each lack.

    A mapping that is just begun, or that is for the names of another origin, has one cause.
    """
    faults = _of_one_size(known, known.proof.faults)
    lacks = [f for f in faults if f.rule is None and f.other is None and f.kind in _LACKS]
    official = tuple(dict.fromkeys(name for fault in lacks for name in fault.official))
    native = tuple(dict.fromkeys(name for fault in lacks for name in fault.native))
    all_official, all_native = (
        len(side.names) if side is not None else 0 for side in (known.state.official, known.state.native)
    )
    if all_native == 0 and len(faults) > 1:
        return (_of_nothing(known, known.state.official.names if known.state.official else (), ()),)
    if len(lacks) < 2 or (2 * len(official) <= all_official and 2 * len(native) <= all_native):
        return faults
    if not all_official or not all_native:
        return (_of_nothing(known, official, native),)
    message = (
        f"rules lack for most of the names: {len(official)} of {all_official} official names "
        f"({examples(official)}) have no place in the port, and {len(native)} of its {all_native} parameters "
        f"({examples(native)}) stay empty: {STOPS}, unless the mapping is for names of another origin"
    )
    others = tuple(fault for fault in faults if fault not in lacks)
    return (Fault("unexpected" if official else "missing", None, official, native, message), *others)


def _of_one_size(known: KnownProof, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """The faults, those of shapes as one where several rules bring the wrong size and the sizes differ by
    one ratio, or most parameters are concerned: the two sides are configured differently."""
    misshapen = [fault for fault in faults if fault.kind == "shape"]
    shapes = [shape for fault in misshapen for shape in fault.shapes]
    natives = len(known.state.native.names) if known.state.native is not None else 0
    if len(misshapen) < _RULES_OF_ONE_SIZE or (len(_ratios(shapes)) > 1 and 2 * len(shapes) <= natives):
        return faults
    first = next((s for s in shapes if s.found is not None), shapes[0])
    found = "tensors that cannot be concatenated" if first.found is None else str(list(first.found))
    message = (
        f"{len(shapes)} of {natives} parameters have another shape than what arrives ({first.native} is "
        f"{list(first.expected)} and gets {found}): {STOPS}; the two sides are of different sizes, which is "
        "the configuration's matter, not the mapping's"
    )
    official = tuple(dict.fromkeys(name for fault in misshapen for name in fault.official))
    native = tuple(dict.fromkeys(name for fault in misshapen for name in fault.native))
    one = Fault("shape", None, official, native, message, shapes=tuple(shapes), suspected="config")
    return (*(fault for fault in faults if fault.kind != "shape"), one)


_RULES_OF_ONE_SIZE: Final = 3


def _ratios(shapes: Iterable[ShapeFault]) -> set[object]:
    """By what sizes differ; one item for each shape that has not as many dimensions."""
    ratios: set[object] = set()
    for shape in shapes:
        if shape.found is None or len(shape.found) != len(shape.expected):
            ratios.add(shape.native)
            continue
        differing = [(a, b) for a, b in zip(shape.expected, shape.found, strict=True) if a != b]
        ratios.update((a // gcd(a, b), b // gcd(a, b)) if a and b else (a, b) for a, b in differing)
    return ratios


def _of_nothing(known: KnownProof, official: tuple[str, ...], native: tuple[str, ...]) -> Fault:
    """The fault of two sides of which one has no tensors."""
    if official:
        text = f"the port has no tensors: none of the {len(official)} official names ({examples(official)}) "
        return Fault("unexpected", None, official, (), f"{text}has a place")
    text = f"'{known.official}' has no tensors: nothing fills the {len(native)} parameters of the port"
    return Fault("missing", None, (), native, f"{text} ({examples(native)})")


def _joined(faults: Iterable[PlacedFault]) -> Iterator[PlacedFault]:
    """The faults of one port, those that stand in one place for want of a better one as one."""
    places: dict[object, list[PlacedFault]] = {}
    for number, placed in enumerate(faults):
        alone = placed.rule is not None or placed.fault.other is not None
        key = number if alone else (placed.code, placed.fault.kind, placed.location)
        places.setdefault(key, []).append(placed)
    for same in places.values():
        yield same[0] if len(same) == 1 else replace(same[0], fault=_joined_fault([p.fault for p in same]))


def _joined_fault(faults: Sequence[Fault]) -> Fault:
    official = tuple(dict.fromkeys(name for fault in faults for name in fault.official))
    native = tuple(dict.fromkeys(name for fault in faults for name in fault.native))
    stay = "stays" if len(native) == 1 else "stay"
    empty = f"{count(native, 'parameter')} ({examples(native)}) {stay} empty" if native else ""
    lacks = tuple(dict.fromkeys(lack for fault in faults for lack in fault.lacks))
    if official:
        empty = f", and {empty}" if empty else ""
        names = f"{count(official, 'official name')} ({examples(official)})"
        lack = in_words(lacks)
        message = f"no rule takes {names}, and {has_not(official)}{empty}{lack}: {STOPS}"
    else:
        message = f"nothing fills {count(native, 'parameter')} ({examples(native)}): {STOPS}"
    shapes = tuple(shape for fault in faults for shape in fault.shapes)
    suspected = {fault.suspected for fault in faults}
    return replace(
        faults[0],
        official=official,
        native=native,
        message=message if faults[0].kind in ("missing", "unexpected") else faults[0].message,
        shapes=shapes,
        lacks=lacks,
        suspected=suspected.pop() if len(suspected) == 1 else "unknown",
    )


def count(names: Sized, noun: str) -> str:
    """So many of them, in words."""
    return f"{len(names)} {noun}" if len(names) == 1 else f"{len(names)} {noun}s"


def examples(names: Sequence[str]) -> str:
    """Two of them at most."""
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _is_readable(project: Project, known: KnownProof) -> bool:
    """Whether no file that rules come from has a part which does not parse: a rule may stand in it."""
    table = known.table
    paths = {table.location.path, *(rule.path for rule in table.rules)} if table is not None else set()
    files = [project.file(path) for path in paths]
    return all(facts is not None and not facts.broken for facts in files)


def _placed(project: Project, known: KnownProof, fault: Fault) -> Iterator[PlacedFault]:
    kept_out = known.rule(fault.other)
    if kept_out is not None and keeps_out(known.proof, fault):
        for part in _for_each_kept_out(project, known, fault):
            out = known.rule(part.other) or kept_out
            yield PlacedFault(SHADOWED, known, part, out.key, out)
        return
    rule = known.rule(fault.rule)
    if rule is None:
        rule = _idle_rule(project, known, fault)
        if rule is not None:
            leads = f"'{rule.pattern}' leads there and matches none of the official names"
            fault = replace(fault, message=f"{fault.message}; {leads}")
    place = rule.key if rule is not None else next(_places(project, known, fault))
    yield PlacedFault(code_of(known.state, fault), known, fault, place, rule)


def _for_each_kept_out(project: Project, known: KnownProof, fault: Fault) -> Iterator[Fault]:
    """A fault by the rules that are kept from its names; what is none of theirs stays with the first."""
    others = [u.rule for u in known.proof.rules if u.state == "shadowed" and fault.rule in u.by]
    rules = symbolic_rules(project, known.table) if known.table is not None else ()
    parts: dict[int | None, tuple[dict[str, None], dict[str, None]]] = {fault.other: ({}, {})}
    rest = dict.fromkeys(fault.official)
    native = frozenset(fault.native)
    for other in others:
        pattern, target = rules[other].parsed, rules[other].target
        if pattern is None or target is None or rules[other].template is None:
            continue
        begins, match = pattern.prefix, pattern.compiled.match
        for name in [name for name in rest if name.startswith(begins) and match(name)]:
            made = pattern.compiled.sub(target, name)
            if made in native:
                official, filled = parts.setdefault(other, ({}, {}))
                official[name] = filled[made] = None
                del rest[name]
    parts[fault.other][0].update(rest)
    led = {name for _, filled in parts.values() for name in filled}
    parts[fault.other][1].update(dict.fromkeys(name for name in fault.native if name not in led))
    for part, (official, filled) in parts.items():
        yield replace(fault, other=part, official=tuple(official), native=tuple(filled))


def keeps_out(proof: WeightProof, fault: Fault) -> bool:
    """Whether the second rule of a fault is left no name at all, and the first one takes them: then the
    fault is told at the second one, under DIT307."""
    return any(
        use.rule == fault.other and use.state == "shadowed" and fault.rule in use.by for use in proof.rules
    )


def _idle_rule(project: Project, known: KnownProof, fault: Fault) -> MappingRule | None:
    """The only rule that would make all the names that stay empty, where it matches nothing."""
    if not fault.native or known.table is None:
        return None
    rules = symbolic_rules(project, known.table)
    filled = [filling.tensor.name for filling in known.proof.fillings if filling.sources]
    makers: list[int] = []
    for index in (use.rule for use in known.proof.rules if use.state == "dead"):
        made = made_pattern(rules[index])
        if (
            made is not None
            and (rules[index].merge is not None or _may_fill(known, fault))
            and all(map(made.fullmatch, fault.native))
            and not any(map(made.fullmatch, filled))
        ):
            makers.append(index)
    return known.table.rules[makers[0]] if len(makers) == 1 else None


def _may_fill(known: KnownProof, fault: Fault) -> bool:
    """Whether one of the names without a place has the shape of a parameter that stays empty."""
    official, native = known.state.official, known.state.native
    if official is None or native is None or not fault.official:
        return True
    shapes = {official.by_name[name].shape for name in fault.official}
    rooms = {native.by_name[name].shape for name in fault.native}
    return None in shapes | rooms or not shapes.isdisjoint(rooms)


def code_of(state: PortState, fault: Fault) -> str:
    """The rule that reports a fault, wherever it is shown: what the names are held against decides."""
    if fault.kind in _OF_RULES:
        return _OF_RULES[fault.kind]
    if state.official is not None and state.official.origin == "class":
        return _OF_CLASSES
    return _OF_CHECKPOINTS[fault.kind]


def _places(project: Project, known: KnownProof, fault: Fault) -> Iterator[Location]:
    """Where a fault may stand that no rule caused, best first."""
    place = module_line(project, known.port.cls, _shared(fault.native)) if _is_of_one_module(fault) else None
    if place is not None:
        yield place
    if known.table is not None and not known.table.built:
        yield _beginning(known.table.location)
    yield known.port.location


def _is_of_one_module(fault: Fault) -> bool:
    """Whether parameters stay empty that share more than their place in the model."""
    return bool(fault.native) and (len(fault.native) == 1 or bool(_shared(fault.native)))


def _shared(names: tuple[str, ...]) -> str:
    """The part of a name that all names share, whatever the numbers in them."""
    first, *others = (name.split(".") for name in names)
    shared = list(first)
    for other in others:
        same = 0
        for one, two in zip(shared, other):  # noqa: B905 - up to the shorter one
            if one != two and not (one.isdecimal() and two.isdecimal()):
                break
            same += 1
        shared = shared[:same]
    return ".".join(shared)


def _beginning(place: Location) -> Location:
    span = place.span
    return Location(place.path, Span(span.line, span.column, span.line, span.column + 1))


# --------------------------------------------------------------------------- what rules do

_Uses: TypeAlias = "Mapping[Location, Sequence[tuple[KnownProof, RuleUse] | None]]"


def uses_of(project: Project, rule: MappingRule) -> tuple[tuple[KnownProof, RuleUse], ...]:
    """What a rule of `param_names_mapping` does in every port that loads by it; empty unless all of these
    ports are proved, since a rule may be there for any of them."""
    states = tuple(sorted((port, state.digest) for port, state in project.states.items()))
    uses: _Uses = project.sources.memory.get(("weight rules", states), partial(_all_uses, project))
    found = uses.get(rule.key, ())
    proved = tuple(item for item in found if item is not None)
    return proved if len(proved) == len(found) else ()


def _all_uses(project: Project) -> _Uses:
    found: dict[Location, list[tuple[KnownProof, RuleUse] | None]] = {}
    unread: set[str] = set()
    for port in project.ports:
        table = project.mappings.of_port(port.cls)
        if table is None:
            config = project.port_index.config_of(port.cls)
            if config is None:
                return {}  # it may load by any mapping
            unread.add(config.path)
            continue
        known = known_proof(project, port)
        if known is None or known.table is None:
            for rule in table.rules:
                found.setdefault(rule.key, []).append(None)
            continue
        for use in known.proof.rules:
            found.setdefault(known.table.rules[use.rule].key, []).append((known, use))
    return {place: uses for place, uses in found.items() if place.path not in unread}
