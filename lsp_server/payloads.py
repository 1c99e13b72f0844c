"""Findings and ports as JSON: one shape for the command line's output and the `ditproof/` requests.

Lines and columns count from 1, columns in code points; paths are relative to the root, with `/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from analyzers.facts.model import ClassFacts, Placed
from analyzers.facts.positions import LineIndex
from analyzers.findings import Finding, Location
from analyzers.project.oracles import Oracle
from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import state_key
from lsp_server.checks.evidence.tiers import NOTHING

LinesOf = Callable[[str], LineIndex]
"""The lines of a file by its path; an empty text where the file cannot be read."""


def lines_of(sources: Sources) -> LinesOf:
    """Looks each file's lines up once: pass the same function to every call of one report."""
    known: dict[str, LineIndex] = {}

    def lines(path: str) -> LineIndex:
        if path not in known:
            known[path] = LineIndex(sources.text(path) or "")
        return known[path]

    return lines


def finding_json(finding: Finding, lines: LinesOf) -> dict[str, Any]:
    """One finding, as `ditproof check --format json` lists it."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        **place_json(finding.location, lines),
        "message": finding.message,
        "symbol": finding.symbol,
        "port": finding.port,
        "related": [
            {
                "path": related.location.path,
                "line": related.location.span.line + 1,
                "message": related.message,
            }
            for related in finding.related
        ],
        "fix": None
        if finding.fix is None
        else {"title": finding.fix.title, "applicability": finding.fix.applicability.value},
    }


def findings_json(findings: Iterable[Finding], sources: Sources) -> list[dict[str, Any]]:
    """Several findings, in their order."""
    lines = lines_of(sources)
    return [finding_json(finding, lines) for finding in findings]


def place_json(location: Location, lines: LinesOf) -> dict[str, Any]:
    """Path, line, column and the ends of a place."""
    span, index = location.span, lines(location.path)
    return {
        "path": location.path,
        "line": span.line + 1,
        "column": index.code_points(span.line, span.column) + 1,
        "end_line": span.end_line + 1,
        "end_column": index.code_points(span.end_line, span.end_column) + 1,
    }


def port_json(port: Port, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """One port, as `ditproof ports --format json` lists it.

    `config` and `arch_config` are class names. `evidence`: what is known of each tier, null where nothing is.
    """
    mapping = port.mapping
    return {
        "family": port.family,
        "class": port.name,
        "path": port.location.path,
        "line": port.location.span.line + 1,
        "config": _name(port.config),
        "arch_config": _name(port.arch_config),
        "exported": port.exported,
        "reachable": port.reachable,
        "oracle": _oracle_json(port.oracle),
        "mapping": None
        if mapping is None
        else {
            "path": mapping.location.path,
            "line": mapping.location.span.line + 1,
            "rules": mapping.rules,
        },
        "parity_tests": list(port.parity_tests),
        "status_file": port.status_file,
        "evidence": dict(evidence),
    }


def ports_json(ports: Iterable[Port], kept: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Several ports, in their order. `kept`: the evidence by `path::Class`."""
    return [port_json(port, kept.get(state_key(port), NOTHING)) for port in ports]


def _oracle_json(oracle: Oracle | None) -> dict[str, Any] | None:
    if oracle is None:
        return None
    return {
        "ref": oracle.ref,
        "source": oracle.source,
        "path": oracle.location.path,
        "line": oracle.location.span.line + 1,
    }


def _name(cls: Placed[ClassFacts] | None) -> str | None:
    return cls.fact.name if cls is not None else None
