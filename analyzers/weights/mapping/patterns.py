"""The regular expressions of a mapping: what names they match.

`re` itself parses; what has no language of its own (backreferences, lookbehind, word boundaries,
flags that change letters) raises `Unsupported`, and whoever asked says nothing.

A name is what `nn.Module` can hold: non-empty components joined by dots. The loader asks
`re.match`, so a pattern's names are those that it matches a beginning of.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Final, TypeAlias

from analyzers.weights.mapping.languages import ALL_CHARACTERS, FIRST, LAST, Languages, characters
from analyzers.weights.mapping.sample_names import FILLERS, sample_of, samples_of_ways
from analyzers.weights.mapping.slowness import LONGEST_SPELLED, MOST_CHOICES, is_nested, spelled_out, ways_of
from analyzers.weights.mapping.syntax import (
    MOST_REPEATS,
    REPEATS,
    Node,
    Unsupported,
    asserts,
    characters_of_set,
    constants,
    is_group,
    parser,
    walk,
)

LONGEST = 400
"""Patterns longer than this are not looked into."""
_LONGEST_NAME = 80
"""Sample names are at most this long."""

_Then: TypeAlias = "Callable[[bool | None], int]"
_ALPHANUMERIC: Final = characters(c for c in map(chr, range(FIRST, LAST + 1)) if c.isalnum())


@dataclass(frozen=True)
class Pattern:
    """A pattern that compiles; make it with `parse_pattern`."""

    text: str

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern as the loader compiles it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape is the user's matter
            return re.compile(self.text)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """What `re` makes of the text."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(parser.parse(self.text))

    @cached_property
    def is_costly(self) -> bool:
        """Whether `re` may take very long over a name (see `slow`), or a sample would be very long."""
        return bool(self.slow) or spelled_out(self.nodes) > LONGEST_SPELLED

    @cached_property
    def slow(self) -> str:
        """Why `re` may take very long over a name that it nearly matches, as over `(a+)+b`; empty where it
        does not."""
        ways = ways_of(self.nodes)
        # Sets that differ in case alone would be taken for different ones.
        folds = bool(self.compiled.flags & re.IGNORECASE) and is_nested(self.nodes)
        if ways == inf or folds:
            return "a repetition within a repetition can share out the same text in exponentially many ways"
        if ways > MOST_CHOICES:
            return "its repetitions can share out the same text in too many ways"
        return ""

    @cached_property
    def groups(self) -> dict[int, Node]:
        """Number of a group -> its subpattern."""
        return {node[1][0]: node for node in walk(self.nodes) if is_group(node)}

    @cached_property
    def prefix(self) -> str:
        """Literal text that every name it matches begins with; often empty."""
        return "" if self.compiled.flags & re.IGNORECASE else _literal_prefix(self.nodes)

    def takes(self, name: str) -> bool:
        """Whether the loader finds it to match a name."""
        return name.startswith(self.prefix) and self.compiled.match(name) is not None

    @cached_property
    def is_anchored(self) -> bool:
        """Whether every alternative can only match at the start of a name."""
        return _anchored(self.nodes)

    @cached_property
    def takes_the_rest(self) -> bool:
        """Whether a match always ends where the name ends: by `$`, or by a greedy `.*` at the end."""
        return _ends_name(self.nodes)

    @cached_property
    def begins_free(self) -> bool:
        """Whether it begins with `.*`, so that an anchor before it would say nothing."""
        return _begins_free(self.nodes)

    @cached_property
    def may_end_inside(self) -> bool:
        """Whether a match may end in a letter or digit that is no end of the name: at `norm1` of
        `norm10`. A match that ends at a separator, or takes all that a class allows, does not count."""
        return not self.takes_the_rest and _ends_inside(self.nodes)

    @cached_property
    def matches_behind(self) -> bool:
        """Whether `re.sub` replaces the nothing behind a name once more (`(.*)` without `^` does)."""
        return not self.is_anchored and self.compiled.match("") is not None

    @cached_property
    def samples(self) -> tuple[str | None, ...]:
        """A name that the pattern matches for each of a few fillings, made alike for all patterns;
        None where none could be made cheaply."""
        return tuple(self._made(filler) for filler in FILLERS)

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """Names that the pattern matches, one for each way through its alternatives (`q|k|v`), as far
        as there are few."""
        made = samples_of_ways(self.nodes, FILLERS[0])
        names = dict.fromkeys(name for way in made for name in (way, way + FILLERS[0]))
        return tuple(
            name
            for name in names
            if len(name) <= _LONGEST_NAME and is_name(name) and self.compiled.match(name) is not None
        )

    def shortest(self, name: str) -> str:
        """A name that it matches, without what stands for a `.*` at its beginning."""
        shorter = next((name.removeprefix(f) for f in FILLERS if name.startswith(f)), name)
        matched = self.begins_free and is_name(shorter) and self.compiled.match(shorter) is not None
        return shorter if matched else name

    def _made(self, filler: str) -> str | None:
        made = sample_of(self.nodes, filler)
        # What matches only a beginning (`blocks` and a dot) may need more to be a name.
        for name in (made, made + filler):
            if len(name) <= _LONGEST_NAME and is_name(name) and self.compiled.match(name) is not None:
                return name
        return None


