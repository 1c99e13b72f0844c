"""What findings look like as text."""

from __future__ import annotations

import io

import pytest

from analyzers.facts.positions import LineIndex
from analyzers.findings import Applicability, Finding, Fix, Location, Related, Severity, Span
from lsp_server.commands.report import (
    MOST_COLUMNS,
    count,
    diff_text,
    finding_text,
    statistics_text,
    summary_text,
)
from lsp_server.commands.terminal import colours, printable, width

START = Span(0, 0, 0, 1)


def finding(span: Span = START, **changes: object) -> Finding:
    values: dict[str, object] = {
        "code": "DIT401",
        "name": "nn-linear-hot-path",
        "severity": Severity.WARNING,
        "location": Location("a.py", span),
        "message": "a message",
    }
    return Finding(**{**values, **changes})  # type: ignore[arg-type]


def shown(text: str, span: Span, *, colour: bool = False, **changes: object) -> list[str]:
    index = LineIndex(text)
    return finding_text(finding(span, **changes), lambda _: index, colour=colour).splitlines()


def test_a_finding_in_full() -> None:
    lines = shown(
        "x = 1\nself.q = nn.Linear(1, 2)\n",
        Span(1, 9, 1, 24),
        related=(Related(Location("a.py", Span(0, 4, 0, 5)), "set here"),),
        fix=Fix("Use ReplicatedLinear", "op", {}, Applicability.UNSAFE),
    )
    assert lines == [
        "a.py:2:10: warning[DIT401] nn-linear-hot-path: a message",
        "  2 | self.q = nn.Linear(1, 2)",
        "    |          ^^^^^^^^^^^^^^^",
        "  = a.py:1:5: set here",
        "  help: Use ReplicatedLinear (--fix --unsafe-fixes)",
    ]


def caret_under(text: str, marked: str) -> None:
    begin = len(text[: text.index(marked)].encode())
    head, source, pointer = shown(text, Span(0, begin, 0, begin + len(marked.encode())))
    at = source.index(marked.replace("\t", "    "))
    assert pointer.index("^") == width(source[:at])
    assert pointer.count("^") == width(marked)
    assert head.startswith(f"a.py:1:{text.index(marked) + 1}:")


@pytest.mark.parametrize(
    "text",
    ["    y = value\n", "\ty =\tvalue\n", "日本 = value\n", "s = 'e\u0301😀'; value\n", "é = value"],
    ids=["spaces", "tabs", "wide", "combining and emoji", "no line end"],
)
def test_the_underline_stands_under_the_stretch(text: str) -> None:
    caret_under(text, "value")


def test_wide_characters_are_underlined_in_full() -> None:
    caret_under("x = 日本語 + 1\n", "日本語")


def test_a_stretch_of_several_lines_is_underlined_to_the_end_of_the_first() -> None:
    lines = shown("x = f(\n  1,\n)\n", Span(0, 4, 2, 1))
    assert lines[1:] == ["  1 | x = f(", "    |     ^^ ..."]


def test_an_empty_stretch_has_one_mark() -> None:
    assert shown("x = 1\n", Span(0, 0, 0, 0))[1:] == ["  1 | x = 1", "    | ^"]


@pytest.mark.parametrize("text", ["", "\n", "   \n"])
def test_a_blank_line_is_not_shown(text: str) -> None:
    assert len(shown(text, Span(0, 0, 0, 0))) == 1


def test_a_place_beyond_the_end_is_no_failure() -> None:
    assert shown("x\n", Span(9, 4, 9, 5)) == ["a.py:10:1: warning[DIT401] nn-linear-hot-path: a message"]


@pytest.mark.parametrize("at", [0, 500, 3990])
def test_a_long_line_is_cut_around_the_stretch(at: int) -> None:
    text = "a" * at + "VALUE" + "b" * (4000 - at) + "\n"
    _, source, pointer = shown(text, Span(0, at, 0, at + 5))
    assert "VALUE" in source
    assert pointer.index("^") == source.index("VALUE")
    assert len(source) <= MOST_COLUMNS + 20


def test_a_long_stretch_is_cut() -> None:
    _, source, pointer = shown("x = " + "y" * 9000 + "\n", Span(0, 4, 0, 9004))
    assert len(source) < 200
    assert len(pointer) < 200


