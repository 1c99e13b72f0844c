"""From a verdict to findings: DIT901 parity-red, DIT902 parity-skipped, DIT907 check-failed."""

from __future__ import annotations

from collections.abc import Iterable

from analyzers.findings import START_OF_FILE, Finding, Location, Related, Severity
from lsp_server.checks.requests import CheckResult, Comparison, Outcome
from lsp_server.checks.results import describe

_MOST_RELATED = 5


def findings_of(result: CheckResult, port_class: Location | None = None) -> list[Finding]:
    """What a run has to say in the editor, sorted; nothing for a run that was cancelled.

    `port_class` is where the port's class is named: it is marked too when its parity test is red.
    Every call of `assert_close` is marked once, however many comparisons failed there.
    """
    found: list[Finding] = []
    if result.status == "failed":
        found += _red(result, port_class)
    elif result.status == "error":
        found.append(_broken(result, result.reason, result.place))
    if result.status != "cancelled":
        found += _skipped(result)
    return sorted(found, key=lambda finding: finding.sort_key)


def _red(result: CheckResult, port_class: Location | None) -> Iterable[Finding]:
    failed = {outcome.test: outcome for outcome in result.outcomes if outcome.outcome == "failed"}
    by_place: dict[Location, list[Comparison]] = {}
    for comparison in result.comparisons:
        if not comparison.output.passed and comparison.test in failed:
            place = comparison.location or failed[comparison.test].in_test or result.place
            by_place.setdefault(place or _file(result), []).append(comparison)
    for place, comparisons in by_place.items():
        more = f" ({len(comparisons) - 1} more comparisons failed here)" if len(comparisons) > 1 else ""
        yield _finding("DIT901", result, place, f"Parity is red: {describe(comparisons[0])}{more}.")
    compared = {comparison.test for group in by_place.values() for comparison in group}
    for outcome in failed.values():
        if outcome.test not in compared:
            yield from _failed_otherwise(result, outcome)
    if port_class is not None:
        places = list(by_place) or [o.in_test or o.definition or _file(result) for o in failed.values()]
        yield _finding(
            "DIT901",
            result,
            port_class,
            f"The parity test of this port is red: {result.reason.rstrip('.')}.",
            tuple(Related(place, "fails here") for place in places[:_MOST_RELATED]),
        )


def _failed_otherwise(result: CheckResult, outcome: Outcome) -> Iterable[Finding]:
    """A test that failed without a recorded comparison: an `assert` of its own, or an exception."""
    place = outcome.in_test or outcome.failed_at or outcome.definition or _file(result)
    text = outcome.reason.strip().splitlines()[0] if outcome.reason.strip() else "it gives no reason"
    related: tuple[Related, ...] = ()
    if outcome.failed_at is not None and outcome.failed_at != place:
        related = (Related(outcome.failed_at, "raised here"),)
    if outcome.exception in ("AssertionError", "Failed", None):
        yield _finding("DIT901", result, place, f"Parity is red: {text}", related)
    else:
        yield _broken(result, f"The test raised before it could compare: {text}", place, related)


def _skipped(result: CheckResult) -> Iterable[Finding]:
    """One finding for each place; a warning, unless other tests of the run did pass."""
    by_place: dict[Location, list[Outcome]] = {}
    for outcome in result.skips:
        by_place.setdefault(outcome.definition or _file(result), []).append(outcome)
    for place, outcomes in by_place.items():
        first = outcomes[0]
        what = "Expected to fail" if first.outcome == "xfailed" else "Skipped"
        more = f", {len(outcomes)} times" if len(outcomes) > 1 else ""
        text = (
            f"{what}{more}, so this is no evidence ({first.skip_class}): {first.reason or 'no reason given'}"
        )
        step = f" {result.next_step}" if result.status == "skipped" and result.next_step else ""
        yield _finding("DIT902", result, place, f"{text.rstrip('.')}.{step}")


def _broken(
    result: CheckResult, reason: str, place: Location | None, related: tuple[Related, ...] = ()
) -> Finding:
    text = f"The check could not run: {reason.rstrip('.')}. {result.next_step}".strip()
    return _finding("DIT907", result, place or _file(result), text, related)


def _finding(
    code: str, result: CheckResult, place: Location, message: str, related: tuple[Related, ...] = ()
) -> Finding:
    name = {"DIT901": "parity-red", "DIT902": "parity-skipped", "DIT907": "check-failed"}[code]
    severity = Severity.ERROR
    if code == "DIT902":
        severity = Severity.WARNING if result.status == "skipped" else Severity.INFORMATION
    return Finding(
        code, name, severity, place, message, symbol=result.port, port=result.port, related=related
    )


def _file(result: CheckResult) -> Location:
    return Location(result.test.split("::", 1)[0], START_OF_FILE)
