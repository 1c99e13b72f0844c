"""The regular expressions of a mapping: what names they match, and what names they make.

`re` itself parses; what has no language of its own (backreferences, lookbehind, word boundaries,
flags that change letters) raises `Unsupported`, and whoever asked says nothing.

A name is what `nn.Module` can hold: non-empty components joined by dots. The loader asks
`re.match`, so a pattern's names are those that it matches a beginning of.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from math import inf, log2
from typing import Any, Final, TypeAlias

from analyzers.weights.mapping.ambiguity import Automaton, Part, TooManyStates
from analyzers.weights.mapping.languages import ALL_CHARACTERS, FIRST, LAST, Languages, characters

# `re`'s own parser has no public name; it moved into the package with Python 3.11.
_NEW: Final = sys.version_info >= (3, 11)
constants: Final[Any] = import_module("re._constants" if _NEW else "sre_constants")
parser: Final[Any] = import_module("re._parser" if _NEW else "sre_parse")

LONGEST = 400
"""Patterns longer than this are not looked into."""
_MOST_REPEATS = 16
"""Largest finite repetition that is written out."""

_MOST_CHOICES = 32.0
"""Ways through a pattern, as a power of two, up to which names are put to it; see `is_costly`."""
_LOOP = 6.0
"""The ways through a repetition without end: where it stops, in names of up to `_LONGEST_NAME`."""
_CHOICE = 1.5
"""What a choice counts for: unlike loops, which share one name, choices multiply in full."""
_LONGEST_SPELLED = 2000
"""Nodes of a pattern whose finite repetitions are written out."""
_LONGEST_NAME = 80
"""Sample names are at most this long."""

_FILLERS: Final = ("weight", "a.b", "x1_")
"""What stands for `.*` in sample names."""

Node: TypeAlias = "tuple[Any, Any]"
_Then: TypeAlias = "Callable[[bool | None], int]"

_ASSERTIONS: Final = (constants.AT, constants.ASSERT, constants.ASSERT_NOT)
_REPEATS: Final = (constants.MAX_REPEAT, constants.MIN_REPEAT)
_CATEGORIES: Final = {
    constants.CATEGORY_DIGIT: characters("0123456789"),
    constants.CATEGORY_SPACE: 0,
    constants.CATEGORY_WORD: characters(
        c for c in map(chr, range(FIRST, LAST + 1)) if c.isalnum() or c == "_"
    ),
}
_ALPHANUMERIC: Final = characters(c for c in map(chr, range(FIRST, LAST + 1)) if c.isalnum())
_NEGATED: Final = {
    constants.CATEGORY_NOT_DIGIT: constants.CATEGORY_DIGIT,
    constants.CATEGORY_NOT_SPACE: constants.CATEGORY_SPACE,
    constants.CATEGORY_NOT_WORD: constants.CATEGORY_WORD,
}


class Unsupported(Exception):
    """The pattern's names cannot be told by a language."""


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
        return bool(self.slow) or _spelled_out(self.nodes) > _LONGEST_SPELLED

    @cached_property
    def slow(self) -> str:
        """Why `re` may take very long over a name that it nearly matches, as over `(a+)+b`; empty where it
        does not."""
        ways = _choices(self.nodes)
        # Sets that differ in case alone would be taken for different ones.
        folds = bool(self.compiled.flags & re.IGNORECASE) and _is_nested(self.nodes)
        if ways == inf or folds:
            return "a repetition within a repetition can share out the same text in exponentially many ways"
        if ways > _MOST_CHOICES:
            return "its repetitions can share out the same text in too many ways"
        return ""

    @cached_property
    def groups(self) -> dict[int, Node]:
        """Number of a group -> its subpattern."""
        return {node[1][0]: node for node in _walk(self.nodes) if _is_group(node)}

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
        return tuple(self._sample(filler) for filler in _FILLERS)

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """Names that the pattern matches, one for each way through its alternatives (`q|k|v`), as far
        as there are few."""
        made = _ways(self.nodes, _FILLERS[0])
        names = dict.fromkeys(name for way in made for name in (way, way + _FILLERS[0]))
        return tuple(
            name
            for name in names
            if len(name) <= _LONGEST_NAME and is_name(name) and self.compiled.match(name) is not None
        )

    def shortest(self, name: str) -> str:
        """A name that it matches, without what stands for a `.*` at its beginning."""
        shorter = next((name.removeprefix(f) for f in _FILLERS if name.startswith(f)), name)
        matched = self.begins_free and is_name(shorter) and self.compiled.match(shorter) is not None
        return shorter if matched else name

    def _sample(self, filler: str) -> str | None:
        made = _sample(self.nodes, filler)
        # What matches only a beginning (`blocks` and a dot) may need more to be a name.
        for name in (made, made + filler):
            if len(name) <= _LONGEST_NAME and is_name(name) and self.compiled.match(name) is not None:
                return name
        return None


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


