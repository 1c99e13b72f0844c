"""The language server over standard input and output."""

from __future__ import annotations

import logging
import os
import sys


def run_stdio() -> int:
    """Serves until the client is gone; the exit code of the process."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("lsp_server").setLevel(logging.INFO)
    # pygls tells every answer to a request that was withdrawn as a warning.
    logging.getLogger("pygls").setLevel(logging.ERROR)
    from lsp_server.server import Server

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    Server().start_io(stdin=sys.stdin.buffer, stdout=out)
    return 0
