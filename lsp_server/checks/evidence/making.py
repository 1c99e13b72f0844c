"""From the result of a check to what is kept of it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analyzers.findings import Finding
from lsp_server.checks.contents import changed_since, contents_of, package_around
from lsp_server.checks.devices import CPU, VISIBLE
from lsp_server.checks.environment import telling_environment
from lsp_server.checks.evidence.kept_findings import findings_to_json
from lsp_server.checks.evidence.model import Evidence, digest_of
from lsp_server.checks.evidence.standing import environment_of, weights_file
from lsp_server.checks.redact import redact
from lsp_server.checks.requests import CheckRequest, CheckResult, Output, Status
from lsp_server.checks.retry_request import USUAL_COMPONENT, retry_request
from lsp_server.checks.revision import revision_of
from lsp_server.checks.trace_json import trace_json
from lsp_server.checks.trace_question import TraceQuestion
from lsp_server.checks.trace_result import TraceResult
from lsp_server.checks.weights import WeightReport
from lsp_server.checks.weights_json import report_json

_OF_WEIGHTS: Mapping[str, Status] = {"proven": "passed", "broken": "failed", "unknown": "skipped"}
_LONGEST_LOG = 8000


def parity_asked(port: str, request: CheckRequest) -> str:
    """What `Evidence.asked` is of the run of a request: earlier runs are looked up by it."""
    return digest_of([port, request.tier, request.test, _parity_question(request)])


def evidence_of_parity(
    port: str,
    request: CheckRequest,
    result: CheckResult,
    began: float,
    findings: Iterable[Finding] = (),
) -> Evidence | None:
    """What is kept of a parity run. `port`: `path::Class`. `began`: when it did, in seconds since the epoch.
    `findings`: what an editor shows of it.

    None of a run that was cancelled. One during which a file changed speaks of no file.
    """
    if result.status == "cancelled":
        return None
    document = result.to_json()
    document["log_tail"] = document["log_tail"][-_LONGEST_LOG:]
    loaded = result.loaded
    return _evidence(
        port,
        "weights",
        request.test,
        result.status,
        result.reason,
        result.seconds,
        root=Path(request.root),
        began=began,
        question=_parity_question(request),
        files=loaded.files if loaded is not None else (),
        environments=loaded.packages if loaded is not None else (),
        weights=loaded.weights if loaded is not None else (),
        conditions=result.conditions.to_json() if result.conditions is not None else {},
        outputs=result.outputs,
        document=document,
        findings=findings,
    )


def evidence_of_trace(
    port: str, question: TraceQuestion, result: TraceResult, began: float
) -> Evidence | None:
    """What is kept of a trace in the tiny tier; None of one that came to no answer."""
    if result.status not in ("passed", "failed", "skipped") or result.compared is None:
        return None
    document = trace_json(result)
    official = result.compared.official_place
    outside = official is not None and Path(official.path).is_absolute()
    return _evidence(
        port,
        "tiny",
        result.compared.official,
        result.status,
        result.reason,
        result.seconds,
        root=Path(question.root),
        began=began,
        question={
            "python": question.python,
            "device": question.device,
            "dtype": question.dtype,
            "seed": question.seed,
            "recipe": result.compared.recipe,
        },
        files=result.files,
        environments=[str(package_around(Path(official.path)).folder.parent)] if official and outside else (),
        outputs=tuple(
            Output(**{name: output[name] for name in Output.__dataclass_fields__})
            for output in document["outputs"]
        ),
        document={name: value for name, value in document.items() if name != "drift"},
    )


def evidence_of_weights(port: str, root: Path, python: str, report: WeightReport, began: float) -> Evidence:
    """What is kept of a proof of the weights by names and shapes."""
    document = report_json(report)
    if report.verdict == "broken":
        # Its faults are not kept with their rules: what a handoff asks the conversion for is made here.
        document["conversion_retry_request"] = retry_request(report, USUAL_COMPONENT)
    return _evidence(
        port,
        "meta",
        report.measured.against.ref,
        _OF_WEIGHTS[report.verdict],
        report.because,
        report.seconds,
        root=root,
        began=began,
        question={"python": python, "configuration": report.measured.configuration},
        files=report.measured.answer.files,
        document={name: value for name, value in document.items() if name not in ("rules", "keys")},
    )


def _parity_question(request: CheckRequest) -> dict[str, Any]:
    environment = telling_environment(request.python, request.allowed_environment)
    return {
        "python": request.python,
        # Which of several GPUs was free says nothing of the outcome; their names are among the conditions.
        "device": CPU if request.device == CPU else "cuda",
        "line": request.line,
        "environment": {name: redact(value) for name, value in environment.items() if name != VISIBLE},
    }


def _evidence(
    port: str,
    tier: Any,
    subject: str,
    status: Status,
    reason: str,
    seconds: float,
    *,
    root: Path,
    began: float,
    question: Mapping[str, Any],
    files: Iterable[str],
    environments: Iterable[str] = (),
    weights: Iterable[str] = (),
    conditions: Mapping[str, Any] | None = None,
    outputs: tuple[Output, ...] = (),
    document: Mapping[str, Any],
    findings: Iterable[Finding] = (),
) -> Evidence:
    sources = contents_of(root, files)
    if changed_since(root, sources, began):
        sources = {}
    return Evidence(
        id=uuid.uuid4().hex,
        port=port,
        tier=tier,
        subject=subject,
        status=status,
        reason=reason,
        ended=time.time(),
        seconds=seconds,
        question=question,
        sources=sources,
        environments={folder: environment_of(Path(folder)) for folder in environments},
        weights=tuple(file for path in weights if (file := weights_file(Path(path))) is not None),
        revision=revision_of(root),
        conditions=conditions or {},
        outputs=outputs,
        document=document,
        findings=tuple(findings_to_json(findings)),
    )
