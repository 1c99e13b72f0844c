"""The official model on the meta device, from what a porter calls it.

* `diffusers:WanTransformer3DModel`, `package.module:Class`: an installed class.
* `path/to/clone/file.py::Class`: a file. Its folder goes on the path; where the file lies in a package, or
  imports relatively, so does the folder that holds the outermost package, and the file is imported by its
  full dotted name.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ditproof_probe.port_side import as_json, place
from ditproof_probe.problems import Problem, Unbuildable, problem
from ditproof_probe.state_dicts import entries, parameter_count

_FOLDERS_ABOVE = 4
_IGNORED = "_keys_to_ignore_on_load_unexpected"


@dataclass(frozen=True)
class OfficialClass:
    """An official class and the folder of the clone that it comes from, None for an installed one."""

    ref: str
    cls: type[torch.nn.Module]
    folder: str | None


def find_class(ref: str, root: str) -> OfficialClass:
    """Import the official class. Raises whatever the import raises, and Unbuildable for a name that leads
    nowhere."""
    path, separator, name = ref.partition("::")
    if separator:
        file = Path(root, path).expanduser()
        module, folder = _imported(file, ref)
        _refuse_mixture(Path(folder), file)  # what its other files import is known by now
    else:
        package, separator, name = ref.partition(":")
        if not separator:
            raise Unbuildable(
                f"{ref} names no official class.",
                "Write diffusers:Class, package.module:Class or path/to/file.py::Class.",
            )
        folder = None
        module = importlib.import_module(package)
    try:
        cls = getattr(module, name)
    except AttributeError:
        raise Unbuildable(f"{module.__name__} has no {name}.", _other_names(module, name)) from None
    if not (isinstance(cls, type) and issubclass(cls, torch.nn.Module)):
        raise Unbuildable(f"{ref} is no torch module.", "Name the class of the model.")
    return OfficialClass(ref, cls, folder)


def build(found: OfficialClass, config: Mapping[str, Any] | None, device: str = "meta") -> torch.nn.Module:
    """Build the official model on a device. Raises whatever its code raises.

    `config`: the content of a `config.json`; None for the constructor's own defaults. Raises Unbuildable
    where the constructor asks for arguments that neither has.
    """
    with torch.device(device):
        from_config = getattr(found.cls, "from_config", None)
        if config is not None and callable(from_config) and hasattr(found.cls, "config_name"):
            built: torch.nn.Module = from_config(dict(config))
            return built
        return found.cls(**_arguments(found, config))


def config_of(
    model: torch.nn.Module, found: OfficialClass, config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The configuration that the model was built from, as its `config.json` would have it.

    diffusers writes its own (lists for tuples, as in a file). For another class: the given one, else the
    defaults of its constructor.
    """
    to_json = getattr(model, "to_json_string", None)
    if callable(to_json) and hasattr(found.cls, "config_name"):
        written: dict[str, Any] = json.loads(to_json())
        return written
    if config is not None:
        return dict(config)
    return {"_class_name": found.cls.__name__, **defaults_of(found)}


def defaults_of(found: OfficialClass) -> dict[str, Any]:
    """The defaults of the constructor's arguments, as JSON has them (lists for tuples)."""
    defaults: dict[str, Any] = as_json(
        {
            name: parameter.default
            for name, parameter in _parameters(found.cls).items()
            if parameter.default is not inspect.Parameter.empty
        }
    )
    return defaults


