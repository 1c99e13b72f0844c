"""Why a test was skipped, as one of a few classes.

Skip reasons are free text. The order of the rules matters: "set X_RUN_GPU_TESTS=1 on a GPU node"
is a flag although it speaks of a GPU; "Real-weight parity requires CUDA" lacks the device although
it speaks of weights; "official weights not found" lacks weights, not the clone.
"""

from __future__ import annotations

import re

NO_CUDA = "no-cuda"
NO_WEIGHTS = "no-weights"
NO_OFFICIAL_CLONE = "no-official-clone"
ENVIRONMENT_FLAG = "environment-flag"
MISSING_PACKAGE = "missing-package"
UNCONDITIONAL = "unconditional"
EXPECTED_FAILURE = "expected-failure"
OTHER = "other"

_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        # pytest.importorskip
        (MISSING_PACKAGE, r"^could not import '"),
        (ENVIRONMENT_FLAG, r"(?-i:\b[A-Z][A-Z0-9]*_[A-Z0-9_]+)\s*=\s*['\"]?(1|true|on|yes)\b"),
        (
            NO_CUDA,
            r"\b(cuda|gpus?|nvidia|blackwell|hopper|ampere|h100|h200|b200|gb200|nccl)\b"
            r"|\bsm_?\d\d|bf16-capable|bfloat16 is not supported",
        ),
        (
            NO_WEIGHTS,
            r"weights?\b|checkpoints?\b|\bshards?\b|safetensors|model[ _]dir|model_index"
            r"|transformer dir|tokenizer|not accessible|\bgated\b|\bassets?\b|hf_token|state[ _]dict",
        ),
        (
            NO_OFFICIAL_CLONE,
            r"\bofficial\b|upstream|\bclone\b|\bcheckout\b|\breference\b|\brepo(sitory)?\b|_REF_DIR",
        ),
        (
            MISSING_PACKAGE,
            r"could not import|no module named|not? (usable|be )?import|import failed|cannot import"
            r"|not installed|\binstall(ed)?\b|not available|unavailable|not importable|\blacks\b"
            r"|missing dep|requires? [a-z0-9_.-]+\s*(>=|==|>)|is required\b",
        ),
        (ENVIRONMENT_FLAG, r"(?-i:\b[A-Z][A-Z0-9]*_[A-Z0-9_]{2,})|\benv(ironment)? (var|flag)"),
    )
)


def classify_skip(reason: str, *, unconditional: bool = False) -> str:
    """The class of a skip reason, `other` where nothing is recognised.

    `unconditional` says that the test carries a bare `skip` mark: it never runs, whatever its
    reason names.
    """
    if unconditional:
        return UNCONDITIONAL
    for name, pattern in _RULES:
        if pattern.search(reason):
            return name
    return OTHER
