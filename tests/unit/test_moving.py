"""Findings of an earlier text in a later one."""

from __future__ import annotations

import pytest

from analyzers.findings import Finding, Location, Related, Severity, Span
from lsp_server.moving import Shift

PATH = "a.py"
BEFORE = [
    "import torch",
    "",
    "class Model:",
    "    proj = Linear(dim, dim)",
    "    gate = Linear(dim, dim)",
    "",
]


def finding(line: int, word: str, symbol: str | None = None, related: tuple[Related, ...] = ()) -> Finding:
    column = BEFORE[line].index(word)
    span = Span(line, column, line, column + len(word))
    return Finding("DIT000", "x", Severity.WARNING, Location(PATH, span), "m", symbol, related=related)


def placed(found: Finding, now: list[str]) -> str | None:
    """The line that it stands on, and its stretch."""
    there = Shift(BEFORE, now).finding(found)
    if there is None:
        return None
    span = there.location.span
    assert span.line == span.end_line
    return f"{span.line}: {now[span.line][span.column : span.end_column]}"


CALL = finding(3, "Linear(dim, dim)", "Model.proj")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(BEFORE, "3: Linear(dim, dim)", id="nothing"),
        pytest.param(["#", *BEFORE], "4: Linear(dim, dim)", id="a line above"),
        pytest.param(BEFORE[1:], "2: Linear(dim, dim)", id="a line less above"),
        pytest.param([*BEFORE, "x"], "3: Linear(dim, dim)", id="a line below"),
        pytest.param([*BEFORE[:3], BEFORE[3] + "  # so", *BEFORE[4:]], "3: Linear(dim, dim)", id="behind it"),
        pytest.param(
            [*BEFORE[:3], "    a = 1; proj = Linear(dim, dim)", *BEFORE[4:]],
            "3: Linear(dim, dim)",
            id="before it",
        ),
        pytest.param(
            ["#", *BEFORE[:4], "    other = 1", BEFORE[4], "#"], "4: Linear(dim, dim)", id="around it"
        ),
        pytest.param(
            [*BEFORE[:3], BEFORE[3] + " #", "", BEFORE[4] + " #", ""], "3: Linear(dim, dim)", id="two"
        ),
        pytest.param([*BEFORE[:3], "    pro = Linear(dim, dim)", *BEFORE[4:]], None, id="its symbol is gone"),
        pytest.param([*BEFORE[:3], *BEFORE[4:]], None, id="its line is gone"),
        pytest.param([], None, id="all is gone"),
    ],
)
def test_a_finding_stands_while_its_symbol_stands_on_its_line(now: list[str], expected: str | None) -> None:
    assert placed(CALL, now) == expected


def test_without_a_symbol_on_its_line_the_first_word_counts() -> None:
    found = finding(3, "Linear(dim, dim)", "Elsewhere")
    assert placed(found, [*BEFORE[:3], "    proj = Linear(dim, di)", *BEFORE[4:]]) == "3: Linear(dim, di)"
    assert placed(found, [*BEFORE[:3], "    proj = Linea(dim, dim)", *BEFORE[4:]]) is None


def test_a_stretch_of_several_lines_ends_where_its_last_line_stands() -> None:
    found = Finding("DIT000", "x", Severity.WARNING, Location(PATH, Span(2, 0, 4, 5)), "m", "Model")
    there = Shift(BEFORE, [*BEFORE[:3], "    a = 1", *BEFORE[3:]]).finding(found)
    assert there is not None
    assert there.location.span == Span(2, 0, 5, 5)


def test_columns_count_bytes() -> None:
    now = [*BEFORE[:3], "    é = 1; proj = Linear(dim, dim)", *BEFORE[4:]]
    there = Shift(BEFORE, now).finding(CALL)
    assert there is not None
    span = there.location.span
    assert now[3].encode()[span.column : span.end_column] == b"Linear(dim, dim)"


def test_what_a_finding_refers_to_moves_too_and_goes_with_its_line() -> None:
    here = Related(Location(PATH, Span(4, 4, 4, 8)), "the same in another place")
    elsewhere = Related(Location("b.py", Span(4, 4, 4, 8)), "another file")
    found = finding(2, "Model", "Model", (here, elsewhere))
    moved = Shift(BEFORE, ["#", *BEFORE]).finding(found)
    assert moved is not None
    assert [item.location.span.line for item in moved.related] == [5, 4]
    gone = Shift(BEFORE, BEFORE[:4]).finding(found)
    assert gone is not None
    assert gone.related == (elsewhere,)
