"""`PORT_STATUS.md`, the state file of a port, read leniently: sections, fields, tables, components.

Files in the wild merge columns, rename sections and leave out what they do not need. Whatever is
there is given with its line (from 0); what is not there is empty, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from analyzers.findings import Location, Span
from analyzers.project.sources import Sources

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FIELD = re.compile(r"\s*(?:[-*]\s+)?\**([A-Za-z][\w /.-]{0,40}?)\**\s*:\**\s*(.*?)\s*$")
_RULER = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-*:?\s*)*\|?\s*$")
_COMPONENT = re.compile(r"components?\b", re.IGNORECASE)
_ID = re.compile(r"[QIE]\d+$")
_FENCE = re.compile(r"\s*(```|~~~)")

UNSAID = frozenset(
    {"", "-", "--", "\u2013", "\u2014", "?", "tbd", "todo", "unknown", "...", "tba", "pending"}
)
"""What a cell holds that says nothing, in lower case and without backticks."""

_PASSED = re.compile(
    r"\b(pass(ed)?|exact|proven|complete|bit-exact|ok|done|green|match(es)?)\b|_pass\b|_proven\b|passed|pass_|\u2705"
)
_OVERCOME = re.compile(
    r"non[ _-]skip(ped)?|\b(0|no|without) (fail|skip|error)\w*"
    r"|\b(was|were|formerly|previously|no longer|un)[ -]?(blocked|red|fail\w*|skipp\w*|pending|deferred)"
)
"""What sounds like a failure in a cell and is none."""

_NOT_PASSED = re.compile(
    r"not[_ ](run|started|tested)|scaffold|debug_red|\bred\b|blocked|fail|\bskip(ped)?\b|pending"
    r"|in_progress|xfail|deferred"
)


@dataclass(frozen=True)
class Section:
    """A heading: its text, its level from 1, its line."""

    title: str
    level: int
    line: int


@dataclass(frozen=True)
class Row:
    """The cells of one line of a table, stripped; backticks are kept."""

    cells: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Table:
    """A table with the title of the section it stands in."""

    section: str
    header: Row
    rows: tuple[Row, ...]

    def column(self, *patterns: str) -> int | None:
        """The first column whose heading matches one of the patterns, asked in their order."""
        for pattern in patterns:
            for index, cell in enumerate(self.header.cells):
                if re.search(pattern, cell, re.IGNORECASE):
                    return index
        return None


@dataclass(frozen=True)
class Component:
    """A row of the component matrix; a cell is None where the table has no such column."""

    name: str
    kind: str | None
    decision: str | None
    definition: str | None
    instantiation: str | None
    target: str | None
    parity: str | None
    line: int

    @property
    def claims_reuse(self) -> bool:
        """Whether the row says that an existing implementation serves (`reuse`, `reused`, `shared`)."""
        return bool(re.search(r"\b(reuse[sd]?|shared)\b|reuse_|_reuse", self.decision or "", re.IGNORECASE))

    @property
    def is_proven(self) -> bool | None:
        """Whether the row records a pass; None where it has no column for it."""
        if self.parity is None:
            return None
        return says_passed(self.parity)


@dataclass(frozen=True)
class PortStatus:
    """A state file. `fields` are its `key: value` lines, by lower-case key: the first one counts."""

    path: str
    sections: tuple[Section, ...]
    fields: tuple[tuple[str, str, int], ...]
    tables: tuple[Table, ...]
    lines: tuple[str, ...]

    @property
    def title(self) -> str | None:
        """The text of the first heading."""
        return self.sections[0].title if self.sections else None

    def field(self, *keys: str) -> tuple[str, Location] | None:
        """The value of the first of these fields that says something, without backticks."""
        for key in keys:
            for name, value, line in self.fields:
                if name == key and said(value) not in UNSAID:
                    return value.replace("`", "").strip(), self.at(line)
        return None

    @cached_property
    def matrix(self) -> Table | None:
        """The component matrix: the first table whose first column is the component."""
        return next((t for t in self.tables if is_of_components(t)), None)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """The rows of the component matrix, and of later tables that name official definitions too."""
        found = tuple(components_in(self.matrix)) if self.matrix is not None else ()
        for table in self.tables:
            if table is not self.matrix and is_of_components(table):
                more = tuple(components_in(table))
                found += tuple(c for c in more if c.definition is not None)
        return found

    @cached_property
    def identifiers(self) -> tuple[tuple[str, int], ...]:
        """The ids of questions, issues and escape hatches (`Q001`), with their lines."""
        return tuple(
            (name, row.line)
            for table in self.tables
            if re.fullmatch(r"id", table.header.cells[0], re.IGNORECASE)
            for row in table.rows
            if _ID.match(name := row.cells[0].strip("`* "))
        )

    def at(self, line: int) -> Location:
        """The text of a line, as a place."""
        text = self.lines[line] if line < len(self.lines) else ""
        start = len(text) - len(text.lstrip())
        return Location(self.path, Span(line, start, line, len(text.rstrip().encode())))


def status_of(sources: Sources, path: str) -> PortStatus | None:
    """The state file at a path, None where there is none that can be read."""
    return sources.memory.get(("port status", path), lambda: _read(sources, path))


def _read(sources: Sources, path: str) -> PortStatus | None:
    text = sources.text(path)
    return read_status(path, text) if text is not None else None


def read_status(path: str, text: str) -> PortStatus:
    """What a state file says."""
    lines = tuple(text.replace("\r\n", "\n").split("\n"))
    sections: list[Section] = []
    fields: list[tuple[str, str, int]] = []
    tables: list[Table] = []
    fenced = False
    number = 0
    while number < len(lines):
        line = lines[number]
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            heading = _HEADING.match(line)
            field = _FIELD.match(line)
            if heading is not None:
                sections.append(Section(heading[2], len(heading[1]), number))
            elif (
                "|" in line
                and number + 1 < len(lines)
                and "-" in lines[number + 1]
                and _RULER.match(lines[number + 1])
            ):
                table = _table(lines, number, sections[-1].title if sections else "")
                tables.append(table)
                number = table.rows[-1].line if table.rows else number + 1
            elif field is not None:
                fields.append((field[1].strip().lower().replace(" ", "_"), field[2], number))
        number += 1
    return PortStatus(path, tuple(sections), tuple(fields), tuple(tables), lines)


def says_passed(cell: str) -> bool:
    """Whether a cell records a pass."""
    text = _OVERCOME.sub("", said(cell))
    return bool(_PASSED.search(text)) and not _NOT_PASSED.search(text)


def said(text: str) -> str:
    """A cell's text in lower case, without backticks and emphasis; empty for a placeholder."""
    plain = text.replace("`", "").replace("*", "").strip().lower()
    return "" if plain.startswith("<") and plain.endswith(">") and plain.count("<") == 1 else plain


