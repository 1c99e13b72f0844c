"""Proofs about the mappings of a project, kept until the file that writes the mapping down changes."""

from __future__ import annotations

from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.weights.mapping.crossings import CrossedMerge, CrossedRule, crossed_merges, crossed_rules
from analyzers.weights.mapping.symbolic import (
    Collision,
    MergeFault,
    Shadow,
    SymbolicRule,
    collisions,
    merge_faults,
    shadows,
)


def as_texts(table: MappingTable) -> tuple[SymbolicRule, ...]:
    """The rules of a table as texts, place by place."""
    return tuple(SymbolicRule(r.pattern, r.target, r.merge, r.conditional) for r in table.rules)


def symbolic_rules(project: Project, table: MappingTable) -> tuple[SymbolicRule, ...]:
    """The same, kept by their texts: an edit of one rule leaves what the others mean alone."""
    memory, place = project.sources.memory, table.location

    def kept() -> tuple[SymbolicRule, ...]:
        return tuple(_kept(project, rule) for rule in as_texts(table))

    return memory.about(place.path, table, ("symbolic rules", place), kept)


def _kept(project: Project, rule: SymbolicRule) -> SymbolicRule:
    """The rule of these texts that was asked for before, with what is known about it."""
    return project.sources.bodies.derive_texts(("symbolic rule", rule), lambda: rule)


def shadows_in(project: Project, table: MappingTable) -> tuple[Shadow, ...]:
    """The rules of a table that never apply."""
    rules, semantics = symbolic_rules(project, table), project.profile.mapping_semantics
    memory, place = project.sources.memory, table.location
    keep = project.sources.bodies.derive_texts
    return memory.about(
        place.path, table, ("mapping shadows", place), lambda: shadows(rules, semantics, keep)
    )


def merge_faults_in(project: Project, table: MappingTable) -> tuple[MergeFault, ...]:
    """The merges of a table that cannot come out right."""
    rules, semantics = symbolic_rules(project, table), project.profile.mapping_semantics
    memory, place = project.sources.memory, table.location
    return memory.about(place.path, table, ("merge faults", place), lambda: merge_faults(rules, semantics))


def collisions_in(project: Project, table: MappingTable) -> tuple[Collision, ...]:
    """The rules of a table that give one target to several tensors."""
    rules = symbolic_rules(project, table)
    memory, place = project.sources.memory, table.location
    return memory.about(place.path, table, ("mapping collisions", place), lambda: collisions(rules))


def crossed_in(project: Project, table: MappingTable) -> tuple[CrossedRule, ...]:
    """The rules of a table that send a name to the place of its sibling."""
    rules = symbolic_rules(project, table)
    memory, place = project.sources.memory, table.location
    keep = project.sources.bodies.derive_texts
    return memory.about(place.path, table, ("crossed rules", place), lambda: crossed_rules(rules, keep))


def crossed_merges_in(project: Project, table: MappingTable) -> tuple[CrossedMerge, ...]:
    """The merges of a table that put their sources together in an unusual order."""
    rules = symbolic_rules(project, table)
    memory, place = project.sources.memory, table.location
    return memory.about(place.path, table, ("crossed merges", place), lambda: crossed_merges(rules))