def parse_pattern(text: str) -> Pattern | None:
    """The pattern, or None where `re` rejects it."""
    pattern = Pattern(text)
    try:
        pattern.compiled  # noqa: B018
    except (re.error, OverflowError, RecursionError):
        return None
    return pattern


def has_alternatives(text: str) -> bool:
    """Whether a pattern that compiles has a `|` outside of all groups."""
    depth = 0
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "[":
            position = _end_of_set(text, position)
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            return True
        position += 1
    return False


def _end_of_set(text: str, begin: int) -> int:
    """The place of the bracket that closes a set."""
    position = begin + 1
    if text[position : position + 1] == "^":
        position += 1
    if text[position : position + 1] == "]":
        position += 1  # a bracket right here belongs to the set
    while position < len(text) and text[position] != "]":
        position += 2 if text[position] == "\\" else 1
    return position


def is_name(text: str) -> bool:
    """Whether a parameter can have that name."""
    return all(text.split(".")) and all(FIRST <= ord(c) <= LAST for c in text)


# --------------------------------------------------------------------------- to languages


def all_names(languages: Languages) -> int:
    """Every name that a parameter can have."""
    inner = languages.one_of(ALL_CHARACTERS & ~characters("."))
    component = languages.repeated(inner, 1)
    return languages.sequence(
        component, languages.repeated(languages.sequence(languages.text("."), component))
    )


def matched_names(languages: Languages, pattern: Pattern) -> int:
    """The texts that `re.match` accepts. Raises `Unsupported`."""
    if len(pattern.text) > LONGEST or pattern.compiled.flags & (re.IGNORECASE | re.LOCALE):
        raise Unsupported(pattern.text)
    return _compiled(languages, pattern.nodes, True, lambda _: languages.everything)


def _compiled(languages: Languages, nodes: Sequence[Node], at_start: bool | None, then: _Then) -> int:
    """The texts that the nodes match from here on, followed by `then`.

    `at_start`: whether nothing stands before this place; None where that depends. `then` is asked
    with the same for the place behind the nodes.
    """
    if not nodes:
        return then(at_start)
    node, rest = nodes[0], nodes[1:]
    known: dict[bool | None, int] = {}  # asked once by each choice, and again by each choice behind it

    def following(start: bool | None) -> int:
        if start not in known:
            known[start] = _compiled(languages, rest, start, then)
        return known[start]

    kind, value = node
    if kind is constants.SUBPATTERN:
        if value[1] & (re.IGNORECASE | re.LOCALE):
            raise Unsupported("a flag that changes letters")
        return _compiled(languages, tuple(value[3]), at_start, following)
    if kind is constants.AT:
        return _at(languages, value, at_start, following)
    if kind in (constants.ASSERT, constants.ASSERT_NOT):
        direction, inner = value
        if direction != 1:
            raise Unsupported("lookbehind")
        ahead = _compiled(languages, tuple(inner), at_start, lambda _: languages.everything)
        if kind is constants.ASSERT_NOT:
            ahead = languages.without(ahead)
        return languages.both(ahead, following(at_start))
    if kind is constants.BRANCH and asserts(node):
        return languages.either(
            *(_compiled(languages, tuple(choice), at_start, following) for choice in value[1])
        )
    if kind in REPEATS and asserts(node):
        least, most, inner = value
        if most is constants.MAXREPEAT or most > 2:
            raise Unsupported("a repeated assertion")
        choices = []
        for count in range(least, most + 1):
            choices.append(_compiled(languages, tuple(inner) * count, at_start, following))
        return languages.either(*choices)
    own = language_of(languages, node)
    behind: bool | None = False
    if languages.accepts_empty(own):
        behind = False if at_start is False else None
    return languages.sequence(own, following(behind))


