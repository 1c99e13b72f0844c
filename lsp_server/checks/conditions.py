"""Under which conditions a run was made, as it told them: read strictly, told shortly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lsp_server.checks.strict import MalformedAnswer, as_list, as_object, as_size, as_text, optional


@dataclass(frozen=True)
class Device:
    """A GPU that a run used. `peak_memory`: bytes that torch had allocated there at most."""

    name: str
    peak_memory: int


@dataclass(frozen=True)
class Conditions:
    """Versions, devices, seeds and warnings of one run. Where torch was not imported, its part is empty.

    `packages`: name -> version of those that were imported. `seeds`: function and value, as the project
    called it. `warnings`: category, text, how often. `peak_memory`: bytes. `cuda`: what torch was built for.
    """

    python: str
    platform: str
    packages: Mapping[str, str]
    seeds: tuple[tuple[str, int], ...] = ()
    warnings: tuple[tuple[str, str, int], ...] = ()
    peak_memory: int | None = None
    threads: int | None = None
    deterministic: bool | None = None
    matmul_precision: str | None = None
    cuda: str | None = None
    devices: tuple[Device, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it; seeds and warnings as lists."""
        return {**asdict(self), "packages": dict(self.packages)}

    @property
    def summary(self) -> str:
        """One line: `torch 2.13.0, diffusers 0.42.1, cpu, seed 42; peak 1.2 GiB`."""
        parts = [f"{name} {self.packages[name]}" for name in _TOLD if name in self.packages]
        parts.append(", ".join(dict.fromkeys(d.name for d in self.devices)) or "cpu")
        seeds = list(dict.fromkeys(value for _, value in self.seeds))
        if seeds:
            parts.append(f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds[:3]))}")
        peaks = [f"peak {gib(self.peak_memory)}"] if self.peak_memory is not None else []
        peaks += [f"{gib(device.peak_memory)} on the GPU" for device in self.devices]
        return ", ".join(parts) + (f"; {', '.join(peaks)}" if peaks else "")


_TOLD = ("torch", "fastvideo", "diffusers", "transformers")


def gib(size: int) -> str:
    """A number of bytes as people say it."""
    return f"{size / (1 << 30):.1f} GiB"


def read_conditions(record: Mapping[str, Any]) -> Conditions | None:
    """What a `conditions` record holds; None of one that does not fit its form, which changes no verdict."""
    try:
        return _conditions(record)
    except MalformedAnswer:
        return None


def _conditions(record: Mapping[str, Any]) -> Conditions:
    packages = as_object(record.get("packages"), "packages")
    deterministic = record.get("deterministic")
    return Conditions(
        python=as_text(record.get("python"), "python"),
        platform=as_text(record.get("platform"), "platform"),
        packages={name: as_text(version, "packages") for name, version in packages.items()},
        seeds=tuple(_seed(item) for item in as_list(record.get("seeds"), "seeds")),
        warnings=tuple(_warning(item) for item in as_list(record.get("warnings"), "warnings")),
        peak_memory=optional(record.get("peak_memory"), "peak_memory", as_size),
        threads=optional(record.get("threads"), "threads", as_size),
        deterministic=deterministic if isinstance(deterministic, bool) else None,
        matmul_precision=optional(record.get("matmul_precision"), "matmul_precision", as_text),
        cuda=optional(record.get("cuda"), "cuda", as_text),
        devices=tuple(_device(item) for item in as_list(record.get("devices", []), "devices")),
    )


def _seed(item: Any) -> tuple[str, int]:
    parts = as_list(item, "seeds")
    if len(parts) != 2 or not isinstance(parts[1], int):
        raise MalformedAnswer("a seed is no pair of a name and a number")
    return as_text(parts[0], "seeds"), parts[1]


def _warning(item: Any) -> tuple[str, str, int]:
    parts = as_list(item, "warnings")
    if len(parts) != 3:
        raise MalformedAnswer("a warning has not three parts")
    return as_text(parts[0], "warnings"), as_text(parts[1], "warnings"), as_size(parts[2], "warnings")


def _device(item: Any) -> Device:
    parts = as_list(item, "devices")
    if len(parts) != 2:
        raise MalformedAnswer("a device has not two parts")
    return Device(as_text(parts[0], "devices"), as_size(parts[1], "devices"))
