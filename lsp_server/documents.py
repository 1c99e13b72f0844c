"""The open documents, kept in step with the client.

pygls has a store of its own, but that one splits lines wherever `str.splitlines` does (a form feed is
a line to it and none to an editor) and rebuilds the whole text several times a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from lsprotocol import types
from pygls.uris import from_fs_path, to_fs_path

from analyzers.facts.positions import LineIndex
from lsp_server.positions import Encoding, code_points_before

_LINE_END = re.compile(r"\r\n|\n|\r")


class Document:
    """One open document: its text at its version. Only the event loop touches it."""

    def __init__(self, item: types.TextDocumentItem, encoding: Encoding) -> None:
        self.uri = item.uri
        self.language = item.language_id
        self.version = item.version
        self.encoding = encoding
        self.file = file_of(item.uri)
        self._text = item.text
        self._lines: LineIndex | None = None

    @property
    def text(self) -> str:
        """The text, line ends as the client sent them."""
        return self._text

    @property
    def lines(self) -> LineIndex:
        """The lines of the present text."""
        if self._lines is None:
            self._lines = LineIndex(self._text)
        return self._lines

    def apply(self, version: int, changes: Sequence[types.TextDocumentContentChangeEvent]) -> None:
        """Changes the text; each change counts its positions in the text that the one before it left."""
        for change in changes:
            if isinstance(change, types.TextDocumentContentChangePartial):
                begin = self._offset(change.range.start)
                end = max(begin, self._offset(change.range.end))
                self._text = self._text[:begin] + change.text + self._text[end:]
            else:
                self._text = change.text
        self._lines = None
        self.version = version

    def _offset(self, position: types.Position) -> int:
        begin = _line_start(self._text, position.line)
        if begin is None:
            return len(self._text)
        end = _LINE_END.search(self._text, begin)
        line = self._text[begin : end.start() if end is not None else len(self._text)]
        return begin + code_points_before(line, position.character, self.encoding)


class Documents:
    """The open documents by URI."""

    def __init__(self) -> None:
        self._open: dict[str, Document] = {}

    def __iter__(self) -> Iterator[Document]:
        return iter(self._open.values())

    def get(self, uri: str) -> Document | None:
        """The open document of that URI, or None."""
        return self._open.get(uri)

    def open(self, item: types.TextDocumentItem, encoding: Encoding) -> None:
        """Takes a document up."""
        self._open[item.uri] = Document(item, encoding)

    def change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Changes a document; one that was never opened is left alone."""
        document = self._open.get(params.text_document.uri)
        if document is not None:
            document.apply(params.text_document.version, params.content_changes)

    def close(self, uri: str) -> None:
        """Lets a document go."""
        self._open.pop(uri, None)


def file_of(uri: str) -> Path | None:
    """The file of a URI; None for what is no file (untitled, a notebook's cell, a version under review)."""
    path = to_fs_path(uri)
    return Path(path) if path else None


def uri_of(root: Path, path: str) -> str:
    """The URI of a file below a root."""
    uri = from_fs_path(str(root / path))
    assert isinstance(uri, str)  # None only for what is no string
    return uri


def _line_start(text: str, line: int) -> int | None:
    """Where a line begins, counted from 0; None beyond the last one."""
    if line == 0:
        return 0
    if "\r" in text:
        return next((end.end() for end in islice(_LINE_END.finditer(text), line - 1, None)), None)
    # One split in C: this is in the path of every key.
    pieces = text.split("\n", line)
    return len(text) - len(pieces[-1]) if len(pieces) == line + 1 else None
