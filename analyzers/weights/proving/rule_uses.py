"""What each rule of a mapping does to a checkpoint's names, and why one does nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import partial

from analyzers.weights.mapping.renaming import Renaming, positions
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.mapping.syntax import Node, constants
from analyzers.weights.recent import Keep
from analyzers.weights.state import GatedNames
from analyzers.weights.verdicts import RuleUse

_MOST_MATCHED = 256
"""A pattern for the names that a rule may make is put to at most so many gated names of one setting."""


def uses_of(
    renaming: Renaming,
    rules: Sequence[SymbolicRule],
    gated: Sequence[GatedNames],
    natives: Collection[str],
    keep: Keep,
    key: object,
) -> tuple[RuleUse, ...]:
    """The uses of all rules, in order. `natives`: the port's names as it is configured. `key` stands for the
    names of both sides in the questions put to `keep`."""
    uses: list[RuleUse] = []
    for position, rule in enumerate(rules):
        reached, taken = renaming.reached[position], renaming.taken[position]
        by = _takers(renaming, reached, position) if reached and not taken else ()
        why = renaming.why.get(position, "")
        if position in renaming.raising:
            why = why or f"`re` rejects what it writes: {renaming.raising[position][1]}"
        why = why or _left_open(renaming, by)
        question = ("use", key, position, rule, reached, taken, by, why, tuple(gated))
        use = partial(_use, renaming, position, rule, reached, taken, by, why, gated, natives)
        uses.append(keep(question, use))
    return tuple(uses)


def _use(
    renaming: Renaming,
    position: int,
    rule: SymbolicRule,
    reached: int | None,
    taken: int,
    by: tuple[int, ...],
    why: str,
    gated: Sequence[GatedNames],
    natives: Collection[str],
) -> RuleUse:
    names = tuple(renaming.names[place] for place in positions(taken))
    count = (reached or 0).bit_count()
    if why or reached is None:
        return RuleUse(position, names, count, "unknown", why=why)
    if names:
        return RuleUse(position, names, count, "live")
    if by:
        return RuleUse(position, (), count, "shadowed", by)
    if reached:
        # Chained: it matches names that it leaves as they are.
        return RuleUse(position, (), count, "dead", why="it leaves every name that it matches as it is")
    gate = gated_by(rule, gated, natives)
    if gate is not None:
        setting, what = gate
        why = f"{what} with {setting.field} = {setting.value}"
        return RuleUse(position, (), 0, "gated", why=why)
    return RuleUse(position, (), 0, "dead")


def _left_open(renaming: Renaming, by: Sequence[int]) -> str:
    """Why it cannot be told whether names come to a rule, where earlier rules leave that open."""
    for taker in by:
        if taker in renaming.raising:
            return f"the loader stops at rule {taker + 1}, which `re` rejects"
        if taker in renaming.undecided:
            return f"rule {taker + 1} might take its names: {renaming.why[taker]}"
    return ""


def _takers(renaming: Renaming, reached: int, position: int) -> tuple[int, ...]:
    """The rules that take the names that a rule reaches."""
    takers = [i for i, taken in enumerate(renaming.taken) if i != position and taken & reached]
    takers += [i for i, mask in renaming.undecided.items() if i != position and mask & reached]
    takers += [i for i, (mask, _) in renaming.raising.items() if i != position and mask & reached]
    return tuple(sorted(set(takers)))


def gated_by(
    rule: SymbolicRule, gated: Sequence[GatedNames], natives: Collection[str]
) -> tuple[GatedNames, str] | None:
    """The setting under which a rule has something to do that it has not now, and what that is: official
    names that its pattern matches, or parameters that it alone may make."""
    pattern, made = rule.parsed, made_pattern(rule)
    if pattern is not None and not pattern.is_costly:
        match = pattern.compiled.match
        for setting in gated:
            if any(match(tensor.name) for tensor in (setting.official or ())[:_MOST_MATCHED]):
                return setting, "the official names have what it matches"
    if made is None:
        return None
    for setting in gated:
        if any(made.fullmatch(tensor.name) for tensor in setting.tensors[:_MOST_MATCHED]):
            if any(map(made.fullmatch, natives)):
                return None  # what it makes is there without the setting: that is not what it waits for
            return setting, "the port has what it makes"
    return None


def made_pattern(rule: SymbolicRule) -> re.Pattern[str] | None:
    """A pattern for every name that a rule may make, and perhaps more; None where it cannot be read."""
    pattern, template = rule.parsed, rule.template
    if pattern is None or template is None:
        return None
    parts: list[str] = []
    for part in template.parts:
        if isinstance(part, str):
            parts.append(re.escape(part))
        else:
            node = pattern.groups.get(part)
            parts.append(r"\d+" if node is not None and _is_digits(tuple(node[1][3])) else ".*")
    if not pattern.takes_the_rest or pattern.matches_behind:
        parts.append(".*")
    return re.compile(_WILD.sub(".*", "".join(parts)), re.DOTALL)


_WILD = re.compile(r"(?:\.\*){2,}")


def _is_digits(nodes: Sequence[Node]) -> bool:
    if len(nodes) != 1 or nodes[0][0] not in (constants.MAX_REPEAT, constants.MIN_REPEAT):
        return False
    inner = list(nodes[0][1][2])
    return inner == [(constants.IN, [(constants.CATEGORY, constants.CATEGORY_DIGIT)])]
