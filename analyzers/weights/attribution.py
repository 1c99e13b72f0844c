"""Which rule caused what: one fault for each cause, with everything that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyzers.weights.landing import Landed, Sides
from analyzers.weights.recent import Keep
from analyzers.weights.renaming import Renaming
from analyzers.weights.symbolic import SymbolicRule
from analyzers.weights.verdicts import Fault, RuleUse


@dataclass(frozen=True)
class Evidence:
    """What the faults are told from. `empty`: natives that nothing fills and that may not stay empty.
    `unsure`: some names could not be followed, so that nothing is said of what is empty."""

    sides: Sides
    rules: Sequence[SymbolicRule]
    renaming: Renaming
    landed: Sequence[Landed]
    empty: tuple[str, ...]
    uses: Sequence[RuleUse]
    unsure: bool


def attribute(evidence: Evidence, keep: Keep) -> tuple[Fault, ...]:
    """The faults of a mapping, those of the earliest rules first."""
    names = evidence.sides.official.names
    by_rule: dict[int | None, list[str]] = {}
    for part in evidence.landed:
        for place, placement in part.placements:
            if placement.verdict == "broken":
                by_rule.setdefault(placement.rules[-1] if placement.rules else None, []).append(names[place])
    for rule, (mask, _) in evidence.renaming.raising.items():
        by_rule.setdefault(rule, []).append(names[mask.bit_length() - 1])
    faults = [Fault("unexpected", rule, tuple(o), (), f"{len(o)} names") for rule, o in by_rule.items()]
    if evidence.empty and not evidence.unsure:
        faults.append(Fault("missing", None, (), evidence.empty, f"{len(evidence.empty)} names"))
    return tuple(faults)
