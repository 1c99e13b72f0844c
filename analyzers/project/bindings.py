"""What a module binds, and how sure that is: the ground of every "does not exist".

`binds` and `absence` answer for certain or not at all. A name may come into a module in ways that
facts do not follow (a loop variable, `globals()`, a star import from outside the tree); wherever
one of these is possible, nothing is said to be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from analyzers.facts.model import (
    Assignment,
    Collection,
    Constant,
    FileFacts,
    Import,
    Placed,
    PlacedChunk,
)
from analyzers.findings import Location
from analyzers.project.names import MAXIMUM_HOPS, Names

_COMPOUND = re.compile(r"(?:if|for|while|with|try|async|match)\b")
_DEFINITION = re.compile(r"(?:class|def|import|from|@|async\s+def)\b|@")
_DYNAMIC = re.compile(
    r"\bglobals\s*\(|\bvars\s*\(\s*\)|\bexec\s*\(|\bsetattr\s*\(\s*sys\.modules|\bsys\.modules\b"
)
_LEADING = re.compile(r"(?:[ \t\f]*(?:#[^\n]*)?\n)*")


@dataclass(frozen=True)
class Absence:
    """Proof that a name is missing: `path` is the file that would have to define it.

    `name` is None where the whole module is missing; `path` is then the file's dotted name.
    """

    path: str
    name: str | None

    def __str__(self) -> str:
        if self.name is None:
            return f"there is no module '{self.path}'"
        return f"{self.path} does not define '{self.name}'"


def binds(names: Names, facts: FileFacts, name: str) -> bool | None:
    """Whether a module has an attribute `name` once it is imported; None: it cannot be told."""
    return _binds(names, facts, name, MAXIMUM_HOPS)


def _binds(names: Names, facts: FileFacts, name: str, hops: int) -> bool | None:
    if (
        facts.class_named(name) is not None
        or facts.function_named(name) is not None
        or any(name in a.fact.names for a in facts.assignments)
        or name in facts.aliases
    ):
        return True
    if facts.broken or hops <= 0 or facts.function_named("__getattr__") is not None:
        return None
    if facts.path.endswith("/__init__.py"):
        submodule = f"{names.module_name(facts.path)}.{name}"
        if names.module_path(submodule) is not None:
            return None  # bound once something imports it
    if may_bind(facts, name):
        return None
    for star in (i.fact for i in facts.imports if i.fact.bound == "*" and i.fact.function is None):
        target = names.absolute(facts.path, "." * star.level + star.module)
        path = names.module_path(target) if target else None
        source = names.sources.facts(path) if path is not None else None
        if source is None or _binds(names, source, name, hops - 1) is not False:
            return None
    return False


def may_bind(facts: FileFacts, name: str) -> bool:
    """Whether a statement of the module, other than its plain assignments, could bind the name."""
    return any(_may_bind(chunk, name) for chunk in facts.chunks)


def _may_bind(chunk: PlacedChunk, name: str) -> bool:
    """Whether a statement that facts have no word for could bind the name."""
    if _DYNAMIC.search(chunk.text):
        return True
    if re.search(rf"\b{re.escape(name)}\b", chunk.text) is None:
        return False
    code = _LEADING.sub("", chunk.text, count=1)
    if _DEFINITION.match(code):
        return re.search(rf"\bglobal\b[^\n]*\b{re.escape(name)}\b", code) is not None
    if _COMPOUND.match(code) or ":=" in code:
        return True
    if chunk.facts.assignments:
        return False
    # A tuple target, or an attribute or item: only the first binds names.
    return re.match(rf"[^\n=\"'#]*\b{re.escape(name)}\b[^\n=\"'#]*=(?!=)", code) is not None


def absence(names: Names, path: str, name: str) -> Absence | None:
    """Why a module of the tree certainly has no attribute `name`; None where it has or may have.

    Follows imports: a name that is imported from where it does not exist is missing too, since the
    import itself fails.
    """
    return _absence(names, path, name, MAXIMUM_HOPS)


def _absence(names: Names, path: str, name: str, hops: int) -> Absence | None:
    facts = names.sources.facts(path)
    if facts is None or facts.broken or hops <= 0:
        return None
    bound = binds(names, facts, name)
    if bound is False:
        return Absence(path, name)
    imports = [i.fact for i in facts.imports if i.fact.bound == name and i.fact.function is None]
    if (
        bound is None
        or len(imports) != 1
        or facts.class_named(name) is not None
        or facts.function_named(name) is not None
        or any(name in a.fact.names for a in facts.assignments)
    ):
        return None
    return _import_absence(names, path, imports[0], hops - 1)


def import_absence(names: Names, path: str, item: Import) -> Absence | None:
    """Why a `from ... import name` of the file `path` certainly fails; None where it may work."""
    return _import_absence(names, path, item, MAXIMUM_HOPS)


def _import_absence(names: Names, path: str, item: Import, hops: int) -> Absence | None:
    if item.conditional or item.guarded or item.type_checking or item.name in (None, "*"):
        return None
    module = names.absolute(path, "." * item.level + item.module)
    if module is None or not names.profile.owns(module):
        return None
    source = names.module_path(module)
    if source is None:
        return missing_module(names, module)
    if names.module_path(f"{module}.{item.name}") is not None:
        return None  # a submodule
    if source == path:
        # A package that imports from itself while it is being imported: only what it binds besides counts.
        return Absence(path, str(item.name)) if _binds_nothing_else(names, path, item) else None
    return _absence(names, source, str(item.name), hops)


def _binds_nothing_else(names: Names, path: str, item: Import) -> bool:
    """Whether a module certainly gets the name of an import of its own in no other way."""
    facts, name = names.sources.facts(path), str(item.name)
    if facts is None or facts.broken:
        return False
    return (
        facts.class_named(name) is None
        and facts.function_named(name) is None
        and facts.function_named("__getattr__") is None
        and not any(name in a.fact.names for a in facts.assignments)
        and not any(i.fact.bound in (name, "*") and i.fact != item for i in facts.imports)
        and not may_bind(facts, name)
    )


def missing_module(names: Names, dotted: str) -> Absence | None:
    """Why a module of the code base certainly does not exist; None where it does or may."""
    if names.module_path(dotted) is not None:
        return None
    folder = dotted.replace(".", "/")
    if names.sources.walk(folder):
        return None  # a namespace package
    return Absence(dotted, None)


def listed(facts: FileFacts) -> tuple[tuple[str, Location], ...] | None:
    """The strings of `__all__` with their places; None where it is missing or computed."""
    found: list[tuple[str, Location]] = []
    statements = [a for a in facts.assignments if "__all__" in a.fact.names]
    if not statements or any(_touches_all(c) for c in facts.chunks):
        return None
    for assignment in statements:
        strings = list(_strings(assignment))
        if not strings and not _is_empty(assignment):
            return None
        if not assignment.fact.augmented:
            found.clear()
        found.extend(strings)
        if assignment.fact.conditional:
            return None
    return tuple(found)


def _touches_all(chunk: PlacedChunk) -> bool:
    """Whether a call on `__all__` may change it (`__all__.append(...)`)."""
    return re.search(r"\b__all__\s*\.", chunk.text) is not None


def _is_empty(assignment: Placed[Assignment]) -> bool:
    value = assignment.fact.value
    return isinstance(value, Collection) and not value.items


def _strings(assignment: Placed[Assignment]) -> Iterator[tuple[str, Location]]:
    value = assignment.fact.value
    if not isinstance(value, Collection):
        return
    if not all(isinstance(i, Constant) and isinstance(i.value, str) for i in value.items):
        return
    for item in value.items:
        if isinstance(item, Constant):
            yield str(item.value), assignment.at(item.span)
