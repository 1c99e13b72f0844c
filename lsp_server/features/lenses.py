"""Code lenses: run parity from a port's class and from each test of a parity test file, what is proven of
the weights, on the class and on its mapping, and what a trace came to, on the class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from analyzers.facts.model import Placed
from analyzers.findings import Span
from analyzers.project.ports import Port
from analyzers.weights.known import proof_of, state_key, state_of
from lsp_server.checks.errors import CheckError
from lsp_server.checks.recipes import NoRecipe
from lsp_server.documents import uri_of
from lsp_server.evidence_texts import standing
from lsp_server.features.parity_on_save import Known
from lsp_server.features.recipes import WRITE_RECIPE
from lsp_server.features.trace import TRACE
from lsp_server.features.weights import WEIGHTS
from lsp_server.measuring import Standing, touches_names
from lsp_server.positions import to_range
from lsp_server.session import Session
from lsp_server.trace_texts import summary as trace_summary
from lsp_server.tracing import TraceStanding, why_without
from lsp_server.weight_texts import summary, uncovered
from lsp_server.weight_views import readings

if TYPE_CHECKING:
    from lsp_server.server import Server

COMMAND = "ditproof.parity"
MOST_TESTS = 3
"""Lenses on one class; further tests have lenses of their own, in their files."""
LONGEST = 130
"""Letters of a lens."""


@dataclass(frozen=True)
class _Known:
    """What the event loop knows of the names. `waiting`: the ports that are measured later.
    `unsaved`: path -> the text on disk. `why_not`: why nothing is measured by itself."""

    standings: Mapping[str, Standing]
    waiting: frozenset[str]
    unsaved: Mapping[str, str]
    why_not: str | None


@dataclass(frozen=True)
class _Traced:
    """What the event loop knows of the traces; fields as in `_Known`."""

    standings: Mapping[str, TraceStanding]
    unsaved: Mapping[str, str]
    why_not: str | None


def register(server: Server) -> None:
    """Adds the handler."""

    @server.feature(types.TEXT_DOCUMENT_CODE_LENS, types.CodeLensOptions(resolve_provider=False))
    async def lenses(params: types.CodeLensParams) -> list[types.CodeLens]:
        document = server.documents.get(params.text_document.uri)
        placed = server.place(params.text_document.uri)
        if document is None or placed is None:
            return []
        tree, path = placed
        uris, version = server.uris_of(tree), document.version
        weights = server.weights
        unsaved = weights.unsaved(tree)
        known = _Known(weights.standings(tree), weights.waiting(tree), unsaved, weights.why_not(tree))
        runs = server.saves.known(tree)
        traced = _Traced(server.traces.standings(tree), unsaved, server.traces.why_not(tree))

        def question(session: Session) -> list[_Lens]:
            found = [*_weights(session, path, known), *_traces(session, path, traced)]
            for port in session.project.ports:
                if port.location.path == path:
                    for test in port.parity_tests[:MOST_TESTS]:
                        name = test.rpartition("/")[2].removesuffix(".py")
                        target = {"uri": uris.get(test) or uri_of(tree.root, test), "line": None}
                        title = f"Run parity: {name}{_last_run(runs, test)}"
                        found.append((port.location.span, title, COMMAND, target))
            for name, span in _tests(session, path):
                here = {"uri": document.uri, "line": span.line}
                last = _last_run(runs, f"{path}::{name}") or _last_run(runs, path)
                found.append((span, f"ditproof: run parity{last}", COMMAND, here))
            return found

        found = await tree.ask(question) if tree.ready else []
        if document.version != version:
            return []
        return [
            types.CodeLens(
                to_range(span, document.lines, document.encoding),
                types.Command(title, command, arguments=[target]),
            )
            for span, title, command, target in found
        ]


def _last_run(runs: Mapping[str, Known], test: str) -> str:
    """What the last run of a test came to, as the end of a lens."""
    known = runs.get(test)
    return f" ({standing(known.evidence, known.changed)})" if known is not None else ""


_Lens = tuple[Span, str, str, dict[str, Any]]


def _weights(session: Session, path: str, known: _Known) -> Iterator[_Lens]:
    """On each mapping of the file and each port's class what is proven of their names."""
    # What is proven first: VS Code shows the lenses of a line side by side.
    # Of those that nothing is known of yet, the port that is called like the file.
    name = path.rpartition("/")[2]
    on_mappings = sorted(
        readings(session, path),
        key=lambda r: (r.table.location, r.survey is None, not r.port.cls.path.endswith(f"/{name}")),
    )
    for reading in on_mappings:
        several = sum(1 for r in on_mappings if r.table.location == reading.table.location) > 1
        if several and reading.port.oracle is None and reading.survey is None:
            continue  # of the ports that share a mapping, those that are compared with something
        whose = f"{reading.port.name}: " if several else ""
        title = _title(session, reading.port, known)
        yield _lens(reading.table.location.span, f"{whose}{title}", reading.port)
    for port in session.project.ports:
        if port.location.path == path:
            yield _lens(port.location.span, _title(session, port, known), port)


