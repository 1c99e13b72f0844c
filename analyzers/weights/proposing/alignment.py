"""Which rules a mapping lacks: official names without a place, aligned with parameters without a source.

Both sides are taken family by family (see `families`). Only families of equal shapes, tensor by tensor, can
belong together; several official families can make one fused parameter. Among those, names decide: what
their parts mean (`vocabulary`), what the mapping calls them elsewhere, and where their siblings go. The
assignment is the best one as a whole, and each pair says how much would be lost without it: pairs that
could as well be others are no proposal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.proposing.assignment import assign
from analyzers.weights.proposing.evidence import Neighbours
from analyzers.weights.proposing.families import (
    Family,
    Indices,
    Numbering,
    Path,
    Shape,
    Signature,
    behind,
    families,
    module_of,
)
from analyzers.weights.proposing.places import Places, places_of
from analyzers.weights.proposing.vocabulary import (
    STREAMS,
    Concepts,
    Learned,
    concepts,
    contradict,
    similarity,
    weight,
)
from analyzers.weights.state import Tensor

_ROUNDS = 3
"""What a round finds teaches the next one."""

_NAME, _CONTEXT, _FIT = 0.55, 0.4, 0.05
"""What a score is made of: the name itself, where its siblings go, and that the shapes fit."""

_OWN = 0.75
"""How much of a name's likeness is that of its part inside a block."""

_FUSED = 0.15
"""On top of a score where several add up: that their rows do is no coincidence."""

_OTHER_LEAF = 0.3
"""Off a score where a weight would become a bias, or a table a weight."""

_CONTRADICTED = 0.25
"""Off a score where names contradict each other."""

_CERTAIN_MARGIN, _CERTAIN_SCORE = 0.06, 0.25
"""A pair is certain where the whole assignment loses so much without it, and its own score is so high."""

_TELLING = 0.5
"""The weight of a word that names may differ in."""

_NOTHING_ALIKE = 0.15
"""Names with so little in common say nothing for a pair."""

_HABIT = 0.34
"""A word that one side leaves out in so many of the known pairs is left out by habit."""


@dataclass(frozen=True)
class Match:
    """An official family, or several in merge order, and the native one that they make.

    `score` and `margin`: 0 to 1. `rival`: what the official side would take instead, as text.
    `contradicts`: the shapes fit, and the names say that they are not the same. `supported`: something
    beyond the shapes speaks for it (see `evidence`).
    """

    official: tuple[Family, ...]
    native: Family
    score: float
    margin: float
    rival: str | None
    contradicts: bool = False
    supported: bool = True

    @property
    def certain(self) -> bool:
        """Whether it may be proposed without doubt."""
        return self.likely and self.supported

    @property
    def likely(self) -> bool:
        """Whether it is the best by far, and its names do not contradict each other."""
        return self.margin >= _CERTAIN_MARGIN and self.score >= _CERTAIN_SCORE and not self.contradicts


@dataclass(frozen=True)
class Alignment:
    """What belongs together of what has no place. `splits`: official families that several native ones
    make up, which no rule can express."""

    matches: tuple[Match, ...]
    splits: tuple[tuple[Family, tuple[Family, ...]], ...]


@dataclass(frozen=True)
class _Candidate:
    """What could make a native family: one official family, or several in merge order."""

    members: tuple[Family, ...]
    signature: Signature
    path: Path
    concepts: Concepts


def align(
    official: Sequence[Tensor],
    native: Sequence[Tensor],
    rules: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    excluded: Collection[str] = frozenset(),
) -> Alignment:
    """Aligns what the rules leave without a place.

    `official`, `native`: all tensors of both sides. `excluded`: names of either side that need none.
    """
    places = places_of(official, native, rules, semantics, excluded)
    return _Aligner(places).align()


