"""The same server under Neovim's own LSP client, without a plugin of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from editor_setup import HERE, ROOT, Setup

pytestmark = pytest.mark.editor

NEOVIM = ROOT / ".editors" / "nvim"
DIT = "fastvideo/models/dits/hunyuangamecraft.py"
DIT_CLASS = "HunyuanGameCraftTransformer3DModel"


def test_a_finding_is_fixed_by_a_code_action(setup: Setup, tmp_path: Path) -> None:
    setup.need(NEOVIM, setup.server, setup.fastvideo)
    workspace = tmp_path / "fastvideo-port"
    shutil.copytree(setup.fastvideo, workspace)
    before = (workspace / DIT).read_text()

    # A HOME of its own: no configuration, plugin or log of the developer takes part.
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    script = HERE / "neovim" / "session.lua"
    command = [NEOVIM, "--clean", "--headless", "-i", "NONE", "-l", script]
    done = subprocess.run(
        [*command, setup.server, setup.project_python, workspace, DIT, DIT_CLASS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    after = (workspace / DIT).read_text()
    assert after.startswith(before.rstrip()), "the fix changed more than the file's end"
    # Neovim ends an edit beyond the last line with an empty line of its own.
    assert after.rstrip().splitlines()[-1] in (f"EntryClass = {DIT_CLASS}", f"EntryClass = [{DIT_CLASS}]")
