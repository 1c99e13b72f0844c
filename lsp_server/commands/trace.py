"""`ditproof trace`: both models in small, side by side: the first line that computes something else."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from analyzers.numeric.verdicts import NumericStatus
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import state_key
from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.making import evidence_of_trace
from lsp_server.checks.interpreter import find_interpreter, probe_interpreter
from lsp_server.checks.meta import DEFAULT_TIMEOUT, MetaWorker, OnStage
from lsp_server.checks.recipes import BrokenRecipe
from lsp_server.checks.scaffold import write_scaffold
from lsp_server.checks.trace import not_begun, trace
from lsp_server.checks.trace_findings import findings_of_trace
from lsp_server.checks.trace_json import trace_json
from lsp_server.checks.trace_question import DEVICES, DTYPES, TraceQuestion, question_about
from lsp_server.checks.trace_result import TraceResult
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.keeping import keep
from lsp_server.commands.options import project_options, refuse_given, timeout_option
from lsp_server.commands.port_argument import find_port, paths_in
from lsp_server.commands.progress import progress
from lsp_server.commands.recipe_help import RECIPE_HELP
from lsp_server.commands.terminal import colours, printable, say, write, write_json
from lsp_server.commands.trace_tests import is_test, run_tests
from lsp_server.commands.trace_text import trace_text
from lsp_server.commands.workspace import Tree, open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache
from lsp_server.payloads import findings_json, lines_of

EXIT_CODES: dict[NumericStatus, ExitCode] = {
    "passed": ExitCode.CLEAN,
    "failed": ExitCode.FINDINGS,
    "error": ExitCode.NOT_RUN,
    "skipped": ExitCode.SKIPPED,
    "cancelled": ExitCode.NOT_RUN,
}

_WORST_FIRST: tuple[NumericStatus, ...] = ("cancelled", "error", "failed", "passed", "skipped")
"""Of several tests: what went wrong outweighs what passed, and only skips are a skip."""

_NOT_OF_TESTS = {
    "official": "a parity test brings its own official model: --official says nothing to it.",
    "recipe": "a parity test brings its own inputs: --recipe says nothing to it.",
    "scaffold": "a parity test brings its own inputs: --scaffold says nothing to it.",
    "device": "a parity test chooses where its models run: --device says nothing to it.",
    "dtype": "a parity test chooses the dtype of its models: --dtype says nothing to it.",
    "seed": "a parity test makes its own weights and inputs: --seed says nothing to it.",
    "lockstep": "the models of a parity test are always compared both free and in lockstep: "
    "--lockstep/--no-lockstep says nothing to it.",
    "hypotheses": "the models that a parity test holds are not built again, so no causes are tried on them: "
    "--hypotheses/--no-hypotheses says nothing to it.",
}
"""Options without a meaning for a parity test, and why."""


@click.command("trace", epilog=RECIPE_HELP)
@click.argument("port")
@click.option(
    "--tier",
    type=click.Choice(("tiny", "weights")),
    default=None,
    help="tiny: small models with random weights, in seconds and without a GPU. weights: the port's own "
    "parity test, with its weights and inputs.",
)
@click.option(
    "--official",
    metavar="REF",
    help="What the port reproduces: `diffusers:Class`, `package.module:Class` or `path/to/file.py::Class`. "
    "Default: what the settings, the recipe, the state file or the tests name.",
)
@click.option(
    "--recipe",
    metavar="FILE",
    help="Says which inputs the models take: a Python file, or the name of a built-in recipe. Default: the "
    "settings, .ditproof/recipes/, or the built-in one of the class.",
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Where to run.")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default=DTYPES[0],
    show_default=True,
    help="Look for a loss of accuracy in this dtype too; float32: do not.",
)
@click.option(
    "--lockstep/--no-lockstep",
    default=True,
    help="Whether to put the port right at every aligned place, so that each error is seen by itself.",
)
@click.option("--ops/--no-ops", default=True, help="Whether to look for the operation that differs.")
@click.option(
    "--hypotheses/--no-hypotheses",
    default=True,
    help="Whether to try known causes as edits of the port, each in a run; no file is written.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and inputs."
)
@click.option(
    "--scaffold",
    is_flag=True,
    help="Write a recipe to fill in, from the two forward signatures, below .ditproof/recipes/; run nothing.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show every place in full, and the drift over the depth.")
@timeout_option(
    DEFAULT_TIMEOUT,
    "Give up after that time, of the whole run; of a parity test: on an answer about its models.",
)
@project_options
def command(
    port: str,
    tier: str | None,
    official: str | None,
    recipe: str | None,
    device: str,
    dtype: str,
    lockstep: bool,
    ops: bool,
    hypotheses: bool,
    seed: int,
    scaffold: bool,
    verbose: bool,
    timeout: float,
    root: str | None,
    python: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Find the first line where PORT (class, file, or file::Class) computes something else.

    PORT may be a parity test too (file, or file::test): then its own models are looked at, while it runs. The
    port and its official model are built in small, with the same random weights, and run on the same
    inputs: this executes the project's code. It needs neither a GPU nor weights.
    """
    if tier is None:
        tier = "weights" if is_test(port) else "tiny"
    if tier == "weights":
        refuse_given(_NOT_OF_TESTS, "leave it out, or name a port with --tier tiny.")
        return trace_tests(
            port, root, python, output_format, operations=ops, timeout=timeout, verbose=verbose, quiet=quiet
        )
    if scaffold:
        return _scaffold(port, root, official, python, quiet=quiet)
    return trace_port(
        port,
        root,
        python,
        output_format,
        official=official,
        recipe=recipe,
        changes={
            "device": device,
            "dtype": dtype,
            "lockstep": lockstep,
            "operations": ops,
            "hypotheses": hypotheses and ops and lockstep,
            "seed": seed,
            "timeout": timeout,
        },
        verbose=verbose,
        quiet=quiet,
    )