class _Aligner:
    def __init__(self, places: Places) -> None:
        numbering = Numbering(places.official)
        native_numbering = Numbering(places.native)
        self._places = places
        self._free = families(places.unplaced, numbering)
        self._waiting = families(places.waiting, numbering)
        self._open = families(places.unfilled, native_numbering)
        known = {
            (module_of(numbering.path(source)[0]), module_of(native_numbering.path(target)[0]))
            for source, target in places.working.items()
        }
        self._known = sorted(known)
        self._given = _given(places, self._open, numbering)

    def align(self) -> Alignment:
        matches: tuple[Match, ...] = ()
        for _ in range(_ROUNDS):
            taught = [
                (member.path, match.native.path)
                for match in matches
                if match.certain
                for member in match.official
            ]
            matches = self._matched(_Judge([*self._known, *taught]))
        matches = self._weighed(matches)
        used = {id(member) for match in matches for member in match.official}
        filled = {id(match.native) for match in matches}
        left = tuple(family for family in self._free if id(family) not in used)
        gaps = tuple(family for family in self._open if id(family) not in filled)
        return Alignment(matches, tuple(_splits(left, gaps)))

    def _weighed(self, matches: Sequence[Match]) -> tuple[Match, ...]:
        """The matches, each told whether it has support: all of them speak for and against each other."""
        likely = [
            (member.path, match.native.path) for match in matches if match.likely for member in match.official
        ]
        beside = Neighbours([*self._known, *likely])
        return tuple(
            replace(
                match,
                supported=match.supported
                and not any(
                    beside.speak_against(member.path, match.native.path) for member in match.official
                ),
            )
            for match in matches
        )

    def _matched(self, judge: _Judge) -> tuple[Match, ...]:
        """First what several official families make, then one to one what is left."""
        single: dict[Signature, list[_Candidate]] = {}
        for family in self._free:
            single.setdefault(_plain(family.signature), []).append(_alone(family))
        fused_targets = [
            family
            for family in self._open
            if id(family) in self._given or _plain(family.signature) not in single or _says_fused(family)
        ]
        fused = list(self._fused(fused_targets))
        matches = self._solve(fused, fused_targets, judge)
        used = {id(member) for match in matches for member in match.official}
        filled = {id(match.native) for match in matches}
        alone = [_alone(family) for family in self._free if id(family) not in used]
        targets = [f for f in self._open if id(f) not in filled and id(f) not in self._given]
        return (*matches, *self._solve(alone, targets, judge))

    def _solve(
        self, candidates: Sequence[_Candidate], targets: Sequence[Family], judge: _Judge
    ) -> tuple[Match, ...]:
        by_signature: dict[Signature, tuple[list[_Candidate], list[Family]]] = {}
        for candidate in candidates:
            by_signature.setdefault(candidate.signature, ([], []))[0].append(candidate)
        for target in targets:
            by_signature.setdefault(_plain(target.signature), ([], []))[1].append(target)
        found: list[Match] = []
        for some, others in by_signature.values():
            if not some or not others:
                continue
            scores = [
                [judge.score(one, two) if self._may_make(one, two) else 0.0 for two in others] for one in some
            ]
            for pair in assign(scores):
                rival = others[pair.rival].dotted if pair.rival is not None else None
                score = scores[pair.row][pair.column]
                one, two = some[pair.row], others[pair.column]
                against = judge.contradicts(one, two)
                akin = judge.akin(one, two)
                found.append(Match(one.members, two, score, pair.margin, rival, against, akin))
        return _without_repeats(found)

    def _may_make(self, candidate: _Candidate, target: Family) -> bool:
        """Whether the members that have a rule already are those that give to this very target."""
        given = self._given.get(id(target), {})
        waiting = {id(family) for family in self._waiting}
        for index, member in enumerate(candidate.members):
            if index in given and given[index] != member.path:
                return False
            if index not in given and id(member) in waiting:
                return False
        return not given or max(given) < len(candidate.members)

    def _fused(self, targets: Sequence[Family]) -> Iterator[_Candidate]:
        if not targets:
            return
        by_context: dict[tuple[str, str], dict[str, Family]] = {}
        for family in (*self._free, *self._waiting):
            role = _role(family)
            if role is not None:
                by_context.setdefault(role[1:], {})[role[0]] = family
        wanted = {_plain(target.signature) for target in targets}
        for roles in by_context.values():
            for order in _ORDERS:
                members = [roles[role] for role in order if role in roles]
                if len(members) < len(order):
                    continue
                yield from _composed(members, wanted)
                if order == ("q", "k", "v"):
                    for other in (*self._free, *self._waiting):
                        if other.head == members[0].head and other not in members:
                            yield from _composed([*members, other], wanted)


_ORDERS = (("q", "k", "v"), ("k", "v"), ("q", "k"), ("gate", "up"))

