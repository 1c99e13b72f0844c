"""Which files a parity run hung on: what it imported and opened, and how pytest was configured.

A `loaded` record holds: files (absolute: of modules that are neither installed nor the interpreter's own, and
small data such as `config.json`), weights (absolute: checkpoint files that were opened), packages (folders
that installed modules came from).
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest

from ditproof_probe.patching import on_import
from ditproof_probe.records import RecordWriter

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_DATA = (".json", ".yaml", ".yml", ".toml")
_LARGEST_DATA = 4 << 20
_WRITING = os.O_WRONLY | os.O_RDWR


class Opened:
    """Paths of weights and data that this process opens for reading. `install` once, before any test."""

    def __init__(self) -> None:
        self.weights: set[str] = set()
        self.data: set[str] = set()

    def install(self) -> None:
        """An audit hook cannot be taken away again: the process ends with its run."""
        sys.addaudithook(self._heard)
        # Written in another language, it opens its files without telling Python.
        on_import("safetensors", self._patch)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open":
            return
        path, _, flags = arguments
        if isinstance(path, (str, os.PathLike)) and not (isinstance(flags, int) and flags & _WRITING):
            self._note(path)

    def _note(self, path: Any) -> None:
        try:
            name = os.fspath(path)
        except TypeError:
            return
        if isinstance(name, str) and name.endswith((*_WEIGHTS, *_DATA)):
            found = self.weights if name.endswith(_WEIGHTS) else self.data
            found.add(os.path.abspath(name))  # noqa: PTH100 - as it was opened: links are followed at the end

    def _patch(self, module: ModuleType) -> None:
        original: Callable[..., Any] = module.safe_open

        @functools.wraps(original)
        def safe_open(filename: Any, *args: Any, **kwargs: Any) -> Any:
            self._note(filename)
            return original(filename, *args, **kwargs)

        module.safe_open = safe_open  # type: ignore[attr-defined]


class LoadedFiles:
    """Writes the record when the session is over. `bundle` and `run_dir`: folders of our own."""

    def __init__(self, writer: RecordWriter, opened: Opened, bundle: str, run_dir: str) -> None:
        self._writer = writer
        self._opened = opened
        self._own = (bundle, run_dir)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        plugins = session.config.pluginmanager.get_plugins()
        paths = {*_files_of(sys.modules.values()), *_files_of(plugins), *self._opened.data}
        paths.update(str(item.path) for item in session.items)
        if session.config.inipath is not None:
            paths.add(str(session.config.inipath))
        files, packages = _sorted_out(paths, self._own)
        weights = sorted(path for path in self._opened.weights if self._lasts(path))
        self._writer.write("loaded", files=files, weights=weights, packages=packages)

    def _lasts(self, path: str) -> bool:
        """Whether a file is there after the run: what a test makes for itself is none of its inputs."""
        return os.path.isfile(path) and not path.startswith(self._own)  # noqa: PTH113


def _files_of(modules: Iterable[object]) -> Iterator[str]:
    """Where modules were read from. A module may stand in for another one and answer anything."""
    for module in list(modules):
        found = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(found, str):
            yield found


def _sorted_out(paths: Iterable[str], own: tuple[str, ...]) -> tuple[list[str], list[str]]:
    folders = tuple(
        os.path.join(folder, "")  # noqa: PTH118 - strings, as modules name their files
        for folder in (*own, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    )
    files, packages = set(), set()
    for path in paths:
        installed = next((mark for mark in _INSTALLED if mark in path), None)
        if installed is not None:
            packages.add(path[: path.index(installed) + len(installed) - 1])
        elif os.path.isabs(path) and not path.startswith(folders) and _is_small(path):  # noqa: PTH117
            files.add(os.path.normpath(path))
    return sorted(files), sorted(packages)


def _is_small(path: str) -> bool:
    try:
        return os.path.getsize(path) <= _LARGEST_DATA and os.path.isfile(path)  # noqa: PTH113, PTH202
    except OSError:
        return False
