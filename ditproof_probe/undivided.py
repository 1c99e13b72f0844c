"""Keeps a parity run in one process, whatever the project's configuration asks of pytest's plugins.

A worker of pytest-xdist would run the test outside the recorder; coverage would measure what is compared.
Settings are changed, not arguments: a plugin that is installed need not be loaded, and then its own arguments
are unknown.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

_SETTINGS: dict[str, object] = {"numprocesses": 0, "dist": "no", "tx": [], "no_cov": True}
"""By the names under which pytest-xdist (the first three) and pytest-cov keep them."""


class Undivided:
    """A pytest plugin; each hook goes before the same one of those plugins."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Generator[None, None, None]:
        _set(early_config.known_args_namespace)
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, None, None]:
        _set(config.option)
        yield


def _set(options: object) -> None:
    for name, value in _SETTINGS.items():
        if hasattr(options, name):
            setattr(options, name, value)
