"""Hover: on a finding its rule (and what a trace measured there), on a port's class its card and its trace,
on a rule of a mapping its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lsprotocol import types

from analyzers.findings import Finding, Span
from analyzers.numeric.verdicts import Spot
from analyzers.project.ports import Port
from analyzers.weights.known import state_key
from lsp_server.documents import uri_of
from lsp_server.evidence_texts import card as evidence_card
from lsp_server.features.parity_on_save import Known
from lsp_server.positions import to_byte_column, to_range
from lsp_server.rule_pages import Page, find_page
from lsp_server.session import Session
from lsp_server.trace_texts import card_of_divergence, card_of_result
from lsp_server.tracing import TraceStanding
from lsp_server.verdicts import with_measured
from lsp_server.weight_views import card_at

if TYPE_CHECKING:
    from lsp_server.server import Server

_REACHABLE = {
    "discovered": "discovered by the registry",
    "legacy": "through a legacy table of the registry",
    "unreachable": "**not reachable** through the registry",
}


def register(server: Server) -> None:
    """Adds the handler."""

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    async def hover(params: types.HoverParams) -> types.Hover | None:
        document = server.documents.get(params.text_document.uri)
        placed = server.place(params.text_document.uri)
        if document is None or placed is None:
            return None
        tree, path = placed
        column = to_byte_column(document.lines, params.position, document.encoding)
        point = Span(params.position.line, column, params.position.line, column)
        version = document.version
        traces, known = server.traces.standings(tree), server.saves.known(tree)

        def link(spot: Spot) -> str | None:
            if spot.path is None or spot.line is None:
                return None
            return f"{uri_of(tree.root, spot.path)}#L{spot.line + 1}"

        def question(session: Session) -> tuple[Span, str] | None:
            of_runs = [*server.verdicts.findings(tree.root, path, session.sources.text)]
            findings = with_measured(session.findings(path), of_runs)
            return _about(session, path, findings, point, _Traces(traces, link), known)

        found = await tree.ask(question)
        if found is None or document.version != version:
            return None
        span, text = found
        return types.Hover(
            types.MarkupContent(types.MarkupKind.Markdown, text),
            to_range(span, document.lines, document.encoding),
        )


@dataclass(frozen=True)
class _Traces:
    """What is known of the traces of a tree, by port; `link`: the address of a place."""

    standings: Mapping[str, TraceStanding]
    link: Callable[[Spot], str | None]

    def of_port(self, port: Port) -> str | None:
        """What the last trace of a port came to."""
        standing = self.standings.get(state_key(port))
        return card_of_result(standing.last.result) if standing is not None and standing.last else None

    def of_finding(self, finding: Finding) -> str | None:
        """The numbers behind a finding of a trace; its place and the beginning of its message may have
        changed since."""
        for standing in self.standings.values():
            for told, divergence in standing.last.findings if standing.last is not None else ():
                same = told.code == finding.code and told.symbol == finding.symbol
                if standing.last is not None and same and finding.message.endswith(told.message):
                    return card_of_divergence(standing.last.result, divergence, self.link)
        return None


def _about(
    session: Session,
    path: str,
    findings: list[Finding],
    point: Span,
    traces: _Traces,
    known: Mapping[str, Known],
) -> tuple[Span, str] | None:
    here = [finding for finding in findings if finding.location.span.contains(point)]
    port = next(
        (p for p in session.project.ports if p.location.path == path and p.location.span.contains(point)),
        None,
    )
    parts = [card for finding in here if (card := traces.of_finding(finding)) is not None]
    if port is not None:
        cards = (card_of_port(port), traces.of_port(port), _evidence_of(state_key(port), known))
        parts += [card for card in cards if card is not None]
    # What is wrong with a rule, its findings tell already.
    keys = card_at(session, path, point, faults=not here)
    if keys is not None:
        parts.append(keys[1])
    codes = dict.fromkeys(finding.code for finding in here)
    parts += [card_of_rule(page) for code in codes if (page := find_page(code)) is not None]
    if not parts:
        return None
    if here:
        span = here[0].location.span
    if keys is not None:
        span = keys[0]
    if port is not None:
        span = port.location.span
    return span, "\n\n---\n\n".join(parts)


def _evidence_of(port: str, known: Mapping[str, Known]) -> str | None:
    own = (one for one in known.values() if one.evidence.port == port)
    return evidence_card((one.evidence, one.changed, one.history) for one in own)


def card_of_rule(page: Page) -> str:
    """A rule in short: what its page says, without the examples."""
    parts = [
        f"**{page.code}** `{page.name}`: {page.summary}",
        page.what.strip(),
        f"*Why it matters.* {page.why.strip()}",
        f"*How to fix it.* {page.how.strip()}",
    ]
    if page.exceptions:
        parts.append(f"*What it leaves alone.* {page.exceptions.strip()}")
    return "\n\n".join(parts)


def card_of_port(port: Port) -> str:
    """What belongs to a port."""
    return "\n".join(
        [f"**Port** `{port.name}` of `{port.family}`", "", *(f"- {line}" for line in _lines(port))]
    )


def _lines(port: Port) -> Iterator[str]:
    yield f"Registry: {_REACHABLE[port.reachable]}"
    if port.config is None:
        yield "Config: not found"
    else:
        exported = {True: "exported", False: "**not exported**", None: "export unknown"}[port.exported]
        yield f"Config: `{port.config.fact.name}` in `{port.config.path}` ({exported})"
    if port.arch_config is not None:
        yield f"Arch config: `{port.arch_config.fact.name}`"
    if port.mapping is None:
        yield "Mapping: not found"
    else:
        place = port.mapping.location
        yield f"Mapping: {port.mapping.rules} rules in `{place.path}`, line {place.span.line + 1}"
    if port.oracle is None:
        yield "Official counterpart: unknown"
    else:
        yield f"Official counterpart: `{port.oracle.ref}` (from {port.oracle.source})"
    if not port.parity_tests:
        yield "Parity tests: **none**"
    for test in port.parity_tests:
        yield f"Parity test: `{test}`"
    if port.status_file is not None:
        yield f"State: `{port.status_file}`"
