"""`ditproof trace-diff`: two traces side by side, ours or FastVideo's, and where they first differ."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from analyzers.numeric.trace_diff import DiffStatus, Row, TraceDiff, describe, diff
from analyzers.numeric.trace_files import TraceFile, TraceFileError, read_trace
from analyzers.numeric.trace_names import Rename, by_equal_names, by_mapping
from analyzers.weights.mapping.renaming import rename
from analyzers.weights.mapping.symbolic import SymbolicRule
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.options import format_option, quiet_option
from lsp_server.commands.terminal import colours, printable, say, styled, write, write_json

EXIT_CODES: Mapping[DiffStatus, ExitCode] = {
    "passed": ExitCode.CLEAN,
    "failed": ExitCode.FINDINGS,
    "error": ExitCode.NOT_RUN,
}

_SHOWN = 8


@click.command("trace-diff")
@click.argument("official", metavar="A")
@click.argument("native", metavar="B")
@click.option("--port", metavar="PORT", help="Names of A become names of B by this port's weight mapping.")
@click.option(
    "--mapping", metavar="FILE", help="The same by rules in a JSON file, as in param_names_mapping."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.0),
    metavar="ERROR",
    help="Relative error up to which values count as equal. Default: 16 roundings of the coarser dtype.",
)
@click.option(
    "--root", metavar="DIR", help="The tree that the port is in. Default: the current folder upwards."
)
@format_option
@quiet_option
def command(
    official: str,
    native: str,
    port: str | None,
    mapping: str | None,
    tolerance: float | None,
    root: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Compare trace A (the official model's) with trace B (the port's): records of ditproof, or the lines of
    FastVideo's activation trace.

    Modules correspond by name, or through the weight mapping of a port.
    """
    if port is not None and mapping is not None:
        raise click.UsageError("--port and --mapping are two ways to say the same: give one.")
    began = time.monotonic()
    try:
        left, right = read_trace(Path(official)), read_trace(Path(native))
    except TraceFileError as error:
        raise CommandError(error.reason, error.next_step) from error
    if left.side == "native" and right.side == "official":
        raise CommandError(
            f"{official} is the trace of the port and {native} that of the official model.",
            "name the official model's trace first.",
        )
    renamed = _renamed(port, mapping, root)
    counterparts = by_equal_names(left, right) if renamed is None else by_mapping(left, right, renamed)
    found = diff(left, right, counterparts, tolerance)
    if output_format == "json":
        write_json(trace_diff_json(found, left, right, port, time.monotonic() - began))
    else:
        write(_text(found, quiet))
        if not quiet:
            for note in found.notes:
                say(f"note: {printable(note)}")
    return EXIT_CODES[found.status]


def trace_diff_json(
    found: TraceDiff, official: TraceFile, native: TraceFile, port: str | None, seconds: float
) -> dict[str, Any]:
    """The document of `trace`, as far as two files can fill it in; lines of `a` and `b` count from 1."""
    divergent = [_row_json(row, found.after if row is found.first else None) for row in found.divergent]
    return {
        "port": port or native.model,
        "tier": "trace-files",
        "status": found.status,
        "reason": found.reason,
        "outputs": [],
        "first": divergent[0] if divergent else None,
        "others": divergent[1:],
        "taps": len(native.taps),
        "aligned": len(found.rows),
        "unaligned": [{"side": side, "module": name} for side, name in found.unaligned],
        "not_fired": [],
        "evidence": None,
        "seconds": round(seconds, 3),
        "next_step": found.next_step,
        "by_statistics": found.blind,
        "notes": list(found.notes),
    }


def _row_json(row: Row, after: Row | None) -> dict[str, Any]:
    """`kind` is null where the files cannot tell inside from between: no input of the module is in them."""
    tap = row.native
    return {
        "kind": row.status if row.status in ("layout", "nonfinite") else None,
        "native": {"module": tap.module, "path": None, "line": None},
        "official": {
            "module": ", ".join(one.module for one in row.official),
            "path": None,
            "line": None,
        },
        "error": row.error,
        "floor": None,
        "after": [after.native.module] if after is not None else [],
        "operation": None,
        "message": row.message,
        "tolerance": row.tolerance,
        "by": row.by,
        "step": tap.step,
        "call": tap.call,
        "tap": {"module": tap.module, "end": tap.end, "label": tap.label},
        "a": [one.line + 1 for one in row.official],
        "b": tap.line + 1,
    }