def trace_port(
    argument: str,
    root: str | None,
    python: str | None,
    output_format: str,
    *,
    official: str | None,
    recipe: str | None,
    changes: Mapping[str, Any],
    verbose: bool,
    quiet: bool,
) -> int:
    """Traces what PORT names and writes the result. `changes`: further fields of the `TraceQuestion`."""
    tree, project, port = _port(argument, root)
    question = asked(project, port, python, official=official, recipe=recipe)
    kept = None
    if isinstance(question, TraceQuestion):
        question, began = replace(question, **changes), time.time()
        result = run(question, quiet=quiet)
        kept = keep(tree.root, evidence_of_trace(state_key(port), question, result, began))
    else:
        place = question.place if isinstance(question, BrokenRecipe) else port.location
        result = not_begun(port.name, question, place)
    return told(tree, project, result, output_format, verbose=verbose, quiet=quiet, kept=kept)


def trace_tests(
    argument: str,
    root: str | None,
    python: str | None,
    output_format: str,
    *,
    operations: bool,
    timeout: float,
    verbose: bool,
    quiet: bool,
) -> int:
    """Traces the parity tests that the argument names, or that its port has, and writes the results."""
    tree, project, results = run_tests(
        argument, root, python, operations=operations, timeout=timeout, quiet=quiet
    )
    if len(results) == 1:
        return told(tree, project, results[0], output_format, verbose=verbose, quiet=quiet)
    statuses = {result.status for result in results}
    overall = next(status for status in _WORST_FIRST if status in statuses)
    if output_format == "json":
        documents = [trace_json(result) for result in results]
        deciding = next(document for document in documents if document["status"] == overall)
        seconds = round(sum(result.seconds for result in results), 3)
        write_json({**deciding, "seconds": seconds, "runs": documents})
    else:
        for result in results:
            _written(project, result, verbose=verbose, quiet=quiet)
        write(f"\n{tests_text(results, overall)}")
    return ExitCode.USAGE if tell_problems(tree.settings) else EXIT_CODES[overall]


def tests_text(results: Sequence[TraceResult], overall: NumericStatus) -> str:
    """Which test came to what, a line each: one that could not run does not hide what the others say."""
    lines = [f"{len(results)} tests of {results[0].port}: {overall}"]
    for result in results:
        assert result.check is not None, "each of several results is of a parity test"
        lines.append(f"  {result.status:<9} {printable(result.check.test)}")
    return "".join(f"{line}\n" for line in lines)


