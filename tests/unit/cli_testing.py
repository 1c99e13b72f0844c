"""Runs commands in this process, over the small tree of the rule examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analyzers.rules.catalogue import all_rules
from analyzers.rules.examples import write_tree
from lsp_server.cli import main

SOUND = "fastvideo/models/dits/sound.py"
COPY = "fastvideo/models/dits/copy.py"
REGISTRY = "fastvideo/models/registry.py"

DUPLICATE = "class SoundTransformer3DModel:\n    pass\n\n\nEntryClass = SoundTransformer3DModel\n"
"""As `COPY`, it makes DIT106 report one warning here and one in `SOUND`."""

NO_ENTRY = """\
from fastvideo.models.dits.base import BaseDiT


class QuietTransformer3DModel(BaseDiT):
    param_names_mapping = {}

    def forward(self, hidden_states, encoder_hidden_states, timestep, guidance=None, **kwargs):
        return hidden_states
"""
"""As a file below dits/: one DIT101 error, with a safe fix that appends EntryClass."""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """A command line with a cache of its own."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Outcome:
        code = main([str(argument) for argument in arguments])
        captured = self.capture.readouterr()
        return Outcome(code, captured.out, captured.err)


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """Runs a command and gives its exit code and what it wrote.

    Only the rules on discovery run: what is tested here must not change with every rule that is added.
    """
    discovery = tuple(rule for rule in all_rules() if rule.code.startswith("DIT1"))
    monkeypatch.setattr("analyzers.rules.engine.all_rules", lambda: discovery)
    monkeypatch.setenv("DITPROOF_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Cli(capsys)


def tree_at(root: Path, files: Mapping[str, str | None] | None = None) -> Path:
    """The small tree with `files` laid over it."""
    write_tree(root, files or {})
    return root
