"""At which line of the user's an exception is shown."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from ditproof_probe.problems import innermost_below


def _loaded(path: Path, text: str) -> ModuleType:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    module = ModuleType(path.stem)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def test_the_innermost_line_of_the_models_own_folder_is_found_below_that_of_a_layer(tmp_path: Path) -> None:
    layer = _loaded(tmp_path / "layers/norm.py", "def norm(x):\n    raise ValueError(x)\n")
    port = _loaded(tmp_path / "dits/port.py", "def forward(x):\n    y = x\n    return norm(y)\n")
    port.__dict__["norm"] = layer.norm
    with pytest.raises(ValueError, match="7") as raised:
        port.forward(7)
    assert innermost_below(raised.value, str(tmp_path / "dits")) == (str(tmp_path / "dits/port.py"), 2)
    assert innermost_below(raised.value, str(tmp_path)) == (str(tmp_path / "layers/norm.py"), 1)
    assert innermost_below(raised.value, str(tmp_path / "dit")) == (None, None)
