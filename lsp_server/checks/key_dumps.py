"""Writes the key dumps of both sides where the port workflow looks for them: both, or none."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.weights.files.dumps import MalformedDump, Side, dump_path, read_dump, write_dump
from analyzers.weights.state import PortState, StateDict
from lsp_server.checks.errors import CheckError
from lsp_server.entries import write_atomically


def write_dumps(
    project: Project, port: Port, state: PortState, component: str | None, *, force: bool
) -> tuple[str, ...]:
    """Writes the names and shapes of both sides and returns the paths, relative to the root.

    `component` takes the place of the one that the tree names. A file that holds the same names stays as it
    is; one that was not written like this is only replaced with `force`. Raises CheckError; then no dump
    was written, or the message names the one that was.
    """
    sides: tuple[tuple[Side, StateDict | None], ...] = (
        ("official", state.official),
        ("native", state.native),
    )
    texts: dict[str, str] = {}
    for side, names in sides:
        path = _path(project, port, side, component)
        if names is None:
            raise CheckError(
                f"The {side} names of {port.name} are not known, and half a pair is no use.",
                "Name the official side with --official or --checkpoint.",
            )
        texts[path] = write_dump(names)
    for path, text in texts.items():
        _refuse_foreign(project.root / path, path, text, force=force)
    written: list[str] = []
    for path, text in texts.items():
        target = (project.root / path).resolve()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, text.encode("utf-8"), 0o644)
        except OSError as error:
            done = f" ({', '.join(written)} was written)" if written else ""
            raise CheckError(
                f"{path} was not written: {error.strerror or error}{done}.",
                "See that its folder can be written to and has room.",
            ) from error
        written.append(path)
    return tuple(written)


def _path(project: Project, port: Port, side: Side, component: str | None) -> str:
    path = dump_path(project, port, side)
    if path is None:
        raise CheckError(
            f"{project.profile.title} has no place for key dumps.",
            "Use --format json --keys, which lists the names of both sides.",
        )
    if component is None:
        return path
    suffix = "official" if side == "official" else "fastvideo"
    return str(PurePosixPath(path).with_name(f"{component}_{suffix}_keys.json"))


def _refuse_foreign(target: Path, path: str, text: str, *, force: bool) -> None:
    """Raises CheckError for a file in another form, which somebody else wrote."""
    if force or not os.path.lexists(target):
        return
    try:
        old = target.read_text(encoding="utf-8")
        ours = write_dump(read_dump(old, path)) == old
    except (OSError, UnicodeDecodeError, MalformedDump):
        ours = False
    if not ours:
        raise CheckError(
            f"{path} is there already, and ditproof did not write it: nothing was written.",
            "Move it away, or replace it with --force.",
        )
