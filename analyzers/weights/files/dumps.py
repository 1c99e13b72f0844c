"""`*_keys.json`: the names of a state dict as porters keep them beside a prototype.

FastVideo's port workflow asks for names and shapes of both sides at
`converted_weights/<family>/_mapping/<component>_official_keys.json` and `..._fastvideo_keys.json`
(`.agents/skills/add-model/contracts/component_context.md`, `shared/component_skill_common.md`) and leaves
the form to whoever writes them. So every form that says its meaning is read, and one is written:

    {
      "blocks.0.attn.to_q.weight": {"shape": [1536, 1536], "dtype": "BF16"},
      "rope.freqs": {"shape": [64], "dtype": "F32", "buffer": true}
    }

an object from name to shape and dtype (a code of safetensors), one tensor a line, in the order in which a
loader meets them; what is not known is left out, and `buffer`, `tied` (the first name of the same storage)
and `reshapes` are there where they hold (see `Tensor`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from analyzers.project.index import Project
from analyzers.project.port_status import Component, PortStatus, said, status_of
from analyzers.project.ports import Port
from analyzers.weights.files.dump_forms import MalformedDump, read_dump
from analyzers.weights.state import StateDict

__all__ = ["Dumps", "MalformedDump", "dump_in", "dump_path", "find_dumps", "read_dump", "write_dump"]

Side: TypeAlias = Literal["official", "native"]
_SIDES: tuple[Side, ...] = ("official", "native")

_README = "README.md"
_MENTION = re.compile(r"[\w./-]*\w_keys\.json", re.ASCII)
_WORD = re.compile(r"[a-z0-9]+")
_USUAL = ("transformer", "dit")
"""What the DiT of a family with one DiT is called as a component."""


@dataclass(frozen=True)
class Dumps:
    """The dumps of a port in the tree: paths relative to its root, None where there is none."""

    official: str | None = None
    native: str | None = None


def write_dump(state: StateDict) -> str:
    """The text of a dump in the form that the module describes; `read_dump` gives the same entries."""
    lines = []
    for tensor in state.tensors:
        entry: dict[str, object] = {}
        if tensor.shape is not None:
            entry["shape"] = list(tensor.shape)
        if tensor.dtype is not None:
            entry["dtype"] = tensor.dtype
        for flag in ("buffer", "reshapes"):
            if getattr(tensor, flag):
                entry[flag] = True
        if tensor.tied is not None:
            entry["tied"] = tensor.tied
        lines.append(f"  {json.dumps(tensor.name)}: {json.dumps(entry or None)}")
    return "{\n" + ",\n".join(lines) + "\n}\n" if lines else "{}\n"


def find_dumps(project: Project, port: Port) -> Dumps:
    """The dumps of a port: where the workflow puts them, under the names that its state file and the README
    beside it give to family and component, or where these two say that they are.

    A family of several ports has its dumps told apart by the component matrix, whose target names the
    port's file or class; where it does not, none is anybody's.
    """
    memory = project.sources.memory
    key = ("key dumps", port.cls.path, port.name, port.family, port.status_file, port.parity_tests)
    return memory.get(key, lambda: _found(project, port))


def dump_path(project: Project, port: Port, side: Side) -> str | None:
    """Where the dump of one side of a port belongs, whether it is there or not; None where the code base
    knows no such place."""
    found = find_dumps(project, port)
    existing = found.official if side == "official" else found.native
    if existing is not None:
        return existing
    family = _families(project, port)[0]
    components = _components(project, port, family)
    planned = _mentioned(project, port, side, components)
    return planned or _usual_path(project, family, components[0], side)


def dump_in(project: Project, path: str) -> StateDict | None:
    """The names in a dump of the tree, kept until the file changes; None where it cannot be read.

    Raises `MalformedDump`.
    """

    def read() -> StateDict | MalformedDump | None:
        text = project.sources.text(path)
        try:
            return read_dump(text, path) if text is not None else None
        except MalformedDump as error:
            return error

    outcome = project.sources.memory.get(("key dump", path), read)
    if isinstance(outcome, MalformedDump):
        raise outcome
    return outcome


def _found(project: Project, port: Port) -> Dumps:
    families = _families(project, port)
    candidates = [(family, c) for family in families for c in _components(project, port, family)]
    paths: dict[Side, str | None] = {}
    for side in _SIDES:
        usual = (_usual_path(project, family, component, side) for family, component in candidates)
        paths[side] = next((p for p in usual if p is not None and project.sources.exists(p)), None)
        if paths[side] is None:
            named = _mentioned(project, port, side, tuple(component for _, component in candidates))
            paths[side] = named if named is not None and project.sources.exists(named) else None
    return Dumps(paths["official"], paths["native"])


def _usual_path(project: Project, family: str, component: str, side: Side) -> str | None:
    profile = project.profile
    if not profile.key_dumps:
        return None
    label = "official" if side == "official" else profile.name
    return profile.key_dumps.format(family=family, component=component, side=label)


def _mentioned(project: Project, port: Port, side: Side, components: tuple[str, ...]) -> str | None:
    """The dump of the side that the port's documents name, written or planned, of the first component
    that they name one for."""
    label = "official" if side == "official" else project.profile.name
    mentioned = {
        path.rpartition("/")[2]: path
        for document in _documents(project, port)
        for path in _MENTION.findall(project.sources.text(document) or "")
        if not path.startswith("/") and ".." not in path.split("/")
    }
    names = (f"{component}_{label}_keys.json" for component in components)
    return next((mentioned[name] for name in names if name in mentioned), None)


# ---------------------------------------------------------------------- what a port is called


def _families(project: Project, port: Port) -> tuple[str, ...]:
    """The names under which a port's files may lie, the likeliest first; one at least."""
    names: list[str] = []
    status = _status(project, port)
    field = status.field("model_family", "family") if status is not None else None
    if field is not None:
        names.append(field[0])
    if port.status_file is not None:
        names.append(port.status_file.split("/")[-2] if "/" in port.status_file else "")
    names.append(port.family)
    shared = project.profile.parity.shared_folders
    folders = (path.rpartition("/")[0] for path in port.parity_tests)
    parents = tuple(f"{root}/" for root in project.profile.parity_folders)
    names += [folder.rpartition("/")[2] for folder in folders if folder.startswith(parents)]
    return tuple(dict.fromkeys(n for n in names if n and n not in shared and _is_name(n)))


