"""The GPUs of this machine, and which of them a run gets: the one with the most free memory (NVML)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CPU = "cpu"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Gpu:
    """A device as NVML tells it. `uuid`: what `CUDA_VISIBLE_DEVICES` takes, whatever the order of the
    devices. `free` and `total` in bytes."""

    index: int
    uuid: str
    name: str
    free: int
    total: int


def gpus() -> tuple[Gpu, ...]:
    """Every device that the driver tells of; none where there is no driver."""
    try:
        import pynvml  # type: ignore[import-untyped]
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()  # no driver, or one that does not answer: tests see no CUDA either
    try:
        return tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
    return Gpu(index, uuid, name, int(memory.free), int(memory.total))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def chosen_device(devices: Iterable[Gpu] | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The slot that a run takes: the UUID of the device with the most free memory, `cpu` where there is none.

    A user who has set `CUDA_VISIBLE_DEVICES` has chosen already: among those that it names, by number or
    UUID; with an empty one, or one that names no device of this machine, none.
    """
    known = list(gpus() if devices is None else devices)
    visible = (os.environ if environment is None else environment).get(VISIBLE)
    if visible is not None:
        named = [part.strip() for part in visible.split(",") if part.strip()]
        known = [gpu for gpu in known if any(_names(part, gpu) for part in named)]
    best = max(known, key=lambda gpu: (gpu.free, -gpu.index), default=None)
    return best.uuid if best is not None else CPU


def _names(part: str, gpu: Gpu) -> bool:
    return part == str(gpu.index) or (part.startswith("GPU-") and gpu.uuid.startswith(part))
