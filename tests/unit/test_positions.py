"""Columns of facts, of the command line and of editors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from analyzers.facts.positions import LineIndex
from lsp_server.positions import to_byte_column

LETTERS = st.text(alphabet=st.sampled_from("ab é\u4e2d😀\ud800\u0301\f\t"), max_size=12)


def utf8(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@given(LETTERS, LETTERS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_every_letter_boundary_is_found_again(first: str, second: str, end: str, mark: bool) -> None:
    index = LineIndex(("\ufeff" if mark else "") + first + end + second)
    assert list(index.lines) == [first, second]
    for line, text in enumerate((first, second)):
        for at in range(len(text) + 1):
            head = text[:at]
            assert index.code_points(line, utf8(head)) == len(head)
            assert index.utf16(line, utf8(head)) == utf16(head)
            assert to_byte_column(index, types.Position(line, utf16(head)), "utf-16") == utf8(head)


@given(LETTERS, st.integers(0, 40), st.integers(0, 3))
def test_what_lies_beyond_is_clamped(text: str, column: int, line: int) -> None:
    index = LineIndex(text)
    whole = text if line == 0 else ""
    assert index.code_points(line, column) <= len(whole)
    assert index.utf16(line, column) <= utf16(whole)
    assert to_byte_column(index, types.Position(line, column), "utf-16") <= utf8(whole)
    assert index.code_points(line, 1000) == len(whole)
    assert index.utf16(line, 1000) == utf16(whole)
    assert to_byte_column(index, types.Position(line, 1000), "utf-16") == utf8(whole)
    assert index.line(-1) == ""


def test_a_column_inside_a_letter_is_its_beginning() -> None:
    index = LineIndex("a😀b")
    assert [index.code_points(0, n) for n in range(7)] == [0, 1, 1, 1, 1, 2, 3]
    assert [index.utf16(0, n) for n in range(7)] == [0, 1, 1, 1, 1, 3, 4]
