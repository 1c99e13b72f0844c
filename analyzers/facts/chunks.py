"""Text -> top-level chunks, and again after an edit without looking at what the edit left alone.

A chunk starts at a statement in column 0 and reaches to the next one. Strings and brackets are
respected, decorators stay with what they decorate, `else`, `except` and closing brackets stay with
what they continue. The chunks joined give the text back.

While someone types, brackets and triple quotes are open most of the time. A bracket that is still
open where a line begins with `class`, `def`, a decorator, `import`, `from ... import` or the head of
a block is taken to be unfinished, since none of these stands inside brackets at column 0. Where the
scan ends inside a string or a bracket, the damaged stretch is split again at every line that looks
like a statement at column 0: intact definitions below the damage keep their chunks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from analyzers.facts.model import Comment
from analyzers.findings import Span

BYTE_ORDER_MARK = "\ufeff"

NESTED_QUOTES = sys.version_info >= (3, 12)
"""Since Python 3.12 an f-string's expressions may hold its own quote, line ends and comments."""


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


# What lies between tokens, brackets on one line included, is passed over inside the pattern: a match
# for each of them would cost ten times as much. `end` matches where nothing else does, so that the
# pattern never has to go back.
_TOKEN = r"""
    (?: [^\#"'()\[\]{}\\\n]+ | \n(?!INDENT[^\s\#])
      | \([^\#"'()\[\]{}\\\n]*\) | \[[^\#"'()\[\]{}\\\n]*\] )*
    (?: (?P<comment>\#[^\n]*)
      | (?P<triple>\"\"\"|''')
      | (?P<string>"(?:[^"\\\n]|\\.|\\\n)*"? | '(?:[^'\\\n]|\\.|\\\n)*'?)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<joined>\\\n?)
      | (?P<newline>\n)
      | (?P<end>\Z) )
"""
_CONTINUES = r"INDENT(?:(?:else|elif|except|finally)\b|[)\]},:])"
_DEFINES = r"(?:class[ \t]+\w|def[ \t]+\w|async[ \t]+def[ \t])"
_BLOCK = r"(?:(?:if|for|while|with|match)\b[^\n]*|try[ \t]*):[ \t]*(?:\#[^\n]*)?$"
# A line `@name` may also be the operator inside brackets: a decorator is followed by a definition.
_NEVER_IN_BRACKETS = (
    rf"INDENT(?:{_DEFINES}|import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b"
    rf"|{_BLOCK}|@\w[^\n]*\n(?:INDENT@\w[^\n]*\n)*INDENT{_DEFINES})"
)
_RESUMES = (
    r"^INDENT(?:class[ \t]+\w+[ \t]*[:(]|(?:async[ \t]+)?def[ \t]+\w+[ \t]*\("
    rf"|@[A-Za-z_][\w.]*[ \t]*(?:\(|$)|{_BLOCK}"
    r"|import[ \t]+[\w.]+(?:[ \t]|$)|from[ \t]+[\w.]+[ \t]+import\b"
    r"|[A-Za-z_]\w*[ \t]*(?::[^=\n]+)?=[^=])"
)
_BEGINS = re.compile(
    r"[ \t]*(?:(?:class|def|async[ \t]+def|return|raise|import|with|while|assert|del|pass)\b|@\w+[^\n]*\n"
    r"|(?:try|else|finally)[ \t]*:|(?:if|for|elif|except)\b[^\n]*:[ \t]*(?:\#[^\n]*)?$"
    r"|[\w.]+(?:[ \t]*:[^=\n]+)?[ \t]+=[ \t])",
    re.MULTILINE,
)
_FORMATTED = re.compile(r"(?<!\w)(?:[ft]r?|r[ft])\Z", re.IGNORECASE)
_IN_FORMATTED = re.compile(r"\\N\{[^}\n]*\}|\\[^{}]|\{\{|\}\}|[{}\n\"']", re.DOTALL)
_IN_FIELD = re.compile(r"\#[^\n]*|\"\"\"|'''|[\"'(\[{)\]}:]")
_BRACE = re.compile(r"[{}]")
_IN_PLAIN = {quote: re.compile(rf"\\.|\n|{quote}", re.DOTALL) for quote in "\"'"}


@dataclass(frozen=True, slots=True)
class _Level:
    """The patterns for statements that begin at one indentation."""

    indent: str
    token: re.Pattern[str]
    continues: re.Pattern[str]
    never_in_brackets: re.Pattern[str]
    resumes: re.Pattern[str]
    defines: re.Pattern[str]


