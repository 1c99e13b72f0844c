"""What a run says that it hung on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lsp_server.checks.requests import CheckRequest, CheckResult

Project = Callable[..., CheckRequest]
Check = Callable[..., CheckResult]


def write_weights(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


def test_modules_data_and_weights_are_told(project: Project, check: Check, tmp_path: Path) -> None:
    request = project(
        "import json, helper, sys, os, importlib.util\n"
        "assert importlib.util.find_spec('safetensors')\n"
        "from safetensors import safe_open\n"
        "def test_a(tmp_path):\n"
        "    helper.answer()\n"
        "    json.load(open('config.json'))\n"
        "    try:\n"
        "        safe_open('w.safetensors', framework='numpy')\n"
        "    except ImportError:\n"
        "        pass  # numpy is not there, and the file was named\n"
        "    open('old.pt', 'rb').read()\n"
        "    (tmp_path / 'own.json').write_text('{}')\n"
        "    open(tmp_path / 'own.json').read()\n"
        "    open('written.json', 'w').write('{}')\n"
    )
    root = Path(request.root)
    (root / "conftest.py").write_text("import beside\n")
    (root / "beside.py").write_text("")
    (root / "tests/helper.py").write_text("def answer():\n    import later\n")
    (root / "later.py").write_text("")
    (root / "unused.py").write_text("")
    (root / "config.json").write_text("{}")
    (root / "old.pt").write_bytes(b"x" * 10)
    write_weights(root / "w.safetensors")
    result = check(request)
    assert result.status == "passed", result.reason
    assert result.loaded is not None
    assert result.loaded.files == (
        "beside.py",
        "config.json",
        "conftest.py",
        "later.py",
        "tests/helper.py",
        "tests/test_it.py",
    )
    assert result.loaded.weights == (str(root / "old.pt"), str(root / "w.safetensors"))
    assert any("site-packages" in folder for folder in result.loaded.packages)


def test_a_run_that_did_not_come_to_its_end_tells_nothing(project: Project, check: Check) -> None:
    result = check(project("import os\ndef test_a():\n    os._exit(0)\n"))
    assert result.loaded is None


def test_a_test_that_fails_tells_it_too(project: Project, check: Check) -> None:
    result = check(project("def test_a():\n    assert 0\n"))
    assert result.loaded is not None
    assert result.loaded.files == ("tests/test_it.py",)
