"""What an editor shows of a mapping at every key: told without looking for the causes."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.rules.examples import write_tree
from analyzers.rules.weight_examples import CONFIG, RULES, config, dumped
from analyzers.weights.proving import proof
from lsp_server.session import Changes, Session
from lsp_server.weight_views import hints, readings

TYPING_ERROR = RULES.replace(r"blocks.\1.to_v", r"block.\1.to_v")


def test_hints_of_a_broken_mapping_find_no_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DITPROOF_CACHE_DIR", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    write_tree(root, dumped())
    session = Session(root)
    asked: list[object] = []
    real = proof.attribute
    monkeypatch.setattr(proof, "attribute", lambda *given: (asked.append(given), real(*given))[1])
    session.apply(Changes(texts={CONFIG: config(TYPING_ERROR)}))
    labels = [hint.label for hint in hints(session, CONFIG)]
    assert sum("wrong" in label for label in labels) == 1
    assert asked == []
    (reading,) = readings(session, CONFIG)
    assert reading.proof is not None
    assert reading.proof.faults
    assert len(asked) == 1
