"""Suppressions: which statement they speak for, and what is said of them themselves."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzers.facts.chunks import logical_lines
from analyzers.facts.file import FileAnalysis, analyse
from analyzers.facts.model import FileFacts
from analyzers.findings import Finding, Location, Severity, Span
from analyzers.rules.suppressions import apply_suppressions, directive_for, find_suppressions

CHECKED = frozenset({"DIT401", "nn-linear-hot-path", "DIT403", "raw-sdpa"})
NAMES = {"DIT401": "nn-linear-hot-path", "DIT403": "raw-sdpa", "DIT901": "parity-red"}
MARK = "BAD"


def finding(code: str, line: int) -> Finding:
    span = Span(line, 0, line, 1)
    return Finding(code, NAMES[code], Severity.WARNING, Location("a.py", span), "bad")


def findings_at_marks(text: str, code: str = "DIT401") -> list[Finding]:
    """A finding on every line that holds the mark (the marks are names in the text)."""
    rows = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [finding(code, n) for n, row in enumerate(rows) if MARK in row]


def applied(text: str, facts: FileFacts | None = None) -> list[tuple[str, int]]:
    """(code, line) of what remains, by place."""
    suppressions = find_suppressions(facts if facts is not None else analyse("a.py", text))
    found = apply_suppressions(findings_at_marks(text), suppressions, CHECKED)
    return sorted((f.code, f.location.span.line) for f in found)


IGNORE = "# ditproof: ignore[DIT401] it is meant"

SILENT = {
    "trailing": f"x = BAD  {IGNORE}\n",
    "above": f"{IGNORE}\nx = BAD\n",
    "above, with a gap and another comment": f"{IGNORE}\n# more\n\nx = BAD\n",
    "by name": "x = BAD  # ditproof: ignore[nn-linear-hot-path] it is meant\n",
    "in other letters": "x = BAD  # ditproof: ignore[dit401] it is meant\n",
    "without blanks": "x = BAD  #ditproof:ignore[DIT401]it is meant\n",
    "after another directive": "x = BAD  # noqa: E501  # ditproof: ignore[DIT401] it is meant\n",
    "before another directive": "x = BAD  # ditproof: ignore[DIT401] it is meant # noqa: E501\n",
    "a number in the reason": "x = BAD  # ditproof: ignore[DIT401] see #12\n",
    "trailing, at the end of several lines": f"x = f(\n    1,\n    BAD,\n)  {IGNORE}\n",
    "trailing, at the first of several lines": f"x = f(  {IGNORE}\n    BAD,\n)\n",
    "on a line of its own inside a statement": f"x = f(\n    {IGNORE}\n    BAD,\n)\n",
    "above several lines": f"{IGNORE}\nx = f(\n    1,\n    BAD,\n)\n",
    "above decorators": f"{IGNORE}\n@a\n@b(\n    1,\n)\ndef BAD():\n    pass\n",
    "on a decorator": f"@a  {IGNORE}\n@b\nclass BAD:\n    pass\n",
    "between decorators": f"@a\n{IGNORE}\n@b\nclass BAD:\n    pass\n",
    "on the head of a class": f"class BAD(  {IGNORE}\n    A,\n):\n    pass\n",
    "in a method": f"class A:\n    def f(self):\n        {IGNORE}\n        self.x = BAD\n",
    "at the end of a chunk": f"x = 1\n{IGNORE}\nBAD = 2\n",
    "in the last line": f"x = BAD  {IGNORE}",
    "with windows' line ends": f"{IGNORE}\r\nx = f(\r\n    BAD)\r\n",
    "with joined lines": f"{IGNORE}\nx = 1 + \\\n    BAD\n",
    "with a text of several lines": f'x = BAD, """\n# no\n"""  {IGNORE}\n',
    "one of several codes": "x = BAD  # ditproof: ignore[DIT901, DIT401] it is meant\n",
    "a chunk that is a comment alone": f"\n{IGNORE}\n\n\n@a\nclass BAD: pass\n",
    "behind wide letters": f"x = 'ä😀', BAD  {IGNORE}\n",
    "behind a tab": f"if x:\n\ty = BAD  {IGNORE}\n",
}


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT.keys())
def test_the_finding_is_suppressed(text: str) -> None:
    assert applied(text) == []


