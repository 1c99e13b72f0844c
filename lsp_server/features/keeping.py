"""What a check saw is kept as evidence; where it cannot be, the log says so and no verdict changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore

if TYPE_CHECKING:
    from lsp_server.server import Server


async def keep(server: Server, root: Path, made: Callable[[], Evidence | None]) -> None:
    """Keeps what `made` gives; it is called beside the event loop, for it reads files."""
    told = await asyncio.to_thread(_kept, root, made)
    for text in told:
        server.tell(text, types.MessageType.Warning)


def _kept(root: Path, made: Callable[[], Evidence | None]) -> list[str]:
    evidence = made()
    if evidence is None:
        return []
    store = EvidenceStore(root)
    told = []
    try:
        store.add(evidence)
    except EvidenceError as error:
        told.append(f"{error.reason} {error.next_step}")
    if store.moved_aside is not None:
        told.append(f"The evidence could not be read; it was moved to {store.moved_aside}.")
    return told