def _is_name(text: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*", text, re.ASCII) is not None


def _components(project: Project, port: Port, family: str) -> tuple[str, ...]:
    """What a port may be called as a component of a family, the likeliest first; one at least."""
    status = _status(project, port)
    rows = [c for c in (status.components if status is not None else ()) if _is_target(c, port)]
    named = tuple(dict.fromkeys(name for row in rows for name in _spellings(row.name, port, family)))
    if named:
        return named
    others = (p for p in project.ports if (p.cls.path, p.name) != (port.cls.path, port.name))
    if any(family in _families(project, other) for other in others):
        return (port.name.lower(),)  # nothing tells which of them the usual names mean
    return (*_USUAL, port.family)


def _is_target(row: Component, port: Port) -> bool:
    """Whether a row's target names the port's file, or its class."""
    target = row.target or ""
    return port.cls.path in target or re.search(rf"\b{re.escape(port.name)}\b", target) is not None


def _spellings(name: str, port: Port, family: str) -> Iterator[str]:
    """File names that a component may have, the likeliest first: `MMAudio transformer` is `transformer`, or
    `mmaudio_transformer`."""
    for part in (re.split(r"[/(]", name)[0], name):
        words = [word for word in _WORD.findall(said(part)) if word != port.name.lower()]
        whole = "_".join(words)
        for start in dict.fromkeys((family.lower(), *family.lower().split("_"))):
            if whole.startswith(f"{start}_"):
                yield whole.removeprefix(f"{start}_")
        if whole:
            yield whole


def _documents(project: Project, port: Port) -> tuple[str, ...]:
    """The port's state file and the README beside it."""
    if port.status_file is None:
        return ()
    folder = port.status_file.rpartition("/")[0]
    readme = f"{folder}/{_README}" if folder else _README
    return tuple(path for path in (port.status_file, readme) if project.sources.exists(path))


def _status(project: Project, port: Port) -> PortStatus | None:
    return status_of(project.sources, port.status_file) if port.status_file is not None else None
