"""A trace as JSON: one shape for `ditproof trace`, `parity --tier tiny` and the `ditproof/` requests.

Lines count from 1; paths are relative to the root with `/`, or absolute outside of it. A number that JSON
does not have (NaN, an infinity) is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from analyzers.findings import Location
from analyzers.numeric.records import OutputReading
from analyzers.numeric.spots import built_at
from analyzers.numeric.verdicts import Divergence, Hypothesis, Mismatch, Spot
from lsp_server.checks.requests import CheckResult
from lsp_server.checks.state_records import StateProblem
from lsp_server.checks.trace_result import Compared, DriftRow, TraceResult


def trace_json(result: TraceResult) -> dict[str, Any]:
    """The document of one trace."""
    verdict = result.verdict
    divergences = [divergence_json(found) for found in result.divergences]
    return {
        "port": result.port,
        "tier": result.tier,
        "status": result.status,
        "reason": result.reason,
        "outputs": _outputs(result),
        "first": divergences[0] if divergences else None,
        "others": divergences[1:],
        "taps": verdict.taps if verdict is not None else 0,
        "aligned": verdict.aligned if verdict is not None else 0,
        "unaligned": [{"side": side, "module": name} for side, name in verdict.unaligned] if verdict else [],
        "not_fired": list(verdict.not_fired) if verdict is not None else [],
        "evidence": None,
        "seconds": round(result.seconds, 3),
        "next_step": result.next_step,
        "reaches_outputs": verdict.reaches_outputs if verdict is not None else None,
        "unlocated": verdict.unlocated if verdict is not None else False,
        "layouts": list(verdict.layouts) if verdict is not None else [],
        "drift": [_drift(row, result) for row in result.drift],
        "place": _place(result.place),
        "compared": _compared(result.compared) if result.compared is not None else None,
        "missing": list(result.built.missing) if result.built is not None else [],
        "unexpected": list(result.built.unexpected) if result.built is not None else [],
        "problems": [_problem(problem) for problem in result.problems],
        "notes": [*(verdict.notes if verdict is not None else ()), *result.notes],
        "parts": {name: round(seconds, 3) for name, seconds in result.parts.items()},
        **(_of_the_test(result.check) if result.check is not None else {}),
    }


def _outputs(result: TraceResult) -> list[dict[str, Any]]:
    """Of the weights tier what the test compared, with its tolerances; else what the models gave."""
    if result.check is not None:
        return [asdict(output) for output in result.check.outputs]
    verdict = result.verdict
    return [_output(output, result) for output in verdict.outputs] if verdict is not None else []


def _of_the_test(check: CheckResult) -> dict[str, Any]:
    """What the parity run itself came to."""
    told = check.to_json()
    return {
        "test": check.test,
        "test_status": check.status,
        **{name: told[name] for name in ("outcomes", "skips", "comparisons", "log_tail")},
    }


def divergence_json(found: Divergence) -> dict[str, Any]:
    """One divergence. `error` and `floor` are relative L2 norms."""
    return {
        "kind": found.kind,
        "native": _spot(found.native),
        "official": _spot(found.official),
        "error": _number(found.error),
        "floor": _number(found.floor),
        "after": list(found.after),
        "operation": _operation(found.mismatch) if found.mismatch is not None else None,
        "message": found.message,
        "hypothesis": _hypothesis(found.hypothesis) if found.hypothesis is not None else None,
        "also": [_spot(spot) for spot in found.also],
        "calls": found.calls,
        "reaches_outputs": found.reaches_outputs,
        "output_error": _number(found.output_error),
        "tap": {
            "module": found.pair.native.module,
            "end": found.pair.native.end,
            "label": found.pair.native.label,
        },
    }


def _spot(spot: Spot) -> dict[str, Any]:
    return {
        "module": spot.module,
        "path": spot.path,
        "line": None if spot.line is None else spot.line + 1,
        "end_line": None if spot.end_line is None else spot.end_line + 1,
    }


def _operation(mismatch: Mismatch) -> dict[str, Any]:
    return {
        "what": mismatch.what,
        "native": mismatch.native,
        "official": mismatch.official,
        "native_place": None if mismatch.native_spot is None else _spot(mismatch.native_spot),
        "official_place": None if mismatch.official_spot is None else _spot(mismatch.official_spot),
    }


def _hypothesis(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "cause": hypothesis.cause,
        "message": hypothesis.message,
        "error": _number(hypothesis.error),
        "fix": hypothesis.edit is not None,
        "edit": _edit(hypothesis),
    }


def _edit(hypothesis: Hypothesis) -> dict[str, Any] | None:
    """Which lines of the port become which others."""
    if hypothesis.edit is None:
        return None
    arguments = hypothesis.edit[1]
    line = arguments["line"]
    assert isinstance(line, int)
    return {
        "path": arguments["path"],
        "line": line + 1,
        "old": arguments["old"],
        "new": arguments["new"],
    }


def _output(output: OutputReading, result: TraceResult) -> dict[str, Any]:
    """`tolerance` is null: nobody chose one, what rounding does is measured."""
    return {
        "name": output.native,
        "max_abs": _number(output.max_abs),
        "mean_abs": _number(output.mean_abs),
        "rel_l2": _number(output.rel_l2),
        "tolerance": None,
        "needed_tolerance": _number(output.max_abs),
        "passed": result.agrees(output),
        "official": output.official,
        "shapes": {"official": list(output.shapes[0]), "native": list(output.shapes[1])},
        "dtypes": {"official": output.dtypes[0], "native": output.dtypes[1]},
        "nonfinite": {"official": output.nonfinite[0], "native": output.nonfinite[1]},
    }


def _drift(row: DriftRow, result: TraceResult) -> dict[str, Any]:
    return {
        "module": row.pair.native.module,
        "official": row.pair.official.module,
        "end": row.pair.native.end,
        "label": row.pair.native.label,
        "why": row.pair.why,
        "free": _number(row.free.error),
        "error": _number(row.own.error),
        "floor": _number(row.own.floor),
        "status": row.own.status,
        "layout": row.own.layout,
        "place": _module_place(row.pair.native.module, result),
    }


def _module_place(name: str, result: TraceResult) -> dict[str, Any] | None:
    """The line of the port that builds a module; of the port itself, and of what is built elsewhere, the line
    that computes."""
    module = result.native_module(name)
    if module is None or result.built is None:
        return None
    spot = built_at(result.built.native, module)
    if spot.path is None:
        return None
    return {"path": spot.path, "line": None if spot.line is None else spot.line + 1}


def _compared(compared: Compared) -> dict[str, Any]:
    return {
        "official": compared.official,
        "official_because": compared.official_because,
        "official_place": _place(compared.official_place),
        "recipe": compared.recipe,
        "recipe_because": compared.recipe_because,
        "device": compared.device,
        "dtype": compared.dtype,
        "seed": compared.seed,
        "cases": list(compared.cases),
        "dropped": [{"setting": name, "reason": text} for name, text in compared.dropped],
    }


def _problem(problem: StateProblem) -> dict[str, Any]:
    return {
        "side": problem.side,
        "stage": problem.stage,
        "type": problem.type,
        "message": problem.message,
        "missing": problem.missing,
        "path": problem.path,
        "line": None if problem.line is None else problem.line + 1,
        "next_step": problem.next_step,
    }


def _place(place: Location | None) -> Mapping[str, Any] | None:
    return None if place is None else {"path": place.path, "line": place.span.line + 1}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
