"""The report of the weights as JSON: the contract of `ditproof weights --format json`, and more beside it."""

from __future__ import annotations

from typing import Any

from analyzers.project.ports import Port
from analyzers.weights.files.headers import Checkpoint
from analyzers.weights.layout.findings import LayoutFinding
from analyzers.weights.proving.proof_of_lora import LoraProof
from analyzers.weights.proving.proof_of_reverse import ReverseProof
from analyzers.weights.verdicts import Fault, KeyPlacement, ShapeFault
from lsp_server.checks.errors import CheckError
from lsp_server.checks.judging import missing, unexpected
from lsp_server.checks.weights import WeightReport

NAMES = {
    "DIT307": "mapping-shadowed",
    "DIT309": "mapping-collision",
    "DIT310": "mapping-merge-incomplete",
    "DIT609": "state-dict-mismatch",
    "DIT701": "weight-missing",
    "DIT702": "weight-unexpected",
    "DIT703": "weight-shape",
    "DIT704": "weight-dtype",
    "DIT705": "weight-layout",
}
"""What the rules are called that a report of the weights names."""


def report_json(report: WeightReport, *, keys: bool = False) -> dict[str, Any]:
    """One document. Paths are relative to the root with `/`, lines count from 1; `keys` adds each name."""
    proof, measured = report.proof, report.measured
    native, official = measured.state.native, measured.state.official
    document: dict[str, Any] = {
        "version": 1,
        "port": report.port.name,
        "path": report.port.location.path,
        "line": report.port.location.span.line + 1,
        "against": measured.against.ref,
        "verdict": report.verdict,
        "because": report.because,
        "by": proof.by,
        "configuration": measured.configuration,
        "counts": {
            "official": len(official.tensors) if official is not None else None,
            "native": len(native.tensors) if native is not None else None,
            "mapped": sum(p.verdict == "proven" and not p.excluded for p in proof.placements),
            "merged": proof.merged,
        },
        "missing": missing(proof),
        "unexpected": unexpected(proof),
        "shape": [_shape(shape) for fault in proof.faults for shape in fault.shapes],
        "dtype": [
            {"native": list(fault.native), "official": list(fault.official), "message": fault.message}
            for fault in proof.faults
            if fault.kind == "dtype"
        ]
        + [_found(finding) for finding in report.layout_findings if finding.code == "DIT704"],
        "layout": [_found(finding) for finding in report.layout_findings if finding.code == "DIT705"],
        "rules": [_rule(report, index) for index in range(len(proof.rules))],
        "faults": [_fault(report, fault) for fault in proof.faults],
        "exclusions": [{"name": name, "reason": reason} for name, reason in proof.exclusions],
        "interchangeable": [
            {"native": list(group.natives), "telling": list(group.telling), "agree": group.agree}
            for group in proof.interchangeable
        ],
        "dropped": [{"name": name, "value": value} for name, value in measured.state.dropped],
        "checkpoint": _checkpoint(measured.checkpoint),
        "converted": _converted(report),
        "probed": None
        if report.layout is None
        else {"bytes_read": report.layout.bytes_read, "total_bytes": report.layout.total_bytes},
        "notes": [*measured.notes, *proof.notes],
        "problems": [
            {
                "side": problem.side,
                "stage": problem.stage,
                "type": problem.type,
                "message": problem.message,
                "path": problem.path,
                "line": None if problem.line is None else problem.line + 1,
                "next_step": problem.next_step,
            }
            for problem in measured.problems
        ],
        "error": None,
        "evidence": None,
        "seconds": round(report.seconds, 3),
    }
    if report.reverse is not None:
        document["reverse"] = _reverse(report.reverse)
    if report.lora is not None:
        document["lora"] = _lora(report.lora)
    if keys:
        document["keys"] = [_key(placement) for placement in proof.placements]
    return document


def failure_json(port: Port, against: str | None, error: CheckError, seconds: float) -> dict[str, Any]:
    """The document where the check could not run: the keys of a report, nothing in them, and `error`.

    `against`: what the user named, None where nothing.
    """
    nothing: dict[str, Any] = {
        key: [] for key in ("missing", "unexpected", "shape", "dtype", "layout", "rules", "faults")
    }
    return {
        "version": 1,
        "port": port.name,
        "path": port.location.path,
        "line": port.location.span.line + 1,
        "against": against,
        "verdict": "unknown",
        "because": error.reason,
        "by": None,
        "configuration": None,
        "counts": dict.fromkeys(("official", "native", "mapped", "merged")),
        **nothing,
        "exclusions": [],
        "interchangeable": [],
        "dropped": [],
        "checkpoint": None,
        "converted": None,
        "probed": None,
        "notes": [],
        "problems": [],
        "error": {"message": error.reason, "next_step": error.next_step},
        "evidence": None,
        "seconds": round(seconds, 3),
    }