def parse_pattern(text: str) -> Pattern | None:
    """The pattern, or None where `re` rejects it."""
    pattern = Pattern(text)
    try:
        pattern.compiled  # noqa: B018
    except (re.error, OverflowError, RecursionError):
        return None
    return pattern


def is_name(text: str) -> bool:
    """Whether a parameter can have that name."""
    return all(text.split(".")) and all(FIRST <= ord(c) <= LAST for c in text)


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


# --------------------------------------------------------------------------- to languages


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
    if kind is constants.BRANCH and _asserts(node):
        return languages.either(
            *(_compiled(languages, tuple(choice), at_start, following) for choice in value[1])
        )
    if kind in _REPEATS and _asserts(node):
        least, most, inner = value
        if most is constants.MAXREPEAT or most > 2:
            raise Unsupported("a repeated assertion")
        choices = []
        for count in range(least, most + 1):
            choices.append(_compiled(languages, tuple(inner) * count, at_start, following))
        return languages.either(*choices)
    own = _plain(languages, node)
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


def _plain(languages: Languages, node: Node) -> int:
    """The language of a node that asserts nothing."""
    kind, value = node
    if kind is constants.LITERAL:
        return languages.one_of(characters(chr(value)))
    if kind is constants.NOT_LITERAL:
        return languages.one_of(ALL_CHARACTERS & ~characters(chr(value)))
    if kind is constants.ANY:
        return languages.one_of(ALL_CHARACTERS)
    if kind is constants.IN:
        return languages.one_of(_set(value))
    if kind is constants.BRANCH:
        return languages.either(*(_plain_sequence(languages, choice) for choice in value[1]))
    if kind is constants.SUBPATTERN:
        if value[1] & (re.IGNORECASE | re.LOCALE):
            raise Unsupported("a flag that changes letters")
        return _plain_sequence(languages, value[3])
    if kind in _REPEATS:
        least, most, inner = value
        unlimited = most is constants.MAXREPEAT
        if least > _MOST_REPEATS or (not unlimited and most > _MOST_REPEATS):
            raise Unsupported("a long repetition")
        return languages.repeated(_plain_sequence(languages, inner), least, None if unlimited else most)
    raise Unsupported(str(kind))


def _plain_sequence(languages: Languages, nodes: Sequence[Node]) -> int:
    return languages.sequence(*(_plain(languages, node) for node in nodes))


def _set(items: Sequence[Node]) -> int:
    mask = 0
    negated = False
    for kind, value in items:
        if kind is constants.NEGATE:
            negated = True
        elif kind is constants.LITERAL:
            mask |= characters(chr(value))
        elif kind is constants.RANGE:
            mask |= characters(map(chr, range(max(value[0], FIRST), min(value[1], LAST) + 1)))
        elif kind is constants.CATEGORY:
            mask |= _category(value)
        else:
            raise Unsupported(str(kind))
    return ALL_CHARACTERS & ~mask if negated else mask


def _category(value: Any) -> int:
    if value in _CATEGORIES:
        return _CATEGORIES[value]
    if value in _NEGATED:
        return ALL_CHARACTERS & ~_CATEGORIES[_NEGATED[value]]
    raise Unsupported(str(value))


# --------------------------------------------------------------------------- shapes