LOUD = {
    "another line": (f"x = 1  {IGNORE}\ny = BAD\n", [("DIT003", 0), ("DIT401", 1)]),
    "the line before": (f"x = BAD\n{IGNORE}\ny = 2\n", [("DIT003", 1), ("DIT401", 0)]),
    "the body of what it stands above": (
        f"{IGNORE}\ndef f():\n    return BAD\n",
        [("DIT003", 0), ("DIT401", 2)],
    ),
    "nothing follows": (f"x = BAD\n{IGNORE}\n", [("DIT003", 1), ("DIT401", 0)]),
    "a string": ('x = "# ditproof: ignore[DIT401] no", BAD\n', [("DIT401", 0)]),
    "a text of several lines": ('"""\n# ditproof: ignore[DIT401] no\n"""\nx = BAD\n', [("DIT401", 3)]),
    "another code": ("x = BAD  # ditproof: ignore[DIT403] no\n", [("DIT003", 0), ("DIT401", 0)]),
    "a rule that did not run": ("x = BAD  # ditproof: ignore[DIT901] no\n", [("DIT401", 0)]),
    "a prefix": ("x = BAD  # ditproof: ignore[DIT4] no\n", [("DIT003", 0), ("DIT401", 0)]),
    "codes of another tool": ("x = BAD  # ditproof: ignore[E501] no\n", [("DIT003", 0), ("DIT401", 0)]),
    "no code": ("x = BAD  # ditproof: ignore no\n", [("DIT002", 0), ("DIT401", 0)]),
    "empty brackets": ("x = BAD  # ditproof: ignore[ , ] no\n", [("DIT002", 0), ("DIT401", 0)]),
    "no reason": ("x = BAD  # ditproof: ignore[DIT401]\n", [("DIT002", 0)]),
    "punctuation for a reason": ("x = BAD  # ditproof: ignore[DIT401]: --\n", [("DIT002", 0)]),
    "another directive for a reason": ("x = BAD  # ditproof: ignore[DIT401] # noqa\n", [("DIT002", 0)]),
    "unused": (f"x = 1  {IGNORE}\n", [("DIT003", 0)]),
    "unused and no reason": ("x = 1  # ditproof: ignore[DIT401]\n", [("DIT002", 0), ("DIT003", 0)]),
    "one of two unused": ("x = BAD  # ditproof: ignore[DIT401, raw-sdpa] why\n", [("DIT003", 0)]),
    "the second of two": (f"{IGNORE}\nx = BAD  {IGNORE}\n", []),
}


@pytest.mark.parametrize(("text", "expected"), LOUD.values(), ids=LOUD.keys())
def test_what_remains(text: str, expected: list[tuple[str, int]]) -> None:
    assert applied(text) == expected


def test_messages_say_what_to_do() -> None:
    def messages(text: str) -> list[str]:
        suppressions = find_suppressions(analyse("a.py", text))
        return [f.message for f in apply_suppressions(findings_at_marks(text), suppressions, CHECKED)]

    assert messages("x = BAD  # ditproof: ignore[DIT401, DIT403] why\n") == [
        "nothing to suppress here for DIT403: leave only DIT401"
    ]
    assert messages(f"x = 1  {IGNORE}\n") == ["nothing to suppress here for DIT401: remove the comment"]
    assert messages("x = BAD  # ditproof: ignore[DIT401]\n") == [
        "this suppression gives no reason: write it after the bracket, `# ditproof: ignore[DIT401] reason`"
    ]
    assert (
        "'DIT4' is neither the code nor the name of a rule"
        in messages("x = 1  # ditproof: ignore[DIT4] w\n")[0]
    )


@pytest.mark.parametrize(("code", "told"), [("DIT499", True), ("DIT401", False), ("DIT901", False)])
def test_codes_that_no_rule_has(code: str, told: bool) -> None:
    suppressions = find_suppressions(analyse("a.py", f"x = 1  # ditproof: ignore[{code}] why\n"))
    found = apply_suppressions([], suppressions, frozenset(), frozenset({"DIT401", "DIT403"}))
    expected = [("DIT003", f"no rule has the code {code}: it suppresses nothing")] if told else []
    assert [(f.code, f.message) for f in found] == expected


