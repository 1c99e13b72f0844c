"""The state of a tree in git: the commit, and a hash of what is not committed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lsp_server.checks.evidence.model import Revision
from lsp_server.git import ask

_LARGEST = 4 << 20
"""Bytes of an untracked file that are read; a larger one counts by its size."""


def revision_of(root: Path) -> Revision | None:
    """The revision that the tree at `root` stands at; None where there is no git, no commit, or no answer
    in time. Nothing is written: not even the index is refreshed."""
    commit = ask(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = ask(root, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--binary", "--", ".")
    untracked = ask(root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    if diff is None or untracked is None:
        return None
    names = sorted(name for name in untracked.split(b"\0") if name)
    if not diff and not names:
        return Revision(commit.decode().strip())
    digest = hashlib.sha256(diff)
    for name in names:
        digest.update(b"\0" + name + b"\0" + _content(root / os.fsdecode(name)))
    return Revision(commit.decode().strip(), digest.hexdigest())


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        return path.read_bytes() if size <= _LARGEST else str(size).encode()
    except OSError:
        return b""