def _inside(node: Node) -> Iterator[Sequence[Node]]:
    """The sequences that a node is made of."""
    kind, value = node
    if kind is constants.SUBPATTERN:
        yield value[3]
    elif kind is constants.BRANCH:
        yield from value[1]
    elif kind in _REPEATS or str(kind) == "POSSESSIVE_REPEAT":
        yield value[2]
    elif kind in (constants.ASSERT, constants.ASSERT_NOT):
        yield value[1]
    elif str(kind) == "ATOMIC_GROUP":
        yield value
    elif kind is constants.GROUPREF_EXISTS:
        yield value[1]
        if value[2]:
            yield value[2]


def _walk(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        for inner in _inside(node):
            yield from _walk(tuple(inner))


def _literal_prefix(nodes: Sequence[Node]) -> str:
    """The literals that the nodes begin with."""
    text = ""
    for kind, value in nodes:
        if kind is constants.LITERAL:
            text += chr(value)
        elif kind is not constants.AT:
            break
    return text


def _choices(nodes: Sequence[Node], after: int = 0) -> float:
    """In how many ways the nodes may be tried on a name, as a power of two; no more than an estimate.

    `after`: the characters that may follow. A repetition that stops where they begin has one way.
    """
    ways = 0.0
    for place, node in enumerate(nodes):
        kind, value = node
        behind = _begins_with(nodes[place + 1 :], after)
        if kind is constants.BRANCH:
            inside = [_choices(tuple(choice), behind) for choice in value[1]]
            ways += _CHOICE * log2(len(inside)) + max(inside)
        elif kind in _REPEATS or str(kind) == "POSSESSIVE_REPEAT":
            least, most, inner = value
            begins = _begins_with(inner, behind)
            within = _choices(tuple(inner), begins | behind)
            unlimited = most is constants.MAXREPEAT
            if within and (unlimited or most > _MOST_REPEATS):
                if _is_exponential(node):
                    return inf
            elif not unlimited:
                within *= most
            ways += within
            if not unlimited:
                ways += min(_LOOP, _CHOICE * log2(most - least + 1))
            else:
                ways += _LOOP if begins & behind else 1
        else:
            ways += sum(_choices(tuple(inner), behind) for inner in _inside(node))
    return ways


def _is_nested(nodes: Sequence[Node]) -> bool:
    """Whether a choice or a repetition stands in a repetition without end."""
    outer = (n for n in _walk(nodes) if n[0] in _REPEATS and n[1][1] is constants.MAXREPEAT)
    return any(
        kind in _REPEATS or kind is constants.BRANCH for node in outer for kind, _ in _walk(tuple(node[1][2]))
    )


def _begins_with(nodes: Sequence[Node], after: int) -> int:
    """The characters that the nodes, and what follows them, may begin with; all where it is not plain."""
    if not nodes:
        return after
    kind, value = nodes[0]
    if kind is constants.AT and value in (constants.AT_END, constants.AT_END_STRING):
        return 0
    if kind is constants.SUBPATTERN and not value[1] & re.IGNORECASE:
        return _begins_with((*value[3], *nodes[1:]), after)
    if kind in (constants.LITERAL, constants.NOT_LITERAL, constants.IN):
        return _one_character(nodes[0])
    if kind in _REPEATS and value[0] > 0:
        return _begins_with(value[2], ALL_CHARACTERS)
    return ALL_CHARACTERS


def _one_character(node: Node) -> int:
    """The characters that a set matches; all where they cannot be told."""
    kind, value = node
    try:
        if kind is constants.LITERAL:
            return characters(chr(value))
        if kind is constants.NOT_LITERAL:
            return ALL_CHARACTERS & ~characters(chr(value))
        return _set(value) if kind is constants.IN else ALL_CHARACTERS
    except Unsupported:
        return ALL_CHARACTERS


def _is_exponential(node: Node) -> bool:
    """Whether a repetition may share out a text in exponentially many ways; so is one that cannot be told."""
    automaton = Automaton()
    try:
        _built(automaton, (node,))
    except (TooManyStates, Unsupported):
        return True
    return automaton.is_exponential()


def _built(automaton: Automaton, nodes: Sequence[Node]) -> Part:
    """The nodes as a part of the automaton. Raises `TooManyStates`, and `Unsupported` for what it cannot
    hold."""
    return automaton.sequence([_built_node(automaton, node) for node in nodes])


def _built_node(automaton: Automaton, node: Node) -> Part:
    kind, value = node
    if kind in (constants.LITERAL, constants.NOT_LITERAL, constants.IN, constants.ANY):
        return automaton.state(_one_character(node))
    if kind is constants.SUBPATTERN and not value[1] & (re.IGNORECASE | re.LOCALE):
        return _built(automaton, tuple(value[3]))
    if kind is constants.BRANCH:
        return automaton.either([_built(automaton, tuple(choice)) for choice in value[1]])
    if kind in _REPEATS:
        least, most, inner = value
        if most is constants.MAXREPEAT or most > _MOST_REPEATS:
            return automaton.repeated(_built(automaton, tuple(inner)), empty=least == 0)
        parts = [_built(automaton, tuple(inner)) for _ in range(most)]
        optional = [automaton.either([part, Part(1, (), ())]) for part in parts[least:]]
        return automaton.sequence([*parts[:least], *optional])
    raise Unsupported(str(kind))


def _spelled_out(nodes: Sequence[Node]) -> int:
    """How many nodes there are where each finite repetition is written out."""
    size = 0
    for node in nodes:
        kind, value = node
        inner = sum(_spelled_out(tuple(nodes)) for nodes in _inside(node))
        repeats = kind in _REPEATS or str(kind) == "POSSESSIVE_REPEAT"
        times = (value[0] if value[1] is constants.MAXREPEAT else value[1]) if repeats else 1
        size += 1 + inner * max(1, times)
    return size


def _asserts(node: Node) -> bool:
    return any(kind in _ASSERTIONS for kind, _ in _walk((node,)))


def _is_group(node: Node) -> bool:
    return node[0] is constants.SUBPATTERN and node[1][0] is not None


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
        if kind in _REPEATS:
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
            return bool(_set(value) & _ALPHANUMERIC)
        except Unsupported:
            return False
    if kind is constants.SUBPATTERN:
        inner = tuple(value[3])
        return _ends_inside(inner) if inner else _ends_inside(nodes[:-1])
    if kind is constants.BRANCH:
        return any(_ends_inside(tuple(choice)) if choice else _ends_inside(nodes[:-1]) for choice in value[1])
    if kind in _REPEATS and value[1] == 1:
        return _ends_inside(tuple(value[2])) or (value[0] == 0 and _ends_inside(nodes[:-1]))
    return False


def _sample(nodes: Sequence[Node], filler: str) -> str:
    return "".join(_sample_of(node, filler) for node in nodes)


def _sample_of(node: Node, filler: str) -> str:
    kind, value = node
    if kind is constants.LITERAL:
        return chr(value)
    if kind is constants.ANY:
        return filler[0]
    if kind is constants.NOT_LITERAL:
        return next(c for c in filler + "z" if c != chr(value))
    if kind is constants.IN:
        try:
            mask = _set(value)
        except Unsupported:
            return ""
        chosen = next((c for c in filler + "0zq." if characters(c) & mask), "")
        return chosen or chr(FIRST + (mask & -mask).bit_length() - 1)
    if kind is constants.SUBPATTERN:
        return _sample(tuple(value[3]), filler)
    if kind is constants.BRANCH:
        return _sample(tuple(value[1][len(filler) % len(value[1])]), filler)
    if kind in _REPEATS:
        least, most, inner = value
        if most is constants.MAXREPEAT and [n[0] for n in inner] == [constants.ANY]:
            return filler
        count = max(int(least), min(1, int(most)))
        return _sample(tuple(inner), filler) * count if count <= _MOST_REPEATS else ""
    return ""


_MOST_WAYS = 12


def _ways(nodes: Sequence[Node], filler: str) -> list[str]:
    """A name for each way through the alternatives of the nodes; of many, the first few."""
    made = [""]
    for node in nodes:
        kind, value = node
        if kind is constants.SUBPATTERN:
            here = _ways(tuple(value[3]), filler)
        elif kind is constants.BRANCH:
            here = [way for choice in value[1] for way in _ways(tuple(choice), filler)]
        elif kind is constants.IN and all(item[0] is constants.LITERAL for item in value):
            here = [chr(item[1]) for item in value]  # how `re` reads `q|k|v`
        else:
            here = [_sample_of(node, filler)]
        made = [before + way for before in made for way in here][:_MOST_WAYS]
    return made


# --------------------------------------------------------------------------- templates

_REFERENCE = re.compile(
    r"\\(?:g<(?P<name>[^>]*)>|(?P<octal>0[0-7]{0,2}|[0-3][0-7]{2})|(?P<number>[1-9]\d?)|(?P<other>.))"
)
_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


@dataclass(frozen=True)
class Template:
    """A replacement of `re.sub`: texts and the numbers of groups, in order."""

    parts: tuple[str | int, ...]

    @property
    def references(self) -> frozenset[int]:
        """The groups that it refers to."""
        return frozenset(part for part in self.parts if isinstance(part, int))

    @property
    def leading(self) -> str:
        """The text before the first group."""
        return self.parts[0] if self.parts and isinstance(self.parts[0], str) else ""


def parse_template(pattern: Pattern, text: str) -> Template:
    """The template of a replacement that `re.sub` accepts for that pattern.

    Raises `re.error` or `IndexError`, as `re.sub` does, where it rejects the text.
    """
    if "\\" in text:
        parser.parse_template(text, pattern.compiled)
    parts: list[str | int] = []
    position = 0
    for found in _REFERENCE.finditer(text):
        parts.append(text[position : found.start()])
        position = found.end()
        name, number, octal = found["name"], found["number"], found["octal"]
        if name is not None:
            parts.append(pattern.compiled.groupindex[name] if name.isidentifier() else int(name))
        elif number is not None:
            parts.append(int(number))
        elif octal is not None:
            parts.append(chr(int(octal, 8) & 0xFF))
        else:
            parts.append(_ESCAPES.get(found["other"], "\\" + found["other"]))
    parts.append(text[position:])
    joined: list[str | int] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return Template(tuple(joined))


def made_names(languages: Languages, pattern: Pattern, template: Template) -> int:
    """Every text that the rule may make, and perhaps more. Never raises `Unsupported`: a group whose
    names cannot be told may be anything."""
    parts: list[int] = []
    for part in template.parts:
        if isinstance(part, str):
            parts.append(languages.text(part))
        elif part == 0:
            parts.append(languages.everything)
        else:
            parts.append(group_names(languages, pattern, part))
    if not pattern.takes_the_rest or pattern.matches_behind:
        parts.append(languages.everything)
    return languages.sequence(*parts)


def group_names(languages: Languages, pattern: Pattern, number: int) -> int:
    """Every text that a group may hold, and perhaps more."""
    node = pattern.groups.get(number)
    if node is None or _asserts(node):
        return languages.everything
    try:
        own = _plain(languages, node)
    except Unsupported:
        return languages.everything
    # A group that takes no part in the match is replaced by nothing.
    return languages.either(own, languages.empty) if _optional(pattern.nodes, number) else own


def _optional(nodes: Sequence[Node], number: int) -> bool:
    """Whether a match may leave the group out."""
    for node in nodes:
        if not any(_is_group(inner) and inner[1][0] == number for inner in _walk((node,))):
            continue
        kind, value = node
        if _is_group(node) and value[0] == number:
            return False
        if kind is constants.SUBPATTERN:
            return _optional(tuple(value[3]), number)
        if kind in _REPEATS and value[0] > 0:
            return _optional(tuple(value[2]), number)
        return True
    return True


# --------------------------------------------------------------------------- comparing rules


def canonical(pattern: Pattern, template: Template) -> str:
    """A template with each group replaced by what the group matches, as `re` parsed it.

    Equal texts: the two rules make the same name out of the same pieces, in the same order.
    """
    parts: list[str] = []
    for part in template.parts:
        if isinstance(part, str):
            parts.append(part)
        else:
            node = pattern.groups.get(part)
            parts.append("{" + (_spelled((node,)) if node is not None else "0") + "}")
    if not pattern.takes_the_rest:
        parts.append("{rest}")
    return "".join(parts)


def _spelled(nodes: Sequence[Node]) -> str:
    """The nodes as text, without the numbers of groups."""
    parts: list[str] = []
    for kind, value in nodes:
        if kind is constants.SUBPATTERN:
            parts.append(_spelled(tuple(value[3])))
        elif kind is constants.BRANCH:
            parts.append("(" + "|".join(_spelled(tuple(choice)) for choice in value[1]) + ")")
        elif kind in _REPEATS:
            parts.append(f"({_spelled(tuple(value[2]))}){{{value[0]},{value[1]}}}")
        else:
            parts.append(f"<{kind} {value}>")
    return "".join(parts)


def indices(pattern: Pattern) -> tuple[tuple[str, frozenset[int]], ...]:
    """The components that are numbers: the text before each, without its dot, and the groups that
    hold it. Only those that stand between literal dots (or the end) count."""
    found: list[tuple[str, frozenset[int]]] = []
    _collect_indices(_flattened(pattern.nodes, frozenset()), found)
    return tuple(found)


_Flat: TypeAlias = "tuple[Node, frozenset[int]]"


def _flattened(nodes: Sequence[Node], groups: frozenset[int]) -> Iterator[_Flat]:
    """The nodes with the groups around them, plain groups opened."""
    for node in nodes:
        kind, value = node
        if kind is constants.SUBPATTERN:
            inner = groups | {value[0]} if value[0] is not None else groups
            yield from _flattened(tuple(value[3]), inner)
        else:
            yield node, groups


def _collect_indices(flat: Iterator[_Flat], found: list[tuple[str, frozenset[int]]]) -> None:
    items = list(flat)
    before = ""
    for place, ((kind, value), groups) in enumerate(items):
        if kind is constants.LITERAL:
            before += chr(value)
        elif kind is constants.AT:
            continue
        else:
            following = items[place + 1][0] if place + 1 < len(items) else None
            ends = (
                following is None
                or following[0] is constants.AT
                or following == (constants.LITERAL, ord("."))
            )
            if _is_number((kind, value)) and before.endswith(".") and before != "." and ends:
                found.append((before[:-1], groups))
                before += "0"
            else:
                before = "*"


def _is_number(node: Node) -> bool:
    kind, value = node
    if kind not in _REPEATS or value[0] != 1 or value[1] is not constants.MAXREPEAT:
        return False
    inner = list(value[2])
    try:
        return (
            len(inner) == 1 and inner[0][0] is constants.IN and _set(inner[0][1]) == characters("0123456789")
        )
    except Unsupported:
        return False


def is_identity(pattern: Pattern, template: Template) -> bool:
    """Whether the rule writes every name that it matches as it was."""
    parts: list[str | int] = []
    for kind, value in pattern.nodes:
        if kind is constants.LITERAL:
            if parts and isinstance(parts[-1], str):
                parts[-1] += chr(value)
            else:
                parts.append(chr(value))
        elif kind is constants.SUBPATTERN and value[0] is not None:
            parts.append(int(value[0]))
        elif kind is not constants.AT:
            return False
    return tuple(parts) == template.parts


def leading_path(pattern: Pattern, template: Template) -> tuple[str | None, ...]:
    """The components that every name made by the rule begins with; None for a number that varies.

    Ends before the first component that is not certain: one that a group may spread over several, or
    the last one where a name may go on.
    """
    texts: list[str] = []
    for place, part in enumerate(template.parts):
        if isinstance(part, str):
            texts.append(part)
            continue
        node = pattern.groups.get(part)
        inner = list(node[1][3]) if node is not None else []
        if len(inner) != 1 or not _is_number(inner[0]):
            break
        whole = "".join(texts).endswith(".") and _goes_on(template, place)
        if not whole:
            break
        texts.append(_VARYING)
    else:
        if pattern.takes_the_rest and not pattern.matches_behind:
            texts.append(".")
    certain = "".join(texts).rpartition(".")[0]
    return tuple(None if name == _VARYING else name for name in certain.split(".")) if certain else ()


_VARYING: Final = "\0"


def _goes_on(template: Template, place: int) -> bool:
    """Whether a dot follows a part of a template, or nothing."""
    following = template.parts[place + 1] if place + 1 < len(template.parts) else "."
    return isinstance(following, str) and following.startswith(".")
