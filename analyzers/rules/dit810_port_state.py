"""DIT810 port-state: a missing or malformed state file, or a row without its official definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from analyzers.findings import Finding, Location, Related, Severity
from analyzers.project.conventions import folder_of
from analyzers.project.port_status import UNSAID, Component, PortStatus, said, status_of
from analyzers.rules.base import Context, Example, Expected, Rule, Tier


def check(context: Context) -> Iterator[Finding]:
    """Looks at state files, and at the first parity test of a port's folder that has none."""
    path = context.file.path
    if path.rpartition("/")[2] == context.profile.parity.state_file:
        status = status_of(context.project.sources, path)
        if status is not None:
            yield from _malformed(context, status)
    elif context.profile.is_parity_test(path):
        yield from _missing(context)


# ---------------------------------------------------------------------- missing


def _missing(context: Context) -> Iterator[Finding]:
    path, profile = context.file.path, context.profile
    if profile.port_folder(path) is None or context.project.sources.is_installed():
        return
    folder = folder_of(context.project, path)
    if folder is None or folder.has_state_file or not folder.owes_state_file:
        return
    if path != _first_parity_test(context, folder.path):
        return
    state_file = profile.parity.state_file
    says = f"is missing, although {folder.mentions[0].path} refers to it" if folder.mentions else "is missing"
    yield context.finding(
        context.file.top,
        f"{folder.path}/{state_file} {says}: nothing records what of '{folder.family}' was compared with "
        "which official definition, and what is still open",
        symbol=folder.family,
        related=tuple(Related(at, f"refers to {state_file}") for at in folder.mentions[:1]),
    )


def _first_parity_test(context: Context, folder: str) -> str | None:
    project = context.project
    for path in sorted(p for p in project.sources.walk(folder) if project.profile.is_parity_test(p)):
        facts = project.file(path)
        if facts is not None and project.tests.claimants(facts):
            return path
    return None


# ---------------------------------------------------------------------- malformed


def _malformed(context: Context, status: PortStatus) -> Iterator[Finding]:
    whole = Location(status.path, context.file.top.span)
    if status.matrix is None:
        yield context.finding(
            whole,
            "there is no table of components here: nothing says which official definition each of them "
            "reproduces",
        )
    else:
        yield from _components(context, status)
    yield from _identifiers(context, status)
    for table in status.tables:
        for row in table.rows:
            if len(row.cells) != len(table.header.cells):
                yield context.finding(
                    status.at(row.line),
                    f"this row has {len(row.cells)} cells, the table '{table.section}' has "
                    f"{len(table.header.cells)} columns: what follows the first of them is read in the wrong "
                    "column or lost",
                )


def _components(context: Context, status: PortStatus) -> Iterator[Finding]:
    components = [c for c in status.components if said(c.name)]
    assert status.matrix is not None
    if components and all(c.definition is None for c in components):
        yield context.finding(
            status.at(status.matrix.header.line),
            f"this table has no column for the official definition: none of its {len(components)} components "
            "says what it was compared with",
        )
        return
    cut = {row.line for t in status.tables for row in t.rows if len(row.cells) < len(t.header.cells)}
    for component in components:
        if _says_nothing(component) and component.line not in cut:
            yield context.finding(
                status.at(component.line),
                f"the row of {_plain(component.name)} names no official definition: nothing says what it was "
                "compared with",
                symbol=_plain(component.name),
            )


def _says_nothing(component: Component) -> bool:
    return component.definition is not None and said(component.definition) in UNSAID


def _plain(text: str) -> str:
    return text.replace("`", "").replace("*", "").strip()


def _identifiers(context: Context, status: PortStatus) -> Iterator[Finding]:
    times = Counter(name for name, _ in status.identifiers)
    first: dict[str, int] = {}
    for name, line in status.identifiers:
        if times[name] > 1 and name in first:
            yield context.finding(
                status.at(line),
                f"the id {name} is given twice: references to it are ambiguous",
                symbol=name,
                related=(Related(status.at(first[name]), f"the first {name}"),),
            )
        first.setdefault(name, line)


_FOLDER = "tests/local_tests/noise"
_STATUS = f"{_FOLDER}/PORT_STATUS.md"
_TEST = f"{_FOLDER}/test_noise_vae_parity.py"
_REGISTRY = "fastvideo/registry.py"
_REGISTERED = "from fastvideo.pipelines.basic.noise import presets\n"
_PARITY = '''\
"""Noise VAE parity. Coverage scope: production_loader."""
import torch


def test_noise_vae_parity(official, port):
    torch.testing.assert_close(port, official)
'''
_GOOD = """\
# Noise Port Status

## Summary

- official_ref: `https://github.com/noise-ai/noise`

## Component Matrix

| Component | Type | Official Definition / Instantiation | Parity |
|---|---|---|---|
| transformer | dit | `noise/model.py::Noise` | PASS with `a | b` |
| tokenizer | tokenizer | n/a | PASS |

## Open Questions

| ID | Question |
|---|---|
| Q001 | which sampler? |
| Q002 | which shift? |
"""

