"""`ditproof weights`: proves, name by name, that a port's mapping brings a checkpoint to its places."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import state_key
from analyzers.weights.verdicts import Verdict
from lsp_server.checks.errors import CheckError
from lsp_server.checks.evidence.making import evidence_of_weights
from lsp_server.checks.interpreter import find_interpreter, probe_interpreter
from lsp_server.checks.key_dumps import write_dumps
from lsp_server.checks.meta import DEFAULT_TIMEOUT, MetaWorker, OnStage
from lsp_server.checks.retry_request import USUAL_COMPONENT, request_text, retry_request
from lsp_server.checks.weights import Measured, Question, WeightReport, measure, report_on
from lsp_server.checks.weights_json import failure_json, report_json
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.keeping import keep
from lsp_server.commands.options import project_options, timeout_option
from lsp_server.commands.port_argument import find_port, paths_in
from lsp_server.commands.progress import progress
from lsp_server.commands.terminal import colours, printable, say, write, write_json
from lsp_server.commands.weights_text import report_text
from lsp_server.commands.workspace import open_tree, project_of, tell_problems
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache

EXIT_CODES: dict[Verdict, ExitCode] = {
    "proven": ExitCode.CLEAN,
    "broken": ExitCode.FINDINGS,
    "unknown": ExitCode.SKIPPED,
}

_LARGEST_CONFIG = 16 << 20  # bytes


@click.command("weights")
@click.argument("port")
@click.option(
    "--official",
    metavar="REF",
    help="What the port reproduces: `diffusers:Class`, `package.module:Class`, `path/to/file.py::Class`, "
    "a checkpoint, or a `*_keys.json` dump. Default: what the settings, the state file, the tests or the "
    "tree name.",
)
@click.option(
    "--checkpoint",
    metavar="PATH",
    help="A safetensors file, a folder of shards, an index, or a bare header, to be loaded into the port. "
    "With an official checkpoint in --official: the converted one, whose rows are compared with it.",
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="Build both sides from this config.json (or a folder with one).",
)
@click.option(
    "--gates/--no-gates",
    default=True,
    help="Whether to build further configurations of the port, to tell gated rules from dead ones.",
)
@click.option("--reverse", is_flag=True, help="Prove too that training saves the official names again.")
@click.option("--lora", is_flag=True, help="Prove too that the keys of an adapter reach the port's layers.")
@click.option(
    "--dump", is_flag=True, help="Write the key dumps of both sides where the port workflow has them."
)
@click.option("--component", metavar="NAME", help="The component's name in dumps and requests.")
@click.option("--force", is_flag=True, help="With --dump: replace dumps that somebody else wrote.")
@click.option(
    "--retry-request", "retry", is_flag=True, help="Print the conversion retry request instead of the report."
)
@click.option("--keys", is_flag=True, help="List every official name with its place.")
@click.option("-v", "--verbose", is_flag=True, help="List every rule.")
@timeout_option(DEFAULT_TIMEOUT, "Give up building the models after that time.")
@project_options
def command(
    port: str,
    official: str | None,
    checkpoint: str | None,
    config_file: str | None,
    gates: bool,
    reverse: bool,
    lora: bool,
    dump: bool,
    component: str | None,
    force: bool,
    retry: bool,
    keys: bool,
    verbose: bool,
    timeout: float,
    root: str | None,
    python: str | None,
    output_format: str,
    quiet: bool,
) -> int:
    """Prove that the mapping of PORT (class, file, or file::Class) brings every official name to its place.

    Both sides are built on the meta device: this executes the project's code, and loads no weight.
    """
    if component is not None and (not component or "/" in component or component.startswith(".")):
        raise click.UsageError("--component is a name, such as 'transformer'.")
    began, at = time.monotonic(), time.time()
    tree = open_tree(root, paths_in(port))
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        found = find_port(project, port)
    try:
        interpreter = find_interpreter(tree.root, python, named_by="--python")
        probe_interpreter(interpreter.path, trusted=True, root=tree.root).require_models()
        question = Question(
            python=interpreter.path,
            here=Path.cwd(),
            trusted=True,
            official=official,
            checkpoint=checkpoint,
            config=_config(config_file) if config_file is not None else None,
            gates=gates,
            timeout=timeout,
        )
        with progress(quiet) as on_stage:
            measured = asyncio.run(_measure(project, found, question, on_stage))
        report = report_on(project, measured, began, reverse=reverse, lora=lora)
        written = write_dumps(project, found, measured.state, component, force=force) if dump else ()
    except CheckError as error:
        if output_format == "json":
            write_json(failure_json(found, official or checkpoint, error, time.monotonic() - began))
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    kept = keep(tree.root, evidence_of_weights(state_key(found), tree.root, interpreter.path, report, at))
    if not quiet:
        for path in written:
            say(f"wrote {path}")
    wants_request = retry and report.verdict != "proven"
    if retry and not wants_request:
        say("nothing to retry: the mapping is proven.")
    request = _request(report, component) if wants_request else None
    if output_format == "json":
        document = {**report_json(report, keys=keys), "evidence": kept}
        if retry:
            document["conversion_retry_request"] = request
        if dump:
            document["dumps"] = list(written)
        write_json(document)
    elif request is not None:
        write(printable(request_text(request)))
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        write(
            report_text(
                report,
                colour=colours(sys.stdout),
                columns=columns,
                verbose=verbose,
                keys=keys,
                quiet=quiet,
            )
        )
    return ExitCode.USAGE if tell_problems(tree.settings) else EXIT_CODES[report.overall]


def _request(report: WeightReport, component: str | None) -> dict[str, object]:
    return retry_request(report, component or USUAL_COMPONENT)


async def _measure(project: Project, port: Port, question: Question, on_stage: OnStage) -> Measured:
    worker = MetaWorker()
    try:
        return await measure(project, port, question, worker, on_stage)
    finally:
        await worker.end()


def _config(text: str) -> Mapping[str, Any]:
    """The configuration in a file, or in the `config.json` of a folder. Raises `CommandError`."""
    path = Path(text)
    if path.is_dir():
        path /= "config.json"
    step = "name the config.json of a model."
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_CONFIG + 1)
        if len(content) > _LARGEST_CONFIG:
            raise CommandError(f"--config {path} has more than {_LARGEST_CONFIG >> 20} MiB.", step)
        config = json.loads(content)
    except OSError as error:
        raise CommandError(f"--config {path} cannot be read: {error.strerror or error}.", step) from error
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--config {path} is not JSON: {error}.", step) from error
    if not isinstance(config, dict):
        raise CommandError(f"--config {path} holds no object.", step)
    return config
