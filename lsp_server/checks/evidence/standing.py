"""Whether what was seen still speaks of the files as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lsp_server.checks.contents import contents_of
from lsp_server.checks.evidence.model import CONCLUSIVE, Evidence, WeightsFile

HEADER_LIMIT = 100 << 20
"""Bytes of a safetensors header, as the `safetensors` library bounds it."""

_END = 1 << 20


@dataclass(frozen=True)
class Change:
    """What is other than it was when a run was made. `what`: a path, or a folder of packages."""

    kind: str
    what: str

    def __str__(self) -> str:
        return {
            "source": f"{self.what} has changed",
            "gone": f"{self.what} is gone",
            "environment": f"other packages are installed in {self.what}",
            "weights": f"the weights in {self.what} are others",
            "no-weights": f"the weights {self.what} are gone",
        }[self.kind]


def changes_since(root: Path, evidence: Evidence) -> tuple[Change, ...]:
    """What a run hung on and is now another: sources first, then weights, then installed packages."""
    return (*_changed_sources(root, evidence), *_changed_weights(evidence), *_changed_packages(evidence))


def stale_sources(root: Path, evidence: Evidence) -> tuple[Change, ...]:
    """The sources alone, without a look at packages and weights."""
    return tuple(_changed_sources(root, evidence))


def fitting(root: Path, kept: Iterable[Evidence]) -> Evidence | None:
    """The first run whose outcome would be the same now; None where it has to be run.

    A skip or an error may come from the machine, so only a verdict is used again.
    """
    usable = (evidence for evidence in kept if evidence.status in CONCLUSIVE and evidence.sources)
    return next((evidence for evidence in usable if not changes_since(root, evidence)), None)


def _changed_sources(root: Path, evidence: Evidence) -> Iterable[Change]:
    now = contents_of(root, evidence.sources)
    for path, was in evidence.sources.items():
        if now[path] != was:
            yield Change("source" if now[path] is not None else "gone", path)


def _changed_weights(evidence: Evidence) -> Iterable[Change]:
    for file in evidence.weights:
        now = weights_file(Path(file.path))
        if now is None:
            yield Change("no-weights", file.path)
        elif now != file:
            yield Change("weights", file.path)


def _changed_packages(evidence: Evidence) -> Iterable[Change]:
    for folder, was in evidence.environments.items():
        if environment_of(Path(folder)) != was:
            yield Change("environment", folder)


def weights_file(path: Path) -> WeightsFile | None:
    """The identity of a file of weights, read at its ends alone; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            told = _header(file) if path.suffix == ".safetensors" else _ends(file, size)
    except OSError:
        return None
    return WeightsFile(str(path), size, hashlib.sha256(told).hexdigest()) if told is not None else None


def _header(file: BinaryIO) -> bytes | None:
    """The header of a safetensors file; None where there is none, or not all of it."""
    length = int.from_bytes(start := file.read(8), "little")
    if len(start) < 8 or length > HEADER_LIMIT:
        return None
    header = file.read(length)
    return header if len(header) == length else None


def _ends(file: BinaryIO, size: int) -> bytes:
    """The first and the last bytes of a file of another kind: a zip archive lists its content at its end."""
    start = file.read(_END)
    file.seek(max(size - _END, 0))
    return start + file.read(_END)


def environment_of(folder: Path) -> str:
    """A digest of what is installed in a folder: the releases, and when each was installed."""
    try:
        releases = sorted(path for path in folder.iterdir() if path.suffix in (".dist-info", ".egg-info"))
    except OSError:
        releases = []
    digest = hashlib.blake2b(digest_size=16)
    for release in releases:
        digest.update(f"{release.name}\0{_modified(release / 'RECORD')}\0".encode())
    return digest.hexdigest()


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