def _at(languages: Languages, where: object, at_start: bool | None, following: _Then) -> int:
    if where in (constants.AT_BEGINNING, constants.AT_BEGINNING_STRING):
        if at_start is None:
            raise Unsupported("an anchor behind what may be empty")
        return following(True) if at_start else languages.nothing
    if where in (constants.AT_END, constants.AT_END_STRING):
        return languages.empty if languages.accepts_empty(following(at_start)) else languages.nothing
    raise Unsupported(str(where))


def language_of(languages: Languages, node: Node) -> int:
    """The language of a node that asserts nothing. Raises `Unsupported`."""
    kind, value = node
    if kind is constants.LITERAL:
        return languages.one_of(characters(chr(value)))
    if kind is constants.NOT_LITERAL:
        return languages.one_of(ALL_CHARACTERS & ~characters(chr(value)))
    if kind is constants.ANY:
        return languages.one_of(ALL_CHARACTERS)
    if kind is constants.IN:
        return languages.one_of(characters_of_set(value))
    if kind is constants.BRANCH:
        return languages.either(*(_plain_sequence(languages, choice) for choice in value[1]))
    if kind is constants.SUBPATTERN:
        if value[1] & (re.IGNORECASE | re.LOCALE):
            raise Unsupported("a flag that changes letters")
        return _plain_sequence(languages, value[3])
    if kind in REPEATS:
        least, most, inner = value
        unlimited = most is constants.MAXREPEAT
        if least > MOST_REPEATS or (not unlimited and most > MOST_REPEATS):
            raise Unsupported("a long repetition")
        return languages.repeated(_plain_sequence(languages, inner), least, None if unlimited else most)
    raise Unsupported(str(kind))


def _plain_sequence(languages: Languages, nodes: Sequence[Node]) -> int:
    return languages.sequence(*(language_of(languages, node) for node in nodes))


# --------------------------------------------------------------------------- shapes


def _literal_prefix(nodes: Sequence[Node]) -> str:
    """The literals that the nodes begin with."""
    text = ""
    for kind, value in nodes:
        if kind is constants.LITERAL:
            text += chr(value)
        elif kind is not constants.AT:
            break
    return text


def _anchored(nodes: Sequence[Node]) -> bool:
    for kind, value in nodes:
        if kind is constants.AT and value in (constants.AT_BEGINNING, constants.AT_BEGINNING_STRING):
            return True
        if kind in (constants.ASSERT, constants.ASSERT_NOT):
            continue  # takes nothing: what follows may still be the anchor
        if kind is constants.SUBPATTERN:
            return _anchored(tuple(value[3]))
        if kind is constants.BRANCH:
            return all(_anchored(tuple(choice)) for choice in value[1])
        return False
    return False


def _ends_name(nodes: Sequence[Node]) -> bool:
    if not nodes:
        return False
    kind, value = nodes[-1]
    if kind is constants.AT:
        return value in (constants.AT_END, constants.AT_END_STRING)
    if kind is constants.SUBPATTERN:
        return _ends_name(tuple(value[3]))
    if kind is constants.BRANCH:
        return all(_ends_name(tuple(choice)) for choice in value[1])
    if kind is constants.MAX_REPEAT:
        least, most, inner = value
        return most is constants.MAXREPEAT and least <= 1 and [n[0] for n in inner] == [constants.ANY]
    return False


def _begins_free(nodes: Sequence[Node]) -> bool:
    for kind, value in nodes[:1]:
        if kind is constants.SUBPATTERN:
            return _begins_free(tuple(value[3]))
        if kind in REPEATS:
            return value[1] is constants.MAXREPEAT and [n[0] for n in value[2]] == [constants.ANY]
    return False


def _ends_inside(nodes: Sequence[Node]) -> bool:
    if not nodes:
        return False
    kind, value = nodes[-1]
    if kind is constants.LITERAL:
        return chr(value).isalnum()
    if kind is constants.IN:
        try:
            return bool(characters_of_set(value) & _ALPHANUMERIC)
        except Unsupported:
            return False
    if kind is constants.SUBPATTERN:
        inner = tuple(value[3])
        return _ends_inside(inner) if inner else _ends_inside(nodes[:-1])
    if kind is constants.BRANCH:
        return any(_ends_inside(tuple(choice)) if choice else _ends_inside(nodes[:-1]) for choice in value[1])
    if kind in REPEATS and value[1] == 1:
        return _ends_inside(tuple(value[2])) or (value[0] == 0 and _ends_inside(nodes[:-1]))
    return False
