"""`ditproof trace` with a parity test, or `--tier weights`: the models that the test builds and loads."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from analyzers.numeric.trace_names import Rename
from analyzers.project.index import Project
from analyzers.project.ports import Port
from analyzers.project.sources import Sources
from analyzers.weights.known import rules_of
from analyzers.weights.mapping.renaming import rename
from lsp_server.checks.errors import CheckError
from lsp_server.checks.interpreter import find_interpreter, probe_interpreter
from lsp_server.checks.local import LocalExecutor
from lsp_server.checks.meta import PortName
from lsp_server.checks.requests import CheckRequest, TraceOption
from lsp_server.checks.trace_result import TraceResult
from lsp_server.checks.trace_weights import WeightsQuestion, trace_weights
from lsp_server.commands.exits import CommandError, ExitCode
from lsp_server.commands.port_argument import find_port, paths_in, port_called
from lsp_server.commands.progress import progress
from lsp_server.commands.workspace import Tree, inside_root, open_tree, project_of
from lsp_server.entries import collector_paused
from lsp_server.facts_cache import DiskFactsCache


def is_test(argument: str) -> bool:
    """Whether an argument names a test file, or a test in one."""
    paths = paths_in(argument)
    return bool(paths) and Path(paths[0]).name.startswith("test_")


def run_tests(
    argument: str,
    root: str | None,
    python: str | None,
    *,
    operations: bool,
    timeout: float,
    quiet: bool,
) -> tuple[Tree, Project, list[TraceResult]]:
    """The results, one a test file. Raises `CommandError`."""
    tree = open_tree(root, paths_in(argument))
    project = project_of(tree, Sources(tree.root, DiskFactsCache()))
    with collector_paused():
        port, targets = _targets(tree, project, argument)
        renaming = _mapping(project, port)
    names = {oracle.ref.rpartition(":")[2].rpartition(".")[2] for oracle in port.oracles}
    if not names:
        raise CommandError(
            f"which official class {port.name} reproduces is not known, so its model in the test neither.",
            "name it in the settings ([tool.ditproof.oracles]).",
        )
    try:
        interpreter = find_interpreter(tree.root, python, named_by="--python")
        probe_interpreter(interpreter.path, trusted=True, root=tree.root).require_parity()
    except CheckError as error:
        raise CommandError(error.reason, error.next_step, ExitCode.NOT_RUN) from error
    results = []
    for target in targets:
        # Outside of the project: a trace leaves nothing behind.
        with tempfile.TemporaryDirectory(prefix="ditproof-trace-") as folder:
            question = WeightsQuestion(
                request=CheckRequest(
                    root=str(tree.root),
                    python=interpreter.path,
                    test=target,
                    trusted=True,
                    port=port.name,
                    trace=TraceOption(folder, port.name, port.cls.path, tuple(sorted(names)), hold=True),
                ),
                code_base=project.profile.name,
                port=PortName(project.names.module_name(port.cls.path), port.cls.fact.name, port.cls.path),
                place=port.location,
                rename=renaming,
                semantics=project.profile.mapping_semantics,
                official=port.oracles[0].ref,
                official_because=f"from {port.oracles[0].source}",
                operations=operations,
                timeout=timeout,
            )
            with progress(quiet) as on_stage:
                results.append(asyncio.run(trace_weights(question, LocalExecutor(), on_stage)))
    return tree, project, results


def _targets(tree: Tree, project: Project, argument: str) -> tuple[Port, tuple[str, ...]]:
    """The port, and the tests to run, relative to the root."""
    if is_test(argument):
        named, separator, rest = argument.partition("::")
        path = inside_root(tree.root, named)
        ports = [port for port in project.ports if path in port.parity_tests]
        if len(ports) != 1:
            which = ", ".join(port.name for port in ports)
            raise CommandError(
                f"{path} names several ports: {which}." if ports else f"{path} names no port of this tree.",
                "name the port, with --tier weights: `ditproof trace PORT --tier weights`.",
            )
        return ports[0], (path + separator + rest,)
    port = port_called(project.ports, argument) or find_port(project, argument)
    if not port.parity_tests:
        raise CommandError(
            f"no parity test names {port.name}.",
            "write one, or compare small models: leave --tier weights out.",
            ExitCode.NOT_RUN,
        )
    return port, tuple(port.parity_tests)


def _mapping(project: Project, port: Port) -> Rename:
    _, rules = rules_of(project, port)
    known = tuple(rule for rule in rules if rule.pattern is not None and rule.target is not None)
    return lambda name: rename(name, known, project.profile.mapping_semantics)
