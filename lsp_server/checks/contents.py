"""What files hold: whether a check that read them would read the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

Contents = Mapping[str, "str | None"]
"""Path -> digest of what is on disk, None where it cannot be read."""


def contents_of(root: Path, paths: Iterable[str]) -> dict[str, str | None]:
    """The present contents of files."""
    return {path: _digest(root / path) for path in paths}


def _digest(file: Path) -> str | None:
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return None


def changed_since(root: Path, paths: Iterable[str], begun: float) -> bool:
    """Whether a file was written after a moment (seconds since the epoch)."""
    for path in paths:
        try:
            if (root / path).stat().st_mtime > begun:
                return True
        except OSError:
            continue
    return False


@dataclass(frozen=True)
class Package:
    """An installed package as it is on disk: its folder, and what another release of it changes there."""

    folder: Path
    state: tuple[object, ...]

    def has_changed(self) -> bool:
        """Whether the disk holds another one by now."""
        return package_in(self.folder) != self


def package_around(file: Path) -> Package:
    """The package that a module of an environment belongs to."""
    folder = file.parent
    while (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return package_in(folder)


def package_in(folder: Path) -> Package:
    """A package as it is now. Its releases differ in the name of their `.dist-info`; what is installed
    again or edited in place, in times: of the folder, of `__init__.py`, and of the record of its files."""
    name = folder.name.lower().replace("_", "-")
    try:
        beside = [path for path in folder.parent.iterdir() if path.suffix == ".dist-info"]
    except OSError:
        beside = []
    releases = sorted(path for path in beside if path.name.lower().replace("_", "-").startswith(f"{name}-"))
    watched = [folder, folder / "__init__.py", *(path / "RECORD" for path in releases)]
    return Package(folder, (*(path.name for path in releases), *map(_modified, watched)))


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
