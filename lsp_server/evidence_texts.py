"""What an editor shows of runs that are kept: a lens on a test, a table in the hover of a port.

Pure: what is known in, texts out. Only a pass whose sources are the same looks like one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import Change
from lsp_server.checks.evidence.trends import Series, series_of, sparkline, trend


def ago(seconds: float) -> str:
    """A time span as a person says it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"


def standing(evidence: Evidence, changed: Sequence[Change], now: float | None = None) -> str:
    """The last run of a test in a few words: `passed 2 h ago, max 3.1e-07`."""
    when = ago((time.time() if now is None else now) - evidence.ended)
    worst = evidence.worst
    drift = f", max {worst.max_abs:.1e}" if worst is not None and worst.max_abs is not None else ""
    if evidence.status == "passed" and changed:
        return f"passed {when}{drift}, before the last changes"
    if evidence.status in ("passed", "failed"):
        return f"{evidence.status} {when}{drift}"
    if evidence.status == "skipped":
        return f"skipped {when}: no evidence"
    return f"could not run {when}"


def card(known: Iterable[tuple[Evidence, Sequence[Change], Sequence[Evidence]]]) -> str | None:
    """The runs of a port as Markdown; None where there are none. Each with what has changed since, and with
    the runs of the same check before it."""
    rows = []
    for evidence, changed, history in known:
        worst = evidence.worst
        series = next((s for s in series_of(history) if worst is not None and s.name == worst.name), None)
        cells = (_name(evidence), standing(evidence, changed), _tolerance(evidence), _drift(series))
        rows.append(f"| {' | '.join(cells)} |")
    if not rows:
        return None
    head = ["**Evidence**", "", "| test | last run | tolerance | drift over time |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _name(evidence: Evidence) -> str:
    path, separator, test = evidence.subject.partition("::")
    return f"`{path.rpartition('/')[2]}{separator}{test}`".replace("|", "\\|")


def _tolerance(evidence: Evidence) -> str:
    worst = evidence.worst
    return f"{worst.tolerance:.3g}" if worst is not None and worst.tolerance is not None else ""


def _drift(series: Series | None) -> str:
    """Nothing where a single run says nothing of time."""
    if series is None or len(series.points) < 2:
        return ""
    said = trend(series)
    return sparkline(series.drifts) + (f" {said}" if said is not None else "")