def _renamed(port: str | None, mapping: str | None, root: str | None) -> Rename | None:
    """How official parameter names become the port's. Raises `CommandError`."""
    if mapping is not None:
        rules, semantics = _written(Path(mapping)), "first-match"
    elif port is not None:
        rules, semantics = _of_port(port, root)
    else:
        return None
    return lambda name: rename(name, rules, semantics)  # type: ignore[arg-type]


def _of_port(argument: str, root: str | None) -> tuple[tuple[SymbolicRule, ...], str]:
    from analyzers.project.sources import Sources
    from analyzers.weights.known import rules_of
    from lsp_server.commands.port_argument import find_port, paths_in
    from lsp_server.commands.workspace import open_tree, project_of
    from lsp_server.entries import collector_paused
    from lsp_server.facts_cache import DiskFactsCache

    tree = open_tree(root, paths_in(argument))
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        port = find_port(project, argument)
        table, rules = rules_of(project, port)
    if table is None or any(rule.pattern is None or rule.target is None for rule in rules):
        raise CommandError(
            f"the mapping of {port.name} is made when the class is built, and cannot be read from its files.",
            "write its param_names_mapping to a JSON file and give it as --mapping.",
        )
    return rules, project.profile.mapping_semantics


def _written(path: Path) -> tuple[SymbolicRule, ...]:
    """The rules in a JSON file: {pattern: target} or {pattern: [target, index, n]}."""
    step = "give an object of patterns and targets, as param_names_mapping has them."
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"--mapping {path} cannot be read: {error.strerror or error}.", step) from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--mapping {path} is not JSON: {error}.", step) from error
    if not isinstance(table, dict):
        raise CommandError(f"--mapping {path} holds no object.", step)
    rules = []
    for pattern, target in table.items():
        rule = _rule(pattern, target)
        if rule is None:
            raise CommandError(f"--mapping {path}: the rule {pattern!r} cannot be read.", step)
        rules.append(rule)
    return tuple(rules)


def _rule(pattern: str, target: object) -> SymbolicRule | None:
    if isinstance(target, list) and len(target) == 3 and all(isinstance(part, int) for part in target[1:]):
        text, merge = target[0], (target[1], target[2])
    else:
        text, merge = target, None
    if not isinstance(text, str):
        return None
    rule = SymbolicRule(pattern, text, merge)
    return rule if rule.parsed is not None and rule.template is not None else None


def _text(found: TraceDiff, quiet: bool) -> str:
    style = {"passed": "help", "failed": "error"}.get(found.status, "warning")
    lines = [f"{styled(found.status, style, on=colours(sys.stdout))}: {printable(found.reason)}"]
    if found.next_step:
        lines.append(f"  next: {printable(found.next_step)}")
    if found.divergent and not quiet:
        lines.append("what differs, in the port's order:")
        lines += [
            f"  {printable(describe(row))}: {printable(row.message)}" for row in found.divergent[:_SHOWN]
        ]
        if len(found.divergent) > _SHOWN:
            lines.append(f"  ... and {len(found.divergent) - _SHOWN} more (--format json lists all)")
    if found.extents and not quiet:
        names = sorted({row.native.module for row in found.extents})
        lines.append(
            f"not counted: {printable(', '.join(names[:_SHOWN]))} hold other work than their "
            "namesakes, since what comes after them agrees"
        )
    if found.unaligned and not quiet:
        for side in ("official", "native"):
            names = [name or "the model" for where, name in found.unaligned if where == side]
            if names:
                more = f", ... ({len(names)})" if len(names) > _SHOWN else ""
                lines.append(f"not aligned, {side}: {printable(', '.join(names[:_SHOWN]))}{more}")
    return "\n".join(lines) + "\n"
