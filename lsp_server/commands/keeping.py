"""What a command saw is kept as evidence; where it cannot be, that is said and changes no verdict."""

from __future__ import annotations

from pathlib import Path

from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.commands.terminal import say


def keep(root: Path, evidence: Evidence | None) -> str | None:
    """Keeps a run; its id, None where nothing was kept."""
    if evidence is None:
        return None
    store = EvidenceStore(root)
    try:
        store.add(evidence)
    except EvidenceError as error:
        say(f"warning: {error.reason}", style="warning")
        say(f"  next: {error.next_step}")
        return None
    if store.moved_aside is not None:
        say(f"warning: the evidence could not be read; it was moved to {store.moved_aside}.", style="warning")
    return evidence.id
