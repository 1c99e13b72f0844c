"""Questions about discovery that several rules ask: what an `EntryClass` means, what is free to take."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analyzers.facts.entries import DISCOVERED_NAME
from analyzers.facts.model import (
    Assignment,
    Attribute,
    Call,
    ClassFacts,
    Collection,
    Constant,
    Expr,
    FileFacts,
    Opaque,
    Placed,
    Reference,
    Starred,
)
from analyzers.project.index import Project
from analyzers.project.names import MAXIMUM_HOPS
from analyzers.project.profile import Profile
from analyzers.project.registry import Spec, place_of


def in_component(profile: Profile, path: str) -> bool:
    """Whether discovery looks at a file: below a component's folder, not directly in the models folder."""
    return place_of(profile, path) is not None


def below_component(profile: Profile, path: str) -> bool:
    """Whether a file lies below a component's folder, however deep."""
    return path.startswith(profile.models + "/") and "/" in path[len(profile.models) + 1 :]


def spec_of(profile: Profile, cls: Placed[ClassFacts]) -> Spec | None:
    """The entry under which the registry would load a class from the module that defines it.

    None where discovery would not look there.
    """
    place = place_of(profile, cls.path)
    return (*place, cls.fact.name) if place is not None else None


def named(project: Project, path: str, expr: Expr | None) -> Iterator[tuple[str, Placed[ClassFacts] | None]]:
    """The names that an `EntryClass` value mentions, each with the class it means (None: unknown).

    Looks through calls, starred elements and constants of the module, since what is asked is which
    classes the author had in mind. A dotted name is given whole.
    """
    return _named(project, path, expr, MAXIMUM_HOPS)


def _named(
    project: Project, path: str, expr: Expr | None, hops: int
) -> Iterator[tuple[str, Placed[ClassFacts] | None]]:
    if expr is None or hops <= 0:
        return
    if isinstance(expr, Reference):
        cls = project.names.class_of(path, expr.dotted)
        found = project.names.resolve(path, expr.dotted) if cls is None else None
        if (
            isinstance(found, Placed)
            and isinstance(found.fact, Assignment)
            and isinstance(found.fact.value, Collection)
        ):
            yield from _named(project, found.path, found.fact.value, hops - 1)
            return
        yield expr.dotted, cls
    elif isinstance(expr, Constant) and isinstance(expr.value, str):
        if expr.value.isidentifier():
            yield expr.value, project.names.class_of(path, expr.value)
    elif isinstance(expr, Collection):
        for item in expr.items:
            yield from _named(project, path, item, hops - 1)
    elif isinstance(expr, Starred):
        yield from _named(project, path, expr.value, hops - 1)
    elif isinstance(expr, Call):
        for argument in expr.arguments:
            yield from _named(project, path, argument, hops - 1)
    elif isinstance(expr, Attribute):
        yield from _named(project, path, expr.base, hops - 1)


def annotated_entries(facts: FileFacts) -> tuple[Placed[Assignment], ...]:
    """The assignments to `EntryClass` that discovery overlooks because they are annotated."""
    return tuple(
        a
        for a in facts.assignments
        if DISCOVERED_NAME in a.fact.names and a.fact.annotation is not None and a.fact.value is not None
    )


def changed_entries(facts: FileFacts) -> tuple[Placed[Assignment], ...]:
    """What is added to `EntryClass` (`+=`, `.append`) or unpacked into it, which discovery overlooks."""
    return tuple(
        a
        for a in facts.assignments
        if DISCOVERED_NAME in a.fact.names
        and (a.fact.augmented or (isinstance(a.fact.value, Opaque) and a.fact.value.kind == "Unpacked"))
    )


def can_register(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether an `EntryClass` in the class's own module would change nothing for any other class.

    Not where the registry already loads another class (or one that cannot be told) under the name.
    """
    spec = project.registry.models.get(cls.fact.name)
    if spec is None:
        return True
    present = project.port_index.class_of_spec(spec)
    if present is None:
        # A dangling row serves nobody.
        return project.names.module_path(project.port_index.module_of_spec(spec)) is None
    return project.names.qualified_class(present) == project.names.qualified_class(cls)


def hides(project: Project, cls: Placed[ClassFacts]) -> bool:
    """Whether some file that does not parse at the moment may hold the class's `EntryClass`."""
    word = re.compile(rf"\b{re.escape(cls.fact.name)}\b")
    for path in project.sources.walk(project.profile.models):
        text = project.sources.text(path) or ""
        if DISCOVERED_NAME in text and cls.fact.name in text and word.search(text):
            facts = project.file(path)
            if facts is not None and facts.broken:
                return True
    return False


def defined_in(project: Project, folder: str, name: str) -> tuple[Placed[ClassFacts], ...]:
    """Every module-level class of that name below a folder."""
    definition = re.compile(rf"^[ \t]*class[ \t]+{re.escape(name)}\b", re.MULTILINE)
    found = []
    for path in project.sources.walk(folder):
        if definition.search(project.sources.text(path) or "") is None:
            continue
        facts = project.file(path)
        cls = facts.class_named(name) if facts is not None else None
        if cls is not None:
            found.append(cls)
    return tuple(found)
