"""`ditproof handoff`: what a port hands over, from what was run, and what a debug session left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from analyzers.project.sources import Sources
from lsp_server.checks.evidence.store import EvidenceError, EvidenceStore
from lsp_server.checks.handoff.gate import Gate, gate_of
from lsp_server.checks.handoff.gathering import Handed, documents, found_of, handed, official_files
from lsp_server.checks.handoff.report import diff_text, document_json, is_told, valid_block
from lsp_server.checks.handoff.state_files import Updated, updated
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import project_options
from lsp_server.commands.port_argument import find_port, paths_in
from lsp_server.commands.terminal import colours, printable, rendered, say, styled, write, write_json
from lsp_server.commands.workspace import open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused, write_atomically
from lsp_server.evidence_texts import ago
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.git import branch_of

_GOOD = frozenset({"non_skip_pass", "pass", "pass_with_documented_exclusions"})
_BAD = frozenset({"debug_red", "blocked", "phase_5_conversion_retry"})
_UNSURE = frozenset({"scaffold_skip", "not_run", "ask_user"})


@click.command("handoff")
@click.argument("port")
@click.option("--write", "writes", is_flag=True, help="Bring PORT_STATUS.md and the README up to date.")
@click.option("--diff", "shows_diff", is_flag=True, help="Show what --write would change, and write nothing.")
@click.option("--component", metavar="NAME", help="The component's name in the block.")
@click.option(
    "--base", metavar="REV", help="The main line that the work branched off. Default: that of the remote."
)
@project_options
def command(
    port: str,
    writes: bool,
    shows_diff: bool,
    component: str | None,
    base: str | None,
    root: str | None,
    python: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Hand PORT (class, file, or file::Class) over: the block of the port workflow, from runs alone.

    Nothing is run. Exits with 1 where a trace or a debug session left something behind, and with 4 where no
    run is kept.
    """
    if writes and shows_diff:
        raise click.UsageError("--write and --diff exclude each other: --diff writes nothing.")
    tree = open_tree(root, paths_in(port))
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    branch = branch_of(tree.root, base)
    if branch is None and base is not None:
        raise CommandError(
            f"git cannot tell where this tree left '{base}'.",
            "name a commit, branch or tag that this clone has.",
        )
    with collector_paused():
        found = found_of(project, find_port(project, port), branch, component)
    try:
        given = handed(found, EvidenceStore(tree.root))
    except EvidenceError as error:
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    gate = gate_of(tree.root, tree.profile, branch, official_files(found, given.kept))
    texts = documents(tree.root, found.documents)
    files = [updated(path, text, given.news) for path, text in texts.items()]
    written = _write(tree.root, files) if writes else ()
    against = branch.against if branch is not None else None
    if output_format == "json":
        write_json(document_json(found, given, gate, files, written=writes, against=against))
    elif shows_diff:
        write(_coloured(diff_text(files)) if colours(sys.stdout) else diff_text(files))
    else:
        write(_text(found.name, found.path, given, gate, files, quiet=quiet, against=against))
    if not quiet:
        _tell(files, written, asked=writes or shows_diff)
    if tell_problems(tree.settings):
        return ExitCode.USAGE
    if gate.items:
        return ExitCode.FINDINGS
    return ExitCode.CLEAN if given.kept else ExitCode.SKIPPED


def _write(root: Path, files: Sequence[Updated]) -> tuple[str, ...]:
    """Writes what has changed; the paths. Raises `CommandError`."""
    written: list[str] = []
    for file in files:
        if not file.changes:
            continue
        target = (root / file.path).resolve()
        content = file.after.encode("utf-8", "surrogateescape")
        try:
            if target.read_bytes() != file.before.encode("utf-8", "surrogateescape"):
                raise CommandError(
                    f"{file.path} was written by somebody else meanwhile: it stays as it is.",
                    "run the command again.",
                    ExitCode.NOT_RUN,
                )
            write_atomically(target, content, target.stat().st_mode & 0o777)
        except OSError as error:
            done = f" ({', '.join(written)} was written)" if written else ""
            raise CommandError(
                f"{file.path} was not written: {error.strerror or error}{done}.",
                "see that it can be written to, and run the command again.",
                ExitCode.NOT_RUN,
            ) from error
        written.append(file.path)
    return tuple(written)


