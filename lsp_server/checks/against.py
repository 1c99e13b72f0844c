"""What a port is proved against: what the user names, else what the tree names, else nothing.

Asked in this order where neither `--official` nor `--checkpoint` is given: the port's oracles (the first of
the best source; the others are named in a note); a local checkpoint in the tree whose `_class_name` the
registry resolves to the port; the official key dump of the port workflow; a class of the port's name in
diffusers. The last is an assumption, and only counts where the class is there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.ports import Port
from lsp_server.checks.errors import CheckError

Kind = Literal["class", "checkpoint", "dump"]

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_DOTTED = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)\.([A-Z]\w*)")
_SOURCES = {
    "settings": "the settings say so",
    "port-status": "its state file says so",
    "parity-test": "a parity test takes it",
    "diffusers": "a test takes it",
}

_NAME_ONE = "name one with --official, or under [tool.ditproof.oracles] in pyproject.toml."
_FORMS = (
    "write `diffusers:Class`, `package.module:Class`, `path/to/file.py::Class`, or the path of a checkpoint."
)


@dataclass(frozen=True)
class Against:
    """The official side as it was chosen.

    `ref`: the class for the worker, or the path of a checkpoint or a dump, as a user reads it. `path`:
    that file or folder. `because`: who chose it, for a person; `place`: where that is written. `others`:
    further counterparts that the same source names. `assumed`: nobody names it.
    """

    kind: Kind
    ref: str
    because: str
    path: Path | None = None
    place: Location | None = None
    others: tuple[str, ...] = ()
    assumed: bool = False


def named_official(project: Project, port: Port, text: str, here: Path) -> Against:
    """What `--official` names. Paths count from `here`, else from the root. Raises CheckError."""
    because = "named with --official"
    if "::" in text or text.endswith(".py"):
        return Against("class", _in_file(project, port, text, (here, project.root)), because)
    place = _existing(text, (here, project.root))
    if place is not None:
        return Against(_kind_of(place), _shown(place, project.root), because, place)
    ref = _class_ref(text)
    if ref is None:
        raise CheckError(f"--official {text} is neither a file or folder nor a class.", f"Please {_FORMS}")
    return Against("class", ref, because)


def named_checkpoint(project: Project, text: str, here: Path) -> Against:
    """What `--checkpoint` names. Raises CheckError."""
    place = _existing(text, (here, project.root))
    if place is None:
        raise CheckError(
            f"--checkpoint {text} does not exist.", "Name a .safetensors file, a folder of them, or an index."
        )
    return Against("checkpoint", _shown(place, project.root), "named with --checkpoint", place)


def known_officials(project: Project, port: Port, dump: Path | None) -> tuple[Against, ...]:
    """What may serve where the user names nothing, the best first; never empty.

    `dump`: the official key dump of the port, where there is one. Raises CheckError where what the tree
    names cannot be used and nothing else is there.
    """
    found: list[Against] = []
    refused: CheckError | None = None
    for oracle in port.oracles:
        try:
            against = _of_oracle(project, port, oracle.ref)
        except CheckError as error:
            refused = refused or error
            continue
        others = tuple(other.ref for other in port.oracles if other.ref != oracle.ref)
        because = _SOURCES.get(oracle.source, oracle.source)
        found.append(
            Against(against.kind, against.ref, because, against.path, oracle.location, others=others)
        )
        break
    found += _checkpoints_of(project, port)
    if dump is not None:
        ref = _shown(dump, project.root)
        found.append(Against("dump", ref, "the port workflow's key dump", dump))
    if found:
        return tuple(found)
    if refused is not None:
        raise refused
    return (
        Against(
            "class",
            f"diffusers:{port.name}",
            "nothing names a counterpart; diffusers has a class of the port's name",
            assumed=True,
        ),
    )


def no_counterpart(port: Port) -> CheckError:
    """Nobody names one, and diffusers has no class of that name."""
    return CheckError(
        f"no official counterpart of {port.name} is known: no setting, state file, test or local checkpoint "
        "names one, and diffusers has no class of that name.",
        _NAME_ONE,
    )


# --------------------------------------------------------------------------- references


def _of_oracle(project: Project, port: Port, ref: str) -> Against:
    if "::" in ref or ref.endswith(".py"):
        return Against("class", _in_file(project, port, ref, (project.root,)), "")
    place = _existing(ref, (project.root,)) if "/" in ref else None
    if place is not None:
        return Against(_kind_of(place), _shown(place, project.root), "", place)
    named = _class_ref(ref)
    if named is None:
        raise CheckError(
            f"the official counterpart of {port.name} is given as '{ref}', which names no class.", _NAME_ONE
        )
    return Against("class", named, "")


def _class_ref(text: str) -> str | None:
    """`package.module:Class`, also of `package.module.Class`; None where it is neither."""
    if _CLASS.fullmatch(text):
        return text
    dotted = _DOTTED.fullmatch(text)
    return f"{dotted[1]}:{dotted[2]}" if dotted is not None else None


def _in_file(project: Project, port: Port, text: str, bases: tuple[Path, ...]) -> str:
    """`path::Class` for the worker; without a class, the one of the port's name."""
    name, _, cls = text.partition("::")
    place = _existing(name, bases)
    if place is None or not place.is_file():
        raise CheckError(
            f"the official source {name} is not there.",
            "clone the official repository to that place, or name another with --official.",
        )
    shown = _shown(place, project.root)
    if cls:
        if not all(part.isidentifier() for part in cls.split(".")):
            raise CheckError(f"{text} names no class.", f"Please {_FORMS}")
        return f"{shown}::{cls}"
    facts = project.sources.facts(shown)
    if facts is not None and any(c.fact.name == port.name for c in facts.classes):
        return f"{shown}::{port.name}"
    raise CheckError(f"{text} names a file and no class in it.", f"write {text}::Class with --official.")


# --------------------------------------------------------------------------- places


def _checkpoints_of(project: Project, port: Port) -> list[Against]:
    """The folders of local checkpoints of the port that hold tensors, the official ones first."""
    found = []
    for config in project.published.of(port):
        folder = (project.root / config.path).parent
        if not any(entry.suffix == ".safetensors" for entry in _listed(folder)):
            continue
        ref = _shown(folder, project.root)
        found.append(Against("checkpoint", ref, "a checkpoint of the port in the tree", folder))
    return sorted(found, key=lambda against: (not against.ref.startswith("official"), against.ref))


def _kind_of(place: Path) -> Kind:
    return "dump" if place.name.endswith("_keys.json") else "checkpoint"


def _existing(text: str, bases: tuple[Path, ...]) -> Path | None:
    """The first of the places that is there; `~` is the home."""
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises on an unknown user
    places = [path] if path.is_absolute() else [base / path for base in bases]
    return next((place for place in places if os.path.lexists(place)), None)


def _shown(place: Path, root: Path) -> str:
    """Relative to the root where it lies in it, with `/`."""
    for candidate in (Path(os.path.normpath(place)), place.resolve()):
        if candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    return str(Path(os.path.normpath(place)))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
