"""What a fault says to a person: counts, two examples at most, and what follows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from analyzers.weights.mapping.renaming import Renaming
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.verdicts import Fault, ShapeFault

if TYPE_CHECKING:
    from analyzers.weights.proving.attribution import Draft
    from analyzers.weights.proving.landing import Landed, Sides

_STOPS = "loading stops with an error"


def told(draft: Draft, rules: Sequence[SymbolicRule], renaming: Renaming) -> Fault:
    """The fault of a draft, with its message and what is likely to mend it."""
    return Fault(
        draft.kind,
        draft.rule,
        tuple(draft.official),
        tuple(draft.native),
        _message(draft, rules, renaming),
        draft.other,
        tuple(draft.shapes),
        _suspected(draft),
        tuple(draft.lacks),
    )


def _message(draft: Draft, rules: Sequence[SymbolicRule], renaming: Renaming) -> str:
    if draft.rule is not None and draft.rule in renaming.raising:
        return (
            f"`re` rejects this rule ({draft.detail}): the loader stops at the first of the "
            f"{_count(draft.official, 'official name')} that get as far ({_examples(draft.official)})"
        )
    if draft.member:
        names = f"{_count(draft.official, 'official name')} ({_examples(draft.official)})"
        return f"{names} belong to {draft.member}: {_STOPS}; the configurations differ in how many there are"
    if draft.early:
        return _too_early(draft, rules)
    if draft.kind == "missing":
        return f"nothing fills {_count(draft.native, 'parameter')} ({_examples(draft.native)}): {_STOPS}"
    if draft.kind == "collision":
        return _collision(draft, rules)
    if draft.kind == "merge":
        return (
            f"{_count(draft.native, 'merged parameter')} ({_examples(draft.native)}) cannot come out right: "
            f"{draft.detail}"
        )
    if draft.kind == "shape":
        return _shapes(draft.shapes)
    if draft.kind == "dtype":
        return (
            f"{_count(draft.official, 'tensor')} ({_examples(draft.official)}) hold {draft.detail}: the cast "
            "of the loader does not bring the values back"
        )
    return _unexpected(draft, rules)


def _unexpected(draft: Draft, rules: Sequence[SymbolicRule]) -> str:
    names = f"{_count(draft.official, 'official name')} ({_examples(draft.official)})"
    empty = ""
    if draft.native:
        stay = "stays" if len(draft.native) == 1 else "stay"
        empty = f", and {_count(draft.native, 'parameter')} ({_examples(draft.native)}) {stay} empty"
    if draft.rule is not None and draft.wrong and draft.other is None:
        return f"{names} {_become(draft)}{empty}: {_STOPS}"
    if draft.rule is not None:
        taken = f", which '{rules[draft.other].pattern}' takes" if draft.other is not None else ""
        return f"this pattern misses {names}{taken}{empty}: {_STOPS}"
    if draft.other is not None:
        return f"'{rules[draft.other].pattern}' does not suit {names}{empty}: {_STOPS}"
    lacks = in_words(draft.lacks)
    if draft.wrong:
        return f"{names} {_become(draft)}, and no rule goes on{empty}{lacks}: {_STOPS}"
    return f"no rule takes {names}, and {has_not(draft.official)}{empty}{lacks}: {_STOPS}"


def _become(draft: Draft) -> str:
    made = _examples(draft.wrong)
    if len(draft.official) == 1:
        return f"becomes a name that the port has not ({made})"
    return f"become names that the port has not ({made})"


def has_not(official: Collection[str]) -> str:
    """That the port has no such names."""
    return f"the port has not {'this name' if len(official) == 1 else 'these names'}"


def lack_of_merge(target: str, indices: Sequence[int], count: int) -> str:
    """Which sources a merge lacks."""
    named = " and ".join(map(str, indices))
    word = "index" if len(indices) == 1 else "indices"
    return f"the merge into '{target}' lacks {word} {named} of {count}"


def in_words(lacks: Collection[str]) -> str:
    """What merges lack, as the end of a sentence."""
    return f" ({'; '.join(lacks)})" if lacks else ""


def _too_early(draft: Draft, rules: Sequence[SymbolicRule]) -> str:
    names = f"{_count(draft.official, 'name')} ({_examples(draft.official)})"
    places = f"({_examples(draft.native)})"
    if draft.other is None:
        need = "need" if len(draft.official) > 1 else "needs"
        them = "them as they are" if len(draft.official) > 1 else "it as it is"
        return f"takes {names} that {need} no rule: the port has {them}; {_STOPS}"
    pattern = rules[draft.other].pattern
    return f"takes {names} before '{pattern}', which would bring them to their place {places}: {_STOPS}"


def _collision(draft: Draft, rules: Sequence[SymbolicRule]) -> str:
    with_ = f" with '{rules[draft.other].pattern}'" if draft.other is not None else ""
    return (
        f"{_count(draft.official, 'name')} ({_examples(draft.official)}) meet{with_} at "
        f"{_examples(draft.native)}: the later one overwrites the other without a word"
    )


def _shapes(shapes: Sequence[ShapeFault]) -> str:
    first = shapes[0]
    found = "tensors that cannot be concatenated" if first.found is None else str(list(first.found))
    more = f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""
    return f"{first.native} is {list(first.expected)} and gets {found}{more}: {_STOPS}"


def main_fact(
    sides: Sides,
    renaming: Renaming,
    landed: Sequence[Landed],
    empty: Collection[str],
    faults: Sequence[Fault],
) -> str:
    """What is broken, in one sentence without a full stop: how many names, and by which rules."""
    if renaming.raising:
        rule, (mask, error) = min(renaming.raising.items())
        reached = f"{mask.bit_count()} official names come to it"
        return f"the loader stops at rule {rule + 1}: `re` rejects it ({error}), and {reached}"
    names, natives = len(sides.official.tensors), len(sides.natives)
    lost = sum(len(part.unexpected) for part in landed)
    tangled = sum(len(part.tangles) for part in landed)
    unfinished = sum(not tangle.assembly.used for part in landed for tangle in part.tangles)
    misshapen = [fault for part in landed for fault in part.misshapen]
    miscast = [fault for part in landed for fault in part.miscast]
    facts: list[str] = []
    if lost:
        facts.append(f"{lost} of {names} official names {'has' if lost == 1 else 'have'} no place")
    if empty:
        facts.append(f"{len(empty)} of {natives} parameters {'stays' if len(empty) == 1 else 'stay'} empty")
    if unfinished:
        facts.append(
            f"{unfinished} merge{'' if unfinished == 1 else 's'} never complete{'s' * (unfinished == 1)}"
        )
    if tangled - unfinished:
        which = "a parameter gets" if tangled - unfinished == 1 else f"{tangled - unfinished} parameters get"
        facts.append(f"{which} what several names are sent to")
    if misshapen:
        more = f" (and {len(misshapen) - 1} more)" if len(misshapen) > 1 else ""
        found = misshapen[0].found
        got = "tensors that cannot be concatenated" if found is None else str(list(found))
        facts.append(f"{misshapen[0].native} is {list(misshapen[0].expected)} and gets {got}{more}")
    if miscast:
        more = f" (and {len(miscast) - 1} more)" if len(miscast) > 1 else ""
        facts.append(f"{miscast[0].native} is {miscast[0].expected} and gets {miscast[0].found}{more}")
    return _listed(facts) + _by_whom(faults)


def _by_whom(faults: Sequence[Fault]) -> str:
    """The rules that caused it, where rules caused all of it."""
    rules = sorted({fault.rule for fault in faults if fault.rule is not None})
    if not rules or any(fault.rule is None for fault in faults):
        return ""
    named = [str(rule + 1) for rule in rules[:_MOST_RULES]]
    if len(rules) > _MOST_RULES:
        named.append(f"{len(rules) - _MOST_RULES} more")
    return f": by {'rule' if len(rules) == 1 else 'rules'} {_listed(named)}"


_MOST_RULES = 3


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else "".join(items)


def _suspected(draft: Draft) -> str:
    if draft.kind == "merge":
        return "fuse"
    if draft.kind == "shape":
        return _of_shapes(draft.shapes)
    if draft.kind == "dtype":
        return "unknown"
    if draft.member:
        return "config"
    if draft.official and draft.native:
        return "rename"
    if draft.kind == "unexpected":
        return "rename" if draft.rule is not None else "skip"
    return "rename" if draft.kind == "collision" else "unknown"


def _of_shapes(shapes: Sequence[ShapeFault]) -> str:
    """A multiple on dimension 0 is a fused or a split tensor; anything else is often the config."""
    kinds: set[str] = set()
    for shape in shapes:
        expected, found = shape.expected, shape.found
        if found and expected and found[1:] == expected[1:] and min(found[0], expected[0]) > 0:
            if found[0] > expected[0] and found[0] % expected[0] == 0:
                kinds.add("split")
                continue
            if expected[0] > found[0] and expected[0] % found[0] == 0:
                kinds.add("fuse")
                continue
        kinds.add("config" if found is not None and len(found) == len(expected) else "unknown")
    return kinds.pop() if len(kinds) == 1 else "unknown"


def _count(names: Collection[str], noun: str) -> str:
    return f"{len(names)} {noun}" if len(names) == 1 else f"{len(names)} {noun}s"


def _examples(names: Collection[str]) -> str:
    first = list(names)[:2]
    return ", ".join(first) + (", ..." if len(names) > len(first) else "")
