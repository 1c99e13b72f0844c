"""The environment of a child: by allow-list, so that no secret is handed on by accident."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

TELLING = (
    # devices and numerics
    *("CUDA_*", "NVIDIA_*", "HIP_*", "ROCR_*", "NCCL_*", "GLOO_*", "CUBLAS_*", "CUDNN_*"),
    *("TORCH*", "PYTORCH_*", "TRITON_*", "OMP_*", "MKL_*", "KMP_*", "OPENBLAS_*", "NUMEXPR_*"),
    # weights and clones
    *("HF_*", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_*", "DIFFUSERS_*", "FASTVIDEO_*"),
    *("*_OFFICIAL_REF_DIR", "*_REF_DIR", "*_OFFICIAL_PATH", "*_FASTVIDEO_PATH", "*_MODEL_DIR"),
    *("*_WEIGHTS_DIR", "*_WEIGHTS_PATH"),
)
"""What the outcome of a test may hang on."""

ALLOWED = (
    # who and where
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM"),
    *("SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE"),
    *("TMPDIR", "TEMP", "TMP", "XDG_*"),
    # the interpreter
    *("PYTHON*", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("DYLD_*",),
    *TELLING,
)

# PYTHONHOME is the server's own; the others would start something before the test does.
NEVER = ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTEST_ADDOPTS")

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE", re.IGNORECASE)


def child_environment(
    python: str,
    extra_allowed: Iterable[str] = (),
    source: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The allowed part of `source` (the process's own environment by default).

    `extra_allowed` are names or patterns (`MY_TEST_*`) that a user's settings add. A name that
    speaks of a token, secret, password or key is left out even then: a parity run needs none.
    The folder of `python` comes first on PATH, as in an activated environment.
    """
    source = os.environ if source is None else source
    patterns = (*ALLOWED, *extra_allowed)
    chosen = {
        name: value
        for name, value in source.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
        and name not in NEVER
        and not _SECRET.search(name)
    }
    chosen["PATH"] = os.pathsep.join(
        part for part in (str(Path(python).absolute().parent), chosen.get("PATH", "")) if part
    )
    if "PYTHONPATH" in chosen:
        # An extension may have put our own packages there; they must not meet the project's.
        own = Path(__file__).resolve().parents[2]
        kept = [p for p in chosen["PYTHONPATH"].split(os.pathsep) if p and Path(p).resolve() != own]
        chosen["PYTHONPATH"] = os.pathsep.join(kept)
        if not kept:
            del chosen["PYTHONPATH"]
    return chosen


def telling_environment(
    python: str, extra_allowed: Iterable[str] = (), source: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The part of a child's environment that the outcome of a test may hang on. `extra_allowed` is in it:
    a user who hands a variable on has a test that reads it."""
    patterns = (*TELLING, *extra_allowed)
    handed_on = child_environment(python, extra_allowed, source)
    return {
        name: value
        for name, value in sorted(handed_on.items())
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
