"""Where each module of a model was constructed."""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any, TypeAlias

import torch

Frame: TypeAlias = "tuple[str, int, str]"
"""(path, line from 0, function)."""

_DEEPEST = 12
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep  # noqa: PTH100, PTH120
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # noqa: PTH100, PTH120


@contextlib.contextmanager
def recorded() -> Iterator[dict[int, tuple[Frame, ...]]]:
    """While it lasts, every module that is constructed is noted: id -> its frames, innermost first.

    Only modules that live at the end are there, and an id counts while its module lives. Left out are
    torch's frames, the constructor of the module itself with those that it calls of its base classes, and
    everything from this package outwards.
    """
    sites: dict[int, tuple[Frame, ...]] = {}
    alive: dict[int, weakref.ref[torch.nn.Module]] = {}
    original = torch.nn.Module.__init__

    def init(self: torch.nn.Module, *arguments: Any, **keywords: Any) -> None:
        sites[id(self)] = _frames(self, sys._getframe(1))
        original(self, *arguments, **keywords)
        alive[id(self)] = weakref.ref(self)

    torch.nn.Module.__init__ = init
    try:
        yield sites
    finally:
        torch.nn.Module.__init__ = original
        # A copied module may have the id of one that is gone, and was never constructed.
        for gone in [key for key, module in alive.items() if module() is None]:
            del sites[gone]


class Sites:
    """Notes where modules are constructed, from `begin` to `end`; forgets those that are gone."""

    def __init__(self) -> None:
        self._frames: weakref.WeakKeyDictionary[torch.nn.Module, tuple[Frame, ...]] = (
            weakref.WeakKeyDictionary()
        )
        self._original: Any = None

    def begin(self) -> None:
        """From now on every module that is constructed is noted. Harmless when it has begun."""
        if self._original is not None:
            return
        original = self._original = torch.nn.Module.__init__

        def init(module: torch.nn.Module, *arguments: Any, **keywords: Any) -> None:
            frames = _frames(module, sys._getframe(1))
            original(module, *arguments, **keywords)
            self._frames[module] = frames

        torch.nn.Module.__init__ = init

    def end(self) -> None:
        """Nothing more is noted."""
        if self._original is not None:
            torch.nn.Module.__init__ = self._original
            self._original = None

    def of(self, model: torch.nn.Module) -> dict[int, tuple[Frame, ...]]:
        """The frames of a model's modules, innermost first, by the ids of those that were noted."""
        found = ((module, self._frames.get(module)) for module in model.modules())
        return {id(module): frames for module, frames in found if frames is not None}


def _frames(module: torch.nn.Module, frame: FrameType | None) -> tuple[Frame, ...]:
    found: list[Frame] = []
    constructing = True
    while frame is not None and len(found) < _DEEPEST:
        code = frame.f_code
        if code.co_filename.startswith(_OWN):
            break
        if constructing:
            constructing = _is_about(module, frame)
        if not constructing and not code.co_filename.startswith(_TORCH):
            found.append((os.path.abspath(code.co_filename), frame.f_lineno - 1, code.co_name))  # noqa: PTH100
        frame = frame.f_back
    return tuple(found)


def _is_about(module: torch.nn.Module, frame: FrameType) -> bool:
    """Whether a frame is a constructor of the module: its own, of a base class, or what wraps one."""
    names = frame.f_code.co_varnames
    return bool(names) and frame.f_locals.get(names[0]) is module
