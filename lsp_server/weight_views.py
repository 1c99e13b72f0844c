"""What the proofs of a tree have to say in one file: for lenses, hints and hovers alike.

Asked on the analysis thread, of the present text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.findings import Span
from analyzers.project.mappings import MappingRule, MappingTable
from analyzers.project.ports import Port
from analyzers.weights.known import rules_of, state_of, survey_of
from analyzers.weights.proving.proof import Survey
from analyzers.weights.state import PortState
from analyzers.weights.verdicts import RuleUse, WeightProof
from lsp_server.session import Session
from lsp_server.weight_texts import card_of_use, label


@dataclass(frozen=True)
class Reading:
    """One port that reads a mapping, with what is known of its names and what they prove."""

    port: Port
    table: MappingTable
    state: PortState | None
    survey: Survey | None

    @property
    def proof(self) -> WeightProof | None:
        """What is proven; for hints the survey is enough."""
        return self.survey.proof if self.survey is not None else None

    def uses(self) -> Iterator[tuple[MappingRule, RuleUse]]:
        """The rules that are written in the mapping itself, with what each does."""
        for use in self.survey.rules if self.survey is not None else ():
            rule = self.table.rules[use.rule] if use.rule < len(self.table.rules) else None
            if rule is not None and rule.pattern is not None and self.table.owns(rule):
                yield rule, use

    def line_of(self, rule: int) -> str:
        """Where a rule stands, for a person."""
        place = self.table.rules[rule].key
        line = f"line {place.span.line + 1}"
        return line if place.path == self.table.location.path else f"{place.path.rpartition('/')[2]} {line}"


def readings(session: Session, path: str, *, proven: bool = False) -> list[Reading]:
    """The ports that read the mappings of a file, mapping by mapping; with `proven` only those of which
    there is a proof. Cheap at every key as long as nobody asks for the proofs themselves."""
    project = session.project
    found = []
    for port in session.port_classes:
        state = state_of(project, port)
        if proven and (state is None or state.native is None or state.official is None):
            continue
        table, _ = rules_of(project, port)
        if table is not None and table.location.path == path:
            found.append(Reading(port, table, state, survey_of(project, port)))
    return sorted(found, key=lambda reading: (reading.table.location, reading.port.name))


# ---------------------------------------------------------------------- hints


@dataclass(frozen=True)
class Hint:
    """What is told of a rule: where its pattern stands, and the point behind the rule where it is told."""

    key: Span
    end: Span
    label: str


def hints(session: Session, path: str) -> list[Hint]:
    """What stands at the end of each rule of a file; ports that say the same share one."""
    said: dict[tuple[Span, Span], dict[str, list[str]]] = {}
    for reading in readings(session, path, proven=True):
        if reading.survey is None or reading.state is None:
            continue
        wrong = reading.survey.wrong
        for rule, use in reading.uses():
            told = label(use, wrong, reading.state, reading.line_of)
            said.setdefault((rule.value.span, rule.key.span), {}).setdefault(told, []).append(
                reading.port.name
            )
    lines = session.lines(path)
    return [
        Hint(key, _end_of(value, lines.line(value.end_line)), _joined(labels))
        for (value, key), labels in sorted(said.items(), key=lambda item: item[0])
    ]


def _end_of(value: Span, line: str) -> Span:
    """Behind a rule's value, and behind the comma that follows it."""
    rest = line.encode("utf-8", "surrogatepass")[value.end_column :]
    column = value.end_column + (len(rest) - len(rest.lstrip()) + 1 if rest.lstrip()[:1] == b"," else 0)
    return Span(value.end_line, column, value.end_line, column)


def _joined(labels: dict[str, list[str]]) -> str:
    if len(labels) == 1:
        return next(iter(labels))
    return "; ".join(f"{', '.join(ports)}: {told}" for told, ports in labels.items())


# ---------------------------------------------------------------------- hovers


def card_at(session: Session, path: str, point: Span, *, faults: bool = True) -> tuple[Span, str] | None:
    """What a hover tells of the rule at a point, and the rule's extent, the comma behind it included.
    `faults`: with what is wrong with it."""
    cards: list[str] = []
    around: Span | None = None
    lines = session.lines(path)
    for reading in readings(session, path, proven=True):
        if reading.survey is None or reading.state is None:
            continue
        for rule, use in reading.uses():
            key, value = rule.key.span, rule.value.span
            end = _end_of(value, lines.line(value.end_line))
            span = Span(key.line, key.column, end.line, end.column)
            if span.contains(point):
                around = span
                card = card_of_use(reading.survey.proof, reading.state, use, reading.line_of, faults=faults)
                cards.append(f"`{reading.port.name}`: {card}")
    return (around, "\n\n---\n\n".join(dict.fromkeys(cards))) if around is not None else None
