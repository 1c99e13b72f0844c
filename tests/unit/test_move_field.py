"""A field moves with its readers, or not at all."""

from __future__ import annotations

import pytest

from analyzers.findings import JsonValue
from analyzers.fixes.base import Refused
from analyzers.fixes.move_field import edit

TEXTS = {
    "arch.py": "class Arch:\n    layers: int = 2\n    fps: int = 24\n",
    "home.py": "class Home:\n    shift: float = 1.0\n",
}
ARGUMENTS: dict[str, JsonValue] = {
    "path": "arch.py",
    "class": "Arch",
    "field": "fps",
    "to": "home.py",
    "home": "Home",
    "readers": ["stage.py"],
}


def moved(reader: str) -> dict[str, str]:
    return edit(ARGUMENTS, {**TEXTS, "stage.py": reader}.get)


def test_a_reader_follows() -> None:
    texts = moved("def f(args):\n    return args.pipeline_config.dit_config.arch_config.fps\n")
    assert texts["stage.py"] == "def f(args):\n    return args.pipeline_config.fps\n"
    assert texts["arch.py"] == "class Arch:\n    layers: int = 2\n"
    assert texts["home.py"] == "class Home:\n    shift: float = 1.0\n    fps: int = 24\n"


@pytest.mark.parametrize(
    "read",
    [
        'getattr(args.pipeline_config.dit_config, "fps", 24)',
        'getattr(self.transformer.config.arch_config, "fps", 24)',
        'hasattr(self.transformer.config, "fps")',
        "self.transformer.config.fps",
    ],
)
def test_a_reader_that_cannot_follow_stops_the_move(read: str) -> None:
    with pytest.raises(Refused, match="fps"):
        moved(f"def f(self, args):\n    return {read}\n")


def test_the_same_name_of_something_else_stays() -> None:
    reader = 'def f(batch):\n    return batch.fps + getattr(batch, "fps", 0)\n'
    assert moved(reader)["stage.py"] == reader
