"""Faults written into the mappings of real ports: each is found, at the rule that is wrong and only there."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import pytest
from mapping_mutations import Mutation, Written, mutations, renamed

from analyzers.findings import Finding, Location
from analyzers.fixes.base import Refused
from analyzers.fixes.verify import apply_fix
from analyzers.project.index import Project
from analyzers.project.mappings import MappingTable
from analyzers.project.ports import Port
from analyzers.project.profile import FASTVIDEO
from analyzers.project.settings import Settings
from analyzers.project.sources import Sources
from analyzers.rules.base import Rule
from analyzers.rules.catalogue import all_rules
from analyzers.rules.engine import check_file
from analyzers.weights.known import rules_of, state_key
from analyzers.weights.state import PortState, StateDict
from lsp_server.checks.meta import MetaWorker, PortName, StateRequest

REPOSITORY = Path(__file__).resolve().parents[2]
FASTVIDEO_TREE = REPOSITORY / ".real/fastvideo-0.2.1"
IN_DIFFUSERS = (
    "WanTransformer3DModel",
    "HunyuanVideoTransformer3DModel",
    "HunyuanVideo15Transformer3DModel",
    "CosmosTransformer3DModel",
    "GlmImageTransformer2DModel",
    "Kandinsky5Transformer3DModel",
    "MiniMaxH3Transformer3DModel",
)
PREFIXED = {"StableAudioDiT": ("", "model.model.")}
"""Ports whose published checkpoints hold the port's own names behind another prefix."""
_NORMS = {"norm.weight": "norm.gamma", "norm.bias": "norm.beta"}
"""What layer norms are called in these."""

MOST = 45
"""Mutations of one kind and port: all of them are tried where there are fewer."""

MENDED_KINDS = ("delete", "typo in target", "wrong group")
"""Faults that a fix is offered for."""
SAMPLE = 10
"""Mutations of each of these kinds, over all ports."""
FLOOR = 0.9
"""The least part of deletions and typos that fixes mend completely."""


def rules() -> tuple[Rule, ...]:
    return tuple(rule for rule in all_rules() if rule.code.startswith(("DIT3", "DIT609", "DIT70")))


@pytest.fixture(scope="module")
def sources() -> Sources:
    if not FASTVIDEO_TREE.is_dir():
        pytest.fail(f"{FASTVIDEO_TREE} is missing: run `make setup` (scripts/project_env.sh)")
    return Sources(FASTVIDEO_TREE)


@pytest.fixture(scope="module")
def states(sources: Sources) -> dict[str, PortState]:
    """The names of both sides of eight ports at full size, from the project's interpreter."""
    python = os.environ.get("DITPROOF_PROJECT_PYTHON") or str(REPOSITORY / ".project-venv/bin/python")
    ports = Project(sources, FASTVIDEO, Settings()).ports
    return asyncio.run(_measured(python, [p for p in ports if p.name in {*IN_DIFFUSERS, *PREFIXED}]))


async def _measured(python: str, ports: list[Port]) -> dict[str, PortState]:
    worker = MetaWorker()
    found: dict[str, PortState] = {}
    try:
        for port in ports:
            module = port.cls.path.removesuffix(".py").replace("/", ".")
            official = f"diffusers:{port.name}" if port.name in IN_DIFFUSERS else None
            request = StateRequest(
                str(FASTVIDEO_TREE),
                python,
                trusted=True,
                code_base="fastvideo",
                port=PortName(module, port.name, port.cls.path),
                official=official,
            )
            answer = await worker.state(request)
            assert answer.problems == (), (port.name, answer.problems)
            found[state_key(port)] = (
                answer.state if official else _with_published(answer.state, *PREFIXED[port.name])
            )
    finally:
        await worker.end()
    return found


def _with_published(state: PortState, native: str, published: str) -> PortState:
    assert state.native is not None
    tensors = tuple(
        replace(tensor, name=published + _as_published(tensor.name.removeprefix(native)))
        for tensor in state.native.tensors
    )
    return replace(state, official=StateDict("the published checkpoint", "checkpoint", tensors))


def _as_published(name: str) -> str:
    end = next((end for end in _NORMS if name.endswith(end)), "")
    return name.removesuffix(end) + _NORMS.get(end, "")


def mapped_ports(project: Project) -> Iterator[tuple[Port, MappingTable]]:
    for port in project.ports:
        if state_key(port) in project.states:
            table, _ = rules_of(project, port)
            assert table is not None, port.name
            yield port, table


