"""The probe's files, laid out so that the child sees the package `ditproof_probe` and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from lsp_server.checks.errors import CheckError

PACKAGE = "ditproof_probe"


def probe_sources() -> Path:
    """The folder of the installed probe. It is located, never imported.

    Raises CheckError if the installation lacks it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise CheckError("The probe is missing from this installation.", "Reinstall ditproof.")
    return Path(next(iter(spec.submodule_search_locations)))


def write_bundle(folder: Path) -> Path:
    """Copy the probe into `folder` (made if absent) and return what to hand to the interpreter.

    `python <folder>` runs the bundle's `__main__.py`. Bytecode stays behind: the project's Python
    may be another version.
    """
    package = folder / PACKAGE
    sources = probe_sources()
    package.mkdir(parents=True)
    for source in sorted(sources.rglob("*.py")):
        target = package / source.relative_to(sources)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    shutil.copyfile(package / "__main__.py", folder / "__main__.py")
    return folder
