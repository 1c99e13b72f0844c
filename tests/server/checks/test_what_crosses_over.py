"""What a child is given, and what is let through of what it says."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from lsp_server.checks.bundle import write_bundle
from lsp_server.checks.environment import child_environment
from lsp_server.checks.output import OutputTail
from lsp_server.checks.redact import redact, redact_record


@pytest.mark.parametrize(
    "secret",
    [
        "hf_" + "a1B2" * 6,
        "sk-" + "proj_abcDEF123456-xyz",
        "ghp_" + "A1" * 18,
        "github_pat_" + "A1b2_" * 6,
        "AKIA" + "ABCDEFGH12345678",
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTYifQ." + "abcdefghij",
    ],
)
def test_tokens_are_redacted(secret: str) -> None:
    text = redact(f"loading with {secret}, then on")
    assert secret not in text
    assert text == "loading with [redacted], then on"


def test_tokens_are_redacted_by_their_place() -> None:
    assert redact("Authorization: Bearer abc.def-ghi/123") == "Authorization: Bearer [redacted]"
    assert redact("WANDB_API_KEY=0123456789abcdef") == "WANDB_API_KEY=[redacted]"
    assert redact("token: 'abc123def456'") == "token: '[redacted]'"
    assert redact("https://me:pa55word@host/x") == "https://me:[redacted]@host/x"
    assert redact_record({"a": ["hf_" + "x1" * 10, 3, None]}) == {"a": ["[redacted]", 3, None]}


@pytest.mark.parametrize(
    "text",
    [
        "num_tokens: 512, tokens=[1, 2]",
        "tokenizer/tokenizer.json",
        "a basic transformer block",
        "max_tokens=40960000, token: torch.Tensor",
        "hf_transformers_path/hf_to_custom_state_dict",
        "blocks.0.attn.to_q.weight drifts by 1.2e-3",
        "risk-aware sk-learn hf_home",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("piece", ["a.", "a-", "token="])
def test_a_long_line_without_a_space_costs_little(piece: str) -> None:
    began = time.process_time()
    redact(piece * (72_000 // len(piece)))
    assert time.process_time() - began < 2.0


def test_environment_is_an_allow_list() -> None:
    source = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "CUDA_VISIBLE_DEVICES": "0",
        "GAMECRAFT_OFFICIAL_REF_DIR": "/clones/g",
        "FASTVIDEO_ATTENTION_BACKEND": "TORCH_SDPA",
        "HF_HOME": "/cache",
        "HF_TOKEN": "secret",
        "HUGGING_FACE_HUB_TOKEN": "secret",
        "FASTVIDEO_API_KEY": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SOMETHING": "else",
        "MY_FLAG": "1",
        "PYTHONHOME": "/ours",
        "PYTEST_ADDOPTS": "-x",
    }
    given = child_environment("/env/bin/python", ("MY_*", "AWS_*"), source)
    assert set(given) == {
        *("PATH", "HOME", "CUDA_VISIBLE_DEVICES", "GAMECRAFT_OFFICIAL_REF_DIR"),
        *("FASTVIDEO_ATTENTION_BACKEND", "HF_HOME", "MY_FLAG"),
    }
    assert given["PATH"].startswith("/env/bin")


def test_our_own_packages_are_not_handed_on() -> None:
    own = str(Path(__file__).resolve().parents[3])
    given = child_environment("/env/bin/python", (), {"PYTHONPATH": f"{own}:/project/src"})
    assert given["PYTHONPATH"] == "/project/src"
    assert "PYTHONPATH" not in child_environment("/env/bin/python", (), {"PYTHONPATH": own})


def test_the_bundle_holds_the_probe_alone(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    assert sorted(path.name for path in folder.iterdir()) == ["__main__.py", "ditproof_probe"]
    assert (folder / "ditproof_probe/recorder.py").is_file()
    assert not list(folder.rglob("*.pyc"))
    assert "ditproof_probe.recorder" not in sys.modules, "the server must not import the probe"


def test_lines_come_whole_whatever_the_chunks() -> None:
    tail = OutputTail()
    text = "größe ✓\nhf_" + "a1" * 10 + "\rlast of a bar\nno end"
    lines = [line for byte in text.encode() for line in tail.feed(bytes([byte]))]
    assert lines == ["größe ✓", "last of a bar"]
    assert tail.text() == "größe ✓\nlast of a bar\nno end"


def test_memory_is_bounded() -> None:
    tail = OutputTail()
    for _ in range(100):
        tail.feed(b"x" * 100_000)
    for _ in range(10_000):
        tail.feed(b"a line of some length\n")
    assert len(tail.text()) < 70_000
    assert tail.text().startswith("...\n")