@lru_cache(maxsize=64)
def _level(indent: str) -> _Level:
    def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
        return re.compile(pattern.replace("INDENT", re.escape(indent)), flags)

    return _Level(
        indent,
        compiled(_TOKEN, re.VERBOSE),
        compiled(_CONTINUES),
        compiled(_NEVER_IN_BRACKETS, re.MULTILINE),
        compiled(_RESUMES, re.MULTILINE),
        compiled(f"^INDENT{_DEFINES}", re.MULTILINE),
    )


_TOP = _level("")
_EVERY_LINE = re.compile(re.sub(r"\| \\n\(\?!INDENT[^)]*\)", "", _TOKEN), re.VERBOSE)


def normalise_newlines(text: str) -> str:
    """The text as Python's own reader sees it: `\\n` alone ends lines, no byte order mark.

    Lines keep their numbers.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
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
    known = {chunk.text: chunk for chunk in previous.chunks} if previous is not None else {}
    while position < len(text):
        segment = _segment(text, position, known)
        segments.append(segment)
        position += len(segment.text)
        if previous is not None and position in resume:
            segments.extend(previous.segments[resume[position] :])
            break
    return Split(tuple(segments), tuple(chunk for s in segments for chunk in s.chunks))


def split_body(text: str, indent: str) -> tuple[str, ...]:
    """The statements of a block whose lines begin with `indent`, as `split` finds those of a file.

    `text` begins at the start of a line. The stretches joined give it back.
    """
    level = _level(indent)
    found: list[str] = []
    position = 0
    while position < len(text):
        end, _, damaged = _read(text, position, level)
        found.extend(_pieces(text[position:end], level) if damaged else [text[position:end]])
        position = end
    return tuple(found)


def logical_lines(text: str, *, damaged: bool) -> list[range]:
    """The lines (from 0) of each statement of a chunk, at any depth; of a compound one, its head.

    Decorators count to what they decorate. `damaged`: the chunk does not parse; then a bracket that is
    open where a line can only begin a statement is taken to be unfinished.
    """
    found: list[range] = []
    begin: int | None = None
    depth = line = position = 0
    # `fresh`: no code of the logical line has been seen yet.
    fresh, decorated = True, False
    while (token := _EVERY_LINE.match(text, position)) is not None:
        kind = token.lastgroup or "end"
        at = token.start(kind)
        code = text[position:at].strip() or ("" if kind in ("comment", "newline", "end") else text[at])
        if code and fresh:
            fresh, decorated = False, code.startswith("@")
            begin = line if begin is None else begin
        position = token.end()
        if kind in ("string", "triple"):
            position = _end_of_string(text, token, [])
            position = len(text) if position < 0 else position
            line += text.count("\n", at, position)
        elif kind == "joined":
            line += token.group().count("\n")
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "newline":
            line += 1
            if damaged and depth and _BEGINS.match(text, position):
                depth = 0
            if not depth and not fresh:
                fresh = True
                if begin is not None and not decorated:
                    found.append(range(begin, line))
                    begin = None
        elif kind == "end":
            if begin is not None:
                found.append(range(begin, line + 1))
            break
    return found


def resplit(text: str, indent: str = "") -> tuple[str, ...]:
    """A statement that Python rejects, cut where others may begin inside it.

    An open triple quote turns what follows inside out: code becomes text, docstrings become code, and
    a quote in one of those may end it all as if nothing were wrong. Only a statement with a triple
    quote is cut.
    """
    if '"""' in text or "'''" in text:
        return tuple(_pieces(text, _level(indent)))
    return (text,)


def read_damaged(text: str) -> Chunk:
    """A piece of damaged text as a chunk."""
    return Chunk(text, _comments_of_damaged(text))


def _segment(text: str, begin: int, known: Mapping[str, Chunk]) -> Segment:
    end, comments, damaged = _read(text, begin, _TOP)
    content = text[begin:end]
    if damaged:
        pieces = _pieces(content, _TOP)
        return Segment(content, tuple(known.get(p) or read_damaged(p) for p in pieces))
    found = known.get(content) or Chunk(content, _comments(content, [at - begin for at in comments]))
    return Segment(content, (found,))


