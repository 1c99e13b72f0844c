"""Facts of the real package: read chunk by chunk they are those of the whole text."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from pathlib import Path
from typing import Any

import pytest
from facts_texts import moved

from analyzers.facts.extract import extract_tree
from analyzers.facts.file import analyse
from analyzers.facts.model import CallFact, ChunkFacts, FileFacts, Placed


def absolute(placed: tuple[Placed[Any], ...]) -> list[Any]:
    return [moved(item.fact, item.line) for item in placed]


def whole_facts(text: str) -> ChunkFacts:
    """The facts of a text read in one piece."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return extract_tree(ast.parse(text), text)


def tokenized_comments(text: str) -> list[tuple[int, int, str]]:
    """Line, code point column and text of every comment, by Python's own tokenizer."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [(t.start[0] - 1, t.start[1], t.string) for t in tokens if t.type == tokenize.COMMENT]


def comments_of(facts: FileFacts, text: str) -> list[tuple[int, int, str]]:
    lines = text.split("\n")
    found = []
    for item in facts.comments:
        span = item.at(item.fact.span).span
        before = lines[span.line].encode()[: span.column].decode()
        assert item.fact.own_line == (not before.strip())
        assert span.end_column - span.column == len(item.fact.text.encode())
        found.append((span.line, len(before), item.fact.text))
    return found


def assert_same_facts(text: str) -> None:
    facts = analyse("file.py", text)
    assert "".join(chunk.text for chunk in facts.chunks) == text
    assert not facts.broken, facts.problems
    whole = whole_facts(text)
    assert absolute(facts.imports) == list(whole.imports)
    assert absolute(facts.assignments) == list(whole.assignments)
    assert absolute(facts.classes) == list(whole.classes)
    assert absolute(facts.functions) == list(whole.functions)
    calls: list[CallFact] = absolute(facts.calls)
    assert calls == list(whole.calls)
    assert sorted(absolute(facts.entries), key=lambda e: e.depth) == list(whole.entries)
    assert facts.has_class == whole.has_class
    assert facts.docstring == whole.docstring
    assert comments_of(facts, text) == tokenized_comments(text)


FOLDERS = ("fastvideo/models", "fastvideo/configs", "fastvideo/pipelines", "fastvideo", "tests", "")


@pytest.mark.parametrize("folder", FOLDERS)
def test_facts_from_chunks_are_those_of_the_whole_file(fastvideo: Path, folder: str) -> None:
    """Each file belongs to the first of the folders that holds it."""
    checked = 0
    for path in sorted((fastvideo / folder).rglob("*.py")):
        relative = path.relative_to(fastvideo).as_posix()
        owner = next(f for f in FOLDERS if not f or relative.startswith(f + "/"))
        if owner != folder:
            continue
        text = path.read_text(encoding="utf-8")
        try:
            assert_same_facts(text)
        except AssertionError as error:
            raise AssertionError(f"{relative}: {error}") from error
        checked += 1
    assert checked > 10, "the package is not complete"


SMALL = {
    "nothing": "",
    "only a comment": "# a comment",
    "a docstring below comments": '# licence\n\n"""What this is."""\n\nx = 1\n',
    "a string that is no docstring": 'x = 1\n"""Not a docstring."""\n',
    "decorators with comments between": "@a\n# why\n@b(\n    1,\n)\n\nclass X:\n    pass\n",
    "the operator @ at column 0": "x = (a\n@b\n@c\n)\ny = 1\n",
    "brackets closed at column 0": "x = [\n1,\n2\n]\nfor a in x:\n    pass\nelse:\n    y = 2\n",
    "strings that look like code": 'x = """\nclass A:\n    pass\nEntryClass = A\n"""\nclass B:\n    pass\n',
    "escaped quotes": 'x = \'a\\\'b\'\ny = """a\\"""b"""\nz = r\'\\\'\n'.replace("r'\\'", "r'\\\\'"),
    "joined lines": "x = 1 + \\\n2\nif x and \\\n  y: pass\nclass A: \\\n\n  x = 1\n",
    "form feeds": "x = 1\n\f\nclass A:\n    y = 2\n\f\n    z = 3\n",
    "tabs": "class A:\n\tdef f(self):\n\t\tself.x = 1\n\n\tdef g(self): pass\n",
    "wide letters": "é = '😀' # ä 😀\nclass Ä: # ß\n    ö = f(é) # ü\n",
    "if, try, with, match": (
        "if a:\n    class A: pass\nelif b:\n    import c\nelse:\n    def f(): pass\n"
        "try:\n    from d import e\nexcept (KeyError, ImportError):\n    e = None\nfinally:\n    g()\n"
        "with open(h) as i:\n    j = i.read()\n"
        "match k:\n    case 1:\n        EntryClass = A\n    case _:\n        l = m(n)\n"
    ),
    "one line": "import a; import b; x = 1; class_ = 2\n",
    "no end of line": "class A:\n    def f(self): return self.x",
    "an empty last line with blanks": "class A:\n    pass\n    ",
    "statement after a comment at column 0 in a class": "class A:\n# why\n    x = 1\n# why\n    y = 2\n",
}


@pytest.mark.parametrize("text", SMALL.values(), ids=SMALL.keys())
def test_small_texts_have_the_facts_of_the_whole(text: str) -> None:
    assert_same_facts(text)


def test_long_sums_are_read() -> None:
    facts = analyse("file.py", "class A:\n    pass\n\n\nx = " + " + ".join(["f(1)"] * 800) + "\n")
    assert not facts.broken
    assert len(facts.calls) == 800
