"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from lsp_server.commands.exits import CommandError

F = TypeVar("F", bound=Callable[..., Any])


def project_options(function: F) -> F:
    """`--root`, `--python`, `--format` and `--quiet`."""
    return tree_options(format_option(quiet_option(function)))


def tree_options(function: F) -> F:
    """`--root` and `--python`."""
    for option in (
        click.option(
            "--python",
            metavar="PATH",
            callback=_from_here,
            help="The project's interpreter. Checks that run code use it; analysis runs none.",
        ),
        click.option(
            "--root",
            metavar="DIR",
            help="The tree to look at. Default: found from the paths, or from the current folder upwards.",
        ),
    ):
        function = option(function)
    return function


def _from_here(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A path counts from the current folder, as on any command line; a bare name is looked up later."""
    if value is None or not ("/" in value or os.sep in value):
        return value
    # Not resolved: a virtual environment's python is a link, and the link is the environment.
    return os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111


def format_option(function: F) -> F:
    """`--format text|json`."""
    return formats_option("text", "json")(function)


def formats_option(*formats: str) -> Callable[[F], F]:
    """`--format` with the formats that a command can write, the default first."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="What to write to standard output.",
    )


def quiet_option(function: F) -> F:
    """`--quiet`."""
    return click.option(
        "-q", "--quiet", is_flag=True, help="Only the result: no summary, progress or remarks."
    )(function)


def timeout_option(default: float, what: str) -> Callable[[F], F]:
    """`--timeout`, in seconds; `what` it ends."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=what,
    )


def refuse_given(reasons: Mapping[str, str], next_step: str) -> None:
    """Raises `CommandError` for the first of these parameters that the current command line names.

    `reasons`: why each one means nothing there. Naming the default is naming it.
    """
    context = click.get_current_context()
    for name, reason in reasons.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise CommandError(reason, next_step)
