"""The model registry, simulated from facts, every oddity included.

Source: `_discover_and_register_models` and the tables of `fastvideo/models/registry.py` and of
`sglang/multimodal_gen/runtime/models/registry.py`; what differs is `Profile.discovery`. Unlike the
latter, folders that are symbolic links are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from analyzers.facts.chunks import BYTE_ORDER_MARK
from analyzers.facts.entries import DISCOVERED_NAME
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
from analyzers.findings import Location, Span
from analyzers.project.profile import Profile
from analyzers.project.sources import Sources

Spec = tuple[str, str, str]
"""(component, module relative to the component, class), as the registry stores it."""


@dataclass(frozen=True)
class Discovered:
    """An architecture name that discovery finds; `location` is its name in the `EntryClass` value.

    `aliases`: the further names that its class claims.
    """

    name: str
    spec: Spec
    path: str
    location: Location
    aliases: tuple[str, ...] = ()


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
    result, in the order of the registry's own dict. `aliases`: further names -> the architecture
    that they stand for, asked where `models` has no such name. `legacy_known`: False where the
    registry file is missing, does not parse, or builds its tables in a way that facts cannot follow;
    then only discovery counts.
    """

    discovered: dict[str, Discovered] = field(default_factory=dict)
    duplicates: tuple[tuple[Discovered, Discovered], ...] = ()
    rows: tuple[LegacyRow, ...] = ()
    models: dict[str, Spec] = field(default_factory=dict)
    legacy_known: bool = True
    aliases: dict[str, str] = field(default_factory=dict)

    def spec(self, architecture: str) -> Spec | None:
        """What the registry loads for a name in a checkpoint, an alias included; None: nothing."""
        found = self.models.get(architecture)
        return found if found is not None else self.models.get(self.aliases.get(architecture, ""))


def simulate(sources: Sources, profile: Profile) -> Registry:
    """The registry of the tree, as importing its registry module would build it."""
    discovered: dict[str, Discovered] = {}
    duplicates: list[tuple[Discovered, Discovered]] = []
    claimed: dict[str, tuple[str, ...]] = {}
    for path in sources.walk(profile.models):
        found = sources.memory.get(("entries", path), partial(_entries_of, path, sources, profile))
        for entry in found:
            earlier = discovered.get(entry.name)
            if earlier is not None:
                duplicates.append((earlier, entry))
            # Assigning to a known key keeps its place in the dict, as it does upstream.
            discovered[entry.name] = entry
            if entry.aliases:
                claimed[entry.name] = entry.aliases
    rows = sources.memory.get(("legacy rows",), lambda: _rows_of(sources, profile))
    found_there = {name: entry.spec for name, entry in discovered.items()}
    tabled = {row.architecture: row.spec for row in rows or ()}
    first, second = (tabled, found_there) if profile.discovery.tables_first else (found_there, tabled)
    return Registry(
        discovered=discovered,
        duplicates=tuple(duplicates),
        rows=tuple(rows or ()),
        models={**first, **second, **found_there},
        legacy_known=rows is not None,
        aliases={alias: name for name, aliases in claimed.items() for alias in aliases},
    )


def _entries_of(path: str, sources: Sources, profile: Profile) -> tuple[Discovered, ...]:
    return tuple(discover_in(path, sources, profile))


def _rows_of(sources: Sources, profile: Profile) -> tuple[LegacyRow, ...] | None:
    facts = sources.facts(profile.registry)
    return legacy_rows(facts, profile.legacy_table) if facts is not None else None


def discover_in(path: str, sources: Sources, profile: Profile) -> Iterator[Discovered]:
    """What discovery takes from one file below the models folder, in the order of the value."""
    place = place_of(profile, path)
    if place is None:
        return
    text = sources.text(path)
    if text is None or DISCOVERED_NAME not in text:
        return
    if text.startswith(BYTE_ORDER_MARK):
        return  # `ast.parse` rejects the mark in a string, although Python imports such a file
    facts = sources.facts(path)
    if facts is None or not facts.entries or not facts.has_class:
        return
    # On disk, a file that does not parse registers nothing. One that is open in an editor is being
    # typed in: it is taken for what it will register once it parses, so that names do not flicker.
    if facts.broken and not sources.is_open(path):
        return
    component, module = place
    # `ast.walk` overwrites its find at each assignment: the last one met decides.
    entry = facts.entries[-1]
    for name, location in entry_names(entry):
        aliases = _aliases(facts, name, profile.discovery.aliases)
        yield Discovered(name, (component, module, name), path, location, aliases)