# --------------------------------------------------------------------------- while typing

TYPED = f"""\
class A:
    def f(self):
        {IGNORE}
        x = BAD

    def g(self):
        HERE
        y = f(
            BAD,  {IGNORE}
        )

    {IGNORE}
    @a
    def BAD(self):
        pass


{IGNORE}
z = BAD
"""


@pytest.mark.parametrize(
    "damage", ["w = (", "w = [1, {", 'w = """', "w = 'x", "w = )", "return (", "if w", "w ="]
)
def test_suppressions_hold_around_a_broken_line(damage: str) -> None:
    """Nothing that was suppressed comes back, and no suppression is called unused."""
    analysis = FileAnalysis("a.py")
    whole = TYPED.replace("HERE", "pass")
    assert applied(whole, analysis.update(whole)) == []
    broken = TYPED.replace("HERE", damage)
    facts = analysis.update(broken)
    assert facts.broken
    remaining = applied(broken, facts)
    if damage == 'w = """':
        # The comments that now stand inside the text are none.
        assert [r for r in remaining if r[0] != "DIT401"] == []
    else:
        assert remaining == []


def test_an_open_bracket_does_not_suppress_all_that_follows() -> None:
    text = f"def f():\n    x = (  {IGNORE}\n    y = BAD\n    return BAD\n\n\nz = BAD\n"
    assert applied(text) == [("DIT401", 2), ("DIT401", 3), ("DIT401", 6)]


# --------------------------------------------------------------------------- logical lines


def statement_lines(text: str) -> list[range]:
    """The same by way of the syntax tree: a simple statement's lines, a compound one's head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    lines: set[tuple[int, int]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            begin = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            body = getattr(node, "body", None)
            if body is None and not isinstance(node, ast.Match):
                lines.add((begin - 1, node.end_lineno or node.lineno))
            else:
                lines.add((begin - 1, -1))
    return [range(begin, end) for begin, end in sorted(lines)]


def simple_and_heads(text: str) -> Iterator[tuple[range, range]]:
    """Each statement by the tree, with the logical line that begins where it does."""
    found = {r.start: r for r in logical_lines(text, damaged=False)}
    for wanted in statement_lines(text):
        holding = found.get(wanted.start) or next(r for r in found.values() if wanted.start in r)
        yield wanted, holding


def test_logical_lines_are_python_s_statements(fastvideo: Path) -> None:
    """On every DiT of the real package: same beginnings, and simple statements end where they end."""
    checked = 0
    for path in sorted((fastvideo / "fastvideo/models/dits").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for wanted, found in simple_and_heads(text):
            assert found.start <= wanted.start, (path.name, wanted, found)
            if wanted.stop > 0:
                assert found.stop >= wanted.stop, (path.name, wanted, found)
            if found.start == wanted.start and wanted.stop > 0:
                assert found == wanted or ";" in text.split("\n")[wanted.start], (path.name, wanted, found)
            checked += 1
    assert checked > 5_000


# --------------------------------------------------------------------------- writing one


@pytest.mark.parametrize("text", [t for t in SILENT.values() if t.count("BAD") == 1], ids=range(len(SILENT)))
def test_a_directive_is_written_where_it_is_read(text: str) -> None:
    plain = "\n".join(line.partition("# ditproof")[0] for line in text.replace("\r\n", "\n").split("\n"))
    facts = analyse("a.py", plain)
    [bad] = findings_at_marks(plain)
    span, insertion = directive_for(bad, facts, plain, "it is meant")
    rows = plain.split("\n")
    row = rows[span.line].encode()
    rows[span.line] = (row[: span.column] + insertion.encode() + row[span.column :]).decode()
    assert applied("\n".join(rows)) == []


def test_a_directive_that_stands_there_takes_the_code_in() -> None:
    text = "x = BAD  # noqa # ditproof: ignore[DIT403] why\n"
    span, insertion = directive_for(finding("DIT401", 0), analyse("a.py", text), text, "it is meant")
    assert text[: span.column] + insertion + text[span.column :] == text.replace("DIT403", "DIT403, DIT401")
