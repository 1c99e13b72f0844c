"""From a numeric verdict to findings: DIT903 to DIT906, at the port's statement with the official one beside.

A place that lies in no file of the project, and a check without a place, are told at the port's class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath

from analyzers.findings import (
    START_OF_FILE,
    Applicability,
    Finding,
    Fix,
    Location,
    Related,
    Severity,
    Span,
)
from analyzers.numeric.verdicts import Divergence, Hypothesis, NumericVerdict, Spot

Lines = Callable[[str], Sequence[str] | None]
"""The lines of a file of the project, or of the official side; None where it cannot be read."""

_NAMES = {
    "DIT903": "diverges-here",
    "DIT904": "layout-here",
    "DIT905": "dtype-here",
    "DIT906": "nonfinite-here",
}
_CODES = {
    "inside": "DIT903",
    "between": "DIT903",
    "layout": "DIT904",
    "dtype": "DIT905",
    "nonfinite": "DIT906",
}
_MOST_RELATED = 6


def findings_of_trace(
    verdict: NumericVerdict, port: str, port_class: Location, lines: Lines
) -> list[Finding]:
    """One finding for each error of the port, sorted by place.

    `port`: the class name. `port_class`: where its name stands. `lines`: of a file, to
    mark the statement's text.
    """
    found = [_finding(divergence, port, port_class, lines) for divergence in verdict.divergences]
    return sorted(found, key=lambda finding: finding.sort_key)


def code_of(divergence: Divergence) -> str:
    """The rule that a divergence belongs to."""
    return _CODES[divergence.kind]


def _finding(divergence: Divergence, port: str, port_class: Location, lines: Lines) -> Finding:
    code = code_of(divergence)
    own = _location(divergence.native, lines)
    places = [(divergence.official, "the official model computes this here")]
    if divergence.mismatch is not None:
        operation = divergence.mismatch.native_spot, divergence.mismatch.official_spot
        places += [
            (spot, text)
            for spot, text in zip(
                operation, ("the operation of the port", "the official operation"), strict=True
            )
            if spot is not None
        ]
    places += [(spot, "the same error") for spot in divergence.also]
    related: list[Related] = []
    for spot, text in places:
        place = _location(spot, lines)
        if place is not None and place != own and all(place != one.location for one in related):
            related.append(Related(place, text))
    message = divergence.message
    if divergence.hypothesis is not None:
        message = f"{message.rstrip('.')}. {divergence.hypothesis.message}"
    return Finding(
        code,
        _NAMES[code],
        _severity(divergence),
        own if own is not None and not PurePath(own.path).is_absolute() else port_class,
        message,
        symbol=divergence.native.module or port,
        port=port,
        related=tuple(related[:_MOST_RELATED]),
        fix=_fix(divergence.hypothesis),
    )


def _fix(hypothesis: Hypothesis | None) -> Fix | None:
    """The edit that a run has shown to mend the error; what else it changes for a user, nobody knows."""
    if hypothesis is None or hypothesis.edit is None:
        return None
    operation, arguments = hypothesis.edit
    title = f"Mend the {hypothesis.cause}, as tried: {hypothesis.message.rstrip('.')}"
    return Fix(title, operation, arguments, Applicability.UNSAFE)


def _severity(divergence: Divergence) -> Severity:
    """What reaches no output is information; a loss of accuracy a warning; all else an error."""
    if divergence.kind == "dtype":
        return Severity.WARNING
    return Severity.ERROR if divergence.reaches_outputs is not False else Severity.INFORMATION


def _location(spot: Spot, lines: Lines) -> Location | None:
    """The statement's own text, without the indentation."""
    if spot.path is None:
        return None
    if spot.line is None:
        return Location(spot.path, START_OF_FILE)
    last = spot.line if spot.end_line is None else spot.end_line
    text = lines(spot.path)
    if text is None or last >= len(text):
        return Location(spot.path, Span(spot.line, 0, last, 0))
    first = text[spot.line]
    start = len(first) - len(first.lstrip())
    return Location(spot.path, Span(spot.line, start, last, len(text[last].rstrip().encode())))
