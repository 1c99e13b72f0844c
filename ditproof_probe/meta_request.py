"""Answers one request for state dicts, in a process that ends afterwards.

Each part of the answer is handed over as soon as it is known, so that what comes later can end the
process and what was found is kept: see `answer`. The user's code runs here: whatever it raises is a
problem in the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ditproof_probe import gates, official_side, port_side
from ditproof_probe.code_bases import prepare
from ditproof_probe.meta_answers import GATES, IMPORTING, OFFICIAL, PORT
from ditproof_probe.problems import Inside, Stage, Stopped, from_exception


@dataclass(frozen=True)
class Report:
    """How the answer leaves the process: `part(name, value)` for each field of it, `stage(text)` before
    what takes time. A part of the name `problems` is added to those before."""

    part: Callable[[str, Any], None]
    stage: Callable[[str], None]


def answer(request: Mapping[str, Any], root: str, code_base: str, report: Report) -> None:
    """Build what the request asks for and report it."""
    official_ref = (request.get("official") or {}).get("ref")
    folders = [root]
    if official_ref is not None:
        clone = official_side.clone_folder(official_ref, root)
        folders += [clone] if clone is not None else []
    inside = Inside(tuple(folders))
    official: _Official | None = None
    if official_ref is not None:
        report.stage(OFFICIAL)
        path = list(sys.path)
        official = _official(request, root, inside, report)
        # The port's imports come first again; what the official model imports late is still found.
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    if request.get("port") is not None:
        report.stage(IMPORTING)
        try:
            prepare(code_base, root, inside)
        except Stopped as stopped:
            report.part("problems", [stopped.problem])
        else:
            report.stage(PORT)
            _port(request, official, inside, report)
    report.part("files", loaded_files(inside))


@dataclass(frozen=True)
class _Official:
    """The official model as it was built: its class, configuration and names."""

    found: official_side.OfficialClass
    config: dict[str, Any]
    tensors: list[Any]


def _official(request: Mapping[str, Any], root: str, inside: Inside, report: Report) -> _Official | None:
    own = request["official"].get("config")
    own = request.get("config") if own is None else own
    stage: Stage = "import"
    try:
        found = official_side.find_class(request["official"]["ref"], root)
        stage = "build"
        model = official_side.build(found, own)
        stage = "state"
        used = official_side.config_of(model, found, own)
        side, problems = official_side.describe(found, model, used)
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything, and is told so
        report.part("problems", [from_exception(error, "official", stage, inside)])
        return None
    report.part("official", side)
    report.part("problems", problems)
    return _Official(found, used, side["tensors"])


def _port(request: Mapping[str, Any], official: _Official | None, inside: Inside, report: Report) -> None:
    name = request["port"]
    config: Mapping[str, Any] | None = request.get("config")
    official_names = None
    if official is not None:
        config = official.config if config is None else config
        official_names = [entry[0] for entry in official.tensors]
    stage: Stage = "import"
    try:
        cls = port_side.find_class(name["module"], name["class"])
        stage = "config"
        made = port_side.configure(cls, name["module"], config, official_names)
        stage = "build"
        model = port_side.construct(cls, made.config, made.hf_config)
        stage = "state"
        side, problems = port_side.describe(model, made.config, f"{name['path']}::{name['class']}", inside)
    except BaseException as error:  # noqa: BLE001
        report.part("problems", [from_exception(error, "port", stage, inside)])
        return
    report.part("port", side)
    report.part("dropped", made.dropped)
    report.part("problems", problems)
    if request.get("gates"):
        report.stage(GATES)
        gated, problems = gates.try_all(
            gates.PortBase(cls, made, [entry[0] for entry in side["tensors"]]),
            None
            if official is None
            else gates.OfficialBase(official.found, official.config, official_names or []),
        )
        report.part("gated", gated)
        report.part("problems", problems)


def loaded_files(inside: Inside) -> list[str]:
    """The modules below the root, or in the official clone, that are loaded."""
    own = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        # torch.classes and torch.ops call themselves files of the current folder, which do not exist.
        if not isinstance(path, str) or not os.path.isabs(path):  # noqa: PTH117
            continue
        if inside.holds(path) and not path.startswith(own + os.sep):
            found.add(os.path.abspath(path))  # noqa: PTH100
    return sorted(found)
