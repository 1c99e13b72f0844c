"""FastVideo's model registry, simulated from facts, every oddity included.

Source: `fastvideo/models/registry.py`, `_discover_and_register_models` and the legacy tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from analyzers.facts.model import (
    Assignment,
    Collection,
    Constant,
    EntryAssignment,
    Expr,
    FileFacts,
    Mapping,
    Placed,
    Reference,
)
from analyzers.findings import Location
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

Spec = tuple[str, str, str]
"""(component, module relative to the component, class), as the registry stores it."""


@dataclass(frozen=True)
class Discovered:
    """An architecture name that discovery finds; `location` is its name in the `EntryClass` value."""

    name: str
    spec: Spec
    path: str
    location: Location


@dataclass(frozen=True)
class LegacyRow:
    """One row of a legacy table; `location` is the whole `key: value` stretch, `key` the key's."""

    table: str
    architecture: str
    spec: Spec
    location: Location
    key: Location


@dataclass(frozen=True)
class Registry:
    """What `ModelRegistry` would hold.

    `discovered`: name -> the entry that wins. `duplicates`: (overwritten, winner) in walk order.
    `rows`: the rows of every legacy table that the combined table spreads, in order. `models`: the
    result, discovered names first. `legacy_known`: False where the registry file is missing, does
    not parse, or builds its tables in a way that facts cannot follow; then only discovery counts.
    """

    discovered: dict[str, Discovered] = field(default_factory=dict)
    duplicates: tuple[tuple[Discovered, Discovered], ...] = ()
    rows: tuple[LegacyRow, ...] = ()
    models: dict[str, Spec] = field(default_factory=dict)
    legacy_known: bool = True


def simulate(sources: Sources, profile: Profile) -> Registry:
    """The registry of the tree, as importing `fastvideo.models.registry` would build it."""
    discovered: dict[str, Discovered] = {}
    duplicates: list[tuple[Discovered, Discovered]] = []
    for path in sources.walk(profile.models):
        for entry in discover_in(path, sources, profile):
            earlier = discovered.get(entry.name)
            if earlier is not None:
                duplicates.append((earlier, entry))
            # Assigning to a known key keeps its place in the dict, as it does in FastVideo.
            discovered[entry.name] = entry
    facts = sources.facts(profile.registry)
    rows = legacy_rows(facts, profile.legacy_table) if facts is not None else None
    models = {name: entry.spec for name, entry in discovered.items()}
    for name, spec in {row.architecture: row.spec for row in rows or ()}.items():
        models.setdefault(name, spec)
    return Registry(discovered, tuple(duplicates), tuple(rows or ()), models, rows is not None)


def discover_in(path: str, sources: Sources, profile: Profile) -> Iterator[Discovered]:
    """What discovery takes from one file below the models folder, in the order of the value."""
    text = sources.text(path)
    if text is None or "EntryClass" not in text:
        return
    facts = sources.facts(path)
    # A file that does not parse is taken for what it will register once it does: FastVideo could not
    # import its registry at all meanwhile, and names that come and go tell nobody anything.
    if facts is None or not facts.entries or not facts.has_class:
        return
    inside = path[len(profile.models) + 1 :].split("/")
    if len(inside) == 1:
        return
    component, *folders, filename = inside
    stem = filename[: -len(".py")]
    module = ".".join(folders if filename == "__init__.py" else [*folders, stem])
    # `ast.walk` overwrites its find at each assignment: the last one met decides.
    entry = facts.entries[-1]
    for name, location in entry_names(entry):
        yield Discovered(name, (component, module, name), path, location)


def entry_names(entry: Placed[EntryAssignment]) -> Iterator[tuple[str, Location]]:
    """The names that discovery reads from the value of an `EntryClass` assignment."""
    value = entry.fact.value
    if isinstance(value, Reference) and "." not in value.dotted:
        yield value.dotted, entry.at(value.span)
    elif isinstance(value, Collection) and value.kind in ("list", "tuple"):
        for item in value.items:
            if isinstance(item, Constant) and isinstance(item.value, str):
                yield item.value, entry.at(item.span)
            elif isinstance(item, Reference) and "." not in item.dotted:
                yield item.dotted, entry.at(item.span)


def legacy_rows(facts: FileFacts, combined: str) -> tuple[LegacyRow, ...] | None:
    """The rows of the tables that the combined table spreads; None where facts cannot follow it."""
    if facts.broken:
        return None
    table = facts.assignment_of(combined)
    if table is None:
        return None
    rows: list[LegacyRow] = []
    if not _collect(facts, combined, table, rows, seen=frozenset()):
        return None
    return tuple(rows)


def _collect(
    facts: FileFacts,
    name: str,
    table: Placed[Assignment],
    rows: list[LegacyRow],
    seen: frozenset[str],
) -> bool:
    value = table.fact.value
    if not isinstance(value, Mapping) or name in seen:
        return False
    for key, item in value.items:
        if key is None:
            inner = facts.assignment_of(item.dotted) if isinstance(item, Reference) else None
            if inner is None or not isinstance(item, Reference):
                return False
            if not _collect(facts, item.dotted, inner, rows, seen | {name}):
                return False
            continue
        row = _row(name, table, key, item)
        if row is None:
            return False
        rows.append(row)
    return True


def _row(table_name: str, table: Placed[Assignment], key: Expr, item: Expr) -> LegacyRow | None:
    if not isinstance(key, Constant) or not isinstance(key.value, str):
        return None
    if not isinstance(item, Collection) or len(item.items) != 3:
        return None
    parts = [i.value for i in item.items if isinstance(i, Constant) and isinstance(i.value, str)]
    if len(parts) != 3:
        return None
    stretch = type(key.span)(key.span.line, key.span.column, item.span.end_line, item.span.end_column)
    return LegacyRow(
        table=table_name,
        architecture=key.value,
        spec=(parts[0], parts[1], parts[2]),
        location=table.at(stretch),
        key=table.at(key.span),
    )
