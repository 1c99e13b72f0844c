"""The verdict on a port's weights: the proof of the mapping, and what the checkpoints at hand say of it."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.findings import Severity
from analyzers.weights.files.headers import Checkpoint
from analyzers.weights.layout.findings import LayoutFinding
from analyzers.weights.mapping.symbolic import SymbolicRule
from analyzers.weights.verdicts import Verdict, WeightProof


def judged(
    checkpoints: Sequence[Checkpoint | None],
    apart: str,
    proof: WeightProof,
    loading: WeightProof | None,
    found: Sequence[LayoutFinding],
) -> tuple[Verdict, str]:
    """The verdict and the reason for it, one sentence without a full stop.

    `checkpoints`: those that were read. `apart`: why the sides have different configurations, "" where they
    have not. `loading`: whether the names of the converted checkpoint load; `found`: what its rows and dtypes
    say.
    """
    verdict, because = proof.verdict, proof.because
    for effect in ("broken", "unknown"):
        for read in checkpoints:
            for problem in read.problems if read is not None else ():
                # What stands in the headers fits; what cannot be read does not arrive.
                if problem.effect == effect and verdict == "proven":
                    verdict, because = problem.effect, problem.message
    if verdict == "proven" and loading is not None and loading.verdict != "proven":
        verdict, because = loading.verdict, _why_not_loaded(loading)
    if verdict == "proven":
        verdict, because = _judged_by_numbers(found) or (verdict, because)
    if apart and verdict == "broken":
        return "unknown", f"{apart}; what differs may be the configurations alone"
    return verdict, because


def foreign_names(proof: WeightProof, rules: Sequence[SymbolicRule]) -> str | None:
    """Why a whole mapping does not suit its official side, one sentence without a full stop: none of the
    beginnings that its rules spell out is there. None where one is, or where nothing is wrong.

    An implementation of the same model under other names (diffusers' beside the original's) looks like it.
    """
    if proof.verdict != "broken":
        return None
    beginnings: list[str] = []
    for use in proof.rules:
        pattern = rules[use.rule].parsed
        if pattern is None:
            return None
        if pattern.prefix:
            if use.reaches:
                return None
            beginnings.append(pattern.prefix)
    if not beginnings:
        return None
    shown = " or ".join(f"'{text}'" for text in list(dict.fromkeys(beginnings))[:2])
    return f"the mapping is written for names that begin with {shown}, and no official name here does"


def missing(proof: WeightProof) -> list[str]:
    """The port's names that nothing fills and that may not stay empty."""
    return [
        filling.tensor.name
        for filling in proof.fillings
        if not filling.sources and not filling.excluded and filling.verdict == "broken"
    ]


def unexpected(proof: WeightProof) -> list[str]:
    """The official names that lead to no name of the port and are not left out by design."""
    places = {filling.tensor.name for filling in proof.fillings}
    return [
        placement.tensor.name
        for placement in proof.placements
        if placement.target not in places and not placement.excluded and placement.verdict == "broken"
    ]


def renamed_natives(loading: WeightProof) -> list[str]:
    """The names of a converted checkpoint that are the port's own, and that the mapping turns into others."""
    natives = {filling.tensor.name for filling in loading.fillings}
    return [name for name in unexpected(loading) if name in natives]


def _why_not_loaded(loading: WeightProof) -> str:
    told = []
    own = len(renamed_natives(loading))
    lacking, strangers = len(missing(loading)) - own, len(unexpected(loading)) - own
    if own:
        told.append(f"{own:,} of its names are the port's own, and the mapping renames them once more")
    shapes = sum(len(fault.shapes) for fault in loading.faults)
    if lacking:
        told.append(f"it lacks {lacking:,} parameter{'s' if lacking > 1 else ''} of the port")
    if strangers:
        told.append(f"{strangers:,} of its names lead{'s' if strangers == 1 else ''} to no parameter")
    if shapes:
        told.append(f"{shapes:,} of its tensors {'have' if shapes > 1 else 'has'} another shape")
    return (
        "the mapping fits the official checkpoint, and the converted one does not load: "
        f"{'; '.join(told) or loading.because}"
    )


def _judged_by_numbers(found: Sequence[LayoutFinding]) -> tuple[Verdict, str] | None:
    """What numbers and dtypes of a converted checkpoint make of a mapping that fits; None where nothing."""
    worst = max((finding.severity.rank for finding in found), default=0)
    if worst < Severity.WARNING.rank:
        return None
    those = [finding for finding in found if finding.severity.rank == worst]
    natives = {name for finding in those for name in finding.natives}
    count = f"{len(natives):,} parameter{'s' if len(natives) > 1 else ''} of the converted checkpoint"
    if worst == Severity.ERROR.rank:
        return "broken", f"all names have their places, and {count} lost digits that have to stay"
    what = "have another dtype than" if all(f.code == "DIT704" for f in those) else "hold other numbers than"
    if len(natives) == 1:
        what = what.replace("have", "has").replace("hold ", "holds ")
    return "unknown", f"all names have their places, but {count} {what} the official checkpoint"
