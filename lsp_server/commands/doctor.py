"""`ditproof doctor`: what was found, what cannot run, why, and what to do about it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from analyzers.project.index import Project
from analyzers.project.sources import Sources
from lsp_server.checks.errors import CheckError
from lsp_server.checks.interpreter import (
    CODE_BASES,
    Candidate,
    Interpreter,
    find_interpreter,
    probe_interpreter,
)
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import project_options
from lsp_server.commands.report import count
from lsp_server.commands.terminal import colours, printable, styled, write, write_json
from lsp_server.commands.workspace import Tree, open_tree, project_of
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.version import installed_version

DEPENDENCIES = ("pygls", "lsprotocol", "libcst", "click", "rich")


@dataclass(frozen=True)
class Problem:
    """Something that cannot run (`what`), the reason, and the next step."""

    what: str
    reason: str
    next_step: str


@dataclass
class Examination:
    """Everything that was looked at; None where there was nothing to look at."""

    problems: list[Problem] = field(default_factory=list)
    tree: Tree | None = None
    project: Project | None = None
    candidate: Candidate | None = None
    interpreter: Interpreter | None = None
    cache: DiskFactsCache | None = None


@click.command("doctor")
@project_options
def command(root: str | None, python: str | None, output_format: str, quiet: bool) -> int:
    """Show versions, the tree, its settings and registry, the project's interpreter, and what cannot run."""
    seen = examine(root, python)
    if output_format == "json":
        write_json(_json(seen))
    else:
        write(_text(seen, quiet))
    return ExitCode.NOT_RUN if seen.problems else ExitCode.CLEAN


def examine(root: str | None, python: str | None) -> Examination:
    """Looks at everything; what is wrong becomes a problem, not an exception."""
    seen = Examination()
    try:
        seen.tree = open_tree(root)
    except CommandError as error:
        seen.problems.append(Problem("check", error.message, error.next_step))
    place = seen.tree.root if seen.tree is not None else Path(root or ".").absolute()
    if seen.tree is not None:
        _look_at_tree(seen, seen.tree)
    _look_at_interpreter(seen, place, python)
    return seen


def _look_at_tree(seen: Examination, tree: Tree) -> None:
    for problem in tree.settings.problems:
        seen.problems.append(
            Problem(
                "settings", f"{problem.path}: {problem.message}", "Correct the file; the rest of it is used."
            )
        )
    seen.cache = DiskFactsCache()
    seen.project = project_of(tree, Sources(tree.root, seen.cache))
    with collector_paused():
        ports = seen.project.ports
    if seen.cache.problem is not None:
        seen.problems.append(
            Problem(
                "cache", seen.cache.problem, "Make it writable, or choose a folder with DITPROOF_CACHE_DIR."
            )
        )
    if not ports:
        seen.problems.append(
            Problem(
                "check", f"No port found below {tree.profile.dits}.", "Check that this is the right tree."
            )
        )
    if not seen.project.registry.legacy_known:
        facts = seen.project.file(tree.profile.registry)
        reason = "is missing" if facts is None else "does not parse" if facts.broken else "cannot be followed"
        seen.problems.append(
            Problem(
                "registry",
                f"{tree.profile.registry} {reason}: only discovery is known, no legacy table.",
                f"Restore the plain tables that {tree.profile.legacy_table} is built from.",
            )
        )


def _look_at_interpreter(seen: Examination, root: Path, python: str | None) -> None:
    try:
        seen.candidate = find_interpreter(root, python, named_by="--python")
        seen.interpreter = probe_interpreter(seen.candidate.path, trusted=True, root=root)
        seen.interpreter.require_parity()
    except CheckError as error:
        seen.problems.append(Problem("parity", error.reason, error.next_step))
    if seen.interpreter is not None:
        try:
            seen.interpreter.require_models()
        except CheckError as error:
            seen.problems.append(Problem("weights", error.reason, error.next_step))


# --------------------------------------------------------------------------- what it looks like


