"""JSON with places: every value stands where its span says, and malformed texts give nothing."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.facts.json_text import DEPTH, JsonNode, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def plain(node: JsonNode) -> object:
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return node.value


def below(node: JsonNode) -> list[JsonNode]:
    return [node, *(n for item in (*node.items, *node.members.values()) for n in below(item))]


def text_at(text: str, node: JsonNode) -> str:
    lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n")]
    span = node.span
    if span.line == span.end_line:
        found = [lines[span.line][span.column : span.end_column]]
    else:
        between = lines[span.line + 1 : span.end_line]
        found = [lines[span.line][span.column :], *between, lines[span.end_line][: span.end_column]]
    return b"\n".join(found).decode("utf-8", "surrogatepass")


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_values_and_places(value: object, indent: int | None, ascii_only: bool) -> None:
    text = f"\n {json.dumps(value, indent=indent, ensure_ascii=ascii_only)} \n"
    document = read_json(text)
    assert document is not None
    assert plain(document) == json.loads(text)
    for node in below(document):
        assert json.loads(text_at(text, node)) == plain(node)


@given(st.text(alphabet='{}[]",:\\ntrue12.-e \n', max_size=24))
def test_accepts_what_python_accepts(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        assert read_json(text) is None
        return
    document = read_json(text)
    assert document is not None
    assert plain(document) == wanted


@pytest.mark.parametrize(
    "text", ["", " ", "{", '{"a" 1}', '{"a": 1,}', "[1 2]", '"\n"', "{} x", "\ufeff{}", "01"]
)
def test_malformed(text: str) -> None:
    assert read_json(text) is None


def test_a_number_that_python_refuses_is_malformed() -> None:
    text = "9" * 1_000_000
    with pytest.raises(ValueError, match="Exceeds the limit"):
        json.loads(text)
    assert read_json(f"[{text}]") is None


def test_lines_of_any_kind_and_letters_of_any_width() -> None:
    text = '{"é": 1,\r\n"b": "ü\U0001f600",\r"c": 2}'
    document = read_json(text)
    assert document is not None
    assert (document.members["b"].span.line, document.members["b"].span.column) == (1, 5)
    assert document.members["b"].span.end_column == 5 + len('"ü\U0001f600"'.encode())
    assert (document.members["c"].span.line, document.members["c"].span.column) == (2, 5)


def test_nesting_is_bounded() -> None:
    assert read_json("[" * DEPTH + "]" * DEPTH) is not None
    assert read_json("[" * 100_000 + "]" * 100_000) is None


def test_one_long_line_is_read_in_one_go() -> None:
    """Columns are counted on from the last one: a dump of many names may be written without a line break."""
    names = {f"blocks.{number}.to_q.wéight": [64, 64] for number in range(20_000)}
    text = json.dumps(names, ensure_ascii=False)
    began = time.process_time()
    node = read_json(text)
    assert time.process_time() - began < 20
    assert node is not None
    *_, (name, last) = node.members.items()
    assert name == "blocks.19999.to_q.wéight"
    assert text.encode()[last.span.column : last.span.end_column] == b"[64, 64]"
