"""Two texts -> the smallest edits between them, so that cursors, folds and undo survive a fix."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from lsprotocol import types

from analyzers.facts.positions import LineIndex
from analyzers.findings import Span
from lsp_server.positions import Encoding, to_range


def text_edits(before: str, after: str, encoding: Encoding) -> list[types.TextEdit]:
    """Edits that turn `before` into `after`, in order and without overlap; line ends are kept."""
    lines = LineIndex(before)
    return [
        types.TextEdit(to_range(_span(before, begin, end), lines, encoding), replacement)
        for begin, end, replacement in _changes(before, after)
    ]


def _changes(before: str, after: str) -> Iterator[tuple[int, int, str]]:
    """(begin, end, replacement) in characters of `before`."""
    old, new = _split(before), _split(after)
    # What both share at either end needs no matching: fixes touch a few lines of a long file.
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    offsets = [sum(map(len, old[:head]))]
    for line in middle_old:
        offsets.append(offsets[-1] + len(line))
    matcher = SequenceMatcher(None, middle_old, middle_new, autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            yield _trimmed(offsets[a], "".join(middle_old[a:b]), "".join(middle_new[c:d]))


def _trimmed(begin: int, old: str, new: str) -> tuple[int, int, str]:
    """A change without what both sides share at its ends; a line end of two characters stays whole."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    if head and old[head - 1] == "\r":
        head -= 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    if (
        tail
        and old[len(old) - tail] == "\n"
        and (old[: len(old) - tail] + new[: len(new) - tail]).endswith("\r")
    ):
        tail -= 1
    return begin + head, begin + len(old) - tail, new[head : len(new) - tail]


def _split(text: str) -> list[str]:
    """The lines with their ends, split as an editor splits them."""
    lines: list[str] = []
    for piece in text.splitlines(keepends=True):
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += piece  # `splitlines` also splits at form feeds and the like
        else:
            lines.append(piece)
    return lines


def _span(text: str, begin: int, end: int) -> Span:
    line, column = _place(text, begin)
    end_line, end_column = _place(text, end)
    return Span(line, column, end_line, end_column)


def _place(text: str, offset: int) -> tuple[int, int]:
    """Line and byte column of a character's offset."""
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    start = before.rfind("\n") + 1
    return before.count("\n"), len(before[start:].encode("utf-8", "surrogatepass"))
