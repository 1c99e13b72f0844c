"""What went wrong while a model was imported or built, as a record: where, what lacks, what to do next.

Fields of a problem: `side` (`port`, `official`, `code base`), `stage` (`import`, `config`, `build`,
`state`; of a tiny comparison also `recipe`, `load`, `forward`, `trace`), `type` (of the exception, or
`Crash`, `Exit`, `Cancelled`, `BadRequest`, `Idle`, `UnknownAsk`, `BadAnswer`), `message`, `missing`
(a package that is not installed, or None), `path` and `line` (from 0; None where nothing of the project
is involved), `next_step` (or None).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeAlias

Side: TypeAlias = Literal["port", "official", "code base"]
Stage: TypeAlias = Literal["import", "config", "build", "state", "recipe", "load", "forward", "trace"]
Problem: TypeAlias = "dict[str, Any]"

_LONGEST = 2000
_DEVICE_WORDS = (
    "Torch not compiled with CUDA",
    "No CUDA GPUs are available",
    "Found no NVIDIA driver",
    "CUDA error",
    "CUDA is not available",
    "0 active drivers",
    "libcuda",
)
_NO_VALUES = ("cannot be called on meta tensors", "Cannot copy out of meta tensor")
_OFFLINE_TYPES = frozenset({"OfflineModeIsEnabled", "LocalEntryNotFoundError"})


class Unbuildable(Exception):
    """A class cannot be built, and no exception of the user's code says why. `next_step` for the user."""

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.next_step = next_step


class Stopped(Exception):
    """The work cannot go on, and `problem` is the whole record of why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem["message"])
        self.problem = problem


@dataclass(frozen=True)
class Inside:
    """The folders whose files are the user's to look at: the project, and an official clone."""

    folders: tuple[str, ...]

    def holds(self, path: str) -> bool:
        """Whether a file is the user's; a virtual environment inside the project is not."""
        if path.startswith("<"):
            return False  # made at run time (`<string>`) or part of Python (`<frozen importlib._bootstrap>`)
        path = os.path.abspath(path)  # noqa: PTH100 - as code objects name their files
        if f"{os.sep}site-packages{os.sep}" in path:
            return False
        return any(path.startswith(folder.rstrip(os.sep) + os.sep) for folder in self.folders)


def problem(
    side: Side,
    stage: Stage,
    type: str,
    message: str,
    *,
    missing: str | None = None,
    path: str | None = None,
    line: int | None = None,
    next_step: str | None = None,
) -> Problem:
    """The record of a problem that no exception stands for."""
    return {
        "side": side,
        "stage": stage,
        "type": type,
        "message": message[:_LONGEST],
        "missing": missing,
        "path": path,
        "line": line,
        "next_step": next_step,
    }


def from_exception(error: BaseException, side: Side, stage: Stage, inside: Inside) -> Problem:
    """The record of what the user's code raised, at its innermost line that is the user's."""
    chain = list(_chain(error))
    path, line = _place(chain, inside)
    missing = _missing(chain)
    return problem(
        side,
        stage,
        _type_of(error),
        _message(error),
        missing=missing,
        path=path,
        line=line,
        next_step=_next_step(error, chain, missing),
    )


def _type_of(error: BaseException) -> str:
    """The name of the exception's class; of one that explains another, of the other."""
    if isinstance(error, Unbuildable) and error.__cause__ is not None:
        return type(error.__cause__).__name__
    return type(error).__name__


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)
    if isinstance(error, SystemExit):
        return f"The code ended the process (exit code {error.code!r})."
    if isinstance(error, KeyError) and len(error.args) == 1:
        return f"There is no {error.args[0]!r}."
    return said(error) or f"{type(error).__name__} without a message"


def said(error: BaseException) -> str:
    """The text of an exception, which may be one of the user's own making."""
    try:
        return str(error)
    except Exception as failure:  # noqa: BLE001 - an exception of the user's has a text of the user's
        return f"{type(error).__name__}, whose text cannot be had ({type(failure).__name__})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from; a package that imports lazily wraps the real one."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _place(chain: list[BaseException], inside: Inside) -> tuple[str | None, int | None]:
    for error in chain:
        if isinstance(error, SyntaxError) and error.filename and inside.holds(error.filename):
            return os.path.abspath(error.filename), (error.lineno or 1) - 1  # noqa: PTH100
        innermost: tuple[str, int] | None = None
        for path, line in _frames(error.__traceback__):
            if inside.holds(path):
                innermost = (os.path.abspath(path), line)  # noqa: PTH100
        if innermost is not None:
            return innermost
    return None, None


def innermost_in(error: BaseException, file: str | None) -> tuple[str | None, int | None]:
    """The innermost line (from 0) of one file that an exception passed through; None where it did not."""
    lines = [line for path, line in _frames(error.__traceback__) if path == file]
    return (os.path.abspath(file), lines[-1]) if file is not None and lines else (None, None)  # noqa: PTH100


def innermost_below(error: BaseException, folder: str) -> tuple[str | None, int | None]:
    """The innermost line (from 0) of the files below a folder that an exception passed through."""
    below = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    found = [(os.path.abspath(path), line) for path, line in _frames(error.__traceback__)]  # noqa: PTH100
    return next(((path, line) for path, line in reversed(found) if path.startswith(below)), (None, None))


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno - 1
        traceback = traceback.tb_next


def _missing(chain: list[BaseException]) -> str | None:
    """A package that is not installed; not a module that an installed package or the project lacks."""
    for error in chain:
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            if package not in sys.modules and _absent(package):
                return package
    return None


def _absent(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return False  # something of that name is there, and in what state is not ours to say


def _next_step(error: BaseException, chain: list[BaseException], missing: str | None) -> str | None:
    if isinstance(error, Unbuildable):
        return error.next_step
    if missing is not None:
        return (
            f"Install {missing} into the project's environment ({sys.executable}), or import it inside the "
            "function that needs it."
        )
    texts = [said(found) for found in chain]
    if any(word in text for text in texts for word in _DEVICE_WORDS):
        return (
            "Names and shapes are taken on the meta device, with every GPU hidden: move what needs one from "
            "the import or the constructor into the function that uses it."
        )
    if any(word in text for text in texts for word in _NO_VALUES):
        return (
            "Models are built on the meta device, where a tensor has no values: compute what the constructor "
            'needs as a number without torch, or from tensors made with device="cpu".'
        )
    if any(type(found).__name__ in _OFFLINE_TYPES for found in chain):
        return (
            "A constructor tried to download something; models are built offline. Give the configuration, or "
            "download what it asks for beforehand."
        )
    if isinstance(error, MemoryError):
        return "A constructor allocates real memory: create tensors on the default device (meta here)."
    return None
