"""Entry of the child process: `python <bundle> <spec.json>`, started at the project's root.

The specification: `records` (file to append to), `run_dir`, `bundle`, `target` (path or node id), `line`
(from 0, or None), `grace` (seconds), `trace` (see `ditproof_probe.parity_tracing`; None or absent: off).
Standard input is the lifeline (see `ditproof_probe.supervisor`); the tests get an empty one.

A worker that stays has another one: `serve` (`meta`), `run_dir`, `bundle`, `code_base`, `idle_seconds`.
Its requests come on standard input and its answers go to standard output (see
`ditproof_probe.meta_server`).

The interpreter is started as the user starts it, without `-I` or `-S`: what `PYTHONPATH`, a
user site or `usercustomize` give the project must be there. `python <bundle>` puts the bundle first
on the path; it goes last here, and the root comes first, as `python -m pytest` has it. The bundle
holds one package and `__main__.py`, so it can shadow nothing.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
from typing import Any

from ditproof_probe.records import RecordWriter


def main(arguments: list[str]) -> int:
    """Run one request; on POSIX this never returns. Raises ValueError on a wrong command line."""
    if len(arguments) != 1:
        raise ValueError("usage: python <bundle> SPEC.json")
    with open(arguments[0], encoding="utf-8") as file:  # noqa: PTH123
        spec: dict[str, Any] = json.load(file)
    root = os.getcwd()  # noqa: PTH109 - a resolved string, as code objects will name their files
    if "serve" in spec:
        _find_project_first(root, spec["bundle"])
        return serve_meta(spec, root)
    writer = RecordWriter(spec["records"])
    writer.write("started", python=sys.version.split()[0], pid=os.getpid(), root=root)
    _find_project_first(root, spec["bundle"])
    lifeline = os.dup(0)  # not inherited by programs that a test starts
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    def work() -> int:
        return run_pytest(spec, writer, root)

    if hasattr(os, "fork"):
        from ditproof_probe.supervisor import supervise

        supervise(work, writer, lifeline, spec["run_dir"], float(spec["grace"]))
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    code = work()
    writer.write_after_crash("exit", asked=None, code=code, signal=None)
    return code


def serve_meta(spec: dict[str, Any], root: str) -> int:
    """Answer requests for state dicts until the input ends; see `ditproof_probe.meta_server`.

    Forking is left to Linux: elsewhere a process cannot be made to die with its parent, and on macOS the
    system's own libraries do not survive a fork. `fork` in the specification decides otherwise.
    """
    if spec["serve"] == "meta-once":
        from ditproof_probe.meta_plain import serve_once

        return serve_once(spec, root)
    if spec.get("fork", sys.platform.startswith("linux")):
        from ditproof_probe.meta_server import Server

        Server(spec, root).run()
    from ditproof_probe.meta_plain import serve

    return serve(spec, root)


def _find_project_first(root: str, bundle: str) -> None:
    sys.path[:] = [root, *(entry for entry in sys.path if entry not in ("", root, bundle)), bundle]


def run_pytest(spec: dict[str, Any], writer: RecordWriter, root: str) -> int:
    """Collect and run the target in this process; pytest's exit code."""
    writer.write("phase", phase="importing", test=None)
    if importlib.util.find_spec("pytest") is None:
        writer.write("problem", problem="no-pytest", message=f"pytest is not installed for {sys.executable}")
        return 1
    from ditproof_probe import other_comparisons
    from ditproof_probe.recorder import Recorder

    recorder = Recorder(writer, root)
    recorder.install()
    other_comparisons.install(recorder)

    import pytest

    from ditproof_probe.conditions import Conditions
    from ditproof_probe.loaded import LoadedFiles, Opened
    from ditproof_probe.parity_plugin import ParityPlugin
    from ditproof_probe.undivided import Undivided

    opened, conditions = Opened(), Conditions(writer, root)
    opened.install()
    conditions.install()
    plugins: list[object] = [
        Undivided(),
        ParityPlugin(writer, recorder, root, spec["line"]),
        LoadedFiles(writer, opened, spec["bundle"], spec["run_dir"]),
        conditions,
    ]
    if spec.get("trace") is not None:
        from ditproof_probe.parity_tracing import TracePlugin

        plugins.append(TracePlugin(writer, spec["trace"], root))
    code = int(pytest.main(_pytest_arguments(spec, root), plugins=plugins))
    writer.write("session", exit_code=code)
    return code


def _pytest_arguments(spec: dict[str, Any], root: str) -> list[str]:
    """The project's own configuration holds; ours comes after it and wins where it must.

    Uncaptured output, so that it is seen as it comes. pytest's cache goes to the run's own folder.
    """
    arguments = [
        f"--rootdir={root}",
        "--capture=no",
        "--tb=short",
        "--color=no",
        "-o",
        f"cache_dir={spec['run_dir']}/pytest-cache",
    ]
    return [*arguments, spec["target"]]


def _end_with(lifeline: int) -> None:
    """Where there is no fork: end this process when the executor asks or dies."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
