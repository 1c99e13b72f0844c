"""What is imported before the fork, and how it is known to be still as it is on disk.

Two levels, each a process: the *base* holds torch and the installed packages, the *zygote*, forked from
it, the code base's common modules. A request is answered by a child of the zygote. A level whose
files changed ends and is made anew from the level below.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ditproof_probe import fastvideo_side

_PACKAGES = (
    "diffusers",
    "diffusers.models.modeling_utils",
    "diffusers.models.attention",
    # Whoever asks for one transformer gets all of them (`diffusers/models/__init__.py`).
    "diffusers.models.transformers",
)
_COMPILER = "torch._inductor.compile_fx"
"""What `torch.compile` imports when it is called, as at the import of a port that compiles its attention:
seconds, and a third of torch's modules."""
_ENVIRONMENT = {
    # Nothing is downloaded for a name and a shape.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    # The same on every machine; and no process that forks may touch a GPU.
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # No pool of processes for what `torch.compile` would compile.
    "TORCH_WARM_POOL": "0",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    # No pool of threads before the fork; nothing is computed.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
"""What hides GPUs, of the above."""


def set_environment() -> Mapping[str, str | None]:
    """Before torch is imported. Returns what the variables were; None for one that was not set."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    return before


def show_devices(before: Mapping[str, str | None]) -> None:
    """Give a process that will not fork the GPUs that the user has. Before CUDA is initialised: the driver
    reads the variables then, and torch asks NVML anew as long as it is not."""
    for name in _DEVICES:
        value = before.get(name)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def import_packages(code_base: str, root: str) -> tuple[list[Any], list[str]]:
    """Import torch and the packages that models are made of; (what must stay alive, failures for the log).

    A package below the root is the user's and may change at any time: it is left to the child. Raises
    ImportError where torch is missing, or what importing it raises.
    """
    importlib.import_module("torch")
    kept: list[Any] = []
    failed: list[str] = []
    if code_base == "fastvideo":
        try:
            kept += fastvideo_side.preload_packages()
        except Exception as error:  # noqa: BLE001 - whoever needs it meets the error again, at its place
            failed.append(f"torchvision: {type(error).__name__}: {error}")
    for name in _PACKAGES:
        spec = _spec(name.partition(".")[0])
        if spec is None or _below(spec, root):
            break
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - as above
            failed.append(f"{name}: {type(error).__name__}: {error}")
            break
    return kept, failed


def import_common(code_base: str, root: str) -> list[str]:
    """Import the code base's common modules; the failures, for the log."""
    if code_base != "fastvideo":
        return []
    try:
        fastvideo_side.register(root)
        fastvideo_side.use_cpu_platform()
    except BaseException as error:  # noqa: BLE001 - the child meets it again and reports it
        return [f"{type(error).__name__}: {error}"]
    return fastvideo_side.preload_common()


def keep_bytecode_in(folder: str) -> Mapping[str, Mark]:
    """Write bytecode below `folder` alone, and take it only for exactly the file that it was made from. What
    is installed keeps the bytecode that it came with.

    Returns what grows with every import from now on: each source file, and its state before it was read.

    Python compares a file's size and its time in whole seconds, so that two edits within a second can be
    taken for one. Here the number that it compares stands for the nanoseconds and the inode too.
    """

    imported: dict[str, Mark] = {}
    own_stats = importlib.machinery.SourceFileLoader.path_stats
    own_code = importlib.machinery.SourceFileLoader.get_code
    prefix = sys.pycache_prefix
    installed = _installed()

    def get_code(loader: importlib.machinery.SourceFileLoader, fullname: str) -> Any:
        if not installed(loader.path):
            return own_code(loader, fullname)
        changed = sys.pycache_prefix, sys.dont_write_bytecode
        sys.pycache_prefix, sys.dont_write_bytecode = prefix, True
        try:
            if os.path.exists(importlib.util.cache_from_source(loader.path)):  # noqa: PTH110
                return own_code(loader, fullname)
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = changed
        return own_code(loader, fullname)

    def path_stats(loader: importlib.machinery.SourceFileLoader, path: str) -> Mapping[str, Any]:
        status = os.stat(path)  # noqa: PTH116
        imported[path] = _mark_of(status)
        if sys.pycache_prefix != folder:
            return own_stats(loader, path)
        return {"mtime": hash(imported[path]) & 0xFFFFFFFF, "size": status.st_size}

    sys.pycache_prefix = folder
    sys.dont_write_bytecode = False
    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
    importlib.machinery.SourceFileLoader.path_stats = path_stats  # type: ignore[assignment, method-assign]
    return imported


Mark: TypeAlias = "tuple[int, int, int]"
"""Time of the last change in nanoseconds, inode and size of a file."""


@dataclass(frozen=True)
class Watch:
    """The state of files at a time; None for one that was not there."""

    marks: Mapping[str, Mark | None]

    @staticmethod
    def now(paths: Iterable[str]) -> Watch:
        """What the files are like now."""
        return Watch({path: _mark(path) for path in paths})

    def changed(self) -> list[str]:
        """Those that are different now."""
        return [path for path, mark in self.marks.items() if _mark(path) != mark]


def module_files() -> set[str]:
    """The files of all modules that are loaded."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            found.add(path)
    return found


def package_folders(but: Iterable[str]) -> set[str]:
    """The folders that packages are installed into: installing or removing one changes their time."""
    left_out = set(but)
    return {entry for entry in sys.path if entry and entry not in left_out and os.path.isdir(entry)}  # noqa: PTH112


def folders_of(files: Iterable[str]) -> set[str]:
    """The folders that hold the files: one that appears or goes changes their time."""
    return {os.path.dirname(path) for path in files}  # noqa: PTH120


def compiler_is_here() -> bool:
    """Whether something has called `torch.compile` in this process, or one that it was forked from."""
    return _COMPILER in sys.modules


def import_compiler() -> str | None:
    """Import what `torch.compile` needs; why it failed, for the log."""
    try:
        importlib.import_module(_COMPILER)
    except Exception as error:  # noqa: BLE001 - whoever needs it meets the error again, at its place
        return f"{_COMPILER}: {type(error).__name__}: {error}"
    return None


def threads() -> int:
    """How many threads this process has; 1 where that cannot be told."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return 1


def _installed() -> Callable[[str], bool]:
    """Tells whether a file belongs to an installed package or to Python itself."""
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    folders = tuple(f"{folder}{os.sep}" for folder in standard if folder)
    packages = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))

    def installed(path: str) -> bool:
        return any(name in path for name in packages) or path.startswith(folders)

    return installed


def _mark(path: str) -> Mark | None:
    try:
        return _mark_of(os.stat(path))  # noqa: PTH116 - pathlib is slower, and there are thousands
    except OSError:
        return None


def _mark_of(status: os.stat_result) -> Mark:
    return status.st_mtime_ns, status.st_ino, status.st_size


def _spec(package: str) -> importlib.machinery.ModuleSpec | None:
    try:
        return importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None


def _below(spec: importlib.machinery.ModuleSpec, root: str) -> bool:
    origin = spec.origin or ""
    return origin.startswith(root.rstrip(os.sep) + os.sep) and "site-packages" not in origin