RULE = Rule(
    code="DIT810",
    name="port-state",
    severity=Severity.INFORMATION,
    tier=Tier.PROJECT,
    summary="a port's state file is missing or malformed, or a component names no official definition",
    what=(
        "Reports, at the first parity test of a port's folder (`tests/local_tests/<family>/`), that "
        "the folder has no `PORT_STATUS.md`, where the port is not in the pipeline registry yet, its "
        "README or its tests refer to the file, or its tests declare a `PARITY_SCOPE`; in a "
        "`PORT_STATUS.md`, that there is no table of components, that this table has no column for "
        "the official definition or a row that leaves it empty (`-`, `unknown`, `TBD`), rows with "
        "more or fewer cells than their table has columns, and ids that are given twice."
    ),
    why=(
        "The state file is what a port is resumed, reviewed and handed off from. A component without "
        "its official definition cannot be compared again: several repositories have a class of that "
        "name."
    ),
    how=(
        "Copy `.agents/skills/add-model-01-prep/templates/port_status.md` and fill in what is known; "
        "name file and symbol of each official definition. Where the file was dropped on purpose, "
        "drop what refers to it too."
    ),
    exceptions=(
        "Registered ports whose files never speak of it: they are older than the convention, or "
        "dropped the file when they landed, as `tests/local_tests/README.md` allows. Folders shared "
        "by several ports (`transformers`, `vaes`, `pipelines`, ...) and folders without parity "
        "tests; installed packages, which come without documents; merged and renamed columns; `n/a` "
        "or `none` for what has no official definition."
    ),
    source="`.agents/skills/add-model/contracts/port_state.md`",
    check=check,
    suffixes=(".py", ".md"),
    valid=(
        Example(
            "filled in", {_TEST: _PARITY, _STATUS: _GOOD, "tests/local_tests/sound/PORT_STATUS.md": _GOOD}
        ),
        Example(
            "a registered port that never spoke of it",
            {
                _TEST: _PARITY,
                _REGISTRY: _REGISTERED,
                f"{_FOLDER}/README.md": "# Noise\n",
                "tests/local_tests/sound/PORT_STATUS.md": _GOOD,
            },
        ),
        Example(
            "an installed package",
            {_TEST: _PARITY, "fastvideo-0.2.1.dist-info/METADATA": "Name: fastvideo\n"},
        ),
        Example(
            "a shared folder, a folder without parity tests",
            {
                "tests/local_tests/vaes/test_noise_vae_parity.py": _PARITY,
                "tests/local_tests/noise/test_noise_registry.py": "def test_known():\n    assert 1 + 1\n",
                "tests/local_tests/sound/PORT_STATUS.md": _GOOD,
            },
        ),
    ),
    invalid=(
        Example(
            "registered, and referred to by the README",
            {
                _TEST: _PARITY,
                _REGISTRY: _REGISTERED,
                f"{_FOLDER}/README.md": "# Noise\n\nSee [`PORT_STATUS.md`](./PORT_STATUS.md).\n",
                "tests/local_tests/sound/PORT_STATUS.md": _GOOD,
            },
            findings=(Expected(_TEST, 1, "is missing, although tests/local_tests/noise/README.md refers"),),
        ),
        Example(
            "registered, with tests that declare their scope",
            {
                _TEST: _PARITY + '\n\nPARITY_SCOPE = "both"\n',
                _REGISTRY: _REGISTERED,
                "tests/local_tests/sound/PORT_STATUS.md": _GOOD,
            },
            findings=(Expected(_TEST, 1, "tests/local_tests/noise/PORT_STATUS.md is missing"),),
        ),
        Example(
            "missing",
            {
                "fastvideo/registry.py": "from fastvideo.pipelines.basic.sound import presets\n",
                _TEST: _PARITY,
                f"{_FOLDER}/test_noise_zero_parity.py": _PARITY,
                "tests/local_tests/sound/PORT_STATUS.md": _GOOD,
            },
            findings=(
                Expected(_TEST, 1, "tests/local_tests/noise/PORT_STATUS.md is missing", Severity.INFORMATION),
            ),
        ),
        Example(
            "no table, no column",
            {
                _STATUS: "# Noise\n\n| Scope | State |\n|---|---|\n| all | complete |\n",
                "tests/local_tests/sound/PORT_STATUS.md": (
                    "# Sound\n\n| Component | Status |\n|---|---|\n| vae | PASS |\n| dit | PASS |\n"
                ),
            },
            findings=(
                Expected(_STATUS, 1, "no table of components"),
                Expected("tests/local_tests/sound/PORT_STATUS.md", 3, "none of its 2 components"),
            ),
        ),
        Example(
            "rows",
            {
                _STATUS: _GOOD.replace("n/a", "unknown")
                .replace("`noise/model.py::Noise`", "`<path + symbols>`")
                .replace("Q002", "Q001")
                .replace("which shift?", "which shift? | or none?"),
                "tests/local_tests/sound/PORT_STATUS.md": _GOOD
                + """
## Reused

| Component | Official Definition |
|---|---|
| vae | |

## Issues

| ID | Issue |
|---|---|
| `I001` | drift |
| `I001` | drift |
""",
            },
            findings=(
                Expected("tests/local_tests/sound/PORT_STATUS.md", 25, "the row of vae"),
                Expected("tests/local_tests/sound/PORT_STATUS.md", 32, "the id I001 is given twice"),
                Expected(_STATUS, 11, "the row of transformer names no official definition"),
                Expected(_STATUS, 12, "the row of tokenizer"),
                Expected(_STATUS, 19, "the id Q001 is given twice"),
                Expected(_STATUS, 19, "3 cells"),
            ),
        ),
    ),
)
