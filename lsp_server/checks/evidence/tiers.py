"""What is known of each port, tier by tier: the contract of `ditproof ports`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsp_server.checks.evidence.model import TIERS, Evidence
from lsp_server.checks.evidence.standing import changes_since
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore

NAMES = {tier: f"tier{number}" for number, tier in enumerate(TIERS, 1)}
NOTHING: Mapping[str, Any] = dict.fromkeys(NAMES.values())

_FIRST = ("failed", "passed", "error", "skipped")


def evidence_by_tier(root: Path) -> dict[str, dict[str, Any]]:
    """Port (`path::Class`) -> `tier1` (names), `tier2` (small models), `tier3` (its own tests): the run that
    decides, None where nothing was run. Of several tests a failure decides before a pass."""
    found: dict[str, dict[str, list[Evidence]]] = {}
    # What cannot be read says nothing; `ditproof evidence` tells why.
    with contextlib.suppress(EvidenceError):
        for evidence in EvidenceStore(root).latest():
            found.setdefault(evidence.port, {}).setdefault(NAMES[evidence.tier], []).append(evidence)
    return {
        port: {**NOTHING, **{name: _told(root, runs) for name, runs in tiers.items()}}
        for port, tiers in found.items()
    }


def _told(root: Path, runs: list[Evidence]) -> dict[str, Any]:
    deciding = min(runs, key=lambda run: (_FIRST.index(run.status), -run.ended))
    passed = deciding.status == "passed"
    return {
        "status": deciding.status,
        "counts": passed and bool(deciding.sources) and not changes_since(root, deciding),
        "subject": deciding.subject,
        "ended": deciding.ended,
        "id": deciding.id,
    }
