"""What names and shapes leave open: parameters that could be exchanged, and whether their names agree.

Two parameters of one shape under sibling names (`to_q` and `to_k`, block 3 and block 4) fit each other's
tensors. What speaks against an exchange is only what their names tell: `to_q` made from `to_k` while
`to_k` is made from `to_q` is a disagreement. A word that one side writes otherwise (`linear_1` for
`fc_in`, `norm2` for `norm3`) tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from analyzers.weights.mapping.name_parts import HOLE, shape_of_name, words_of
from analyzers.weights.mapping.opposed import OPPOSED, ORDERS
from analyzers.weights.mapping.renaming import Share, positions
from analyzers.weights.recent import Keep
from analyzers.weights.state import StateDict
from analyzers.weights.verdicts import Interchangeable

_SETS: Final = {word: tuple(n for n, s in enumerate(OPPOSED) if word in s) for s in OPPOSED for word in s}


_Member: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...], int]"


class _Told(NamedTuple):
    """One word of sources and the word of their targets in the same place of otherwise fixed names.
    `slot`: both names without the word."""

    slot: tuple[str, str, int]
    source: str
    target: str
    names: tuple[str, str]


@dataclass(frozen=True)
class _Telling:
    """What the names of one share tell. `members`: by the forms of source and target the numbers of both,
    with the source's position; `moved`: the first position at which numbers are exchanged among them."""

    told: tuple[_Told, ...]
    members: Mapping[tuple[str, str], Sequence[_Member]]
    moved: int | None


class Disagreement(NamedTuple):
    """Tensors whose names say that they belong elsewhere. `path`: the rules; `names`: a source and its
    target; `words`: the telling parts of the two; `templates`: both names with `*` for numbers."""

    path: tuple[int, ...]
    names: tuple[str, str]
    words: tuple[str, str]
    templates: tuple[str, str]

    def concerns(self, source: str, target: str) -> bool:
        """Whether a tensor on the same path is one of those."""
        if self.templates != (shape_of_name(source)[0], shape_of_name(target)[0]):
            return False
        return not self.words[0].isdigit() or shape_of_name(source)[1] != shape_of_name(target)[1]

    @property
    def text(self) -> str:
        """The doubt, in a sentence."""
        source, target = self.names
        rule = f"rule {self.path[-1] + 1}" if self.path else "no rule"
        one, two = self.words
        return (
            f"{rule} makes {target} of {source}: {one} on one side, {two} on the other, while other "
            "names have it the other way round; names and shapes would also fit an exchange"
        )


def disagreements(
    official: StateDict, natives: Mapping[str, object], shares: Sequence[Share], keep: Keep
) -> tuple[Disagreement, ...]:
    """The shares whose names say that tensors are exchanged. Only targets that the port has count."""
    found: list[Disagreement] = []
    slots: dict[tuple[str, str, int], list[tuple[str, str, Share, _Told]]] = {}
    forms_of: dict[tuple[str, str], list[tuple[Share, _Telling]]] = {}
    for share in shares:
        telling = keep(("telling", share.key, share.path), partial(_telling, official, natives, share))
        if telling.moved is not None:
            found.append(_moved(official, share, telling.moved))
        for forms in telling.members:
            forms_of.setdefault(forms, []).append((share, telling))
        for told in telling.told:
            slots.setdefault(told.slot, []).append((told.source, told.target, share, told))
    for uses in slots.values():
        if len(uses) > 1:
            found.extend(_crossed(uses))
    for forms, parts in forms_of.items():
        if len(parts) > 1:  # rules that name a number each
            place = _exchanged([member for _, telling in parts for member in telling.members[forms]])
            if place is not None:
                share = next(share for share, _ in parts if share.mask >> place & 1)
                found.append(_moved(official, share, place))
    return tuple(dict.fromkeys(found))


def _moved(official: StateDict, share: Share, place: int) -> Disagreement:
    names = (official.names[place], share.targets[place])
    (source, numbers), (target, others) = shape_of_name(names[0]), shape_of_name(names[1])
    differing = next(
        ((str(a), str(b)) for a, b in zip(numbers, others, strict=False) if a != b),
        (".".join(map(str, numbers)), ".".join(map(str, others))),
    )
    return Disagreement(share.path, names, differing, (source, target))


def _crossed(uses: Sequence[tuple[str, str, Share, _Told]]) -> Iterable[Disagreement]:
    """Of the words in one place those that stand on both sides and do not meet."""
    sources = {source for source, _, _, _ in uses}
    targets = {target for _, target, _, _ in uses}
    met = {source for source, target, _, _ in uses if source == target}
    for source, target, share, told in uses:
        if source == target or source in met or target in met:
            continue
        if source in targets and target in sources:
            templates = (shape_of_name(told.names[0])[0], shape_of_name(told.names[1])[0])
            yield Disagreement(share.path, told.names, (source, target), templates)


def _telling(official: StateDict, natives: Mapping[str, object], share: Share) -> _Telling:
    names = official.names
    numbers: dict[tuple[str, str], list[_Member]] = {}
    for place in positions(share.mask):
        target = share.targets[place]
        if target in natives:
            source_template, source_numbers = shape_of_name(names[place])
            target_template, target_numbers = shape_of_name(target)
            pair = (source_template, target_template)
            numbers.setdefault(pair, []).append((source_numbers, target_numbers, place))
    told: list[_Told] = []
    moved: int | None = None
    for (source, target), members in numbers.items():
        example = (names[members[0][2]], share.targets[members[0][2]])
        told.extend(_told(source, target, share.merge, example))
        if moved is None:
            moved = _exchanged(members)
    return _Telling(tuple(told), numbers, moved)


