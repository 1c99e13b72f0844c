"""Which line of the models' own code is running: not torch, the standard library or this package."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal, NamedTuple

import torch

_PACKAGES = f"{os.sep}site-packages{os.sep}"
_HELPERS = ("einops",)
"""Installed packages that only carry a model's calls on to torch."""


class CodeLine(NamedTuple):
    """A line of code (from 0) and the function that it stands in. `path` is absolute."""

    path: str
    line: int
    function: str


@dataclass(frozen=True)
class Frames:
    """Reads the running stack; what it learnt about files is kept as long as the object."""

    _kinds: dict[str, tuple[Literal["model", "ours", "other"], str]] = field(default_factory=dict)

    def model_frames(self, start: FrameType | None) -> Iterator[tuple[CodeLine, FrameType]]:
        """The frames of the models' own code, innermost first, up to the code of ours that runs the model.

        `start`: the innermost frame to look at; frames of ours in front of the first other are passed over.
        """
        met = False
        while start is not None:
            kind, path = self._kind(start.f_code.co_filename)
            if kind == "model":
                met = True
                yield CodeLine(path, start.f_lineno - 1, start.f_code.co_name), start
            elif kind == "ours" and met:
                return
            start = start.f_back

    def innermost(self, start: FrameType | None) -> CodeLine | None:
        """The innermost line of the models' own code."""
        return next((line for line, _ in self.model_frames(start)), None)

    def _kind(self, filename: str) -> tuple[Literal["model", "ours", "other"], str]:
        known = self._kinds.get(filename)
        if known is None:
            known = self._kinds[filename] = _classified(filename)
        return known


def _classified(filename: str) -> tuple[Literal["model", "ours", "other"], str]:
    if filename.startswith("<"):
        return "other", filename  # made at run time, or part of Python
    path = os.path.abspath(filename)  # noqa: PTH100 - as code objects name their files
    if path.startswith(_folder_of(__file__, 2)):
        return "ours", path
    if path.startswith(_folder_of(torch.__file__, 1)):
        return "other", path
    _, _, installed = path.rpartition(_PACKAGES)
    if _PACKAGES in path:
        return ("other" if installed.startswith(_HELPERS) else "model"), path
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), _folder_of(os.__file__, 1)}
    if any(folder and path.startswith(folder.rstrip(os.sep) + os.sep) for folder in library):
        return "other", path
    return "model", path


def _folder_of(file: str, levels: int) -> str:
    path = os.path.abspath(file)  # noqa: PTH100
    for _ in range(levels):
        path = os.path.dirname(path)  # noqa: PTH120
    return path + os.sep


def caller() -> FrameType:
    """The frame that called the function that calls this one."""
    return sys._getframe(2)
