"""Which recipe gives the inputs of a port's tiny comparison: found without running anything.

Asked in this order: `--recipe`; `[tool.ditproof.recipes]`; a file of the project below `.ditproof/recipes/`,
called like the class or like the family, or any there that names the class in `PORT`; a built-in one that
names the class. Where there is none, that is said: inputs are never guessed.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from analyzers.findings import Location, Span
from analyzers.project.index import Project
from analyzers.project.ports import Port
from lsp_server.checks.bundle import probe_sources
from lsp_server.checks.errors import CheckError

FOLDER = ".ditproof/recipes"
"""Where a project keeps recipes of its own, relative to its root."""

_LARGEST = 1 << 20  # bytes


class BrokenRecipe(CheckError):
    """A recipe that is no Python; `place`: its line."""

    def __init__(self, reason: str, next_step: str, path: str, line: int) -> None:
        super().__init__(reason, next_step)
        self.place = Location(path, Span(line, 0, line, 0))


class NoRecipe(CheckError):
    """Nobody says which inputs a port takes."""

    def __init__(self, port: Port) -> None:
        super().__init__(
            f"there is no recipe for {port.name}: nothing says which inputs it takes.",
            f"`ditproof trace {port.name} --scaffold` writes {FOLDER}/{port.name}.py to fill in; or name one "
            "with --recipe, or under [tool.ditproof.recipes] in pyproject.toml.",
        )


@dataclass(frozen=True)
class Recipe:
    """A recipe that was found.

    `path` is absolute. `shown`: as a person reads it, relative to the root, or the name of a built-in one.
    `because`: who chose it. `official` and `serves`: its `OFFICIAL` and `PORT`, None and empty where it does
    not spell them out. `others`: further built-in ones for the same class.
    """

    path: Path
    shown: str
    because: str
    official: str | None = None
    serves: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def find_recipe(
    project: Project, port: Port, named: str | None, here: Path, built_in: Path | None = None
) -> Recipe:
    """The recipe of a port. `named`: as `--recipe` gives it, counting from `here`, else from the root.

    `built_in`: the folder of the built-in ones (default: of this installation). Raises NoRecipe, or
    CheckError where the one that is named is not there or does not parse.
    """
    built_in = probe_sources() / "recipes" if built_in is None else built_in
    if named is not None:
        return _named(project, named, (here, project.root), built_in, "named with --recipe")
    chosen = project.settings.recipes.get(port.name)
    if chosen is not None:
        return _named(project, chosen, (project.root,), built_in, "the settings say so")
    folder = project.root / FOLDER
    for name in dict.fromkeys((port.name, port.family)):
        path = folder / f"{name}.py"
        if path.is_file():
            recipe = _read(path, _shown(path, project.root), "the project's own")
            if not recipe.serves or port.name in recipe.serves:
                return recipe
    own = _serving(port, folder, "the project's own", lambda path: _shown(path, project.root))
    if own is not None:
        return own
    shipped = _serving(port, built_in, "built in", lambda path: path.stem)
    if shipped is not None:
        return shipped
    raise NoRecipe(port)


def built_in_names(folder: Path | None = None) -> tuple[str, ...]:
    """The names of the built-in recipes."""
    folder = probe_sources() / "recipes" if folder is None else folder
    return tuple(path.stem for path in _files(folder))


# --------------------------------------------------------------------------- one that is named


def _named(project: Project, text: str, bases: tuple[Path, ...], built_in: Path, because: str) -> Recipe:
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises on an unknown user
    for place in [path] if path.is_absolute() else [base / path for base in bases]:
        if place.is_file():
            place = Path(os.path.normpath(place))
            return _read(place, _shown(place, project.root), because)
    if text.isidentifier() and (built_in / f"{text}.py").is_file():
        return _read(built_in / f"{text}.py", text, because)
    known = ", ".join(built_in_names(built_in))
    raise CheckError(
        f"the recipe {text} ({because}) is neither a file nor a built-in one.",
        f"Name a Python file{f', or one of {known}' if known else ''}.",
    )


# --------------------------------------------------------------------------- those that serve a class


def _serving(port: Port, folder: Path, because: str, shown: Callable[[Path], str]) -> Recipe | None:
    """The first of a folder that names the port's class, with the names of the others."""
    found = []
    for path in _files(folder):
        try:
            recipe = _read(path, shown(path), because)
        except CheckError:
            continue  # which class a broken file is for cannot be told
        if port.name in recipe.serves:
            found.append(recipe)
    if not found:
        return None
    first = found[0]
    others = tuple(recipe.shown for recipe in found[1:])
    return Recipe(first.path, first.shown, because, first.official, first.serves, others)


def _files(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    yield from (path for path in entries if path.suffix == ".py" and not path.name.startswith("_"))


# --------------------------------------------------------------------------- what a file says of itself


def _read(path: Path, shown: str, because: str) -> Recipe:
    """The recipe in a file. Raises CheckError where it cannot be read or parsed."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise CheckError(f"the recipe {shown} has more than {_LARGEST >> 20} MiB.", "Name another file.")
        tree = ast.parse(content)
    except OSError as error:
        raise CheckError(
            f"the recipe {shown} cannot be read: {error.strerror or error}.", "Mend it, or name another."
        ) from error
    except SyntaxError as error:
        line = error.lineno or 1
        raise BrokenRecipe(
            f"the recipe {shown} does not parse: {error.msg} (line {line}).",
            "Mend it there.",
            shown,
            line - 1,
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckError(f"the recipe {shown} is no Python: {error}.", "Mend it, or name another.") from error
    constants = dict(_constants(tree))
    official, port = constants.get("OFFICIAL"), constants.get("PORT")
    names = (port,) if isinstance(port, str) else port if isinstance(port, (tuple, list)) else ()
    return Recipe(
        path=path,
        shown=shown,
        because=because,
        official=official if isinstance(official, str) else None,
        serves=tuple(name for name in names if isinstance(name, str)),
    )


def _constants(tree: ast.Module) -> Iterator[tuple[str, object]]:
    """The names that the module sets to literals."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                yield target.id, ast.literal_eval(value)
            except ValueError:
                continue  # computed when it is imported


def _shown(path: Path, root: Path) -> str:
    """Relative to the root where it lies in it, with `/`."""
    for base in dict.fromkeys((root, root.resolve())):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return str(path)
