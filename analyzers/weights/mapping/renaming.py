"""What the rules of a mapping make of real names, exactly as the code base's loader does it.

`first-match` is FastVideo's `get_param_names_mapping` (`fastvideo/models/loader/utils.py`): the first
pattern that `re.match` accepts decides, `re.sub` replaces every occurrence, and a name that no pattern
matches stays as it is, silently. `chained` is SGLang's function of the same name
(`sglang/multimodal_gen/runtime/loader/utils.py`): every new name is put to the rules again, each is used
once, one that changes nothing is passed over, the last merge on the way counts, a name seen before ends
the chain, and names that the model has (`valid`) end it earlier.

Many names are handled at once: positions in a state dict are the bits of an integer, so that an edit
of one rule costs that rule's own names and a few operations on integers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from analyzers.project.profiles.base import MappingSemantics
from analyzers.weights.mapping.languages import Languages, TooLarge
from analyzers.weights.mapping.patterns import Pattern, matched_names, parse_pattern
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.mapping.syntax import Unsupported
from analyzers.weights.recent import Keep, no_keeping


@dataclass(frozen=True)
class Renamed:
    """What becomes of one name. `rules`: those that rewrote it, in order; `merge`: index and n."""

    target: str
    rules: tuple[int, ...] = ()
    merge: tuple[int, int] | None = None


def rename(
    name: str,
    rules: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    valid: Collection[str] | None = None,
) -> Renamed:
    """What the loader makes of one name. `valid`: the names of the model, which chained rules heed.

    Raises `re.error` or `IndexError` where the loader does (a pattern or target that `re` rejects), and
    ValueError for a rule that cannot be read. Costly patterns are run: see `Renaming` for many names.
    """
    if semantics == "first-match":
        return _first_match(name, rules)
    return _back_to_source(name, _chained(name, rules, valid), valid)


def _first_match(name: str, rules: Sequence[SymbolicRule]) -> Renamed:
    for position, rule in enumerate(rules):
        pattern, target = _texts(rule)
        if re.match(pattern, name):
            return Renamed(re.sub(pattern, target, name), (position,), rule.merge)
    return Renamed(name)


def _chained(name: str, rules: Sequence[SymbolicRule], valid: Collection[str] | None) -> Renamed:
    current = Renamed(name)
    visited = {name}
    kept: Renamed | None = None
    for _ in range(max(8, len(rules) * 2)):
        following = _step(current, rules)
        if following is None:
            break
        current = following
        if valid is not None and current.target in valid:
            kept = current
        if current.target in visited:
            break
        visited.add(current.target)
    if current.target and kept is not None and valid is not None and current.target not in valid:
        return kept
    return current


def _step(current: Renamed, rules: Sequence[SymbolicRule]) -> Renamed | None:
    for position, rule in enumerate(rules):
        pattern, target = _texts(rule)
        if position in current.rules or re.match(pattern, current.target) is None:
            continue
        made = re.sub(pattern, target, current.target)
        if made != current.target:
            return Renamed(made, (*current.rules, position), rule.merge or current.merge)
    return None


def _back_to_source(name: str, made: Renamed, valid: Collection[str] | None) -> Renamed:
    """SGLang's `hf_to_custom_state_dict` keeps a name that the model has over one that it has not."""
    if valid is not None and made.target != name and name in valid and made.target not in valid:
        return Renamed(name)
    return made


def _texts(rule: SymbolicRule) -> tuple[str, str]:
    if rule.pattern is None or rule.target is None:
        raise ValueError(f"rule cannot be read: {rule.pattern!r} -> {rule.target!r}")
    return rule.pattern, rule.target


# --------------------------------------------------------------------------- many names


@dataclass(frozen=True)
class Share:
    """The names that went one way through the rules.

    `mask`: their positions as bits; `targets`: the name made of each, by position, for these and perhaps
    for others that the last rule matches. `key`: equal for equal contents.
    """

    path: tuple[int, ...]
    merge: tuple[int, int] | None
    mask: int
    targets: Mapping[int, str]
    key: object


