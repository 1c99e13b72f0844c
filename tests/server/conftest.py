"""Trees to open."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzers.rules.examples import write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The small FastVideo-shaped tree of the rule examples."""
    root = tmp_path.resolve() / "tree"
    write_tree(root, {})
    return root