def _table(lines: tuple[str, ...], start: int, section: str) -> Table:
    rows: list[Row] = []
    number = start + 2
    while number < len(lines) and "|" in lines[number] and lines[number].strip():
        rows.append(Row(_cells(lines[number]), number))
        number += 1
    return Table(section, Row(_cells(lines[start]), start), tuple(rows))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(line[begin:end].strip() for begin, end in cell_spans(line))


def cell_spans(line: str) -> tuple[tuple[int, int], ...]:
    """Where the cells of a line begin and end, in characters and with the spaces around them; a `|` within
    backticks or behind a backslash divides nothing."""
    begin, end = len(line) - len(line.lstrip()), len(line.rstrip())
    begin += line.startswith("|", begin, end)
    end -= end > begin and line[end - 1] == "|" and line[end - 2 : end] != "\\|"
    spans: list[tuple[int, int]] = []
    start, quoted = begin, False
    for index in range(begin, end):
        if line[index] == "`":
            quoted = not quoted and "`" in line[index + 1 : end]
        if line[index] == "|" and not quoted and (index == start or line[index - 1] != "\\"):
            spans.append((start, index))
            start = index + 1
    return (*spans, (start, end))


def is_of_components(table: Table) -> bool:
    """Whether the rows of a table are components."""
    return _COMPONENT.match(table.header.cells[0]) is not None


def components_in(table: Table) -> Iterator[Component]:
    """The rows of a table of components, in their order."""
    columns = {
        "kind": table.column(r"^type\b"),
        "decision": table.column(r"reuse", r"decision"),
        "definition": table.column(
            r"official def", r"\bdefinition", r"^official\b(?!.*inst)", r"oracle|reference"
        ),
        "instantiation": table.column(r"instantiation"),
        "target": table.column(r"target", r"fastvideo", r"implementation"),
        "parity": table.column(r"^parity$", r"parity(?! test)", r"result", r"^status$", r"proof|evidence"),
    }
    for row in table.rows:
        found = {
            name: (row.cells[index] if index < len(row.cells) else "") if index is not None else None
            for name, index in columns.items()
        }
        if len(row.cells) < len(table.header.cells):
            found["parity"] = found["parity"] or None  # the row is cut short: nobody left the cell empty
        yield Component(
            name=row.cells[0],
            kind=found["kind"],
            decision=found["decision"],
            definition=found["definition"],
            instantiation=found["instantiation"],
            target=found["target"],
            parity=found["parity"],
            line=row.line,
        )
