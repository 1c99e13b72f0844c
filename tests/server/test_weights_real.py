"""`ditproof weights` on the real thing: FastVideo's ports against diffusers, through the real worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FASTVIDEO = REPOSITORY / ".real/fastvideo-0.2.1"
WAN = "WanTransformer3DModel"
WAN_CONFIG = "fastvideo/configs/models/dits/wanvideo.py"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV")}
    (tmp_path / "runs").mkdir()
    return {**kept, "DITPROOF_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "runs")}


@pytest.fixture
def command(workspace: Path, project_python: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "lsp_server",
        "weights",
        "--root",
        str(workspace),
        "--python",
        project_python,
    ]


@pytest.fixture
def weights(command: list[str], environment: dict[str, str]) -> Run:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def processes_in(folder: str) -> list[int]:
    """Those that were started with a file below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if folder.encode() in told and state != "Z":
                found.append(int(entry.name))
    return found


def until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_wan_is_proven_and_one_typing_error_is_found(
    weights: Run, workspace: Path, environment: dict[str, str]
) -> None:
    done = weights(WAN, "--format", "json", "--dump")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["verdict"], told["by"], told["against"]) == (
        "proven",
        "names and shapes",
        f"diffusers:{WAN}",
    )
    assert told["counts"] == {"official": 1095, "native": 1095, "mapped": 1095, "merged": 0}
    assert (told["missing"], told["unexpected"], told["shape"], told["problems"]) == ([], [], [], [])
    assert {rule["path"] for rule in told["rules"]} == {WAN_CONFIG}
    gated = {rule["pattern"] for rule in told["rules"] if rule["state"] == "gated"}
    assert any("image_embedder" in pattern for pattern in gated)
    source = (workspace / WAN_CONFIG).read_text()
    lines = source.splitlines()
    for rule in told["rules"]:
        assert rule["pattern"] in lines[rule["line"] - 1]
    folder = workspace / "converted_weights/wanvideo/_mapping"
    written = sorted(folder.iterdir())
    assert [len(json.loads(path.read_text())) for path in written] == [1095, 1095]
    assert list(Path(environment["TMPDIR"]).iterdir()) == []

    # Against the dump of the class that was just proven: one wrong letter in one target.
    wrong = re.sub(r"(ffn\.fc_)in(\.\\2)", r"\1inn\2", source, count=1)
    assert wrong != source
    number = next(i for i, (a, b) in enumerate(zip(lines, wrong.splitlines(), strict=True)) if a != b)
    (workspace / WAN_CONFIG).write_text(wrong)
    try:
        done = weights(WAN, "--official", written[1], "--format", "json")
        text = weights(WAN, "--official", written[1])
    finally:
        (workspace / WAN_CONFIG).write_text(source)
    assert done.returncode == text.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert len(told["missing"]) == len(told["unexpected"]) == 80
    assert {(fault["path"], fault["line"]) for fault in told["faults"]} == {(WAN_CONFIG, number + 1)}
    assert f"{WAN_CONFIG}:{number + 1}  DIT70" in text.stdout


# A torchvision for CUDA cannot be imported beside a torch for the CPU, and nothing here needs one.
_SHARDS = """
import sys
import torch
sys.modules["torchvision"] = None
from diffusers import HunyuanVideoTransformer3DModel
torch.manual_seed(0)
HunyuanVideoTransformer3DModel(
    num_attention_heads=2, attention_head_dim=16, num_layers=2, num_single_layers=2, num_refiner_layers=1,
    text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(4, 4, 8),
).save_pretrained(sys.argv[1], max_shard_size="100KB")
"""


def test_shards_that_diffusers_writes_are_proven_and_a_lost_one_is_told(
    weights: Run, project_python: str, tmp_path: Path
) -> None:
    """Hunyuan's attention is three tensors officially and one in the port: 14 merges."""
    folder = tmp_path / "hunyuan"
    subprocess.run([project_python, "-c", _SHARDS, folder], check=True, capture_output=True, timeout=300)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2
    port = "HunyuanVideoTransformer3DModel"
    done = weights(port, "--checkpoint", folder, "--no-gates", "--format", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["verdict"], told["configuration"]) == ("proven", "the checkpoint's config.json")
    assert told["counts"] == {"official": 138, "native": 106, "mapped": 138, "merged": 14}
    assert told["checkpoint"]["files"] >= len(shards)
    shards[1].unlink()
    done = weights(port, "--checkpoint", folder, "--no-gates", "--format", "json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert shards[1].name in told["checkpoint"]["problems"][0]["message"]
    assert "hf download" in told["checkpoint"]["problems"][0]["next_step"]


_OFFICIALS = {
    "exits.py": ("import sys; sys.exit('bye')", "ended the process", "official"),
    "loop.py": ("while True: pass", "has not come after", "--timeout"),
    "prints.py": ("import os; os.write(1, b'x' * 5_000_000); raise OSError('no weights')", "no weights", ""),
}


@pytest.mark.parametrize("name", _OFFICIALS)
def test_an_official_module_that_misbehaves_leaves_a_document_and_nothing_else(
    weights: Run, environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    source, reason, step = _OFFICIALS[name]
    (tmp_path / name).write_text(f"{source}\nclass M: pass\n")
    limit = "20" if name == "loop.py" else "200"
    reference = f"{tmp_path / name}::M"
    done = weights(WAN, "--official", reference, "--timeout", limit, "--no-gates", "--format", "json")
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert (told["verdict"], told["against"]) == ("unknown", reference)
    assert reason in told["error"]["message"]
    assert step in told["error"]["next_step"]
    assert len(done.stderr) < 5_000
    assert until(lambda: not list(Path(environment["TMPDIR"]).iterdir()), 10.0)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_of_a_command_that_is_ended(
    command: list[str], environment: dict[str, str], how: int, code: int
) -> None:
    runs = environment["TMPDIR"]
    process = subprocess.Popen(
        [*command, WAN],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "importing torch" in line:
                break
        assert processes_in(runs)
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert until(lambda: not processes_in(runs), 10.0), processes_in(runs)
    assert until(lambda: not list(Path(runs).iterdir()), 10.0)
