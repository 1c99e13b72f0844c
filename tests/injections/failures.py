"""A wrong answer written down with all that it takes to see it again."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from injections.oracle import Clean
from injections.scoring import Spot, Truth
from injections.source import Injection, replaced
from injections.tracing import Answer


def write_failure(
    folder: Path, name: str, errors: Sequence[Injection], truth: Truth | None, answer: Answer, clean: Clean
) -> None:
    """One file in Markdown. The errors, all in one file, were in the port at once."""
    folder.mkdir(parents=True, exist_ok=True)
    (path,) = {error.path for error in errors}
    (file,) = (file for file in clean.files if file.path == path)
    mutated = replaced(file.text, [r for error in errors for r in error.replacements])
    diff = difflib.unified_diff(file.text.splitlines(), mutated.splitlines(), path, path, "", "", 2, "")
    told = answer.told
    text = [f"# {name}"]
    for error in errors:
        wanted = ", ".join(f"{lines.first + 1}-{lines.last + 1}" for lines in error.after)
        text.append(f"{error.kind}: right lines {wanted}, in {error.owner}.{error.function}")
    text += [
        f"truth: {truth}",
        "```diff",
        *diff,
        "```",
        f"said: {told.status}, reaches: {told.reaches}, unlocated: {told.unlocated}",
        f"reason: {told.reason}",
        f"names: {told.names[:5]}; frames: {[(path, line + 1) for path, line in told.frames]}",
    ]
    for spots, message in zip(told.divergences, answer.messages, strict=True):
        text.append(f"- {' | '.join(_place(spot) for spot in spots)}\n  {message}")
    (folder / f"{name}.md").write_text("\n".join(text) + "\n", encoding="utf-8")


def _place(spot: Spot) -> str:
    lines = "?" if spot.lines is None else f"{spot.lines.first + 1}-{spot.lines.last + 1}"
    return f"{spot.module or '(the model)'} {spot.path}:{lines}"
