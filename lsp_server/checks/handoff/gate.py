"""The cleanup gate: what is still there of a trace or a debug session, with what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analyzers.project.profile import Profile
from lsp_server.checks.handoff.leftovers import leftovers
from lsp_server.git import Branch, edited_in, stashes, top_of

Kind = Literal["code", "official", "stash", "stray"]
_LARGEST_SOURCE = 4 << 20
_PATCHES = (".orig", ".rej", ".trace-backup")
_DUMPS = (".pt", ".pth", ".ckpt", ".npy", ".npz")
_MADE_BY_INSTALLING = ("__pycache__/", ".egg-info/", ".dist-info/")


@dataclass(frozen=True)
class Left:
    """Something that was left. `line` counts from 1; a stash has no path."""

    kind: Kind
    path: str | None
    line: int | None
    what: str
    next_step: str


@dataclass(frozen=True)
class Gate:
    """What was left, and what could not be looked at."""

    items: tuple[Left, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Literal["clean", "left", "unknown"]:
        """`unknown` where nothing was found and something could not be looked at."""
        return "left" if self.items else "unknown" if self.notes else "clean"

    def to_json(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {
            "verdict": self.verdict,
            "items": [
                {"kind": i.kind, "path": i.path, "line": i.line, "what": i.what, "next_step": i.next_step}
                for i in self.items
            ],
            "notes": list(self.notes),
        }


def gate_of(root: Path, profile: Profile, branch: Branch | None, official: Iterable[str]) -> Gate:
    """Looks at the tree. `official`: files of the other side, relative to the root or absolute."""
    items: list[Left] = []
    notes: list[str] = []
    if branch is None:
        notes.append("git does not know this tree: neither its changes nor its stashes were looked at")
    else:
        items += _code(root, profile, branch)
        items += _stray(root, branch)
        kept = stashes(root)
        if kept is None:
            notes.append("the stashes could not be listed")
        items += [_stash(name, message) for name, message in kept or () if message.startswith("WIP on ")]
    for clone in _clones(root, official):
        found = _official(root, clone)
        if found is None:
            notes.append(f"git does not answer in {clone}: whether it was edited is not known")
        items += found or ()
    return Gate(tuple(items), tuple(notes))


def _code(root: Path, profile: Profile, branch: Branch) -> Iterator[Left]:
    package = profile.models.partition("/")[0]
    tests = tuple(f"{folder}/" for folder in profile.test_roots)
    for path, added in sorted(branch.added.items()):
        if not path.startswith(f"{package}/") or path.startswith(tests):
            continue
        file = root / path
        try:
            if file.stat().st_size > _LARGEST_SOURCE:
                continue
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for one in leftovers(text, added, in_model=path.startswith(f"{profile.dits}/")):
            yield Left("code", path, one.line + 1, one.what, one.next_step)


def _stray(root: Path, branch: Branch) -> Iterator[Left]:
    for path in branch.untracked:
        if path.endswith(_PATCHES):
            yield Left("stray", path, None, "a file that patching left behind", "delete it")
        elif path.endswith(_DUMPS):
            yield Left("stray", path, None, "a dump of tensors", "delete it, or move it out of the tree")
        elif path.endswith(".jsonl") and _is_trace(root / path):
            yield Left("stray", path, None, "an activation trace", "delete it, or move it out of the tree")


def _is_trace(file: Path) -> bool:
    """Whether its first line is a row of the activation trace, or of one of ours."""
    try:
        with file.open("rb") as opened:
            row = json.loads(opened.readline(1 << 16))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(row, dict) and {"module", "tensor", "step"} <= row.keys()


def _stash(name: str, message: str) -> Left:
    return Left(
        "stash",
        None,
        None,
        f"{name} has no name: {message}",
        f"`git stash drop {name}`, or apply it and stash it again with -m",
    )


def _clones(root: Path, official: Iterable[str]) -> tuple[Path, ...]:
    """The clones that official files lie in, under the root or next to it."""
    found: dict[Path, None] = {}
    own = None
    for path in official:
        folder = (root / path).parent
        if not folder.is_dir() or not path.endswith(".py"):
            continue
        near = folder.resolve()
        if not near.is_relative_to(root.parent.resolve()):
            continue
        top = top_of(near)
        own = own or top_of(root)
        if top is not None and top != own and top.is_relative_to(root.parent.resolve()):
            found[top] = None
    return tuple(found)


def _official(root: Path, clone: Path) -> tuple[Left, ...] | None:
    edited = edited_in(clone)
    if edited is None:
        return None
    base = root.resolve()
    shown = clone.relative_to(base).as_posix() if clone.is_relative_to(base) else f"../{clone.name}"
    return tuple(
        Left(
            "official",
            f"{shown}/{one.path}",
            one.line + 1 if one.line is not None else None,
            "the official source was edited"
            if one.tracked
            else "a file that the official clone does not have",
            f"`git -C {shown} checkout -- {one.path}`"
            if one.tracked
            else "delete it, or move it out of the clone",
        )
        for one in edited
        if not any(mark in f"{one.path}/" for mark in _MADE_BY_INSTALLING)
    )
