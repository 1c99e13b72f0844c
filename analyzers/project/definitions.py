"""What a name means: modules of the tree, imports, and the definitions that they lead to.

Every answer that is not certain is None, never a guess: rules stay quiet there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from analyzers.facts.model import (
    Assignment,
    ClassFacts,
    FileFacts,
    FunctionFacts,
    Placed,
    Reference,
    imported_target,
    literal,
)
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

MAXIMUM_HOPS = 16
"""Longest chain of bases or constants that is followed; cycles end here."""


@dataclass(frozen=True)
class Module:
    """A module of the tree."""

    path: str


@dataclass(frozen=True)
class External:
    """Something outside the tree, by its full dotted name (`torch.nn.Linear`)."""

    dotted: str


Definition: TypeAlias = "Module | External | Placed[ClassFacts] | Placed[FunctionFacts] | Placed[Assignment]"


@dataclass(frozen=True)
class _Absent:
    """Certain: the module does not bind the name."""


_ABSENT: Final = _Absent()
_Found: TypeAlias = "Definition | _Absent | None"


class Definitions:
    """Modules and names of one snapshot of the tree."""

    def __init__(self, sources: Sources, profile: Profile) -> None:
        self.sources = sources
        self.profile = profile
        self.memory = sources.memory

    # ------------------ modules

    def module_path(self, dotted: str) -> str | None:
        """The file of a module of the tree (`fastvideo.models.registry`), or None."""
        return self.memory.get(("module", dotted), lambda: self._module_path(dotted))

    def _module_path(self, dotted: str) -> str | None:
        base = dotted.replace(".", "/")
        # A package wins over a module of the same name, as it does in Python.
        candidates = (f"{base}/__init__.py", f"{base}.py")
        return next((p for p in candidates if self.sources.exists(p)), None)

    def module_name(self, path: str) -> str:
        """The dotted name of a file of the tree."""
        stem = path[: -len(".py")] if path.endswith(".py") else path
        return stem.removesuffix("/__init__").replace("/", ".")

    def absolute(self, path: str, target: str) -> str | None:
        """An import target of a file without leading dots; None where it leads out of the tree."""
        level = len(target) - len(target.lstrip("."))
        if level == 0:
            return target
        parts = self.module_name(path).split(".")
        if not path.endswith("/__init__.py"):
            parts = parts[:-1]
        if level > len(parts):
            return None  # beyond the top-level package
        kept = parts[: len(parts) - (level - 1)]
        rest = target[level:]
        return ".".join([*kept, rest] if rest else kept)

    # ------------------ names

    def resolve(self, path: str, dotted: str) -> Definition | None:
        """What a (dotted) name means at module level of the file `path`.

        Follows imports, re-exports and plain aliases. None: it cannot be told.
        """
        return self.memory.get(("name", path, dotted), lambda: self._definition(path, dotted))

    def _definition(self, path: str, dotted: str) -> Definition | None:
        found = self._resolve(path, dotted, {})
        return None if isinstance(found, _Absent) else found

    def qualified(self, path: str, dotted: str) -> str | None:
        """The full dotted name of what a name means, e.g. `nn.Linear` -> `torch.nn.Linear`."""
        found = self.resolve(path, dotted)
        if found is None:
            return None
        if isinstance(found, External):
            return found.dotted
        if isinstance(found, Module):
            return self.module_name(found.path)
        name = found.fact.names[0] if isinstance(found.fact, Assignment) else found.fact.name
        return f"{self.module_name(found.path)}.{name}"

    def class_of(self, path: str, dotted: str) -> Placed[ClassFacts] | None:
        """The class that a name means, or None where it is no class of the tree."""
        found = self.resolve(path, dotted)
        if isinstance(found, Placed) and isinstance(found.fact, ClassFacts):
            return found
        return None

    def qualified_class(self, cls: Placed[ClassFacts]) -> str:
        """The full dotted name of a class of the tree."""
        return f"{self.module_name(cls.path)}.{cls.fact.name}"

    def by_qualified(self, dotted: str) -> Definition | None:
        """The definition with that full dotted name."""
        module, _, name = dotted.rpartition(".")
        path = self.module_path(module)
        return self.resolve(path, name) if path is not None else None

    def _resolve(self, path: str, dotted: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        head, _, rest = dotted.partition(".")
        if visited:
            found = self._head(path, head, visited)
        else:  # `torch.add` and `torch.mul` ask for the same `torch`
            found = self.memory.get(("head", path, head), lambda: self._head(path, head, visited))
        while rest and found is not None and not isinstance(found, _Absent):
            head, _, rest = rest.partition(".")
            if isinstance(found, External):
                found = External(f"{found.dotted}.{head}")
            elif isinstance(found, Module):
                found = self._member(found, head, visited)
            else:
                return None
        return found

    def _member(self, module: Module, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """`module.name`: what the module binds, else its submodule of that name."""
        inner = self._head(module.path, name, visited)
        submodule = self.module_path(f"{self.module_name(module.path)}.{name}")
        if submodule is None:
            return inner
        if isinstance(inner, _Absent):
            return Module(submodule)
        facts = self.sources.facts(module.path)
        if inner is None and facts is not None and not self._binds(facts, name):
            return Module(submodule)
        return inner

    def _head(self, path: str, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """A plain name at module level; `visited` ends cycles and keeps star imports linear."""
        key = (path, name)
        if key not in visited:
            visited[key] = None
            facts = self.sources.facts(path)
            if facts is not None and facts.unreadable is None:
                visited[key] = self._bound(facts, name, visited)
        return visited[key]

    def _bound(self, facts: FileFacts, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        classes = facts.classes_named(name)
        functions = facts.functions_named(name)
        assigned = facts.assignment_of(name)
        targets = self._targets(facts).get(name, frozenset())
        ways = bool(classes) + bool(functions) + (assigned is not None) + len(targets)
        if ways > 1:
            return None  # bound in several ways: the order of execution decides
        if classes:
            return _only_certain(classes)
        if functions:
            return _only_certain(functions)
        if assigned is not None:
            return self._through_alias(facts, name, assigned, visited)
        for target in targets:
            absolute = self.absolute(facts.path, target)
            return self._absolute(absolute, visited) if absolute else None
        if self._binds(facts, name):
            return None  # only augmented, declared or changed here: where it comes from is unknown
        return self._starred(facts, name, visited)

    def _through_alias(
        self,
        facts: FileFacts,
        name: str,
        assigned: Placed[Assignment],
        visited: dict[tuple[str, str], _Found],
    ) -> _Found:
        """`Name = Other` means `Other`, where that is the only assignment of `Name`."""
        value = assigned.fact.value
        if (
            isinstance(value, Reference)
            and value.head != name
            and not assigned.fact.conditional
            and sum(name in a.fact.names for a in facts.assignments) == 1
        ):
            through = self._resolve(facts.path, value.dotted, visited)
            if through is not None and not isinstance(through, _Absent):
                return through
        return assigned

    def _starred(self, facts: FileFacts, name: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """What the file's star imports bind `name` to."""
        found: list[Definition] = []
        for star in (i.fact for i in facts.imports if i.fact.bound == "*"):
            prefix = self.absolute(facts.path, "." * star.level + star.module)
            module = self.module_path(prefix) if prefix else None
            if module is None:
                return None  # an unknown module may export anything
            exported = self._exports(module, name)
            if exported is None:
                return None
            through = self._head(module, name, visited) if exported else _ABSENT
            if through is None:
                return None
            if not isinstance(through, _Absent) and through not in found:
                found.append(through)
        if len(found) > 1 or (not found and facts.broken):
            return None
        return found[0] if found else _ABSENT

    def _exports(self, path: str, name: str) -> bool | None:
        """Whether `from module import *` may bind `name`; None where `__all__` is computed."""
        facts = self.sources.facts(path)
        if facts is None:
            return None
        if not self._binds(facts, "__all__"):
            return not name.startswith("_")
        try:
            listed = literal(
                assignment.fact.value if (assignment := facts.assignment_of("__all__")) else None
            )
        except ValueError:
            return None
        if sum("__all__" in a.fact.names for a in facts.assignments) > 1:
            return None
        return name in listed if isinstance(listed, (list, tuple, set)) else None

    def _targets(self, facts: FileFacts) -> dict[str, frozenset[str]]:
        """Imported name -> what its module-level imports stand for (several where they disagree)."""
        return self.memory.about(facts.path, facts, ("imports", facts.path), lambda: _import_targets(facts))

    def _binds(self, facts: FileFacts, name: str) -> bool:
        """Whether any statement at module level gives (or may give) `name` a meaning."""
        return (
            facts.class_named(name) is not None
            or facts.function_named(name) is not None
            or name in self._targets(facts)
            or any(name in a.fact.names for a in facts.assignments)
        )

    def _absolute(self, dotted: str, visited: dict[tuple[str, str], _Found]) -> _Found:
        """A full dotted name: the longest prefix that is a module of the tree, then names in it."""
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            path = self.module_path(".".join(parts[:cut]))
            if path is not None:
                found: _Found = Module(path)
                for index, name in enumerate(parts[cut:], cut):
                    if isinstance(found, Module):
                        found = self._member(found, name, visited)
                    elif isinstance(found, External):
                        return External(".".join([found.dotted, *parts[index:]]))
                    else:
                        return None
                return found
        return None if self.profile.owns(dotted) else External(dotted)


def as_class(found: Definition | None) -> Placed[ClassFacts] | None:
    return found if isinstance(found, Placed) and isinstance(found.fact, ClassFacts) else None


def _only_certain(found: Sequence[Placed[Any]]) -> Definition | None:
    """The last of several definitions, unless one stands under `if` or `try`."""
    if len(found) > 1 and any(f.fact.span.column for f in found):
        return None
    last: Definition = found[-1]
    return last


def _import_targets(facts: FileFacts) -> dict[str, frozenset[str]]:
    running: dict[str, set[str]] = {}
    checking: dict[str, set[str]] = {}
    for item in (i.fact for i in facts.imports):
        if item.function is None and item.bound != "*":
            table = checking if item.type_checking else running
            table.setdefault(item.bound, set()).add(imported_target(item))
    merged = {**checking, **running}
    return {name: frozenset(found) for name, found in merged.items()}