_ROLES: tuple[tuple[re.Pattern[str], Mapping[str, str]], ...] = (
    (re.compile(r"(?<![a-z])(q|k|v)(?![a-z])"), {}),
    (re.compile(r"(?<![a-z])(query|key|value)(?![a-z])"), {"query": "q", "key": "k", "value": "v"}),
    (re.compile(r"(?<![a-z])w(q|k|v)(?![a-z])"), {}),
    (re.compile(r"(?<![a-z])(gate|up)(?![a-z])"), {}),
    (re.compile(r"(?<![a-z])(w1|w3)(?!\d)"), {"w1": "gate", "w3": "up"}),
)


def _role(family: Family) -> tuple[str, str, str] | None:
    """Which part of a fused parameter a family is (`q`, `gate`), and the path without that word."""
    if all(len(shape) < 2 for leaf, _, shape in family.signature if leaf != "bias"):
        return None
    for number, (pattern, words) in enumerate(_ROLES):
        text = family.dotted
        if all_found := list(pattern.finditer(text)):
            found = all_found[-1]
            context = f"{text[: found.start()]}*{text[found.end() :]}"
            return words.get(found[1], found[1]), str(number), context
    return None


def _composed(members: Sequence[Family], wanted: Collection[Signature]) -> Iterator[_Candidate]:
    """The candidate of these members, concatenated on dimension 0, where something has its shapes."""
    first = members[0]
    parts: set[tuple[str, Indices, Shape]] = set()
    for leaf, indices in first.tensors:
        shapes = []
        for member in members:
            tensor = member.tensors.get((leaf, indices))
            if tensor is None or not tensor.shape:
                return
            shapes.append(tensor.shape)
        if any(shape[1:] != shapes[0][1:] for shape in shapes):
            return
        parts.add((leaf, indices, (sum(shape[0] for shape in shapes), *shapes[0][1:])))
    if any(len(member.tensors) != len(first.tensors) for member in members):
        return
    signature = _plain(frozenset(parts))
    if signature in wanted:
        said: frozenset[str] = frozenset().union(*(concepts(_tail(member)) for member in members))
        yield _Candidate(tuple(members), signature, first.path, said)


def _says_fused(family: Family) -> bool:
    said = concepts(family.tail)
    return {"q", "k"} <= said or {"k", "v"} <= said or {"gate", "up"} <= said


def _alone(family: Family) -> _Candidate:
    return _Candidate((family,), _plain(family.signature), family.path, concepts(_tail(family)))


def _tail(family: Family) -> Path:
    return family.tail or family.path


def _plain(signature: Signature) -> Signature:
    """A signature for comparison: the name of a lone leaf does not count."""
    if len({leaf for leaf, _, _ in signature}) > 1:
        return signature
    return frozenset(("", indices, shape) for _, indices, shape in signature)


def _without_repeats(matches: Sequence[Match]) -> tuple[Match, ...]:
    """Each official family once: the better match keeps it."""
    used: set[int] = set()
    kept: list[Match] = []
    for match in sorted(matches, key=lambda m: -m.score):
        ids = {id(member) for member in match.official}
        if not ids & used:
            used |= ids
            kept.append(match)
    return tuple(kept)


def _given(places: Places, targets: Sequence[Family], numbering: Numbering) -> dict[int, dict[int, Path]]:
    """By target: which official families give to which index of its merge already."""
    found: dict[int, dict[int, Path]] = {}
    for target in targets:
        for tensor in target.tensors.values():
            for index, source in places.partial.get(tensor.name, {}).items():
                found.setdefault(id(target), {})[index] = module_of(numbering.path(source)[0])
    return found


def _splits(left: Sequence[Family], gaps: Sequence[Family]) -> Iterator[tuple[Family, tuple[Family, ...]]]:
    """Official families whose rows are those of several native ones together."""
    by_context: dict[tuple[str, str], dict[str, Family]] = {}
    for gap in gaps:
        role = _role(gap)
        if role is not None:
            by_context.setdefault(role[1:], {})[role[0]] = gap
    for family in left:
        wanted = {_plain(family.signature)}
        for roles in by_context.values():
            for order in _ORDERS:
                members = [roles[role] for role in order if role in roles]
                if len(members) == len(order) and any(True for _ in _composed(members, wanted)):
                    yield family, tuple(members)


