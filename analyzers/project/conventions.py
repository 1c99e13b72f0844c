"""Which ports the conventions for state files and scopes speak of.

They came when many ports had landed, and a landed port may drop its state file. So they bind a port
that is not registered yet, and one whose own files follow them or refer to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from analyzers.findings import Location, Span
from analyzers.project.index import Project


@dataclass(frozen=True)
class PortFolder:
    """What a port's folder of tests says of the conventions.

    `landed`: the pipeline registry knows the family. `mentions`: where its texts name the state file,
    `scopes`: where its tests declare what they cover, each in the order of the paths.
    """

    path: str
    family: str
    landed: bool
    has_state_file: bool
    mentions: tuple[Location, ...]
    scopes: tuple[Location, ...]

    @property
    def owes_state_file(self) -> bool:
        """Whether a state file is due (it may be there)."""
        return not self.landed or bool(self.mentions or self.scopes)

    @property
    def owes_scopes(self) -> bool:
        """Whether each of its component tests is to declare its scope."""
        return self.owes_state_file or self.has_state_file


def folder_of(project: Project, path: str) -> PortFolder | None:
    """The folder of the port that a test belongs to, by its place or name; None where there is none."""
    folder = project.profile.port_folder(path)
    if folder is None:
        stem = path.rpartition("/")[2].removeprefix("test_")
        fitting = [f for f in _folders(project) if stem.startswith(f.rpartition("/")[2] + "_")]
        folder = max(fitting, key=len, default=None)
    if folder is None:
        return None
    return project.sources.memory.get(("port folder", folder), lambda: _read(project, folder))


def _folders(project: Project) -> frozenset[str]:
    """The folders of ports below the parity folders."""
    found = {
        project.profile.port_folder(path)
        for root in project.profile.parity_folders
        for path in project.sources.walk(root)
    }
    return frozenset(folder for folder in found if folder is not None)


def _read(project: Project, folder: str) -> PortFolder:
    sources, profile = project.sources, project.profile
    family = folder.rpartition("/")[2]
    state_file = profile.parity.state_file
    tests = sorted(
        path
        for root in profile.parity_folders
        for path in sources.walk(root)
        if path.startswith(folder + "/")
        or (profile.port_folder(path) is None and path.rpartition("/")[2].startswith(f"test_{family}_"))
    )
    stem = re.compile(rf"\b{re.escape(state_file.partition('.')[0])}\b")
    scope = re.compile(rf"^{re.escape(profile.parity.scope_constant or '')}\b")
    return PortFolder(
        folder,
        family,
        is_registered(project, family),
        sources.exists(f"{folder}/{state_file}"),
        tuple(at for path in (f"{folder}/README.md", *tests) for at in _first(project, path, stem)),
        tuple(at for path in tests for at in _first(project, path, scope))
        if profile.parity.scope_constant is not None
        else (),
    )


def _first(project: Project, path: str, pattern: re.Pattern[str]) -> tuple[Location, ...]:
    """Where a file's text holds the pattern first."""
    text = project.sources.text(path) if project.sources.exists(path) else None
    for number, line in enumerate((text or "").split("\n")):
        match = pattern.search(line)
        if match is not None:
            start, end = (len(line[:index].encode()) for index in match.span())
            return (Location(path, Span(number, start, number, end)),)
    return ()


def is_registered(project: Project, family: str) -> bool:
    """Whether the pipeline registry names the family, in whatever spelling: the port has landed.

    Where there is no pipeline registry to ask, it may have.
    """
    registrations = project.profile.registrations
    if registrations is None or not project.sources.exists(registrations.registry):
        return True
    plain = family.replace("_", "").lower()
    words = project.sources.words(registrations.registry)
    return any(plain in word.replace("_", "").lower() for word in words)
