"""Which files a parity run hung on: what it imported, and how pytest was configured.

A `loaded` record holds: files (absolute, of modules that are neither installed nor the interpreter's own),
packages (the folders that installed modules came from).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator

import pytest

from ditproof_probe.records import RecordWriter

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class LoadedFiles:
    """Writes the record when the session is over. `bundle`: the folder that our own modules come from."""

    def __init__(self, writer: RecordWriter, bundle: str) -> None:
        self._writer = writer
        self._bundle = bundle

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        plugins = session.config.pluginmanager.get_plugins()
        paths = {*_files_of(sys.modules.values()), *_files_of(plugins)}
        paths.update(str(item.path) for item in session.items)
        if session.config.inipath is not None:
            paths.add(str(session.config.inipath))
        files, packages = _sorted_out(paths, self._bundle)
        self._writer.write("loaded", files=files, packages=packages)


def _files_of(modules: Iterable[object]) -> Iterator[str]:
    """Where modules were read from. A module may stand in for another one and answer anything."""
    for module in list(modules):
        found = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(found, str):
            yield found


def _sorted_out(paths: Iterable[str], bundle: str) -> tuple[list[str], list[str]]:
    own = tuple(
        os.path.join(folder, "")  # noqa: PTH118 - strings, as modules name their files
        for folder in (bundle, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    )
    files, packages = set(), set()
    for path in paths:
        installed = next((mark for mark in _INSTALLED if mark in path), None)
        if installed is not None:
            packages.add(path[: path.index(installed) + len(installed) - 1])
        elif os.path.isabs(path) and not path.startswith(own) and os.path.isfile(path):  # noqa: PTH113, PTH117
            files.add(os.path.normpath(path))
    return sorted(files), sorted(packages)