def test_real_ports_have_no_finding_of_their_weights(sources: Sources, states: dict[str, PortState]) -> None:
    project = Project(sources, FASTVIDEO, Settings(), states)
    assert len(states) == len(IN_DIFFUSERS) + len(PREFIXED)
    for port, table in mapped_ports(project):
        found = [
            *check_file(project, port.cls.path, rules()),
            *check_file(project, table.location.path, rules()),
        ]
        assert [f.message for f in found if f.code in ("DIT609", "DIT701", "DIT702", "DIT703")] == []


def test_every_fault_is_found_where_it_is(sources: Sources, states: dict[str, PortState]) -> None:
    before = Project(sources, FASTVIDEO, Settings(), states)
    tried: Counter[str] = Counter()
    families: set[str] = set()
    wrong: list[str] = []
    for port, table in mapped_ports(before):
        path = table.location.path
        official = states[state_key(port)].official
        assert official is not None
        known = Counter(_mark(before, f) for f in _findings(before, port, path))
        kinds: Counter[str] = Counter()
        for mutation in mutations(sources.text(path) or "", table, official.names):
            kinds[mutation.kind] += 1
            if kinds[mutation.kind] > MOST:
                continue
            tried[mutation.kind] += 1
            families.add(port.family)
            overlaid = Sources.overlaid(sources, {path: mutation.text})
            after = Project(overlaid, FASTVIDEO, Settings(), states)
            new = _new(after, _findings(after, port, path), known)
            problem = _problem(after, mutation, path, port, new)
            if problem is not None:
                wrong.append(f"{port.name}, {mutation.kind}, {mutation.what}: {problem}")
    if wrong:
        pytest.fail(f"{len(wrong)} of {sum(tried.values())}:\n" + "\n".join(wrong))
    assert sum(tried.values()) >= 200
    assert len(families) >= 8
    assert set(tried) == {
        "delete",
        "reorder",
        "unanchor",
        "wrong group",
        "wrong merge index",
        "typo in target",
    }


def _findings(project: Project, port: Port, path: str) -> list[Finding]:
    return [*check_file(project, path, rules()), *check_file(project, port.cls.path, rules())]


def _mark(project: Project, finding: Finding) -> tuple[str, str, str]:
    """What a finding is known by although lines have moved."""
    line = project.line(finding.location.path, finding.location.span.line)
    return finding.code, finding.location.path, line.strip()


def _new(project: Project, found: list[Finding], known: Counter[tuple[str, str, str]]) -> list[Finding]:
    left = known.copy()
    new = []
    for finding in found:
        mark = _mark(project, finding)
        if left[mark]:
            left[mark] -= 1
        else:
            new.append(finding)
    return new


def _problem(project: Project, mutation: Mutation, path: str, port: Port, new: list[Finding]) -> str | None:
    table = next(table for known, table in mapped_ports(project) if state_key(known) == state_key(port))
    at_rules = {rule.key.span.line for rule in table.rules}
    here = [f for f in new if f.location.path == path and f.location.span.line in at_rules]
    if mutation.kind == "reorder":  # an order is wrong between two rules: either may be told, with the other
        here = [replace(f, location=_at(f, mutation.line) or f.location) for f in here]
    elsewhere = [f for f in here if f.location.span.line != mutation.line]
    told = [f"{f.code} {f.location.path}:{f.location.span.line + 1} {f.message}" for f in new]
    if elsewhere:
        return f"a finding on a rule that is right (wrong is line {(mutation.line or -1) + 1}): {told}"
    if mutation.line is None:
        return None if new else "nothing is found"
    return None if here else f"nothing is found at line {mutation.line + 1}: {told}"


def _at(finding: Finding, line: int | None) -> Location | None:
    """The place at that line which a finding names."""
    places = (finding.location, *(related.location for related in finding.related))
    return next((place for place in places if place.span.line == line), None)


@dataclass(frozen=True)
class Trial:
    """One fault in the mapping of a port."""

    port: Port
    path: str
    names: tuple[str, ...]
    mutation: Mutation


def test_offered_fixes_restore_the_mapping_and_nothing_else(
    sources: Sources, states: dict[str, PortState]
) -> None:
    before = Project(sources, FASTVIDEO, Settings(), states)
    tried: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    left: list[str] = []
    trials = _sample(before)
    for trial in trials:
        tried[trial.mutation.kind] += 1
        if _mended(before, trial):
            mended[trial.mutation.kind] += 1
        else:
            left.append(f"{trial.port.name}, {trial.mutation.kind}, {trial.mutation.what}")
    assert {trial.port.name for trial in trials} == {*IN_DIFFUSERS, *PREFIXED}
    assert tried == dict.fromkeys(MENDED_KINDS, SAMPLE)
    for kind in ("delete", "typo in target"):
        assert mended[kind] >= FLOOR * tried[kind], left
    assert mended["wrong group"] >= 0.5 * tried["wrong group"], left


