"""The server's side of the edit worker: starts it, asks it, ends and restarts it.

Invariants
----------
* At most one worker and one request under way; the worker knows every text and every measured state that
  the server knows.
* A worker that crashed or that does not answer in time is replaced; the request is tried once more
  after a crash and refused after a timeout. Nobody waits longer than `limit` seconds for one answer.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analyzers.findings import Finding
from analyzers.weights.state import PortState
from lsp_server import wire
from lsp_server.session import Changes

LIMIT = 20.0
"""Seconds that one request may take."""

_LONGEST_END = 2.0
"""Seconds that a closing server waits for a worker that it has killed."""

_PACKAGES = Path(__file__).resolve().parent.parent

log = logging.getLogger(__name__)


class EditRefused(Exception):
    """There is no edit; the message says why, for a user."""


class _WorkerGone(Exception):
    """The worker ended in the middle of a request."""


class EditClient:
    """Bound to one event loop."""

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._next = 0
        self._closed = False
        self._known: dict[str, dict[str, str]] = {}
        self._files: dict[str, Changes] = {}
        self._states: dict[str, dict[str, PortState]] = {}
        self._told_states: dict[str, dict[str, PortState]] = {}

    @property
    def pid(self) -> int | None:
        """The worker's process, None while there is none."""
        return self._process.pid if self._process is not None else None

    def note(self, root: Path, changes: Changes) -> None:
        """Keeps what changed on disk, and what was measured, for the next request."""
        kept = self._files.setdefault(str(root), Changes())
        kept.add(Changes(files=set(changes.files), everything=changes.everything))
        states = {**self._states.get(str(root), {}), **changes.states}
        self._states[str(root)] = {port: state for port, state in states.items() if state is not None}

    async def warm_up(self, root: Path, texts: Mapping[str, str]) -> None:
        """Starts the worker and lets it read the tree."""
        await self._ask(root, texts, {})

    async def fix(self, root: Path, texts: Mapping[str, str], finding: Finding) -> dict[str, str]:
        """The verified new texts of the files that a finding's fix changes, `texts` being what is open.

        Raises `EditRefused`.
        """
        return await self._ask(root, texts, {"finding": wire.finding_message(finding)})

    async def fix_all(self, root: Path, texts: Mapping[str, str], path: str) -> dict[str, str]:
        """The text of a file after all its safe fixes (none: no text). Raises `EditRefused`."""
        return await self._ask(root, texts, {"path": path})

    def close(self) -> None:
        """Ends the worker for good: whoever waits for it is refused."""
        self._closed = True
        self.kill()

    async def end(self) -> None:
        """Closes, and waits until the worker is gone: its pipes must not outlive the event loop."""
        process = self._process
        self.close()
        if process is not None:
            try:
                await asyncio.wait_for(process.wait(), _LONGEST_END)
            except asyncio.TimeoutError:
                log.warning("the edit worker %s has not ended", process.pid)

    def kill(self) -> None:
        """Ends the worker at once; the next request starts another."""
        process, self._process = self._process, None
        self._known.clear()
        self._told_states.clear()
        self._files.clear()
        if process is not None and process.returncode is None:
            try:
                process.kill()
            except ProcessLookupError:
                pass  # it ended by itself

    # ------------------------------------------------------------------ one request

    async def _ask(self, root: Path, texts: Mapping[str, str], what: dict[str, Any]) -> dict[str, str]:
        async with self._turn:
            asking = asyncio.ensure_future(self._ask_twice(root, texts, what))
            try:
                return await asyncio.shield(asking)
            except asyncio.CancelledError:
                # A caller that gives up must not leave half a message in the pipe for the next one.
                await asyncio.wait([asking])
                if not asking.cancelled():
                    asking.exception()  # a refusal that nobody waits for any more is no error
                raise

    async def _ask_twice(self, root: Path, texts: Mapping[str, str], what: dict[str, Any]) -> dict[str, str]:
        for attempt in (1, 2):
            if self._closed:
                raise EditRefused("the server is closing")
            try:
                answer = await asyncio.wait_for(self._exchange(str(root), texts, what), self.limit)
            except asyncio.TimeoutError:
                self.kill()
                raise EditRefused(f"the edit took longer than {self.limit:g} s") from None
            except (_WorkerGone, OSError, wire.BrokenStream) as error:
                self.kill()
                log.warning("the edit worker ended (%s)", error)
                if attempt == 2:
                    raise EditRefused("the edit worker ended twice in a row; see the log") from error
            else:
                if "refused" in answer:
                    raise EditRefused(answer["refused"])
                return dict(answer["texts"])
        raise AssertionError("the second attempt returns or raises")

    async def _exchange(self, root: str, texts: Mapping[str, str], what: dict[str, Any]) -> wire.Message:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        known = self._known.setdefault(root, {})
        changed: dict[str, str | None] = {p: t for p, t in texts.items() if known.get(p) != t}
        changed.update({path: None for path in known if path not in texts})
        disk = self._files.pop(root, Changes())
        states, told = self._states.get(root, {}), self._told_states.get(root, {})
        measured = {port: wire.state_message(s) for port, s in states.items() if told.get(port) is not s}
        gone = {port: None for port in told if port not in states}
        self._next += 1
        request = {
            "id": self._next,
            "root": root,
            "texts": changed,
            "files": sorted(disk.files),
            "everything": disk.everything,
            "states": {**measured, **gone},
            **what,
        }
        self._known[root] = dict(texts)
        self._told_states[root] = dict(states)
        process.stdin.write(wire.encode(request))
        await process.stdin.drain()
        while True:
            try:
                header = await process.stdout.readexactly(wire.HEADER.size)
                answer = wire.decode(await process.stdout.readexactly(wire.length_of(header)))
            except asyncio.IncompleteReadError as error:
                raise _WorkerGone("its output ended") from error
            if answer.get("id") == self._next:
                return answer

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._known.clear()
        self._told_states.clear()
        # `-m` looks into the current folder first: it has to be the one that we were loaded from.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lsp_server.edit_worker",
            cwd=_PACKAGES,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if self._closed:  # meanwhile: nobody else knows of this one
            process.kill()
            await process.wait()
            raise EditRefused("the server is closing")
        self._process = process
        return process
