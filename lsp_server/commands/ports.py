"""`ditproof ports`: every port and what belongs to it."""

from __future__ import annotations

import click

from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import project_options
from lsp_server.commands.report import count
from lsp_server.commands.terminal import rendered, say, write, write_json
from lsp_server.commands.workspace import open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.payloads import ports_json


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
    if output_format == "json":
        write_json(ports_json(ports))
    else:
        write(_table(ports))
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


def _table(ports: tuple[Port, ...]) -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("PORT", "WHERE", "REGISTRY", "CONFIG", "MAPPING", "ORACLE", "TESTS"):
        table.add_column(title, overflow="fold")
    styles = {"discovered": "green", "legacy": "yellow", "unreachable": "bold red"}
    for port in ports:
        config = port.config.fact.name if port.config is not None else "?"
        table.add_row(
            Text(port.name, style="bold"),
            f"{port.location.path}:{port.location.span.line + 1}",
            Text(port.reachable, style=styles[port.reachable]),
            config + (" (not exported)" if port.exported is False else ""),
            count(port.mapping.rules, "rule") if port.mapping is not None else "?",
            port.oracle.ref if port.oracle is not None else "-",
            str(len(port.parity_tests)) if port.parity_tests else "none",
        )
    return rendered(table)
