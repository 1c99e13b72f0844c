"""`ditproof parity`: runs a parity test under the project's interpreter and shows every output's drift."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import state_key
from lsp_server.checks.devices import chosen_device
from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.making import evidence_of_parity
from lsp_server.checks.interpreter import find_interpreter, probe_interpreter
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.margins import margins
from lsp_server.checks.meta import DEFAULT_TIMEOUT as TINY_TIMEOUT
from lsp_server.checks.requests import (
    DEFAULT_MEMORY,
    DEFAULT_TIMEOUT,
    CheckEvent,
    CheckRequest,
    CheckResult,
    Output,
    Status,
    TraceOption,
)
from lsp_server.checks.run import run_parity
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.keeping import keep
from lsp_server.commands.options import project_options, refuse_given
from lsp_server.commands.port_argument import port_called, unknown_port
from lsp_server.commands.terminal import colours, printable, rendered, say, styled, write, write_json
from lsp_server.commands.workspace import Tree, inside_root, open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.parity_targets import texts_on_disk

EXIT_CODES: dict[Status, ExitCode] = {
    "passed": ExitCode.CLEAN,
    "failed": ExitCode.FINDINGS,
    "error": ExitCode.NOT_RUN,
    "skipped": ExitCode.SKIPPED,
    "cancelled": ExitCode.NOT_RUN,
}

_STYLES = {
    "passed": "help",
    "failed": "error",
    "error": "error",
    "skipped": "warning",
    "cancelled": "warning",
}

_NOT_OF_TESTS = {
    "official": "a parity test brings its own official side and inputs: --official says nothing to it.",
    "recipe": "a parity test brings its own official side and inputs: --recipe says nothing to it.",
    "device": "a parity test chooses where its models run: --device says nothing to it.",
}
"""Options without a meaning for a parity test, and why."""


@click.command("parity")
@click.argument("test")
@click.option(
    "--tier",
    type=click.Choice(("meta", "tiny", "weights")),
    default="weights",
    show_default=True,
    help="weights: the parity test itself. tiny: the port beside its official model, both small and with "
    "random weights. meta: names and shapes alone, which is `ditproof weights`.",
)
@click.option("--official", metavar="REF", help="With --tier tiny: what the port reproduces.")
@click.option("--recipe", metavar="FILE", help="With --tier tiny: says which inputs the models take.")
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", help="With --tier tiny.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=None,
    metavar="SECONDS",
    help=f"End the run after that time (default: {DEFAULT_TIMEOUT:g}; with --tier tiny {TINY_TIMEOUT:g}).",
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(min=0.1),
    default=DEFAULT_MEMORY / (1 << 30),
    show_default=True,
    metavar="GIB",
    help="End the run when it uses more (Linux only).",
)
@click.option(
    "--trace",
    metavar="DIR",
    help="Record both models while the test runs, into DIR; `ditproof trace-diff` compares the files.",
)
@project_options
def command(
    test: str,
    tier: str,
    official: str | None,
    recipe: str | None,
    device: str,
    timeout: float | None,
    memory_limit: float,
    trace: str | None,
    root: str | None,
    python: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Run a parity TEST: a file, file::test, or the class name of a port, which stands for its parity tests.

    This executes the project's code. A skip is no pass: it exits with 4.
    """
    if tier == "meta":
        raise CommandError("names and shapes have a command of their own.", f"run `ditproof weights {test}`.")
    if tier == "tiny":
        if trace is not None:
            raise CommandError("--trace records a parity test.", "for the tiny tier, run `ditproof trace`.")
        return _tiny(test, official, recipe, device, timeout, root, python, output_format, quiet=quiet)
    refuse_given(_NOT_OF_TESTS, "leave it out, or add --tier tiny.")
    named = test.split("::", 1)[0]
    tree = open_tree(root, () if named.isidentifier() and not Path(named).exists() else (named,))
    targets, port, key = _targets(tree, test)
    recorded = _trace_option(tree, port, trace) if trace is not None else None
    try:
        interpreter = find_interpreter(tree.root, python, named_by="--python")
        probe_interpreter(interpreter.path, trusted=True, root=tree.root).require_parity()
    except CheckError as error:
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    if not quiet:
        say(f"interpreter: {interpreter.path} (from {interpreter.source})")
    results, kept = [], []
    for target in targets:
        request = CheckRequest(
            root=str(tree.root),
            python=interpreter.path,
            test=target,
            trusted=True,
            port=port,
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            memory_limit=int(memory_limit * (1 << 30)),
            device=chosen_device(),
            trace=recorded,
        )
        began = time.time()
        result = _run(request, quiet)
        results.append(result)
        kept.append(keep(tree.root, evidence_of_parity(key or "", request, result, began)))
    if output_format == "json":
        write_json(parity_json(results, kept))
    else:
        write("\n".join(_text(result, quiet) for result in results))
        if len(results) > 1 and not quiet:
            write(f"\n{len(results)} tests of {port}: {overall(results)}.\n")
    if output_format != "json" and not quiet:
        for result in results:
            _tell_margins(tree.root, result)
    code = EXIT_CODES[overall(results)]
    return ExitCode.USAGE if tell_problems(tree.settings) else code


def _trace_option(tree: Tree, name: str | None, folder: str) -> TraceOption:
    """What to record of a port's parity test. Raises `CommandError` where the models are not known."""
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        port = port_called(project.ports, name) if name is not None else None
    if port is None:
        raise CommandError(
            "--trace needs to know which port the test belongs to, and its file names none or several.",
            "name the port instead of the file.",
        )
    names = {oracle.ref.rpartition(":")[2].rpartition(".")[2] for oracle in port.oracles}
    if not names:
        raise CommandError(
            f"--trace needs to know the official class of {port.name}.",
            "name it in the settings ([tool.ditproof.oracles]).",
        )
    path = Path(folder).absolute()
    if path.is_dir() and any(path.iterdir()):
        raise CommandError(f"--trace {folder} is not empty.", "name a new folder.")
    return TraceOption(str(path), port.name, port.cls.path, tuple(sorted(names)))


