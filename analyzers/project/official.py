"""The official counterpart's constructor, read from its source; nothing is run.

A reference is `path/in/clone.py::Class` (relative to the project's root, or absolute) or
`package:Class`, whose source is looked for below the project's own interpreter (`python` in the
settings, else a virtual environment in the root). A package's lazy `__init__` names its classes in
imports for the type checker; those are followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from analyzers.facts.model import ClassFacts, FunctionFacts, Parameter, Placed, Reference
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources

_HOPS = 8
_MINORS = range(8, 20)
_ENVIRONMENTS = (".venv", "venv")


@dataclass(frozen=True)
class OfficialConstructor:
    """The class that a reference names, the `__init__` that builds it, and its own parameters.

    `open_ended`: it takes further keywords that cannot be told.
    """

    cls: Placed[ClassFacts]
    init: Placed[FunctionFacts]
    parameters: tuple[Parameter, ...]
    open_ended: bool


class Official:
    """Official sources, as far as they lie on this machine."""

    def __init__(self, sources: Sources, settings: Settings) -> None:
        self.sources = sources
        self.settings = settings

    def constructor(self, reference: str) -> OfficialConstructor | None:
        """The constructor that a reference leads to; None where its source is not there."""
        key = ("official", self.settings.python, reference)
        return self.sources.memory.get(key, lambda: self._constructor(reference))

    def cls(self, reference: str) -> Placed[ClassFacts] | None:
        """The class that a reference leads to; None where its source is not there."""
        path, name = self._start(reference)
        return self._class(path, name, _HOPS) if path is not None else None

    def _constructor(self, reference: str) -> OfficialConstructor | None:
        cls = self.cls(reference)
        found = self._built_by(cls, _HOPS) if cls is not None else None
        if cls is None or found is None:
            return None
        parameters = tuple(p for p in found.fact.parameters[1:] if p.kind in ("any", "positional", "keyword"))
        return OfficialConstructor(cls, found, parameters, found.fact.accepts_any_keyword)

    def some_constructor_takes(self, folders: tuple[str, ...], name: str) -> bool:
        """Whether the constructor of any class below these folders of installed packages has a
        parameter of that name; False where they are not installed."""
        key = ("argument of", folders, name)
        return self.sources.memory.get(key, lambda: self._some_takes(folders, name))

    def _some_takes(self, folders: tuple[str, ...], name: str) -> bool:
        for site in self._site_packages():
            for path in (p for folder in folders for p in self.sources.walk(f"{site}/{folder}")):
                facts = self.sources.facts(path) if name in self.sources.words(path) else None
                for cls in facts.classes if facts is not None else ():
                    init = cls.fact.method("__init__")
                    if init is not None and init.parameter(name) is not None:
                        return True
        return False

    def _start(self, reference: str) -> tuple[str | None, str]:
        """The file that a reference begins at, and the class's name."""
        path, found, name = reference.partition("::")
        if found:
            return (path if self.sources.exists(path) else None), name
        module, _, name = reference.rpartition(":")
        folder = module.replace(".", "/")
        for site in self._site_packages() if module else ():
            start = self._module(f"{site}/{folder}")
            if start is not None:
                return start, name
        return None, name

    def _site_packages(self) -> Iterator[str]:
        """Where the project's interpreter keeps its packages."""
        python = self.settings.python
        homes = [str(PurePosixPath(python.replace("\\", "/")).parent.parent)] if python else [*_ENVIRONMENTS]
        for home in homes:
            for minor in _MINORS:
                yield f"{home}/lib/python3.{minor}/site-packages"
            yield f"{home}/Lib/site-packages"
            yield f"{home}/lib/python3/dist-packages"

    def _module(self, base: str) -> str | None:
        candidates = (f"{base}/__init__.py", f"{base}.py")
        return next((path for path in candidates if self.sources.exists(path)), None)

    def _class(self, path: str, name: str, hops: int) -> Placed[ClassFacts] | None:
        """The class of that name that a file defines or imports, by relative or own absolute imports."""
        facts = self.sources.facts(path)
        if facts is None or hops <= 0:
            return None
        own = facts.class_named(name)
        if own is not None:
            return own
        for item in (i.fact for i in facts.imports if i.fact.bound == name and i.fact.name is not None):
            home = self._home(path, item.module, item.level)
            found = self._class(home, str(item.name), hops - 1) if home is not None else None
            if found is not None:
                return found
        return None

    def _home(self, path: str, module: str, level: int) -> str | None:
        """The file of an imported module, seen from `path`."""
        inside = module.replace(".", "/")
        if level == 0:
            site, found, _ = path.partition("/site-packages/")
            return self._module(f"{site}{found}{inside}") if found else self._module(inside)
        folder = PurePosixPath(path).parent
        for _ in range(level - 1):
            folder = folder.parent
        return self._module(f"{folder}/{inside}" if inside else str(folder))

    def _built_by(self, cls: Placed[ClassFacts], hops: int) -> Placed[FunctionFacts] | None:
        """The class's `__init__`, its own or that of the first base that has one in sight."""
        init = cls.fact.method("__init__")
        if init is not None:
            return Placed(init, cls.path, cls.line)
        for base in cls.fact.bases if hops > 0 else ():
            above = self._class(cls.path, base.dotted, hops - 1) if isinstance(base, Reference) else None
            if above is not None and above.fact.name != cls.fact.name:
                return self._built_by(above, hops - 1)
        return None
