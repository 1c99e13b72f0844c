"""Under which conditions a run was made: versions, devices, seeds, warnings, memory.

A `conditions` record holds: python, platform, packages ({name: version} of those that were imported), seeds
([[function, value]], as the project called it, each once), warnings ([[category, text, count]]), peak_memory
(bytes that this process held at most), and where torch was imported: threads, deterministic,
matmul_precision, devices ([[name, bytes allocated at most]], empty where CUDA was not used), cuda (the
version that torch was built for, or None).
"""

from __future__ import annotations

import functools
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest

from ditproof_probe.callsite import in_project
from ditproof_probe.patching import on_import
from ditproof_probe.records import RecordWriter

PACKAGES = {
    "torch": "torch",
    "fastvideo": "fastvideo",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "triton": "triton",
    "flash_attn": "flash-attn",
    "xformers": "xformers",
    "sageattention": "sageattention",
}
"""Module -> distribution."""

_MOST = 20
_LONGEST = 300


class Conditions:
    """Listens while the tests run, and writes the record when the session is over."""

    def __init__(self, writer: RecordWriter, root: str) -> None:
        self._writer = writer
        self._root = root
        self._seeds: dict[tuple[str, int], None] = {}
        self._warnings: Counter[tuple[str, str]] = Counter()

    def install(self) -> None:
        """Notes the seeds that the project sets from now on."""
        on_import("torch.random", functools.partial(self._listen, "manual_seed", "torch.manual_seed"))
        on_import("random", functools.partial(self._listen, "seed", "random.seed"))

    def _listen(self, name: str, called: str, module: ModuleType) -> None:
        original: Callable[..., Any] = getattr(module, name)

        @functools.wraps(original)
        def noted(*args: Any, **kwargs: Any) -> Any:
            value = args[0] if args else kwargs.get("seed")
            caller = sys._getframe(1).f_code.co_filename
            if isinstance(value, int) and in_project(caller, self._root) and len(self._seeds) < _MOST:
                self._seeds[called, value] = None
            return original(*args, **kwargs)

        setattr(module, name, noted)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        text = str(warning_message.message)[:_LONGEST]
        self._warnings[warning_message.category.__name__, text] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._writer.write(
            "conditions",
            python=sys.version.split()[0],
            platform=platform.platform(),
            packages=_versions(),
            seeds=[[name, value] for name, value in self._seeds],
            warnings=[[kind, text, count] for (kind, text), count in self._warnings.most_common(_MOST)],
            peak_memory=_peak_memory(),
            **_of_torch(),
        )


def _versions() -> dict[str, str]:
    found = {}
    for module, distribution in PACKAGES.items():
        if module in sys.modules:
            try:
                found[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue  # a checkout on the path: the sources themselves are recorded
    return found


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:
        return None  # Windows has none
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def _of_torch() -> dict[str, Any]:
    """What torch itself was set to. A torch whose import failed says nothing."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return {}
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cuda": torch.version.cuda,
        "devices": [
            [torch.cuda.get_device_name(index), torch.cuda.max_memory_allocated(index)]
            for index in range(torch.cuda.device_count() if used else 0)
        ],
    }
