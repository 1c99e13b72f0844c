"""`ditproof serve`: the language server over standard input and output."""

from __future__ import annotations

import click

from lsp_server.commands.exits import ExitCode


@click.command("serve")
@click.option("--stdio", is_flag=True, help="Accepted because editors pass it: there is no other transport.")
def command(stdio: bool) -> int:
    """Run the language server over standard input and output, until the client ends it."""
    from lsp_server.serve import run_stdio

    run_stdio()
    return ExitCode.CLEAN
