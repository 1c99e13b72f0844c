"""What an operation is.

An operation is a module `analyzers/fixes/<operation with underscores>.py` with a function
`edit(arguments, read)`. `arguments` are those of the `Fix`, `read` gives the text of a file by its
path relative to the root (None where there is none). It returns the new text of every file that it
changes. It works on the syntax tree (libcst) and leaves every byte that it does not mean alone.

An operation that has to know what names mean all over the project has `edit_project(arguments, project)`
instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

from analyzers.findings import JsonValue
from analyzers.project.index import Project

Read = Callable[[str], "str | None"]
Edit = Callable[[Mapping[str, JsonValue], Read], "dict[str, str]"]
EditProject = Callable[[Mapping[str, JsonValue], Project], "dict[str, str]"]


class Refused(Exception):
    """The edit cannot be made safely; the message says why, for a user."""


def find_operation(name: str) -> Edit:
    """The function of an operation. Raises `Refused` where there is no such operation."""
    edit: Edit = _operation(name).edit
    return edit


def run_operation(name: str, arguments: Mapping[str, JsonValue], project: Project) -> dict[str, str]:
    """What an operation makes of the project's present texts. Raises `Refused` where there is no such
    operation, or it refuses."""
    edit: EditProject | None = getattr(_operation(name), "edit_project", None)
    if edit is not None:
        return edit(arguments, project)
    return find_operation(name)(arguments, project.sources.text)


def _operation(name: str) -> ModuleType:
    module = name.replace("-", "_")
    if not module.isidentifier():
        raise Refused(f"there is no edit called '{name}'")
    try:
        return import_module(f"analyzers.fixes.{module}")
    except ModuleNotFoundError as error:
        raise Refused(f"there is no edit called '{name}'") from error


def text_argument(arguments: Mapping[str, JsonValue], name: str) -> str:
    """A string argument. Raises `Refused` where it is missing or no string."""
    value = arguments.get(name)
    if not isinstance(value, str):
        raise Refused(f"the edit needs the argument '{name}'")
    return value


def texts_argument(arguments: Mapping[str, JsonValue], name: str) -> list[str]:
    """A list of strings. Raises `Refused` where it is missing or something else."""
    value = arguments.get(name)
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
        raise Refused(f"the edit needs the list of strings '{name}'")
    return [str(v) for v in value]


def read_text(read: Read, path: str) -> str:
    """The text of a file. Raises `Refused` where it cannot be read."""
    text = read(path)
    if text is None:
        raise Refused(f"{path} cannot be read")
    return text
