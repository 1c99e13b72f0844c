"""Text -> top-level chunks, and again after an edit without looking at what the edit left alone.

A chunk starts at a statement in column 0 and reaches to the next one. Strings and brackets are
respected, decorators stay with what they decorate, `else`, `except` and closing brackets stay with
what they continue. The chunks joined give the text back.

While someone types, brackets and triple quotes are open most of the time. A bracket that is still
open where a line begins with `class`, `def`, `@`, `import` or `from ... import` is taken to be
unfinished, since none of these can stand inside brackets at column 0. Where the scan ends inside a
string or a bracket, the damaged stretch is split again at every line that looks like a statement at
column 0: intact definitions below the damage keep their chunks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from analyzers.facts.model import Comment
from analyzers.findings import Span


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of text that begins at a statement in column 0 (the first: at the file's start)."""

    text: str
    comments: tuple[Comment, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch that was read from a clean start to a clean end: one chunk, or several if damaged."""

    text: str
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A text taken apart; pass it to the next `split` of the edited text."""

    segments: tuple[Segment, ...] = ()
    chunks: tuple[Chunk, ...] = field(default=(), repr=False)


_TOKEN = re.compile(
    r"""
      (?P<comment>\#[^\n]*)
    | (?P<triple>\"\"\"|''')
    | (?P<string>"(?:[^"\\\n]|\\.|\\\n)*"? | '(?:[^'\\\n]|\\.|\\\n)*'?)
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<joined>\\\n)
    | (?P<newline>\n(?=[^\s\#]))
    """,
    re.VERBOSE,
)
_CONTINUES = re.compile(r"(?:else|elif|except|finally)\b|[)\]},:]")
_NEVER_IN_BRACKETS = re.compile(
    r"class[ \t]+\w|def[ \t]+\w|async[ \t]+def[ \t]|@\w|import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b"
)
_RESUMES = re.compile(
    r"^(?:class[ \t]+\w+[ \t]*[:(]|(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(|@[A-Za-z_][\w.]*[ \t]*(?:\(|$)"
    r"|import[ \t]+[\w.]+(?:[ \t]|$)|from[ \t]+[\w.]+[ \t]+import\b|[A-Za-z_]\w*[ \t]*(?::[^=\n]+)?=[^=])",
    re.MULTILINE,
)


def normalise_newlines(text: str) -> str:
    """The text with `\\n` alone as line end, as Python's own reader sees it; lines keep their numbers."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def split(text: str, previous: Split | None = None) -> Split:
    """Takes `text` apart (line ends must be `\\n`); what `previous` has in common with it is reused.

    The result does not depend on `previous`: where a segment ends is decided by its own text and the
    line after it, so segments before the edit (but the last) stand, and so do all that follow the
    first boundary after the edit at which an old segment began.
    """
    segments: list[Segment] = []
    position = 0
    resume: dict[int, int] = {}
    if previous is not None:
        for segment in previous.segments:
            if not text.startswith(segment.text, position):
                break
            segments.append(segment)
            position += len(segment.text)
        if segments:
            position -= len(segments.pop().text)
        end = len(text)
        for index in range(len(previous.segments) - 1, len(segments), -1):
            end -= len(previous.segments[index].text)
            if end <= position or not text.startswith(previous.segments[index].text, end):
                break
            resume[end] = index
    while position < len(text):
        segment = _read_segment(text, position)
        segments.append(segment)
        position += len(segment.text)
        if previous is not None and position in resume:
            segments.extend(previous.segments[resume[position] :])
            break
    return Split(tuple(segments), tuple(chunk for s in segments for chunk in s.chunks))


def _read_segment(text: str, begin: int) -> Segment:
    position, depth = begin, 0
    decorated = text.startswith("@", begin)
    comments: list[int] = []
    while True:
        token = _TOKEN.search(text, position)
        if token is None:
            return _segment(text[begin:], begin, comments, damaged=depth > 0)
        kind = token.lastgroup
        position = token.end()
        if kind == "comment":
            comments.append(token.start())
        elif kind == "triple":
            position = _end_of_triple(text, position, token.group())
            if position < 0:
                return _segment(text[begin:], begin, comments, damaged=True)
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "newline":
            if depth:
                if _NEVER_IN_BRACKETS.match(text, position):
                    return _segment(text[begin:position], begin, comments, damaged=True)
            elif not _CONTINUES.match(text, position):
                if not decorated:
                    return _segment(text[begin:position], begin, comments, damaged=False)
                decorated = text.startswith("@", position)


def _segment(text: str, begin: int, comments: list[int], *, damaged: bool) -> Segment:
    if not damaged:
        return Segment(text, (Chunk(text, _comments(text, [at - begin for at in comments])),))
    starts = [0]
    for match in _RESUMES.finditer(text, 1):
        line_above = text.rfind("\n", 0, match.start() - 1) + 1
        if not text.startswith("@", line_above):
            starts.append(match.start())
    pieces = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    return Segment(text, tuple(Chunk(piece, _comments_of_damaged(piece)) for piece in pieces))


def _comments_of_damaged(text: str) -> tuple[Comment, ...]:
    found: list[int] = []
    position = 0
    while token := _TOKEN.search(text, position):
        position = token.end()
        if token.lastgroup == "comment":
            found.append(token.start())
        elif token.lastgroup == "triple":
            position = _end_of_triple(text, position, token.group())
            if position < 0:
                break
    return _comments(text, found)


def _comments(text: str, positions: list[int]) -> tuple[Comment, ...]:
    found = []
    line = counted = 0
    for at in positions:
        line += text.count("\n", counted, at)
        counted = at
        before = text[text.rfind("\n", 0, at) + 1 : at]
        stop = text.find("\n", at)
        content = text[at:] if stop < 0 else text[at:stop]
        column = _width(before)
        span = Span(line, column, line, column + _width(content))
        found.append(Comment(content, not before.strip(), span))
    return tuple(found)


def _width(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _end_of_triple(text: str, position: int, quote: str) -> int:
    """Where the string ends that was opened before `position`, or -1."""
    while True:
        found = text.find(quote, position)
        if found < 0:
            return -1
        body = text[position:found]
        if (len(body) - len(body.rstrip("\\"))) % 2 == 0:
            return found + 3
        position = found + 1