def _told(source: str, target: str, merge: tuple[int, int] | None, names: tuple[str, str]) -> Iterable[_Told]:
    """The words of a source that its target answers with a word of the same kind."""
    for word, begin, end in words_of(source):
        kinds = _SETS.get(word)
        if kinds is None:
            continue
        rest = f"{source[:begin]}\0{source[end:]}"
        for answer, start, stop in words_of(target):
            for kind in _SETS.get(answer, ()):
                if kind in kinds:
                    slot = (rest, f"{target[:start]}\0{target[stop:]}", kind)
                    yield _Told(slot, word, answer, names)
        if merge is None:
            continue
        for number, order in enumerate(ORDERS):
            if word in order and merge[0] < len(order):
                # The index stands for the word that is usually there.
                yield _Told((rest, target, -1 - number), word, order[merge[0]], names)


def _exchanged(members: Sequence[_Member]) -> int | None:
    """A position whose numbers come out permuted: the same numbers on both sides, each elsewhere."""
    if all(source == target for source, target, _ in members) or len(members) < 2:
        return None
    first_source, first_target, _ = members[0]
    for column in range(len(first_source)):
        values = [source[column] for source, _, _ in members]
        among = set(values)
        if len(among) < 2:
            continue
        columns = [[target[other] for _, target, _ in members] for other in range(len(first_target))]
        if any(answers == values for answers in columns):
            continue
        for answers in columns:
            if set(answers) == among:
                return next(m[2] for m, a, b in zip(members, values, answers, strict=True) if a != b)
    return None


# --------------------------------------------------------------------------- groups


def interchangeable(
    native: StateDict | None, found: Sequence[Disagreement], keep: Keep
) -> tuple[Interchangeable, ...]:
    """The groups of the port's parameters that names and shapes cannot tell apart, numbers as `*`."""
    if native is None:
        return ()
    groups = keep(("interchangeable", native.digest), lambda: _groups(native))
    if not found:
        return groups
    templates = {disagreement.templates[1] for disagreement in found}
    return tuple(
        Interchangeable(group.natives, group.telling, agree=not _concerns(group, templates, found))
        for group in groups
    )


def _concerns(group: Interchangeable, templates: set[str], found: Sequence[Disagreement]) -> bool:
    if len(group.natives) > 1:
        return any(name in templates for name in group.natives)
    return any(d.words[0].isdigit() and d.templates[1].startswith(group.natives[0]) for d in found)


def _groups(native: StateDict) -> tuple[Interchangeable, ...]:
    templates: dict[str, list[tuple[tuple[int, ...], tuple[int, ...] | None]]] = {}
    for tensor in native.tensors:
        template, numbers = shape_of_name(tensor.name)
        templates.setdefault(template, []).append((numbers, tensor.shape))
    return (*_by_words(templates), *_by_numbers(templates))


_Members = Mapping[str, Sequence["tuple[tuple[int, ...], tuple[int, ...] | None]"]]


def _by_words(templates: _Members) -> Iterable[Interchangeable]:
    slots: dict[tuple[str, int, object], list[tuple[str, str]]] = {}
    for template, members in templates.items():
        shapes = tuple(sorted({shape for _, shape in members if shape is not None}))
        if not shapes:
            continue
        for word, begin, end in words_of(template):
            rest = f"{template[:begin]}\0{template[end:]}"
            for kind in _SETS.get(word, ()):
                slots.setdefault((rest, kind, shapes), []).append((template, word))
            if word.isdigit() and template[begin - 1 : begin] != ".":
                slots.setdefault((rest, -1, shapes), []).append((template, word))
    seen: set[tuple[str, ...]] = set()
    for found in slots.values():
        natives = tuple(template for template, _ in found)
        if len(found) > 1 and natives not in seen:
            seen.add(natives)
            yield Interchangeable(natives, tuple(_component(t, w) for t, w in found), agree=True)


def _component(template: str, word: str) -> str:
    """The component in which a word stands."""
    return next((part for part in template.split(".") if word in _words(part)), word)


def _words(part: str) -> tuple[str, ...]:
    return tuple(word for word, _, _ in words_of(part))


def _by_numbers(templates: _Members) -> Iterable[Interchangeable]:
    """The numbered lists whose members have parameters of one shape."""
    lists: dict[str, set[int]] = {}
    for template, members in templates.items():
        shapes: dict[tuple[int, ...] | None, int] = {}
        for _, shape in members:
            shapes[shape] = shapes.get(shape, 0) + 1
        if all(count < 2 or shape is None for shape, count in shapes.items()):
            continue
        parts = template.split(".")
        column = 0
        for place, part in enumerate(parts):
            if part == HOLE:
                lists.setdefault(".".join(parts[: place + 1]), set()).update(m[0][column] for m in members)
                column += 1
    for template, numbers in lists.items():
        if len(numbers) > 1:
            yield Interchangeable((template,), (_spans(sorted(numbers)),), agree=True)


def _spans(numbers: Sequence[int]) -> str:
    """`0-39` for numbers in a row, else the first and last of them."""
    return f"{numbers[0]}-{numbers[-1]}"
