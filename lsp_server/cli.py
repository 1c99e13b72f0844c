"""`ditproof`: the commands, each imported only when it is the one that runs.

Invariants
----------
* Nothing but click and the standard library is imported before a command is chosen, so that
  `--help`, completion and wrong usage answer at once.
* Every way out has an exit code of `ExitCode`; 1 means findings and never a crash.
* Results go to standard output; everything that is said about the run goes to standard error.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module

import click

from lsp_server.commands.exits import CommandError, ExitCode

COMMANDS: Mapping[str, str] = {
    "check": "Report what is wrong with ports: registry, configs, contracts, layers, tests.",
    "ports": "List every port and what belongs to it.",
    "rule": "Explain a rule, or list all rules.",
    "weights": "Prove that a port's mapping brings every checkpoint name to its place.",
    "parity": "Run a parity test and show how far each output drifts.",
    "trace": "Find the first line of a port that computes something else, without weights.",
    "trace-diff": "Compare two traces: where they first differ.",
    "evidence": "Show what was run, how close it was, and whether it still counts.",
    "handoff": "Show what a port hands over, and what a debug session left behind.",
    "watch": "Look again after every save, in a terminal.",
    "serve": "Run the language server over standard input and output.",
    "doctor": "Show what was found, what cannot run, and what to do about it.",
}
"""Name -> help line; the command itself is `command` in `lsp_server.commands.<name, with _ for ->`."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of a porter's day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"lsp_server.commands.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with. Raises `UsageError` that names the known ones."""
        wanted = args[0]
        if wanted not in COMMANDS and not wanted.startswith("-"):
            close = get_close_matches(wanted, COMMANDS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(
                f"there is no command '{wanted}'.{hint} Commands: {', '.join(COMMANDS)}.", ctx
            )
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from lsp_server.version import installed_version

        click.echo(f"ditproof {installed_version() or '(not installed: run from its sources)'}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    epilog=(
        "Exit codes: 0 clean, proven or passed, 1 findings, broken or failed, 2 wrong usage or "
        "configuration, 3 could not run, 4 skipped or unknown."
    ),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it."
)
@click.pass_context
def cli(ctx: click.Context) -> int | None:
    """Prove ports of diffusion transformers into FastVideo, or into SGLang's diffusion models.

    `ditproof check` inside a checkout of one of them is the place to begin.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return ExitCode.USAGE
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; every error has been told on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Names and sources may hold what a terminal's encoding lacks: show it escaped, never fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        outcome = cli.main(
            args=None if arguments is None else list(arguments), prog_name="ditproof", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.code if isinstance(error, CommandError) else error.exit_code
    except SystemExit:
        # How click ends when nobody reads its help or version any more; results go through `terminal.write`.
        return ExitCode.CLEAN
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except Exception:  # noqa: BLE001 - the last resort: a crash must not read as "findings"
        traceback.print_exc()
        click.echo("error: ditproof itself failed; please report the lines above.", err=True)
        return ExitCode.NOT_RUN
    return int(outcome or 0)