def describe(
    found: OfficialClass, model: torch.nn.Module, config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The official side of the answer, and what of it could not be told. Raises what `state_dict` raises."""
    path, line = place(found.cls)
    ignored = getattr(found.cls, _IGNORED, None)
    problems: list[Problem] = []
    if ignored is not None and not (
        isinstance(ignored, (list, tuple)) and all(isinstance(item, str) for item in ignored)
    ):
        text = f"{found.cls.__name__}.{_IGNORED} is no list of patterns."
        problems.append(problem("official", "state", "MalformedPatterns", text, path=path, line=line))
        ignored = None
    side = {
        "source": found.ref,
        "class": found.cls.__name__,
        "path": path,
        "line": line,
        "tensors": entries(model),
        "config": as_json(config),
        "mapping": None,
        "reverse": None,
        "lora": None,
        "ignored": list(ignored or ()),
        "parameters": parameter_count(model),
    }
    return side, problems


def clone_folder(ref: str, root: str) -> str | None:
    """The folder whose files are the clone's: the outermost package's parent, else the file's folder."""
    path, separator, _ = ref.partition("::")
    if not separator:
        return None
    file = Path(os.path.abspath(Path(root, path).expanduser()))  # noqa: PTH100
    package = _outermost_package(file, _imports(file).levels)
    return str((file if package is None else package).parent)


def _imported(file: Path, ref: str) -> tuple[ModuleType, str]:
    """The file as a module, and the clone's folder; what is needed goes on the path."""
    if not file.is_file():
        raise Unbuildable(f"There is no file {file} ({ref}).", "Give the path of the clone's file.")
    file = Path(os.path.abspath(file))  # noqa: PTH100 - a link in a clone keeps its name
    imports = _imports(file)
    package = _outermost_package(file, imports.levels)
    by_place: ModuleSpec | None = None
    if package is None:
        top, name = file.parent, file.stem
        sys.path.insert(0, str(top))
        if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
            # By its place: nobody can import it by such a name, or somebody else has it.
            name = "official_" + "".join(c if c.isidentifier() or c.isdigit() else "_" for c in name)
            by_place = importlib.util.spec_from_file_location(name, file)
    else:
        top = package.parent
        inner = file.relative_to(top).with_suffix("")
        name = ".".join(inner.parts[:-1] if inner.name == "__init__" else inner.parts)
        sys.path.insert(0, str(top))
        sys.path.append(str(file.parent))  # last: a module inside a package may have any name
    importlib.invalidate_caches()
    for folder in _folders_of(imports.names, top):
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    _refuse_mixture(top, file)
    if by_place is not None and by_place.loader is not None:
        module = importlib.util.module_from_spec(by_place)
        sys.modules[name] = module
        by_place.loader.exec_module(module)
        return module, str(top)
    _refuse_another(name, file)
    return importlib.import_module(name), str(top)


@dataclass(frozen=True)
class _Imports:
    """What a file imports: the most leading dots, and the first names of the absolute ones."""

    levels: int = 0
    names: frozenset[str] = frozenset()


def _imports(file: Path) -> _Imports:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return _Imports()  # the import says what is wrong, at its place
    levels, names = 0, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            levels = max(levels, node.level)
            if node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
    return _Imports(levels, frozenset(names))


def _folders_of(names: frozenset[str], top: Path) -> Iterator[Path]:
    """Folders above a clone's file that hold what it imports by a name that is not on the path: a clone is
    often meant to be run from its own root."""
    for name in sorted(names):
        if name in sys.modules or importlib.util.find_spec(name) is not None:
            continue
        for folder in list(top.parents)[:_FOLDERS_ABOVE]:
            if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
                yield folder
                break
            if (folder / ".git").exists():
                break


def _refuse_another(name: str, file: Path) -> None:
    """A clone's `diffusers/` or `utils.py` must not be mistaken for a module that is loaded already."""
    first = name.partition(".")[0]
    loaded = sys.modules.get(first)
    origin = _origin(loaded)
    if loaded is not None and origin is not None:
        here = file.parents[name.count(".") - (1 if file.stem == "__init__" else 0)]
        expected = here if "." in name or file.stem == "__init__" else file
        if not str(Path(origin).resolve()).startswith(str(expected.resolve().with_suffix(""))):
            raise Unbuildable(
                f"{file} would be imported as {name}, and another {first} is loaded already ({origin}).",
                "Give the clone's module by a name of its own, or install the clone.",
            )


def _refuse_mixture(top: Path, file: Path) -> None:
    """A clone that brings a package of its own must not be built from another of that name, which was
    loaded before. Looks at what `file` and the loaded files below `top` import. Raises Unbuildable."""
    inside = f"{top}{os.sep}"
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    files = {file, *(Path(path) for path in loaded if isinstance(path, str) and path.startswith(inside))}
    for name in sorted({name for each in files for name in _imports(each).names}):
        origin = _origin(sys.modules.get(name))
        own = next((p for p in (top / name / "__init__.py", top / f"{name}.py") if p.exists()), None)
        if own is None or origin is None or name in sys.stdlib_module_names:
            continue
        if not Path(origin).resolve().is_relative_to(top.resolve()):
            raise Unbuildable(
                f"The clone brings its own {name} ({own}), and another {name} is loaded already ({origin}).",
                "Compare against a checkpoint or a key dump (--official), made where the clone runs.",
            )


def _origin(module: ModuleType | None) -> str | None:
    """Where a module comes from; of a package without `__init__.py`, its first folder."""
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)


def _outermost_package(file: Path, levels: int) -> Path | None:
    """The folder of the outermost package that holds the file, None where it lies in none.

    A folder without `__init__.py` is a package too where the file imports relatively: one for each of the
    leading dots (`levels`).
    """
    folder = file.parent
    found: Path | None = None
    while levels > 0 or (folder / "__init__.py").is_file():
        if folder.parent == folder:
            break
        found, folder, levels = folder, folder.parent, levels - 1
    return found


def _arguments(found: OfficialClass, config: Mapping[str, Any] | None) -> dict[str, Any]:
    parameters = _parameters(found.cls)
    takes_any = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        for parameter in inspect.signature(found.cls.__init__).parameters.values()
    )
    given = {
        name: value
        for name, value in (config or {}).items()
        if not name.startswith("_") and (name in parameters or (takes_any and config is not None))
    }
    lacking = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in given
    ]
    if lacking:
        raise Unbuildable(
            f"The constructor of {found.cls.__name__} asks for {', '.join(lacking)}"
            + (", which the configuration lacks." if config is not None else ", and has no default for it."),
            "Give a configuration that has them: the config.json of a checkpoint, or one written by hand.",
        )
    return given


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The constructor's named parameters without `self`. Raises Unbuildable where Python knows none."""
    try:
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    except (TypeError, ValueError):
        raise Unbuildable(
            f"The constructor of {cls.__name__} has no signature that Python can read.", None
        ) from None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = [parameter for parameter in signature.parameters.values() if parameter.kind in named]
    return {parameter.name: parameter for parameter in found[1:]}


def _other_names(module: Any, name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, dir(module), 3)
    return f"It has {', '.join(close)}." if close else "Name a class that the module defines."
