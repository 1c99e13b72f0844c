"""Proofs about the mappings of a project, kept until their rules change."""

from __future__ import annotations

from functools import partial

from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.weights.symbolic import (
    Collision,
    MergeFault,
    Shadow,
    SymbolicRule,
    collisions,
    merge_faults,
    shadows,
)


def symbolic_rules(table: MappingTable) -> tuple[SymbolicRule, ...]:
    """The rules of a table as texts, place by place."""
    return tuple(SymbolicRule(r.pattern, r.target, r.merge, r.conditional) for r in table.rules)


def shadows_in(project: Project, table: MappingTable) -> tuple[Shadow, ...]:
    """The rules of a table that never apply."""
    rules, semantics = symbolic_rules(table), project.profile.mapping_semantics
    key = ("mapping shadows", semantics, rules)
    return project.sources.memory.get(key, partial(shadows, rules, semantics))


def merge_faults_in(project: Project, table: MappingTable) -> tuple[MergeFault, ...]:
    """The merges of a table that cannot come out right."""
    rules, semantics = symbolic_rules(table), project.profile.mapping_semantics
    key = ("merge faults", semantics, rules)
    return project.sources.memory.get(key, partial(merge_faults, rules, semantics))


def collisions_in(project: Project, table: MappingTable) -> tuple[Collision, ...]:
    """The rules of a table that give one target to several tensors."""
    rules = symbolic_rules(table)
    return project.sources.memory.get(("mapping collisions", rules), partial(collisions, rules))
