"""Sequences and whole texts under edits: nothing is lost, and what is added sits as a person would put it."""

from __future__ import annotations

import ast

import libcst as cst
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.fixes.base import Refused
from analyzers.fixes.entries import registered, rewritten
from analyzers.fixes.exports import changed_exports
from analyzers.fixes.imports import with_import
from analyzers.fixes.sequences import Layout, layout_of
from analyzers.fixes.texts import parse, source_of


def layout(text: str) -> Layout:
    node = cst.parse_expression(text)
    assert isinstance(node, (cst.List, cst.Tuple, cst.Dict))
    return layout_of(node)


SPACE = st.sampled_from(["", " ", "\n    ", "  # note\n    ", "\n    # own\n    ", "\n\n"])
NAMES = st.lists(st.from_regex(r"[A-Z][a-z]{0,40}", fullmatch=True), min_size=1, max_size=6, unique=True)


@st.composite
def displays(draw: st.DrawFn) -> tuple[str, list[str]]:
    names = draw(NAMES)
    opening, closing = draw(st.sampled_from(["[]", "()"]))
    trailing = draw(st.booleans()) or (opening == "(" and len(names) == 1)
    text = opening
    for index, name in enumerate(names):
        last = index == len(names) - 1
        text += draw(SPACE) + f'"{name}"' + ("," if trailing or not last else "")
    return text + draw(SPACE) + closing, names


@given(displays())
def test_a_layout_gives_its_text_back(display: tuple[str, list[str]]) -> None:
    text, names = display
    assert layout(text).text == text
    assert list(ast.literal_eval(text)) == names


@given(displays(), st.data())
def test_an_element_goes_and_the_others_stay(display: tuple[str, list[str]], data: st.DataObject) -> None:
    text, names = display
    index = data.draw(st.integers(0, len(names) - 1))
    result = layout(text).without(index).text
    assert ast.literal_eval(result) == type(ast.literal_eval(text))(names[:index] + names[index + 1 :])
    assert result.count("# own") == text.count("# own"), "a comment on a line of its own stays"


@given(displays(), st.data())
def test_an_element_comes_and_the_others_stay(display: tuple[str, list[str]], data: st.DataObject) -> None:
    text, names = display
    index = data.draw(st.integers(0, len(names)))
    result = layout(text).with_item('"new"', index, 10, "").text
    assert ast.literal_eval(result) == type(ast.literal_eval(text))([*names[:index], "new", *names[index:]])
    assert result.count("# note") == text.count("# note")
    assert result.count("# own") == text.count("# own")


def test_a_full_line_is_broken_where_it_would_become_too_long() -> None:
    names = [f'"{"x" * 30}{i}"' for i in range(3)]
    line = layout(f"[{', '.join(names)}]").with_item('"another"', 3, 10, "").text
    assert line == f'[\n    {", ".join(names)},\n    "another"\n]'


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_mark_come_back(newline: str, mark: str) -> None:
    text = mark + newline.join(["class A:", "    pass", ""])
    expected = text + newline.join(["", "", "EntryClass = A", ""])
    assert registered(text, "a.py", ["A"]) == expected


def test_mixed_line_ends_are_refused() -> None:
    with pytest.raises(Refused, match="mixes line ends"):
        source_of("a = 1\r\nb = 2\n", "a.py")


def test_a_form_feed_that_the_tree_would_lose_is_refused() -> None:
    assert parse("x = 1\n\f\ny = 2\n", "a.py").code == "x = 1\n\f\ny = 2\n"
    with pytest.raises(Refused, match="form feed"):
        parse("x = 1\n\fy = 2\n", "a.py")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("class A: ...", "class A: ...\n\n\nEntryClass = A\n"),
        ("class A: ...\n\n\n\n", "class A: ...\n\n\n\nEntryClass = A\n"),
        ("EntryClass = [B]\n", "EntryClass = [B, A]\n"),
        ("EntryClass = [\n    B,\n]\nx = 1\n", "EntryClass = [\n    B,\n    A,\n]\nx = 1\n"),
        ("EntryClass = (B, )\n", "EntryClass = (B, A, )\n"),
        ("EntryClass = B, C\n", "EntryClass = B, C, A\n"),
        ("EntryClass = []\n", "EntryClass = A\n"),
        ('EntryClass = "A",\n', 'EntryClass = "A",\n'),
    ],
)
def test_a_name_joins_the_entry_class(before: str, after: str) -> None:
    assert registered(before, "a.py", ["A"]) == after


@pytest.mark.parametrize(
    "text",
    [
        "EntryClass: type = B\n",
        "EntryClass = B\nEntryClass = C\n",
        "EntryClass = make(B)\n",
        "if x:\n    EntryClass = B\n",
        "EntryClass = Alias = B\n",
        "def f():\n    EntryClass = B\n",
    ],
)
def test_an_entry_class_that_is_not_plain_is_left_alone(text: str) -> None:
    with pytest.raises(Refused):
        registered(text, "a.py", ["A"])


def test_a_removed_entry_class_takes_its_comment_along() -> None:
    before, after = "from .m import A\n\n# models\nX = 1\n", "\n\ny = 2\n"
    entry = "\n# for the registry\n# (all)\nEntryClass = A  # here\n"
    assert rewritten(before + entry + after, "a.py", []) == before + after


def test_a_module_name_that_holds_import_survives() -> None:
    text = "from .important import A, B\n"
    path = "p/__init__.py"
    assert changed_exports(text, path, lambda e: e.without_import("B")) == "from .important import A\n"


def test_a_comment_above_a_dropped_import_stays() -> None:
    text = "from .a import A\n\n# the rest\nfrom .b import B\nfrom .c import C\n"
    result = changed_exports(text, "p/__init__.py", lambda e: e.without_import("B"))
    assert result == "from .a import A\n\n# the rest\nfrom .c import C\n"


IMPORT = "from home import name\n"
FOR_TYPES = "if TYPE_CHECKING:\n    from home import name\n\n\ndef f(x: name): ...\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1\n", f"{IMPORT}x = 1\n"),
        ('"""Doc."""\nimport torch\n', f'"""Doc."""\nimport torch\n{IMPORT}'),
        (IMPORT, IMPORT),
        ("from home import other\n", "from home import other, name\n"),
        ("from home import other as o\nx.name = f(name=1)\n", None),
        (f"from home import {'o' * 100}\n", f"from home import {'o' * 100}\n{IMPORT}"),
        ("from home import (\n    other,\n)\n", f"from home import (\n    other,\n)\n{IMPORT}"),
        (FOR_TYPES, IMPORT + FOR_TYPES),
    ],
)
def test_an_import_joins_its_like_or_follows_the_others(before: str, after: str | None) -> None:
    wanted = before.replace("as o", "as o, name") if after is None else after
    assert with_import(cst.parse_module(before), "home", "name").code == wanted


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import name\n",
        "from .home import name\n",
        "import name.inner\n",
        "from elsewhere import *\nname()\n",
        "name = 1\n",
        "class name: ...\n",
        "def f(name): ...\n",
        "for name in x: ...\n",
        "def f():\n    async def name(): ...\n",
    ],
)
def test_an_import_of_a_name_that_is_taken_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="means something else"):
        with_import(cst.parse_module(text), "home", "name")
