"""Taking a text apart: nothing is lost, the way there does not matter, damage stays where it is."""

from __future__ import annotations

import io
import sys
import tokenize

import pytest
from facts_texts import SOURCE, edited
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.facts import chunks
from analyzers.facts.chunks import Split, normalise_newlines, split, split_body


def assert_lossless(parts: Split, text: str) -> None:
    assert "".join(c.text for c in parts.chunks) == text
    assert "".join(s.text for s in parts.segments) == text
    assert all(c.text for c in parts.chunks)


@given(edited())
@settings(max_examples=400)
def test_an_edit_gives_what_reading_anew_gives(states: list[str]) -> None:
    previous: Split | None = None
    for text in states:
        previous = split(text, previous)
        assert_lossless(previous, text)
        assert previous == split(text)


@given(st.text(alphabet=st.sampled_from("ab(){}[]\"'#\\\n @:=\t,f"), max_size=60), st.data())
@settings(max_examples=300)
def test_any_text_can_be_edited(text: str, data: st.DataObject) -> None:
    first = split(text)
    assert_lossless(first, text)
    at = data.draw(st.integers(0, len(text)))
    other = text[:at] + data.draw(st.text(alphabet="ab()\"'#\\\n@", max_size=3)) + text[at + 1 :]
    assert split(other, first) == split(other)


@given(edited())
def test_bodies_are_lossless(states: list[str]) -> None:
    for text in states:
        for indent in ("", "    ", "\t"):
            assert "".join(split_body(text, indent)) == text


def test_chunks_are_statements() -> None:
    begins = [c.text.split("\n")[0] for c in split(SOURCE).chunks]
    assert begins == [
        '"""What it is."""',
        "import os",
        "from a import (",
        "@decorated",
        "if c:",
        "try:",
        "z = {",
        "async def h():",
        "EntryClass = [A]",
    ]


def test_members_are_statements() -> None:
    text = "    x = [\n1]\n    @a\n    # why\n    def f(self):\n        '''\n    no = 1\n'''\n"
    text += "\n    class B:\n        y = 1\n"
    assert [m.split("\n")[0].strip() for m in split_body(text, "    ")] == ["x = [", "@a", "class B:"]


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        ("x = f(", ["x = f("]),
        ("x = [1, {", ["x = [1, {"]),
        ('x = """', ['x = """']),
        ("def f(a, b=(", ["def f(a, b=("]),
        ("@decorated(", ["@decorated("]),
        ("x = 'open", []),
        ("x = )", []),
    ],
)
def test_damage_leaves_what_follows_alone(damage: str, lost: list[str]) -> None:
    before, after = (
        "import a\n\n\n",
        "\n\n\nclass A:\n    x = '''(\n'''\n\n\n@b\n@c(\n    1)\ndef d():\n    pass\n",
    )
    intact = [c.text for c in split(before + "y = 1" + after).chunks]
    damaged = [c.text for c in split(before + damage + after).chunks]
    assert damaged[0] == intact[0]
    if damage.startswith("@"):
        assert damaged[-1] == intact[-1]  # a decorator takes the class below it along
    else:
        assert damaged[-2:] == intact[-2:]


def test_an_edit_keeps_the_chunks_of_the_others() -> None:
    first = split(SOURCE)
    second = split(SOURCE.replace("x: int = 3", "x: int = f(3"), first)
    kept = [c for c in second.chunks if any(c is old for old in first.chunks)]
    assert len(kept) == len(first.chunks) - 1


def test_line_ends_and_byte_order_mark_are_python_s() -> None:
    assert normalise_newlines("\ufeffa\r\nb\rc\n") == "a\nb\nc\n"


NESTED = [
    'f"{a["b"]}" # c\nx = 1\n',
    "x = f'{f('{1}')}'  # why (\ny = 2\n",
    'x = f"{\n    a  # inside "\n}"\ny = 2\n',
    'x = f"""{\na["""b"""]}"""\nclass A: pass\n',
    "x = f'{{{a!r:>{b['c']}}}} # no'\ny = 1 # yes\n",
    'x = rf"\\{a["("]}\\d"\ny = f"\\{1}\\N{DASH}{"{"}"\nz = 1\n',
    "x = f'{lambda: 1}'\ny = f'{(lambda: {1: 2}[1])():d}'\nz = 3\n",
    "x = f'{a:%Y-%m #}'  # yes\n",
    "x = af'(' + fb\ny = 1\n".replace("af'('", "a['(']"),
]


@pytest.mark.parametrize("text", NESTED)
def test_nested_quotes_of_newer_pythons(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the running Python reads them, its tokenizer is asked; the scanner is tried on all."""
    monkeypatch.setattr(chunks, "NESTED_QUOTES", True)
    found = split(text).chunks
    lines = text.split("\n")
    first_statements = {"x = 1", "y = 2", "y = 1", "z = 1", "z = 3", "class A: pass", "y = 1 # yes"}
    assert found[-1].text.strip() in first_statements | {text.strip()}
    comments = [c.text for chunk in found for c in chunk.comments]
    if sys.version_info >= (3, 12):
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        assert comments == [t.string for t in tokens if t.type == tokenize.COMMENT]
    else:
        assert all(any(c in line for line in lines) for c in comments)


@pytest.mark.parametrize("text", ['x = f"{a', "x = f'{a}", "f'{a:{", 'f"""{a', "f'{\"", "f'{'''", "f'{f'"])
def test_open_f_strings_are_damage(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "NESTED_QUOTES", True)
    after = "\n\n\nclass A:\n    pass\n"
    assert split(text + after).chunks[-1].text == "class A:\n    pass\n"


def test_long_texts_are_read_in_linear_time() -> None:
    """Nothing here takes time that grows with the square; the suite's timeout would tell."""
    for text in ("(" * 200_000, "'\\" * 100_000, '"""' + '\\"""' * 50_000, "@a\n" * 50_000, "# \n" * 100_000):
        assert_lossless(split(text), text)
    assert_lossless(split("x = 1\n" * 50_000), "x = 1\n" * 50_000)
