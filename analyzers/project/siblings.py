"""Functions of the DiT folder that are copies of each other, and the numeric detail in which they differ.

Each file has a table of keys (`analyzers.facts.signatures`), remembered until that file changes; two files
have copies in common only where their tables share keys, so an edit costs its own file's table and a few
comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from itertools import chain

from analyzers.facts.copies import Comparison, compare
from analyzers.facts.differences import Difference
from analyzers.facts.model import ClassFacts, FunctionFacts, Placed, imported_target
from analyzers.facts.signatures import Signature, signature
from analyzers.findings import Location
from analyzers.project.index import Project

_MOST_DETAILS = 2
"""Copies that differ in more have gone their own ways."""


@dataclass(frozen=True)
class Site:
    """One function of the tree."""

    cls: Placed[ClassFacts] | None
    function: Placed[FunctionFacts]

    @property
    def name(self) -> str:
        """`Block.forward`, or the function's name."""
        name = self.function.fact.name
        return f"{self.cls.fact.name}.{name}" if self.cls is not None else name

    @property
    def place(self) -> tuple[str, int]:
        """Its file and line: what tells it from every other one."""
        return (self.function.path, self.function.line + self.function.fact.span.line)


@dataclass(frozen=True)
class Drift:
    """A detail in which `here` differs from `there`; `same`: statements that agree; `siblings`: how many
    copies have the other detail."""

    here: Site
    there: Site
    detail: Difference
    at: Location
    other: Location
    same: int
    siblings: int


@dataclass(frozen=True)
class _Entry:
    """A statement of a function: its hash, under the key of what is around it."""

    site: Site
    hash: int


_Table = Mapping[int, "tuple[_Entry, ...]"]


def drifts(project: Project, path: str) -> tuple[Drift, ...]:
    """The drifts that belong to a file: its function is the one copy against several, or the later one."""
    if project.sources.is_open(path):
        # Somebody types here: what the other files have does not change from key to key.
        memory = project.sources.memory
        own = _make_table(
            project, path, memory.get(("sibling keys", path), partial(_keys_beyond, project, path))
        )
    else:
        own = _table(project, path)
    if not own:
        return ()
    tables = [own, *(_table(project, p) for p in _others(project, path))]
    found: dict[tuple[tuple[str, int], int], Drift] = {}
    for key, mine, theirs in _meetings(own, tables):
        for drift in _from_meeting(project, key, mine, theirs):
            known = found.get((drift.here.place, drift.at.span.line))
            if known is None or (drift.siblings, drift.same) > (known.siblings, known.same):
                found[(drift.here.place, drift.at.span.line)] = drift
    return tuple(sorted(found.values(), key=lambda d: d.at))


def _table(project: Project, path: str) -> _Table:
    return project.sources.memory.get(("sibling table", path), partial(_make_table, project, path))


def _make_table(project: Project, path: str, beyond: frozenset[int] | None = None) -> _Table:
    """The table of a file; with `beyond` only the keys that are among those, or that several functions of
    the file have."""
    facts = project.file(path)
    signatures: list[tuple[Site, Signature]] = []
    for cls, function in facts.all_functions() if facts is not None else ():
        found: Signature | None = project.derived("signature", function, signature)
        if found is not None and found.keys:
            signatures.append((Site(cls, function), found))
    shared: AbstractSet[int] | None = None
    if beyond is not None:
        often = Counter(chain.from_iterable(found.keys for _, found in signatures))
        shared = {key for key, count in often.items() if count > 1 or key in beyond}
    table: dict[int, list[_Entry]] = {}
    for site, found in signatures:
        if shared is not None and shared.isdisjoint(found.keys):
            continue
        for key, statement in zip(found.keys, (*found.statements, *found.renamed), strict=True):
            if shared is None or key in shared:
                table.setdefault(key, []).append(_Entry(site, statement))
    return {key: tuple(entries) for key, entries in table.items()}


def _others(project: Project, path: str) -> Iterator[str]:
    return (p for p in project.sources.walk(project.profile.dits) if p != path)


def _keys_beyond(project: Project, path: str) -> frozenset[int]:
    return frozenset().union(*(_table(project, p) for p in _others(project, path)))


