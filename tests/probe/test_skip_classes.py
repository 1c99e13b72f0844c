"""Skip reasons as they stand in FastVideo's tests, and the class that each belongs to."""

import pytest

from ditproof_probe.skips import classify_skip


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("CUDA not available", "no-cuda"),
        ("This test requires at least 2 CUDA devices.", "no-cuda"),
        ("bfloat16 is not supported on this GPU", "no-cuda"),
        ("requires a GB200 (sm_100a) compute node", "no-cuda"),
        ("Real-weight Z-Image transformer parity requires CUDA", "no-cuda"),
        ("CUDA is required for the Triton fusion", "no-cuda"),
        ("golden-gate requires a bf16-capable CUDA GPU", "no-cuda"),
        ("set LINGBOT_VIDEO_RUN_GPU_TESTS=1 on an allocated GPU", "environment-flag"),
        ("nightly e2e overfit test; set FASTVIDEO_NIGHTLY=1 to run", "environment-flag"),
        ("GameCraft weights not found at /data/w", "no-weights"),
        ("LTX-2 official weights not found at /data/ltx", "no-weights"),
        ("requires official_weights/FLUX.1-dev (set FLUX_DEV_ROOT)", "no-weights"),
        ("Converted transformer dir missing at /data/t", "no-weights"),
        ("SD3.5 model dir not found: /data/sd35", "no-weights"),
        ("stabilityai/x not accessible — gated repo; set HF_TOKEN / login", "no-weights"),
        ("GAIR/daVinci-MagiHuman base/ shards not available locally.", "no-weights"),
        ("Official GameCraft repo not found at /clones/g", "no-official-clone"),
        ("Official reference missing: /clones/ref", "no-official-clone"),
        ("Upstream daVinci-MagiHuman/ clone missing. Run git clone", "no-official-clone"),
        ("Cannot import official DreamX transformer: No module named 'x'", "no-official-clone"),
        ("`stable_audio_tools` not importable. Clone it", "no-official-clone"),
        ("could not import 'triton': No module named 'triton'", "missing-package"),
        ("transformers not available: boom", "missing-package"),
        ("ffmpeg not installed", "missing-package"),
        ("Triton is required for the fusion", "missing-package"),
        ("LTX-2 import failed: No module named 'ltx'", "missing-package"),
        ("Distributed parallel state not initialized. Run with a full pipeline.", "other"),
        ("", "other"),
    ],
)
def test_reason(reason: str, expected: str) -> None:
    assert classify_skip(reason) == expected


def test_a_bare_mark_wins_over_what_its_reason_names() -> None:
    assert classify_skip("CUDA not available", unconditional=True) == "unconditional"
