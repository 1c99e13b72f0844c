"""`ditproof handoff`: from the store and the tree to the block, the gate and the state files."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_testing import SOUND, Cli, cli, tree_at
from test_cli_commands import fake_python
from test_cli_weights import NATIVE, OFFICIAL, OFFICIAL_FILE, PORT, FakeWorker
from test_handoff_gate import git

from analyzers.weights.state import Tensor
from lsp_server.checks.contents import contents_of
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import weights_file
from lsp_server.checks.evidence.store import EvidenceStore
from lsp_server.checks.handoff.schema import problems
from lsp_server.commands import weights

__all__ = ["cli"]

FOLDER = "tests/local_tests/sound"
TEST = f"{FOLDER}/test_sound_transformer_parity.py"
STATUS = f"{FOLDER}/PORT_STATUS.md"
README = f"{FOLDER}/README.md"
STATUS_TEXT = f"""\
# Sound Port Status\r
\r
- model_family: `sound`\r
- conversion_script: `scripts/convert_noise.py`\r
\r
## Current Phase\r
\r
- phase: `prep`\r
- last_updated: `<YYYY-MM-DD>`\r
\r
## Component Matrix\r
\r
| Component | Type | Official Definition | FastVideo Target | Parity |\r
|---|---|---|---|---|\r
| dit | dit | `official_sound.py::SoundTransformer` | `{SOUND}` | `not_started` |\r
| vae | vae | `official_sound.py` | `fastvideo/models/vaes/sound.py` | `not_started` |\r
\r
## Escape Hatches\r
\r
| ID | Question | Recommended Option | Status |\r
|---|---|---|---|\r
| E001 | which checkpoint? | the first | resolved |\r
"""
README_TEXT = f"# Sound\n\n| Component | Test | Status |\n|---|---|---|\n| `dit` | `{TEST}` | `planned` |"
TEST_TEXT = (
    f"from {SOUND.removesuffix('.py').replace('/', '.')} import {PORT}\n\n"
    'PARITY_SCOPE = "production_loader"\n\n\ndef test_sound():\n    assert ' + PORT + "\n"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tree_at(
        tmp_path.resolve() / "tree",
        {**OFFICIAL_FILE, TEST: TEST_TEXT, STATUS: None, README: README_TEXT},
    )
    (root / STATUS).write_bytes(STATUS_TEXT.encode())
    (root / "ditproof.toml").write_text(f'[oracles]\n{PORT} = "official_sound.py::SoundTransformer"\n')
    return root


def ran(root: Path, status: Any = "passed", **changes: Any) -> None:
    """Keeps a run of the parity test, as `ditproof parity` does."""
    file = weights_file(root / "ditproof.toml")
    assert file is not None
    outcome = {"passed": "passed", "failed": "failed"}.get(status, "skipped")
    run = Evidence(
        id=f"run-{time.time_ns()}",
        port=f"{SOUND}::{PORT}",
        tier="weights",
        subject=TEST,
        status=status,
        reason="1 test",
        ended=time.time(),
        seconds=1.0,
        sources=contents_of(root, [SOUND, TEST, "official_sound.py"]),
        weights=(file,),
        document={"log_tail": "1 passed", "outcomes": [{"test": f"{TEST}::test_sound", "outcome": outcome}]},
    )
    EvidenceStore(root).add(replace(run, **changes))


def handoff(cli: Cli, root: Path, *options: str) -> Any:
    return cli("handoff", PORT, "--root", root, *options)


def test_nothing_that_ran_is_nothing_handed_over(cli: Cli, tree: Path) -> None:
    outcome = handoff(cli, tree)
    assert outcome.code == 4
    assert "no run of this port is kept" in outcome.out
    assert not (tree / ".ditproof").exists()


def test_the_block_as_json(cli: Cli, tree: Path) -> None:
    ran(tree)
    outcome = handoff(cli, tree, "--format", "json")
    assert outcome.code == 0
    block = outcome.json["handoff"]
    assert problems(block) == []
    assert block["component"] == "dit"
    assert block["parity_test"] == TEST
    assert block["parity_status"] == "non_skip_pass"
    assert block["strict_load"] == "pass"
    assert block["port_state_file"] == STATUS
    assert block["official_files_used"] == []
    assert block["readme_updated"] is None
    assert outcome.json["gate"]["verdict"] == "unknown"
    assert [run["counts"] for run in outcome.json["evidence"]] == [True]
    assert [file["path"] for file in outcome.json["state_files"]] == [STATUS, README]
    assert (
        handoff(cli, tree, "--component", "mine", "--format", "json").json["handoff"]["component"] == "mine"
    )


def test_an_edit_makes_the_pass_stale(cli: Cli, tree: Path) -> None:
    ran(tree)
    (tree / SOUND).write_text((tree / SOUND).read_text() + "# edited\n")
    told = handoff(cli, tree, "--format", "json").json
    assert told["handoff"]["parity_status"] is None
    assert told["handoff"]["strict_load"] == "not_run"
    assert told["evidence"][0]["changed"] == [f"{SOUND} has changed"]
    assert all(file["changes"] == [] for file in told["state_files"])
    assert "passed, stale" in handoff(cli, tree).out


def test_the_text(cli: Cli, tree: Path) -> None:
    ran(tree, "failed", reason="\x1b[31mred\x1b[0m")
    outcome = handoff(cli, tree)
    assert "debug_red" in outcome.out
    assert "\x1b" not in outcome.out
    assert "3 places of" in outcome.out
    quiet = handoff(cli, tree, "--quiet")
    assert quiet.out.splitlines()[-1].split() == ["escape_hatch", "none"]
    assert quiet.err == ""


def test_the_state_file_and_the_readme_are_written_once(cli: Cli, tree: Path) -> None:
    ran(tree)
    (tree / STATUS).chmod(0o640)
    before = (tree / STATUS).read_bytes()
    shown = handoff(cli, tree, "--diff")
    assert shown.code == 0
    assert (tree / STATUS).read_bytes() == before, "--diff writes nothing"
    assert f"+++ b/{STATUS}" in shown.out
    written = handoff(cli, tree, "--write", "--format", "json")
    assert written.code == 0
    assert [file["written"] for file in written.json["state_files"]] == [True, True]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    expected = STATUS_TEXT.replace("`<YYYY-MM-DD>`", f"`{day}`").replace(
        f"`{SOUND}` | `not_started`", f"`{SOUND}` | `non_skip_pass`"
    )
    assert (tree / STATUS).read_bytes() == expected.encode()
    assert (tree / README).read_text() == README_TEXT.replace("`planned`", "`non_skip_pass`")
    assert stat.S_IMODE((tree / STATUS).stat().st_mode) == 0o640
    assert sorted(p.name for p in (tree / FOLDER).iterdir() if p.name.startswith(".")) == []
    again = handoff(cli, tree, "--write")
    assert "nothing to write" in again.err
    assert (tree / STATUS).read_bytes() == expected.encode()
    assert handoff(cli, tree, "--diff").out == ""


def test_a_diff_can_be_applied(cli: Cli, tree: Path) -> None:
    git(tree, "init", "-q")
    ran(tree)
    diff = handoff(cli, tree, "--diff").out
    (tree / "d.patch").write_bytes(diff.encode())
    git(tree, "apply", "d.patch")
    assert b"`non_skip_pass` |\r\n" in (tree / STATUS).read_bytes()
    assert handoff(cli, tree, "--diff").out == ""


def test_write_and_diff_exclude_each_other(cli: Cli, tree: Path) -> None:
    assert handoff(cli, tree, "--write", "--diff").code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(cli: Cli, tree: Path) -> None:
    ran(tree)
    (tree / FOLDER).chmod(0o555)
    try:
        outcome = handoff(cli, tree, "--write")
    finally:
        (tree / FOLDER).chmod(0o755)
    assert outcome.code == 3
    assert f"{STATUS} was not written" in outcome.err


def test_a_write_that_fails_leaves_the_file(cli: Cli, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(tree)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lsp_server.commands.handoff.write_atomically", full)
    outcome = handoff(cli, tree, "--write")
    assert outcome.code == 3
    assert "No space left" in outcome.err
    assert (tree / STATUS).read_bytes() == STATUS_TEXT.encode()


def test_what_was_left_fails_the_command(cli: Cli, tree: Path) -> None:
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "base")
    git(tree, "checkout", "-qb", "port")
    script = tree / "scripts/convert_noise.py"
    script.parent.mkdir()
    script.write_text("x = 1\n")
    (tree / SOUND).write_text((tree / SOUND).read_text() + "\nbreakpoint()\n")
    (tree / "notes.md").write_text("x")
    ran(tree)
    clean_line = len((tree / SOUND).read_text().splitlines())
    outcome = handoff(cli, tree)
    assert outcome.code == 1
    assert f"{SOUND}:{clean_line}: a breakpoint stops the process here" in outcome.out
    told = handoff(cli, tree, "--format", "json").json
    assert told["gate"]["since"] == "main"
    assert told["handoff"]["files_changed"] == [SOUND, "scripts/convert_noise.py"]
    assert told["handoff"]["readme_updated"] == "no"
    assert handoff(cli, tree, "--base", "nothing").code == 2
    git(tree, "checkout", "-q", "--", SOUND)
    ran(tree)
    clean = handoff(cli, tree)
    assert clean.code == 0
    assert "nothing was left behind since main" in clean.out


def test_an_open_decision_is_handed_over(cli: Cli, tree: Path) -> None:
    (tree / STATUS).write_text(STATUS_TEXT.replace("resolved", "`open`"))
    ran(tree)
    block = handoff(cli, tree, "--format", "json").json["handoff"]
    assert block["next_step"] == "ask_user"
    assert block["escape_hatch"] == {
        "id": "E001",
        "question": "which checkpoint?",
        "recommended": "the first",
    }


def test_a_proof_that_broke_hands_over_its_request(
    cli: Cli, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worker(FakeWorker):
        async def state(self, *arguments: Any, **more: Any) -> Any:
            return replace(await super().state(*arguments, **more), files=(SOUND,))

    fake = Worker(official=(*OFFICIAL, Tensor("extra.weight", (3,), "F32")), native=NATIVE)
    monkeypatch.setattr(weights, "MetaWorker", lambda: fake)
    options = ("--root", tree, "--python", fake_python(tmp_path))
    proof = cli("weights", PORT, *options, "--format", "json", "--retry-request", "--component", "dit")
    assert proof.code == 1
    block = handoff(cli, tree, "--format", "json").json["handoff"]
    assert block["next_step"] == "phase_5_conversion_retry"
    assert block["strict_load"] == "blocked"
    asked = proof.json["conversion_retry_request"]
    assert asked["failing_keys"]["official"] == ["extra.weight"]
    assert block["conversion_retry_request"] == {**asked, "parity_test": TEST}


def test_a_proof_that_holds_is_no_load(
    cli: Cli, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worker(FakeWorker):
        async def state(self, *arguments: Any, **more: Any) -> Any:
            return replace(await super().state(*arguments, **more), files=(SOUND,))

    monkeypatch.setattr(weights, "MetaWorker", lambda: Worker())
    options = ("--root", tree, "--python", fake_python(tmp_path))
    assert cli("weights", PORT, *options, "--dump").code == 0
    block = handoff(cli, tree, "--format", "json").json["handoff"]
    assert block["strict_load"] == "not_run"
    assert block["next_step"] == "phase_5_conversion"
    assert set(block["prototype_key_dumps"]) == {"official", "fastvideo"}
    assert (tree / block["prototype_key_dumps"]["fastvideo"]).is_file()


def test_evidence_that_cannot_be_read_is_told(cli: Cli, tree: Path) -> None:
    (tree / ".ditproof/evidence.sqlite3").mkdir(parents=True)
    outcome = handoff(cli, tree)
    assert outcome.code == 3
    assert "next:" in outcome.err