def _traces(session: Session, path: str, known: _Traced) -> Iterator[_Lens]:
    """On each port's class what its trace came to."""
    for port in session.project.ports:
        if port.location.path != path:
            continue
        standing = known.standings.get(state_key(port), TraceStanding())
        lacks = why_without(session.project, port)
        if not isinstance(lacks, NoRecipe):
            yield _lens(port.location.span, _trace_title(standing, lacks, known), port, TRACE)
        elif port.oracle is not None:
            # Without an official model there is nothing to compare with, recipe or not.
            yield _lens(port.location.span, "no recipe for a trace: write one", port, WRITE_RECIPE)


def _trace_title(standing: TraceStanding, lacks: CheckError | None, known: _Traced) -> str:
    """What a trace came to, else why there is none."""
    last = standing.last
    if last is None:
        if standing.running:
            return "tracing …"
        if standing.waiting:
            return "not traced yet: another check goes first"
        if standing.trouble is not None or lacks is not None:
            return (
                f"not traced: {standing.trouble or (lacks.reason.rstrip('.') if lacks is not None else '')}"
            )
        return f"not traced yet: {known.why_not}" if known.why_not else "not traced yet: trace it"
    text = trace_summary(last.result)
    if standing.running or standing.waiting:
        return f"{text} (tracing again)"
    if standing.trouble is not None:
        return f"{text} (from before: {standing.trouble})"
    return f"{text} (before the edits)" if standing.is_stale(known.unsaved) else text


def _lens(span: Span, title: str, port: Port, command: str = WEIGHTS) -> _Lens:
    return (
        Span(span.line, span.column, span.line, span.column),
        _short(title),
        command,
        {"port": state_key(port)},
    )


def _short(title: str) -> str:
    """Without the middle of what is too long: both ends say more than a path between them."""
    if len(title) <= LONGEST:
        return title
    half = LONGEST // 2
    return f"{title[:half].rstrip()} … {title[-half + 3 :].lstrip()}"


def _title(session: Session, port: Port, known: _Known) -> str:
    """What is proven, else why nothing is."""
    standing = known.standings.get(state_key(port), Standing())
    state, proof = state_of(session.project, port), proof_of(session.project, port)
    if proof is not None and state is not None:
        text = summary(proof, state)
        if standing.running:
            return f"{text} (measuring again)"
        if standing.trouble is not None:
            return f"{text} (names from before: {standing.trouble})"
        return f"{text} (names from before the edits)" if _stale(session, standing, known) else text
    if standing.running:
        return "measuring weights …"
    if state_key(port) in known.waiting:
        return "weights not proven yet: another port is measured first"
    if standing.trouble is not None:
        return f"weights not proven: {standing.trouble}"
    if state is not None:
        return f"weights not proven: {uncovered(state)}"
    return (
        f"weights not proven yet: {known.why_not}" if known.why_not else "weights not proven yet: prove them"
    )


def _stale(session: Session, standing: Standing, known: _Known) -> bool:
    return standing.outdated or any(
        touches_names(session, path, known.unsaved[path])
        for path in standing.closure.intersection(known.unsaved)
    )


def _tests(session: Session, path: str) -> list[tuple[str, Span]]:
    """A parity test file's tests by their nodes, as pytest would collect them by default."""
    if not session.profile.is_parity_test(path):
        return []
    facts = session.project.file(path)
    if facts is None:
        return []
    return [
        (
            function.fact.name if cls is None else f"{cls.fact.name}::{function.fact.name}",
            function.at(function.fact.name_span).span,
        )
        for cls, function in facts.all_functions()
        if function.fact.name.startswith("test") and (cls is None or _is_test_class(cls))
    ]


def _is_test_class(cls: Placed[Any]) -> bool:
    return str(cls.fact.name).startswith("Test")
