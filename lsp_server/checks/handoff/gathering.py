"""What a handoff is made of: the port's facts from the tree, its runs from the store, the rest from git."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzers.facts.model import Constant
from analyzers.project.index import Project
from analyzers.project.port_status import UNSAID, PortStatus, said, status_of
from analyzers.project.ports import Port
from analyzers.project.profile import Profile
from analyzers.weights.files.dumps import dump_path, find_dumps
from analyzers.weights.known import state_key
from lsp_server.checks.evidence.model import Evidence
from lsp_server.checks.evidence.standing import changes_since
from lsp_server.checks.evidence.store import EvidenceStore
from lsp_server.checks.handoff.making import Kept, PortFacts, handoff_of, parity_runs, shown
from lsp_server.checks.handoff.model import EscapeHatch, Handoff, KeyDumps, ParityStatus, Strictness
from lsp_server.checks.handoff.state_files import News, TestRun
from lsp_server.checks.retry_request import USUAL_COMPONENT
from lsp_server.git import Branch

_SCOPE = re.compile(
    r"(production[ _-]?loader)|implementation[ _/-]*sub[ _-]?component|(scope\W+both\b)", re.I
)
_README = "README.md"
_OUTCOMES: Mapping[str, ParityStatus] = {
    "passed": "non_skip_pass",
    "xpassed": "non_skip_pass",
    "failed": "debug_red",
    "error": "blocked",
    "skipped": "scaffold_skip",
    "xfailed": "scaffold_skip",
}
_COUNTED = ("failed", "passed", "skipped", "xfailed", "xpassed", "error")


@dataclass(frozen=True)
class Found:
    """A port with everything that a handoff needs but its runs. `documents`: the state file and the README
    that are there. `classes`: the port's class, then those of its configs."""

    name: str
    key: str
    path: str
    classes: tuple[str, ...]
    alone: bool
    profile: Profile
    facts: PortFacts
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Handed:
    """A handoff with the runs that it comes from."""

    handoff: Handoff
    kept: tuple[Kept, ...]
    news: News


def found_of(project: Project, port: Port, branch: Branch | None, component: str | None = None) -> Found:
    """The port as the tree has it. `component`: its name, where the tree's is not to be taken."""
    status = status_of(project.sources, port.status_file) if port.status_file is not None else None
    folder = port.status_file.rpartition("/")[0] if port.status_file is not None else None
    readme = f"{folder}/{_README}" if folder is not None else None
    dumps = find_dumps(project, port)
    oracle = (
        port.oracle.ref.partition("::")[0] if port.oracle is not None and "::" in port.oracle.ref else None
    )
    facts = PortFacts(
        root=project.root,
        component=component or _component(project, port),
        strictness=_strictness(project, port),
        files_changed=_changed(project, port, branch, status, readme),
        readme=readme,
        state_file=port.status_file,
        dumps=KeyDumps(dumps.official, dumps.native),
        parity_tests=port.parity_tests,
        scopes={test: scope for test in port.parity_tests if (scope := _scope(project, test)) is not None},
        oracle_file=shown(project.root, oracle) if oracle is not None else None,
        own=_own(project),
        escape_hatch=_open_hatch(status) if status is not None else None,
    )
    configs = (config for config in (port.config, port.arch_config) if config is not None)
    documents = [path for path in (port.status_file, readme) if path is not None]
    others = [
        p for p in project.ports if p.status_file == port.status_file and state_key(p) != state_key(port)
    ]
    return Found(
        name=port.name,
        key=state_key(port),
        path=port.cls.path,
        classes=(port.name, *(config.fact.name for config in configs)),
        alone=not others,
        profile=project.profile,
        facts=facts,
        documents=tuple(path for path in documents if (project.root / path).is_file()),
    )


def handed(found: Found, store: EvidenceStore) -> Handed:
    """The handoff of a port. Raises EvidenceError."""
    root = found.facts.root
    kept = tuple(
        Kept(run, tuple(str(change) for change in changes_since(root, run)))
        for run in store.latest(found.key)
    )
    handoff = handoff_of(found.facts, kept)
    return Handed(handoff, kept, _news(found, handoff, kept))


def official_files(found: Found, kept: Iterable[Kept]) -> tuple[str, ...]:
    """Files of the other side, as they can be opened: relative to the root, or absolute."""
    paths = {found.facts.oracle_file} if found.facts.oracle_file is not None else set()
    own = found.facts.own
    for one in kept:
        paths.update(
            path
            for path in one.run.sources
            if path.endswith(".py") and not any(path == o or path.startswith(f"{o}/") for o in own)
        )
    return tuple(sorted(paths))


# --------------------------------------------------------------------------- the tree


def _component(project: Project, port: Port) -> str:
    """What the tree calls the port as a component: its key dumps are named after it."""
    path = dump_path(project, port, "official")
    name = (path or "").rpartition("/")[2]
    return (
        name.removesuffix("_official_keys.json") if name.endswith("_official_keys.json") else USUAL_COMPONENT
    )