class _Judge:
    """Scores pairs by what the known ones teach."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self._learned = Learned((behind(one), behind(two)) for one, two in pairs)
        self._to_native = _Siblings(pairs)
        self._to_official = _Siblings([(two, one) for one, two in pairs])

    def score(self, candidate: _Candidate, target: Family) -> float:
        """How well a candidate and a native family of equal shapes fit: above 0, at most 1."""
        whole = similarity(concepts(candidate.path), concepts(target.path), self._learned)
        name = self._likeness(candidate, target)
        votes = [
            vote
            for vote in (
                self._to_native.agreement(candidate.path, target.path),
                self._to_official.agreement(target.path, candidate.path),
            )
            if vote is not None
        ]
        context = sum(votes) / len(votes) if votes else whole
        score = _FIT + _NAME * (_OWN * name + (1 - _OWN) * whole) + _CONTEXT * context
        if len(candidate.members) > 1:
            score = min(1.0, score + _FUSED)
        if set(candidate.members[0].leaves) != set(target.leaves):
            score -= _OTHER_LEAF
        if self.contradicts(candidate, target):
            score -= _CONTRADICTED
        return max(score, _FIT / 2)

    def akin(self, candidate: _Candidate, target: Family) -> bool:
        """Whether the names have anything in common, and neither has a mark of a stream that is not known
        to come or go."""
        said, meant = candidate.concepts, concepts(target.tail)
        if candidate.members[0].head and target.head:
            habits = [
                max(
                    [
                        self._learned.dropped(word),
                        *(self._learned.said(word, other) for other in meant - said),
                    ]
                )
                for word in (said - meant) & STREAMS
            ] + [
                max([self._learned.added(word), *(self._learned.said(other, word) for other in said - meant)])
                for word in (meant - said) & STREAMS
            ]
            if any(habit < _HABIT for habit in habits):
                return False
        return len(candidate.members) > 1 or self._likeness(candidate, target) >= _NOTHING_ALIKE

    def contradicts(self, candidate: _Candidate, target: Family) -> bool:
        """Whether the names say that the two are not the same: by their words, or because one has a word
        that has come along everywhere else."""
        if contradict(candidate.path, target.path, fused=len(candidate.members) > 1):
            return True
        if not candidate.members[0].head or not target.head:
            return False  # streams are what the modules of one block are told apart by
        said, meant = candidate.concepts, concepts(target.tail)
        if any(self._learned.keeps(concept) for concept in (said ^ meant) & STREAMS):
            return True
        # A word that means the same on both sides everywhere else, against another such word.
        return all(
            any(weight(word) >= _TELLING and self._learned.keeps(word) for word in lone)
            for lone in (said - meant, meant - said)
        )

    def _likeness(self, candidate: _Candidate, target: Family) -> float:
        """How much the names alone are alike, without the blocks that they stand in."""
        tail = similarity(candidate.concepts, concepts(_tail(target)), self._learned)
        if len(candidate.members) > 1:
            return tail
        one, two = candidate.path, target.path
        if one[-len(two) :] == two or two[-len(one) :] == one:
            return 1.0  # a prefix was taken off
        return (tail + similarity(concepts(_own(one)), concepts(_own(two)), self._learned)) / 2


def _own(path: Path) -> Path:
    """The last component that is a name; the numbers and words behind it that only say which layer of a
    small network it is stay with it (`net.0.proj`)."""
    for place in range(len(path) - 1, 0, -1):
        if not path[place].isdigit() and path[place] not in ("proj", "linear", "net", "mlp", "norm"):
            return path[place:]
    return path


class _Siblings:
    """Where the modules beside a module go."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self._parents: dict[Path, list[tuple[Path, Path, Path]]] = {}
        for one, two in pairs:
            for length in range(1, len(one)):
                self._parents.setdefault(one[:length], []).append((one, two, two[:-1]))

    def agreement(self, one: Path, two: Path) -> float | None:
        """How far `two` stands where those nearest to `one` stand, 0 to 1; None where there are none."""
        for length in range(len(one) - 1, 0, -1):
            beside = [
                parent
                for mate, other, parent in self._parents.get(one[:length], ())
                if mate != one and other != two
            ]
            if beside:
                return sum(_common(parent, two[:-1]) for parent in beside) / len(beside)
        return None


def _common(one: Path, two: Path) -> float:
    longest = max(len(one), len(two))
    if not longest:
        return 1.0
    same = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        same += 1
    return same / longest
