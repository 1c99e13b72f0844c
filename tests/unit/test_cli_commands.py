"""`ports`, `rule`, `doctor`, `serve`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_testing import COPY, REGISTRY, SOUND, Cli, cli, tree_at

from analyzers.rules.examples import TREE
from lsp_server.rule_pages import all_pages

__all__ = ["cli"]

CLASS = "class SoundTransformer3DModel(BaseDiT):"
TEST = "tests/local_tests/sound/test_sound_transformer_parity.py"
STATUS = "tests/local_tests/sound/PORT_STATUS.md"


def fake_python(folder: Path, **told: object) -> Path:
    """A file that answers as an interpreter with these packages would."""
    answer = {"version": [3, 11, 0], "executable": "x", "torch": "2.13.0", "pytest": "8.0", "fastvideo": None}
    answer |= {"diffusers": None, **told}
    path = folder / "python-of-the-project"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    path.chmod(0o755)
    return path


# --------------------------------------------------------------------------- ports


def test_ports_as_json(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("ports", "--root", tree_at(tmp_path), "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json == [
        {
            "family": "sound",
            "class": "SoundTransformer3DModel",
            "path": SOUND,
            "line": TREE[SOUND].splitlines().index(CLASS) + 1,
            "config": "SoundConfig",
            "arch_config": "SoundArchConfig",
            "exported": True,
            "reachable": "discovered",
            "oracle": {
                "ref": "official_sound.py::SoundTransformer",
                "source": "port-status",
                "path": STATUS,
                "line": 11,
            },
            "mapping": {"path": "fastvideo/configs/models/dits/sound.py", "line": 14, "rules": 1},
            "parity_tests": [TEST],
            "status_file": STATUS,
            "evidence": {"tier1": None, "tier2": None, "tier3": None},
        }
    ]


def test_ports_as_a_table(cli: Cli, tmp_path: Path) -> None:
    base = "from fastvideo.models.dits.base import BaseDiT\n\n\n"
    quiet = f"{base}class Quiet(BaseDiT):\n    def forward(self): ...\n"
    outcome = cli("ports", "--root", tree_at(tmp_path, {"fastvideo/models/dits/quiet.py": quiet}))
    assert outcome.code == 0
    rows = {line.split()[0]: line.split() for line in outcome.out.splitlines()}
    line = TREE[SOUND].splitlines().index(CLASS) + 1
    sound = ["discovered", "yes", "1", "official_sound.py", "1", f"sound.py:{line}"]
    assert rows["SoundTransformer3DModel"][1:] == sound
    assert rows["Quiet"][1:] == ["unreachable", "?", "?", "-", "none", "quiet.py:4"]
    assert outcome.out.splitlines()[-1] == "2 ports, 1 unreachable: Quiet."


def test_no_port_is_told(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("ports", "--root", tree_at(tmp_path, {SOUND: "x = 1\n"}), "--format", "json")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no port found" in outcome.err


def test_ports_with_a_registry_that_does_not_parse(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("ports", "--root", tree_at(tmp_path, {REGISTRY: "x = {\n"}))
    assert outcome.code == 0
    assert f"the tables of {REGISTRY} cannot be followed" in outcome.err


# --------------------------------------------------------------------------- rule


@pytest.mark.parametrize("wanted", ["DIT106", "dit106", "registry-duplicate"])
def test_a_rule_is_explained(cli: Cli, wanted: str) -> None:
    outcome = cli("rule", wanted)
    assert outcome.code == 0
    assert outcome.out.startswith("# registry-duplicate (DIT106)\n")
    for heading in ("What it does", "Why it matters", "How to fix it", "Reported"):
        assert f"## {heading}" in outcome.out


def test_a_rule_as_json(cli: Cli) -> None:
    document = cli("rule", "DIT106", "--format", "json").json
    assert document["code"] == "DIT106"
    assert document["severity"] == "warning"
    assert document["fix"] is None
    assert set(document) == {
        *("code", "name", "severity", "tier", "fix", "summary", "what", "why", "how", "exceptions", "source"),
        "off",
    }


def test_a_rule_says_where_it_is_switched_off(cli: Cli) -> None:
    assert cli("rule", "DIT106", "--format", "json").json["off"] == {}
    off = cli("rule", "DIT401", "--format", "json").json["off"]
    assert "wraps `nn.Linear`" in off["SGLang"]
    assert f"- SGLang: {off['SGLang']}" in cli("rule", "DIT401").out


def test_all_rules(cli: Cli) -> None:
    listed = cli("rule").out.splitlines()[1:]
    assert [line.split()[0] for line in listed] == [page.code for page in all_pages()]
    assert [r["code"] for r in cli("rule", "--format", "json").json] == [page.code for page in all_pages()]


def test_a_rule_that_does_not_exist(cli: Cli) -> None:
    outcome = cli("rule", "DIT1O6")
    assert (outcome.code, outcome.out) == (2, "")
    assert "there is no rule 'DIT1O6'. Did you mean DIT1" in outcome.err
    assert "`ditproof rule` lists every rule" in outcome.err


# --------------------------------------------------------------------------- doctor


def test_a_sound_project(cli: Cli, tmp_path: Path) -> None:
    python = fake_python(tmp_path)
    root = tree_at(tmp_path / "tree")
    outcome = cli("doctor", "--root", root, "--python", python)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Everything can run." in outcome.out
    document = cli("doctor", "--root", root, "--python", python, "--format", "json").json
    assert document["problems"] == []
    assert document["profile"] == "fastvideo"
    assert document["root"] == str(root.resolve())
    assert document["settings"] is None
    assert document["registry"] == {"discovered": 1, "legacy": 0, "legacy_known": True, "unreachable": []}
    assert document["interpreter"]["torch"] == "2.13.0"
    assert document["interpreter"]["path"] == str(python)
    assert all(document["dependencies"].values())


def problems(cli: Cli, *arguments: str | Path) -> dict[str, tuple[str, str]]:
    outcome = cli("doctor", "--format", "json", *arguments)
    assert outcome.code == 3
    found = {p["what"]: (p["reason"], p["next_step"]) for p in outcome.json["problems"]}
    assert all(step for _, step in found.values())
    text = cli("doctor", *arguments)
    assert text.code == 3
    for reason, step in found.values():
        assert reason in text.out
        assert f"next: {step}" in text.out
    return found


def test_an_interpreter_that_does_not_exist(cli: Cli, tmp_path: Path) -> None:
    found = problems(cli, "--root", tree_at(tmp_path), "--python", tmp_path / "nope")
    assert set(found) == {"parity"}
    assert "does not exist" in found["parity"][0]


@pytest.mark.parametrize("missing", ["torch", "pytest"])
def test_an_interpreter_that_lacks_something(cli: Cli, tmp_path: Path, missing: str) -> None:
    python = fake_python(tmp_path, **{missing: None})
    found = problems(cli, "--root", tree_at(tmp_path / "tree"), "--python", python)
    assert found["parity"][0] == f"{missing} is not installed for {python}."
    assert f"pip install {missing}" in found["parity"][1]
    # The proof of the weights needs torch alone.
    assert ("weights" in found) == (missing == "torch")


def test_the_doctor_says_what_weights_can_be_proved_against(cli: Cli, tmp_path: Path) -> None:
    root = tree_at(tmp_path / "tree")
    row = "weights   against clones, checkpoints and key dumps: there is no diffusers"
    assert row in cli("doctor", "--root", root, "--python", fake_python(tmp_path)).out
    assert (
        "weights" not in cli("doctor", "--root", root, "--python", fake_python(tmp_path, diffusers="1")).out
    )


def test_an_interpreter_that_is_none(cli: Cli, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    found = problems(cli, "--root", tree_at(tmp_path / "tree"), "--python", script)
    assert "does not answer as a Python interpreter" in found["parity"][0]


def test_no_tree(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = problems(cli, "--python", fake_python(tmp_path))
    assert set(found) == {"check"}
    assert "is not in a tree of FastVideo or SGLang" in found["check"][0]


def test_settings_and_registry_problems(cli: Cli, tmp_path: Path) -> None:
    root = tree_at(
        tmp_path / "tree", {REGISTRY: "x = {\n", "pyproject.toml": "[tool.ditproof]\nselct = []\n"}
    )
    found = problems(cli, "--root", root, "--python", fake_python(tmp_path))
    assert set(found) == {"settings", "registry"}
    assert "unknown key 'selct'" in found["settings"][0]
    assert f"{REGISTRY} does not parse" in found["registry"][0]


def test_a_tree_without_ports(cli: Cli, tmp_path: Path) -> None:
    root = tree_at(tmp_path / "tree", {SOUND: None, COPY: None})
    found = problems(cli, "--root", root, "--python", fake_python(tmp_path))
    assert "No port found" in found["check"][0]


# --------------------------------------------------------------------------- serve


def test_serve_runs_the_server(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[bool] = []
    monkeypatch.setattr("lsp_server.serve.run_stdio", lambda: started.append(True))
    assert cli("serve").code == 0
    assert cli("serve", "--stdio").code == 0
    assert started == [True, True]
