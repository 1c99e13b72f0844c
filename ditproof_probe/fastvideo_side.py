"""What it takes to import FastVideo on any machine, and what of it rarely changes.

The real modules run, unchanged, except for what a machine without a GPU lacks:

* `fastvideo/__init__.py` is not executed. It pulls in the whole generator, with packages and seconds that
  a model does not need. The package is registered with its own `__path__` instead.
* FastVideo's CPU platform names no attention backend; it gets the SDPA backend. The CPU platform is used
  on every machine, so that the same model has the same names everywhere.
* Distributed state is a world of one, over gloo and a store in memory: no port, no file. It starts
  threads, so only a process that will not fork may start it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from ditproof_probe.problems import Unbuildable

PACKAGE = "fastvideo"
CONFIGS = "fastvideo.configs.models.dits"
_COMMON = (
    "platforms",
    "logger",
    "envs",
    "utils",
    "forward_context",
    "profiler",
    "distributed",
    "distributed.parallel_state",
    "distributed.communication_op",
    "distributed.device_communicators.cpu_communicator",
    "layers.activation",
    "layers.layernorm",
    "layers.linear",
    "layers.mlp",
    "layers.quantization",
    "layers.rotary_embedding",
    "layers.rotary_embedding_3d",
    "layers.visual_embedding",
    "attention",
    "attention.layer",
    "attention.selector",
    "attention.backends.sdpa",
    "models.parameter",
    "models.utils",
    "models.loader.utils",
    "models.loader.fsdp_load",
)
"""Imported before the fork. None of them imports a model or its config, which are what a porter edits. A
module that is missing here only costs time, one that does not exist in some version nothing."""


def register(root: str) -> None:
    """Make `fastvideo` a package whose submodules are found below `root`, without running its own code.

    Raises Unbuildable where the root holds no FastVideo.
    """
    folder = Path(root, PACKAGE)
    if not (folder / "models").is_dir():
        raise Unbuildable(
            f"{root} holds no folder {PACKAGE}/models.",
            "Open FastVideo's folder: the one that holds the package fastvideo.",
        )
    if PACKAGE in sys.modules:
        return
    spec = importlib.machinery.ModuleSpec(PACKAGE, loader=None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)


def preload_packages() -> list[Any]:
    """Import the installed packages that FastVideo's common modules pull in; returns what must stay alive.

    A torchvision built for CUDA does not define its operators on a CPU build of torch, and then cannot be
    imported. The schemas are enough: nothing here calls them.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return []
    kept: list[Any] = []
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        kept.append(library)  # a library's definitions end with the object
        importlib.import_module("torchvision")
    return kept


def use_cpu_platform() -> None:
    """The same platform on every machine, with an attention backend. Raises what the import raises."""
    platforms: Any = importlib.import_module("fastvideo.platforms")
    cpu: Any = importlib.import_module("fastvideo.platforms.cpu")

    def get_attn_backend_cls(*_: object, **__: object) -> str:
        return "fastvideo.attention.backends.sdpa.SDPABackend"

    with_attention = type(
        "CpuPlatform", (cpu.CpuPlatform,), {"get_attn_backend_cls": staticmethod(get_attn_backend_cls)}
    )
    platforms._current_platform = with_attention()


def preload_common() -> list[str]:
    """Import the common modules; the names of those that failed, with the reason, for the log.

    A failure here is no finding: the module is not kept, and whoever needs it imports it again and meets
    the error at the line that is to blame.
    """
    failed: list[str] = []
    for name in _COMMON:
        try:
            importlib.import_module(f"{PACKAGE}.{name}")
        except BaseException as error:  # noqa: BLE001 - the user's module runs: it may raise anything
            if not _is_another_version(error, name):
                failed.append(f"{PACKAGE}.{name}: {type(error).__name__}: {error}")
    return failed


def _is_another_version(error: BaseException, name: str) -> bool:
    """Whether the module is simply not there in this version of FastVideo."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    return absent is not None and f"{PACKAGE}.{name}.".startswith(f"{absent}.")


def start_world_of_one() -> None:
    """Distributed state of a single process. Starts threads. Raises what FastVideo raises."""
    import torch

    parallel_state: Any = importlib.import_module("fastvideo.distributed.parallel_state")
    os.environ.setdefault("LOCAL_RANK", "0")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            backend="gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
    parallel_state.init_distributed_environment(world_size=1, rank=0, local_rank=0)
    parallel_state.initialize_model_parallel(1, 1)
