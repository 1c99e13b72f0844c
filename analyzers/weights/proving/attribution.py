"""Which rule caused what: one fault for each cause, with everything that follows from it.

A wrong target sends forty names away and leaves forty parameters empty, a rule that stands too early
takes another's names, a wrong index breaks a group whose other rules are right. The evidence is asked
in the order of its strength: what the next rule would make of a name, then where shapes and names lead
it, then what speaks for a general slip.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from analyzers.weights.mapping.name_parts import core, owner, shape_of_name
from analyzers.weights.mapping.renaming import Renaming, Share, positions
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proving.bundles import Empty, Lost, Shape, bundle, fits, led_together
from analyzers.weights.proving.counterfactual import Elsewhere, without_rule
from analyzers.weights.proving.fault_texts import lack_of_merge, told
from analyzers.weights.proving.landing import Landed, Misshapen, Sides, Tangle
from analyzers.weights.proving.merging import Source, assemble
from analyzers.weights.proving.near_misses import is_near
from analyzers.weights.proving.rule_uses import made_pattern
from analyzers.weights.proving.tangles import Blame, Lacking, blame_of_collision, blame_of_merge
from analyzers.weights.recent import Keep
from analyzers.weights.verdicts import Fault, FaultKind, RuleUse, ShapeFault


@dataclass(frozen=True)
class Evidence:
    """What the faults are told from. `empty`: natives that nothing fills and that may not stay empty.
    `unsure`: some names could not be followed, so that nothing is said of what is empty."""

    sides: Sides
    rules: Sequence[SymbolicRule]
    renaming: Renaming
    landed: Sequence[Landed]
    empty: tuple[str, ...]
    uses: Sequence[RuleUse]
    unsure: bool


@dataclass
class Draft:
    """A fault in the making. `wrong`: names that were made and have no place, for the message."""

    kind: FaultKind
    rule: int | None
    other: int | None = None
    official: dict[str, None] = field(default_factory=dict)
    native: dict[str, None] = field(default_factory=dict)
    wrong: dict[str, None] = field(default_factory=dict)
    shapes: list[ShapeFault] = field(default_factory=list)
    detail: str = ""
    lacks: dict[str, None] = field(default_factory=dict)
    member: str = ""
    """The members of a list that the names belong to and that the port has not, in words."""
    early: bool = False
    """Whether the rule takes names that a later rule, or none, would bring to their place."""


def attribute(evidence: Evidence, keep: Keep) -> tuple[Fault, ...]:
    """The faults of a mapping, those of the earliest rules first."""
    troubled = any(
        part.unexpected or part.tangles or part.misshapen or part.miscast for part in evidence.landed
    )
    if not (troubled or evidence.renaming.raising or (evidence.empty and not evidence.unsure)):
        return ()
    inquiry = _Inquiry(evidence, keep)
    inquiry.run()
    drafts = _one_for_each_rule(inquiry.drafts)
    drafts.sort(key=lambda draft: (draft.rule is None, draft.rule or 0))
    return tuple(told(draft, evidence.rules, evidence.renaming) for draft in drafts)


_RANK: tuple[FaultKind, ...] = ("collision", "merge", "unexpected", "shape", "dtype", "missing")


def _one_for_each_rule(drafts: Iterable[Draft]) -> list[Draft]:
    """Drafts of one rule put together: they have one cause. The kind that concerns most names stays."""
    merged: dict[object, list[Draft]] = {}
    for number, draft in enumerate(drafts):
        merged.setdefault(draft.rule if draft.rule is not None else (number,), []).append(draft)
    result: list[Draft] = []
    for same in merged.values():
        first = max(same, key=lambda draft: (len(draft.official), -_RANK.index(draft.kind)))
        for draft in same:
            if draft is first:
                continue
            first.official.update(draft.official)
            first.native.update(draft.native)
            first.wrong.update(draft.wrong)
            first.shapes.extend(draft.shapes)
            first.lacks.update(draft.lacks)
            first.detail = first.detail or draft.detail
            first.early = first.early or draft.early
            first.other = first.other if first.other is not None else draft.other
        result.append(first)
    return result


@dataclass
class _Inquiry:
    """The troubles that have no cause yet, and the drafts of the faults that explain the others."""

    evidence: Evidence
    keep: Keep
    drafts: list[Draft] = field(default_factory=list)
    lost: dict[int, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    tangles: dict[str, Tangle] = field(default_factory=dict)
    misshapen: dict[str, Misshapen] = field(default_factory=dict)
    free: dict[str, None] = field(default_factory=dict)

    def run(self) -> None:
        """Find the causes, the most certain ones first."""
        for part in self.evidence.landed:
            for place in part.unexpected:
                placement = part.placed[place]
                self.lost[place] = (placement.rules, placement.target)
            self.tangles.update({tangle.target: tangle for tangle in part.tangles})
            self.misshapen.update({fault.native: fault for fault in part.misshapen})
        self.free = dict.fromkeys(self.evidence.empty)
        self._raising()
        self._taken_too_early()
        self._of_no_member()
        self._sent_elsewhere()
        self._tangled()
        self._of_wrong_shape()
        self._of_wrong_kind()
        self._never_filled()

    # ------------------------------------------------------------------ what is known of names

    @property
    def names(self) -> tuple[str, ...]:
        """The official names."""
        return self.evidence.sides.official.names

    def shape(self, place: int) -> Shape:
        """The shape of an official tensor."""
        return self.evidence.sides.official.tensors[place].shape

    def room(self, native: str) -> Shape:
        """The shape of a parameter."""
        return self.evidence.sides.natives[native].shape

    @cached_property
    def ways(self) -> dict[int, Share]:
        """The share of each name."""
        return {place: share for share in self.evidence.renaming.shares for place in positions(share.mask)}

    @cached_property
    def sound(self) -> dict[int | None, set[str]]:
        """For each rule the forms of the official names that it, as the last, brings to their place."""
        found: dict[int | None, set[str]] = {}
        for part in self.evidence.landed:
            for rule, forms in part.sound.items():
                found.setdefault(rule, set()).update(forms)
        return found

    # ------------------------------------------------------------------ causes

    def _raising(self) -> None:
        """Rules at which the loader stops."""
        for rule, (mask, error) in self.evidence.renaming.raising.items():
            draft = Draft("unexpected", rule, detail=f"re.error: {error}")
            draft.official.update(dict.fromkeys(self.names[place] for place in positions(mask)))
            self.drafts.append(draft)

    def _taken_too_early(self) -> None:
        """Names that would find their place, did the rule that takes them let them be."""
        drafts: dict[tuple[int, int | None], Draft] = {}
        names, lost = self.names, self.lost
        for rule, places in self._in_trouble().items():
            for place, elsewhere in self._elsewhere(rule, places):
                kind: FaultKind = "unexpected" if place in lost else "collision"
                key = (rule, elsewhere.rule)
                draft = drafts.get(key)
                if draft is None:
                    draft = drafts[key] = Draft(kind, rule, elsewhere.rule, early=True)
                draft.official[names[place]] = None
                draft.native[elsewhere.target] = None
                draft.wrong[places[place]] = None
                self._settle(place, places[place])
        for draft in drafts.values():
            self.drafts.append(draft)
            self._fill(draft.native)

    def _in_trouble(self) -> dict[int, dict[int, str]]:
        """By the rule that was their last, names that do not come out right, with what was made of them."""
        found: dict[int, dict[int, str]] = {}
        for place, (path, target) in self.lost.items():
            if path:
                found.setdefault(path[-1], {})[place] = target
        for tangle in self.tangles.values():
            for source, path in zip(tangle.sources, tangle.paths, strict=True):
                if path:
                    found.setdefault(path[-1], {})[source.place] = tangle.target
        for fault in self.misshapen.values():
            for place in fault.places:
                path = self.ways[place].path
                if path:
                    found.setdefault(path[-1], {})[place] = fault.native
        return found

    def _elsewhere(self, rule: int, places: Collection[int]) -> Iterator[tuple[int, Elsewhere]]:
        """Where names would go without a rule, where that is an empty place which they fit."""
        evidence, free = self.evidence, self.free
        natives, tensors = evidence.sides.natives, evidence.sides.official.tensors
        found = without_rule(evidence.renaming, evidence.rules, evidence.sides, rule, places, self.keep)
        for place, elsewhere in found:
            if elsewhere.target not in free:
                continue
            shape, room = tensors[place].shape, natives[elsewhere.target].shape
            if elsewhere.merge is None and shape is not None and room is not None and shape != room:
                continue
            yield place, elsewhere

    def _of_no_member(self) -> None:
        """Names of list members that the port has not at all (`blocks.40`), by whatever rules: the two sides
        count differently."""
        beyond: dict[str, dict[str, list[int]]] = {}
        members: dict[str, set[str]] | None = None
        for place, (_, target) in self.lost.items():
            found = _member(target)
            if found is None:
                continue
            if members is None:
                members = {}
                for native in self.evidence.sides.natives:
                    there = _member(native)
                    if there is not None:
                        members.setdefault(there[0], set()).add(there[1])
            owner_, number = found
            if owner_ in members and number not in members[owner_]:
                beyond.setdefault(owner_, {}).setdefault(number, []).append(place)
        for list_, numbers in beyond.items():
            places = [place for same in numbers.values() for place in same]
            if members is None or len({self.lost[place][0] for place in places}) < _RULES_THAT_AGREE:
                continue
            least, most = min(map(int, members[list_])), max(map(int, members[list_]))
            named = ", ".join(f"{list_}.{number}" for number in list(numbers)[:2])
            named += ", ..." if len(numbers) > 2 else ""
            draft = Draft("unexpected", None)
            draft.member = f"{named}, and the port has {list_}.{least} to {list_}.{most} only"
            draft.official.update(dict.fromkeys(self.names[place] for place in places))
            self.drafts.append(draft)
            for place in places:
                del self.lost[place]

    def _sent_elsewhere(self) -> None:
        """Names whose target the port has not, led to the parameters that lack something."""
        names = self.names
        targets = {place: target for place, (_, target) in self.lost.items()}
        lost = self._lost_bundles()
        empty = self._empty_bundles()
        partners = led_together(lost, empty)
        without_rule_: dict[object, Draft] = {}
        met = [empty[partners[number]] if number in partners else None for number in range(len(lost))]
        senders = [self._sender(one, partner) for one, partner in zip(lost, met, strict=True)]
        missed = {
            _cause(one, partner, None): sender
            for one, partner, sender in zip(lost, met, senders, strict=True)
            if sender[0] is not None and not one.path
        }
        lacks = {number: self._lacks(empty[number]) for number in set(partners.values())}
        for number, (one, partner, sender) in enumerate(zip(lost, met, senders, strict=True)):
            # What the same change of name would mend has the same cause.
            rule, other = missed.get(_cause(one, partner, None), sender) if not one.path else sender
            draft = Draft("unexpected", rule, other)
            if rule is None:
                draft = without_rule_.setdefault(_cause(one, partner, other), draft)
                if len(draft.official) == 0:
                    self.drafts.append(draft)
            else:
                self.drafts.append(draft)
            official = [names[place] for place in one.places]
            draft.official.update(dict.fromkeys(official))
            if one.path and one.places[0] in targets:
                draft.wrong.update(dict.fromkeys(map(targets.__getitem__, one.places)))
            if partner is not None:
                if rule is None:
                    draft.lacks.update(dict.fromkeys(lacks[partners[number]]))
                meant = _of_these_blocks(partner.names, official)
                draft.native.update(dict.fromkeys(meant))
                self._fill(meant)
        self.lost.clear()

    def _lost_bundles(self) -> list[Lost]:
        found: dict[tuple[tuple[int, ...], str, str], list[tuple[tuple[int, ...], int]]] = {}
        names, tensors = self.names, self.evidence.sides.official.tensors
        for place, (path, target) in self.lost.items():
            source, numbers = shape_of_name(names[place])
            form = (path, source, shape_of_name(target)[0])
            members = found.get(form)
            if members is None:
                members = found[form] = []
            members.append((numbers, place))
        bundles: list[Lost] = []
        for (path, source, target), members in found.items():
            members.sort()
            places = tuple([place for _, place in members])
            shapes = tuple([tensors[place].shape for place in places])
            bundles.append(Lost(path, source, target, places, shapes))
        for rule, (mask, _) in self.evidence.renaming.raising.items():
            for source, named in bundle((self.names[p], str(p)) for p in positions(mask)).items():
                places = tuple(map(int, named))
                bundles.append(Lost((rule,), source, source, places, tuple(map(self.shape, places))))
        return bundles

    def _empty_bundles(self) -> list[Empty]:
        natives, tangles = self.evidence.sides.natives, self.tangles
        bundles: list[Empty] = []
        for template, names in bundle((name, name) for name in self.free).items():
            if tangles.keys().isdisjoint(names):
                rooms = tuple([natives[name].shape for name in names])
                bundles.append(Empty(template, tuple(names), rooms))
            else:
                wanted = max(1, *map(self._wanted, names))
                rooms = tuple(map(self._left_over, names))
                bundles.append(Empty(template, tuple(names), rooms, partly=True, wanted=wanted))
        return bundles

    def _wanted(self, native: str) -> int:
        """How many sources a parameter lacks."""
        tangle = self.tangles.get(native)
        return len(tangle.assembly.lacking) if tangle is not None else 1

    def _lacks(self, empty: Empty) -> list[str]:
        """Which sources the merges into some parameters lack, in words."""
        found: dict[str, None] = {}
        for name in empty.names:
            tangle = self.tangles.get(name)
            if tangle is not None and tangle.assembly.lacking and tangle.assembly.counts:
                rule = tangle.paths[0][-1] if tangle.paths[0] else None
                target = self.evidence.rules[rule].target if rule is not None else None
                count = tangle.assembly.counts[-1]
                found[lack_of_merge(target or name, tangle.assembly.lacking, count)] = None
        return list(found)

    def _left_over(self, native: str) -> Shape:
        """What of a parameter its sources leave."""
        room, tangle = self.room(native), self.tangles.get(native)
        if tangle is None or not room:
            return room
        shapes = [self.shape(place) for place in tangle.assembly.waiting]
        if any(shape is None for shape in shapes):
            return None
        return (room[0] - sum(shape[0] for shape in shapes if shape), *room[1:])

    def _sender(self, lost: Lost, partner: Empty | None) -> tuple[int | None, int | None]:
        """The rule to blame for a lost bundle, and another that takes part."""
        rule = lost.path[-1] if lost.path else None
        if rule is not None and rule in self.evidence.renaming.raising:
            return rule, None
        if self.evidence.sides.semantics == "chained" and rule is not None and partner is not None:
            rule = self._introducer(lost, partner)
            return (rule, None) if rule is not None else (self._near_miss(lost, partner), None)
        if rule is not None and not self.sound.get(rule):
            return rule, None  # it brings no name to its place
        for use in self.evidence.uses:
            candidate = self.evidence.rules[use.rule]
            if use.rule == rule or use.state == "unknown":
                continue
            if use.state == "dead" or (use.state == "shadowed" and rule in use.by):
                if candidate.merge is None and partner is not None and not _alone(lost, partner):
                    continue
                made = made_pattern(candidate)
                meant = (
                    partner is not None and made is not None and made.fullmatch(partner.names[0]) is not None
                )
                if (meant or partner is None) and is_near(candidate, lost.source, meant):
                    return use.rule, rule
            elif use.state == "live" and lost.source in self.sound.get(use.rule, ()):
                return use.rule, rule  # it takes these names for other numbers
        if rule is not None and partner is not None and self.sound.get(rule):
            if lost.source in self.sound[rule]:
                return rule, None
            return None, rule  # right for other names: a rule of their own is what these lack
        return rule, None

    def _introducer(self, lost: Lost, partner: Empty) -> int | None:
        """The rule of a chain that first wrote what is wrong with a name; None where it was there before."""
        wrong = core(lost.target, partner.template)[1]
        name = self.names[lost.places[0]]
        if not wrong:
            return lost.path[-1]
        if _has(name, wrong):
            return None
        for rule in lost.path:
            pattern, target = self.evidence.rules[rule].parsed, self.evidence.rules[rule].target
            if pattern is None or target is None:
                break
            name = pattern.compiled.sub(target, name)
            if _has(name, wrong):
                return rule
        return lost.path[-1]

    def _near_miss(self, lost: Lost, partner: Empty) -> int | None:
        """The dead rule of a chain that misses what the others make of a name, by a slip."""
        for use in self.evidence.uses:
            rule = self.evidence.rules[use.rule]
            made = made_pattern(rule) if use.state == "dead" else None
            meant = made is not None and made.fullmatch(partner.names[0]) is not None
            if meant and is_near(rule, lost.target, meant):
                return use.rule
        return None

    def _tangled(self) -> None:
        """Targets with several sources."""
        groups: dict[object, list[Tangle]] = {}
        for tangle in self.tangles.values():
            if self.evidence.unsure and tangle.assembly.only_waits:
                continue  # what it waits for may be among the names that could not be followed
            form = {(path, s.merge) for path, s in zip(tangle.paths, tangle.sources, strict=True)}
            groups.setdefault(frozenset(form), []).append(tangle)
        # Groups that have too much come first: what they have too much, others may lack.
        for tangles in sorted(groups.values(), key=lambda same: not same[0].assembly.lost):
            tangles = [tangle for tangle in tangles if self.tangles.get(tangle.target) is tangle]
            if not tangles:
                continue
            here = {tangle.target for tangle in tangles}
            empty = {name: self._lacking(name) for name in self.free if name not in here}
            merging = any(source.merge is not None for source in tangles[0].sources)
            ask = blame_of_merge if merging else blame_of_collision
            self._blame(tangles, ask(self.evidence.sides, self.evidence.rules, tangles, empty))

    def _lacking(self, native: str) -> Lacking | None:
        """What an unfinished group lacks, and whom it has."""
        tangle = self.tangles.get(native)
        if tangle is None:
            return None
        return Lacking(tangle.assembly.lacking, tuple(self.names[s.place] for s in tangle.sources))

    def _blame(self, tangles: Sequence[Tangle], blame: Blame) -> None:
        draft = Draft(blame.kind, blame.rule, blame.other, detail=blame.detail)
        for tangle in tangles:
            draft.official.update(dict.fromkeys(self.names[s.place] for s in tangle.sources))
            draft.native[tangle.target] = None
            self.free.pop(tangle.target, None)
        forms = {shape_of_name(name)[0] for name in blame.meant_for}
        meant = [name for name in self.free if shape_of_name(name)[0] in forms]
        draft.native.update(dict.fromkeys(meant))
        self._fill(meant)
        self.drafts.append(draft)

    def _of_wrong_shape(self) -> None:
        drafts: dict[int | None, Draft] = {}
        for fault in self.misshapen.values():
            path = self.ways[fault.places[-1]].path
            rule = path[-1] if path else None
            draft = drafts.setdefault(rule, Draft("shape", rule))
            names = tuple(self.names[place] for place in fault.places)
            draft.official.update(dict.fromkeys(names))
            draft.native[fault.native] = None
            draft.shapes.append(ShapeFault(fault.native, names, fault.expected, fault.found))
        self.drafts.extend(drafts.values())

    def _of_wrong_kind(self) -> None:
        drafts: dict[int | None, Draft] = {}
        for part in self.evidence.landed:
            for fault in part.miscast:
                path = self.ways[fault.places[-1]].path
                rule = path[-1] if path else None
                draft = drafts.setdefault(rule, Draft("dtype", rule))
                draft.official.update(dict.fromkeys(self.names[place] for place in fault.places))
                draft.native[fault.native] = None
                draft.detail = draft.detail or f"{fault.found} where the port has {fault.expected}"
        self.drafts.extend(drafts.values())

    def _never_filled(self) -> None:
        if self.evidence.unsure:
            return
        for _, names in bundle((owner(name), name) for name in self.free).items():
            draft = Draft("missing", None)
            draft.native.update(dict.fromkeys(names))
            self.drafts.append(draft)

    # ------------------------------------------------------------------ settling

    def _fill(self, names: Iterable[str]) -> None:
        """Take parameters from those without a cause, with the unfinished groups that lack them."""
        free, tangles = self.free, self.tangles
        for name in names:
            free.pop(name, None)
            if name in tangles and not tangles[name].assembly.used:
                del tangles[name]

    def _settle(self, place: int, target: str) -> None:
        """Take a name that became `target` from those without a cause; whom it disturbed may be sound
        without it."""
        if self.lost.pop(place, None) is not None and target not in self.tangles:
            return
        self.misshapen.pop(target, None)
        tangle = self.tangles.get(target)
        if tangle is None:
            return
        rest = [(s, path) for s, path in zip(tangle.sources, tangle.paths, strict=True) if s.place != place]
        assembly = assemble([source for source, _ in rest])
        if not rest or assembly.is_clean:
            del self.tangles[target]
        else:
            sources: tuple[Source, ...] = tuple(source for source, _ in rest)
            self.tangles[target] = Tangle(target, sources, tuple(path for _, path in rest), assembly)


_RULES_THAT_AGREE = 2
"""A list member is what the port lacks where so many rules (or none) lead there; else the rule is wrong."""


def _member(name: str) -> tuple[str, str] | None:
    """The first list of a name and its number there."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal() and place:
            return ".".join(parts[:place]), part
    return None


def _has(name: str, components: str) -> bool:
    """Whether a name has these components in a row, `*` for numbers."""
    return f".{components}." in f".{shape_of_name(name)[0]}."


def _alone(lost: Lost, partner: Empty) -> bool:
    """Whether names may fill parameters without others."""
    return not partner.partly and fits(lost.shapes[0], partner.rooms[0])


def _of_these_blocks(natives: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """The parameters of the blocks that the names are of, where that can be told."""
    blocks = {shape_of_name(name)[1][:1] for name in names}
    found = [native for native in natives if shape_of_name(native)[1][:1] in blocks]
    return found if len(found) == len(names) else natives


def _cause(lost: Lost, partner: Empty | None, other: int | None) -> object:
    """What names that no rule takes have in common: the change of name that one rule would make."""
    if partner is None:
        return (other, lost.target, owner(lost.source))
    return (other, *core(lost.source, partner.template)[1:])