def _strictness(project: Project, port: Port) -> Strictness | None:
    """How production loads the port; None where the profile does not tell what its loader passes over."""
    loading = project.profile.loading
    if not (loading.skipped or loading.may_be_absent or loading.lenient):
        return None
    return "non_strict_with_allowed_keys" if port.name.startswith(loading.lenient) else "strict"


def _changed(
    project: Project, port: Port, branch: Branch | None, status: PortStatus | None, readme: str | None
) -> tuple[str, ...] | None:
    """The changed files that belong to the port: model, configs and export, mapping, tests, converter and
    state files."""
    if branch is None:
        return None
    profile = project.profile
    files = {port.cls.path, f"{profile.dit_configs}/__init__.py", *port.parity_tests}
    files.update(config.path for config in (port.config, port.arch_config) if config is not None)
    files.update(path for path in (port.status_file, readme) if path is not None)
    if port.mapping is not None:
        files.add(port.mapping.location.path)
    converter = status.field("conversion_script") if status is not None else None
    if converter is not None:
        files.add(converter[0])
    folder = f"{profile.dits}/{port.family}/"
    script = re.compile(rf"scripts/.*(?<![a-z0-9]){re.escape(port.family)}(?![a-z0-9]).*\.py$")
    return tuple(
        path
        for path in branch.changed
        if path in files or path.startswith(folder) or script.match(path) is not None
    )


def _scope(project: Project, test: str) -> str | None:
    """What a parity test says that it covers."""
    constant = project.profile.parity.scope_constant
    facts = project.file(test)
    if constant is None or facts is None:
        return None
    assigned = facts.assignment_of(constant)
    if assigned is not None:
        value = assigned.fact.value
        return str(value.value) if isinstance(value, Constant) else None
    said_there = _SCOPE.search(facts.docstring or "")
    if said_there is None:
        return None
    if said_there[1]:
        return "production_loader"
    return "both" if said_there[2] else "implementation_subcomponent"


def _own(project: Project) -> tuple[str, ...]:
    profile = project.profile
    package = profile.models.partition("/")[0]
    folders = (package, "tests", "scripts", ".ditproof", *profile.test_roots, *profile.document_roots)
    return tuple(dict.fromkeys(folders))


def _open_hatch(status: PortStatus) -> EscapeHatch | None:
    """The first decision that the state file has open."""
    for table in status.tables:
        state, question = table.column(r"^status$"), table.column(r"^question$", r"decision")
        recommended = table.column(r"recommended")
        if state is None or question is None or not re.fullmatch(r"id", table.header.cells[0], re.I):
            continue
        for row in table.rows:
            cells = [said(cell) for cell in row.cells]
            known = len(cells) == len(table.header.cells) and re.fullmatch(r"e\d+", cells[0])
            if known and cells[state] == "open" and cells[question] not in UNSAID:
                plain = [cell.replace("`", "").strip() for cell in row.cells]
                advice = plain[recommended] if recommended is not None and cells[recommended] else ""
                return EscapeHatch(plain[0], plain[question], advice)
    return None


# --------------------------------------------------------------------------- the runs


def _news(found: Found, handoff: Handoff, kept: Iterable[Kept]) -> News:
    counting = [one for one in parity_runs(kept) if one.parity is not None]
    newest = max((one.run.ended for one in counting), default=0.0)
    return News(
        classes=found.classes,
        path=found.path,
        status=handoff.parity_status,
        runs=tuple(run for one in counting for run in _test_runs(one)),
        day=time.strftime("%Y-%m-%d", time.gmtime(newest)),
        alone=found.alone,
    )


def _test_runs(one: Kept) -> Iterator[TestRun]:
    outcomes = _outcomes(one.run)
    assert one.parity is not None
    yield TestRun(one.run.subject, one.parity, _counts(outcome for _, outcome in outcomes))
    if "::" not in one.run.subject:
        for test, outcome in outcomes:
            if outcome in _OUTCOMES and test.startswith(f"{one.run.subject}::"):
                yield TestRun(test, _OUTCOMES[outcome], _counts([outcome]), within=True)


def _outcomes(run: Evidence) -> list[tuple[str, str]]:
    listed: Any = run.document.get("outcomes") or ()
    return [(str(one.get("test")), str(one.get("outcome"))) for one in listed if isinstance(one, Mapping)]


def _counts(outcomes: Iterable[str]) -> str:
    """`2 failed, 1 passed`, as pytest's last line has it."""
    listed = list(outcomes)
    return ", ".join(f"{listed.count(name)} {name}" for name in _COUNTED if name in listed)


def documents(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """The texts of files, byte for byte where they are no UTF-8; what cannot be read is left out."""
    found = {}
    for path in paths:
        try:
            found[path] = (root / path).read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            continue
    return found