def _tiny(
    port: str,
    official: str | None,
    recipe: str | None,
    device: str,
    timeout: float | None,
    root: str | None,
    python: str | None,
    output_format: str,
    *,
    quiet: bool,
) -> int:
    """The verdict of small models, without a look into the modules that differ."""
    from lsp_server.commands.trace import trace_port

    return trace_port(
        port,
        root,
        python,
        output_format,
        official=official,
        recipe=recipe,
        changes={"device": device, "timeout": timeout or TINY_TIMEOUT, "operations": False, "dtype": None},
        verbose=False,
        quiet=quiet,
    )


def _targets(tree: Tree, test: str) -> tuple[tuple[str, ...], str | None, str | None]:
    """What to run, relative to the root, and the port it belongs to (its class, and `path::Class`), if it can
    be told.

    Raises `CommandError` where there is no such file or port, or a port without a parity test.
    """
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        ports = project.ports
    named, separator, rest = test.partition("::")
    port = port_called(ports, named)
    if port is not None:
        if not port.parity_tests:
            raise CommandError(
                f"no parity test names {port.name}.",
                "write one, or name a test file.",
                ExitCode.NOT_RUN,
            )
        return tuple(path + separator + rest for path in port.parity_tests), port.name, state_key(port)
    if named.isidentifier() and not Path(named).exists() and not (tree.root / named).exists():
        raise unknown_port(ports, named)
    path = inside_root(tree.root, named)
    found = _port_of_test(ports, path)
    named_port, key = (found.name, state_key(found)) if found is not None else (None, None)
    return (path + separator + rest,), named_port, key


def _port_of_test(ports: Sequence[Port], path: str) -> Port | None:
    """The only port that a test file names; None where it names several."""
    named = [port for port in ports if path in port.parity_tests]
    return named[0] if len(named) == 1 else None


def _run(request: CheckRequest, quiet: bool) -> CheckResult:
    def progress(event: CheckEvent) -> None:
        # What the test itself prints is not progress; its end is shown if the test fails.
        if not quiet and event.kind in ("phase", "collected", "comparison", "outcome"):
            say(f"  {event.message}")

    if not quiet:
        say(f"running {request.test}")
    return asyncio.run(run_parity(request, LocalExecutor(), progress))


def overall(results: Sequence[CheckResult]) -> Status:
    """One status for several runs: what went wrong outweighs what passed, and only skips are a skip."""
    found = {result.status for result in results}
    order: tuple[Status, ...] = ("cancelled", "error", "failed", "passed", "skipped")
    return next(status for status in order if status in found)


def parity_json(results: Sequence[CheckResult], kept: Sequence[str | None] = ()) -> dict[str, Any]:
    """The document of one run; of several, their sum with each run's own document under `runs`.

    `kept`: the ids of the evidence of each.
    """
    documents = [result.to_json() for result in results]
    for document, evidence in zip(documents, kept, strict=False):
        document["evidence"] = evidence
    if len(documents) == 1:
        return documents[0]
    status = overall(results)
    deciding = next(document for document in documents if document["status"] == status)
    return {
        **deciding,
        "outputs": [output for document in documents for output in document["outputs"]],
        "seconds": round(sum(result.seconds for result in results), 3),
        "runs": documents,
    }


# --------------------------------------------------------------------------- text


def _text(result: CheckResult, quiet: bool) -> str:
    colour = colours(sys.stdout)
    status = styled(result.status, _STYLES[result.status], on=colour)
    parts = [f"{printable(result.test)}: {status} in {result.seconds:.1f} s\n"]
    if result.outputs:
        parts.append(_outputs(result.outputs))
    if result.reason:
        parts.append(f"{printable(result.reason)}\n")
    if result.next_step:
        parts.append(f"  next: {printable(result.next_step)}\n")
    if result.traces:
        parts += [f"trace of {t.side} {printable(t.model)}: {printable(t.file)}\n" for t in result.traces]
        parts.append("  next: ditproof trace-diff OFFICIAL NATIVE --port PORT\n")
    if not quiet:
        if result.conditions is not None:
            parts.append(f"  {printable(result.conditions.summary)}\n")
        parts += [f"note: {printable(note)}\n" for note in result.notes]
        if result.status in ("failed", "error") and result.log_tail.strip():
            tail = "".join(f"  {printable(line)}\n" for line in result.log_tail.strip().splitlines()[-20:])
            parts.append(f"the end of the log:\n{tail}")
    return "".join(parts)


def _tell_margins(root: Path, result: CheckResult) -> None:
    """Which tolerances are far looser than the run needed."""
    paths = {c.location.path for c in result.comparisons if c.location is not None}
    for found in margins(result, texts_on_disk(root, paths)):
        place = f"{found.location.path}:{found.location.span.line + 1}"
        write(f"note: {printable(place)}: {printable(found.message)} ({found.code})\n")


def _outputs(outputs: Sequence[Output]) -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("OUTPUT", overflow="fold")
    for title in ("MAX ABS", "MEAN ABS", "REL L2", "TOLERANCE", "NEEDED"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for output in outputs:
        verdict = Text("ok", style="green") if output.passed else Text("drifts", style="bold red")
        numbers = (output.max_abs, output.mean_abs, output.rel_l2, output.tolerance, output.needed_tolerance)
        table.add_row(printable(output.name), *map(_number, numbers), verdict)
    return rendered(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
