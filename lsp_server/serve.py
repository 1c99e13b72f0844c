"""The language server over standard input and output."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from threading import Event
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from lsp_server.server import Server

log = logging.getLogger(__name__)


def run_stdio() -> int:
    """Serves until the client is gone; the exit code of the process (1 where it left without goodbye)."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("lsp_server").setLevel(logging.INFO)
    # pygls tells every answer to a request that was withdrawn as a warning.
    logging.getLogger("pygls").setLevel(logging.ERROR)
    from lsp_server.server import Server

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    server = Server()
    try:
        asyncio.run(_serve(server, sys.stdin.buffer, out))
    except SystemExit as left:  # how pygls takes the client's `exit`
        return left.code if isinstance(left.code, int) else 0
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        server.shutdown()
    return 1


async def _serve(server: Server, stdin: BinaryIO, stdout: BinaryIO) -> None:
    from pygls.io_ import StdinAsyncReader, StdoutWriter, run_async

    reader: asyncio.StreamReader | StdinAsyncReader
    waiting = reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    try:
        # The loop waits for input itself: pygls's way, a thread that is asked for every line of every
        # header, costs about as much as a small edit.
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(waiting), stdin)
    except (OSError, ValueError, NotImplementedError) as error:
        log.info("standard input is no pipe that can be waited for (%s): reading on a thread", error)
        reader = StdinAsyncReader(stdin, server.thread_pool)
    server.protocol.set_writer(StdoutWriter(stdout))
    await run_async(
        stop_event=Event(),
        reader=reader,
        protocol=server.protocol,
        error_handler=server.report_server_error,
    )
