"""Edits between two texts: right, minimal, and in the client's columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from lsp_server.documents import Document
from lsp_server.edits import text_edits

LETTERS = st.sampled_from(["a", "b", " ", "\n", "\r\n", "\r", "é", "\U0001f600", "\f", "\u2028"])
TEXTS = st.lists(LETTERS, max_size=30).map("".join)
ENCODINGS = st.sampled_from(list(types.PositionEncodingKind))


def document(text: str, encoding: types.PositionEncodingKind) -> Document:
    return Document(types.TextDocumentItem("file:///x.py", "python", 1, text), encoding)


@given(TEXTS, TEXTS, ENCODINGS)
def test_the_edits_lead_from_one_text_to_the_other(
    before: str, after: str, encoding: types.PositionEncodingKind
) -> None:
    opened = document(before, encoding)
    edits = text_edits(before, after, encoding)
    # Edits speak of the text before all of them: from the last to the first none moves another.
    for edit in reversed(edits):
        opened.apply(2, [types.TextDocumentContentChangePartial(edit.range, edit.new_text)])
    assert opened.text == after


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_an_edit_touches_nothing_else(newline: str) -> None:
    before = newline.join(["a = 1", "# \U0001f600é", 'b = "\U0001f600" + old', "", "c = 3"])
    (edit,) = text_edits(before, before.replace("old", "new"), types.PositionEncodingKind.Utf16)
    assert edit.new_text == "new"
    assert edit.range == types.Range(types.Position(2, 11), types.Position(2, 14))


def test_far_apart_changes_stay_apart() -> None:
    before = "".join(f"line {n}\n" for n in range(100))
    after = before.replace("line 3\n", "line three\n").replace("line 90\n", "")
    edits = text_edits(before, after, types.PositionEncodingKind.Utf16)
    assert [edit.range.start.line for edit in edits] == [3, 90]
    assert len(edits[0].new_text) <= len("three")


@given(TEXTS, ENCODINGS, st.data())
def test_a_change_lands_where_the_client_meant_it(
    text: str, encoding: types.PositionEncodingKind, data: st.DataObject
) -> None:
    """Against the plain reading of the specification: lines end at \\n, \\r\\n or \\r, and nowhere else."""
    starts = [0]
    for index, letter in enumerate(text):
        if letter == "\n" or (letter == "\r" and text[index + 1 : index + 2] != "\n"):
            starts.append(index + 1)
    line = data.draw(st.integers(0, len(starts) - 1))
    end = starts[line + 1] if line + 1 < len(starts) else len(text)
    content = text[starts[line] : end].rstrip("\r\n")
    column = data.draw(st.integers(0, len(content)))
    codec = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}[encoding.value]
    units = len(content[:column].encode(codec[0])) // codec[1]
    opened = document(text, encoding)
    place = types.Position(line, units)
    opened.apply(2, [types.TextDocumentContentChangePartial(types.Range(place, place), "X")])
    assert opened.text == text[: starts[line] + column] + "X" + text[starts[line] + column :]
