"""Source files whose text is given, in the place of what lies on the disk, for one process.

Only what is imported from now on is read from the text, so this comes before the port is imported. Neither
the files nor the bytecode kept for them are read or written. Tracebacks, `inspect` and `linecache` show the
lines of the text.
"""

from __future__ import annotations

import importlib.machinery
import linecache
import os
import sys
from collections.abc import Mapping
from types import CodeType
from typing import Any

from ditproof_probe.problems import Stopped, problem

_STEP = "Save the file instead, and compare again."


class Overlay:
    """Texts by absolute path. `read`: the files that were imported from them so far, as real paths."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {os.path.realpath(path): text for path, text in texts.items()}
        self.read: set[str] = set()

    def install(self) -> None:
        """Read these modules from the texts from now on.

        Raises Stopped where one of them is imported already: what others took from it would stay as it was.
        """
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and os.path.realpath(path) in self._texts:
                text = (
                    f"{name} has been imported from the disk already: it cannot be tried with another text."
                )
                raise Stopped(
                    problem("code base", "import", "ImportedAlready", text, path=path, next_step=_STEP)
                )
        own_code = importlib.machinery.SourceFileLoader.get_code
        own_data = importlib.machinery.SourceFileLoader.get_data

        def get_code(loader: importlib.machinery.SourceFileLoader, fullname: str) -> CodeType | None:
            path = os.path.realpath(loader.path)
            text = self._texts.get(path)
            if text is None:
                return own_code(loader, fullname)
            self.read.add(path)
            # No time: for `linecache.checkcache` the lines are then not those of a file that may change.
            linecache.cache[loader.path] = (len(text), None, text.splitlines(keepends=True), loader.path)
            code: Any = loader.source_to_code(text, loader.path)
            return code  # type: ignore[no-any-return]

        def get_data(loader: importlib.machinery.SourceFileLoader, path: Any) -> bytes:
            text = self._texts.get(os.path.realpath(path))
            return own_data(loader, path) if text is None else text.encode("utf-8")

        importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
        importlib.machinery.SourceFileLoader.get_data = get_data  # type: ignore[assignment, method-assign]

    def check(self) -> None:
        """Raises Stopped where a text was not used: what was built does not come from that file."""
        for path in self._texts:
            if path not in self.read:
                text = f"{path} is no module that the port imports: its text was not used."
                raise Stopped(
                    problem("code base", "import", "OverlayUnused", text, path=path, next_step=_STEP)
                )