def _tell(files: Sequence[Updated], written: Sequence[str], *, asked: bool) -> None:
    for path in written:
        say(f"wrote {path}")
    if asked and not any(file.changes for file in files):
        say("nothing to write: no row says something else, or no state file is there.")
    for line in (line for file in files for line in file.left):
        say(f"left: {line}", style="warning")


# --------------------------------------------------------------------------- text


def _text(
    name: str,
    path: str,
    given: Handed,
    gate: Gate,
    files: Sequence[Updated],
    *,
    quiet: bool,
    against: str | None,
) -> str:
    on = colours(sys.stdout)
    parts = [f"{styled(printable(name), 'place', on=on)}  {printable(path)}\n", _block(given)]
    if quiet:
        return "".join(parts)
    parts += [_evidence(given), _gate(gate, against, on=on)]
    pending = [(file.path, change) for file in files for change in file.changes]
    if pending:
        parts.append(
            f"\n{len(pending)} places of {', '.join(dict.fromkeys(p for p, _ in pending))} are behind: "
        )
        parts.append("see --diff, or --write.\n")
    return "".join(parts)


def _block(given: Handed) -> str:
    """The fields under each other: a table, so that long values wrap below themselves."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for field, value in valid_block(given.handoff).items():
        for number, (text, depth) in enumerate(_shown(value)):
            label = Text(field if number == 0 else "", style="bold" if is_told(value) else "dim")
            table.add_row(label, Text("  " * depth + printable(text), style=_style(field, text)))
    return rendered(table)


def _shown(value: Any, depth: int = 0) -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            lines = list(_shown(inner))
            if len(lines) == 1 and not isinstance(inner, (Mapping, list)):
                yield f"{name}: {lines[0][0]}", depth
            else:
                yield f"{name}:", depth
                yield from ((text, depth + 1 + more) for text, more in lines)
    elif isinstance(value, list):
        yield from ((" ".join(str(item).split()), depth) for item in value)
        if not value:
            yield "none", depth
    else:
        yield "none" if value is None else " ".join(str(value).split()), depth


def _style(field: str, text: str) -> str:
    if text == "none":
        return "dim"
    if field not in ("parity_status", "strict_load", "next_step"):
        return ""
    return "green" if text in _GOOD else "bold red" if text in _BAD else "yellow" if text in _UNSURE else ""


def _evidence(given: Handed) -> str:
    from rich.table import Table
    from rich.text import Text

    if not given.kept:
        return "\nno run of this port is kept: `ditproof weights`, `trace` and `parity` keep what they see.\n"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("TIER", "COMPARED", "STATUS", "WHEN"):
        table.add_column(title, overflow="fold")
    for one in given.kept:
        run = one.run
        stale = not one.counts
        style = {"passed": "green", "skipped": "yellow"}.get(run.status, "bold red")
        table.add_row(
            run.tier,
            printable(run.subject),
            Text(f"{run.status}, stale" if stale else run.status, style="yellow" if stale else style),
            ago(time.time() - run.ended),
        )
    return "\n" + rendered(table)


def _gate(gate: Gate, against: str | None, *, on: bool) -> str:
    lines = [""]
    where = f" since {against}" if against is not None else ""
    if gate.verdict == "clean":
        lines.append(styled("cleanup: nothing was left behind", "help", on=on) + where)
    elif gate.verdict == "unknown":
        lines.append(styled("cleanup: not known", "warning", on=on))
    else:
        count = len(gate.items)
        title = f"cleanup: {count} thing{'s' if count > 1 else ''} left behind"
        lines.append(styled(title, "error", on=on) + where)
    for item in gate.items:
        place = f"{item.path}{f':{item.line}' if item.line is not None else ''}: " if item.path else ""
        lines.append(f"  {styled(printable(place), 'place', on=on)}{printable(item.what)}")
        lines.append(f"      {styled('next:', 'help', on=on)} {printable(item.next_step)}")
    lines += [f"  {printable(note)}" for note in gate.notes]
    return "".join(f"{line}\n" for line in lines)


def _coloured(diff: str) -> str:
    styles = {"+": "added", "-": "removed", "@": "hunk"}
    lines = []
    for line in diff.splitlines():
        text = printable(line)
        style = None if line.startswith(("+++", "---")) else styles.get(line[:1])
        lines.append(styled(text, style, on=True) if style else text)
    return "".join(f"{line}\n" for line in lines)
