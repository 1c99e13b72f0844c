"""`PORT_STATUS.md` and the README of a port's tests, brought up to date with what was run.

Touched are the parity cell of the row whose target is the port, the result cells of rows that run exactly a
test that was run, and `last_updated` of the current phase where one of them changed. Everything else stays as
it is, byte by byte; a second time changes nothing.

A cell is replaced where it says nothing or holds a word of the workflow or pytest's counts. What somebody
wrote in their own words stays, and is told where it says otherwise. A run that was skipped or could not start
takes no recorded result back: it may have passed on another machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from analyzers.project.port_status import (
    UNSAID,
    Component,
    PortStatus,
    Table,
    components_in,
    is_of_components,
    read_status,
    said,
    says_passed,
)
from lsp_server.checks.handoff.model import ParityStatus
from lsp_server.checks.handoff.tables import with_cell

_WORD = re.compile(r"(not_run|not_started|not run|planned|scaffold_skip|debug_red|non_skip_pass|blocked)\b")
_COUNTS = re.compile(r"\d+ (passed|failed|skipped|deselected|xfailed|xpassed|errors?|warnings?)(, \d+ \w+)*$")
_RECORDED = frozenset({"non_skip_pass", "debug_red"})
_TESTS = (r"^command$", r"^(parity )?tests?$")
_TEST_PATH = re.compile(r"[\w./+-]+\.py(?:::[^\s`'\"|]+)?")
_CHOOSES = re.compile(r"\s(-k|-m(?!\s+pytest)|--deselect|--ignore)\b")
_PHASE = re.compile(r"current phase", re.IGNORECASE)
_UPDATED = re.compile(
    r"(?P<head>\s*(?:[-*]\s+)?\**last[ _]updated\**\s*:\**\s*`?)"
    r"(?P<day>\d{4}-\d\d-\d\d|<(?:TODO:\s*)?YYYY-MM-DD>)(?P<tail>`?\s*)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class TestRun:
    """The last run of a parity test: `subject` is its file, or file::test. `counts` as pytest writes them.
    `within`: what one test came to in the run of its whole file."""

    __test__ = False

    subject: str
    status: ParityStatus
    counts: str
    within: bool = False

    @property
    def file(self) -> str:
        """The file alone."""
        return self.subject.partition("::")[0]


@dataclass(frozen=True)
class News:
    """What is to be recorded of a port. `classes`: its class, then that of its config. `path`: its model
    file. `alone`: no other port has this state file. `day`: of the newest run, as `2026-01-31`."""

    classes: tuple[str, ...]
    path: str
    status: ParityStatus | None
    runs: tuple[TestRun, ...]
    day: str
    alone: bool = False


@dataclass(frozen=True)
class Change:
    """A cell or field that has another value now. `line` counts from 0."""

    line: int
    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Updated:
    """A file as it should be. `left`: what could not be told, or speaks against what was run."""

    path: str
    before: str
    after: str
    changes: tuple[Change, ...]
    left: tuple[str, ...]


def updated(path: str, text: str, news: News) -> Updated:
    """The file with the news in it."""
    lines = text.split("\n")
    status = read_status(path, text)
    changes: list[Change] = []
    left: list[str] = []
    wanted = [*_of_the_port(status, news), *_of_the_tests(status, news)]
    for one in wanted:
        if isinstance(one, str):
            left.append(one)
            continue
        outcome = _replaced(one)
        if outcome is None:
            continue
        if outcome.startswith("!"):
            left.append(f"{path}:{one.row + 1}: {outcome[1:]}")
            continue
        lines[one.row] = with_cell(lines, one.table, one.row, one.column, outcome)
        changes.append(Change(one.row, one.what, one.cell, outcome))
    if changes:
        day = _day(status, lines, news.day)
        if day is not None:
            lines[day.line] = _UPDATED.sub(
                lambda found: f"{found['head']}{news.day}{found['tail']}", lines[day.line]
            )
            changes.append(day)
    return Updated(path, text, "\n".join(lines), tuple(changes), tuple(dict.fromkeys(left)))


@dataclass(frozen=True)
class _Cell:
    table: Table
    row: int
    column: int
    cell: str
    what: str
    news: ParityStatus
    counts: str


def _at(
    table: Table, line: int, column: int, what: str, news: ParityStatus, counts: str = ""
) -> _Cell | None:
    row = next(row for row in table.rows if row.line == line)
    # A row that is cut short, or longer than its header, has its cells in other columns than it seems.
    if len(row.cells) != len(table.header.cells):
        return None
    return _Cell(table, line, column, row.cells[column], what, news, counts)


# --------------------------------------------------------------------------- the row of the port


def _of_the_port(status: PortStatus, news: News) -> Iterator[_Cell | str]:
    if news.status is None:
        return
    tables = [
        (table, column)
        for table in status.tables
        if is_of_components(table)
        and (column := table.column(r"^parity$", r"parity(?! *(test|command))")) is not None
    ]
    if not tables:
        # Where a row names its test, its result goes with that.
        if any(is_of_components(table) and table.column(*_TESTS) is None for table in status.tables):
            yield f"{status.path}: its components have no column for parity"
        return
    rows = [(table, column, row) for table, column in tables for row in components_in(table)]
    found = [rows[index] for index in _mine([row for _, _, row in rows], news)]
    if len(found) != 1:
        how = "no row names" if not found else f"{len(found)} rows name"
        yield f"{status.path}: {how} {news.path} or {news.classes[0]} as its target"
        return
    table, column, row = found[0]
    cell = _at(table, row.line, column, f"parity of {_plain(row.name)}", news.status)
    yield cell or f"{status.path}:{row.line + 1}: this row has other columns than its table"


def _mine(rows: Sequence[Component], news: News) -> list[int]:
    """The rows whose target is the port: by class, else by file or module, else by its config's class, else
    the only DiT, where no other port shares the file and the row names no target."""
    cls, *configs = news.classes
    module = news.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    place = re.compile(
        rf"(?<![\w.-]){re.escape(news.path)}(?![\w/])|(?<=/){re.escape(news.path)}(?![\w/])"
        rf"|(?<![\w.]){re.escape(module)}(?!\w)(?!\.[a-z])"
    )
    targets = [row.target or "" for row in rows]
    ways = [
        [_word(cls, f"{row.name} {target}") for row, target in zip(rows, targets, strict=True)],
        [place.search(target) is not None for target in targets],
        *([_word(name, target) for target in targets] for name in configs),
    ]
    for way in ways:
        if any(way):
            return [index for index, named in enumerate(way) if named]
    dits = [index for index, row in enumerate(rows) if said(row.kind or "") == "dit"]
    if news.alone and len(dits) == 1 and said(rows[dits[0]].target or "") in UNSAID:
        return dits
    return []


def _word(name: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


# --------------------------------------------------------------------------- the rows of its tests


def _of_the_tests(status: PortStatus, news: News) -> Iterator[_Cell | str]:
    for run in news.runs:
        found: list[_Cell] = []
        parts: list[str] = []
        for table in status.tables:
            command = table.column(*_TESTS)
            result = table.column(r"^((last|latest|current|recorded) )?(result|status)$")
            if command is None or result is None or command == result:
                continue
            for row in table.rows:
                if len(row.cells) != len(table.header.cells):
                    continue
                told = _runs(row.cells[command], run)
                cell = _at(table, row.line, result, f"result of {run.subject}", run.status, run.counts)
                if told is True and cell is not None:
                    found.append(cell)
                elif told is not None:
                    parts.append(f"{status.path}:{row.line + 1}: {told}")
        if len(found) == 1:
            yield found[0]
        elif found:
            lines = ", ".join(str(cell.row + 1) for cell in found)
            yield f"{status.path}: lines {lines} all run {run.subject}"
        else:
            yield from parts


def _runs(cell: str, run: TestRun) -> bool | str | None:
    """Whether a command is the run of that test; None where it is another's; else why it cannot be told."""
    node = run.subject.partition("::")[2]
    tests = _TEST_PATH.findall(cell)
    mine = [test for test in tests if _same(test.partition("::")[0], run.file)]
    if not mine:
        return None
    asked = mine[0].partition("::")[2]
    if run.within and asked != node:
        return None
    if len(tests) > 1 or _also_folders(cell):
        return f"it runs more than {run.subject}"
    if _CHOOSES.search(cell):
        return f"it runs a choice of {run.file}"
    if node == asked:
        return True
    return None if asked else f"it runs the whole file, what ran is {run.subject}"