def test_source_and_message_cannot_steer_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202e"
    lines = shown(f"x = '{evil}'\n", Span(0, 0, 0, 1), message=f"bad {evil}", symbol=evil)
    assert not any(character in "".join(lines) for character in "\x1b\x07\u202e")
    assert "\\x1b[2J" in lines[0]
    assert "\\x1b[2J" in lines[1]


def test_printable_keeps_what_is_harmless() -> None:
    assert printable("é 日本 😀\n\ttab") == "é 日本 😀\n\ttab"


def test_colours_do_not_change_the_text() -> None:
    import re

    plain = shown("x = 1\n", Span(0, 0, 0, 1))
    coloured = shown("x = 1\n", Span(0, 0, 0, 1), colour=True)
    assert plain != coloured
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_when_to_colour(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, expected: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert colours(_Terminal() if terminal else io.StringIO()) is expected


SAFE = Fix("t", "op", {}, Applicability.SAFE)
UNSAFE = Fix("t", "op", {}, Applicability.UNSAFE)


@pytest.mark.parametrize(
    ("findings", "unsafe", "fixed", "expected"),
    [
        ([], False, 0, "No findings in 2 files (1 port in the tree)."),
        ([], False, 3, "Fixed 3 findings. No findings in 2 files (1 port in the tree)."),
        ([finding()], False, 0, "Found 1 finding in 2 files (1 port in the tree): 1 warning."),
        (
            [finding(fix=SAFE), finding(severity=Severity.ERROR), finding(severity=Severity.INFORMATION)],
            False,
            0,
            "Found 3 findings in 2 files (1 port in the tree): 1 error, 1 warning, 1 information. "
            "1 fixable with --fix.",
        ),
        (
            [finding(fix=SAFE), finding(fix=UNSAFE), finding(fix=UNSAFE)],
            False,
            0,
            "Found 3 findings in 2 files (1 port in the tree): 3 warnings. "
            "1 fixable with --fix, 2 more with --unsafe-fixes.",
        ),
        (
            [finding(fix=SAFE), finding(fix=UNSAFE)],
            True,
            0,
            "Found 2 findings in 2 files (1 port in the tree): 2 warnings. "
            "2 fixable with --fix --unsafe-fixes.",
        ),
        (
            [finding(fix=UNSAFE)],
            False,
            1,
            "Fixed 1 finding. Found 1 finding in 2 files (1 port in the tree): 1 warning. "
            "1 fixable with --fix --unsafe-fixes.",
        ),
    ],
)
def test_summary(findings: list[Finding], unsafe: bool, fixed: int, expected: str) -> None:
    assert summary_text(findings, files=2, ports=1, unsafe=unsafe, fixed=fixed) == expected


def test_statistics_are_aligned_and_sorted() -> None:
    found = [finding(code="DIT101", name="one")] + [finding(fix=SAFE)] * 9 + [finding(fix=UNSAFE)] * 2
    assert statistics_text(found, colour=False).splitlines() == [
        "11  DIT401  nn-linear-hot-path  fixable: 9 safe, 2 unsafe",
        " 1  DIT101  one",
    ]
    assert statistics_text([], colour=False) == ""


def test_a_diff_is_coloured_by_line() -> None:
    diff = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n same\n"
    assert diff_text(diff, colour=False) == diff
    coloured = diff_text(diff, colour=True).splitlines()
    assert coloured[3].startswith("\x1b[31m-old")
    assert coloured[4].startswith("\x1b[32m+new")
    assert coloured[5] == " same"


def test_count() -> None:
    assert (count(0, "port"), count(1, "port"), count(2, "port")) == ("0 ports", "1 port", "2 ports")


def test_a_terminal_gets_prose_that_is_wrapped_between_words() -> None:
    index = LineIndex("x = 1\n")
    long = finding(message="word " * 40 + "end", related=(Related(Location("a.py", START), "other " * 30),))
    plain = finding_text(long, lambda _: index, colour=False)
    wrapped = finding_text(long, lambda _: index, colour=False, columns=60)
    assert max(len(line) for line in wrapped.splitlines()) <= 60
    assert wrapped.split() == plain.split()
    assert all(line.startswith("    ") for line in wrapped.splitlines() if line.strip().startswith("word"))


def test_a_long_place_has_the_message_below_it() -> None:
    index = LineIndex("x = 1\n")
    long = finding(location=Location("folder/" * 8 + "a.py", START), message="word " * 20)
    first, second, *_ = finding_text(long, lambda _: index, colour=False, columns=80).splitlines()
    assert first.rstrip().endswith("nn-linear-hot-path:")
    assert second.startswith("    word word")
