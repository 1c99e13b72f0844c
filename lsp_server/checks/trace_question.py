"""What a trace is asked: the port, what it reproduces, the recipe of its inputs, and how to run both.

All that has to be read in the tree is read here, before the worker is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from analyzers.findings import Location
from analyzers.project.index import Project
from analyzers.project.ports import Port
from lsp_server.checks.against import Against, known_officials, named_official
from lsp_server.checks.errors import CheckError
from lsp_server.checks.meta import DEFAULT_TIMEOUT, PortName
from lsp_server.checks.recipes import Recipe, find_recipe

DTYPES = ("bfloat16", "float16", "float32")
"""In which a port's loss of accuracy may be held against the official model's; `float32`: in none."""

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class TraceQuestion:
    """One trace, self-contained.

    `root` is absolute. `place`: where the port's class stands. `officials`: what may be the official side,
    the best first, each a class. `dtype`: None to look at float32 alone. `lockstep`: put the port right at
    every aligned place, so that each error is seen by itself. `operations`: look into the modules that
    differ. `hypotheses`: try known causes as edits of the port, each in a run of its own. `timeout`: seconds
    for building the models, and for each question to them. `overlay`: texts by absolute path, which the
    port's files are imported from.
    """

    root: str
    code_base: str
    port: PortName
    place: Location
    officials: tuple[Against, ...]
    recipe: Recipe
    python: str
    trusted: bool
    device: str = "cpu"
    dtype: str | None = "bfloat16"
    lockstep: bool = True
    operations: bool = True
    hypotheses: bool = False
    seed: int = 0
    timeout: float = DEFAULT_TIMEOUT
    overlay: Mapping[str, str] | None = None


def question_about(
    project: Project,
    port: Port,
    *,
    python: str,
    trusted: bool,
    here: Path,
    official: str | None = None,
    recipe: str | None = None,
) -> TraceQuestion:
    """The question about a port. `official` and `recipe` as a user writes them, counting from `here`.

    Raises CheckError where there is no recipe or no official class.
    """
    chosen = find_recipe(project, port, recipe, here)
    cls = port.cls
    return TraceQuestion(
        root=str(project.root),
        code_base=project.profile.name,
        port=PortName(project.names.module_name(cls.path), cls.fact.name, cls.path),
        place=port.location,
        officials=official_classes(project, port, official, here, chosen),
        recipe=chosen,
        python=python,
        trusted=trusted,
    )


def official_classes(
    project: Project, port: Port, named: str | None, here: Path, recipe: Recipe | None = None
) -> tuple[Against, ...]:
    """The classes that may be the official side, the best first. Raises CheckError where there is none.

    A recipe's inputs are arguments of its own official class, so that one comes before what tests and state
    files name.
    """
    if named is not None:
        against = named_official(project, port, named, here)
        if against.kind != "class":
            raise CheckError(
                f"--official {named} is a {against.kind}: both models are run, so the class is needed.",
                "Name it as `diffusers:Class`, `package.module:Class` or `path/to/file.py::Class`.",
            )
        return (against,)
    if recipe is not None and recipe.official is not None and port.name not in project.settings.oracles:
        own = named_official(project, port, recipe.official, project.root)
        return (replace(own, because=f"the recipe {recipe.shown} says so"),)
    known = tuple(found for found in known_officials(project, port, None) if found.kind == "class")
    if known:
        return known
    raise CheckError(
        f"no official class of {port.name} is known: the tree names a checkpoint, and both models are run.",
        "Name one with --official, as OFFICIAL in the recipe, or under [tool.ditproof.oracles] in "
        "pyproject.toml.",
    )
