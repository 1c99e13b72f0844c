"""What git knows of a tree: asked with fixed arguments, never through a shell, and writing nothing.

Repository settings that name a program to run are switched off.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 30.0
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "diff.external=")
_BASES = ("refs/remotes/origin/HEAD", "origin/main", "origin/master", "upstream/main", "main", "master")
_HUNK = re.compile(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@")


@dataclass(frozen=True)
class Branch:
    """What the work tree has beyond the commit where it left the main line.

    `changed`: files that differ, and untracked ones that are not ignored. `added`: Python file -> lines (from
    0) that are new; None where the whole file is. Paths are relative to the root, with `/`.
    """

    base: str
    against: str
    changed: tuple[str, ...]
    untracked: tuple[str, ...]
    added: Mapping[str, frozenset[int] | None]


@dataclass(frozen=True)
class Edited:
    """A file of a clone that is other than its commit. `line`: the first that differs, from 0."""

    path: str
    tracked: bool
    line: int | None


def ask(folder: Path, *arguments: str) -> bytes | None:
    """What a git command prints; None where it fails, takes too long, or there is no git."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def branch_of(root: Path, base: str | None = None) -> Branch | None:
    """What is new below `root` since it left `base` (default: the main line of its remote, else its own);
    None where git cannot tell."""
    found = _left_at(root, base)
    if found is None:
        return None
    against, commit = found
    tracked = ask(root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, "--", ".")
    untracked = untracked_in(root)
    diff = ask(
        root,
        *("diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames"),
        *("--relative", "--src-prefix=a/", "--dst-prefix=b/", commit, "--", "*.py"),
    )
    if tracked is None or untracked is None or diff is None:
        return None
    added: dict[str, frozenset[int] | None] = {**_added(diff)}
    added.update((path, None) for path in untracked if path.endswith(".py"))
    changed = sorted({*_names(tracked), *untracked})
    return Branch(commit, against, tuple(changed), untracked, added)


def untracked_in(root: Path) -> tuple[str, ...] | None:
    """Files that git neither tracks nor ignores."""
    listed = ask(root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    return tuple(sorted(_names(listed))) if listed is not None else None


def stashes(root: Path) -> tuple[tuple[str, str], ...] | None:
    """The stashes of the repository: (`stash@{0}`, its message)."""
    listed = ask(root, "stash", "list", "--format=%gd%x00%gs")
    if listed is None:
        return None
    lines = listed.decode("utf-8", "replace").splitlines()
    return tuple((name, message) for name, _, message in (line.partition("\0") for line in lines))


def top_of(folder: Path) -> Path | None:
    """The top folder of the work tree around a folder; None where there is none."""
    found = ask(folder, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(found.rstrip(b"\n"))) if found else None


def edited_in(clone: Path) -> tuple[Edited, ...] | None:
    """The files of a clone that are other than its commit, or new."""
    listed = ask(clone, "status", "--porcelain=v1", "--no-renames", "--untracked-files=all", "-z")
    if listed is None:
        return None
    entries = [(entry[:2], entry[3:]) for entry in _names(listed)]
    return tuple(
        Edited(path, state != "??", _first_line(clone, path) if state != "??" else None)
        for state, path in sorted(entries, key=lambda entry: entry[1])
    )


def _first_line(clone: Path, path: str) -> int | None:
    diff = ask(
        clone,
        *("diff", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD", "--", path),
    )
    found = _HUNK.search((diff or b"").decode("utf-8", "replace"))
    return max(int(found[1]) - 1, 0) if found is not None else None


def _left_at(root: Path, base: str | None) -> tuple[str, str] | None:
    """The name of the main line, and the commit where the work tree left it."""
    head = ask(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None:
        return None
    for name in (base,) if base is not None else _BASES:
        commit = ask(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if commit is not None:
            shared = ask(root, "merge-base", commit.decode().strip(), "HEAD")
            if shared is not None:
                return name, shared.decode().strip()
    return ("HEAD", head.decode().strip()) if base is None else None


def _names(listed: bytes) -> list[str]:
    return [name for name in listed.decode("utf-8", "surrogateescape").split("\0") if name]


def _added(diff: bytes) -> dict[str, frozenset[int]]:
    """New path -> its lines that the other side lacks, of a diff without context."""
    found: dict[str, set[int]] = {}
    path, left = None, 0
    for line in diff.decode("utf-8", "surrogateescape").split("\n"):
        if left > 0 and line[:1] in ("+", "-", "\\"):
            left -= line[:1] == "+"
            continue
        hunk = _HUNK.match(line)
        if hunk is not None and path is not None:
            start, left = int(hunk[1]) - 1, int(hunk[2] if hunk[2] is not None else 1)
            found.setdefault(path, set()).update(range(start, start + left))
        elif line.startswith("+++ "):
            name = line[4:].rstrip("\t")
            path = name[2:] if name.startswith("b/") else None
        elif line.startswith("diff --git"):
            path, left = None, 0
    return {name: frozenset(lines) for name, lines in found.items()}