def _rule(report: WeightReport, index: int) -> dict[str, Any]:
    use = report.proof.rules[index]
    rule, place = report.deciding.rules[use.rule], report.deciding.places[use.rule]
    return {
        "pattern": rule.pattern,
        "target": rule.target,
        "merge": None if rule.merge is None else list(rule.merge),
        "path": place.path if place is not None else None,
        "line": place.span.line + 1 if place is not None else None,
        "matches": len(use.matches),
        "reaches": use.reaches,
        "state": use.state,
        "by": list(use.by),
        "why": use.why,
    }


def _fault(report: WeightReport, fault: Fault) -> dict[str, Any]:
    place = report.place_of(fault)
    code = report.code_of(fault)
    return {
        "kind": fault.kind,
        "code": code,
        "name": NAMES[code],
        "rule": fault.rule,
        "other": fault.other,
        "path": place.path,
        "line": place.span.line + 1,
        "message": fault.message,
        "official": list(fault.official),
        "native": list(fault.native),
        "suspected_fix": fault.suspected,
    }


def _key(placement: KeyPlacement) -> dict[str, Any]:
    tensor = placement.tensor
    return {
        "official": tensor.name,
        "native": placement.target,
        "shape": None if tensor.shape is None else list(tensor.shape),
        "dtype": tensor.dtype,
        "rules": list(placement.rules),
        "merge": None if placement.merge is None else list(placement.merge),
        "verdict": placement.verdict,
        "because": placement.because,
        "excluded": placement.excluded,
    }


def _shape(shape: ShapeFault) -> dict[str, Any]:
    return {
        "native": shape.native,
        "official": list(shape.official),
        "expected": list(shape.expected),
        "found": None if shape.found is None else list(shape.found),
    }


def _reverse(proof: ReverseProof) -> dict[str, Any]:
    return {
        "verdict": proof.verdict,
        "because": proof.because,
        "restored": proof.restored,
        "lost": list(proof.lost),
        "strange": list(proof.strange),
        "shape": [_shape(shape) for shape in proof.shapes],
        "patterns": [
            {"native": w.native, "made": w.made, "official": list(w.sources), "rule": w.rule}
            for w in proof.patterns
        ],
    }


def _lora(proof: LoraProof) -> dict[str, Any]:
    return {
        "verdict": proof.verdict,
        "because": proof.because,
        "layers": proof.layers,
        "reached": proof.reached,
        "lost": [{"official": layer.official, "target": layer.target} for layer in proof.lost],
        "colliding": [{"native": n, "official": list(official)} for n, official in proof.colliding],
        "alphas": list(proof.alphas),
        "rules": [
            {"rule": use.rule, "matches": len(use.matches), "state": use.state, "why": use.why}
            for use in proof.rules
        ],
    }


def _found(finding: LayoutFinding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "native": list(finding.natives),
        "message": finding.message,
    }


def _converted(report: WeightReport) -> dict[str, Any] | None:
    """The converted checkpoint, and whether its names load into the port."""
    document, loading = _checkpoint(report.measured.converted), report.loading
    if document is not None and loading is not None:
        document["loading"] = {
            "verdict": loading.verdict,
            "because": loading.because,
            "missing": missing(loading),
            "unexpected": unexpected(loading),
            "shape": [_shape(shape) for fault in loading.faults for shape in fault.shapes],
        }
    return document


def _checkpoint(read: Checkpoint | None) -> dict[str, Any] | None:
    if read is None:
        return None
    return {
        "path": str(read.path),
        "files": len(read.files),
        "bytes_read": read.bytes_read,
        "total_bytes": read.total_bytes,
        "problems": [
            {
                "code": "DIT706",
                "path": str(problem.path),
                "message": problem.message,
                "next_step": problem.next_step,
                "effect": problem.effect,
            }
            for problem in read.problems
        ],
    }
