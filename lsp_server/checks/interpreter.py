"""Finds the project's interpreter and what it has, without importing anything heavy there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from analyzers.project.profile import PROFILES
from analyzers.project.settings import load_settings
from lsp_server.checks.environment import child_environment
from lsp_server.checks.errors import InterpreterError, UntrustedWorkspaceError

_PROBE_TIMEOUT = 30.0
_NEXT = "Set `python` under [tool.ditproof], or pass --python."

CODE_BASES = tuple(profile.name for profile in PROFILES)
"""The distributions of the code bases, which are called like their profiles."""

# Looks names up; a name that would need its parent imported is not asked for.
_PROBE = """
import json, sys
def version(name):
    if sys.version_info < (3, 8):  # too old for a check, and for what follows
        return None
    import importlib.metadata as metadata, importlib.util as util
    if util.find_spec(name) is None:
        return None
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
told = {name: version(name) for name in sys.argv[1:]}
told["version"] = list(sys.version_info[:3])
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Candidate:
    """An interpreter, where its name came from (for messages), and whether a person chose it."""

    path: str
    source: str
    chosen: bool = False


@dataclass(frozen=True)
class Interpreter:
    """A working interpreter. Versions are those of the installed distributions; `unknown` where a
    module can be found that no distribution claims, None where there is no such module."""

    path: str
    version: tuple[int, int, int]
    torch: str | None
    pytest: str | None
    code_bases: Mapping[str, str | None]
    """Distribution of a code base (`fastvideo`) -> its version."""
    diffusers: str | None

    def require_parity(self) -> None:
        """Raises InterpreterError unless a parity test can run here: Python 3.10, torch, pytest."""
        self._require(("torch", self.torch), ("pytest", self.pytest))

    def require_models(self) -> None:
        """Raises InterpreterError unless models can be built here: Python 3.10 and torch."""
        self._require(("torch", self.torch))

    def _require(self, *packages: tuple[str, str | None]) -> None:
        if self.version < (3, 10):
            raise InterpreterError(
                f"{self.path} is Python {'.'.join(map(str, self.version))}; a check needs 3.10 or newer.",
                _NEXT,
            )
        for name, found in packages:
            if found is None:
                raise InterpreterError(
                    f"{name} is not installed for {self.path}.",
                    f"Run `{self.path} -m pip install {name}`, or choose another interpreter. {_NEXT}",
                )


def find_interpreter(
    root: Path,
    explicit: str | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    named_by: str = "the editor's settings",
) -> Candidate:
    """The project's interpreter: the first candidate that exists.

    One that a person named (`explicit`, said to be `named_by`, or the settings) must exist; the others
    are only looked for. Raises InterpreterError if it does not, or if there is none at all.
    """
    environment = os.environ if environment is None else environment
    for candidate in candidates(root, explicit, environment, named_by):
        if Path(candidate.path).is_file():
            return candidate
        if candidate.chosen:
            raise InterpreterError(f"{candidate.path}, named by {candidate.source}, does not exist.", _NEXT)
    raise InterpreterError(f"No Python interpreter was found for {root}.", _NEXT)


def candidates(
    root: Path, explicit: str | None, environment: Mapping[str, str], named_by: str
) -> Iterator[Candidate]:
    """Where an interpreter may be, best first; relative names count from the root."""
    if explicit:
        yield Candidate(_resolved(root, explicit), named_by, chosen=True)
    settings = load_settings(root)
    if settings.python and settings.source:
        yield Candidate(_resolved(root, settings.python), settings.source, chosen=True)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environment.get(variable) and not _is_own(Path(environment[variable])):
            yield Candidate(_python_in(Path(environment[variable])), variable)
    for folder in (".venv", "venv"):
        yield Candidate(_python_in(root / folder), folder)
    for command in ("python3", "python"):
        found = shutil.which(command, path=environment.get("PATH"))
        if found and not _is_own(Path(found).parent.parent):
            yield Candidate(found, "PATH")


def check_executable(path: str) -> None:
    """Raises InterpreterError unless `path` is a file that may be executed."""
    if not Path(path).is_file():
        raise InterpreterError(f"{path} does not exist.", _NEXT)
    if not os.access(path, os.X_OK):
        raise InterpreterError(f"{path} is not executable.", _NEXT)


def probe_interpreter(path: str, *, trusted: bool, root: Path | None = None) -> Interpreter:
    """Ask an interpreter what it is and has, in one short process (up to 30 s, usually 0.1 s).

    Starting it runs the environment's `.pth` files: so it needs a trusted workspace. Raises
    UntrustedWorkspaceError, or InterpreterError if the file is absent, not executable, no Python,
    or does not answer.
    """
    if not trusted:
        raise UntrustedWorkspaceError(str(root or path))
    check_executable(path)
    try:
        answer = subprocess.run(
            [path, "-c", _PROBE, "torch", "pytest", "diffusers", *CODE_BASES],
            capture_output=True,
            timeout=_PROBE_TIMEOUT,
            cwd=root,
            env=child_environment(path),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InterpreterError(f"{path} did not answer within {_PROBE_TIMEOUT:g} s.", _NEXT) from error
    except OSError as error:
        raise InterpreterError(f"{path} does not start: {error.strerror or error}.", _NEXT) from error
    try:
        # The last line: a .pth file or sitecustomize may print before it.
        told = json.loads(answer.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
        major, minor, micro = told["version"]
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise InterpreterError(f"{path} does not answer as a Python interpreter.", _NEXT) from error
    return Interpreter(
        path=path,
        version=(int(major), int(minor), int(micro)),
        torch=told["torch"],
        pytest=told["pytest"],
        code_bases={name: told.get(name) for name in CODE_BASES},
        diffusers=told["diffusers"],
    )


def _resolved(root: Path, value: str) -> str:
    path = Path(os.path.expanduser(value))  # noqa: PTH111 - Path.expanduser raises on an unknown user
    if not path.is_absolute() and os.sep not in value and "/" not in value:
        found = shutil.which(value)
        if found:
            return found
    # Not resolved: a virtual environment's python is a link, and the link is the environment.
    path = root / path
    return _python_in(path) if path.is_dir() else str(path)


def _is_own(environment: Path) -> bool:
    """The server's own environment is not the project's, even when it is the active one."""
    return sys.prefix != sys.base_prefix and environment.resolve() == Path(sys.prefix).resolve()


def _python_in(environment: Path) -> str:
    if sys.platform == "win32":
        return str(environment / "Scripts" / "python.exe")
    return str(environment / "bin" / "python")
