"""Which code base a tree is: found by looking at its folders. One import for all that ask.

A new code base is a module below `analyzers.project.profiles` and its name in `PROFILES`.
"""

from __future__ import annotations

from pathlib import Path

from analyzers.project.profiles.base import Discovery, Loader, Profile, Registrations
from analyzers.project.profiles.fastvideo import FASTVIDEO
from analyzers.project.profiles.sglang import SGLANG

__all__ = [
    "FASTVIDEO",
    "PROFILES",
    "SGLANG",
    "Discovery",
    "Loader",
    "Profile",
    "Registrations",
    "find_profile",
    "find_root",
    "root_in",
]

PROFILES = (FASTVIDEO, SGLANG)


def find_profile(root: Path, name: str | None = None) -> Profile | None:
    """The profile of the tree at `root`: the one named, else the first whose folders are there."""
    if name is not None:
        return next((p for p in PROFILES if p.name == name), None)
    return next((p for p in PROFILES if (root / p.dits).is_dir()), None)


def root_in(folder: Path) -> Path | None:
    """The root of the tree that `folder` is the checkout of; None where no profile recognises one.

    The root is the folder that Python imports the package from: `python/` in a checkout of SGLang.
    """
    for profile in PROFILES:
        for inside in profile.roots:
            if (folder / inside / profile.dits).is_dir():
                return folder / inside
    return None


def find_root(start: Path) -> Path | None:
    """The root of the nearest tree at or above `start`, or None."""
    start = start.resolve()
    for folder in (start, *start.parents):
        root = root_in(folder)
        if root is not None:
            return root
    return None