@dataclass(frozen=True)
class Renaming:
    """What the rules make of all names of a state dict.

    `reached`: for each rule the names that its pattern matches (first-match: of all names; chained: of
    the names that came to it), None for a rule that was not tried, for the reason in `why`. `taken`:
    those that it rewrote. `undecided`: for each such rule the names that it might take. `raising`: for
    each rule whose pattern or target `re` rejects, the names at which the loader would raise, and the
    error's words.
    `left`: names that no rule matches.
    """

    names: tuple[str, ...]
    shares: tuple[Share, ...]
    reached: tuple[int | None, ...]
    taken: tuple[int, ...]
    left: int
    undecided: Mapping[int, int]
    raising: Mapping[int, tuple[int, str]]
    why: Mapping[int, str]


def rename_all(
    names: tuple[str, ...],
    digest: str,
    rules: Sequence[SymbolicRule],
    semantics: MappingSemantics,
    *,
    valid: Collection[str] | None = None,
    keep: Keep = no_keeping,
) -> Renaming:
    """What the rules make of all names. `digest` stands for the names in the questions put to `keep`."""
    table = _Table(names, digest, keep)
    if semantics == "first-match":
        return _all_by_first_match(table, rules)
    return _all_chained(table, rules, valid)


def positions(mask: int) -> Iterator[int]:
    """The bits of a mask, lowest first."""
    place = 0
    for byte in mask.to_bytes((mask.bit_length() + 7) // 8, "little"):
        if byte:
            for bit in _BITS[byte]:
                yield place + bit
        place += 8


_BITS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))


def as_mask(places: Collection[int], size: int) -> int:
    """The positions as bits of an integer."""
    bits = bytearray(size // 8 + 1)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(bits, "little")


def common_beginning(names: Collection[str]) -> str:
    """The text that all names begin with."""
    if not names:
        return ""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:same] if same is not None else min(first, last, key=len)


@dataclass(frozen=True)
class _Batch:
    """Names by position, and what they all begin with."""

    key: object
    names: Mapping[int, str]
    prefix: str


@dataclass(frozen=True)
class _Table:
    names: tuple[str, ...]
    digest: str
    keep: Keep

    @property
    def start(self) -> _Batch:
        """The names as they are in the checkpoint."""
        return self.keep(
            ("batch", self.digest),
            lambda: _Batch((self.digest,), dict(enumerate(self.names)), common_beginning(self.names)),
        )

    def matches(self, batch: _Batch, pattern: Pattern) -> int:
        """The names of a batch that a pattern matches."""
        begins = pattern.prefix
        if not (batch.prefix.startswith(begins) or begins.startswith(batch.prefix)):
            return 0
        return self.keep(("matches", batch.key, pattern.text), lambda: self._matches(batch, pattern))

    def _matches(self, batch: _Batch, pattern: Pattern) -> int:
        match, begins = pattern.compiled.match, pattern.prefix
        found = [
            place
            for place, name in batch.names.items()
            if name.startswith(begins) and match(name) is not None
        ]
        return as_mask(found, len(self.names))

    def made(self, batch: _Batch, pattern: Pattern, target: str, among: int) -> Mapping[int, str]:
        """The new names of those that the pattern matches. Raises as `re.sub` does."""
        sub = pattern.compiled.sub
        return self.keep(
            ("made", batch.key, pattern.text, target),
            lambda: {place: sub(target, batch.names[place]) for place in positions(among)},
        )

    def perhaps(self, batch: _Batch, rule: SymbolicRule) -> int:
        """The names that a costly pattern might match, decided by its language where it has one."""
        begun = [place for place, name in batch.names.items() if name.startswith(_prefix(rule))]
        languages = Languages()
        pattern = Pattern(rule.pattern or "")
        try:
            language = matched_names(languages, pattern)
            begun = [place for place in begun if languages.contains(language, batch.names[place])]
        except (Unsupported, TooLarge):
            pass  # any of them, then
        return as_mask(begun, len(self.names))


