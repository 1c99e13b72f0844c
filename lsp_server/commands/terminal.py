"""What is written where: results to standard output, remarks to standard error, colours on terminals."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import unicodedata
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_WIDTH = 400
"""Columns of a table that no terminal shows."""

_STYLES: dict[str, dict[str, Any]] = {
    "error": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "information": {"fg": "cyan", "bold": True},
    "place": {"bold": True},
    "code": {"fg": "bright_black"},
    "gutter": {"fg": "blue"},
    "help": {"fg": "green"},
    "added": {"fg": "green"},
    "removed": {"fg": "red"},
    "hunk": {"fg": "cyan"},
}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def colours(stream: IO[Any]) -> bool:
    """Whether to colour what goes to a stream: a terminal that shows colours, unless NO_COLOR is set.

    FORCE_COLOR colours pipes too, as build servers want it.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, *, on: bool) -> str:
    """`text` in one of the named styles, or as it is where colours are off."""
    return click.style(text, **_STYLES[style]) if on else text


def printable(text: str) -> str:
    """`text` with control and direction characters escaped: a source file must not steer the terminal."""
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text)


def width(text: str) -> int:
    """How many columns a terminal gives to a text."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def write(text: str) -> None:
    """Writes to standard output. A reader that went away (`| head`) ends nothing: what it would have
    got is dropped, and the exit code stays that of the work."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        from lsp_server.commands.exits import CommandError, ExitCode

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandError(
            f"the result cannot be written: {error.strerror or error}",
            "make room where standard output goes, or send it elsewhere.",
            ExitCode.NOT_RUN,
        ) from error


def write_json(document: object) -> None:
    """Writes one JSON document; ASCII, so that no encoding can get in its way."""
    write(json.dumps(document, indent=2) + "\n")


def say(text: str, *, style: str | None = None) -> None:
    """One remark on standard error; with a style, the part up to the first colon is coloured."""
    text = printable(text)
    if style is not None and colours(sys.stderr):
        head, colon, rest = text.partition(":")
        text = styled(head + colon, style, on=True) + rest
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def rendered(*renderables: RenderableType) -> str:
    """Tables and the like as text for standard output; in a pipe every row stays on one line."""
    from rich.console import Console

    text = io.StringIO()
    coloured = colours(sys.stdout)
    console = Console(
        file=text,
        width=shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH,
        color_system="standard" if coloured else None,
        force_terminal=coloured,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for renderable in renderables:
        console.print(renderable)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())