def _sample(project: Project) -> list[Trial]:
    """As many faults of every kind, the ports in turn."""
    chance = random.Random(3)
    by_kind: dict[str, list[list[Trial]]] = {kind: [] for kind in MENDED_KINDS}
    for port, table in mapped_ports(project):
        path = table.location.path
        names = _official(project, port)
        places = chance.sample(range(len(table.rules)), min(6, len(table.rules)))
        text = project.sources.text(path) or ""
        made = list(mutations(text, table, names, places, MENDED_KINDS))
        for kind, of_ports in by_kind.items():
            trials = [Trial(port, path, names, mutation) for mutation in made if mutation.kind == kind]
            of_ports.append(chance.sample(trials, len(trials)))
    return [
        trial
        for of_ports in by_kind.values()
        for trial in [t for turn in zip_longest(*of_ports) for t in turn if t is not None][:SAMPLE]
    ]


def _official(project: Project, port: Port) -> tuple[str, ...]:
    official = project.states[state_key(port)].official
    assert official is not None
    return tuple(official.names)


def _mended(before: Project, trial: Trial) -> bool:
    """Whether the fixes that are offered, one after the other, make the mapping do what it did.

    No fix may send a name elsewhere than the mapping did, or touch what is none of its rules.
    """
    port, path = trial.port, trial.path
    right = _outcomes(before, trial)
    known = Counter(_mark(before, f) for f in _findings(before, port, path))
    project = _with_text(before, path, trial.mutation.text)
    while fixed := _first_fixed(project, _new(project, _findings(project, port, path), known), path):
        finding, text = fixed
        after = _with_text(before, path, text)
        told = f"{trial.port.name}, {trial.mutation.kind}, {trial.mutation.what}: {finding.message}"
        was, now = _outcomes(project, trial), _outcomes(after, trial)
        wrong = [name for name in trial.names if now[name] not in (was[name], right[name])]
        assert wrong == [], told
        assert now != was, told
        assert _without_rules(after, port, finding) == _without_rules(project, port, finding), told
        project = after
    return _outcomes(project, trial) == right


def _with_text(project: Project, path: str, text: str) -> Project:
    overlaid = Sources.overlaid(project.sources, {path: text})
    return Project(overlaid, project.profile, project.settings, project.states)


def _first_fixed(project: Project, found: list[Finding], path: str) -> tuple[Finding, str] | None:
    """The first of these findings that a fix settles, with the text that it makes of the mapping's file."""
    for finding in found:
        if finding.fix is None:
            continue
        assert finding.fix.operation == "add-mapping-rules"
        try:
            texts = apply_fix(project, finding, finding.fix).texts
        except Refused:
            continue
        assert set(texts) == {path}
        return finding, texts[path]
    return None


def _table(project: Project, port: Port) -> MappingTable:
    return next(table for known, table in mapped_ports(project) if state_key(known) == state_key(port))


def _outcomes(project: Project, trial: Trial) -> dict[str, object]:
    """What the mapping that is written makes of every official name."""
    written = []
    for rule in _table(project, trial.port).rules:
        assert rule.pattern is not None
        assert rule.target is not None
        written.append(Written(rule.pattern, rule.target, rule.merge, ""))
    return {name: renamed(written, name) for name in trial.names}


def _without_rules(project: Project, port: Port, finding: Finding) -> str:
    """The text of the mapping's file without what a fix writes: values that it replaces, lines that it
    adds."""
    assert finding.fix is not None
    written = finding.fix.arguments["rules"]
    assert isinstance(written, list)
    table = _table(project, port)
    lines = (project.sources.text(table.location.path) or "").split("\n")
    replaces = {new["pattern"]: new["replaces"] for new in written if isinstance(new, dict)}
    for rule in reversed(table.rules):
        if rule.pattern not in replaces:
            continue
        key, value = rule.key.span, rule.value.span
        if replaces[rule.pattern]:
            kept = [lines[key.end_line][: key.end_column] + lines[value.end_line][value.end_column :]]
            lines[key.end_line : value.end_line + 1] = kept
        else:
            del lines[key.line : value.end_line + 1]
    return "\n".join(lines)
