"""Verdicts about layouts as findings (DIT704, DIT705), and as evidence of the proof of the weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace

from analyzers.findings import Severity
from analyzers.weights.layout.kept_dtypes import KeptModules
from analyzers.weights.layout.verdicts import LayoutReport, LayoutVerdict
from analyzers.weights.mapping.name_parts import shape_of_name
from analyzers.weights.verdicts import Fault, Interchangeable, WeightProof


@dataclass(frozen=True)
class LayoutFinding:
    """What is wrong with some tensors of a converted checkpoint, for one reason. `code`: DIT704 or DIT705.
    `natives`: the parameters."""

    code: str
    severity: Severity
    message: str
    natives: tuple[str, ...]


def findings(
    report: LayoutReport,
    *,
    official_keeps: KeptModules | None = None,
    port_keeps: KeptModules | None = None,
) -> tuple[LayoutFinding, ...]:
    """What a person has to know, the worst first; tensors whose names differ in numbers only are one finding.

    `official_keeps`, `port_keeps`: which tensors the official class and the port keep in float32.
    """
    found = [*_layouts(report), *_dtypes(report, official_keeps, port_keeps)]
    return tuple(sorted(found, key=lambda finding: (-finding.severity.rank, finding.code, finding.natives)))


def settle(proof: WeightProof, report: LayoutReport) -> WeightProof:
    """The proof with what the rows say.

    Groups whose members each have the rows of their own source, and of no other, are no longer
    interchangeable. A parameter that has other rows, or its rows in another order, breaks the proof.
    What the rows do not tell stays as it was, and is counted in a note.
    """
    of_native: dict[str, list[LayoutVerdict]] = {}
    for verdict in report.verdicts:
        of_native.setdefault(verdict.native, []).append(verdict)
    settled = {native for native, verdicts in of_native.items() if all(v.settled for v in verdicts)}
    told = {
        native
        for native, verdicts in of_native.items()
        if all(verdict.as_expected or verdict.contradicts for verdict in verdicts)
    }
    filled = [filling.tensor.name for filling in proof.fillings if filling.sources]
    seen = sum(name in told for name in filled)
    groups = _still_open(proof, {name for name in filled if name not in settled})
    faults = _faults(proof, report)
    by = proof.by
    if seen and seen == len(filled):
        by = "names, shapes and rows" if proof.by == "names and shapes" else f"{proof.by}, and rows"
    elif seen:
        by = f"{proof.by}, and rows of {seen:,} of {len(filled):,} parameters"
    notes = list(proof.notes)
    wrong = {name for fault in faults for name in fault.native}
    unclear = [name for name in filled if name in told and name not in settled and name not in wrong]
    if unclear:
        notes.append(
            f"{len(unclear):,} parameters have the rows of their sources, and would have them in another "
            f"order or from another tensor as well, as elements repeat: {_shown(unclear)}"
        )
    broken = replace(
        proof,
        by=by,
        interchangeable=groups,
        faults=(*proof.faults, *faults),
        notes=tuple(notes),
    )
    if not faults:
        return broken
    count = sum(len(fault.native) for fault in faults)
    those = f"{count:,} parameters" if count > 1 else "1 parameter"
    because = (
        f"{those} of the converted checkpoint hold{'' if count > 1 else 's'} other rows than the mapping says"
    )
    if proof.verdict == "broken":
        because = f"{proof.because}; {because}"
    return replace(broken, verdict="broken", because=because)


def _still_open(proof: WeightProof, unsettled: Set[str]) -> tuple[Interchangeable, ...]:
    """The groups of which two members at least are not settled.

    A group names parameters with their numbers as `*`; one of a single name is a numbered list, all of
    whose elements are alike (`telling`).
    """
    templates: dict[str, int] = {}
    for name in unsettled:
        template, _ = shape_of_name(name)
        templates[template] = templates.get(template, 0) + 1
    groups = []
    for group in proof.interchangeable:
        if len(group.natives) == 1:
            (start,) = group.natives
            if any(count > 1 and f"{name}.".startswith(f"{start}.") for name, count in templates.items()):
                groups.append(group)
            continue
        left = tuple(name in unsettled or name in templates for name in group.natives)
        if sum(left) > 1:
            kept = [index for index, stays in enumerate(left) if stays]
            natives = tuple(group.natives[index] for index in kept)
            telling = group.telling
            if len(telling) == len(group.natives):
                telling = tuple(telling[index] for index in kept)
            groups.append(replace(group, natives=natives, telling=telling))
    return tuple(groups)


def _faults(proof: WeightProof, report: LayoutReport) -> list[Fault]:
    """One fault for each layout and family of names."""
    rules = {placement.tensor.name: placement.rules for placement in proof.placements}
    faults = []
    for verdicts in _families(v for v in report.verdicts if v.contradicts):
        first = verdicts[0]
        official = tuple(dict.fromkeys(name for verdict in verdicts for name in verdict.official))
        used = [rules[name][-1] for name in official if rules.get(name)]
        faults.append(
            Fault(
                kind="layout",
                rule=used[0] if used else None,
                official=official,
                native=tuple(dict.fromkeys(verdict.native for verdict in verdicts)),
                message=_message(verdicts),
                suspected="rename"
                if first.kind == "other tensor"
                else "fuse"
                if len(first.official) > 1
                else "unknown",
            )
        )
    return faults


def _suspected(verdict: LayoutVerdict) -> str:
    if verdict.kind == "other tensor":
        return "rename"
    return "fuse" if len(verdict.official) > 1 else "unknown"


# ---------------------------------------------------------------------- DIT705


def _layouts(report: LayoutReport) -> list[LayoutFinding]:
    found = [
        LayoutFinding("DIT705", _severity(verdicts[0], report), _message(verdicts), _natives(verdicts))
        for verdicts in _families(v for v in report.verdicts if v.contradicts)
    ]
    compared = [verdict for verdict in report.verdicts if verdict.rows]
    different = [verdict for verdict in compared if verdict.kind == "values"]
    if len(different) > 3 and 2 * len(different) > len(compared):
        found.append(
            LayoutFinding(
                "DIT705",
                Severity.WARNING,
                f"{len(different):,} of {len(compared):,} tensors hold other numbers than the official "
                "checkpoint: the two files are not of the same weights (another release, a fine-tuned model)",
                _natives(different),
            )
        )
    else:
        found += [
            LayoutFinding("DIT705", Severity.WARNING, _message(verdicts), _natives(verdicts))
            for verdicts in _families(different)
        ]
    quiet = (v for v in report.verdicts if v.kind in ("located", "shape", "absent", "unread"))
    sourceless = (v for v in report.verdicts if v.kind == "values" and not v.rows)
    found += [
        LayoutFinding(
            "DIT705", Severity.INFORMATION, f"not compared: {_message(verdicts)}", _natives(verdicts)
        )
        for verdicts in _families((*quiet, *sourceless))
    ]
    return found


def _severity(verdict: LayoutVerdict, report: LayoutReport) -> Severity:
    """A conversion that writes native names may lay out a tensor anew on purpose, for a port that never
    reads the official file; under official names, or against a merge, it contradicts what the loader does."""
    declared = len(verdict.official) > 1 or report.named == "official"
    return Severity.ERROR if declared or verdict.kind == "other tensor" else Severity.WARNING


# ---------------------------------------------------------------------- DIT704


def _dtypes(
    report: LayoutReport, official_keeps: KeptModules | None, port_keeps: KeptModules | None
) -> list[LayoutFinding]:
    # Whether the loader of the port casts what only the official model keeps.
    casts = port_keeps is not None and port_keeps.readable

    def keeper(verdict: LayoutVerdict) -> str:
        if port_keeps is not None and port_keeps.keeps(verdict.native):
            return "the port"
        if official_keeps is not None and any(official_keeps.keeps(name) for name in verdict.official):
            return "the official model"
        return ""

    found = []
    changed = [v for v in report.verdicts if v.cast in ("narrowed", "changed") or v.rounded]
    for verdicts in _grouped(
        changed, lambda v: (keeper(v), v.cast, v.reference, v.dtype, v.rounded, v.exact)
    ):
        first, natives = verdicts[0], _natives(verdicts)
        what = f"{_shown(natives)} {'are' if len(natives) > 1 else 'is'} {first.dtype} where the official "
        what += f"checkpoint has {first.reference}"
        whose = keeper(first)
        if first.cast == "changed":
            severity = Severity.WARNING
            message = f"{what}: the values were not compared"
        elif first.rounded:
            severity = Severity.WARNING if whose else Severity.INFORMATION
            message = f"{_shown(natives)}, {first.dtype}: values were rounded to {first.rounded} on the way"
        elif first.exact and first.as_expected:
            severity = Severity.INFORMATION
            message = f"{what}; every value that was compared fits"
        elif whose == "the official model" and casts:
            severity = Severity.WARNING
            those = "them" if len(natives) > 1 else "it"
            message = (
                f"{what}, and the official model keeps {those} in float32: the port does not, and its loader "
                f"casts the official file alike; see whether the port has to keep {those}"
            )
        elif whose:
            severity = Severity.ERROR
            message = (
                f"{what}, and {whose} keeps {'them' if len(natives) > 1 else 'it'} in float32: the digits "
            )
            message += "that are lost do not come back at load; leave the dtype as it is"
        else:
            severity = Severity.INFORMATION
            message = f"{what}: rounded to nearest, as the loader would when it casts"
        if first.rounded and whose:
            message += f", and {whose} keeps {'them' if len(natives) > 1 else 'it'} in float32"
        found.append(LayoutFinding("DIT704", severity, message, natives))
    return found


# ---------------------------------------------------------------------- many as one


def _families(verdicts: Iterable[LayoutVerdict]) -> list[list[LayoutVerdict]]:
    """Verdicts of one kind about names that differ in numbers only."""
    return _grouped(verdicts, lambda v: (v.kind, v.ambiguous, re.sub(r"\d+", "N", v.native), len(v.official)))


def _grouped(
    verdicts: Iterable[LayoutVerdict], key: Callable[[LayoutVerdict], object]
) -> list[list[LayoutVerdict]]:
    groups: dict[object, list[LayoutVerdict]] = {}
    for verdict in verdicts:
        groups.setdefault(key(verdict), []).append(verdict)
    return list(groups.values())


def _natives(verdicts: Sequence[LayoutVerdict]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(verdict.native for verdict in verdicts))


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2:,} more" if len(names) > 2 else ""
    return " and ".join(names[:2]) if len(names) < 3 else ", ".join(names[:2]) + more


def _message(verdicts: Sequence[LayoutVerdict]) -> str:
    """The first one's sentence, its evidence, and how many more there are."""
    first = verdicts[0]
    message = first.detail
    if first.rows and first.kind != "values":
        message += f" ({first.agreeing} of {first.rows} samples agree, at most {first.runner_up} otherwise)"
    if first.alternatives and first.kind != "values":
        message += f"; not told apart from: {', '.join(first.alternatives[:2])}"
    if len(verdicts) > 1:
        message += f"; {len(verdicts) - 1:,} more like it, to {verdicts[-1].native}"
    return message
