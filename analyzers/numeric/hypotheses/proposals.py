"""Which edits are worth a run, the likeliest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from analyzers.numeric.hypotheses import arithmetic, casts, literals, orders, overrides, parallels, wiring
from analyzers.numeric.hypotheses.edits import Candidate, parses
from analyzers.numeric.hypotheses.evidence import Evidence
from analyzers.numeric.records import Built, Operations
from analyzers.numeric.verdicts import Divergence

_SOURCES = (overrides, literals, wiring, parallels, arithmetic, orders, casts)
_VAGUE = frozenset({"as-official", "swapped-operands", "constant", "flag", "extra-operation"})
"""Causes that say less than another that comes to the same text."""

_DTYPE_SOURCES = (casts, literals, parallels)


@dataclass(frozen=True)
class Trial:
    """A candidate with the whole text that it makes of its file."""

    candidate: Candidate
    text: str


def proposals(
    divergence: Divergence,
    operations: Operations,
    built: Built,
    source: Callable[[str], str | None],
    at_most: int,
) -> tuple[Trial, ...]:
    """At most so many edits of the port's own files that may mend an error, the likeliest first.

    `divergence`: followed down to its statement. `source`: text of a file by the path of its records, None
    where it cannot be read. Each makes another text, and one that parses.
    """
    evidence = Evidence(divergence, operations, built, source)
    chosen = _DTYPE_SOURCES if divergence.kind == "dtype" else _SOURCES
    found = sorted(
        (candidate for each in chosen for candidate in each.candidates(evidence)),
        key=lambda candidate: candidate.rank,
    )
    trials: dict[tuple[str, str], Trial] = {}
    for candidate in found:
        code = evidence.code(candidate.path)
        text = code.applied(candidate.replacements) if code is not None else None
        if text is None:
            continue
        known = trials.setdefault((candidate.path, text), Trial(candidate, text))
        if known.candidate.cause in _VAGUE and candidate.cause not in _VAGUE:
            trials[candidate.path, text] = Trial(candidate, text)
    return tuple(islice((trial for trial in trials.values() if parses(trial.text)), at_most))