def _read(text: str, begin: int, level: _Level) -> tuple[int, list[int], bool]:
    """Where the statement ends that begins at `begin`, its comments, and whether it is damaged."""
    position, depth = begin, 0
    decorator = level.indent + "@"
    decorated = text.startswith(decorator, begin)
    comments: list[int] = []
    match = level.token.match
    while (token := match(text, position)) is not None:
        kind = token.lastgroup
        position = token.end()
        if kind == "comment":
            comments.append(token.start(kind))
        elif kind == "triple":
            position = _end_of_string(text, token, comments)
            if position < 0:
                return len(text), comments, True
        elif kind == "string":
            if NESTED_QUOTES:
                position = _end_of_string(text, token, comments)
        elif kind == "open":
            depth += 1
        elif kind == "close":
            depth = max(0, depth - 1)
        elif kind == "newline":
            if depth:
                if level.never_in_brackets.match(text, position):
                    return position, comments, True
            elif not level.continues.match(text, position):
                if not decorated:
                    return position, comments, False
                decorated = text.startswith(decorator, position)
        elif kind == "end":
            break
    return len(text), comments, depth > 0


def _pieces(text: str, level: _Level) -> list[str]:
    """A damaged stretch, cut at every line that looks like a statement of this level."""
    starts = [0]
    decorated = text.startswith(level.indent + "@")
    for match in level.resumes.finditer(text, 1):
        # What follows a decorator belongs to it until the definition has come.
        if not (decorated and not level.defines.search(text, starts[-1], match.start())):
            starts.append(match.start())
            decorated = text.startswith(level.indent + "@", match.start())
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def _comments_of_damaged(text: str) -> tuple[Comment, ...]:
    found: list[int] = []
    position = 0
    while (token := _TOP.token.match(text, position)) and token.lastgroup != "end":
        position = token.end()
        if token.lastgroup == "comment":
            found.append(token.start("comment"))
        elif token.lastgroup in ("triple", "string"):
            position = _end_of_string(text, token, found)
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


def _end_of_string(text: str, token: re.Match[str], comments: list[int]) -> int:
    """Where the string ends that begins with `token`, or -1 for a triple quote that stays open.

    Comments inside an f-string's fields are added to `comments`.
    """
    triple = token.lastgroup == "triple"
    begin = token.start(token.lastgroup or 0)
    quote = text[begin : begin + (3 if triple else 1)]
    if NESTED_QUOTES and _FORMATTED.search(text, max(begin - 3, 0), begin):
        inside: list[int] = []
        end = _end_of_formatted(text, begin + len(quote), quote, inside)
        if end >= 0:
            comments.extend(inside)
            return end
    return _end_of_triple(text, token.end(), quote) if triple else token.end()


def _end_of_triple(text: str, position: int, quote: str) -> int:
    """Where the string ends that was opened before `position`, or -1."""
    while True:
        found = text.find(quote, position)
        if found < 0:
            return -1
        slashes = found
        while slashes > position and text[slashes - 1] == "\\":
            slashes -= 1
        if (found - slashes) % 2 == 0:
            return found + 3
        position = found + 1


def _end_of_formatted(text: str, position: int, quote: str, comments: list[int]) -> int:
    """Where the f-string ends that was opened before `position`, or -1 where it stays open."""
    while token := _IN_FORMATTED.search(text, position):
        position = token.end()
        found = token.group()
        if found == "{":
            position = _end_of_field(text, position, comments)
            if position < 0:
                return -1
        elif text.startswith(quote, token.start()):
            return token.start() + len(quote)
        elif found == "\n" and len(quote) == 1:
            return -1
    return -1


def _end_of_field(text: str, position: int, comments: list[int]) -> int:
    """Where the `{expression!r:format}` ends whose brace was opened before `position`, or -1."""
    depth = 0
    while token := _IN_FIELD.search(text, position):
        position = token.end()
        found = token.group()
        if found[0] == "#":
            comments.append(token.start())
        elif found[0] in "\"'":
            position = _end_of_nested(text, token.start(), found, comments)
            if position < 0:
                return -1
        elif found in "([{":
            depth += 1
        elif found in ")]}":
            if depth == 0:
                return position if found == "}" else -1
            depth -= 1
        elif found == ":" and depth == 0:
            # The format runs to the closing brace and may hold fields of its own.
            while part := _BRACE.search(text, position):
                if part.group() == "}":
                    return part.end()
                position = _end_of_field(text, part.end(), comments)
                if position < 0:
                    return -1
            return -1
    return -1


def _end_of_nested(text: str, begin: int, quote: str, comments: list[int]) -> int:
    """Where a string ends that stands in an f-string's field, or -1."""
    position = begin + len(quote)
    if _FORMATTED.search(text, max(begin - 3, 0), begin):
        return _end_of_formatted(text, position, quote, comments)
    if len(quote) == 3:
        return _end_of_triple(text, position, quote)
    while token := _IN_PLAIN[quote].search(text, position):
        if token.group() == quote:
            return token.end()
        if token.group() == "\n":
            return -1
        position = token.end()
    return -1