def _prefix(rule: SymbolicRule) -> str:
    pattern = parse_pattern(rule.pattern) if rule.pattern is not None else None
    return pattern.prefix if pattern is not None else ""


@dataclass
class _Findings:
    """What is found out about the rules while names are put to them."""

    reached: list[int | None]
    taken: list[int]
    undecided: dict[int, int] = field(default_factory=dict)
    raising: dict[int, tuple[int, str]] = field(default_factory=dict)
    why: dict[int, str] = field(default_factory=dict)

    def raises(self, position: int, names: int, error: Exception) -> None:
        """Note that the loader raises at a rule."""
        known, words = self.raising.get(position, (0, str(error)))
        self.raising[position] = (known | names, words)

    def is_unsure(self, position: int, names: int, why: str) -> None:
        """Note names whose fate a rule leaves open."""
        if names:
            self.undecided[position] = self.undecided.get(position, 0) | names
        self.why[position] = why


def _ask(
    table: _Table, batch: _Batch, position: int, rule: SymbolicRule, live: int, found: _Findings
) -> tuple[int, Mapping[int, str]]:
    """The live names that a rule decides, and what it makes of them.

    What it might decide, or would raise at, is noted; these names are in the first answer too.
    """
    if rule.pattern is None:
        found.is_unsure(position, live, "the rule cannot be read")
        found.reached[position] = None
        return live, {}
    pattern = rule.parsed
    if pattern is None:
        return _unusual(table, batch, position, rule, live, found)
    matched = table.matches(batch, pattern)
    found.reached[position] = (found.reached[position] or 0) | matched
    decided = matched & live
    if not decided:
        return 0, {}
    if rule.target is None:
        found.is_unsure(position, decided, "what the rule writes cannot be read")
        return decided, {}
    try:
        made = table.made(batch, pattern, rule.target, matched)
    except (re.error, IndexError) as error:
        found.raises(position, decided, error)
        return decided, {}
    if rule.conditional:
        found.is_unsure(position, decided, "the rule is there on some paths only")
        return decided, {}
    return decided, made


def _unusual(
    table: _Table, batch: _Batch, position: int, rule: SymbolicRule, live: int, found: _Findings
) -> tuple[int, Mapping[int, str]]:
    """The same for a pattern that `re` rejects, or that is too costly to be run."""
    found.reached[position] = None
    try:
        Pattern(rule.pattern or "").compiled  # noqa: B018
    except (re.error, OverflowError, RecursionError) as error:
        if live:
            found.raises(position, live, error)
        found.why[position] = f"`re` rejects the pattern: {error}"
        return live, {}
    possible = table.keep(("perhaps", batch.key, rule.pattern), lambda: table.perhaps(batch, rule)) & live
    found.is_unsure(position, possible, "the pattern may take too long to match, so it was not tried")
    return possible, {}


def _all_by_first_match(table: _Table, rules: Sequence[SymbolicRule]) -> Renaming:
    found = _Findings([0] * len(rules), [0] * len(rules))
    live = (1 << len(table.names)) - 1
    batch = table.start
    shares: list[Share] = []
    for position, rule in enumerate(rules):
        decided, made = _ask(table, batch, position, rule, live, found)
        live &= ~decided
        if made:
            found.taken[position] = decided
            key = (batch.key, rule.pattern, rule.target, rule.merge, decided)
            shares.append(Share((position,), rule.merge, decided, made, key))
    if live:
        shares.append(Share((), None, live, batch.names, (batch.key, live)))
    return _result(table, shares, found, live)


def _all_chained(table: _Table, rules: Sequence[SymbolicRule], valid: Collection[str] | None) -> Renaming:
    found = _Findings([0] * len(rules), [0] * len(rules))
    chains = _Chains(table, rules, found)
    chains.advance((table.start,), (), None, (1 << len(table.names)) - 1)
    shares = chains.ended
    if valid is not None:
        shares = [adjusted for share in shares for adjusted in chains.ending_earlier(share, valid)]
    left = 0
    for share in shares:
        left |= share.mask if not share.path else 0
    return _result(table, shares, found, left)


