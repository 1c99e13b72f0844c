"""The conversion retry request of FastVideo's port workflow, filled from a proof.

The form is that of `.agents/skills/add-model/contracts/conversion_request.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import takewhile

from analyzers.weights.verdicts import Fault, ShapeFault
from lsp_server.checks.numbered_names import numbered_once
from lsp_server.checks.weights import WeightReport

USUAL_COMPONENT = "transformer"
"""What a port is called as a component where nothing names it otherwise."""

MOST_KEYS = 24
"""So many names of each side are written, those of numbered blocks as one; the JSON has all of them."""


def retry_request(report: WeightReport, component: str) -> dict[str, object]:
    """The fields of the request by name. Lists that are cut end in how many are left out."""
    loading = report.loading
    loads = loading is None or loading.verdict == "proven" or report.proof.verdict == "broken"
    faults = report.proof.faults if loads or loading is None else loading.faults
    official = list(dict.fromkeys(name for fault in faults for name in fault.official))
    native = list(dict.fromkeys(name for fault in faults for name in fault.native))
    shapes = [shape for fault in faults for shape in fault.shapes]
    weights: Counter[str] = Counter()
    for fault in faults:
        weights[fault.suspected] += max(len(fault.official), len(fault.native), 1)
    tests = report.port.parity_tests
    return {
        "component": component,
        "parity_test": next((t for t in tests if t.startswith("tests/")), tests[0] if tests else "none"),
        "failing_keys": {"official": _cut(numbered_once(official)), "fastvideo": _cut(numbered_once(native))},
        "expected_actual_shapes": _cut(_shapes(shape) for shape in shapes),
        "source_prefix_or_path": _source(report, official) if loads else str(report.measured.against.ref),
        "evidence": [
            f"{report.port.name} against {report.measured.against.ref}: {report.verdict} by "
            f"{report.proof.by}: {report.because}",
            *(_evidence(report, fault) if loads else fault.message for fault in faults),
        ],
        "suspected_fix": weights.most_common(1)[0][0] if weights else "unknown",
    }


def request_text(request: dict[str, object]) -> str:
    """The request as the workflow writes it."""
    lines = ["conversion_retry_request:"]
    for name, value in request.items():
        lines += _lines(name, value, "  ")
    return "".join(f"{line}\n" for line in lines)


def _evidence(report: WeightReport, fault: Fault) -> str:
    place = report.place_of(fault)
    return f"{place.path}:{place.span.line + 1}: {fault.message}"


def _lines(name: str, value: object, indent: str) -> Iterable[str]:
    if isinstance(value, dict):
        yield f"{indent}{name}:"
        for inner, part in value.items():
            yield from _lines(inner, part, indent + "  ")
    elif isinstance(value, list):
        yield f"{indent}{name}:" if value else f"{indent}{name}: none"
        yield from (f"{indent}  - {item}" for item in value)
    else:
        yield f"{indent}{name}: {value}"


def _cut(items: Iterable[str]) -> list[str]:
    found = list(items)
    left = len(found) - MOST_KEYS
    more = [f"and {left} more (`ditproof weights --format json` lists all)"] if left > 0 else []
    return found[:MOST_KEYS] + more


def _shapes(shape: ShapeFault) -> str:
    found = "no common shape" if shape.found is None else list(shape.found)
    return (
        f"{shape.native}: expected {list(shape.expected)}, actual {found} from {' + '.join(shape.official)}"
    )


def _source(report: WeightReport, official: list[str]) -> str:
    """Where the failing names come from: the official side, and what all of them begin with."""
    source = report.measured.against.ref
    parts = [name.split(".") for name in official]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    prefix = ".".join(level[0] for level in shared)
    return f"{source}, names below {prefix}." if prefix and len(official) > 1 else source
