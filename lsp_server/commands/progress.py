"""What is being done, on standard error: a line that changes on a terminal, else a line each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lsp_server.checks.meta import OnStage
from lsp_server.commands.terminal import colours, printable, say


@contextmanager
def progress(quiet: bool) -> Iterator[OnStage]:
    """Whom to tell what is being done."""
    if quiet:
        yield lambda stage: None
        return
    if not colours(sys.stderr) or not sys.stderr.isatty():
        yield lambda stage: say(f"  {stage}")
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda stage: status.update(Text(printable(stage)))
