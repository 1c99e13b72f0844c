"""`ditproof evidence`: what was run, on what, how close it was, and whether it still counts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import state_key
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import Change, changes_since
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.checks.evidence.trends import series_of, sparkline
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import project_options
from lsp_server.commands.port_argument import find_port, paths_in
from lsp_server.commands.terminal import printable, rendered, say, write, write_json
from lsp_server.commands.workspace import Tree, open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused
from lsp_server.evidence_texts import ago
from lsp_server.facts_cache import DiskFactsCache

_STYLES = {"passed": "green", "failed": "bold red", "error": "bold red", "skipped": "yellow"}


@click.command("evidence")
@click.argument("port", required=False)
@click.option("--history", is_flag=True, help="Every run that is kept, not only the last of each check.")
@click.option("--clear", is_flag=True, help="Forget what is kept (of PORT, where one is named).")
@project_options
def command(
    port: str | None,
    history: bool,
    clear: bool,
    root: str | None,
    python: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Show what is known of PORT (class, file, or file::Class), or of every port, from runs on this machine.

    Only `passed` is evidence, and only while nothing that it hung on has changed. Exits with 4 where nothing
    is kept.
    """
    tree = open_tree(root, paths_in(port) if port is not None else ())
    key = _key(tree, port)
    store = EvidenceStore(tree.root)
    try:
        if clear:
            gone = store.clear(key)
            if not quiet:
                say(f"{gone} runs forgotten.")
            return ExitCode.CLEAN
        latest = store.latest(key)
        runs = {run.id: _all_of(store, run) for run in latest}
    except EvidenceError as error:
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    changed = {run.id: changes_since(tree.root, run) for run in latest}
    shown = [run for last in latest for run in (runs[last.id] if history else [last])]
    if output_format == "json":
        now = {run.id: changed.get(run.id) or changes_since(tree.root, run) for run in shown}
        write_json([run_json(run, now[run.id], runs.get(run.id, ())) for run in shown])
    elif shown:
        write(_history(shown) if history else _table(latest, changed, runs))
        if not quiet:
            write(_summary(latest, changed))
    if not shown and not quiet:
        say("nothing is kept yet: `ditproof weights`, `trace` and `parity` keep what they see.")
    if tell_problems(tree.settings):
        return ExitCode.USAGE
    return ExitCode.CLEAN if shown else ExitCode.SKIPPED


def _key(tree: Tree, port: str | None) -> str | None:
    if port is None:
        return None
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        found: Port = find_port(project, port)
    return state_key(found)


def _all_of(store: EvidenceStore, run: Evidence) -> list[Evidence]:
    return store.history(run.port, run.tier, run.subject)


def run_json(run: Evidence, changed: Sequence[Change], history: Iterable[Evidence] = ()) -> dict[str, Any]:
    """One run. `changed`: what is other than it was. `history`: of the same check, for `drift`."""
    path, _, cls = run.port.partition("::")
    return {
        "id": run.id,
        "key": run.key,
        "port": cls or None,
        "path": path or None,
        "tier": run.tier,
        "subject": run.subject,
        "status": run.status,
        "reason": run.reason,
        "counts": run.status == "passed" and not changed and bool(run.sources),
        "changed": [str(change) for change in changed],
        "ended": _when(run.ended),
        "seconds": round(run.seconds, 3),
        "outputs": [asdict(output) for output in run.outputs],
        "drift": [
            {"name": series.name, "max_abs": list(series.drifts), "runs": [p.run for p in series.points]}
            for series in series_of(history)
        ],
        "question": dict(run.question),
        "conditions": dict(run.conditions),
        "revision": asdict(run.revision) if run.revision is not None else None,
        "weights": [asdict(file) for file in run.weights],
        "sources": len(run.sources),
    }


def _when(ended: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended))


# --------------------------------------------------------------------------- text


def _table(
    latest: Sequence[Evidence],
    changed: Mapping[str, Sequence[Change]],
    runs: Mapping[str, Sequence[Evidence]],
) -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("PORT", overflow="fold")
    table.add_column("TIER", no_wrap=True)
    table.add_column("COMPARED", overflow="fold", ratio=1)
    table.add_column("STATUS", no_wrap=True)
    table.add_column("WHEN", no_wrap=True)
    for title in ("DRIFT", "TOLERANCE"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("TREND", no_wrap=True)
    before = None
    for run in latest:
        worst = run.worst
        old = bool(changed[run.id])
        status = Text(run.status, style=_STYLES[run.status])
        if old and run.status == "passed":
            status = Text("stale", style="yellow")
        series = {s.name: s for s in series_of(runs[run.id])}
        table.add_row(
            Text(printable(run.port_class or "-") if run.port != before else "", style="bold"),
            run.tier,
            printable(_short(run.subject)),
            status,
            ago(time.time() - run.ended),
            _number(worst.max_abs if worst else None),
            _number(worst.tolerance if worst else None),
            _bars(series[worst.name].drifts) if worst is not None and worst.name in series else "",
        )
        before = run.port
    return rendered(table)


def _summary(latest: Sequence[Evidence], changed: Mapping[str, Sequence[Change]]) -> str:
    """What does not count, and why."""
    lines = []
    for run in latest:
        if run.status == "passed" and changed[run.id]:
            why = "; ".join(str(change) for change in changed[run.id][:3])
            more = len(changed[run.id]) - 3
            lines.append(
                f"stale: {run.port_class} {run.tier}: {why}{f' and {more} more' if more > 0 else ''}"
            )
        elif run.status != "passed":
            lines.append(f"{run.status}: {run.port_class} {run.tier}: {run.reason}")
    counted = sum(run.status == "passed" and not changed[run.id] for run in latest)
    lines.append(f"{counted} of {len(latest)} checks count as evidence.")
    return "".join(f"{printable(line)}\n" for line in ("", *lines))


def _history(runs: Sequence[Evidence]) -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("WHEN", "PORT", "TIER", "STATUS", "OUTPUT"):
        table.add_column(title, overflow="fold")
    for title in ("DRIFT", "NEEDED", "TOLERANCE"):
        table.add_column(title, justify="right", no_wrap=True)
    for run in runs:
        outputs = run.outputs or (None,)
        for number, output in enumerate(outputs):
            first = number == 0
            table.add_row(
                _when(run.ended) if first else "",
                printable(run.port_class or "-") if first else "",
                run.tier if first else "",
                Text(run.status, style=_STYLES[run.status]) if first else "",
                printable(output.name) if output is not None else printable(run.reason[:80]),
                _number(output.max_abs if output else None),
                _number(output.needed_tolerance if output else None),
                _number(output.tolerance if output else None),
            )
    return rendered(table)


def _short(subject: str) -> str:
    """A test by its file's name and its own; the rest of the path says little."""
    path, separator, name = subject.partition("::")
    return f"{path.rpartition('/')[2]}{separator}{name}" if path.endswith(".py") else subject


def _bars(drifts: Sequence[float | None]) -> str:
    """The sparkline, where the terminal can show one."""
    text = sparkline(drifts)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ""
    return text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