@dataclass
class _Chains:
    """The ways of names through chained rules, names on the same way handled together."""

    table: _Table
    rules: Sequence[SymbolicRule]
    found: _Findings
    ended: list[Share] = field(default_factory=list)
    batches: dict[tuple[int, ...], tuple[_Batch, ...]] = field(default_factory=dict)

    def advance(
        self, way: tuple[_Batch, ...], path: tuple[int, ...], merge: tuple[int, int] | None, live: int
    ) -> None:
        """Put the live names of the last batch to the rules that they have not used."""
        batch = way[-1]
        self.batches[path] = way
        for position, rule in enumerate(self.rules):
            if not live or position in path:
                continue
            decided, made = _ask(self.table, batch, position, rule, live, self.found)
            if decided and not made:
                live &= ~decided
                continue
            changed = [place for place in positions(decided) if made[place] != batch.names[place]]
            if not changed:
                continue
            moving = as_mask(changed, len(self.table.names))
            live &= ~moving
            self.found.taken[position] |= moving
            self._go_on(way, path, merge, position, moving, made)
        if live:
            self._end(path, merge, live)

    def _go_on(
        self,
        way: tuple[_Batch, ...],
        path: tuple[int, ...],
        merge: tuple[int, int] | None,
        position: int,
        moving: int,
        made: Mapping[int, str],
    ) -> None:
        rule = self.rules[position]
        following = self.table.keep(
            ("batch", way[-1].key, rule.pattern, rule.target),
            lambda: _Batch((way[-1].key, rule.pattern, rule.target), made, common_beginning(made.values())),
        )
        circling = [place for place in positions(moving) if any(b.names[place] == made[place] for b in way)]
        path, merge = (*path, position), rule.merge or merge
        way = (*way, following)
        if circling:
            mask = as_mask(circling, len(self.table.names))
            self.batches[path] = way
            self._end(path, merge, mask)
            moving &= ~mask
        if moving:
            self.advance(way, path, merge, moving)

    def _end(self, path: tuple[int, ...], merge: tuple[int, int] | None, mask: int) -> None:
        batch = self.batches[path][-1]
        self.ended.append(Share(path, merge, mask, batch.names, (batch.key, merge, mask)))

    def ending_earlier(self, share: Share, valid: Collection[str]) -> Iterator[Share]:
        """The share, without the names for which the loader goes back on the way to one that the
        model has."""
        lost = [place for place in positions(share.mask) if share.targets[place] not in valid]
        earlier: dict[int, list[int]] = {}
        for place in lost:
            step = self._last_valid(share, place, valid)
            if step is not None:
                earlier.setdefault(step, []).append(place)
        mask = share.mask
        for step, places in earlier.items():
            part = as_mask(places, len(self.table.names))
            mask &= ~part
            path = share.path[:step]
            batch = self.batches[share.path][step]
            merges = [self.rules[position].merge for position in path]
            merge = next((merge for merge in reversed(merges) if merge is not None), None)
            yield Share(path, merge, part, batch.names, (batch.key, merge, part))
        if mask:
            yield Share(share.path, share.merge, mask, share.targets, (share.key, mask))

    def _last_valid(self, share: Share, place: int, valid: Collection[str]) -> int | None:
        """How many rules of the path the loader lets stand for a name; None for all of them."""
        way = self.batches[share.path]
        if share.targets[place]:
            for step in range(len(share.path), 0, -1):
                if way[step].names[place] in valid:
                    return step
        return 0 if share.path and way[0].names[place] in valid else None


def _result(table: _Table, shares: Sequence[Share], found: _Findings, left: int) -> Renaming:
    return Renaming(
        table.names,
        tuple(shares),
        tuple(found.reached),
        tuple(found.taken),
        left,
        found.undecided,
        found.raising,
        found.why,
    )