def place_of(profile: Profile, path: str) -> tuple[str, str] | None:
    """The component and the module under which discovery would register a file's classes.

    None where discovery does not look at the file.
    """
    if not path.startswith(profile.models + "/"):
        return None
    component, *inside = path[len(profile.models) + 1 : -len(".py")].split("/")
    if not inside:
        return None
    if profile.discovery.skips_dunder_folders and component.startswith("__"):
        return None
    if profile.discovery.nested:
        return component, ".".join(inside[:-1] if inside[-1] == "__init__" else inside)
    return (component, inside[0]) if len(inside) == 1 else None


def _aliases(facts: FileFacts, name: str, attribute: str | None) -> tuple[str, ...]:
    """The strings of the last plain display of that attribute, in the body of a class of that name.

    Of several classes of one name, the last that has such strings counts. Classes inside functions
    do too, upstream; here they are not seen.
    """
    if attribute is None:
        return ()
    for cls in reversed(facts.classes):
        for assignment in reversed(cls.fact.attributes if cls.fact.name == name else ()):
            strings = _strings(assignment) if attribute in assignment.names else ()
            if strings:
                return strings
    return ()


def _strings(assignment: Assignment) -> tuple[str, ...]:
    """The strings of a list or tuple that is assigned plainly, on no condition."""
    value = assignment.value
    if assignment.augmented or assignment.conditional or assignment.annotation is not None:
        return ()
    if not isinstance(value, Collection) or value.kind == "set":
        return ()
    return tuple(i.value for i in value.items if isinstance(i, Constant) and isinstance(i.value, str))


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
    tables = _Tables(facts)
    rows: list[LegacyRow] = []
    return tuple(rows) if tables.collect(combined, len(facts.assignments), rows) else None


class _Tables:
    """The dict displays of the registry file, in the order in which the module executes."""

    def __init__(self, facts: FileFacts) -> None:
        self.facts = facts

    def collect(self, name: str, before: int, rows: list[LegacyRow]) -> bool:
        """Adds the rows that table `name` holds just before the module's assignment `before`.

        False where it cannot be told: the name is not assigned by then, not a display of rows and
        spread tables, assigned under a condition, or changed in place somewhere.
        """
        if self._changes(name):
            return False
        assigned = [
            (index, placed)
            for index, placed in enumerate(self.facts.assignments[:before])
            if name in placed.fact.names and (placed.fact.value is not None or placed.fact.augmented)
        ]
        if not assigned or any(placed.fact.conditional for _, placed in assigned):
            return False
        index, table = assigned[-1]
        if not isinstance(table.fact.value, Mapping) or table.fact.augmented:
            return False
        for key, item in table.fact.value.items:
            if key is None:
                # Spread where the display is evaluated: what is assigned later does not count.
                if not isinstance(item, Reference) or not self.collect(item.dotted, index, rows):
                    return False
                continue
            row = _row(name, table, key, item)
            if row is None:
                return False
            rows.append(row)
        return True

    def _changes(self, name: str) -> bool:
        """Whether some line may change the dict in place; a mention that looks like it is enough."""
        pattern = re.compile(
            rf"(?<![\w.]){re.escape(name)}\s*(?:\[|\|=|\.(?:update|pop|popitem|clear|setdefault)\b)"
        )
        return any(pattern.search(chunk.text) for chunk in self.facts.chunks)


def _row(table_name: str, table: Placed[Assignment], key: Expr, item: Expr) -> LegacyRow | None:
    if not isinstance(key, Constant) or not isinstance(key.value, str):
        return None
    if not isinstance(item, Collection) or len(item.items) != 3:
        return None
    parts = [i.value for i in item.items if isinstance(i, Constant) and isinstance(i.value, str)]
    if len(parts) != 3:
        return None
    stretch = Span(key.span.line, key.span.column, item.span.end_line, item.span.end_column)
    return LegacyRow(
        table=table_name,
        architecture=key.value,
        spec=(parts[0], parts[1], parts[2]),
        location=table.at(stretch),
        key=table.at(key.span),
    )
