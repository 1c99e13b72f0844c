"""A file taken apart for an edit: its top-level statements, each parsed by libcst only when asked.

Parsing a whole 3,000-line model with libcst costs half a second; a statement costs nothing. Texts
in here have `\\n` as line end, no byte order mark and no form feed at the start (libcst drops both):
`Source` remembers them and gives them back, so that every byte outside an edit stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import libcst as cst

from analyzers.facts.chunks import split
from analyzers.fixes.base import Read, Refused, read_text

_COMMENTS_AT_END = re.compile(r"(?:(?<=\n)|\A)(?:#[^\n]*\n)+\Z")


@dataclass(frozen=True)
class Source:
    """A text with its line end and what stands before its first character set aside."""

    text: str
    newline: str
    mark: str

    def restored(self, text: str) -> str:
        """Another text in this one's clothes."""
        return self.mark + (text.replace("\n", self.newline) if self.newline != "\n" else text)


def source_of(text: str, path: str) -> Source:
    """Sets line ends and mark aside. Raises `Refused` where line ends are mixed."""
    body = text.lstrip("\ufeff\f")
    mark = text[: len(text) - len(body)]
    ends = set(re.findall(r"\r\n|\r|\n", body))
    if len(ends) > 1:
        raise Refused(f"{path} mixes line ends: make them alike first")
    newline = next(iter(ends), "\n")
    return Source(body.replace(newline, "\n"), newline, mark)


@dataclass(frozen=True)
class Piece:
    """One top-level statement with everything up to the next; `begin` is its offset."""

    begin: int
    text: str

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.begin + len(self.text)


def pieces(text: str) -> tuple[Piece, ...]:
    """The top-level statements of a text."""
    found: list[Piece] = []
    position = 0
    for chunk in split(text).chunks:
        found.append(Piece(position, chunk.text))
        position += len(chunk.text)
    return tuple(found)


def parse_piece(piece: Piece, path: str) -> cst.Module:
    """The syntax tree of one statement. Raises `Refused` where it does not parse."""
    return parse(piece.text, path)


def parse(text: str, path: str) -> cst.Module:
    """The syntax tree of a text. Raises `Refused` where it does not parse, or not into all of the text."""
    try:
        tree = cst.parse_module(text)
    except cst.ParserSyntaxError as error:
        raise Refused(f"{path} does not parse: {error.message}") from error
    if "\f" in text and tree.code != text:
        raise Refused(f"{path} has a form feed in front of a statement: put it on a line of its own first")
    return tree


def open_module(read: Read, path: str) -> tuple[Source, cst.Module]:
    """A file's source and its whole tree; `source.restored(tree.code)` is the file again.

    Raises `Refused` where it cannot be read, does not parse or mixes line ends.
    """
    source = source_of(read_text(read, path), path)
    return source, parse(source.text, path)


def without_statement(text: str, begin: int, length: int) -> str:
    """The text without the lines of a statement, the comment right above and the blank lines before."""
    head, tail = text[:begin], text[begin + length :]
    comment = _COMMENTS_AT_END.search(head)
    if comment is not None:
        head = head[: comment.start()]
    kept = head.rstrip("\n \t")
    if not kept:
        return tail.lstrip("\n")
    return f"{kept}\n{tail}" if tail.strip() else f"{kept}\n"


def appended(text: str, statement: str) -> str:
    """The text with a statement at its end, after two blank lines."""
    if not text.strip():
        return f"{statement}\n"
    if not text.endswith("\n"):
        text += "\n"
    lines = text.split("\n")[:-1]
    blank = next(i for i, line in enumerate(reversed(lines)) if line.strip())
    return f"{text}{chr(10) * max(0, 2 - blank)}{statement}\n"