def _port(argument: str, root: str | None) -> tuple[Tree, Project, Port]:
    """The port that an argument names. Raises `CommandError`."""
    tree = open_tree(root, paths_in(argument))
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        return tree, project, find_port(project, argument)


def asked(
    project: Project, port: Port, python: str | None, *, official: str | None, recipe: str | None
) -> TraceQuestion | CheckError:
    """The question about a port under the project's interpreter, or why it cannot be put."""
    try:
        interpreter = find_interpreter(project.root, python, named_by="--python")
        question = question_about(
            project,
            port,
            python=interpreter.path,
            trusted=True,
            here=Path.cwd(),
            official=official,
            recipe=recipe,
        )
        probe_interpreter(interpreter.path, trusted=True, root=project.root).require_models()
    except CheckError as error:
        return error
    return question


def run(question: TraceQuestion, *, quiet: bool) -> TraceResult:
    """The answer, with what is being done on standard error."""
    with progress(quiet) as on_stage:
        return asyncio.run(_trace(question, on_stage))


async def _trace(question: TraceQuestion, on_stage: OnStage) -> TraceResult:
    worker = MetaWorker()
    stage = "beginning"

    def listened(text: str) -> None:
        nonlocal stage
        stage = text
        on_stage(text)

    try:
        return await asyncio.wait_for(trace(question, worker, listened), question.timeout)
    except asyncio.TimeoutError:
        error = CheckError(
            f"there is no verdict after {question.timeout:g} s: {stage} was not over.",
            "Give it longer with --timeout, or less to do with --no-ops, --dtype float32 or fewer CASES.",
        )
        return replace(not_begun(question.port.cls, error, question.place), seconds=question.timeout)
    finally:
        await worker.end()


def told(
    tree: Tree,
    project: Project,
    result: TraceResult,
    output_format: str,
    *,
    verbose: bool,
    quiet: bool,
    kept: str | None = None,
) -> int:
    """Writes the result; the exit code. `kept`: the id of the evidence."""
    if output_format == "json":
        write_json({**trace_json(result), "evidence": kept, "findings": _findings(project, result)})
        if result.status == "error":
            say(f"error: {result.reason}", style="error")
            say(f"  next: {result.next_step}")
    else:
        _written(project, result, verbose=verbose, quiet=quiet)
    return ExitCode.USAGE if tell_problems(tree.settings) else EXIT_CODES[result.status]


def _findings(project: Project, result: TraceResult) -> list[dict[str, Any]]:
    """The divergences as DIT903 to DIT906."""
    if result.verdict is None or result.compared is None or result.compared.port_place is None:
        return []

    def lines(path: str) -> list[str] | None:
        text = project.sources.text(path)
        return None if text is None else text.splitlines()

    found = findings_of_trace(result.verdict, result.port, result.compared.port_place, lines)
    return findings_json(found, project.sources)


def _written(project: Project, result: TraceResult, *, verbose: bool, quiet: bool) -> None:
    write(
        trace_text(
            result,
            lines_of(project.sources),
            colour=colours(sys.stdout),
            columns=shutil.get_terminal_size().columns if sys.stdout.isatty() else None,
            verbose=verbose,
            quiet=quiet,
        )
    )


def _scaffold(
    argument: str, root: str | None, official: str | None, python: str | None, *, quiet: bool
) -> ExitCode:
    _, project, port = _port(argument, root)
    try:
        path = write_scaffold(project, port, official=official, python=python, here=Path.cwd())
    except CheckError as error:
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    write(f"{path}\n")
    if not quiet:
        say(f"{_what_lacks(project.root / path)}, then run `ditproof trace {port.name}`.")
    return ExitCode.CLEAN


def _what_lacks(path: Path) -> str:
    """What is left to do in a recipe that was just written."""
    names = [
        line.partition('"')[2].partition('"')[0]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith('# "') and '": needed' in line
    ]
    return f"fill in {', '.join(names)}, look at the other shapes" if names else "look at its shapes"
