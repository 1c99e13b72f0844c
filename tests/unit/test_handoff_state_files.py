"""State files and READMEs brought up to date: the cells that are meant, and no other byte."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.project.port_status import cell_spans, read_status
from lsp_server.checks.handoff.state_files import News, TestRun, Updated, updated
from lsp_server.checks.handoff.tables import with_cell

PATH = "tests/local_tests/noise/PORT_STATUS.md"
MODEL = "fastvideo/models/dits/noise.py"
TEST = "tests/local_tests/noise/test_noise_transformer_parity.py"


def news(status: Any = "non_skip_pass", **changes: Any) -> News:
    known: dict[str, Any] = {
        "classes": ("NoiseTransformer3DModel", "NoiseConfig"),
        "path": MODEL,
        "status": status,
        "runs": (),
        "day": "2026-05-04",
    }
    return News(**{**known, **changes})


def ran(status: Any = "non_skip_pass", counts: str = "3 passed", subject: str = TEST, **more: Any) -> TestRun:
    return TestRun(subject, status, counts, **more)


def update(text: str, what: News) -> Updated:
    """The update; that the rest stays and that a second time changes nothing fails the test otherwise."""
    result = updated(PATH, text, what)
    before, after = text.split("\n"), result.after.split("\n")
    assert len(before) == len(after)
    differing = [
        number for number, lines in enumerate(zip(before, after, strict=True)) if lines[0] != lines[1]
    ]
    assert differing == sorted({change.line for change in result.changes})
    for number in differing:
        assert before[number].endswith("\r") == after[number].endswith("\r")
    second = updated(PATH, result.after, what)
    assert second.after == result.after
    assert second.changes == ()
    return result


def matrix(parity: str, target: str = f"`{MODEL}`", name: str = "transformer") -> str:
    return (
        "# Noise Port Status\n\n## Component Matrix\n\n"
        "| Component | Type | Official Definition | FastVideo Target | Parity | Open Issues |\n"
        "|---|---|---|---|---|---|\n"
        f"| {name} | dit | `noise/model.py` | {target} | {parity} | I001 |\n"
        "| vae | vae | `noise/vae.py` | `fastvideo/models/vaes/noise.py` | not_run | none |\n"
    )


def parity_of(result: Updated) -> str:
    table = read_status(PATH, result.after).tables[0]
    return table.rows[0].cells[table.column("^Parity$") or 0]


# ---------------------------------------------------------------------- the cell


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("not_run", "non_skip_pass"),
        ("`not_started`", "`non_skip_pass`"),
        ("`<TODO>`", "`non_skip_pass`"),
        ("`<not_started/scaffold_skip/debug_red/non_skip_pass/blocked>`", "`non_skip_pass`"),
        ("NOT_STARTED", "non_skip_pass"),
        ("pending", "non_skip_pass"),
        ("scaffold_skip", "non_skip_pass"),
        ("`debug_red` (drift 0.3)", "`non_skip_pass`"),
        ("", "non_skip_pass"),
        ("`non_skip_pass` (bit-identical)", "`non_skip_pass` (bit-identical)"),
        ("exact, 40 layers", "exact, 40 layers"),
        ("real_pass", "real_pass"),
    ],
)
def test_a_cell_takes_the_word_and_keeps_its_form(before: str, after: str) -> None:
    result = update(matrix(before), news())
    assert parity_of(result) == after
    assert result.left == ()


@pytest.mark.parametrize("status", ["scaffold_skip", "blocked"])
@pytest.mark.parametrize("recorded", ["non_skip_pass", "`debug_red`"])
def test_what_did_not_run_takes_nothing_back(status: str, recorded: str) -> None:
    result = update(matrix(recorded), news(status))
    assert result.changes == ()
    assert "takes nothing back" in result.left[0]


def test_a_red_run_takes_a_pass_back() -> None:
    assert parity_of(update(matrix("non_skip_pass"), news("debug_red"))) == "debug_red"


def test_own_words_that_say_otherwise_stay_and_are_told() -> None:
    result = update(matrix("exact on eight cards"), news("debug_red"))
    assert result.changes == ()
    assert f"{PATH}:7" in result.left[0]
    assert "exact on eight cards" in result.left[0]


def test_without_a_verdict_nothing_changes() -> None:
    result = update(matrix("not_run"), news(None))
    assert (result.changes, result.left) == ((), ())


# ---------------------------------------------------------------------- the row


@pytest.mark.parametrize(
    "target",
    [
        f"`{MODEL}`",
        f"`/data/checkout/{MODEL}`",
        f"`{MODEL}`, `fastvideo/configs/models/dits/noise.py`",
        "`fastvideo.models.dits.noise.NoiseTransformer3DModel`",
        "fastvideo.models.dits.noise",
        "`NoiseTransformer3DModel` through `TransformerLoader`",
        "`fastvideo.configs.models.dits.NoiseConfig`",
    ],
)
def test_the_row_is_told_by_its_target(target: str) -> None:
    assert parity_of(update(matrix("not_run", target), news())) == "non_skip_pass"


@pytest.mark.parametrize(
    "target",
    [
        "`fastvideo/models/dits/noise.pyx`",
        "`other_fastvideo/models/dits/noise.py`",
        "`fastvideo/models/dits/noise_ar.py`",
        "`fastvideo.models.dits.noise.blocks`",
        "`NoiseTransformer3DModelAR`",
        "",
    ],
)
def test_another_target_is_another_row(target: str) -> None:
    result = update(matrix("not_run", target), news())
    assert result.changes == ()
    assert "no row names" in result.left[0]


def test_the_class_may_stand_in_the_name() -> None:
    text = matrix("not_run", "the loader", "Transformer (`NoiseTransformer3DModel`)")
    assert parity_of(update(text, news())) == "non_skip_pass"


def test_several_rows_with_the_target_are_left() -> None:
    row = f"| refiner | dit | `r.py` | `{MODEL}` | not_run | none |\n"
    result = update(matrix("not_run") + row, news())
    assert result.changes == ()
    assert "2 rows name" in result.left[0]


def test_the_only_dit_without_a_target_is_the_port_that_is_alone() -> None:
    text = matrix("`<TODO>`", "`<TODO>`")
    assert parity_of(update(text, news(alone=True))) == "`non_skip_pass`"
    assert update(text, news()).changes == ()
    second = "| refiner | dit | `r.py` | `<TODO>` | `<TODO>` | none |\n"
    assert update(text + second, news(alone=True)).changes == ()


def test_a_row_with_other_columns_than_its_table_is_left() -> None:
    text = matrix("not_run").replace("| I001 |", "| a | b |")
    result = update(text, news())
    assert result.changes == ()
    assert "other columns" in result.left[0]


def test_a_table_of_components_without_a_column_for_parity_is_told() -> None:
    text = f"| Component | Target | Real-weight result |\n|---|---|---|\n| dit | `{MODEL}` | exact |\n"
    assert update(text, news("debug_red")).left == (f"{PATH}: its components have no column for parity",)


def test_a_file_without_tables_is_left_alone() -> None:
    assert update("# Noise\n\nAll is well.\n", news()).left == ()


def test_a_table_in_a_fence_is_text() -> None:
    assert update("```\n" + matrix("not_run") + "```\n", news()).changes == ()


# ---------------------------------------------------------------------- bytes


def test_line_ends_marks_and_trailing_spaces_stay() -> None:
    text = (
        "\ufeff"
        + matrix("not_run").replace("\n", "\r\n").replace("## Component", "##  Component")
        + "end  \r\n\t"
    )
    result = update(text, news())
    assert result.after == text.replace("| not_run | I001 |", "| non_skip_pass | I001 |")


def test_bytes_that_are_no_utf8_stay() -> None:
    text = (b"caf\xe9 \xff\n" + matrix("not_run").encode()).decode("utf-8", "surrogateescape")
    after = update(text, news()).after.encode("utf-8", "surrogateescape")
    assert after.startswith(b"caf\xe9 \xff\n")
    assert b"non_skip_pass" in after


def test_a_table_without_outer_pipes_stays_so() -> None:
    text = f"Component | Target | Parity\n---|---|---\ndit | {MODEL} | not_run\nvae | v.py | not_run\n"
    assert update(text, news()).after == text.replace(f"{MODEL} | not_run", f"{MODEL} | non_skip_pass")


def test_pipes_in_code_and_behind_backslashes_divide_nothing() -> None:
    text = matrix("not_run").replace("`noise/model.py`", "`a|b` or a\\|b")
    assert update(text, news()).after == text.replace("| not_run | I001", "| non_skip_pass | I001")


def test_an_aligned_column_keeps_its_width() -> None:
    text = (
        "| Component   | Target                          | Parity            |\n"
        "|-------------|---------------------------------|-------------------|\n"
        f"| transformer | {MODEL}  | not_run           |\n"
        "| vae         | v.py                            | exact, long words |\n"
    )
    after = update(text, news()).after
    assert after == text.replace("| not_run           |", "| non_skip_pass     |")


def test_a_cell_that_is_too_narrow_grows_alone() -> None:
    text = (
        "| Component | Target                        | Parity  |\n"
        "|-----------|-------------------------------|---------|\n"
        f"| dit       | {MODEL} | not_run |\n"
    )
    assert update(text, news()).after == text.replace("| not_run |", "| non_skip_pass |")


def test_wide_characters_count_as_two_columns() -> None:
    text = "| Component | Parity     |\n|---|---|\n| 音        | 未定       |\n"
    table = read_status(PATH, text).tables[0]
    lines = text.split("\n")
    assert with_cell(lines, table, 2, 1, "passed") == "| 音        | passed     |"


@pytest.mark.parametrize(
    "line", ["", "|", "||", "| a | b |", "a|b", "`a|b`|c", "`|", r"a\|b|c", "  | a |  \r"]
)
def test_the_spans_of_cells_lie_in_their_line(line: str) -> None:
    spans = cell_spans(line)
    assert spans
    assert all(0 <= begin <= end <= len(line) for begin, end in spans)
    assert [end + 1 for _, end in spans[:-1]] == [begin for begin, _ in spans[1:]]


# ---------------------------------------------------------------------- commands


def commands(command: str, result: str, header: str = "Last Result") -> str:
    return (
        f"## Parity Commands\n\n| Scope | Command | {header} | Notes |\n|---|---|---|---|\n"
        f"| dit | {command} | {result} | Q001 |\n"
        "| vae | `pytest tests/local_tests/noise/test_noise_vae_parity.py` | not_run | |\n"
    )


@pytest.mark.parametrize(
    "command", [f"`pytest {TEST} -v -s`", f"DISABLE_SP=1 python -m pytest {TEST} -q", TEST]
)
@pytest.mark.parametrize("header", ["Last Result", "Latest result", "Result", "Status"])
def test_the_row_of_a_test_takes_its_result(command: str, header: str) -> None:
    result = update(commands(command, "not_run", header), news(None, runs=(ran(),)))
    assert result.after == commands(command, "non_skip_pass", header)


@pytest.mark.parametrize(
    ("before", "run", "after"),
    [
        ("2 passed", ran(), "3 passed"),
        ("2 passed, 1 deselected", ran("debug_red", "1 failed, 2 passed"), "1 failed, 2 passed"),
        ("3 passed", ran(), "3 passed"),
        ("8 passed", ran(counts=""), "8 passed"),
        ("3 passed on an H200", ran(counts="4 passed"), "3 passed on an H200"),
    ],
)
def test_counts_are_followed_by_counts(before: str, run: TestRun, after: str) -> None:
    command = f"`pytest {TEST}`"
    assert update(commands(command, before), news(None, runs=(run,))).after == commands(command, after)


def test_counts_are_not_taken_back_by_a_skip() -> None:
    result = update(commands(TEST, "2 passed"), news(None, runs=(ran("scaffold_skip", "2 skipped"),)))
    assert result.changes == ()
    assert "takes nothing back" in result.left[0]


@pytest.mark.parametrize(
    "command",
    [
        f"`pytest {TEST} -k fp32`",
        f"`pytest {TEST} -m slow`",
        f"`pytest {TEST} tests/other/test_a.py`",
        f"`pytest {TEST} tests/local_tests/noise`",
    ],
)
def test_a_command_that_runs_something_else_is_left(command: str) -> None:
    result = update(commands(command, "not_run"), news(None, runs=(ran(),)))
    assert result.changes == ()
    assert len(result.left) == 1


def test_two_rows_of_one_command_are_left() -> None:
    text = commands(TEST, "not_run") + f"| again | A=1 {TEST} | not_run | |\n"
    result = update(text, news(None, runs=(ran(),)))
    assert result.changes == ()
    assert "lines 5, 7 all run" in result.left[0]


def test_a_row_of_one_test_takes_what_came_of_it_in_the_run_of_its_file() -> None:
    text = commands(f"`pytest {TEST}::test_a[fp32]`", "not_run")
    whole = (ran("debug_red", "1 failed, 1 passed"), ran(subject=f"{TEST}::test_a[fp32]", within=True))
    assert update(text, news(None, runs=whole)).after == text.replace(
        "`pytest " + TEST + "::test_a[fp32]` | not_run", "`pytest " + TEST + "::test_a[fp32]` | non_skip_pass"
    )
    other = (ran(), ran("debug_red", subject=f"{TEST}::test_b", within=True))
    assert update(text, news(None, runs=other)).changes == ()


def test_the_row_of_a_file_takes_nothing_from_the_run_of_one_test() -> None:
    result = update(commands(TEST, "not_run"), news(None, runs=(ran(subject=f"{TEST}::test_a"),)))
    assert result.changes == ()
    assert "the whole file" in result.left[0]


def test_a_readme_lists_components_with_their_tests() -> None:
    text = (
        "| Component | Official files / args | Test | Concerns | Status |\n|---|---|---|---|---|\n"
        f"| `dit` | `noise/model.py` | `{TEST}` | none | `planned` |\n"
    )
    result = update(text, news(runs=(ran(),)))
    assert result.after == text.replace("`planned`", "`non_skip_pass`")
    assert result.left == ()


# ---------------------------------------------------------------------- the current phase


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("- last_updated: `2026-01-02`", "- last_updated: `2026-05-04`"),
        ("- last_updated: 2026-01-02", "- last_updated: 2026-05-04"),
        ("- last_updated: `<YYYY-MM-DD>`", "- last_updated: `2026-05-04`"),
        ("- **Last updated**: 2026-01-02", "- **Last updated**: 2026-05-04"),
        ("- last_updated: 2026-06-01", "- last_updated: 2026-06-01"),
        ("- last_updated: yesterday", "- last_updated: yesterday"),
        ("- last_updated: 2026-01-02 (by hand)", "- last_updated: 2026-01-02 (by hand)"),
    ],
)
def test_the_date_of_the_phase_follows(line: str, after: str) -> None:
    phase = f"## Current Phase\n\n- phase: `prep`\n- status: `in_progress`\n{line}\n\n"
    result = update(phase + matrix("not_run"), news())
    assert phase.replace(line, after) in result.after


def test_the_date_stays_where_nothing_else_changes_or_it_is_of_something_else() -> None:
    dated = "- last_updated: 2026-01-02\n\n"
    assert update(f"## Current Phase\n{dated}" + matrix("non_skip_pass"), news()).changes == ()
    assert "2026-01-02" in update(f"## Summary\n{dated}" + matrix("not_run"), news()).after


def test_ids_and_words_of_others_stay() -> None:
    text = (
        matrix("not_run")
        + commands(TEST, "not_run")
        + "\n## Open Questions\n\n| ID | Question | Status |\n|---|---|---|\n| Q001 | which? | open |\n"
        + "\n## Issues\n\n| ID | Issue | Status |\n|---|---|---|\n| I001 | not_run | blocked |\n"
    )
    result = update(text, news(runs=(ran(),)))
    assert len(result.changes) == 2
    assert result.after.replace("non_skip_pass", "not_run") == text