def _meetings(
    own: _Table, tables: list[_Table]
) -> Iterator[tuple[int, tuple[_Entry, ...], tuple[_Entry, ...]]]:
    """Keys under which a function of the file meets statements that differ from its own."""
    shared: dict[int, list[_Entry]] = {}
    for table in tables:
        for key in own.keys() & table.keys():
            shared.setdefault(key, []).extend(table[key])
    for key, entries in shared.items():
        if len({entry.hash for entry in entries}) > 1:
            yield key, own[key], tuple(entries)


def _from_meeting(
    project: Project, key: int, mine: tuple[_Entry, ...], everyone: tuple[_Entry, ...]
) -> Iterator[Drift]:
    for entry in mine:
        copies = [
            (other, comparison)
            for other in everyone
            if other.site.place != entry.site.place
            and (comparison := _compared(project, entry.site, other.site)) is not None
        ]
        same = 1 + sum(other.hash == entry.hash for other, _ in copies)
        for others in _other_forms(entry, copies):
            if same > len(others) or (same == len(others) and same > 1):
                continue  # it is the usual form, or both are
            # The sibling in the same file is what a reader can check first.
            other, comparison = min(
                others, key=lambda o: (o[0].site.place[0] != entry.site.place[0], o[0].site.place)
            )
            if same == len(others) and not _is_later(project, entry.site, other.site):
                continue
            yield from _drift(project, entry.site, other.site, comparison, len(others))


def _other_forms(
    entry: _Entry, copies: list[tuple[_Entry, Comparison]]
) -> Iterator[list[tuple[_Entry, Comparison]]]:
    """The copies that differ from an entry in a detail, those of one form together."""
    forms: dict[int, list[tuple[_Entry, Comparison]]] = {}
    for other, comparison in copies:
        if other.hash != entry.hash and 0 < len(_distinct(comparison)) <= _MOST_DETAILS:
            forms.setdefault(other.hash, []).append((other, comparison))
    yield from forms.values()


def _drift(
    project: Project, here: Site, there: Site, comparison: Comparison, siblings: int
) -> Iterator[Drift]:
    bodies = project.sources.bodies
    start, other = bodies.start(here.function), bodies.start(there.function)
    for detail in _distinct(comparison):
        yield Drift(
            here,
            there,
            detail,
            Location(here.function.path, detail.here_span.shifted(start)),
            Location(there.function.path, detail.there_span.shifted(other)),
            comparison.same,
            siblings,
        )


def _distinct(comparison: Comparison) -> list[Difference]:
    """The details, each change once: `eps` in both norms of a block is one change."""
    return list({(d.kind, d.here, d.there): d for d in reversed(comparison.details)}.values())[::-1]


def _compared(project: Project, here: Site, there: Site) -> Comparison | None:
    left, right = project.body(here.function), project.body(there.function)
    if left is None or right is None:
        return None
    own = project.derived("signature", here.function, signature)
    other = project.derived("signature", there.function, signature)
    if own is None or other is None:
        return None
    return project.derived(
        ("compared", right.body.text), here.function, lambda body: compare(body, right.body, own, other)
    )


def _is_later(project: Project, here: Site, there: Site) -> bool:
    """Whether `here` is more likely the copy: further down, or in the file that leans on the other."""
    (path, line), (other, other_line) = here.place, there.place
    if path == other:
        return line > other_line
    leans, leant_on = _imports(project, path, other), _imports(project, other, path)
    if leans != leant_on:
        return leans
    stem, other_stem = _stem(path), _stem(other)
    if (other_stem in stem) != (stem in other_stem):
        return other_stem in stem
    return path > other


def _imports(project: Project, path: str, other: str) -> bool:
    facts = project.file(path)
    module = project.names.module_name(other)
    return facts is not None and any(
        (project.names.absolute(path, imported_target(i.fact)) or "").startswith(module)
        for i in facts.imports
    )


def _stem(path: str) -> str:
    """`causal_wanvideo` for `.../causal_wanvideo.py`; a file of a package counts with its folder."""
    return path.removesuffix(".py").rpartition("/")[2]
