"""What an editor and `ditproof ports` show of runs that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_evidence import PORT, output, run

from lsp_server.checks.contents import contents_of
from lsp_server.checks.evidence.standing import Change
from lsp_server.checks.evidence.store import EvidenceStore
from lsp_server.checks.evidence.tiers import NOTHING, evidence_by_tier
from lsp_server.evidence_texts import ago, card, standing

CHANGED = (Change("source", "wan.py"),)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "just now"), (120, "2 min ago"), (7300, "2 h ago"), (200000, "2 d ago")]
)
def test_spans(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_only_a_pass_that_counts_looks_like_one() -> None:
    seen = run(outputs=(output(3.1e-7),), ended=1000.0)
    assert standing(seen, (), 1060.0) == "passed 1 min ago, max 3.1e-07"
    assert standing(seen, CHANGED, 1060.0) == "passed 1 min ago, max 3.1e-07, before the last changes"
    assert standing(replace(seen, status="failed"), CHANGED, 1060.0) == "failed 1 min ago, max 3.1e-07"
    assert standing(replace(seen, status="skipped"), (), 1060.0) == "skipped 1 min ago: no evidence"
    assert standing(replace(seen, status="error"), (), 1060.0) == "could not run 1 min ago"


def test_a_card_shows_drift_over_time() -> None:
    history = [run(n, outputs=(output(d),)) for n, d in ((3, 2e-3), (2, 1e-3), (1, 1e-4))]
    text = card([(history[0], (), history)])
    assert text is not None
    assert "`test_wan_parity.py`" in text
    assert "| 0.01 | ▁▆█ 2 times the 0.001 of before |" in text
    assert card([]) is None
    alone = card([(history[0], (), history[:1])])
    assert alone is not None
    assert "▁" not in alone


def test_a_failure_decides_its_tier(tmp_path: Path) -> None:
    (tmp_path / "wan.py").write_text("")
    store, sources = EvidenceStore(tmp_path), contents_of(tmp_path, ["wan.py"])
    assert evidence_by_tier(tmp_path) == {}
    store.add(run(1, sources=sources, weights=()))
    store.add(run(2, subject="tests/test_other_parity.py", status="skipped"))
    store.add(run(3, tier="tiny", subject="diffusers:Wan", sources=sources, weights=()))
    found = evidence_by_tier(tmp_path)[PORT]
    assert found["tier1"] is None
    assert (found["tier2"]["status"], found["tier2"]["counts"]) == ("passed", True)
    assert (found["tier3"]["subject"], found["tier3"]["counts"]) == ("tests/test_wan_parity.py", True)
    store.add(run(4, subject="tests/test_other_parity.py", status="failed"))
    assert evidence_by_tier(tmp_path)[PORT]["tier3"]["status"] == "failed"
    (tmp_path / "wan.py").write_text("changed")
    assert not evidence_by_tier(tmp_path)[PORT]["tier2"]["counts"]
    assert set(NOTHING) == {"tier1", "tier2", "tier3"}