def _json(seen: Examination) -> dict[str, Any]:
    tree, project, found = seen.tree, seen.project, seen.interpreter
    return {
        "version": 1,
        "ditproof": installed_version("ditproof"),
        "python": {"path": sys.executable, "version": platform.python_version()},
        "dependencies": {name: installed_version(name) for name in DEPENDENCIES},
        "root": None if tree is None else str(tree.root),
        "profile": None if tree is None else tree.profile.name,
        "settings": None if tree is None else tree.settings.source,
        "rules_off": None if tree is None else dict(tree.profile.rules_off),
        "files": None if project is None else len(project.checked_files),
        "ports": None if project is None else len(project.ports),
        "registry": None if project is None else _registry(project),
        "interpreter": None
        if seen.candidate is None
        else {
            "path": seen.candidate.path,
            "source": seen.candidate.source,
            "version": None if found is None else ".".join(map(str, found.version)),
            "torch": None if found is None else found.torch,
            "pytest": None if found is None else found.pytest,
            **dict.fromkeys(CODE_BASES),
            **({} if found is None else found.code_bases),
            "diffusers": None if found is None else found.diffusers,
        },
        "cache": None if seen.cache is None else str(seen.cache.entries.base),
        "problems": [
            {"what": problem.what, "reason": problem.reason, "next_step": problem.next_step}
            for problem in seen.problems
        ],
    }


def _registry(project: Project) -> dict[str, Any]:
    registry = project.registry
    return {
        "discovered": len(registry.discovered),
        "legacy": len({row.architecture for row in registry.rows} - set(registry.discovered)),
        "legacy_known": registry.legacy_known,
        "unreachable": [port.name for port in project.ports if port.reachable == "unreachable"],
    }


def _text(seen: Examination, quiet: bool) -> str:
    rows: list[tuple[str, str]] = []
    own = installed_version("ditproof") or "from its sources"
    if not quiet:
        rows += [
            (
                "ditproof",
                f"{own} on Python {platform.python_version()} ({sys.executable})",
            ),
            ("with", ", ".join(f"{name} {installed_version(name) or 'missing'}" for name in DEPENDENCIES)),
        ]
        if seen.tree is not None and seen.project is not None:
            rows += _tree_rows(seen.tree, seen.project)
        if seen.candidate is not None:
            rows += _interpreter_rows(seen.candidate, seen.interpreter, seen.tree)
        if seen.interpreter is not None and seen.interpreter.diffusers is None:
            rows.append(("weights", "against clones, checkpoints and key dumps: there is no diffusers"))
        if seen.cache is not None:
            rows.append(("cache", str(seen.cache.entries.base)))
    colour = colours(sys.stdout)
    label_width = max((len(label) for label, _ in rows), default=0)
    out = [
        f"{styled(f'{label:<{label_width}}', 'place', on=colour)}  {printable(text)}" for label, text in rows
    ]
    if rows:
        out.append("")
    for problem in seen.problems:
        what = styled(f"{problem.what} cannot run as it should:", "error", on=colour)
        out += [f"{what} {printable(problem.reason)}", f"  next: {printable(problem.next_step)}"]
    if not seen.problems and not quiet:
        out.append(styled("Everything can run.", "help", on=colour))
    return "".join(f"{line}\n" for line in out)


def _tree_rows(tree: Tree, project: Project) -> list[tuple[str, str]]:
    registry = _registry(project)
    if registry["legacy_known"]:
        reached = (
            f"{registry['discovered']} architectures discovered, {registry['legacy']} by legacy rows alone"
        )
    else:
        reached = f"{registry['discovered']} architectures discovered, legacy tables unknown"
    rows = [
        ("root", str(tree.root)),
        ("profile", tree.profile.name),
        ("settings", tree.settings.source or "none: defaults"),
        (
            "tree",
            f"{count(len(project.checked_files), 'file')} to check, {count(len(project.ports), 'port')}",
        ),
        ("registry", reached),
    ]
    off = [code for code, _ in tree.profile.rules_off]
    if off:
        rows.append(
            ("rules off", f"{', '.join(off)} (in {tree.profile.title}; `ditproof rule CODE` says why)")
        )
    if registry["unreachable"]:
        rows.append(("unreachable", ", ".join(registry["unreachable"])))
    return rows


def _interpreter_rows(
    candidate: Candidate, found: Interpreter | None, tree: Tree | None
) -> list[tuple[str, str]]:
    shown = CODE_BASES if tree is None else (tree.profile.name,)
    rows = [("project", f"{candidate.path} (from {candidate.source})")]
    if found is not None:
        has = [
            f"{name} {value}" if value is not None else f"no {name}"
            for name, value in (
                ("torch", found.torch),
                ("pytest", found.pytest),
                *((name, found.code_bases[name]) for name in shown),
                ("diffusers", found.diffusers),
            )
        ]
        rows.append(("", f"Python {'.'.join(map(str, found.version))}, {', '.join(has)}"))
    return rows
