"""`ditproof ports`: every port and what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import state_key
from lsp_server.checks.evidence.tiers import NAMES, NOTHING, evidence_by_tier
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import project_options
from lsp_server.commands.report import count
from lsp_server.commands.terminal import rendered, say, write, write_json
from lsp_server.commands.workspace import open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.payloads import ports_json

if TYPE_CHECKING:
    from rich.text import Text


@click.command("ports")
@project_options
def command(root: str | None, python: str | None, output_format: str, quiet: bool) -> int:
    """List every port of the tree: where it is, how the registry reaches it, its config, its parity tests."""
    tree = open_tree(root)
    cache = DiskFactsCache()
    project = project_of(tree, Sources(tree.root, cache))
    with collector_paused():
        ports = project.ports
    cache.prune()
    if not ports:
        raise CommandError(
            f"no port found in {tree.root}.",
            f"a port is a class below {tree.profile.dits}/ that derives from "
            f"{tree.profile.base_dit.rpartition('.')[2]} and has a forward.",
        )
    kept = evidence_by_tier(tree.root)
    if output_format == "json":
        write_json(ports_json(ports, kept))
    else:
        write(_table(ports, tree.profile.dits, kept))
        if not quiet:
            unreachable = [port.name for port in ports if port.reachable == "unreachable"]
            write(f"{count(len(ports), 'port')}")
            write(f", {len(unreachable)} unreachable: {', '.join(unreachable)}.\n" if unreachable else ".\n")
    if not project.registry.legacy_known and not quiet:
        say(
            f"warning: the tables of {tree.profile.registry} cannot be followed: only discovery was counted.",
            style="warning",
        )
    return ExitCode.USAGE if tell_problems(tree.settings) else ExitCode.CLEAN


def _table(ports: tuple[Port, ...], dits: str, kept: Mapping[str, Mapping[str, Any]]) -> str:
    """What is there and what is missing, one row a port; the names behind it are in the JSON."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("PORT", overflow="fold")
    titles = ["REGISTRY", "EXPORTED", "RULES", "ORACLE", "TESTS", *(["EVIDENCE"] if kept else [])]
    for title in titles:
        table.add_column(title, no_wrap=True)
    table.add_column(f"WHERE IN {dits}", overflow="fold", ratio=1)
    styles = {"discovered": "green", "legacy": "yellow", "unreachable": "bold red"}
    for port in ports:
        where = port.location.path.removeprefix(dits + "/")
        table.add_row(
            Text(port.name, style="bold"),
            Text(port.reachable, style=styles[port.reachable]),
            _exported(port),
            str(port.mapping.rules) if port.mapping is not None else "?",
            port.oracle.ref.partition(":")[0].rpartition("/")[2] if port.oracle is not None else "-",
            str(len(port.parity_tests)) if port.parity_tests else "none",
            *([_evidence(kept.get(state_key(port), NOTHING))] if kept else []),
            f"{where}:{port.location.span.line + 1}",
        )
    return rendered(table)


def _evidence(tiers: Mapping[str, Any]) -> Text:
    """The tiers that something is known of; only what counts looks like it."""
    from rich.text import Text

    text = Text()
    for tier, name in NAMES.items():
        known = tiers[name]
        if known is not None:
            stale = known["status"] == "passed" and not known["counts"]
            word = tier if known["counts"] else f"{tier} {'stale' if stale else known['status']}"
            style = "green" if known["counts"] else "bold red" if known["status"] == "failed" else "yellow"
            text.append(" " if text else "").append(word, style=style)
    return text or Text("-")


def _exported(port: Port) -> Text:
    """Whether its config is; a question mark where that cannot be told, or no config is known."""
    from rich.text import Text

    if port.exported is None:
        return Text("?")
    return Text("yes") if port.exported else Text("no", style="yellow")
