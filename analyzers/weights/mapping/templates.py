"""The replacements of a mapping's rules: what names they make, and which rules make the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from analyzers.weights.mapping.languages import Languages, characters
from analyzers.weights.mapping.patterns import Pattern, language_of
from analyzers.weights.mapping.syntax import (
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

_REFERENCE = re.compile(
    r"\\(?:g<(?P<name>[^>]*)>|(?P<octal>0[0-7]{0,2}|[0-3][0-7]{2})|(?P<number>[1-9]\d?)|(?P<other>.))"
)
_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_VARYING: Final = "\0"


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
    if node is None or asserts(node):
        return languages.everything
    try:
        own = language_of(languages, node)
    except Unsupported:
        return languages.everything
    # A group that takes no part in the match is replaced by nothing.
    return languages.either(own, languages.empty) if _optional(pattern.nodes, number) else own


def _optional(nodes: Sequence[Node], number: int) -> bool:
    """Whether a match may leave the group out."""
    for node in nodes:
        if not any(is_group(inner) and inner[1][0] == number for inner in walk((node,))):
            continue
        kind, value = node
        if is_group(node) and value[0] == number:
            return False
        if kind is constants.SUBPATTERN:
            return _optional(tuple(value[3]), number)
        if kind in REPEATS and value[0] > 0:
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
        elif kind in REPEATS:
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
    if kind not in REPEATS or value[0] != 1 or value[1] is not constants.MAXREPEAT:
        return False
    inner = list(value[2])
    try:
        return (
            len(inner) == 1
            and inner[0][0] is constants.IN
            and characters_of_set(inner[0][1]) == characters("0123456789")
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


def _goes_on(template: Template, place: int) -> bool:
    """Whether a dot follows a part of a template, or nothing."""
    following = template.parts[place + 1] if place + 1 < len(template.parts) else "."
    return isinstance(following, str) and following.startswith(".")