def _same(written: str, test: str) -> bool:
    return str(PurePosixPath(written)) == test


def _also_folders(cell: str) -> bool:
    """Whether a command names folders beside its test."""
    words = [word for word in re.split(r"[\s`'\"]+", cell) if "/" in word and "=" not in word]
    return any(
        not _TEST_PATH.fullmatch(word) and not re.search(r"python[\d.]*$|pytest$", word) for word in words
    )


# --------------------------------------------------------------------------- one cell


def _replaced(one: _Cell) -> str | None:
    """The new text of a cell; None where it may stay; a reason behind `!` where it should not and does."""
    plain = said(one.cell)
    word = _WORD.match(plain)
    if word is not None:
        if word[1] == one.news:
            return None
        if word[1] in _RECORDED and one.news not in _RECORDED:
            return f"!says {word[1]}; {one.news} here takes nothing back"
        return _as_written(one, one.news)
    if plain in UNSAID:
        return _as_written(one, one.news)
    if _COUNTS.fullmatch(plain):
        if one.news not in _RECORDED:
            return f"!says '{_plain(one.cell)}'; {one.news} here takes nothing back"
        if not one.counts or plain == one.counts:
            return None
        return _as_written(one, one.counts)
    if one.news in _RECORDED and says_passed(one.cell) != (one.news == "non_skip_pass"):
        return f"!says '{_short(_plain(one.cell))}' in its own words, what ran says {one.news}"
    return None


def _as_written(one: _Cell, text: str) -> str:
    """In backticks where the cell was, or the others of its column are."""
    cell = one.cell.strip()
    if cell.startswith("`") and _WORD.match(said(cell)):
        return f"`{text}`"
    others = [row.cells[one.column] for row in one.table.rows if one.column < len(row.cells)]
    shown = [cell] if cell else [other for other in others if other]
    quoted = sum(other.startswith("`") and other.endswith("`") for other in shown)
    return f"`{text}`" if shown and quoted * 2 > len(shown) else text


def _plain(text: str) -> str:
    return text.replace("`", "").replace("*", "").strip()


def _short(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:45]}..."


def _day(status: PortStatus, lines: Sequence[str], day: str) -> Change | None:
    """The date of the current phase, where there is one, in that form, and earlier."""
    for number, section in enumerate(status.sections):
        if not _PHASE.search(section.title):
            continue
        following = status.sections[number + 1 : number + 2]
        end = following[0].line if following else len(lines)
        for line in range(section.line + 1, end):
            found = _UPDATED.match(lines[line])
            if found is not None and (not found["day"][0].isdigit() or found["day"] < day):
                return Change(line, "last_updated", found["day"], day)
    return None
